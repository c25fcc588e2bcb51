//! Arguments in memory that another thread changes between the kernel's look and a hook's.

use atalaya_e2e::{at, text};

use super::entries::{CONNECT, connection};
use crate::{Check, Limit, Row, Seen, TRACEPOINT_OLD, TRACEPOINTS};

const CALLERS_STRING: &str = "these hooks come when the call is over and find the caller's string only; the event says so in `path_resolution_error`";
const REFUSED: &str = "a call that is refused leaves no object: only the caller's string is known, and the event says so in `path_resolution_error`";

/// As often told of `a` and of `b` as the program found that it was, and each with the inode of its path.
fn counts(seen: &Seen<'_>, rule: &str) -> Check {
    let mut wrong = 0;
    let mut made = 0;
    for name in ["a", "b"] {
        let path = seen.path(name);
        let inode = seen.number(&format!("{name}_inode"))?;
        let truth = seen.number(name)?;
        made += truth;
        let of_path: Vec<_> = seen
            .of(rule)
            .into_iter()
            .filter(|event| text(event, "/file/path") == path)
            .collect();
        let strange = of_path
            .iter()
            .filter(|event| {
                at(event, "/file/inode")
                    .as_u64()
                    .is_some_and(|told| told != inode)
            })
            .count() as u64;
        wrong += strange.max(truth.abs_diff(of_path.len() as u64));
    }
    verdict(wrong, made)
}

/// As often told of each as the program found that it was; the inode may have changed since.
fn counts_of_paths(
    seen: &Seen<'_>,
    rule: &str,
    pointer: &str,
    values: [serde_json::Value; 2],
) -> Check {
    let mut wrong = 0;
    let mut made = 0;
    for (name, value) in ["a", "b"].into_iter().zip(values) {
        let truth = seen.number(name)?;
        made += truth;
        let told = seen
            .of(rule)
            .into_iter()
            .filter(|event| *at(event, pointer) == value)
            .count() as u64;
        wrong += truth.abs_diff(told);
    }
    verdict(wrong, made)
}

fn verdict(wrong: u64, made: u64) -> Check {
    let said = format!("{wrong} of {made} told wrong");
    if wrong == 0 { Ok(said) } else { Err(said) }
}

