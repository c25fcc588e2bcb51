//! Events made of values: what a rule is tried on without a sensor.
//!
//! ```json
//! {"type": "open", "values": {"open.file.path": "/etc/shadow", "process.ancestors.file.name": ["bash", "sshd"]}}
//! ```
//!
//! Any event type will do, whether it is captured or not, and any field that such an event has, by its present name or a
//! former one. A field of an iterator takes one item for each element, nearest ancestor first; a list below an iterator
//! takes a list of lists. A number may also be written as constants: `"O_CREAT|O_WRONLY"`. What is not given reads as 0,
//! false or empty, except what follows from what is given:
//!
//! | given | follows |
//! | --- | --- |
//! | nothing | `event.os` = `linux`, `event.origin` = `ebpf`, `event.source` = `runtime` |
//! | `exec.x` or `exit.x`, in an event of that type | `process.x`, and the other way round |
//! | `….ancestors.x` | `….parent.x` of the first ancestor; of a parent alone follows one ancestor |
//! | `….file.path` | `….file.name` |
//! | `….file.name` | `….file.extension` |
//! | `….mode` | `….rights` |
//! | `….argv` | `….args`, joined by blanks; the other way round by cutting at blanks |
//! | `….argv` | `….args_flags`, `….args_options` |
//! | `….envp` | `….envs`, with the values that are kept by default |
//! | `x` | `x.length`, `x.root_domain`, where there are such fields |
//!
//! An event as the agent wrote it to its output will do as well; it tells less than the rule saw.

mod derive;
mod emitted;
mod read;

use std::collections::{BTreeMap, HashMap};

use atalaya_secl::model::{EventView, FieldId, FieldInfo, IterId, OwnedValue, Schema, Value};
use atalaya_secl::nearest;
use serde_json::Map;

use crate::fields::zero;
use crate::table::table;
use crate::types::{EVENT_TYPES, EventType, event_type};

/// What is wrong with the values of an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default())]
pub struct ValueError {
    /// The field, or the event type, as it was given.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

impl ValueError {
    fn new(field: &str, message: String) -> Self {
        Self {
            field: field.to_owned(),
            message,
            help: None,
        }
    }

    fn help(self, help: Option<String>) -> Self {
        Self { help, ..self }
    }
}

/// The value of a field, or one for each element of its iterator.
#[derive(Debug, Clone, PartialEq)]
enum Given {
    One(OwnedValue),
    Each(Vec<OwnedValue>),
}

/// An event made of values.
#[derive(Debug, Clone)]
pub struct ValueEvent {
    event_type: &'static EventType,
    values: HashMap<FieldId, OwnedValue>,
    elements: HashMap<FieldId, Vec<OwnedValue>>,
    /// The numbers of elements, by iterator.
    lengths: Vec<usize>,
    now_ns: Option<u64>,
}

impl ValueEvent {
    /// The event that a document tells of: `{"type": …, "values": {…}}`, or an event as the agent wrote it.
    pub fn from_document(document: &serde_json::Value) -> Result<Self, ValueError> {
        let missing = |key: &str| {
            let form =
                r#"an event is {"type": "open", "values": {"open.file.path": "/etc/passwd"}}"#;
            ValueError::new(key, format!("an event needs `{key}`")).help(Some(form.to_owned()))
        };
        if let Some((event_type, values)) = Self::written(document) {
            return Self::from_values(&event_type, &values);
        }
        let event_type = document["type"].as_str().ok_or_else(|| missing("type"))?;
        match &document["values"] {
            serde_json::Value::Object(values) => Self::from_values(event_type, values),
            serde_json::Value::Null => Self::from_values(event_type, &Map::new()),
            _ => Err(missing("values")),
        }
    }

    /// The type and the values of an event as the agent wrote it; `None` for a document of another form.
    #[must_use]
    pub fn written(
        document: &serde_json::Value,
    ) -> Option<(String, Map<String, serde_json::Value>)> {
        emitted::read(document)
    }

    /// An event of this type with these fields. `now`, which is no field, is the time (ns since the epoch) that ages are
    /// counted from.
    pub fn from_values(
        event_name: &str,
        values: &Map<String, serde_json::Value>,
    ) -> Result<Self, ValueError> {
        let Some(event_type) = event_type(event_name) else {
            let known = EVENT_TYPES.iter().map(|known| known.name);
            let message = format!("unknown event type `{event_name}`");
            return Err(
                ValueError::new(event_name, message).help(suggestion(nearest(event_name, known)))
            );
        };
        let mut given = BTreeMap::new();
        let mut now_ns = None;
        for (name, value) in values {
            if name == "now" {
                now_ns = Some(value.as_u64().ok_or_else(|| {
                    ValueError::new(name, "`now` is a time in ns since the epoch".to_owned())
                })?);
                continue;
            }
            let info = field_of(event_type, name)?;
            let value = read::given(name, value, &info)?;
            if given.insert(info.name.to_string(), value).is_some() {
                let message = format!("`{}` is given twice", info.name);
                let help = "it was called otherwise in former versions".to_owned();
                return Err(ValueError::new(name, message).help(Some(help)));
            }
        }
        derive::complete(event_type.name, &mut given);
        let mut event = Self {
            event_type,
            values: HashMap::new(),
            elements: HashMap::new(),
            lengths: vec![0; table().iterators().len()],
            now_ns,
        };
        for (name, value) in given {
            event.put(&name, value);
        }
        event.agree_on_lengths()?;
        Ok(event)
    }

    /// The name of the event type.
    #[must_use]
    pub fn event_type(&self) -> &'static str {
        self.event_type.name
    }

