//! Every program of the object: what it hooks, in which tier, and for which events.

use atalaya_model::capture::CaptureKind::{
    self, Chmod, Chown, Exec, Exit, Fork, Heartbeat, Link, Mkdir, Open, Rename, Rmdir, Unlink,
    Utimes,
};
use libbpf_rs::btf::types::{Func, FuncProto, Ptr, Typedef};
use libbpf_rs::btf::{Btf, ReferencesType};

use crate::tier::Tier;

/// When a program is of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In every tier.
    Always,
    /// In this tier.
    In(Tier),
    /// In the lsm tier where BPF is no active LSM: fentry on the security function.
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

    pub(crate) fn met(self, btf: &Btf<'_>) -> bool {
        match self {
            Self::Tracepoint(name) => tracepoint_args(btf, name).is_some(),
            Self::TracepointArgs(name, count) => tracepoint_args(btf, name) == Some(count),
            Self::Function(name) => btf.type_by_name::<Func<'_>>(name).is_some(),
        }
    }
}

/// How many arguments a raw tracepoint has: it is known to BTF as a typedef of a function pointer whose first argument is not its own.
fn tracepoint_args(btf: &Btf<'_>, name: &str) -> Option<usize> {
    let typedef = btf.type_by_name::<Typedef<'_>>(&format!("btf_trace_{name}"))?;
    let pointer = Ptr::try_from(typedef.referenced_type()).ok()?;
    let prototype = FuncProto::try_from(pointer.referenced_type()).ok()?;
    Some(prototype.iter().count().saturating_sub(1))
}

/// A program of the object.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    pub(crate) needs: Needs,
    /// The kinds that it is attached for.
    pub(crate) kinds: &'static [CaptureKind],
    /// Without it the kinds are seen less well, not unseen; or another program of the table does the same on other kernels.
    pub(crate) optional: bool,
}

const LIFE: &[CaptureKind] = &[Fork, Exec, Exit, Heartbeat];
const FILES: &[CaptureKind] = &[
    Open, Chmod, Chown, Unlink, Rmdir, Mkdir, Rename, Link, Utimes,
];
const CHANGES: &[CaptureKind] = &[Chmod, Chown, Unlink, Rmdir, Mkdir, Rename, Link, Utimes];
const URING: &[CaptureKind] = &[Open, Unlink, Rmdir, Mkdir, Rename, Link];

const fn tracepoint(
    name: &'static str,
    tracepoint: &'static str,
    kinds: &'static [CaptureKind],
) -> Program {
    Program {
        name,
        place: Place::In(Tier::Tracepoint),
        needs: Needs::Tracepoint(tracepoint),
        kinds,
        optional: false,
    }
}

const fn inner(
    name: &'static str,
    function: &'static str,
    kinds: &'static [CaptureKind],
) -> Program {
    Program {
        name,
        place: Place::In(Tier::Lsm),
        needs: Needs::Function(function),
        kinds,
        optional: false,
    }
}

const fn security(
    name: &'static str,
    place: Place,
    function: &'static str,
    kinds: &'static [CaptureKind],
) -> Program {
    Program {
        name,
        place,
        needs: Needs::Function(function),
        kinds,
        optional: false,
    }
}

const fn optional(program: Program) -> Program {
    Program {
        optional: true,
        ..program
    }
}

const fn always(name: &'static str, tracepoint: &'static str) -> Program {
    Program {
        name,
        place: Place::Always,
        needs: Needs::Tracepoint(tracepoint),
        kinds: LIFE,
        optional: false,
    }
}

