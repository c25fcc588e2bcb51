//! Every program of the object: what it hooks, in which tier, and for which events.
//!
//! Most are found by name and section, as `bpf/hook.h` makes them; a table has the few that serve everybody.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use atalaya_model::capture::CaptureKind::{
    self, Exec, Exit, Fork, Heartbeat, Link, Mkdir, Open, Rename, Rmdir, Unlink,
};

use crate::kernel_types::Hooks;
use crate::tier::Tier;

/// When a program is of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In every tier.
    Always,
    /// In this tier.
    In(Tier),
    /// In the lsm tier where BPF is no active LSM: fentry on the function that calls the LSMs.
    SecurityFentry,
    /// In the lsm tier where BPF is an active LSM.
    SecurityLsm,
}

/// What the kernel must have for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// A tracepoint of this name.
    Tracepoint(&'static str),
    /// A tracepoint of this name with so many arguments.
    TracepointArgs(&'static str, usize),
    /// A traceable function of this name.
    Function(&'static str),
}

impl Needs {
    pub(crate) fn hook(self) -> &'static str {
        match self {
            Self::Tracepoint(name) | Self::TracepointArgs(name, _) | Self::Function(name) => name,
        }
    }

    pub(crate) fn met(self, hooks: &Hooks) -> bool {
        match self {
            Self::Tracepoint(name) => hooks.tracepoint_args(name).is_some(),
            Self::TracepointArgs(name, count) => hooks.tracepoint_args(name) == Some(count),
            Self::Function(name) => hooks.has_function(name),
        }
    }

    /// Whether the function is given a struct by value, not by address.
    pub(crate) fn takes_struct(self, hooks: &Hooks) -> bool {
        matches!(self, Self::Function(name) if hooks.takes_struct(name))
    }
}

/// How a program comes to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// It is attached to its hook.
    Attached,
    /// It is attached to the root of the cgroups.
    OfCgroups,
    /// The program on all system calls jumps to it, by its kind, through this map.
    From(&'static str),
    /// It is attached to network interfaces, by who knows of these.
    Classifier,
    /// The program of the packets' filters jumps to it, through this map, at this place.
    After(&'static str, u32),
}

/// What a program is in a capture: those of one kind that play the same part are there because kernels differ, and one of them is
/// enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// It sees a call begin.
    Entry,
    /// It sees the objects that a call works on.
    Object,
    /// It sees a call end, or all of it.
    End,
}

/// A program of the object.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    pub(crate) needs: Needs,
    /// The kinds that it is attached for.
    pub(crate) kinds: Vec<CaptureKind>,
    pub(crate) part: Part,
    pub(crate) call: Call,
    /// Without it the kinds are seen less well, not unseen; or another program of the table does the same on other kernels.
    pub(crate) optional: bool,
}

const LIFE: &[CaptureKind] = &[Fork, Exec, Exit, Heartbeat];
const PACKETS: &[CaptureKind] = &[
    CaptureKind::Dns,
    CaptureKind::FailedDns,
    CaptureKind::Imds,
    CaptureKind::Packet,
    CaptureKind::NetworkFlowMonitor,
];
/// The map of the programs that go on with a packet after its filters.
const AFTER: &str = "packet_after";
const FILES: &[CaptureKind] = &[
    Open,
    CaptureKind::Chmod,
    CaptureKind::Chown,
    Unlink,
    Rmdir,
    Mkdir,
    Rename,
    Link,
    CaptureKind::Utimes,
    CaptureKind::Setxattr,
    CaptureKind::Removexattr,
];
const URING: &[CaptureKind] = &[
    Open,
    Unlink,
    Rmdir,
    Mkdir,
    Rename,
    Link,
    CaptureKind::Accept,
    CaptureKind::Bind,
    CaptureKind::Connect,
    CaptureKind::Setxattr,
    CaptureKind::Setsockopt,
    CaptureKind::Socket,
];
/// The programs on all system calls, and the maps through which they jump to those of a kind.
const EXITS: &str = "exits";
const ENTRIES: &str = "entries";

/// All programs of the object.
pub(crate) static PROGRAMS: LazyLock<Vec<Program>> = LazyLock::new(|| {
    let mut builder = libbpf_rs::ObjectBuilder::default();
    let object = builder.open_memory(crate::object::bytes()).ok();
    let sections: Vec<(String, String)> = object
        .iter()
        .flat_map(|object| object.progs())
        .map(|program| {
            let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
            (text(program.name()), text(program.section()))
        })
        .collect();
    let mut programs = table();
    programs.extend(
        sections
            .iter()
            .filter_map(|(name, section)| by_name(name, section)),
    );
    let jumped = |map: &str| -> Vec<CaptureKind> {
        let all = programs
            .iter()
            .filter(|p| matches!(p.call, Call::From(through) if through == map));
        all.flat_map(|p| p.kinds.clone()).collect()
    };
    let changes: Vec<CaptureKind> = FILES.iter().copied().filter(|kind| *kind != Open).collect();
    let exits = [FILES, &jumped(EXITS)].concat();
    let entries = jumped(ENTRIES);
    programs.push(tracepoint("sys_exit", "sys_exit", &exits));
    programs.push(tracepoint("sys_enter", "sys_enter", &entries));
    for (name, hook) in [
        ("ctime_set", "inode_set_ctime_to_ts"),
        ("ctime_exchanged", "ctime_ns_xchg"),
        ("ctime_kept", "ctime_xchg_skip"),
    ] {
        programs.push(optional(tracepoint(name, hook, &changes)));
    }
    programs
});