fn paths(seen: &Seen<'_>) -> [serde_json::Value; 2] {
    ["a", "b"].map(|name| seen.path(name).into())
}

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "race_open",
        attack: "opens 1000 times by a path that another thread changes meanwhile between two files",
        expected: "each open with the file that was opened",
        rules: &[(
            "open",
            r#"open.file.path in ["{dir}/a", "{dir}/b"] && {old} && {me}"#,
        )],
        check: |seen| counts(seen, "open"),
        alone: true,
        ..Row::NEW
    },
    Row {
        id: "race_open_denied",
        attack: "the same by user 1234, where one of the files is refused",
        expected: "each refused open with the path of that file",
        rules: &[(
            "open",
            r#"open.file.path in ["{dir}/a", "{dir}/b"] && open.retval < 0 && {me}"#,
        )],
        check: |seen| {
            let refused = seen.number("b")?;
            let path = seen.path("b");
            let told = seen
                .of("open")
                .into_iter()
                .filter(|event| text(event, "/file/path") == path)
                .count() as u64;
            verdict(refused.abs_diff(told), refused)
        },
        limits: &[Limit::by_chance(TRACEPOINTS, REFUSED)],
        alone: true,
        ..Row::NEW
    },
    Row {
        id: "race_rename",
        attack: "renames 250 times by such a path",
        expected: "each rename with the file that was renamed",
        events: &["rename"],
        rules: &[(
            "rename",
            r#"rename.file.destination.path == "{dir}/to" && {me}"#,
        )],
        check: |seen| counts(seen, "rename"),
        limits: &[Limit::by_chance(TRACEPOINT_OLD, CALLERS_STRING)],
        alone: true,
    },
    Row {
        id: "race_unlink",
        attack: "removes 250 files by such a path",
        expected: "each unlink with the file that was removed",
        events: &["unlink"],
        rules: &[(
            "unlink",
            r#"unlink.file.path in ["{dir}/a", "{dir}/b"] && {me}"#,
        )],
        check: |seen| counts_of_paths(seen, "unlink", "/file/path", paths(seen)),
        limits: &[Limit::by_chance(TRACEPOINT_OLD, CALLERS_STRING)],
        alone: true,
    },
    Row {
        id: "race_chmod",
        attack: "changes 250 modes by such a path",
        expected: "each chmod with the file that was changed",
        events: &["chmod"],
        rules: &[(
            "chmod",
            r#"chmod.file.path in ["{dir}/a", "{dir}/b"] && chmod.file.destination.rights == 416 && {me}"#,
        )],
        check: |seen| counts(seen, "chmod"),
        limits: &[Limit::by_chance(TRACEPOINT_OLD, CALLERS_STRING)],
        alone: true,
    },
    Row {
        id: "race_connect",
        attack: "connects 250 times by an address whose port another thread changes meanwhile between two",
        expected: "each connect with the port that was connected to",
        events: &["connect"],
        rules: &[("connect", CONNECT)],
        check: |seen| {
            let ports = [seen.number("a_port")?.into(), seen.number("b_port")?.into()];
            counts_of_paths(seen, "connect", "/connect/addr/port", ports)
        },
        alone: true,
        ..Row::NEW
    },
    Row {
        id: "race_dup2",
        attack: "opens 1000 times while another thread puts a decoy under the new descriptor's number",
        expected: "each open with the file that was opened",
        rules: &[(
            "open",
            r#"open.file.path in ["{dir}/real", "{dir}/decoy"] && {old} && {me}"#,
        )],
        check: |seen| {
            let made = seen.number("opened")?;
            let path = seen.path("real");
            let told = seen
                .of("open")
                .into_iter()
                .filter(|event| text(event, "/file/path") == path)
                .count() as u64;
            verdict(made.abs_diff(told), made)
        },
        limits: &[Limit::by_chance(
            TRACEPOINTS,
            "these hooks look the new descriptor up when the call is over, and another thread can put another file there by then",
        )],
        alone: true,
        ..Row::NEW
    },
    Row {
        id: "fault_open",
        attack: "opens by a path that changes while the kernel waits for its second page (userfaultfd)",
        expected: "the file that was opened",
        rules: &[(
            "open",
            r#"open.file.path == "{dir}/a-file-of-a-long-name" && {old} && {me}"#,
        )],
        check: |seen| seen.file("open", "a-file-of-a-long-name"),
        ..Row::NEW
    },
    Row {
        id: "fault_open_denied",
        attack: "the same by user 1234, who is refused",
        expected: "the path that the kernel has used",
        rules: &[(
            "open",
            r#"open.file.path == "{dir}/a-file-of-a-long-name" && open.retval < 0 && {me}"#,
        )],
        check: |seen| seen.simply("open", &[]),
        limits: &[Limit::new(TRACEPOINTS, REFUSED)],
        ..Row::NEW
    },
    Row {
        id: "fault_unlink",
        attack: "removes a file in that way",
        expected: "the file that was removed",
        events: &["unlink"],
        rules: &[(
            "unlink",
            r#"unlink.file.path == "{dir}/a-file-of-a-long-name" && {me}"#,
        )],
        check: |seen| seen.file("unlink", "a-file-of-a-long-name"),
        limits: &[Limit::new(TRACEPOINT_OLD, CALLERS_STRING)],
        ..Row::NEW
    },
    Row {
        id: "fault_mkdir",
        attack: "makes a directory in that way",
        expected: "the directory that was made",
        events: &["mkdir"],
        rules: &[(
            "mkdir",
            r#"mkdir.file.path == "{dir}/a-file-of-a-long-name" && {me}"#,
        )],
        check: |seen| seen.file("mkdir", "a-file-of-a-long-name"),
        limits: &[Limit::new(TRACEPOINT_OLD, CALLERS_STRING)],
        ..Row::NEW
    },
    Row {
        id: "fault_exec",
        attack: "runs a program in that way",
        expected: "the program that runs",
        events: &["exec"],
        rules: &[("exec", r#"exec.file.path == "{dir}/a-file-of-a-long-name""#)],
        check: |seen| {
            let inode = seen.number("inode")?;
            seen.simply("exec", &[("/process/executable/inode", inode.into())])
        },
        ..Row::NEW
    },
    Row {
        id: "fault_connect",
        attack: "connects in that way: the port changes while the kernel waits for the address",
        expected: "the connect with the port that was connected to",
        events: &["connect"],
        rules: &[("connect", CONNECT)],
        check: connection,
        ..Row::NEW
    },
    Row {
        id: "cold_page",
        attack: "opens by a path that lies in a page which nobody has touched",
        expected: "the file",
        rules: &[(
            "open",
            r#"open.file.path == "{dir}/secret" && {old} && {me}"#,
        )],
        check: |seen| seen.file("open", "secret"),
        ..Row::NEW
    },
    Row {
        id: "cold_page_denied",
        attack: "the same by user 1234, who is refused",
        expected: "the path",
        rules: &[(
            "open",
            r#"open.file.path == "{dir}/secret" && open.retval < 0 && {me}"#,
        )],
        check: |seen| seen.simply("open", &[]),
        ..Row::NEW
    },
];
