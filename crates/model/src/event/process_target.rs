//! Events of what one process does to another.

use atalaya_model_derive::Fields;

use crate::record::EventBody;

use crate::process::Target;

/// A process traced another: the `ptrace` system call was made.
#[derive(Debug, Clone, PartialEq, Default, Fields)]
pub struct PtraceEvent {
    /// What was asked for.
    #[field(constants = "Ptrace constants")]
    pub request: u32,
    /// The process that is traced.
    #[nested(prefix = "tracee")]
    pub tracee: Option<Target>,
    /// What the call returned: 0 or what was read, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
}

/// A signal was sent.
#[derive(Debug, Clone, PartialEq, Default, Fields)]
pub struct SignalEvent {
    /// The signal.
    #[field(name = "type", constants = "Signal constants")]
    pub signal: u32,
    /// The id of the process it was sent to.
    #[field]
    pub pid: i32,
    /// The process it was sent to.
    #[nested(prefix = "target")]
    pub target: Option<Target>,
    /// What the call returned: 0, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
}

/// A limit of a process's resources was set.
#[derive(Debug, Clone, PartialEq, Default, Fields)]
pub struct SetrlimitEvent {
    /// The resource.
    #[field(constants = "Resource limit types")]
    pub resource: u32,
    /// The limit that holds from now on; the process itself may raise it up to the maximum.
    #[field]
    pub rlim_cur: u64,
    /// The maximum of the limit from now on.
    #[field]
    pub rlim_max: u64,
    /// The process whose limit it is.
    #[nested(prefix = "target")]
    pub target: Option<Target>,
    /// What the call returned: 0, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
}

impl EventBody for PtraceEvent {}
impl EventBody for SetrlimitEvent {}
impl EventBody for SignalEvent {}
