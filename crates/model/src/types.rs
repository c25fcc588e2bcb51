//! The event types of the rule language.

use crate::capture::CaptureKind;
use crate::event::{
    AcceptEvent, BindEvent, BpfEvent, CapabilitiesEvent, CapsetEvent, CgroupWriteEvent, ChdirEvent,
    ChmodEvent, ChownEvent, ConnectEvent, DnsEvent, ExecEvent, ExitEvent, FailedDnsEvent,
    FlowEvent, HeartbeatEvent, ImdsEvent, LinkEvent, LoadModuleEvent, MkdirEvent, MmapEvent,
    MountEvent, MprotectEvent, OnDemandEvent, OpenEvent, PacketEvent, PrctlEvent, PtraceEvent,
    RenameEvent, RmdirEvent, SelinuxEvent, SetgidEvent, SetrlimitEvent, SetsockoptEvent,
    SetuidEvent, SignalEvent, SocketEvent, SpliceEvent, SysctlEvent, UnlinkEvent,
    UnloadModuleEvent, UnshareEvent, UtimesEvent, XattrEvent,
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
    /// A rule on it.
    pub example: &'static str,
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
        r#"exec.file.name in [ "nc", "ncat", "socat" ] && process.ancestors.file.name == "nginx""#,
    ),
    captured::<ExitEvent>(
        CaptureKind::Exit,
        "exit",
        Category::Process,
        "7.38",
        "A process ended.",
        r#"exit.cause == COREDUMPED && exit.file.path == ~"/usr/sbin/*""#,
    ),
    captured::<OpenEvent>(
        CaptureKind::Open,
        "open",
        Category::File,
        "7.27",
        "A file was opened.",
        r#"open.file.path == "/etc/shadow" && open.flags & (O_WRONLY|O_RDWR) > 0"#,
    ),
    captured::<ChmodEvent>(
        CaptureKind::Chmod,
        "chmod",
        Category::File,
        "7.27",
        "A file's permission bits were changed.",
        r#"chmod.file.path == ~"/tmp/**" && chmod.file.destination.rights & S_ISUID > 0"#,
    ),
    captured::<ChownEvent>(
        CaptureKind::Chown,
        "chown",
        Category::File,
        "7.27",
        "A file's owner was changed.",
        r#"chown.file.path == ~"/etc/cron.d/*" && chown.file.destination.uid != 0"#,
    ),
    captured::<UnlinkEvent>(
        CaptureKind::Unlink,
        "unlink",
        Category::File,
        "7.27",
        "A name of a file was removed.",
        r#"unlink.file.path == ~"/var/log/**" && unlink.file.extension == ".log""#,
    ),
    captured::<RmdirEvent>(
        CaptureKind::Rmdir,
        "rmdir",
        Category::File,
        "7.27",
        "A directory was removed.",
        r#"rmdir.file.path == ~"/var/backups/*""#,
    ),
    captured::<MkdirEvent>(
        CaptureKind::Mkdir,
        "mkdir",
        Category::File,
        "7.27",
        "A directory was made.",
        r#"mkdir.file.name == "..." && mkdir.retval == 0"#,
    ),
    captured::<RenameEvent>(
        CaptureKind::Rename,
        "rename",
        Category::File,
        "7.27",
        "A file got another name.",
        r#"rename.file.path == ~"/tmp/**" && rename.file.destination.path == ~"/usr/bin/*""#,
    ),
    captured::<LinkEvent>(
        CaptureKind::Link,
        "link",
        Category::File,
        "7.27",
        "A file got a further name.",
        r#"link.file.path == "/etc/passwd" && link.file.destination.path == ~"/home/**""#,
    ),
    captured::<UtimesEvent>(
        CaptureKind::Utimes,
        "utimes",
        Category::File,
        "7.27",
        "A file's times were set.",
        r#"utimes.file.path == ~"/usr/bin/*" && process.file.name == "touch""#,
    ),
    captured::<ChdirEvent>(
        CaptureKind::Chdir,
        "chdir",
        Category::File,
        "7.52",
        "A process changed its working directory.",
        r#"chdir.file.path == ~"/proc/**" && process.container.id != """#,
    ),
    captured::<MountEvent>(
        CaptureKind::Mount,
        "mount",
        Category::File,
        "7.42",
        "A file system was mounted.",
        r#"mount.fs_type == "proc" && mount.mountpoint.path == ~"/tmp/**""#,
    ),
    captured::<XattrEvent>(
        CaptureKind::Removexattr,
        "removexattr",
        Category::File,
        "7.27",
        "An extended attribute of a file was removed.",
        r#"removexattr.file.destination.namespace == "security" && removexattr.file.destination.name == "security.capability""#,
    ),
    captured::<XattrEvent>(
        CaptureKind::Setxattr,
        "setxattr",
        Category::File,
        "7.27",
        "An extended attribute of a file was set.",
        r#"setxattr.file.destination.name == "security.capability" && setxattr.file.path == ~"/home/**""#,
    ),
    captured::<SpliceEvent>(
        CaptureKind::Splice,
        "splice",
        Category::File,
        "7.36",
        "Data was moved between a file and a pipe without a copy.",
        r#"splice.file.path == ~"/etc/*" && splice.pipe_exit_flag & PIPE_BUF_FLAG_CAN_MERGE > 0"#,
    ),
    captured::<CapabilitiesEvent>(
        CaptureKind::Capabilities,
        "capabilities",
        Category::Process,
        "7.70",
        "A process used capabilities.",
        r#"capabilities.used & CAP_SYS_MODULE > 0 && process.container.id != """#,
    ),
    captured::<CapsetEvent>(
        CaptureKind::Capset,
        "capset",
        Category::Process,
        "7.27",
        "A process changed its capabilities.",
        "capset.cap_effective & CAP_SYS_ADMIN > 0 && process.uid != 0",
    ),
    captured::<PrctlEvent>(
        CaptureKind::Prctl,
        "prctl",
        Category::Process,
        "7.71",
        "A process changed how the kernel treats it, with `prctl`.",
        r#"prctl.option == PR_SET_NAME && prctl.new_name =~ "kworker*""#,
    ),
    captured::<SetgidEvent>(
        CaptureKind::Setgid,
        "setgid",
        Category::Process,
        "7.27",
        "A process changed its group ids.",
        "setgid.egid == 0 && process.gid != 0",
    ),
    captured::<SetrlimitEvent>(
        CaptureKind::Setrlimit,
        "setrlimit",
        Category::Process,
        "7.68",
        "A limit of a process's resources was set.",
        "setrlimit.resource == RLIMIT_CORE && setrlimit.rlim_max == 0 && setrlimit.target.uid == 0",
    ),
    captured::<SetuidEvent>(
        CaptureKind::Setuid,
        "setuid",
        Category::Process,
        "7.27",
        "A process changed its user ids.",
        r#"setuid.euid == 0 && process.euid != 0 && process.file.name not in [ "sudo", "su" ]"#,
    ),
    captured::<SignalEvent>(
        CaptureKind::Signal,
        "signal",
        Category::Process,
        "7.35",
        "A signal was sent.",
        r#"signal.type == SIGKILL && signal.target.file.name == "auditd""#,
    ),
    captured::<BpfEvent>(
        CaptureKind::Bpf,
        "bpf",
        Category::Kernel,
        "7.33",
        "A process used eBPF.",
        "bpf.cmd == BPF_PROG_LOAD && bpf.prog.helpers in [ BPF_OVERRIDE_RETURN ]",
    ),
    captured::<CgroupWriteEvent>(
        CaptureKind::CgroupWrite,
        "cgroup_write",
        Category::Kernel,
        "7.68",
        "A process was moved to another cgroup.",
        r#"cgroup_write.file.path == ~"/sys/fs/cgroup/system.slice/**" && process.container.id != """#,
    ),
    captured::<LoadModuleEvent>(
        CaptureKind::LoadModule,
        "load_module",
        Category::Kernel,
        "7.35",
        "A kernel module was loaded.",
        r#"load_module.loaded_from_memory && process.file.name != "modprobe""#,
    ),
    captured::<MmapEvent>(
        CaptureKind::Mmap,
        "mmap",
        Category::Kernel,
        "7.35",
        "Memory was mapped.",
        "mmap.protection & (PROT_WRITE|PROT_EXEC) == 6 && mmap.flags & MAP_ANONYMOUS > 0",
    ),
    captured::<MprotectEvent>(
        CaptureKind::Mprotect,
        "mprotect",
        Category::Kernel,
        "7.35",
        "What memory may be used for was changed.",
        "mprotect.req_protection & VM_EXEC > 0 && mprotect.vm_protection & VM_WRITE > 0",
    ),
    captured::<PtraceEvent>(
        CaptureKind::Ptrace,
        "ptrace",
        Category::Kernel,
        "7.35",
        "A process traced another.",
        r#"ptrace.request == PTRACE_ATTACH && ptrace.tracee.ancestors.file.name == "sshd""#,
    ),
    captured::<SelinuxEvent>(
        CaptureKind::Selinux,
        "selinux",
        Category::Kernel,
        "7.30",
        "SELinux was told to work otherwise.",
        r#"selinux.enforce.status in [ "permissive", "disabled" ]"#,
    ),
    captured::<SysctlEvent>(
        CaptureKind::Sysctl,
        "sysctl",
        Category::Kernel,
        "7.65",
        "A kernel parameter was read or written.",
        r#"sysctl.action == SYSCTL_WRITE && sysctl.name == "kernel/core_pattern""#,
    ),
    captured::<UnloadModuleEvent>(
        CaptureKind::UnloadModule,
        "unload_module",
        Category::Kernel,
        "7.35",
        "A kernel module was taken out.",
        r#"unload_module.name == "nf_tables""#,
    ),
    captured::<UnshareEvent>(
        CaptureKind::Unshare,
        "unshare",
        Category::Kernel,
        "7.83",
        "A process left namespaces that it shared with others.",
        "unshare.flags & CLONE_NEWUSER > 0 && process.uid != 0",
    ),
    captured::<AcceptEvent>(
        CaptureKind::Accept,
        "accept",
        Category::Network,
        "7.63",
        "A socket accepted a connection.",
        "accept.addr.is_public && accept.addr.port == 23",
    ),
    captured::<BindEvent>(
        CaptureKind::Bind,
        "bind",
        Category::Network,
        "7.37",
        "A socket was given an address of its own.",
        "bind.addr.port < 1024 && process.uid != 0",
    ),
    captured::<ConnectEvent>(
        CaptureKind::Connect,
        "connect",
        Category::Network,
        "7.60",
        "A socket was connected to an address.",
        r#"connect.addr.hostname.root_domain == "example.com" && connect.addr.port != 443"#,
    ),
    captured::<DnsEvent>(
        CaptureKind::Dns,
        "dns",
        Category::Network,
        "7.36",
        "A name was asked for in DNS, or the answer came.",
        r#"dns.question.name.root_domain == "example.com" && dns.question.type == TXT"#,
    ),
    captured::<FailedDnsEvent>(
        CaptureKind::FailedDns,
        "failed_dns",
        Category::Network,
        "",
        "What went to or came from the port of DNS could not be read as a message.",
        r#"failed_dns.reason != "" && process.container.id != """#,
    ),
    captured::<ImdsEvent>(
        CaptureKind::Imds,
        "imds",
        Category::Network,
        "7.55",
        "A cloud provider's metadata service was asked, or answered.",
        r#"imds.cloud_provider == "aws" && !imds.aws.is_imds_v2"#,
    ),
    captured::<FlowEvent>(
        CaptureKind::NetworkFlowMonitor,
        "network_flow_monitor",
        Category::Network,
        "7.63",
        "What went over a network interface was counted.",
        "network_flow_monitor.flows[A].destination.port == 22 && network_flow_monitor.flows[A].egress.data_size > 1000000",
    ),
    captured::<PacketEvent>(
        CaptureKind::Packet,
        "packet",
        Category::Network,
        "7.60",
        "A packet passed that a rule's filter asks for.",
        r#"packet.filter == "tcp dst port 4444" && network.network_direction == EGRESS"#,
    ),
    captured::<SetsockoptEvent>(
        CaptureKind::Setsockopt,
        "setsockopt",
        Category::Network,
        "7.68",
        "An option of a socket was set.",
        "setsockopt.optname == SO_ATTACH_FILTER && setsockopt.socket_type == SOCK_RAW",
    ),
    captured::<SocketEvent>(
        CaptureKind::Socket,
        "socket",
        Category::Network,
        "7.81",
        "A socket was made.",
        "socket.domain == AF_INET && socket.type == SOCK_RAW",
    ),
    declared::<OnDemandEvent>(
        "ondemand",
        Category::Kernel,
        "",
        "A function of the kernel was called that configuration names.",
        r#"ondemand.name == "security_inode_link" && ondemand.arg1.uint > 0"#,
    ),
    captured::<HeartbeatEvent>(
        CaptureKind::Heartbeat,
        "heartbeat",
        Category::Internal,
        "",
        "The sensor's proof of life: a kernel hook answered the agent.",
        "heartbeat.sequence == 0",
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
    example: &'static str,
) -> EventType {
    EventType {
        kind: Some(kind),
        ..declared::<T>(name, category, since, doc, example)
    }
}

const fn declared<T: Fields>(
    name: &'static str,
    category: Category,
    since: &'static str,
    doc: &'static str,
    example: &'static str,
) -> EventType {
    EventType {
        name,
        doc,
        category,
        since,
        kind: None,
        example,
        describe: T::describe,
    }
}
