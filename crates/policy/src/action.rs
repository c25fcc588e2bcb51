//! What a rule does beside sending an event, as its policy says it.

use serde::Serialize;

/// One item of `actions`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Action {
    /// What it does.
    pub kind: ActionKind,
    /// The condition under which it is done, if any (an expression of the language).
    pub filter: Option<String>,
    /// Its parameters by name, in file order.
    pub parameters: Vec<(String, Parameter)>,
}

/// The kinds of actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// Sets a variable.
    Set,
    /// Kills processes.
    Kill,
    /// Hashes a file.
    Hash,
    /// Dumps the agent's state, for its developers.
    Coredump,
    /// Writes to the agent's log.
    Log,
    /// Drops network traffic.
    NetworkFilter,
}

impl ActionKind {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::Set,
        Self::Kill,
        Self::Hash,
        Self::Coredump,
        Self::Log,
        Self::NetworkFilter,
    ];

    /// The key in the policy file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Kill => "kill",
            Self::Hash => "hash",
            Self::Coredump => "coredump",
            Self::Log => "log",
            Self::NetworkFilter => "network_filter",
        }
    }

    /// The parameters that it takes.
    pub(crate) fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Set => &[
                "name",
                "value",
                "field",
                "expression",
                "default_value",
                "append",
                "scope",
                "scope_field",
                "size",
                "ttl",
                "private",
                "inherited",
            ],
            Self::Kill => &[
                "signal",
                "scope",
                "disable_container_disarmer",
                "disable_executable_disarmer",
            ],
            Self::Hash => &["field", "max_file_size"],
            Self::Coredump => &["process", "mount", "dentry", "no_compression"],
            Self::Log => &["level", "message"],
            Self::NetworkFilter => &["filter", "policy", "scope"],
        }
    }
}

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Parameter {
    /// True or false.
    Bool(bool),
    /// A number.
    Int(i64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Self>),
}

impl Action {
    /// The parameter with this name.
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }

    /// The text parameter with this name.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.parameter(name) {
            Some(Parameter::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether the parameter with this name is true.
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.parameter(name), Some(Parameter::Bool(true)))
    }
}
