//! Files by descriptors, and contents without reads and writes.

use crate::{Limit, Row, TRACEPOINT_OLD, TRACEPOINTS};

const CHMOD: &str =
    r#"chmod.file.path == "{dir}/secret" && chmod.file.destination.rights & S_ISUID > 0"#;
const WRITE: &str =
    r#"open.file.path == "{dir}/secret" && open.flags & O_WRONLY > 0 && {old} && {me}"#;
const READ: &str = r#"open.file.path == "{dir}/secret" && {old} && {me}"#;
const COPY: &[(&str, &str)] = &[
    (
        "from",
        r#"open.file.path == "{dir}/secret" && {old} && {me}"#,
    ),
    (
        "to",
        r#"open.file.path == "{dir}/copy" && open.flags & O_CREAT > 0 && {me}"#,
    ),
];

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "fd_passing",
        attack: "opens a file, sends the descriptor to another process (SCM_RIGHTS), which makes the file setuid",
        expected: "the chmod by the file's path and the receiver",
        events: &["chmod"],
        rules: &[("chmod", CHMOD)],
        check: |seen| {
            let child = seen.number("child")?;
            seen.told("chmod", &[("/process/pid", child.into())])?;
            seen.file("chmod", "secret")
        },
        ..Row::NEW
    },
    Row {
        id: "pidfd_getfd",
        attack: "takes a descriptor out of another process (`pidfd_getfd`), makes the file setuid",
        expected: "the chmod by the file's path and the thief",
        events: &["chmod"],
        rules: &[("chmod", CHMOD)],
        check: |seen| {
            seen.told("chmod", &[("/process/pid", seen.pid())])?;
            seen.file("chmod", "secret")
        },
        ..Row::NEW
    },
    Row {
        id: "fd_inherited",
        attack: "opens a file, executes another program, which makes it setuid by the descriptor",
        expected: "the chmod by the file's path and the other program",
        events: &["chmod"],
        rules: &[(
            "chmod",
            r#"chmod.file.path == "{dir}/secret" && process.file.path == "{dir}/program""#,
        )],
        check: |seen| seen.file("chmod", "secret"),
        ..Row::NEW
    },
    Row {
        id: "o_path_reopen",
        attack: "opens a file with O_PATH, then `/proc/self/fd/N` to write",
        expected: "the second open by the file's path",
        rules: &[("open", WRITE)],
        check: |seen| seen.file("open", "secret"),
        ..Row::NEW
    },
    Row {
        id: "dev_fd",
        attack: "the same by `/dev/fd/N`",
        expected: "the second open by the file's path",
        rules: &[("open", WRITE)],
        check: |seen| seen.file("open", "secret"),
        ..Row::NEW
    },
    Row {
        id: "fchmod_o_path",
        attack: "makes a file setuid by `/proc/self/fd/N`",
        expected: "the chmod by the file's path",
        events: &["chmod"],
        rules: &[("chmod", CHMOD)],
        check: |seen| seen.file("chmod", "secret"),
        limits: &[Limit::new(
            TRACEPOINT_OLD,
            "these hooks come when the call is over and find the caller's string only; the event says so in `path_resolution_error`",
        )],
        ..Row::NEW
    },
    Row {
        id: "fchmodat2",
        attack: "makes a file setuid by a call of 6.6 (`fchmodat2` with AT_EMPTY_PATH)",
        expected: "the chmod by the file's path",
        events: &["chmod"],
        rules: &[("chmod", CHMOD)],
        check: |seen| seen.file("chmod", "secret"),
        ..Row::NEW
    },
    Row {
        id: "setxattr_by_fd",
        attack: "sets an extended attribute by descriptor",
        expected: "the setxattr by the file's path",
        events: &["setxattr"],
        rules: &[(
            "setxattr",
            r#"setxattr.file.path == "{dir}/secret" && setxattr.file.destination.name == "trusted.evasion""#,
        )],
        check: |seen| seen.file("setxattr", "secret"),
        ..Row::NEW
    },
    Row {
        id: "setxattrat",
        attack: "the same by a call of 6.13 (`setxattrat` with AT_EMPTY_PATH)",
        expected: "the setxattr by the file's path",
        events: &["setxattr"],
        rules: &[(
            "setxattr",
            r#"setxattr.file.path == "{dir}/secret" && setxattr.file.destination.name == "trusted.evasion""#,
        )],
        check: |seen| seen.file("setxattr", "secret"),
        ..Row::NEW
    },
    Row {
        id: "truncate",
        attack: "empties a file without opening it (`truncate`)",
        expected: "an open with O_TRUNC, as the reference tells it",
        rules: &[(
            "open",
            r#"open.file.path == "{dir}/secret" && open.flags & O_TRUNC > 0 && {me}"#,
        )],
        check: |seen| seen.simply("open", &[("/process/pid", seen.pid())]),
        ..Row::NEW
    },
    Row {
        id: "truncate_symlink",
        attack: "the same through a symbolic link",
        expected: "the same by the file's own path",
        rules: &[(
            "open",
            r#"open.file.path == "{dir}/secret" && open.flags & O_TRUNC > 0 && {me}"#,
        )],
        check: |seen| seen.file("open", "secret"),
        limits: &[Limit::new(
            TRACEPOINTS,
            "these hooks come when the call is over and find the caller's string only; the event says so in `path_resolution_error`",
        )],
        ..Row::NEW
    },
    Row {
        id: "ftruncate",
        attack: "opens a file to write and empties it (`ftruncate`)",
        expected: "the open to write",
        rules: &[("open", WRITE)],
        check: |seen| seen.file("open", "secret"),
        ..Row::NEW
    },
    Row {
        id: "sendfile_copy",
        attack: "copies a file by `sendfile`, without read and write",
        expected: "both opens",
        rules: COPY,
        check: |seen| {
            seen.told("to", &[])?;
            seen.file("from", "secret")
        },
        ..Row::NEW
    },
    Row {
        id: "copy_file_range",
        attack: "the same by `copy_file_range`",
        expected: "both opens",
        rules: COPY,
        check: |seen| {
            seen.told("to", &[])?;
            seen.file("from", "secret")
        },
        ..Row::NEW
    },
    Row {
        id: "splice",
        attack: "the same by `splice` through a pipe",
        expected: "the splice with the file's path",
        events: &["splice"],
        rules: &[("splice", r#"splice.file.path == "{dir}/secret" && {me}"#)],
        check: |seen| seen.file("splice", "secret"),
        ..Row::NEW
    },
    Row {
        id: "mmap_write",
        attack: "changes a file through shared memory, without a write",
        expected: "the open to write",
        rules: &[(
            "open",
            r#"open.file.path == "{dir}/secret" && open.flags & O_RDWR > 0 && {old} && {me}"#,
        )],
        check: |seen| seen.file("open", "secret"),
        ..Row::NEW
    },
    Row {
        id: "chdir_relative",
        attack: "changes its directory, reads `../secret`",
        expected: "the chdir; the read by the file's own path",
        events: &["chdir", "open"],
        rules: &[
            ("chdir", r#"chdir.file.path == "{dir}/sub" && {me}"#),
            ("open", READ),
        ],
        check: |seen| {
            seen.told("chdir", &[])?;
            seen.file("open", "secret")
        },
        ..Row::NEW
    },
    Row {
        id: "fchdir",
        attack: "the same by descriptor (`fchdir`)",
        expected: "the chdir; the read by the file's own path",
        events: &["chdir", "open"],
        rules: &[
            ("chdir", r#"chdir.file.path == "{dir}/sub" && {me}"#),
            ("open", READ),
        ],
        check: |seen| {
            seen.told("chdir", &[])?;
            seen.file("open", "secret")
        },
        ..Row::NEW
    },
];
