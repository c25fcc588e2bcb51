//! Processes: what is run and how it ends.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use atalaya_e2e::{Helper, Setup, at, copy_executable, has_args, text};

use crate::common::{check_file, make_file, string, tiny_program};

#[test]
fn exec_with_arguments_environment_and_credentials() {
    let mut probe = Setup::new()
        .rule("exec", r#"exec.file.path == "{work}/tiny" && exec.args_flags in ["x"] && exec.argv in ["word one"]"#)
        .rule("env", r#"exec.file.name == "tiny" && exec.file.path == "{work}/tiny" && exec.envs in ["E2E_MARK"]"#)
        .start();
    let program = probe.work().join("tiny");
    tiny_program(&program);
    let status = Command::new(&program)
        .args(["-x", "word one", "last"])
        .env("E2E_MARK", "1")
        .uid(1234)
        .gid(4321)
        .status()
        .unwrap();
    assert!(status.success());
    let event = probe.events.expect_rule("exec");
    assert_eq!(text(&event, "/evt/name"), "exec");
    assert_eq!(text(&event, "/evt/category"), "Process Activity");
    assert_eq!(
        text(&event, "/process/executable/path"),
        program.to_string_lossy(),
        "{event:#}"
    );
    check_file(&event, "/process/executable", &program.to_string_lossy());
    assert!(
        has_args(&event, "word one") && has_args(&event, "last"),
        "{event:#}"
    );
    assert_eq!(
        text(&event, "/process/argv0"),
        program.to_string_lossy(),
        "{event:#}"
    );
    assert_eq!(text(&event, "/process/comm"), "tiny", "{event:#}");
    for (pointer, id) in [
        ("uid", 1234),
        ("euid", 1234),
        ("fsuid", 1234),
        ("gid", 4321),
        ("egid", 4321),
    ] {
        assert_eq!(
            at(&event, &format!("/process/credentials/{pointer}")),
            id,
            "{event:#}"
        );
    }
    assert_eq!(at(&event, "/process/ppid"), std::process::id(), "{event:#}");
    let own = std::env::current_exe().unwrap().canonicalize().unwrap();
    assert_eq!(
        text(&event, "/process/parent/executable/path"),
        own.to_string_lossy(),
        "{event:#}"
    );
    probe.events.expect_rule("env");
}

#[test]
fn exit_by_status_and_signal() {
    let mut probe = Setup::new()
        .rule(
            "status",
            r#"exit.file.path == "{work}/helper" && exit.code == 42"#,
        )
        .rule(
            "killed",
            r#"exit.file.path == "{work}/helper" && exit.code == 9"#,
        )
        .start();
    let helper = probe.work().join("helper");
    copy_executable(&Helper::path(), &helper);
    assert_eq!(
        Command::new(&helper)
            .args(["exit", "42"])
            .status()
            .unwrap()
            .code(),
        Some(42)
    );
    let event = probe.events.expect_rule("status");
    assert_eq!(text(&event, "/evt/name"), "exit");
    assert_eq!(text(&event, "/exit/cause"), "EXITED", "{event:#}");
    assert_eq!(at(&event, "/exit/code"), 42, "{event:#}");
    assert_eq!(
        text(&event, "/process/executable/path"),
        helper.to_string_lossy()
    );
    assert!(
        Command::new(&helper)
            .args(["signal", "9"])
            .status()
            .unwrap()
            .code()
            .is_none()
    );
    let event = probe.events.expect_rule("killed");
    assert_eq!(text(&event, "/exit/cause"), "SIGNALED", "{event:#}");
    assert_eq!(at(&event, "/exit/code"), 9, "{event:#}");
}

#[test]
fn a_script_is_the_file_and_the_shell_its_interpreter() {
    let mut probe = Setup::new()
        .rule("script", r#"exec.file.path == "{work}/script.sh""#)
        .rule("interpreter", r#"exec.interpreter.file.name in ["dash", "bash", "sh"] && exec.file.path == "{work}/script.sh""#)
        .rule("in_script", r#"open.file.path == "{work}/out" && process.file.path == "{work}/script.sh""#)
        .start();
    let script = probe.path("script.sh");
    std::fs::write(&script, format!("#!/bin/sh\n: > '{}'\n", probe.path("out"))).unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    // Through a shell: this process may have a child that still holds the script open for writing.
    assert!(
        Command::new("sh")
            .arg("-c")
            .arg(&script)
            .status()
            .unwrap()
            .success()
    );
    let event = probe.events.expect_rule("script");
    assert_eq!(
        text(&event, "/process/executable/path"),
        script,
        "{event:#}"
    );
    let shell = std::fs::canonicalize("/bin/sh").unwrap();
    assert_eq!(
        text(&event, "/process/interpreter/path"),
        shell.to_string_lossy(),
        "{event:#}"
    );
    probe.events.expect_rule("interpreter");
    probe.events.expect_rule("in_script");
}

#[test]
fn a_program_in_memory_only() {
    let mut probe = Setup::new()
        .rule("memfd", r#"exec.file.name == "memfd:e2e-memfd" && exec.argv in ["sys"]"#)
        .rule("open", r#"open.file.path == "{work}/memfd-was-here" && process.file.name == "memfd:e2e-memfd""#)
        .start();
    let helper = Helper::path();
    let target = string(&probe.path("memfd-was-here"));
    let number = libc::SYS_open.to_string();
    let run = Helper::run(&[
        "memfd-exec",
        &helper.to_string_lossy(),
        "sys",
        &number,
        &target,
        "i:65",
        "i:384",
    ]);
    assert!(run.result() >= 0);
    let event = probe
        .events
        .expect("memfd", |event| at(event, "/process/pid") == run.pid);
    // It is under no directory: a name, and no path.
    assert_eq!(
        text(&event, "/process/executable/name"),
        "memfd:e2e-memfd",
        "{event:#}"
    );
    assert_eq!(
        text(&event, "/process/executable/name"),
        "memfd:e2e-memfd",
        "{event:#}"
    );
    probe.events.expect_rule("open");
}

#[test]
fn a_program_that_deletes_itself() {
    let mut probe = Setup::new()
        .rule("exec", r#"exec.file.path == "{work}/gone""#)
        .rule(
            "open",
            r#"open.file.path == "{work}/was-here" && process.file.path == "{work}/gone""#,
        )
        .start();
    let copy = probe.path("gone");
    copy_executable(&Helper::path(), copy.as_ref());
    let target = string(&probe.path("was-here"));
    let number = libc::SYS_open.to_string();
    Helper::run(&["unlinked-exec", &copy, &number, &target, "i:65", "i:384"]);
    probe.events.expect_rule("exec");
    let event = probe.events.expect_rule("open");
    assert_eq!(text(&event, "/process/executable/path"), copy, "{event:#}");
}

#[test]
fn a_forked_child_has_the_context_of_its_parent() {
    let mut probe = Setup::new()
        .rule(
            "child",
            r#"open.file.path == "{work}/by-child" && process.args =~ "*e2e-fork-mark*""#,
        )
        .start();
    let script = format!("( : > '{}' ); : e2e-fork-mark", probe.path("by-child"));
    let mut child = Command::new("sh").args(["-c", &script]).spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let event = probe.events.expect_rule("child");
    assert_ne!(at(&event, "/process/pid"), pid, "{event:#}");
    assert_eq!(at(&event, "/process/ppid"), pid, "{event:#}");
    let shell = std::fs::canonicalize("/bin/sh").unwrap();
    assert_eq!(
        text(&event, "/process/executable/path"),
        shell.to_string_lossy(),
        "{event:#}"
    );
}

#[test]
fn a_terminal_is_named() {
    let mut probe = Setup::new()
        .rule(
            "tty",
            r#"exec.file.path == "{work}/tiny" && exec.tty_name =~ "pts*""#,
        )
        .start();
    let program = probe.path("tiny");
    tiny_program(program.as_ref());
    let status = Command::new("script")
        .args(["-qec", &program, "/dev/null"])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let event = probe.events.expect_rule("tty");
    assert!(text(&event, "/process/tty").starts_with("pts"), "{event:#}");
}

#[test]
fn a_setuid_program_runs_as_its_owner() {
    let mut probe = Setup::new()
        .rule(
            "suid",
            r#"exec.file.path == "{work}/suid" && exec.euid == 0 && exec.uid == 1234"#,
        )
        .start();
    let program = probe.path("suid");
    tiny_program(program.as_ref());
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o4755)).unwrap();
    assert!(
        Command::new(&program)
            .uid(1234)
            .gid(1234)
            .status()
            .unwrap()
            .success()
    );
    let event = probe.events.expect_rule("suid");
    assert_eq!(at(&event, "/process/credentials/euid"), 0, "{event:#}");
    assert_eq!(at(&event, "/process/credentials/uid"), 1234, "{event:#}");
}

#[test]
fn an_open_by_the_interpreter_belongs_to_the_new_image() {
    let mut probe = Setup::new()
        .rule(
            "cat",
            r#"open.file.path == "{work}/read-me" && process.comm == "cat""#,
        )
        .start();
    make_file(&probe.path("read-me"), 0o644);
    assert!(
        Command::new("cat")
            .arg(probe.path("read-me"))
            .status()
            .unwrap()
            .success()
    );
    let event = probe.events.expect_rule("cat");
    assert!(
        text(&event, "/process/executable/path").ends_with("/cat"),
        "{event:#}"
    );
}

#[test]
fn a_thread_that_execs_keeps_the_process() {
    let mut probe = Setup::new()
        .rule(
            "thread",
            r#"exec.file.path == "{work}/tiny" && exec.argv in ["from-thread"]"#,
        )
        .start();
    let program = probe.path("tiny");
    tiny_program(program.as_ref());
    let mut child = Command::new(Helper::path())
        .args(["thread-exec", &program, "from-thread"])
        .spawn()
        .unwrap();
    let pid = child.id();
    assert!(child.wait().unwrap().success());
    let event = probe.events.expect_rule("thread");
    assert_eq!(at(&event, "/process/pid"), pid, "{event:#}");
    assert_eq!(at(&event, "/process/tid"), pid, "{event:#}");
    assert_eq!(at(&event, "/process/ppid"), std::process::id(), "{event:#}");
}
