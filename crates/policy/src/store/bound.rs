//! The store as one event sees it.

use std::cell::Cell;

use atalaya_secl::model::{EventView, FieldInfo, OwnedValue, Value};
use atalaya_secl::{EvalContext, VariableId, Variables};

use super::slot::Slot;
use super::{Scopes, VariableStore};
use crate::Rule;
use crate::action::{Action, ActionBody, SetAction, SetValue};
use crate::variable::VariableScopeKind;

/// The store as one event sees it: what rules read and `set` actions change.
pub struct Bound<'a> {
    store: &'a mut VariableStore,
    scopes: &'a dyn Scopes,
    now_ns: u64,
    /// The numbers of the container and the cgroup, once they were asked for.
    container: Cell<Option<u64>>,
    cgroup: Cell<Option<u64>>,
}

impl std::fmt::Debug for Bound<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound")
            .field("now_ns", &self.now_ns)
            .finish_non_exhaustive()
    }
}

/// The variables that an event carries, by their names without the scope; in the order of their definition.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VariableValues {
    /// Global ones.
    pub global: Vec<(String, OwnedValue)>,
    /// The process's.
    pub process: Vec<(String, OwnedValue)>,
    /// The container's.
    pub container: Vec<(String, OwnedValue)>,
    /// The cgroup's.
    pub cgroup: Vec<(String, OwnedValue)>,
}

impl<'a> Bound<'a> {
    pub(super) fn new(store: &'a mut VariableStore, scopes: &'a dyn Scopes, now_ns: u64) -> Self {
        Self {
            store,
            scopes,
            now_ns,
            container: Cell::new(None),
            cgroup: Cell::new(None),
        }
    }

    /// Carries out the actions of a rule that has matched, in their order, each if its filter is true: `set` is done here,
    /// the others are handed to `other`.
    pub fn act<'r>(
        &mut self,
        rule: &'r Rule,
        event: &dyn EventView,
        mut other: impl FnMut(&mut Self, &'r Action),
    ) {
        for action in &rule.actions {
            if let Some(filter) = &action.filter
                && !filter.matches(event, &self.context())
            {
                continue;
            }
            match &action.body {
                ActionBody::Set(set) => {
                    self.set(set, event);
                }
                _ => other(self, action),
            }
        }
    }

    /// Carries out a `set` action. Returns whether a value was set: not when the event has no such holder (no container, no
    /// process of that pid) or the field no such element.
    pub fn set(&mut self, action: &SetAction, event: &dyn EventView) -> bool {
        let Some(scope) = self.store.slot(action.variable).map(|slot| slot.def.scope) else {
            return false;
        };
        let key = match &action.scope_field {
            None => self.key(scope),
            Some(field) => match event.get(field.id) {
                Value::Int(pid) => self.scopes.process_of_pid(pid),
                _ => None,
            },
        };
        let Some(key) = key else { return false };
        match &action.value {
            SetValue::Static(value) => self.store_value(action, key, value.as_value()),
            SetValue::Field { field, index } => match read(event, field, *index) {
                Some(value) => self.store_value(action, key, value),
                None => false,
            },
            SetValue::Expression(program) => {
                let value = program.evaluate(event, &self.context());
                self.store_value(action, key, value.as_value())
            }
        }
    }

    fn store_value(&mut self, action: &SetAction, key: u64, value: Value<'_>) -> bool {
        let store = &mut *self.store;
        let index = usize::try_from(action.variable.0).unwrap_or(usize::MAX);
        let Some(slot) = store.slots.get_mut(index) else {
            return false;
        };
        let label = match slot.def.scope {
            VariableScopeKind::Container => self.scopes.container(),
            VariableScopeKind::Cgroup => self.scopes.cgroup(),
            VariableScopeKind::Global | VariableScopeKind::Process => "",
        };
        let is_set = slot.set(
            key,
            label,
            value,
            action.append,
            self.now_ns,
            &mut store.counters,
        );
        store.keep_small();
        is_set
    }

    /// The values that events may show: those that are set and not private. An inherited one counts as the process's.
    pub fn values(&self) -> VariableValues {
        let mut values = VariableValues::default();
        for slot in &self.store.slots {
            if slot.def.private || slot.is_empty() {
                continue;
            }
            let Some(value) = self.find(slot) else {
                continue;
            };
            let of_scope = match slot.def.scope {
                VariableScopeKind::Global => &mut values.global,
                VariableScopeKind::Process => &mut values.process,
                VariableScopeKind::Container => &mut values.container,
                VariableScopeKind::Cgroup => &mut values.cgroup,
            };
            let name = slot.def.name.rsplit('.').next().unwrap_or_default();
            of_scope.push((name.to_owned(), value.clone()));
        }
        values
    }

