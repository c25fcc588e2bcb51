//! Who does it, and who seems to.

use std::collections::BTreeSet;

use atalaya_e2e::at;

use crate::{ALL, Limit, Row};

const TOUCHED: &str = r#"open.file.path == "{dir}/touched" && {me}"#;

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "setuid_after_exec",
        attack: "becomes user 1234 without an exec, then makes a file",
        expected: "the open by user 1234",
        rules: &[(
            "open",
            r#"open.file.path == "{dir}/touched" && {me} && process.uid == 1234 && process.euid == 1234"#,
        )],
        check: |seen| seen.file("open", "touched"),
        ..Row::NEW
    },
    Row {
        id: "setuid_event",
        attack: "the same",
        expected: "the setuid",
        events: &["setuid"],
        rules: &[(
            "setuid",
            r#"setuid.uid == 1234 && setuid.euid == 1234 && {me}"#,
        )],
        check: |seen| seen.simply("setuid", &[("/process/pid", seen.pid())]),
        ..Row::NEW
    },
    Row {
        id: "setuid_of_one_thread",
        attack: "one thread alone becomes user 1234 (the raw call); it and the first one read a file each",
        expected: "the first thread's read by root",
        rules: &[(
            "other",
            r#"open.file.path == "{dir}/other" && {old} && {me} && process.uid == 0"#,
        )],
        check: |seen| seen.file("other", "other"),
        ..Row::NEW
    },
    Row {
        id: "thread",
        attack: "a thread that is not the first makes a file",
        expected: "the open by the process, with the thread's id",
        rules: &[("open", TOUCHED)],
        check: |seen| {
            let tid = seen.number("tid")?;
            seen.simply(
                "open",
                &[("/process/pid", seen.pid()), ("/process/tid", tid.into())],
            )
        },
        ..Row::NEW
    },
    Row {
        id: "vfork_storm",
        attack: "300 children by vfork, each a program of a few microseconds",
        expected: "each exec once, with the right parent",
        events: &["exec"],
        rules: &[("exec", r#"exec.file.path == "{dir}/program""#)],
        check: |seen| {
            let events = seen.of("exec");
            let times = seen.number("times")?;
            let told: BTreeSet<_> = events
                .iter()
                .map(|event| at(event, "/process/args/0").to_string())
                .collect();
            let strange = events
                .iter()
                .filter(|event| at(event, "/process/ppid") != &seen.pid())
                .count();
            if (events.len() as u64, told.len() as u64, strange) == (times, times, 0) {
                return Ok(format!("{times} of {times}"));
            }
            Err(format!(
                "{} execs, {} distinct, {strange} with another parent",
                events.len(),
                told.len()
            ))
        },
        ..Row::NEW
    },
    Row {
        id: "pid_reuse",
        attack: "a process ends, another program gets its id at once (`clone3` with `set_tid`); both make a file",
        expected: "each open with its own program",
        rules: &[
            (
                "a",
                r#"open.file.path == "{dir}/a" && process.file.path == "{dir}/first""#,
            ),
            (
                "b",
                r#"open.file.path == "{dir}/b" && process.file.path == "{dir}/second""#,
            ),
        ],
        check: |seen| {
            let child = seen.number("child")?;
            seen.told("a", &[("/process/pid", child.into())])?;
            seen.simply("b", &[("/process/pid", child.into())])
        },
        ..Row::NEW
    },
    Row {
        id: "pid_reuse_by_fork",
        attack: "the same with a fork that executes nothing",
        expected: "the open with the forking program, not with the one that had the id before",
        rules: &[(
            "open",
            r#"open.file.path == "{dir}/touched" && process.file.name == "evasion-helper""#,
        )],
        check: |seen| {
            let child = seen.number("child")?;
            seen.simply("open", &[("/process/pid", child.into())])
        },
        ..Row::NEW
    },
    Row {
        id: "orphan",
        attack: "a child outlives its parent, so that init adopts it; then it executes a program, which makes a file",
        expected: "the open with the dead parent among the ancestors",
        rules: &[(
            "open",
            r#"open.file.path == "{dir}/touched" && process.file.path == "{dir}/worker" && process.ancestors.file.path == "{dir}/starter""#,
        )],
        check: |seen| seen.file("open", "touched"),
        ..Row::NEW
    },
    Row {
        id: "clone_parent",
        attack: "the same with a child that was never its parent's by the kernel's book (CLONE_PARENT)",
        expected: "the open with the program that made it among the ancestors",
        rules: &[(
            "open",
            r#"open.file.path == "{dir}/touched" && process.file.path == "{dir}/worker" && process.ancestors.file.path == "{dir}/starter""#,
        )],
        check: |seen| seen.file("open", "touched"),
        ..Row::NEW
    },
    Row {
        id: "ptrace_injection",
        attack: "lets another process make a file (PTRACE_ATTACH, registers, one step)",
        expected: "the open by the process that did it",
        rules: &[(
            "open",
            r#"open.file.path == "{dir}/injected" && process.file.path == "{dir}/victim""#,
        )],
        check: |seen| {
            let victim = seen.number("victim")?;
            seen.simply("open", &[("/process/pid", victim.into())])
        },
        ..Row::NEW
    },
    Row {
        id: "ptrace_event",
        attack: "the same",
        expected: "the ptrace with the traced program",
        events: &["ptrace"],
        rules: &[(
            "ptrace",
            r#"ptrace.request == PTRACE_ATTACH && ptrace.tracee.file.path == "{dir}/victim""#,
        )],
        check: |seen| seen.simply("ptrace", &[("/process/pid", seen.pid())]),
        ..Row::NEW
    },
    Row {
        id: "proc_mem",
        attack: "opens another process's memory to write (`/proc/PID/mem`)",
        expected: "the open",
        rules: &[(
            "open",
            r#"open.file.path == ~"/proc/*/mem" && open.flags & (O_WRONLY|O_RDWR) > 0 && {me}"#,
        )],
        check: |seen| {
            let path = format!("/proc/{}/mem", seen.number("victim")?);
            seen.simply("open", &[("/file/path", path.into())])
        },
        ..Row::NEW
    },
    Row {
        id: "process_vm_writev",
        attack: "writes another process's memory by `process_vm_writev`",
        expected: "an event",
        events: &["ptrace"],
        rules: &[("any", r#"ptrace.request >= 0 && {me}"#)],
        check: |seen| seen.simply("any", &[]),
        limits: &[Limit::new(
            ALL,
            "the language has no event for it; the permission is that of ptrace, but no request of ptrace is made",
        )],
        ..Row::NEW
    },
    Row {
        id: "pidfd_signal",
        attack: "kills a process by its descriptor (`pidfd_send_signal`)",
        expected: "the signal with its target",
        events: &["signal"],
        rules: &[(
            "signal",
            r#"signal.type == SIGTERM && signal.target.file.path == "{dir}/victim""#,
        )],
        check: |seen| {
            let victim = seen.number("victim")?;
            seen.simply("signal", &[("/signal/pid", victim.into())])
        },
        ..Row::NEW
    },
    Row {
        id: "tgkill",
        attack: "kills a process by `tgkill`",
        expected: "the signal with its target",
        events: &["signal"],
        rules: &[(
            "signal",
            r#"signal.type == SIGTERM && signal.target.file.path == "{dir}/victim""#,
        )],
        check: |seen| {
            let victim = seen.number("victim")?;
            seen.simply("signal", &[("/signal/pid", victim.into())])
        },
        ..Row::NEW
    },
    Row {
        id: "unshare",
        attack: "enters a user namespace (`unshare`)",
        expected: "the unshare with its flags",
        events: &["unshare"],
        rules: &[("unshare", r#"unshare.flags & CLONE_NEWUSER > 0 && {me}"#)],
        check: |seen| seen.simply("unshare", &[]),
        ..Row::NEW
    },
    Row {
        id: "clone_newuser",
        attack: "makes a child in a user namespace (`clone`)",
        expected: "an unshare event",
        events: &["unshare"],
        rules: &[("unshare", r#"unshare.flags & CLONE_NEWUSER > 0 && {me}"#)],
        check: |seen| seen.simply("unshare", &[]),
        limits: &[Limit::new(
            ALL,
            "`unshare` is the event of that call; a process that begins in new namespaces is told by its fork and exec, and by `process.user_namespace`",
        )],
        ..Row::NEW
    },
];
