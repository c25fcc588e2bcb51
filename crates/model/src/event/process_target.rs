//! Events of what one process does to another.

use std::sync::Arc;

use atalaya_model_derive::Fields;
use serde_json::Value;

use crate::constants::name_of;
use crate::event_body;
use crate::json::Details;
use crate::process::Target;
use crate::record::{EventBody, EventRecord};

/// A process traced another: the `ptrace` system call was made.
#[derive(Debug, Clone, PartialEq, Default, Fields)]
pub struct PtraceEvent {
    /// What was asked for.
    #[field(constants = "Ptrace constants")]
    pub request: u32,
    /// The process that is traced; of `PTRACE_TRACEME` the caller.
    #[nested(prefix = "tracee")]
    pub tracee: Option<Target>,
    /// Its ids.
    pub tracee_id: TargetId,
    /// The address that the request is about.
    pub address: u64,
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
    /// Its ids.
    pub target_id: TargetId,
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
    /// Its ids.
    pub target_id: TargetId,
    /// What the call returned: 0, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
}

/// Whom something is done to, by ids of the initial pid namespace; 0 when that is not known.
#[repr(C)]
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Default,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::KnownLayout,
    zerocopy::Immutable,
)]
pub struct TargetId {
    /// The process.
    pub pid: u32,
    /// The thread: the process's first, unless the call was about another.
    pub tid: u32,
}

impl TargetId {
    fn pid(self) -> Option<u32> {
        (self.pid != 0).then_some(self.pid)
    }

    /// The process as it is told: with the thread that the call was about.
    fn of(self, target: Target) -> Target {
        if target.process.tid == self.tid {
            return target;
        }
        let mut process = (*target.process).clone();
        process.tid = self.tid;
        Target::new(Arc::new(process))
    }
}

event_body! {
    struct PtraceBody as "ptrace_body" { target: TargetId, address: u64, request: u32, reserved: u32, }
}

impl EventBody for PtraceEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: PtraceBody = record.body()?;
        Some(Self {
            request: body.request,
            address: body.address,
            tracee: None,
            tracee_id: body.target,
            retval: record.retval,
        })
    }

    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        let mut section = serde_json::json!({
            "request": name_of("Ptrace constants", self.request.into()),
            "address": format!("{:#x}", self.address),
        });
        add_process(
            &mut section,
            "tracee",
            details.process(self.tracee.as_ref()),
        );
        details.section("ptrace", section);
    }

    fn target_pid(&self) -> Option<u32> {
        self.tracee_id.pid()
    }

    fn set_target(&mut self, target: Target) {
        self.tracee = Some(self.tracee_id.of(target));
    }
}

event_body! {
    struct SignalBody as "signal_body" { target: TargetId, signal: u32, number: i32, }
}

impl EventBody for SignalEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: SignalBody = record.body()?;
        Some(Self {
            signal: body.signal,
            pid: body.number,
            target: None,
            target_id: body.target,
            retval: record.retval,
        })
    }

    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        let mut section = serde_json::json!({
            "type": name_of("Signal constants", self.signal.into()),
            "pid": self.pid,
        });
        add_process(
            &mut section,
            "target",
            details.process(self.target.as_ref()),
        );
        details.section("signal", section);
    }

    fn target_pid(&self) -> Option<u32> {
        self.target_id.pid()
    }

    fn set_target(&mut self, target: Target) {
        self.target = Some(self.target_id.of(target));
    }
}

event_body! {
    struct SetrlimitBody as "setrlimit_body" { target: TargetId, cur: u64, max: u64, resource: u32, reserved: u32, }
}

impl EventBody for SetrlimitEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: SetrlimitBody = record.body()?;
        Some(Self {
            resource: body.resource,
            rlim_cur: body.cur,
            rlim_max: body.max,
            target: None,
            target_id: body.target,
            retval: record.retval,
        })
    }

    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }

    fn target_pid(&self) -> Option<u32> {
        self.target_id.pid()
    }

    fn set_target(&mut self, target: Target) {
        self.target = Some(self.target_id.of(target));
    }
}

fn add_process(section: &mut Value, name: &str, process: Option<Value>) {
    if let (Some(section), Some(process)) = (section.as_object_mut(), process) {
        section.insert(name.to_owned(), process);
    }
}
