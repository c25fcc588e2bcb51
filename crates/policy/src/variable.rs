//! The variables that `set` actions create: their names, types and attributes. Their values live elsewhere.

use std::time::Duration;

use atalaya_secl::model::{OwnedValue, Type};
use atalaya_secl::{VariableId, VariableInfo, VariableScope};
use rustc_hash::FxHashMap;
use serde::Serialize;

/// Whose a variable is: there is one value of it for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VariableScopeKind {
    /// One value for the whole host.
    Global,
    /// A value for each process.
    Process,
    /// A value for each container.
    Container,
    /// A value for each cgroup.
    Cgroup,
}

impl VariableScopeKind {
    /// What the names of such variables begin with, without the dot; nothing for global ones.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Global => "",
            Self::Process => "process",
            Self::Container => "container",
            Self::Cgroup => "cgroup",
        }
    }
}

/// A variable that some rule sets.
#[derive(Debug, Clone, PartialEq)]
pub struct VariableDef {
    /// The full name, as rules write it: `count`, `process.seen`.
    pub name: String,
    /// Whose it is.
    pub scope: VariableScopeKind,
    /// The type of the value or of each element.
    pub ty: Type,
    /// Whether the value is a list.
    pub list: bool,
    /// How long a value lasts after it was last set; for ever where not given.
    pub ttl: Option<Duration>,
    /// How many elements, or values of a scope, are kept.
    pub size: Option<usize>,
    /// Events do not show it.
    pub private: bool,
    /// A process without a value has its nearest ancestor's.
    pub inherited: bool,
    /// The `default_value` key. It fixes the type; an unset variable has the zero value of that all the same.
    pub default: Option<OwnedValue>,
}

/// The declared variables, by number and by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct VariableTable {
    by_name: FxHashMap<String, usize>,
    pub(crate) defs: Vec<VariableDef>,
}

impl VariableTable {
    /// Adds a variable whose name is new.
    pub(crate) fn add(&mut self, def: VariableDef) {
        self.by_name.insert(def.name.clone(), self.defs.len());
        self.defs.push(def);
    }

    pub(crate) fn index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn get(&self, name: &str) -> Option<(VariableId, &VariableDef)> {
        let index = self.index(name)?;
        Some((
            VariableId(u32::try_from(index).ok()?),
            self.defs.get(index)?,
        ))
    }
}

impl VariableScope for VariableTable {
    fn variable(&self, name: &str) -> Option<VariableInfo> {
        let (id, def) = self.get(name)?;
        Some(VariableInfo {
            id,
            ty: def.ty,
            list: def.list,
        })
    }

    fn names(&self) -> Vec<String> {
        self.by_name.keys().cloned().collect()
    }
}
