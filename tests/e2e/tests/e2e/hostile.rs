//! Names, depths and sizes that an attacker chooses: right, or marked as cut.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Command;

use atalaya_e2e::{Setup, at, has_args, sys, text};

use crate::common::{CWD, int, string, tiny_program};

#[test]
fn control_characters_and_broken_utf8_in_names() {
    let mut probe = Setup::new()
        .rule(
            "odd",
            r#"open.file.path =~ "{work}/odd*" && open.flags & O_CREAT > 0"#,
        )
        .start();
    let names: [(&str, &str); 4] = [
        (r"odd\x0aline", "odd\nline"),
        (r"odd\x1b[31mred\x07", "odd\u{1b}[31mred\u{7}"),
        (r"odd\xff\xfe", "odd\u{fffd}\u{fffd}"),
        ("odd\"quote\\", "odd\"quote\\"),
    ];
    for (argument, name) in names {
        let path = format!("{}/{argument}", probe.work().display());
        let run = sys(
            libc::SYS_openat,
            &[
                CWD,
                &string(&path),
                &int(libc::O_CREAT | libc::O_WRONLY),
                &int(0o600),
            ],
        );
        assert!(run.result() >= 0);
        let event = probe
            .events
            .expect("odd", |event| at(event, "/process/pid") == run.pid);
        assert_eq!(text(&event, "/file/name"), name, "{event:#}");
        assert_eq!(text(&event, "/file/path"), probe.path(name), "{event:#}");
    }
}

/// Makes nested directories with relative calls, so that the whole may be longer than a path argument can be, and a
/// file at the end; returns the file's full path.
fn nested(work: PathBuf, part: &str, depth: usize) -> PathBuf {
    let mut script = format!("cd '{}'\n", work.display());
    for _ in 0..depth {
        script.push_str(&format!("mkdir {part}; cd {part}\n"));
    }
    script.push_str(": > e2e-leaf\n");
    let status = Command::new("sh").arg("-ec").arg(&script).status().unwrap();
    assert!(status.success());
    let mut path = work;
    for _ in 0..depth {
        path.push(part);
    }
    path.join("e2e-leaf")
}

fn right_or_marked(event: &serde_json::Value, path: &std::path::Path) {
    let got = text(event, "/file/path");
    let whole = path.to_string_lossy();
    if got == whole {
        return;
    }
    assert!(
        !text(event, "/file/path_resolution_error").is_empty(),
        "cut and not marked: {event:#}"
    );
    // What is left is the end of the path: its last element is what rules look at first.
    assert_eq!(text(event, "/file/name"), "e2e-leaf", "{event:#}");
}

#[test]
fn directories_two_hundred_deep() {
    let mut probe = Setup::new()
        .rule("deep", r#"open.file.name == "e2e-leaf" && open.flags & O_CREAT > 0 && process.ancestors.pid == OWN_PID"#
            .replace("OWN_PID", &std::process::id().to_string()).as_str())
        .start();
    let path = nested(probe.work(), "d", 200);
    let event = probe.events.expect("deep", |event| {
        text(event, "/file/path").ends_with("/d/d/e2e-leaf")
    });
    right_or_marked(&event, &path);
}

#[test]
fn a_path_of_four_kilobytes() {
    let mut probe = Setup::new()
        .rule("long", r#"open.file.name == "e2e-leaf" && open.flags & O_CREAT > 0 && process.ancestors.pid == OWN_PID"#
            .replace("OWN_PID", &std::process::id().to_string()).as_str())
        .start();
    let part = "n".repeat(250);
    let room = 4094 - probe.work().as_os_str().len() - "/e2e-leaf".len();
    let path = nested(probe.work(), &part, room / 251);
    assert!(path.as_os_str().as_bytes().len() > 3800);
    let event = probe
        .events
        .expect("long", |event| text(event, "/file/path").contains("nnnn"));
    right_or_marked(&event, &path);
    // The same by its whole name, in one argument.
    let run = sys(
        libc::SYS_openat,
        &[
            CWD,
            &string(&path.to_string_lossy()),
            &int(libc::O_CREAT),
            &int(0o600),
        ],
    );
    assert!(run.result() >= 0);
    let event = probe
        .events
        .expect("long", |event| at(event, "/process/pid") == run.pid);
    right_or_marked(&event, &path);
}

#[test]
fn arguments_of_128_kilobytes() {
    let mut probe = Setup::new()
        .rule("big", r#"exec.file.path == "{work}/tiny""#)
        .start();
    let program = probe.path("tiny");
    tiny_program(program.as_ref());
    let one = "x".repeat(128 * 1024 - 1);
    assert!(
        Command::new(&program)
            .args(["first", &one])
            .status()
            .unwrap()
            .success()
    );
    let event = probe.events.expect_rule("big");
    assert!(has_args(&event, "first"), "{event:#}");
    assert!(
        has_args(&event, &one) || at(&event, "/process/args_truncated") == true,
        "cut and not marked"
    );

    let many: Vec<String> = (0..20_000)
        .map(|number| format!("argument-{number}"))
        .collect();
    assert!(
        Command::new(&program)
            .args(&many)
            .status()
            .unwrap()
            .success()
    );
    let event = probe
        .events
        .expect("big", |event| has_args(event, "argument-0"));
    assert!(
        has_args(&event, "argument-19999") || at(&event, "/process/args_truncated") == true,
        "cut and not marked"
    );
}

#[test]
fn an_empty_argument_list_does_no_harm() {
    let mut probe = Setup::new()
        .rule("tiny", r#"exec.file.path == "{work}/tiny""#)
        .start();
    let program = probe.path("tiny");
    tiny_program(program.as_ref());
    let run = sys(
        libc::SYS_execve,
        &[&string(&program), "l:0", "l:0"]
            .map(|word| word.to_owned())
            .each_ref()
            .map(String::as_str),
    );
    let event = probe
        .events
        .expect("tiny", |event| at(event, "/process/pid") == run.pid);
    assert_eq!(
        text(&event, "/process/executable/path"),
        program,
        "{event:#}"
    );
}
