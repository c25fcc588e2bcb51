//! The event types of the rule language.

use crate::capture::CaptureKind;
use crate::event::{
    AcceptEvent, BindEvent, BpfEvent, CapabilitiesEvent, CapsetEvent, CgroupWriteEvent, ChdirEvent,
    ChmodEvent, ChownEvent, ConnectEvent, DnsEvent, ExecEvent, ExitEvent, FlowEvent,
    HeartbeatEvent, ImdsEvent, LinkEvent, LoadModuleEvent, MkdirEvent, MmapEvent, MountEvent,
    MprotectEvent, OnDemandEvent, OpenEvent, PacketEvent, PrctlEvent, PtraceEvent, RenameEvent,
    RmdirEvent, SelinuxEvent, SetgidEvent, SetrlimitEvent, SetsockoptEvent, SetuidEvent,
    SignalEvent, SocketEvent, SpliceEvent, SysctlEvent, UnlinkEvent, UnloadModuleEvent,
    UnshareEvent, UtimesEvent, XattrEvent,
};
use crate::fields::{FieldSpec, Fields};

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Category {
    /// Files.
    File,
    /// Processes.
    Process,
    /// The network.
    Network,
    /// The kernel.
    Kernel,
    /// The agent itself.
    Internal,
}

impl Category {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "File",
            Self::Process => "Process",
            Self::Network => "Network",
            Self::Kernel => "Kernel",
            Self::Internal => "Internal",
        }
    }

    /// Its name in JSON (`evt.category`).
    #[must_use]
    pub fn activity(self) -> &'static str {
        match self {
            Self::File => "File Activity",
            Self::Process => "Process Activity",
            Self::Network => "Network Activity",
            Self::Kernel | Self::Internal => "Kernel Activity",
        }
    }
}

/// An event type, as the table and the documentation know it.
#[derive(Debug, Clone, Copy)]
pub struct EventType {
    /// Its name in rules.
    pub name: &'static str,
    /// What happened.
    pub doc: &'static str,
    /// What it is about.
    pub category: Category,
    /// The version of the reference agent that brought it; empty for what that one does not document.
    pub since: &'static str,
    /// The kind of record it is made of; `None` for a type that rules can be written for, but that nothing captures yet.
    pub kind: Option<CaptureKind>,
    /// Calls its argument for each of the type's own fields.
    pub describe: fn(&mut dyn FnMut(FieldSpec)),
}

impl EventType {
    /// Why there are no such events; `None` for a type that is captured.
    #[must_use]
    pub fn unavailable(&self) -> Option<String> {
        self.kind
            .is_none()
            .then(|| format!("`{}` is not captured by this version", self.name))
    }
}

/// The event types that have the fields `network.*`.
pub(crate) const PACKET_TYPES: &[&str] = &["dns", "imds", "packet"];

