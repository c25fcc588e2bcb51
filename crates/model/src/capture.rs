//! What the sensor hands on: one [`Capture`] a kernel record, decoded but not yet joined with the process tree.
//!
//! Strings come from the kernel as bytes; what is not UTF-8 is replaced by U+FFFD. Times are nanoseconds of
//! `CLOCK_BOOTTIME`.

use crate::event::EventData;
use std::collections::BTreeMap;

macro_rules! capture_kinds {
    ($($(#[$doc:meta])* $kind:ident = $number:literal, $name:literal;)*) => {
        /// The kinds of records the sensor emits. The numbers are those of `bpf/atalaya.h`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum CaptureKind { $($(#[$doc])* $kind = $number,)* }

        /// All kinds, in number order.
        pub const CAPTURE_KINDS: [CaptureKind; [$($number),*].len()] = [$(CaptureKind::$kind),*];

        impl CaptureKind {
            /// The event type's name in rules and in JSON.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// The kind with this number.
            #[must_use]
            pub fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$kind),)* _ => None }
            }

            /// The kind with this name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$kind),)* _ => None }
            }
        }
    };
}

capture_kinds! {
    /// A process came to be.
    Fork = 1, "fork";
    /// A process replaced its image.
    Exec = 2, "exec";
    /// A process ended.
    Exit = 3, "exit";
    /// The sensor's proof of life.
    Heartbeat = 4, "heartbeat";
    /// A process was moved to another cgroup.
    Cgroup = 6, "cgroup_move";
    /// A file was opened.
    Open = 16, "open";
    /// A file's mode was changed.
    Chmod = 17, "chmod";
    /// A file's owner was changed.
    Chown = 18, "chown";
    /// A name was removed.
    Unlink = 19, "unlink";
    /// A directory was removed.
    Rmdir = 20, "rmdir";
    /// A directory was made.
    Mkdir = 21, "mkdir";
    /// A name was changed.
    Rename = 22, "rename";
    /// A name was added.
    Link = 23, "link";
    /// File times were set.
    Utimes = 24, "utimes";
    /// A connection was accepted.
    Accept = 32, "accept";
    /// A socket got an address of its own.
    Bind = 33, "bind";
    /// eBPF was used.
    Bpf = 34, "bpf";
    /// Capabilities were used.
    Capabilities = 35, "capabilities";
    /// Capabilities were changed.
    Capset = 36, "capset";
    /// A process was moved to another cgroup.
    CgroupWrite = 37, "cgroup_write";
    /// A working directory was changed.
    Chdir = 38, "chdir";
    /// A socket was connected.
    Connect = 39, "connect";
    /// A kernel module was loaded.
    LoadModule = 40, "load_module";
    /// Memory was mapped.
    Mmap = 41, "mmap";
    /// A file system was mounted.
    Mount = 42, "mount";
    /// What memory may be used for was changed.
    Mprotect = 43, "mprotect";
    /// `prctl` was called.
    Prctl = 44, "prctl";
    /// A process traced another.
    Ptrace = 45, "ptrace";
    /// An extended attribute was removed.
    Removexattr = 46, "removexattr";
    /// SELinux was told to work otherwise.
    Selinux = 47, "selinux";
    /// Group ids were changed.
    Setgid = 48, "setgid";
    /// A limit of resources was set.
    Setrlimit = 49, "setrlimit";
    /// An option of a socket was set.
    Setsockopt = 50, "setsockopt";
    /// User ids were changed.
    Setuid = 51, "setuid";
    /// An extended attribute was set.
    Setxattr = 52, "setxattr";
    /// A signal was sent.
    Signal = 53, "signal";
    /// A socket was made.
    Socket = 54, "socket";
    /// Data was moved between a file and a pipe.
    Splice = 55, "splice";
    /// A kernel parameter was read or written.
    Sysctl = 56, "sysctl";
    /// A kernel module was taken out.
    UnloadModule = 57, "unload_module";
    /// Namespaces were left.
    Unshare = 58, "unshare";
    /// A name was asked for in DNS, or the answer came.
    Dns = 64, "dns";
    /// A cloud provider's metadata service was asked, or answered.
    Imds = 65, "imds";
    /// A packet passed that a rule's filter asks for.
    Packet = 66, "packet";
    /// What went over a network interface was counted.
    NetworkFlowMonitor = 67, "network_flow_monitor";
    /// A DNS message could not be read.
    FailedDns = 68, "failed_dns";
}

