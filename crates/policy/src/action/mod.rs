//! What a rule does beside sending an event.
//!
//! An item of `actions` is first taken from the YAML as it stands ([`raw::RawAction`]), because policies merge before anything is
//! compiled, and is then checked and compiled for the event type of its rule ([`Action`]).

use atalaya_secl::model::{FieldInfo, OwnedValue};
use atalaya_secl::{Program, ValueProgram, VariableId};
use serde::Serialize;

mod body;
mod compile;
mod fields;
mod raw;
mod set;

pub(crate) use compile::{ActionContext, compile};
pub(crate) use raw::{RawAction, read_action};
pub(crate) use set::declare;

/// One action, ready to be carried out.
#[derive(Debug, Clone)]
pub struct Action {
    /// What it does.
    pub kind: ActionKind,
    /// The condition under which it is done, if any. It sees the event and the variables.
    pub filter: Option<Program>,
    /// What exactly it does.
    pub body: ActionBody,
    /// The action as the policy file has it, on one line of YAML, for reports.
    pub source: String,
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

    /// Whether this build carries it out. The others are checked and reported, and do nothing.
    pub fn is_executed(self) -> bool {
        matches!(
            self,
            Self::Set | Self::Hash | Self::Log | Self::NetworkFilter
        )
    }
}

/// What an action does.
#[derive(Debug, Clone)]
pub enum ActionBody {
    /// Sets a variable.
    Set(SetAction),
    /// Kills processes.
    Kill(KillAction),
    /// Hashes a file.
    Hash(HashAction),
    /// Dumps the agent's state.
    CoreDump(CoreDumpAction),
    /// Writes to the agent's log.
    Log(LogAction),
    /// Drops network traffic.
    NetworkFilter(NetworkFilterAction),
}

/// Sets a variable.
#[derive(Debug, Clone)]
pub struct SetAction {
    /// The variable, an index into [`crate::RuleSet::variables`].
    pub variable: VariableId,
    /// Where its new value comes from.
    pub value: SetValue,
    /// Add to the value there is, rather than replace it.
    pub append: bool,
    /// The field with the pid of the process that gets the variable, where that is not the event's own process.
    pub scope_field: Option<FieldInfo>,
}

/// Where the value of a variable comes from.
#[derive(Debug, Clone)]
pub enum SetValue {
    /// It is always this.
    Static(OwnedValue),
    /// The value of a field of the event.
    Field {
        /// The field.
        field: FieldInfo,
        /// The element, where the field is a list of which one element is wanted.
        index: Option<usize>,
    },
    /// What an expression is worth.
    Expression(ValueProgram),
}

/// Whom an action is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionScope {
    /// The event's process.
    #[default]
    Process,
    /// All processes of its container.
    Container,
    /// All processes of its cgroup.
    Cgroup,
}

impl ActionScope {
    /// The scope as the policy file has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Container => "container",
            Self::Cgroup => "cgroup",
        }
    }
}

/// Kills processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KillAction {
    /// The signal's number.
    pub signal: i32,
    /// The signal's name (`SIGKILL`).
    pub name: String,
    /// Who is killed.
    pub scope: ActionScope,
    /// Do not stop killing when it happens in too many containers.
    pub disable_container_disarmer: bool,
    /// Do not stop killing when it hits too many executables.
    pub disable_executable_disarmer: bool,
}

/// Hashes a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashAction {
    /// The file of the event: `open.file`, `exec.file`.
    pub field: String,
    /// Its path.
    pub path: FieldInfo,
    /// Files of more bytes are not hashed; the agent's own limit where not set.
    pub max_file_size: Option<u64>,
}

/// Dumps the agent's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "they are independent switches of the policy file"
)]
pub struct CoreDumpAction {
    /// The process tree.
    pub process: bool,
    /// The mounts.
    pub mount: bool,
    /// The path cache.
    pub dentry: bool,
    /// Write it uncompressed.
    pub no_compression: bool,
}

/// Writes to the agent's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogAction {
    /// How grave it is.
    pub level: LogLevel,
    /// The text.
    pub message: String,
}

/// How grave a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Debug,
    Info,
    Warning,
    Error,
}

/// Drops network traffic of a process or cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkFilterAction {
    /// The packets it is about, as `tcpdump` writes them.
    pub filter: String,
    /// What happens to them.
    pub policy: NetworkPolicy,
    /// Whose packets.
    pub scope: ActionScope,
}

/// What happens to packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum NetworkPolicy {
    Drop,
    Accept,
}
