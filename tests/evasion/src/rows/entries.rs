//! Other ways into the kernel than a 64-bit system call.

use atalaya_e2e::at;

use crate::{Check, Limit, Row, Seen, TRACEPOINTS};

const OPEN: &str = r#"open.file.path == "{dir}/secret" && {old} && {me}"#;
const UNLINK: &str = r#"unlink.file.path == "{dir}/secret""#;
const RENAME: &str =
    r#"rename.file.path == "{dir}/secret" && rename.file.destination.path == "{dir}/plain""#;
pub(super) const CONNECT: &str = "connect.addr.port > 0 && {me}";

/// The connection to the port that the program told, by the program.
pub(super) fn connection(seen: &Seen<'_>) -> Check {
    let port = seen.number("port")?;
    let event = seen.told(
        "connect",
        &[
            ("/connect/addr/port", port.into()),
            ("/process/pid", seen.pid()),
        ],
    )?;
    Ok(format!("connect to {}", at(event, "/connect/addr/ip")))
}

const URING_PATH: &str = "no object is seen of such a request, only the kernel's copy of its argument, links not followed; the event says so in \
                          `path_resolution_error`";

/// The file, and that the call was the program's, not a kernel thread's.
fn by_program(seen: &Seen<'_>, rule: &str) -> Check {
    let path = seen.path("secret");
    seen.simply(
        rule,
        &[("/process/pid", seen.pid()), ("/file/path", path.into())],
    )
}

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "int80_open",
        attack: "reads a file by `int 0x80`",
        expected: "the open",
        rules: &[("open", OPEN)],
        check: |seen| by_program(seen, "open"),
        ..Row::NEW
    },
    Row {
        id: "int80_unlink",
        attack: "removes a file by `int 0x80`",
        expected: "the unlink",
        events: &["unlink"],
        rules: &[("unlink", UNLINK)],
        check: |seen| by_program(seen, "unlink"),
        ..Row::NEW
    },
    Row {
        id: "int80_rename",
        attack: "renames a file by `int 0x80`",
        expected: "the rename with both paths",
        events: &["rename"],
        rules: &[("rename", RENAME)],
        check: |seen| by_program(seen, "rename"),
        ..Row::NEW
    },
    Row {
        id: "int80_exec",
        attack: "runs a program by `int 0x80`",
        expected: "the exec",
        events: &["exec"],
        rules: &[("exec", r#"exec.file.path == "{dir}/program""#)],
        check: |seen| seen.simply("exec", &[("/process/argv0", "innocent".into())]),
        ..Row::NEW
    },
    Row {
        id: "int80_connect",
        attack: "connects by `int 0x80`",
        expected: "the connect with the port",
        events: &["connect"],
        rules: &[("connect", CONNECT)],
        check: connection,
        ..Row::NEW
    },
    Row {
        id: "int80_socketcall",
        attack: "connects by `socketcall`, where the address's address lies in memory",
        expected: "the connect with the port",
        events: &["connect"],
        rules: &[("connect", CONNECT)],
        check: connection,
        ..Row::NEW
    },
    Row {
        id: "x32_open",
        attack: "reads a file by a number of the x32 ABI (bit 30 set)",
        expected: "the open",
        rules: &[("open", OPEN)],
        check: |seen| by_program(seen, "open"),
        ..Row::NEW
    },
    Row {
        id: "uring_open",
        attack: "reads a file by io_uring",
        expected: "the open, by the program",
        rules: &[("open", OPEN)],
        check: |seen| by_program(seen, "open"),
        ..Row::NEW
    },
    Row {
        id: "uring_open_worker",
        attack: "the same, done by a kernel worker (IOSQE_ASYNC)",
        expected: "the open, by the program",
        rules: &[("open", OPEN)],
        check: |seen| by_program(seen, "open"),
        ..Row::NEW
    },
    Row {
        id: "uring_open_sqpoll",
        attack: "the same with a kernel thread that takes the entries (SQPOLL)",
        expected: "the open, by the program",
        rules: &[("open", OPEN)],
        check: |seen| by_program(seen, "open"),
        ..Row::NEW
    },
    Row {
        id: "uring_open_fixed",
        attack: "the same into a registered file, so that there is no descriptor",
        expected: "the open, by the program",
        rules: &[("open", OPEN)],
        check: |seen| by_program(seen, "open"),
        ..Row::NEW
    },
    Row {
        id: "uring_open_personality",
        attack: "user 1234 opens root's file by io_uring with credentials that it had registered before",
        expected: "the open, by the program",
        rules: &[("open", OPEN)],
        check: |seen| by_program(seen, "open"),
        ..Row::NEW
    },
    Row {
        id: "uring_unlink",
        attack: "removes a file by io_uring",
        expected: "the unlink, by the program",
        events: &["unlink"],
        rules: &[("unlink", UNLINK)],
        check: |seen| by_program(seen, "unlink"),
        ..Row::NEW
    },
    Row {
        id: "uring_rename",
        attack: "renames a file by io_uring",
        expected: "the rename with both paths, by the program",
        events: &["rename"],
        rules: &[("rename", RENAME)],
        check: |seen| by_program(seen, "rename"),
        ..Row::NEW
    },
    Row {
        id: "uring_unlink_symlink",
        attack: "removes a file by io_uring, by a path through a symbolic link",
        expected: "the unlink by the file's own path",
        events: &["unlink"],
        rules: &[("unlink", UNLINK)],
        check: |seen| by_program(seen, "unlink"),
        limits: &[Limit::new(TRACEPOINTS, URING_PATH)],
        ..Row::NEW
    },
    Row {
        id: "uring_open_fixed_symlink",
        attack: "opens a registered file by io_uring, by a path through a symbolic link",
        expected: "the open by the file's own path",
        rules: &[("open", OPEN)],
        check: |seen| by_program(seen, "open"),
        limits: &[Limit::new(TRACEPOINTS, URING_PATH)],
        ..Row::NEW
    },
    Row {
        id: "uring_connect",
        attack: "connects by io_uring",
        expected: "the connect with the port, by the program",
        events: &["connect"],
        rules: &[("connect", CONNECT)],
        check: connection,
        ..Row::NEW
    },
    Row {
        id: "uring_connect_worker",
        attack: "the same, done by a kernel worker",
        expected: "the connect with the port, by the program",
        events: &["connect"],
        rules: &[("connect", CONNECT)],
        check: connection,
        ..Row::NEW
    },
];
