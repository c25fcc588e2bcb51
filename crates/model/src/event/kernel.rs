//! Events of the kernel itself: modules, eBPF, sysctls, SELinux, cgroups, namespaces.

use atalaya_model_derive::Fields;
use serde_json::json;

use crate::constants::name_of;
use crate::event_body;
use crate::file::File;
use crate::json::Details;
use crate::record::{EventBody, EventRecord};
use crate::text::{c_string, module_arguments};

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
    /// The number of the map, by which the kernel tells it from others of that name; 0 when there is none.
    pub map_id: u32,
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
    /// The call was about a map.
    pub has_map: bool,
    /// The call was about a program.
    pub has_program: bool,
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

/// The value of a parameter without the newline that its file ends in.
fn value_of(text: &str) -> String {
    text.strip_suffix('\n').unwrap_or(text).to_owned()
}

/// SELinux was told to work otherwise.
#[derive(Debug, Clone, PartialEq, Default, Fields)]
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
    /// The file that SELinux was told by.
    pub file: File,
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

const HELPER_WORDS: usize = 4;

event_body! {
    struct BpfBody as "bpf_body" {
        cmd: u32, has: u32, map_type: u32, prog_type: u32, attach_type: u32, map_id: u32,
        tag: [u8; 8], map_name: [u8; 16], prog_name: [u8; 16], helpers: [u64; HELPER_WORDS],
    }
}
event_body! {
    struct LoadModuleBody as "load_module_body" { name: [u8; MODULE_NAME], from_memory: u32, reserved: u32, }
}
event_body! {
    struct UnloadModuleBody as "unload_module_body" { name: [u8; MODULE_NAME], }
}

event_body! {
    struct SysctlBody as "sysctl_body" { write: u32, position: u32, old_truncated: u32, reserved: u32, }
}
event_body! {
    struct SelinuxBody as "selinux_body" { control: u32, reserved: u32, text: [u8; 32], }
}
event_body! {
    struct CgroupWriteBody as "cgroup_write_body" { pid: u32, reserved: u32, }
}

const MODULE_NAME: usize = 56;
const HAS_MAP: u32 = 1 << 0;
const HAS_PROGRAM: u32 = 1 << 1;

impl EventBody for BpfEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: BpfBody = record.body()?;
        let has_program = body.has & HAS_PROGRAM != 0;
        let is_set = |bit: i64| body.helpers[bit as usize / 64] >> (bit % 64) & 1 != 0;
        let tag = if body.tag == [0; 8] {
            String::new() // of a program that was refused before the kernel computed it
        } else {
            body.tag.iter().map(|byte| format!("{byte:02x}")).collect()
        };
        Some(Self {
            command: body.cmd,
            map_name: c_string(&body.map_name),
            map_type: body.map_type,
            map_id: body.map_id,
            program_name: c_string(&body.prog_name),
            program_type: body.prog_type,
            attach_type: body.attach_type,
            helpers: (0..64 * HELPER_WORDS as i64)
                .filter(|bit| is_set(*bit))
                .collect(),
            program_tag: tag,
            retval: record.retval,
            has_map: body.has & HAS_MAP != 0,
            has_program,
        })
    }

    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        let mut told = json!({ "cmd": name_of("BPF commands", self.command.into()) });
        if self.has_map {
            told["map"] = json!({
                "name": self.map_name,
                "map_type": name_of("BPF map types", self.map_type.into()),
            });
        }
        if self.has_program {
            let helpers = self.helpers.iter();
            let names: Vec<String> = helpers
                .map(|helper| name_of("BPF helper functions", *helper))
                .collect();
            told["program"] = json!({
                "name": self.program_name,
                "tag": self.program_tag,
                "program_type": name_of("BPF program types", self.program_type.into()),
                "attach_type": name_of("BPF attach types", self.attach_type.into()),
                "helpers": names,
            });
        }
        details.section("bpf", told);
    }
}

impl EventBody for LoadModuleEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: LoadModuleBody = record.body()?;
        let args = record.texts[0].take().unwrap_or_default();
        Some(Self {
            file: record.take_file(0).map(File::from).unwrap_or_default(),
            name: c_string(&body.name),
            loaded_from_memory: body.from_memory != 0,
            argv: module_arguments(&args.text),
            args: args.text,
            args_truncated: args.truncated,
            retval: record.retval,
        })
    }

    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        if self.file.known {
            details.file(&self.file);
        }
        let mut told = json!({ "name": self.name, "loaded_from_memory": self.loaded_from_memory });
        if !self.argv.is_empty() {
            told["argv"] = json!(self.argv);
        }
        if self.args_truncated {
            told["args_truncated"] = json!(true);
        }
        details.section("module", told);
    }
}

