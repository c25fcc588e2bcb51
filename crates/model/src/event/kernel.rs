//! Events of the kernel itself: modules, eBPF, sysctls, SELinux, cgroups, namespaces.

use atalaya_model_derive::Fields;

use crate::event_body;
use crate::record::{EventBody, EventRecord};

use crate::file::File;

/// A kernel module was loaded.
#[derive(Debug, Clone, PartialEq, Default, Fields)]
pub struct LoadModuleEvent {
    /// The file it was loaded from.
    #[nested(prefix = "file")]
    pub file: File,
    /// The name of the module.
    #[field]
    pub name: String,
    /// Whether the module came out of the caller's memory and not from a file.
    #[field]
    pub loaded_from_memory: bool,
    /// The parameters the module was given.
    #[field(name = "argv", weight = 500)]
    pub argv: Vec<String>,
    /// The parameters the module was given, joined by blanks.
    #[field(weight = 500)]
    pub args: String,
    /// Whether parameters are missing or cut.
    #[field]
    pub args_truncated: bool,
    /// What the call returned: 0, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
}

/// A kernel module was taken out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct UnloadModuleEvent {
    /// The name of the module.
    #[field]
    pub name: String,
    /// What the call returned: 0, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
}

/// The `bpf` system call was made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct BpfEvent {
    /// What was asked for.
    #[field(name = "cmd", constants = "BPF commands")]
    pub command: u32,
    /// The name of the map.
    #[field(name = "map.name", validator = MaxLength(15))]
    pub map_name: String,
    /// The kind of the map.
    #[field(name = "map.type", constants = "BPF map types")]
    pub map_type: u32,
    /// The name of the program.
    #[field(name = "prog.name", validator = MaxLength(15))]
    pub program_name: String,
    /// The kind of the program.
    #[field(name = "prog.type", constants = "BPF program types")]
    pub program_type: u32,
    /// What the program is attached to.
    #[field(name = "prog.attach_type", constants = "BPF attach types")]
    pub attach_type: u32,
    /// The kernel functions that the program calls.
    #[field(name = "prog.helpers", constants = "BPF helper functions")]
    pub helpers: Vec<i64>,
    /// The digest of the program's instructions, as the kernel computes it.
    #[field(name = "prog.tag")]
    pub program_tag: String,
    /// What the call returned: 0 or a file descriptor, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
}

/// A kernel parameter below `/proc/sys` was read or written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct SysctlEvent {
    /// The parameter, with slashes: `net/ipv4/ip_forward`.
    #[field]
    pub name: String,
    /// Whether the name is longer than what was captured.
    #[field]
    pub name_truncated: bool,
    /// Whether it was read or written.
    #[field(constants = "SysCtl Actions")]
    pub action: u32,
    /// Where in the parameter's file the call read or wrote.
    #[field]
    pub file_position: u32,
    /// The value that was written, or that was read.
    #[field]
    pub value: String,
    /// Whether the value is longer than what was captured.
    #[field]
    pub value_truncated: bool,
    /// The value before it was written.
    #[field]
    pub old_value: String,
    /// Whether the value before is longer than what was captured.
    #[field]
    pub old_value_truncated: bool,
}

/// SELinux was told to work otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct SelinuxEvent {
    /// The name of the switch of the SELinux policy that was set.
    #[field(name = "bool.name")]
    pub bool_name: String,
    /// What the switch was set to: `on` or `off`.
    #[field(name = "bool.state")]
    pub bool_state: String,
    /// Whether switches that were set before were put in force.
    #[field(name = "bool_commit.state")]
    pub bool_commit: bool,
    /// What SELinux was told to do with what its policy forbids: `enforcing`, `permissive` or `disabled`.
    #[field(name = "enforce.status")]
    pub enforce_status: String,
}

/// A process was moved to another cgroup.
#[derive(Debug, Clone, PartialEq, Default, Fields)]
pub struct CgroupWriteEvent {
    /// The file of the cgroup that was written to.
    #[nested(prefix = "file")]
    pub file: File,
    /// The id of the process that was moved.
    #[field]
    pub pid: u32,
}

/// A process left namespaces that it shared with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Fields)]
pub struct UnshareEvent {
    /// The kinds of namespaces it asked to have of its own.
    #[field(constants = "Clone flags")]
    pub flags: u64,
    /// What the call returned: 0, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
}

/// A function of the kernel was called that configuration names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct OnDemandEvent {
    /// The function, or `syscall:NAME`.
    #[field]
    pub name: String,
    /// Its arguments.
    #[nested(prefix = "arg1")]
    pub arg1: Argument,
    /// The second.
    #[nested(prefix = "arg2")]
    pub arg2: Argument,
    /// The third.
    #[nested(prefix = "arg3")]
    pub arg3: Argument,
    /// The fourth.
    #[nested(prefix = "arg4")]
    pub arg4: Argument,
    /// The fifth.
    #[nested(prefix = "arg5")]
    pub arg5: Argument,
    /// The sixth.
    #[nested(prefix = "arg6")]
    pub arg6: Argument,
}

/// An argument of a function.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct Argument {
    /// The text that the argument points at, where configuration says that it is text.
    #[field(name = "str")]
    pub text: String,
    /// The argument as a number, where configuration says that it is one.
    #[field(name = "uint")]
    pub number: u64,
}

impl EventBody for BpfEvent {}
impl EventBody for CgroupWriteEvent {}
impl EventBody for LoadModuleEvent {}
impl EventBody for SelinuxEvent {}
impl EventBody for SysctlEvent {}
impl EventBody for UnloadModuleEvent {}
event_body! {
    struct UnshareBody as "unshare_body" { flags: u64, }
}

impl EventBody for UnshareEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: UnshareBody = record.body()?;
        Some(Self {
            flags: body.flags,
            retval: record.retval,
        })
    }

    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }
}