/// The event types that rules can be written for.
pub static EVENT_TYPES: &[EventType] = &[
    captured::<ExecEvent>(
        CaptureKind::Exec,
        "exec",
        Category::Process,
        "7.27",
        "A process executed a program.",
    ),
    captured::<ExitEvent>(
        CaptureKind::Exit,
        "exit",
        Category::Process,
        "7.38",
        "A process ended.",
    ),
    captured::<OpenEvent>(
        CaptureKind::Open,
        "open",
        Category::File,
        "7.27",
        "A file was opened.",
    ),
    captured::<ChmodEvent>(
        CaptureKind::Chmod,
        "chmod",
        Category::File,
        "7.27",
        "A file's permission bits were changed.",
    ),
    captured::<ChownEvent>(
        CaptureKind::Chown,
        "chown",
        Category::File,
        "7.27",
        "A file's owner was changed.",
    ),
    captured::<UnlinkEvent>(
        CaptureKind::Unlink,
        "unlink",
        Category::File,
        "7.27",
        "A name of a file was removed.",
    ),
    captured::<RmdirEvent>(
        CaptureKind::Rmdir,
        "rmdir",
        Category::File,
        "7.27",
        "A directory was removed.",
    ),
    captured::<MkdirEvent>(
        CaptureKind::Mkdir,
        "mkdir",
        Category::File,
        "7.27",
        "A directory was made.",
    ),
    captured::<RenameEvent>(
        CaptureKind::Rename,
        "rename",
        Category::File,
        "7.27",
        "A file got another name.",
    ),
    captured::<LinkEvent>(
        CaptureKind::Link,
        "link",
        Category::File,
        "7.27",
        "A file got a further name.",
    ),
    captured::<UtimesEvent>(
        CaptureKind::Utimes,
        "utimes",
        Category::File,
        "7.27",
        "A file's times were set.",
    ),
    declared::<ChdirEvent>(
        "chdir",
        Category::File,
        "7.52",
        "A process changed its working directory.",
    ),
    declared::<MountEvent>(
        "mount",
        Category::File,
        "7.42",
        "A file system was mounted.",
    ),
    declared::<XattrEvent>(
        "removexattr",
        Category::File,
        "7.27",
        "An extended attribute of a file was removed.",
    ),
    declared::<XattrEvent>(
        "setxattr",
        Category::File,
        "7.27",
        "An extended attribute of a file was set.",
    ),
    declared::<SpliceEvent>(
        "splice",
        Category::File,
        "7.36",
        "Data was moved between a file and a pipe without a copy.",
    ),
    declared::<CapabilitiesEvent>(
        "capabilities",
        Category::Process,
        "7.70",
        "A process used capabilities.",
    ),
    declared::<CapsetEvent>(
        "capset",
        Category::Process,
        "7.27",
        "A process changed its capabilities.",
    ),
    declared::<PrctlEvent>(
        "prctl",
        Category::Process,
        "7.71",
        "A process changed how the kernel treats it, with `prctl`.",
    ),
    declared::<SetgidEvent>(
        "setgid",
        Category::Process,
        "7.27",
        "A process changed its group ids.",
    ),
    declared::<SetrlimitEvent>(
        "setrlimit",
        Category::Process,
        "7.68",
        "A limit of a process's resources was set.",
    ),
    declared::<SetuidEvent>(
        "setuid",
        Category::Process,
        "7.27",
        "A process changed its user ids.",
    ),
    declared::<SignalEvent>("signal", Category::Process, "7.35", "A signal was sent."),
    declared::<BpfEvent>("bpf", Category::Kernel, "7.33", "A process used eBPF."),
    declared::<CgroupWriteEvent>(
        "cgroup_write",
        Category::Kernel,
        "7.68",
        "A process was moved to another cgroup.",
    ),
    declared::<LoadModuleEvent>(
        "load_module",
        Category::Kernel,
        "7.35",
        "A kernel module was loaded.",
    ),
    declared::<MmapEvent>("mmap", Category::Kernel, "7.35", "Memory was mapped."),
    declared::<MprotectEvent>(
        "mprotect",
        Category::Kernel,
        "7.35",
        "What memory may be used for was changed.",
    ),
    declared::<PtraceEvent>(
        "ptrace",
        Category::Kernel,
        "7.35",
        "A process traced another.",
    ),
    declared::<SelinuxEvent>(
        "selinux",
        Category::Kernel,
        "7.30",
        "SELinux was told to work otherwise.",
    ),
    declared::<SysctlEvent>(
        "sysctl",
        Category::Kernel,
        "7.65",
        "A kernel parameter was read or written.",
    ),
    declared::<UnloadModuleEvent>(
        "unload_module",
        Category::Kernel,
        "7.35",
        "A kernel module was taken out.",
    ),
    declared::<UnshareEvent>(
        "unshare",
        Category::Kernel,
        "7.83",
        "A process left namespaces that it shared with others.",
    ),
    declared::<AcceptEvent>(
        "accept",
        Category::Network,
        "7.63",
        "A socket accepted a connection.",
    ),
    declared::<BindEvent>(
        "bind",
        Category::Network,
        "7.37",
        "A socket was given an address of its own.",
    ),
    declared::<ConnectEvent>(
        "connect",
        Category::Network,
        "7.60",
        "A socket was connected to an address.",
    ),
    declared::<DnsEvent>(
        "dns",
        Category::Network,
        "7.36",
        "A name was asked for in DNS, or the answer came.",
    ),
    declared::<ImdsEvent>(
        "imds",
        Category::Network,
        "7.55",
        "A cloud provider's metadata service was asked, or answered.",
    ),
    declared::<FlowEvent>(
        "network_flow_monitor",
        Category::Network,
        "7.63",
        "What went over a network interface was counted.",
    ),
    declared::<PacketEvent>(
        "packet",
        Category::Network,
        "7.60",
        "A packet passed that a rule's filter asks for.",
    ),
    declared::<SetsockoptEvent>(
        "setsockopt",
        Category::Network,
        "7.68",
        "An option of a socket was set.",
    ),
    declared::<SocketEvent>("socket", Category::Network, "7.81", "A socket was made."),
    declared::<OnDemandEvent>(
        "ondemand",
        Category::Kernel,
        "",
        "A function of the kernel was called that configuration names.",
    ),
    captured::<HeartbeatEvent>(
        CaptureKind::Heartbeat,
        "heartbeat",
        Category::Internal,
        "",
        "The sensor's proof of life: a kernel hook answered the agent.",
    ),
];

/// The event type of this name.
#[must_use]
pub fn event_type(name: &str) -> Option<&'static EventType> {
    EVENT_TYPES.iter().find(|known| known.name == name)
}

const fn captured<T: Fields>(
    kind: CaptureKind,
    name: &'static str,
    category: Category,
    since: &'static str,
    doc: &'static str,
) -> EventType {
    EventType {
        kind: Some(kind),
        ..declared::<T>(name, category, since, doc)
    }
}

const fn declared<T: Fields>(
    name: &'static str,
    category: Category,
    since: &'static str,
    doc: &'static str,
) -> EventType {
    EventType {
        name,
        doc,
        category,
        since,
        kind: None,
        describe: T::describe,
    }
}