impl EventBody for UnloadModuleEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: UnloadModuleBody = record.body()?;
        Some(Self {
            name: c_string(&body.name),
            retval: record.retval,
        })
    }

    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        details.section("module", json!({ "name": self.name }));
    }
}

const READ: u32 = 1;
const WRITE: u32 = 2;

impl EventBody for SysctlEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: SysctlBody = record.body()?;
        let [name, value] = std::mem::take(&mut record.texts).map(Option::unwrap_or_default);
        let old_value = value_of(&c_string(record.bytes));
        Some(Self {
            name: name.text,
            name_truncated: name.truncated,
            action: if body.write == 0 { READ } else { WRITE },
            file_position: body.position,
            value: value_of(&value.text),
            value_truncated: value.truncated,
            old_value,
            old_value_truncated: body.old_truncated != 0,
        })
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        let mut told = json!({
            "action": name_of("SysCtl Actions", self.action.into()),
            "file_position": self.file_position,
            "name": self.name,
            "name_truncated": self.name_truncated,
            "value": self.value,
            "value_truncated": self.value_truncated,
        });
        if self.action == WRITE {
            told["old_value"] = json!(self.old_value);
            told["old_value_truncated"] = json!(self.old_value_truncated);
        }
        details.section("sysctl", told);
    }
}

/// `enum selinux_control` of the C side.
const SELINUX_ENFORCE: u32 = 1;
const SELINUX_DISABLE: u32 = 2;
const SELINUX_COMMIT: u32 = 3;
const SELINUX_BOOL: u32 = 4;

/// The number that a control of SELinux is given, as the kernel reads it: blanks, a sign, digits, and whatever follows.
fn switch_of(text: &str) -> Option<bool> {
    let text = text.trim_start_matches(|c: char| c.is_ascii_whitespace());
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let end = digits.find(|c: char| !c.is_ascii_digit());
    let digits = digits.get(..end.unwrap_or(digits.len()))?;
    (!digits.is_empty()).then(|| digits.bytes().any(|digit| digit != b'0'))
}

impl EventBody for SelinuxEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: SelinuxBody = record.body()?;
        let file = record.take_file(0).map(File::from).unwrap_or_default();
        let on = switch_of(&c_string(&body.text));
        let mut event = Self {
            file,
            ..Self::default()
        };
        match (body.control, on) {
            (SELINUX_ENFORCE, Some(true)) => event.enforce_status = "enforcing".into(),
            (SELINUX_ENFORCE, Some(false)) => event.enforce_status = "permissive".into(),
            (SELINUX_DISABLE, Some(true)) => event.enforce_status = "disabled".into(),
            (SELINUX_COMMIT, Some(on)) => event.bool_commit = on,
            (SELINUX_BOOL, on) => {
                let name = event.file.path.rsplit('/').next();
                event.bool_name = name.unwrap_or_default().to_owned();
                let state = on.map_or("", |on| if on { "on" } else { "off" });
                event.bool_state = state.to_owned();
            }
            _ => {} // no number: the kernel refuses it
        }
        Some(event)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        if self.file.known {
            details.file(&self.file);
        }
        let told = if !self.enforce_status.is_empty() {
            json!({ "enforce": { "status": self.enforce_status } })
        } else if !self.bool_name.is_empty() {
            json!({ "bool": { "name": self.bool_name, "state": self.bool_state } })
        } else {
            json!({ "bool_commit": { "state": self.bool_commit } })
        };
        details.section("selinux", told);
    }
}

impl EventBody for CgroupWriteEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: CgroupWriteBody = record.body()?;
        Some(Self {
            file: record.take_file(0).map(File::from).unwrap_or_default(),
            pid: body.pid,
        })
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        let mut told = json!({ "pid": self.pid });
        if self.file.known {
            told["file"] = details.file_json(&self.file);
        }
        details.section("cgroup_write", told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_of_selinux_is_the_number_that_the_text_begins_with() {
        for (text, on) in [
            ("1", Some(true)),
            ("0\n", Some(false)),
            (" 1 1", Some(true)),
            ("-1", Some(true)),
            ("00", Some(false)),
            ("10x", Some(true)),
            ("", None),
            ("on", None),
        ] {
            assert_eq!(switch_of(text), on, "{text:?}");
        }
    }
}