/// Those that serve more than one event by one body, or hook what has another shape on other kernels.
fn table() -> Vec<Program> {
    let life = |name, hook| Program {
        place: Place::Always,
        ..tracepoint(name, hook, LIFE)
    };
    let completion = |name, arguments| Program {
        needs: Needs::TracepointArgs("io_uring_complete", arguments),
        ..optional(tracepoint(name, "io_uring_complete", URING))
    };
    let classifier = |name| Program {
        place: Place::Always,
        needs: Needs::Function("bpf_prog_test_run_skb"),
        call: Call::Classifier,
        ..tracepoint(name, "", PACKETS)
    };
    let after = |name, at| Program {
        call: Call::After(AFTER, at),
        ..classifier(name)
    };
    // Whose a socket is. Without one of them some packets are nobody's.
    let owner = |name, function| Program {
        place: Place::Always,
        needs: Needs::Function(function),
        call: Call::OfCgroups,
        ..optional(tracepoint(name, "", PACKETS))
    };
    const OF_SOCKETS: &str = "__cgroup_bpf_run_filter_sk";
    const OF_ADDRESSES: &str = "__cgroup_bpf_run_filter_sock_addr";
    vec![
        classifier("classifier_egress"),
        classifier("classifier_ingress"),
        after("classifier_after_egress", 0),
        after("classifier_after_ingress", 1),
        owner("owner_create", OF_SOCKETS),
        owner("owner_bind4", OF_SOCKETS),
        owner("owner_bind6", OF_SOCKETS),
        owner("owner_connect4", OF_ADDRESSES),
        owner("owner_connect6", OF_ADDRESSES),
        owner("owner_sendmsg4", OF_ADDRESSES),
        owner("owner_sendmsg6", OF_ADDRESSES),
        life("fork", "sched_process_fork"),
        life("exec", "sched_process_exec"),
        life("exit_", "sched_process_exit"),
        life("heartbeat", "task_rename"),
        optional(life("cgroup_moved", "cgroup_attach_task")),
        optional(tracepoint("uring_submit", "io_uring_submit_req", URING)),
        // Before 5.19 it has more arguments, and not always the request.
        Program {
            needs: Needs::TracepointArgs("io_uring_submit_sqe", 2),
            ..optional(tracepoint("uring_submit_old", "io_uring_submit_sqe", URING))
        },
        completion("uring_complete", 3),
        completion("uring_complete_old", 7),
    ]
}

fn tracepoint(name: &'static str, tracepoint: &'static str, kinds: &[CaptureKind]) -> Program {
    Program {
        name,
        place: Place::In(Tier::Tracepoint),
        needs: Needs::Tracepoint(tracepoint),
        kinds: kinds.to_vec(),
        part: Part::End,
        call: Call::Attached,
        optional: false,
    }
}

fn optional(program: Program) -> Program {
    Program {
        optional: true,
        ..program
    }
}

/// A program that `bpf/hook.h` named: `<event>__<how>`, `<event>_and_<event>__<how>`.
fn by_name(name: &str, section: &str) -> Option<Program> {
    let (events, how) = name.split_once("__")?;
    let kinds: Option<Vec<CaptureKind>> =
        events.split("_and_").map(CaptureKind::from_name).collect();
    let kinds = kinds?;
    let (hook_type, hook) = section.split_once('/')?;
    // Once in the life of the process: the names of its programs.
    let hook: &'static str = hook.to_owned().leak();
    let name: &'static str = name.to_owned().leak();
    let of_function = |place, part| Program {
        place,
        part,
        needs: Needs::Function(hook),
        ..tracepoint(name, hook, &kinds)
    };
    let entry = if hook.starts_with("security_") {
        Part::Object
    } else {
        Part::Entry
    };
    let program = match hook_type {
        "tp_btf" => {
            let call = match (hook, how) {
                ("sys_exit", _) => Call::From(EXITS),
                ("sys_enter", _) => Call::From(ENTRIES),
                _ => Call::Attached,
            };
            Program {
                call,
                // For all tiers, or for that which has nothing else.
                place: if how.starts_with("all") {
                    Place::Always
                } else {
                    Place::In(Tier::Tracepoint)
                },
                part: if call == Call::From(ENTRIES) {
                    Part::Entry
                } else {
                    Part::End
                },
                ..tracepoint(name, hook, &kinds)
            }
        }
        "cgroup" => Program {
            call: Call::OfCgroups,
            needs: Needs::Function(format!("__cgroup_bpf_run_filter_{hook}").leak()),
            ..of_function(Place::Always, Part::End)
        },
        "lsm" => Program {
            needs: Needs::Function(format!("bpf_lsm_{hook}").leak()),
            ..of_function(Place::SecurityLsm, Part::Object)
        },
        "fentry" if entry == Part::Object => of_function(Place::SecurityFentry, entry),
        "fentry" => of_function(Place::In(Tier::Lsm), entry),
        "fexit" => of_function(Place::In(Tier::Lsm), Part::End),
        "kprobe" => of_function(Place::In(Tier::Kprobe), entry),
        "kretprobe" => of_function(Place::In(Tier::Kprobe), Part::End),
        _ => return None,
    };
    Some(Program {
        // Without io_uring's functions, which are parts of others before 6.0, the system calls are seen all the same.
        optional: kinds.len() > 1 || kinds == [Exec] || hook.starts_with("io_"),
        ..program
    })
}

