//! Which program runs, and which seems to.

use atalaya_e2e::{at, has_args, text};

use crate::{ALL, Check, Limit, Row, Seen, TRACEPOINTS};

/// The exec told a program by this path, with the inode that was told by the program that made it.
fn program(seen: &Seen<'_>, path: &str) -> Check {
    let mut wanted = vec![("/process/executable/path", path.into())];
    if let Ok(inode) = seen.number("inode") {
        wanted.push(("/process/executable/inode", inode.into()));
    }
    seen.simply("exec", &wanted)
}

const SCRIPT_NAME: &str = "no tracepoint shows the script's file, only the name that it was asked for by; the event says so. The interpreter's arguments \
                           and its open of the script tell it";
const EXEC: &str = r#"exec.file.path == "{dir}/program""#;

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "memfd",
        attack: "runs a program that lies in memory only (`memfd_create`, `execveat`)",
        expected: "the exec with the memfd's name",
        events: &["exec"],
        rules: &[("exec", r#"exec.file.name == "memfd:evasion-memfd""#)],
        check: |seen| seen.simply("exec", &[("/process/argv0", "innocent".into())]),
        ..Row::NEW
    },
    Row {
        id: "execveat_empty_path",
        attack: "runs a program by descriptor (AT_EMPTY_PATH)",
        expected: "the exec by the program's path",
        events: &["exec"],
        rules: &[("exec", EXEC)],
        check: |seen| program(seen, &seen.path("program")),
        ..Row::NEW
    },
    Row {
        id: "execveat_dirfd",
        attack: "runs `../program` relative to a directory's descriptor",
        expected: "the exec by the program's path",
        events: &["exec"],
        rules: &[("exec", EXEC)],
        check: |seen| program(seen, &seen.path("program")),
        ..Row::NEW
    },
    Row {
        id: "exec_proc_fd",
        attack: "runs `/proc/self/fd/N`",
        expected: "the exec by the program's path",
        events: &["exec"],
        rules: &[("exec", EXEC)],
        check: |seen| program(seen, &seen.path("program")),
        ..Row::NEW
    },
    Row {
        id: "exec_symlink",
        attack: "runs a program through a symbolic link of another name",
        expected: "the exec by the program's path",
        events: &["exec"],
        rules: &[("exec", EXEC)],
        check: |seen| program(seen, &seen.path("program")),
        ..Row::NEW
    },
    Row {
        id: "exec_hardlink",
        attack: "runs a program by a hard link of another name",
        expected: "the exec by the link's path, with the program's inode",
        events: &["exec"],
        rules: &[("exec", r#"exec.file.path == "{dir}/other""#)],
        check: |seen| program(seen, &seen.path("other")),
        ..Row::NEW
    },
    Row {
        id: "loader",
        attack: "runs a program through the loader: `ld.so ./program`",
        expected: "the exec of the loader with the program in its arguments; the loader's open of it",
        events: &["exec", "open"],
        rules: &[
            (
                "exec",
                r#"exec.file.name == ~"ld-linux*" && exec.argv in ["{dir}/program"]"#,
            ),
            (
                "open",
                r#"open.file.path == "{dir}/program" && process.file.name == ~"ld-linux*""#,
            ),
        ],
        check: |seen| {
            seen.told("exec", &[])?;
            seen.file("open", "program")
        },
        ..Row::NEW
    },
    Row {
        id: "loader_first_name",
        attack: "the same",
        expected: "a rule on the program's exec fires",
        events: &["exec"],
        rules: &[("exec", EXEC)],
        check: |seen| seen.simply("exec", &[]),
        limits: &[Limit::new(
            ALL,
            "the kernel executes the loader, which maps the program as data: match the loader's arguments, or `open` and `mmap` by it",
        )],
        ..Row::NEW
    },
    Row {
        id: "script",
        attack: "runs a script",
        expected: "the exec with the script as file and the shell as interpreter",
        events: &["exec"],
        rules: &[("exec", r#"exec.file.path == "{dir}/script""#)],
        check: |seen| {
            let shell = seen.fact("shell")?;
            seen.told("exec", &[("/process/interpreter/path", shell.into())])?;
            Ok(format!("exec of script by {shell}"))
        },
        ..Row::NEW
    },
    Row {
        id: "script_inode",
        attack: "the same",
        expected: "the exec with the script's inode",
        events: &["exec"],
        rules: &[("exec", r#"exec.file.path == "{dir}/script""#)],
        check: |seen| program(seen, &seen.path("script")),
        limits: &[Limit::by_chance(
            TRACEPOINTS,
            "no tracepoint shows the script's file: its inode is looked up by the kernel's copy of the name, and a script that has ended is not there any more",
        )],
        ..Row::NEW
    },
    Row {
        id: "script_symlink",
        attack: "runs a script through a symbolic link",
        expected: "the exec by the script's own path",
        events: &["exec"],
        rules: &[("exec", r#"exec.file.path == "{dir}/script""#)],
        check: |seen| seen.simply("exec", &[]),
        limits: &[Limit::new(TRACEPOINTS, SCRIPT_NAME)],
        ..Row::NEW
    },
    Row {
        id: "script_by_descriptor",
        attack: "runs a script by descriptor (AT_EMPTY_PATH)",
        expected: "the exec by the script's own path",
        events: &["exec"],
        rules: &[("exec", r#"exec.file.path == "{dir}/script""#)],
        check: |seen| seen.simply("exec", &[]),
        limits: &[Limit::new(TRACEPOINTS, SCRIPT_NAME)],
        ..Row::NEW
    },
    Row {
        id: "script_of_script",
        attack: "runs a script whose interpreter is a script",
        expected: "the exec with the outer script as file",
        events: &["exec"],
        rules: &[("exec", r#"exec.file.path == "{dir}/outer""#)],
        check: |seen| seen.simply("exec", &[]),
        ..Row::NEW
    },
    Row {
        id: "script_as_argument",
        attack: "`sh script`",
        expected: "the exec of the shell with the script in its arguments; the shell's open of it",
        events: &["exec", "open"],
        rules: &[
            (
                "exec",
                r#"exec.argv in ["{dir}/script"] && exec.file.name in ["sh", "dash", "bash", "busybox"]"#,
            ),
            (
                "open",
                r#"open.file.path == "{dir}/script" && process.file.name in ["sh", "dash", "bash", "busybox"]"#,
            ),
        ],
        check: |seen| {
            seen.told("exec", &[])?;
            seen.file("open", "script")
        },
        ..Row::NEW
    },
    Row {
        id: "script_as_argument_first_name",
        attack: "the same",
        expected: "a rule on the script's exec fires",
        events: &["exec"],
        rules: &[("exec", r#"exec.file.path == "{dir}/script""#)],
        check: |seen| seen.simply("exec", &[]),
        limits: &[Limit::new(
            ALL,
            "the kernel executes the shell, to which the script is data: match the shell's arguments, or `open` by it",
        )],
        ..Row::NEW
    },
    Row {
        id: "deleted_program",
        attack: "a program unlinks its own file, then makes a file",
        expected: "the open with the program's path as its process's",
        rules: &[(
            "open",
            r#"open.file.path == "{dir}/touched" && process.file.path == "{dir}/program""#,
        )],
        check: |seen| seen.file("open", "touched"),
        ..Row::NEW
    },
    Row {
        id: "replaced_program",
        attack: "renames an innocent program over a running one, which then makes a file",
        expected: "the open with the path and inode of what runs",
        rules: &[(
            "open",
            r#"open.file.path == "{dir}/touched" && process.file.path == "{dir}/program""#,
        )],
        check: |seen| {
            let inode = seen.number("inode")?;
            seen.simply("open", &[("/process/executable/inode", inode.into())])
        },
        ..Row::NEW
    },
    Row {
        id: "argv0",
        attack: "runs a program with `[kworker/0:1]` as its first argument",
        expected: "the exec by the program's path; the lie is in `argv0`",
        events: &["exec"],
        rules: &[("exec", EXEC)],
        check: |seen| {
            seen.told("exec", &[("/process/argv0", "[kworker/0:1]".into())])?;
            program(seen, &seen.path("program"))
        },
        ..Row::NEW
    },
    Row {
        id: "empty_argv",
        attack: "runs a program without any argument, not even its name",
        expected: "the exec by the program's path",
        events: &["exec"],
        rules: &[("exec", EXEC)],
        check: |seen| program(seen, &seen.path("program")),
        ..Row::NEW
    },
    Row {
        id: "argv_overwritten",
        attack: "writes `/usr/sbin/sshd -D` over its arguments in memory, then makes a file",
        expected: "the open with the arguments of the exec",
        rules: &[("open", r#"open.file.path == "{dir}/touched" && {me}"#)],
        check: |seen| seen.file("open", "touched"),
        ..Row::NEW
    },
    Row {
        id: "env_overwritten",
        attack: "the same with its environment",
        expected: "the open with the environment of the exec",
        rules: &[(
            "open",
            r#"open.file.path == "{dir}/touched" && process.envs in ["EVASION_MARK"]"#,
        )],
        check: |seen| seen.file("open", "touched"),
        ..Row::NEW
    },
    Row {
        id: "args_flood",
        attack: "hides an argument behind one of 128 kB",
        expected: "the argument, or `args_truncated`",
        events: &["exec"],
        rules: &[(
            "exec",
            r#"exec.file.path == "{dir}/program" && (exec.args_truncated || exec.argv in ["--reverse-shell"])"#,
        )],
        check: |seen| {
            let event = seen.told("exec", &[])?;
            match (
                has_args(event, "--reverse-shell"),
                at(event, "/process/args_truncated") == true,
            ) {
                (true, _) => Ok("the argument".to_owned()),
                (false, true) => Ok("args_truncated".to_owned()),
                (false, false) => Err("cut and not marked".to_owned()),
            }
        },
        ..Row::NEW
    },
    Row {
        id: "envs_flood",
        attack: "hides LD_PRELOAD behind a variable of 64 kB",
        expected: "the variable, or `envs_truncated`",
        events: &["exec"],
        rules: &[(
            "exec",
            r#"exec.file.path == "{dir}/program" && (exec.envs_truncated || exec.envs in ["LD_PRELOAD"])"#,
        )],
        check: |seen| {
            let event = seen.told("exec", &[])?;
            Ok(if at(event, "/process/envs_truncated") == true {
                "envs_truncated"
            } else {
                "the variable"
            }
            .to_owned())
        },
        ..Row::NEW
    },
    Row {
        id: "preload",
        attack: "runs a program with LD_PRELOAD",
        expected: "the exec with the variable",
        events: &["exec"],
        rules: &[(
            "exec",
            r#"exec.file.path == "{dir}/program" && exec.envp in ["LD_PRELOAD=/evil.so"]"#,
        )],
        check: |seen| program(seen, &seen.path("program")),
        ..Row::NEW
    },
    Row {
        id: "comm",
        attack: "calls itself `sshd` and a terminal escape (PR_SET_NAME), then makes a file",
        expected: "the prctl with the name; the open with the program's true path",
        events: &["prctl", "open"],
        rules: &[
            (
                "prctl",
                r#"prctl.option == PR_SET_NAME && prctl.new_name == ~"sshd*" && {me}"#,
            ),
            (
                "open",
                r#"open.file.path == "{dir}/touched" && process.file.name == "evasion-helper""#,
            ),
        ],
        check: |seen| {
            seen.told("prctl", &[("/prctl/new_name", "sshd\u{1b}[2K".into())])?;
            seen.file("open", "touched")
        },
        ..Row::NEW
    },
    Row {
        id: "comm_of_another",
        attack: "the same through `/proc/self/comm`",
        expected: "the open of that file; the open with the program's true path",
        rules: &[
            (
                "name",
                r#"open.file.path == ~"/proc/*/comm" && open.flags & O_WRONLY > 0 && {me}"#,
            ),
            (
                "open",
                r#"open.file.path == "{dir}/touched" && process.file.name == "evasion-helper""#,
            ),
        ],
        check: |seen| {
            seen.told("name", &[])?;
            seen.file("open", "touched")
        },
        ..Row::NEW
    },
    Row {
        id: "exec_chain",
        attack: "one process becomes three programs at once, one after the other",
        expected: "each exec, of one process",
        events: &["exec"],
        rules: &[
            ("a", r#"exec.file.path == "{dir}/a""#),
            ("b", r#"exec.file.path == "{dir}/b""#),
            ("end", r#"exec.file.path == "{dir}/end""#),
        ],
        check: |seen| {
            let pid = at(seen.told("a", &[])?, "/process/pid").clone();
            seen.told("b", &[("/process/pid", pid.clone())])?;
            seen.told("end", &[("/process/pid", pid)])?;
            Ok("3 execs".to_owned())
        },
        ..Row::NEW
    },
    Row {
        id: "thread_exec",
        attack: "a thread that is not the first runs a program",
        expected: "one exec, of the process",
        events: &["exec"],
        rules: &[("exec", EXEC)],
        check: |seen| {
            let child = seen.number("child")?;
            seen.told(
                "exec",
                &[
                    ("/process/pid", child.into()),
                    ("/process/tid", child.into()),
                ],
            )?;
            match seen.of("exec").as_slice() {
                [one] => Ok(format!("exec of {}", text(one, "/process/executable/name"))),
                more => Err(format!("{} execs", more.len())),
            }
        },
        ..Row::NEW
    },
];
