//! Events: what happened, who did it, and when.
//!
//! Every event type of the rule language has its struct in this folder, whether it is captured or not
//! ([`EVENT_TYPES`](crate::EVENT_TYPES)). To capture one more: a [`CaptureKind`] in its line of the list, and the struct's
//! [`EventBody`](crate::record::EventBody), which says what the event is made of and how it is told.

mod address;
mod attributes;
mod credentials;
mod file;
mod imds;
mod kernel;
mod memory;
mod mounts;
mod network;
mod packet_filter;
mod packets;
mod process;
mod process_target;
mod view;

use std::sync::{Arc, OnceLock};

use crate::capture::CaptureKind;
use crate::context::Context;
use atalaya_secl::model::Value;

use crate::fields::{Cx, Fields};
use crate::json::Details;
use crate::process::{Process, Target};
use crate::record::{EventBody, EventRecord, Mirror};

pub use address::set_private_networks;
pub use attributes::{ChdirEvent, XattrEvent};
pub use credentials::{CapabilitiesEvent, CapsetEvent, PrctlEvent, SetgidEvent, SetuidEvent};
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
    AcceptEvent, Address, BindEvent, ConnectEvent, PeerAddress, SetsockoptEvent, SocketEvent,
};
pub use packets::{
    AwsCredentials, Device, DnsAnswer, DnsData, DnsEvent, Endpoint, FailedDnsEvent, Flow,
    FlowEvent, ImdsEvent, PacketContext, PacketEvent, Traffic, address as packet_address,
    interface_name,
};
pub use process::{ExecEvent, ExitCause, ExitEvent, FileMetadata, HeartbeatEvent};
pub use process_target::{PtraceEvent, SetrlimitEvent, SignalEvent, TargetId};

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

macro_rules! event_data {
    ($($kind:ident($event:ident),)*) => {
        /// What happened.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "each variant is its struct")]
        pub enum EventData { $($kind($event),)* }

        impl EventData {
            /// The kind.
            #[must_use]
            pub fn kind(&self) -> CaptureKind {
                match self { $(Self::$kind(_) => CaptureKind::$kind,)* }
            }

            /// What the call returned; `None` for what is no call.
            #[must_use]
            pub fn retval(&self) -> Option<i64> {
                match self { $(Self::$kind(event) => event.retval(),)* }
            }

            /// The event of a record of this kind; `None` when the record makes no sense, or the kind has records of another form.
            #[must_use]
            pub fn read(kind: CaptureKind, record: &mut EventRecord<'_>) -> Option<Self> {
                match kind {
                    $(CaptureKind::$kind => $event::read(record).map(Self::$kind),)*
                    CaptureKind::Fork | CaptureKind::Cgroup => None,
                }
            }

            /// The packet that it is about; `network.*`.
            pub(crate) fn packet(&self) -> Option<&PacketContext> {
                match self { $(Self::$kind(event) => event.packet(),)* }
            }

            /// The process that something is done to, by its id in the initial pid namespace.
            #[must_use]
            pub fn target_pid(&self) -> Option<u32> {
                match self { $(Self::$kind(event) => event.target_pid(),)* }
            }

            /// Takes the process of [`Self::target_pid`].
            pub fn set_target(&mut self, target: Target) {
                match self { $(Self::$kind(event) => event.set_target(target),)* }
            }

            /// Puts what is the event's own into its JSON.
            pub(crate) fn tell<'a>(&'a self, details: &mut Details<'a>) {
                match self { $(Self::$kind(event) => event.tell(details),)* }
            }

            /// A field of the event's own.
            pub(crate) fn get<'a>(&'a self, path: &[u16], cx: Cx<'a>) -> Option<Value<'a>> {
                match self { $(Self::$kind(event) => event.get(path, cx),)* }
            }
        }
    };
}

event_data! {
    Exec(ExecEvent),
    Exit(ExitEvent),
    Heartbeat(HeartbeatEvent),
    Open(OpenEvent),
    Chmod(ChmodEvent),
    Chown(ChownEvent),
    Unlink(UnlinkEvent),
    Rmdir(RmdirEvent),
    Mkdir(MkdirEvent),
    Rename(RenameEvent),
    Link(LinkEvent),
    Utimes(UtimesEvent),
    Accept(AcceptEvent),
    Bind(BindEvent),
    Bpf(BpfEvent),
    Capabilities(CapabilitiesEvent),
    Capset(CapsetEvent),
    CgroupWrite(CgroupWriteEvent),
    Chdir(ChdirEvent),
    Connect(ConnectEvent),
    LoadModule(LoadModuleEvent),
    Mmap(MmapEvent),
    Mount(MountEvent),
    Mprotect(MprotectEvent),
    Prctl(PrctlEvent),
    Ptrace(PtraceEvent),
    Removexattr(XattrEvent),
    Selinux(SelinuxEvent),
    Setgid(SetgidEvent),
    Setrlimit(SetrlimitEvent),
    Setsockopt(SetsockoptEvent),
    Setuid(SetuidEvent),
    Setxattr(XattrEvent),
    Signal(SignalEvent),
    Socket(SocketEvent),
    Splice(SpliceEvent),
    Sysctl(SysctlEvent),
    UnloadModule(UnloadModuleEvent),
    Unshare(UnshareEvent),
    Dns(DnsEvent),
    Imds(ImdsEvent),
    Packet(PacketEvent),
    NetworkFlowMonitor(FlowEvent),
    FailedDns(FailedDnsEvent),
}

/// How the bodies of events lie in memory, to be held against the C side.
pub const MIRRORS: &[Mirror] = &[
    address::AddressBody::MIRROR,
    credentials::PrctlBody::MIRROR,
    credentials::SetuidBody::MIRROR,
    credentials::SetgidBody::MIRROR,
    credentials::CapsetBody::MIRROR,
    credentials::CapabilitiesBody::MIRROR,
    kernel::UnshareBody::MIRROR,
    mounts::MountBody::MIRROR,
    process_target::PtraceBody::MIRROR,
    process_target::SignalBody::MIRROR,
    process_target::SetrlimitBody::MIRROR,
    kernel::BpfBody::MIRROR,
    kernel::CgroupWriteBody::MIRROR,
    kernel::LoadModuleBody::MIRROR,
    kernel::SelinuxBody::MIRROR,
    kernel::SysctlBody::MIRROR,
    kernel::UnloadModuleBody::MIRROR,
    memory::MmapBody::MIRROR,
    memory::MprotectBody::MIRROR,
    memory::SpliceBody::MIRROR,
    network::SetsockoptBody::MIRROR,
    network::SocketBody::MIRROR,
    packets::PacketBody::MIRROR,
];

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
