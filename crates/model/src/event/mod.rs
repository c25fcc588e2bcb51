//! Events: what happened, who did it, and when.
//!
//! Every event type of the rule language has its struct in this folder, whether it is captured or not
//! ([`EVENT_TYPES`](crate::EVENT_TYPES)). To capture one more: a [`CaptureKind`] in its line of the list, a variant of
//! [`EventData`], a line in each of its `match`es.

mod attributes;
mod credentials;
mod file;
mod kernel;
mod memory;
mod mounts;
mod network;
mod process;
mod process_target;
mod view;

use std::sync::{Arc, OnceLock};

use crate::capture::CaptureKind;
use crate::context::Context;
use crate::process::Process;

pub use attributes::{ChdirEvent, XattrEvent};
pub use credentials::{CapabilitiesEvent, CapsetEvent, PrctlEvent, SetgidEvent, SetuidEvent};
pub(crate) use file::id_argument;
pub use file::{
    ChmodEvent, ChownEvent, LinkEvent, MkdirEvent, OpenEvent, RenameEvent, RmdirEvent, UnlinkEvent,
    UtimesEvent,
};
pub use kernel::{
    Argument, BpfEvent, CgroupWriteEvent, LoadModuleEvent, OnDemandEvent, SelinuxEvent,
    SysctlEvent, UnloadModuleEvent, UnshareEvent,
};
pub use memory::{MmapEvent, MprotectEvent, SpliceEvent};
pub use mounts::MountEvent;
pub use network::{
    AcceptEvent, Address, BindEvent, ConnectEvent, Device, DnsEvent, Endpoint, Flow, FlowEvent,
    ImdsEvent, PacketContext, PacketEvent, PeerAddress, SetsockoptEvent, SocketEvent, Traffic,
};
pub use process::{ExecEvent, ExitCause, ExitEvent, FileMetadata, HeartbeatEvent};
pub use process_target::{PtraceEvent, SetrlimitEvent, SignalEvent};

/// Where an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EventSource {
    /// It was seen to happen.
    #[default]
    Runtime,
    /// It was made up at start from a process that was already there.
    Snapshot,
}

/// One event.
#[derive(Debug)]
pub struct Event {
    /// What is the same for all events.
    pub context: Arc<Context>,
    /// When (ns since the Unix epoch).
    pub time_ns: u64,
    /// Whether it was seen to happen.
    pub source: EventSource,
    /// The call came through io_uring, not a system call.
    pub is_async: bool,
    /// Who did it; for exec the process as it is after, for exit the one that ended.
    pub process: Arc<Process>,
    /// What happened.
    pub data: EventData,
    ancestors: OnceLock<Box<[Arc<Process>]>>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each variant is its struct")]
pub enum EventData {
    Exec(ExecEvent),
    Exit(ExitEvent),
    Open(OpenEvent),
    Chmod(ChmodEvent),
    Chown(ChownEvent),
    Unlink(UnlinkEvent),
    Rmdir(RmdirEvent),
    Mkdir(MkdirEvent),
    Rename(RenameEvent),
    Link(LinkEvent),
    Utimes(UtimesEvent),
    Heartbeat(HeartbeatEvent),
}

impl EventData {
    /// The kind.
    #[must_use]
    pub fn kind(&self) -> CaptureKind {
        match self {
            Self::Exec(_) => CaptureKind::Exec,
            Self::Exit(_) => CaptureKind::Exit,
            Self::Open(_) => CaptureKind::Open,
            Self::Chmod(_) => CaptureKind::Chmod,
            Self::Chown(_) => CaptureKind::Chown,
            Self::Unlink(_) => CaptureKind::Unlink,
            Self::Rmdir(_) => CaptureKind::Rmdir,
            Self::Mkdir(_) => CaptureKind::Mkdir,
            Self::Rename(_) => CaptureKind::Rename,
            Self::Link(_) => CaptureKind::Link,
            Self::Utimes(_) => CaptureKind::Utimes,
            Self::Heartbeat(_) => CaptureKind::Heartbeat,
        }
    }

    /// What the call returned; `None` for what is no call.
    #[must_use]
    pub fn retval(&self) -> Option<i64> {
        match self {
            Self::Exec(_) | Self::Exit(_) | Self::Heartbeat(_) => None,
            Self::Open(event) => Some(event.retval),
            Self::Chmod(event) => Some(event.retval),
            Self::Chown(event) => Some(event.retval),
            Self::Unlink(event) => Some(event.retval),
            Self::Rmdir(event) => Some(event.retval),
            Self::Mkdir(event) => Some(event.retval),
            Self::Rename(event) => Some(event.retval),
            Self::Link(event) => Some(event.retval),
            Self::Utimes(event) => Some(event.retval),
        }
    }
}

impl Event {
    /// An event that was seen to happen.
    #[must_use]
    pub fn new(
        context: Arc<Context>,
        time_ns: u64,
        process: Arc<Process>,
        data: EventData,
    ) -> Self {
        Self {
            context,
            time_ns,
            source: EventSource::Runtime,
            is_async: false,
            process,
            data,
            ancestors: OnceLock::new(),
        }
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> CaptureKind {
        self.data.kind()
    }

    /// The event type's name in rules and in JSON.
    #[must_use]
    pub fn event_type(&self) -> &'static str {
        self.kind().name()
    }

    /// The service the event belongs to: the process's own, else the configured one.
    #[must_use]
    pub fn service(&self) -> &str {
        self.process.service().unwrap_or(&self.context.service)
    }

    /// The ancestors, nearest first; collected once, since rules ask for them by index.
    fn ancestors(&self) -> &[Arc<Process>] {
        self.ancestors
            .get_or_init(|| self.process.shared_ancestors())
    }
}