    /// The time that ages are counted from, where it was given.
    #[must_use]
    pub fn now_ns(&self) -> Option<u64> {
        self.now_ns
    }

    /// The id of the process.
    #[must_use]
    pub fn pid(&self) -> i64 {
        match self.by_name("process.pid") {
            Value::Int(pid) => pid,
            _ => 0,
        }
    }

    /// The ids of its ancestors, nearest first.
    #[must_use]
    pub fn ancestor_pids(&self) -> Vec<i64> {
        let id = table().id("process.ancestors.pid");
        let pid = |index| match self.get_at(id?, index)? {
            Value::Int(pid) => Some(pid),
            _ => None,
        };
        (0..self.iter_len(table().ancestors()))
            .map_while(pid)
            .collect()
    }

    /// The process and its ancestors, nearest first, each by its pid and the time at which it began to run its program (ns since the
    /// epoch): what a node of the process tree is known by.
    #[must_use]
    pub fn lineage(&self) -> Vec<(i64, i64)> {
        let int = |value| match value {
            Some(Value::Int(value)) => value,
            _ => 0,
        };
        let own = ["process.pid", "process.created_at"].map(|name| int(Some(self.by_name(name))));
        let ids = ["process.ancestors.pid", "process.ancestors.created_at"];
        let ids = ids.map(|name| table().id(name));
        let of = |index| ids.map(|id| int(id.and_then(|id| self.get_at(id, index))));
        let ancestors = (0..self.iter_len(table().ancestors())).map(of);
        std::iter::once(own)
            .chain(ancestors)
            .map(|[pid, began]| (pid, began))
            .collect()
    }

    /// The id of its container, or empty.
    #[must_use]
    pub fn container_id(&self) -> String {
        self.text("process.container.id")
    }

    /// The id of its cgroup, or empty.
    #[must_use]
    pub fn cgroup_id(&self) -> String {
        self.text("process.cgroup.id")
    }

    fn text(&self, name: &str) -> String {
        match self.by_name(name) {
            Value::Str(text) => text.into_owned(),
            _ => String::new(),
        }
    }

    fn by_name(&self, name: &str) -> Value<'_> {
        table()
            .id(name)
            .map_or(Value::Bool(false), |id| self.get(id))
    }

    fn put(&mut self, name: &str, value: Given) {
        let Some(id) = table().id(name) else { return };
        match value {
            Given::One(value) => {
                self.values.insert(id, value);
            }
            Given::Each(items) => {
                let iterator = table().entry(id).and_then(|entry| entry.iterator);
                if let Some(length) =
                    iterator.and_then(|iter| self.lengths.get_mut(usize::from(iter.0)))
                {
                    *length = items.len().max(*length);
                }
                self.elements.insert(id, items);
            }
        }
    }

    /// An iterator has as many elements as its longest list; a length that is given may be more, not less.
    fn agree_on_lengths(&mut self) -> Result<(), ValueError> {
        for (at, length) in self.lengths.iter_mut().enumerate() {
            let iter = IterId(u16::try_from(at).unwrap_or(u16::MAX));
            let Some(field) = table().length_of(iter) else {
                continue;
            };
            if let Some(OwnedValue::Int(stated)) = self.values.get(&field) {
                let stated = usize::try_from(*stated).unwrap_or(0);
                if stated < *length {
                    let name = format!("{}.length", table().iterators()[at]);
                    let message = format!("`{name}` is {stated}, but {length} elements are given");
                    return Err(ValueError::new(&name, message));
                }
                *length = stated;
            }
            let total = i64::try_from(*length).unwrap_or(i64::MAX);
            self.values.insert(field, OwnedValue::Int(total));
        }
        Ok(())
    }
}

/// The field of this name, if an event of the type has it.
fn field_of(event_type: &EventType, name: &str) -> Result<FieldInfo, ValueError> {
    let Some(info) = table().field(name) else {
        let entries = table().entries().iter();
        let known = entries.map(|entry| entry.spec.name.as_str());
        let message = format!("unknown field `{name}`");
        return Err(ValueError::new(name, message).help(suggestion(nearest(name, known))));
    };
    let restricted = info.restricted_to;
    let others = match &info.event {
        Some(event) if *event != event_type.name => event.to_string(),
        None if !restricted.is_empty() && !restricted.contains(&event_type.name) => {
            restricted.join(", ")
        }
        _ => return Ok(info),
    };
    let own = event_type.name;
    let message = format!("`{name}` is a field of {others} events, not of {own} events");
    Err(ValueError::new(name, message))
}

fn suggestion(found: Option<&str>) -> Option<String> {
    found.map(|found| format!("did you mean `{found}`?"))
}

impl EventView for ValueEvent {
    fn get(&self, field: FieldId) -> Value<'_> {
        if let Some(value) = self.values.get(&field) {
            return value.as_value();
        }
        match table().entry(field) {
            Some(entry) => zero(entry.spec.ty, entry.spec.list),
            None => Value::Bool(false),
        }
    }

    fn iter_len(&self, iter: IterId) -> usize {
        self.lengths.get(usize::from(iter.0)).copied().unwrap_or(0)
    }

    fn get_at(&self, field: FieldId, index: usize) -> Option<Value<'_>> {
        let entry = table().entry(field)?;
        if index >= self.iter_len(entry.iterator?) {
            return None;
        }
        let value = self.elements.get(&field).and_then(|items| items.get(index));
        Some(value.map_or_else(
            || zero(entry.spec.ty, entry.spec.list),
            OwnedValue::as_value,
        ))
    }
}