impl CaptureKind {
    /// Whether it is told as a [`FileCall`]: a call on names or attributes of files.
    #[must_use]
    pub fn is_file_call(self) -> bool {
        (Self::Open as u16..=Self::Utimes as u16).contains(&(self as u16))
            || matches!(self, Self::Chdir | Self::Setxattr | Self::Removexattr)
    }

    /// Whether it is seen at the network interfaces, not in the process that causes it.
    #[must_use]
    pub fn is_of_packets(self) -> bool {
        matches!(
            self,
            Self::Dns | Self::Imds | Self::Packet | Self::NetworkFlowMonitor | Self::FailedDns
        )
    }

    /// Whether it is part of what the process tree is made of.
    #[must_use]
    pub fn is_life_cycle(self) -> bool {
        matches!(
            self,
            Self::Fork | Self::Exec | Self::Exit | Self::Heartbeat | Self::Cgroup
        )
    }
}

/// One record of the kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct Capture {
    /// What every record has.
    pub header: Header,
    /// What only this kind has.
    pub body: Body,
}

/// What every record carries of the task that caused it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Header {
    /// The CPU the record was written on.
    pub cpu: u32,
    /// Counts the records of this CPU and ring, from 1; a gap is a loss.
    pub seq: u64,
    /// When (boot time, ns).
    pub time_ns: u64,
    /// Thread group id in the initial pid namespace.
    pub pid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// Id of the task's cgroup in the default hierarchy (v2).
    pub cgroup_id: u64,
    /// Inode number of the mount namespace.
    pub mntns: u32,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// The lower half of the process's start time (boot time, ns); 0 when unknown.
    pub start_low: u32,
    /// The parent's thread group id at this moment; 0 when unknown.
    pub ppid: u32,
    /// The session that a login began, as the audit system numbers it; `u32::MAX` for none.
    pub session: u32,
    /// The task's credentials at this moment.
    pub creds: Credentials,
    /// The event has changed them: what they were before is not known here.
    pub creds_after: bool,
    /// The task's comm at this moment.
    pub comm: String,
    /// The call came through io_uring, not a system call.
    pub is_async: bool,
    /// The call came through the 32-bit entry.
    pub compat: bool,
    /// No task caused it by itself, as with a packet: of the task only the ids are known, and what it was allowed is not.
    pub no_task: bool,
}

/// The credentials of a task. Ids are those of the initial user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the kernel's own names, see credentials(7)")]
pub struct Credentials {
    pub uid: u32,
    pub gid: u32,
    pub euid: u32,
    pub egid: u32,
    pub fsuid: u32,
    pub fsgid: u32,
    /// The login uid; `u32::MAX` when unset.
    pub auid: u32,
    pub cap_effective: u64,
    pub cap_permitted: u64,
}

/// What only one kind of record has.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// A new thread group; the header is the parent's.
    Fork(Fork),
    /// A new image; the header is the process's, with the credentials after the exec.
    Exec(Box<Exec>),
    /// The last thread of a group ended.
    Exit(Exit),
    /// The sensor's proof of life: the number that was asked for.
    Heartbeat(u64),
    /// The process of the header is in another cgroup now.
    Cgroup(CgroupMove),
    /// A file system call.
    File(Box<FileCall>),
    /// Any other event, complete but for the processes it names by their ids.
    Event(Box<EventData>),
}

/// A new thread group.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fork {
    /// The child's thread group id.
    pub child_pid: u32,
    /// Its parent's thread group id (`CLONE_PARENT` makes it another than the header's).
    pub parent_pid: u32,
    /// Start of the child (boot time, ns).
    pub start_time_ns: u64,
    /// A kernel thread.
    pub is_kthread: bool,
    /// The child's namespaces.
    pub namespaces: Namespaces,
    /// The child's pid in its own pid namespace.
    pub ns_pid: u32,
    /// The child's cgroup id in the default hierarchy.
    pub cgroup_id: u64,
    /// Where that is.
    pub cgroup: CgroupPath,
}

/// Where a process is in the hierarchies of cgroups.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CgroupPath {
    /// The path in the default hierarchy (v2).
    pub unified: String,
    /// The path in the v1 hierarchy of the pids controller; empty where that is in the default hierarchy.
    pub v1: String,
}