pub(crate) const PROGRAMS: &[Program] = &[
    always("fork", "sched_process_fork"),
    always("exec", "sched_process_exec"),
    always("exit_", "sched_process_exit"),
    always("heartbeat", "task_rename"),
    optional(always("cgroup_moved", "cgroup_attach_task")),
    tracepoint("sys_exit", "sys_exit", FILES),
    optional(tracepoint("ctime_set", "inode_set_ctime_to_ts", CHANGES)),
    optional(tracepoint("ctime_exchanged", "ctime_ns_xchg", CHANGES)),
    optional(tracepoint("ctime_kept", "ctime_xchg_skip", CHANGES)),
    optional(tracepoint("uring_submit", "io_uring_submit_req", URING)),
    optional(tracepoint("uring_submit_old", "io_uring_submit_sqe", URING)),
    Program {
        name: "uring_complete",
        place: Place::In(Tier::Tracepoint),
        needs: Needs::TracepointArgs("io_uring_complete", 3),
        kinds: URING,
        optional: true,
    },
    Program {
        name: "uring_complete_old",
        place: Place::In(Tier::Tracepoint),
        needs: Needs::TracepointArgs("io_uring_complete", 7),
        kinds: URING,
        optional: true,
    },
    inner("filp_open", "do_filp_open", &[Open]),
    inner("unlink_begin", "do_unlinkat", &[Unlink]),
    inner("unlink_end", "do_unlinkat", &[Unlink]),
    inner("rmdir_begin", "do_rmdir", &[Rmdir]),
    inner("rmdir_end", "do_rmdir", &[Rmdir]),
    inner("mkdir_begin", "do_mkdirat", &[Mkdir]),
    inner("mkdir_end", "do_mkdirat", &[Mkdir]),
    inner("rename_begin", "do_renameat2", &[Rename]),
    inner("rename_end", "do_renameat2", &[Rename]),
    inner("link_begin", "do_linkat", &[Link]),
    inner("link_end", "do_linkat", &[Link]),
    inner("file_open_7", "do_file_open", &[Open]),
    inner("unlink_begin_7", "filename_unlinkat", &[Unlink]),
    inner("unlink_end_7", "filename_unlinkat", &[Unlink]),
    inner("rmdir_begin_7", "filename_rmdir", &[Rmdir]),
    inner("rmdir_end_7", "filename_rmdir", &[Rmdir]),
    inner("mkdir_begin_7", "filename_mkdirat", &[Mkdir]),
    inner("mkdir_end_7", "filename_mkdirat", &[Mkdir]),
    inner("rename_begin_7", "filename_renameat2", &[Rename]),
    inner("rename_end_7", "filename_renameat2", &[Rename]),
    inner("link_begin_7", "filename_linkat", &[Link]),
    inner("link_end_7", "filename_linkat", &[Link]),
    inner("chmod_end", "chmod_common", &[Chmod]),
    inner("chown_end", "chown_common", &[Chown]),
    inner("utimes_end", "vfs_utimes", &[Utimes]),
    optional(inner("lookup_end", "user_path_at", &[Chmod, Chown, Utimes])),
    optional(inner(
        "lookup_end_old",
        "user_path_at_empty",
        &[Chmod, Chown, Utimes],
    )),
    security(
        "fentry_path_unlink",
        Place::SecurityFentry,
        "security_path_unlink",
        &[Unlink],
    ),
    security(
        "fentry_path_rmdir",
        Place::SecurityFentry,
        "security_path_rmdir",
        &[Rmdir],
    ),
    security(
        "fentry_path_mkdir",
        Place::SecurityFentry,
        "security_path_mkdir",
        &[Mkdir],
    ),
    security(
        "fentry_path_rename",
        Place::SecurityFentry,
        "security_path_rename",
        &[Rename],
    ),
    security(
        "fentry_path_link",
        Place::SecurityFentry,
        "security_path_link",
        &[Link],
    ),
    security(
        "fentry_path_chmod",
        Place::SecurityFentry,
        "security_path_chmod",
        &[Chmod],
    ),
    security(
        "fentry_path_chown",
        Place::SecurityFentry,
        "security_path_chown",
        &[Chown],
    ),
    optional(security(
        "fentry_bprm_check_security",
        Place::SecurityFentry,
        "security_bprm_check",
        &[Exec],
    )),
    security(
        "lsm_path_unlink",
        Place::SecurityLsm,
        "bpf_lsm_path_unlink",
        &[Unlink],
    ),
    security(
        "lsm_path_rmdir",
        Place::SecurityLsm,
        "bpf_lsm_path_rmdir",
        &[Rmdir],
    ),
    security(
        "lsm_path_mkdir",
        Place::SecurityLsm,
        "bpf_lsm_path_mkdir",
        &[Mkdir],
    ),
    security(
        "lsm_path_rename",
        Place::SecurityLsm,
        "bpf_lsm_path_rename",
        &[Rename],
    ),
    security(
        "lsm_path_link",
        Place::SecurityLsm,
        "bpf_lsm_path_link",
        &[Link],
    ),
    security(
        "lsm_path_chmod",
        Place::SecurityLsm,
        "bpf_lsm_path_chmod",
        &[Chmod],
    ),
    security(
        "lsm_path_chown",
        Place::SecurityLsm,
        "bpf_lsm_path_chown",
        &[Chown],
    ),
    optional(security(
        "lsm_bprm_check_security",
        Place::SecurityLsm,
        "bpf_lsm_bprm_check_security",
        &[Exec],
    )),
];

/// The programs that exist only because kernels differ: when one of a pair is there, the other is not missed.
pub(crate) const ALTERNATIVES: &[(&str, &str)] = &[
    ("uring_submit", "uring_submit_old"),
    ("uring_complete", "uring_complete_old"),
    ("lookup_end", "lookup_end_old"),
    ("file_open_7", "filp_open"),
    ("unlink_begin_7", "unlink_begin"),
    ("unlink_end_7", "unlink_end"),
    ("rmdir_begin_7", "rmdir_begin"),
    ("rmdir_end_7", "rmdir_end"),
    ("mkdir_begin_7", "mkdir_begin"),
    ("mkdir_end_7", "mkdir_end"),
    ("rename_begin_7", "rename_begin"),
    ("rename_end_7", "rename_end"),
    ("link_begin_7", "link_begin"),
    ("link_end_7", "link_end"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_every_program_of_the_object_once() {
        let mut open = libbpf_rs::ObjectBuilder::default();
        let object = open.open_memory(crate::OBJECT).expect("the object opens");
        let mut theirs: Vec<String> = object
            .progs()
            .map(|p| p.name().to_string_lossy().into_owned())
            .collect();
        let mut ours: Vec<String> = PROGRAMS.iter().map(|p| p.name.to_owned()).collect();
        theirs.sort();
        ours.sort();
        assert_eq!(theirs, ours);
    }
}