/// The programs of the table that exist only because kernels differ: when one of a pair is there, the other is not missed.
const ALTERNATIVES: &[(&str, &str)] = &[
    ("uring_submit", "uring_submit_old"),
    ("uring_complete", "uring_complete_old"),
];

/// Whether it is no loss that `program` is not among those that are there: another plays its part.
pub(crate) fn is_replaced(program: &Program, there: &[&Program]) -> bool {
    let is_there = |name: &str| there.iter().any(|p| p.name == name);
    let pair = ALTERNATIVES
        .iter()
        .find(|(new, old)| [*new, *old].contains(&program.name));
    if let Some((new, old)) = pair {
        return is_there(new) || is_there(old);
    }
    let played: BTreeSet<CaptureKind> = there
        .iter()
        .filter(|p| p.part == program.part && (p.kinds.len() == 1 || program.kinds.len() > 1))
        .flat_map(|p| p.kinds.iter().copied())
        .collect();
    program.name.contains("__") && program.kinds.iter().all(|kind| played.contains(kind))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn programs_of_the_object() -> Vec<String> {
        let mut open = libbpf_rs::ObjectBuilder::default();
        let object = open.open_memory(crate::object::bytes()).unwrap();
        let names = object
            .progs()
            .map(|p| p.name().to_string_lossy().into_owned());
        names.collect()
    }

    #[test]
    fn every_program_of_the_object_is_known_once() {
        let mut theirs = programs_of_the_object();
        let mut ours: Vec<String> = PROGRAMS.iter().map(|p| p.name.to_owned()).collect();
        theirs.sort();
        ours.sort();
        assert_eq!(theirs, ours);
    }

    #[test]
    fn names_and_sections_say_what_a_program_is() {
        let program = by_name("prctl__fexit__x64_sys_prctl", "fexit/__x64_sys_prctl").unwrap();
        assert_eq!(program.kinds, [CaptureKind::Prctl]);
        assert_eq!(program.place, Place::In(Tier::Lsm));
        assert_eq!(program.needs, Needs::Function("__x64_sys_prctl"));
        let program = by_name("prctl__exit", "tp_btf/sys_exit").unwrap();
        assert_eq!(program.call, Call::From(EXITS));
        let program = by_name("unlink__lsm_path_unlink", "lsm/path_unlink").unwrap();
        assert_eq!(program.place, Place::SecurityLsm);
        assert_eq!(program.needs, Needs::Function("bpf_lsm_path_unlink"));
        assert_eq!(program.part, Part::Object);
        let program = by_name("chmod_and_chown__kret_f", "kretprobe/f").unwrap();
        assert_eq!(program.kinds, [CaptureKind::Chmod, CaptureKind::Chown]);
        assert!(program.optional);
        let program = by_name("sysctl__all_cgroup", "cgroup/sysctl").unwrap();
        assert_eq!(
            (program.call, program.place),
            (Call::OfCgroups, Place::Always)
        );
        assert!(by_name("nothing__exit", "tp_btf/sys_exit").is_none());
        assert!(by_name("sys_exit", "tp_btf/sys_exit").is_none());
    }

    #[test]
    fn one_of_those_that_play_the_same_part_is_enough() {
        let new = by_name("unlink__fexit_new", "fexit/new").unwrap();
        let old = by_name("unlink__fexit_old", "fexit/old").unwrap();
        let entry = by_name("unlink__fentry_old", "fentry/old").unwrap();
        assert!(is_replaced(&old, &[&new]));
        assert!(!is_replaced(&old, &[&entry]));
        let extra = by_name("unlink_and_rmdir__fexit_x", "fexit/x").unwrap();
        assert!(!is_replaced(&old, &[&extra]));
    }
}