/// A process was moved to another cgroup, in any hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CgroupMove {
    /// Its cgroup id in the default hierarchy.
    pub cgroup_id: u64,
    /// Where it is now.
    pub cgroup: CgroupPath,
}

/// A new image.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Exec {
    /// The file that was asked for: the script, for a script.
    pub file: FileFields,
    /// The interpreter, when `file` is a script.
    pub interpreter: Option<FileFields>,
    /// The path as the caller gave it.
    pub filename: String,
    /// The parent's thread group id.
    pub ppid: u32,
    /// The session id.
    pub sid: u32,
    /// The controlling terminal's name (`pts0`), or empty.
    pub tty: String,
    /// Start of the process, not of the image (boot time, ns).
    pub start_time_ns: u64,
    /// Arguments, `argv[0]` included.
    pub args: Vec<String>,
    /// Some arguments are missing or cut.
    pub args_truncated: bool,
    /// `NAME=value` strings.
    pub envs: Vec<String>,
    /// Some variables are missing or cut.
    pub envs_truncated: bool,
    /// The process's namespaces.
    pub namespaces: Namespaces,
    /// The pid in its own pid namespace.
    pub ns_pid: u32,
    /// Where it is in the hierarchies of cgroups.
    pub cgroup: CgroupPath,
    /// The working directory.
    pub cwd: String,
}

/// A process that is there, as the kernel's own list tells it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Task {
    /// Who it is; the time is when it was read.
    pub header: Header,
    /// Start of the process (boot time, ns).
    pub start_time_ns: u64,
    /// The session id.
    pub sid: u32,
    /// The pid in its own pid namespace.
    pub ns_pid: u32,
    /// A kernel thread.
    pub is_kthread: bool,
    /// It has executed nothing since it was forked.
    pub is_fork: bool,
    /// Its namespaces.
    pub namespaces: Namespaces,
    /// The file that its memory was made of: for a script, the interpreter.
    pub exe: FileFields,
    /// Where it is in the hierarchies of cgroups.
    pub cgroup: CgroupPath,
    /// The controlling terminal's name (`pts0`), or empty.
    pub tty: String,
}

/// Inode numbers of a task's namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the names of namespaces(7)")]
pub struct Namespaces {
    pub mnt: u32,
    pub net: u32,
    pub pid: u32,
    pub user: u32,
    pub uts: u32,
    pub ipc: u32,
    pub cgroup: u32,
}

/// The end of a thread group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exit {
    /// As `wait(2)` tells it: exit status in bits 8–15, signal in bits 0–6, core dump in bit 7.
    pub status: u32,
}

/// Where a path came from: what a reader may believe of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PathOrigin {
    /// Walked from the kernel's own objects.
    #[default]
    Kernel,
    /// The kernel's copy of the caller's string, joined to a kernel-walked directory; symbolic links not followed.
    KernelCopy,
    /// The caller's memory, which another thread may have changed; joined as above.
    UserMemory,
}

/// A file, as the kernel sees it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FileFields {
    /// Absolute path from the root of the mount namespace; empty when unknown.
    pub path: String,
    /// What to believe of `path`.
    pub origin: PathOrigin,
    /// The path was longer or deeper than the sensor walks: its front is missing.
    pub truncated: bool,
    /// The file's mount is attached to no namespace (`O_PATH` trees, lazy umount).
    pub detached: bool,
    /// The file has no name any more (link count 0 at the time), as a deleted executable or a memfd.
    pub deleted: bool,
    /// The inode was seen; the fields below are valid.
    pub known: bool,
    /// Inode number.
    pub inode: u64,
    /// Device number as in `stat(2)`'s `st_dev`.
    pub dev: u64,
    /// The mount's id.
    pub mount_id: u32,
    /// Type and permission bits.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Link count.
    pub nlink: u32,
    /// Modification time (ns since the epoch).
    pub mtime_ns: u64,
    /// Change time (ns since the epoch).
    pub ctime_ns: u64,
    /// File system type (`ext4`).
    pub filesystem: String,
}