    fn context(&self) -> EvalContext<'_> {
        EvalContext {
            now_ns: self.now_ns,
            variables: self,
        }
    }

    /// The event's holder in a scope.
    fn key(&self, scope: VariableScopeKind) -> Option<u64> {
        match scope {
            VariableScopeKind::Global => Some(0),
            VariableScopeKind::Process => self.scopes.process(),
            VariableScopeKind::Container => self.hashed(&self.container, self.scopes.container()),
            VariableScopeKind::Cgroup => self.hashed(&self.cgroup, self.scopes.cgroup()),
        }
    }

    fn hashed(&self, known: &Cell<Option<u64>>, id: &str) -> Option<u64> {
        if id.is_empty() {
            return None;
        }
        let key = known.get().unwrap_or_else(|| self.store.key_of(id));
        known.set(Some(key));
        Some(key)
    }

    fn find<'s>(&'s self, slot: &'s Slot) -> Option<&'s OwnedValue> {
        let own = self.key(slot.def.scope)?;
        if let Some(value) = slot.read(own, self.now_ns) {
            return Some(value);
        }
        if !slot.def.inherited {
            return None;
        }
        (0..)
            .map_while(|n| self.scopes.ancestor(n))
            .find_map(|key| slot.read(key, self.now_ns))
    }
}

impl Variables for Bound<'_> {
    fn get(&self, id: VariableId, _: &dyn EventView) -> Value<'_> {
        let Some(slot) = self.store.slot(id) else {
            return Value::Int(0);
        };
        // Most variables are set by nobody, most of the time.
        let found = (!slot.is_empty()).then(|| self.find(slot)).flatten();
        found.map_or_else(|| slot.unset(), OwnedValue::as_value)
    }
}

/// The value of a field: all of it, or one element. `None`: there is no such element.
fn read<'e>(
    event: &'e dyn EventView,
    field: &FieldInfo,
    index: Option<usize>,
) -> Option<Value<'e>> {
    match (field.iterator, index) {
        (None, None) => Some(event.get(field.id)),
        (None, Some(index)) => Some(match event.get(field.id) {
            Value::BoolList(list) => Value::Bool(*list.get(index)?),
            Value::IntList(list) => Value::Int(*list.get(index)?),
            Value::StrList(list) => Value::Str(list.get(index)?.clone().into()),
            Value::IpList(list) => Value::Ip(*list.get(index)?),
            scalar => scalar,
        }),
        (Some(_), Some(index)) => event.get_at(field.id, index),
        (Some(_), None) => Some(gather(event, field)),
    }
}

/// The values of all elements of an iterator.
fn gather<'e>(event: &'e dyn EventView, field: &FieldInfo) -> Value<'e> {
    let mut all = OwnedValue::zero(field.ty, true);
    let items = (0..).map_while(|index| event.get_at(field.id, index));
    for item in items {
        match (&mut all, item) {
            (OwnedValue::BoolList(list), Value::Bool(item)) => list.push(item),
            (OwnedValue::IntList(list), Value::Int(item)) => list.push(item),
            (OwnedValue::StrList(list), Value::Str(item)) => list.push(item.into_owned()),
            (OwnedValue::IpList(list), Value::Ip(item)) => list.push(item),
            (OwnedValue::BoolList(list), Value::BoolList(items)) => list.extend_from_slice(&items),
            (OwnedValue::IntList(list), Value::IntList(items)) => list.extend_from_slice(&items),
            (OwnedValue::StrList(list), Value::StrList(items)) => list.extend_from_slice(&items),
            (OwnedValue::IpList(list), Value::IpList(items)) => list.extend_from_slice(&items),
            _ => {}
        }
    }
    match all {
        OwnedValue::BoolList(list) => Value::BoolList(list.into()),
        OwnedValue::IntList(list) => Value::IntList(list.into()),
        OwnedValue::StrList(list) => Value::StrList(list.into()),
        OwnedValue::IpList(list) => Value::IpList(list.into()),
        _ => Value::Bool(false),
    }
}
