//! An item of `actions` as the YAML has it.

use std::fmt;

use super::ActionKind;
use crate::document::{MAX_ERRORS, Reader, Text};
use crate::locate::File;
use crate::yaml::{Kind, Node, Place};

/// One action, not yet checked against the rule's event type.
#[derive(Debug, Clone, Default)]
pub(crate) struct RawAction {
    pub(crate) kind: Option<ActionKind>,
    pub(crate) at: Place,
    /// The policy whose file the places are in.
    pub(crate) policy: usize,
    pub(crate) filter: Option<Text>,
    pub(crate) parameters: Vec<Parameter>,
}

/// One key of an action.
#[derive(Debug, Clone)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) value: Value,
    pub(crate) at: Place,
}

/// The value of a key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Bool(bool),
    Int(i64),
    Text(String),
    List(Vec<Self>),
}

impl RawAction {
    /// Whether it says the same as another one, in whatever place.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let filter = |action: &Self| action.filter.as_ref().map(|text| text.value.clone());
        self.kind == other.kind
            && filter(self) == filter(other)
            && self.parameters.len() == other.parameters.len()
            && self
                .parameters
                .iter()
                .all(|mine| other.value(&mine.name) == Some(&mine.value))
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|known| known.name == name)
    }

    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        self.parameter(name).map(|parameter| &parameter.value)
    }

    /// The text of a key; an empty one counts as none.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.value(name) {
            Some(Value::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.value(name), Some(Value::Bool(true)))
    }

    /// Where a key stands; the action where it is not given.
    pub(crate) fn place(&self, name: &str) -> Place {
        self.parameter(name)
            .map_or(self.at, |parameter| parameter.at)
    }
}

impl fmt::Display for RawAction {
    /// The action on one line of YAML.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        if let Some(filter) = &self.filter {
            write!(f, "filter: {:?}, ", filter.value)?;
        }
        write!(f, "{}: {{", self.kind.map_or("", ActionKind::name))?;
        for (index, parameter) in self.parameters.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}: {}", parameter.name, parameter.value)?;
        }
        f.write_str("}}")
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{item}")?;
                }
                f.write_str("]")
            }
        }
    }
}

/// What a key of an action may hold.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    Text,
    Bool,
    Int,
    Duration,
    Any,
}

/// The keys that an action takes.
fn keys(kind: ActionKind) -> &'static [(&'static str, Shape)] {
    use Shape::{Any, Bool, Duration, Int, Text};
    match kind {
        ActionKind::Set => &[
            ("name", Text),
            ("value", Any),
            ("field", Text),
            ("expression", Text),
            ("default_value", Any),
            ("append", Bool),
            ("scope", Text),
            ("scope_field", Text),
            ("size", Int),
            ("ttl", Duration),
            ("private", Bool),
            ("inherited", Bool),
        ],
        ActionKind::Kill => &[
            ("signal", Text),
            ("scope", Text),
            ("disable_container_disarmer", Bool),
            ("disable_executable_disarmer", Bool),
        ],
        ActionKind::Hash => &[("field", Text), ("max_file_size", Int)],
        ActionKind::Coredump => &[
            ("process", Bool),
            ("mount", Bool),
            ("dentry", Bool),
            ("no_compression", Bool),
        ],
        ActionKind::Log => &[("level", Text), ("message", Text)],
        ActionKind::NetworkFilter => &[("filter", Text), ("policy", Text), ("scope", Text)],
    }
}

/// Reads one item. What is wrong is noted; an action that cannot be used is `None`.
pub(crate) fn read_action(
    file: File<'_>,
    node: &Node,
    errors: &mut Reader<'_>,
) -> Option<RawAction> {
    let mut reader = Reader::new(file);
    if errors.errors.len() >= MAX_ERRORS {
        return None;
    }
    let action = read(&mut reader, node);
    let usable = !reader.bad;
    for error in reader.errors.drain(..) {
        errors.push(error);
    }
    action.filter(|_| usable)
}

fn read(reader: &mut Reader<'_>, node: &Node) -> Option<RawAction> {
    let Kind::Map(entries) = &node.kind else {
        reader.wrong(node, "an action: a mapping");
        return None;
    };
    let mut action = RawAction {
        at: node.at,
        ..RawAction::default()
    };
    let errors_before = reader.errors.len();
    for (key, value) in entries {
        if key.name == "filter" {
            action.filter = Some(reader.string(value)).filter(|text| !text.value.is_empty());
            continue;
        }
        let known = ActionKind::ALL
            .into_iter()
            .find(|kind| kind.name() == key.name);
        let Some(kind) = known else {
            let mut names: Vec<&str> = ActionKind::ALL.iter().map(|kind| kind.name()).collect();
            names.push("filter");
            reader.unknown(key, &names);
            continue;
        };
        if action.kind.is_some() {
            reader.bad = true;
            reader.error_help(
                key.at,
                "only one action can be specified",
                "make it an item of its own",
            );
            return None;
        }
        action.kind = Some(kind);
        action.parameters = read_parameters(reader, kind, value);
    }
    if action.kind.is_none() {
        // A misspelt kind is said already.
        if reader.errors.len() == errors_before {
            let names: Vec<&str> = ActionKind::ALL.iter().map(|kind| kind.name()).collect();
            let names = names.join(", ");
            reader.error_help(
                node.at,
                format!("either [{names}] section of an action must be specified"),
                "such as `set: {name: seen, value: true}`",
            );
        }
        return None;
    }
    Some(action)
}

fn read_parameters(reader: &mut Reader<'_>, kind: ActionKind, node: &Node) -> Vec<Parameter> {
    let entries = match &node.kind {
        Kind::Map(entries) => entries.as_slice(),
        Kind::Null => &[],
        _ => {
            reader.wrong(node, "the action's parameters: a mapping");
            &[]
        }
    };
    let mut found = Vec::new();
    for (key, value) in entries {
        let Some((name, shape)) = keys(kind).iter().find(|(name, _)| *name == key.name) else {
            let names: Vec<&str> = keys(kind).iter().map(|(name, _)| *name).collect();
            reader.unknown(key, &names);
            continue;
        };
        if value.kind == Kind::Null {
            continue;
        }
        if let Some(read) = read_value(reader, *shape, value) {
            found.push(Parameter {
                name: (*name).to_owned(),
                value: read,
                at: value.at,
            });
        }
    }
    found
}

fn read_value(reader: &mut Reader<'_>, shape: Shape, node: &Node) -> Option<Value> {
    match shape {
        Shape::Text => Some(Value::Text(reader.string(node).value)),
        Shape::Bool => Some(Value::Bool(reader.bool(node))),
        Shape::Int => Some(Value::Int(reader.int(node))),
        Shape::Duration => reader
            .duration(node)
            .map(|found| Value::Int(i64::try_from(found.as_nanos()).unwrap_or(i64::MAX))),
        Shape::Any => {
            let found = any(node);
            if found.is_none() {
                reader.wrong(node, "a boolean, number, text or a list of them");
            }
            found
        }
    }
}

fn any(node: &Node) -> Option<Value> {
    Some(match &node.kind {
        Kind::Bool(value) => Value::Bool(*value),
        Kind::Int(value) => Value::Int(*value),
        Kind::Text(text) => Value::Text(text.clone()),
        Kind::Seq(items) => Value::List(items.iter().map(any).collect::<Option<_>>()?),
        Kind::Null | Kind::Map(_) => return None,
    })
}