/// A file system call: every file event has the same parts, each kind uses its own.
#[derive(Debug, Clone, PartialEq)]
pub struct FileCall {
    /// Which call.
    pub kind: CaptureKind,
    /// What it returned (negative errno on failure).
    pub retval: i64,
    /// The file. Owner and mode are those from before the call for chmod and chown.
    pub file: FileFields,
    /// rename, link: the new name.
    pub destination: Option<FileFields>,
    /// open, unlink, rename: the flags the call was given.
    pub flags: u32,
    /// open with `O_CREAT`, mkdir, chmod: the mode the call was given.
    pub mode: u32,
    /// chown: the ids the call was given; -1 leaves one as it is.
    pub uid: i32,
    /// See `uid`.
    pub gid: i32,
    /// utimes: the times the call set (ns since the epoch); 0 for "now" or untouched.
    pub atime_ns: u64,
    /// See `atime_ns`.
    pub mtime_ns: u64,
    /// The path argument as the caller gave it.
    pub arg_path: String,
    /// rename, link: the second path argument.
    pub arg_path2: String,
    /// The directory file descriptor argument (`AT_FDCWD` is -100).
    pub dirfd: i32,
}

/// What is asked of the classifiers beside the approvers of the kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketOptions {
    /// Look at packets at all.
    pub enabled: bool,
    /// Count flows.
    pub flows: bool,
    /// The address of the cloud's metadata service; `None`: there are no events of it.
    pub imds_ipv4: Option<std::net::Ipv4Addr>,
    /// Which of the packets that pass a rule's filter and are nobody's here are told.
    pub ownerless: Ownerless,
    /// Run the filters of rules and actions at all.
    pub filters: bool,
    /// How many packets are told in a second, of each filter and process; 0 for all.
    pub rate: u32,
}

/// The filters of packets that rules and actions ask for (`pcap-filter(7)`), each with a number of its own, which it keeps for as long as it is
/// asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PacketFilters {
    /// Those of rules. The numbers are below [`PacketFilters::RULES`].
    pub rules: BTreeMap<String, u32>,
    /// Those of `network_filter` actions. The numbers are below [`PacketFilters::ACTIONS`].
    pub actions: BTreeMap<String, u32>,
}

impl PacketFilters {
    /// How many there can be of rules.
    pub const RULES: u32 = 256;
    /// How many there can be of actions.
    pub const ACTIONS: u32 = 64;

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.actions.is_empty()
    }
}

/// Whose packets an action is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PacketSubject {
    /// A process: its pid, and the lower half of the time at which it began.
    Process(u32, u32),
    /// The processes of a cgroup.
    Cgroup(u64),
}

/// What is done to the packets of somebody that pass the filters of actions, as bits by their numbers. What is accepted is not dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PacketOrders {
    /// Dropped.
    pub drop: u64,
    /// Not dropped, whatever else says so.
    pub accept: u64,
}

/// Which packets are told of those that no process is known of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ownerless {
    /// All.
    All,
    /// Those that open a connection of TCP.
    #[default]
    TcpSyn,
    /// None.
    None,
}

impl Default for PacketOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            flows: true,
            imds_ipv4: Some(std::net::Ipv4Addr::new(169, 254, 169, 254)),
            ownerless: Ownerless::default(),
            filters: true,
            rate: 10,
        }
    }
}

/// Losses the kernel side counted since the last report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Loss {
    /// The kind of the lost records.
    pub kind: CaptureKind,
    /// The cgroup whose tasks caused them.
    pub cgroup_id: u64,
    /// How many.
    pub count: u64,
}

/// What the kernel side should send of one kind: the necessary conditions of all rules of that event type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Approvers {
    /// Some rule has no condition that the kernel can test: send all.
    pub all: bool,
    /// Why `all` is set: the rules without a condition.
    pub all_because: Vec<String>,
    /// A file whose last path element is this (either file, for rename and link), opened with any of these flags
    /// (0: whatever the flags).
    pub basenames: Vec<(String, u32)>,
    /// A file whose full path is this, with any of these flags (0: whatever the flags).
    pub paths: Vec<(String, u32)>,
    /// A file in this directory or, where the flag is set, anywhere below it.
    pub directories: Vec<(String, bool, u32)>,
    /// open: any file, if opened with any of these flags.
    pub flags: u32,
    /// An event of which the first or second number that the kernel side tests has this value.
    pub numbers: Vec<(u8, i64)>,
    /// … or has any of these bits.
    pub masks: [i64; 2],
}
