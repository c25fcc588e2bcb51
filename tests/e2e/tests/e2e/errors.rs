//! Failed calls: EACCES and EPERM are reported, others only where the configuration asks for them.

use std::os::unix::fs::PermissionsExt;

use atalaya_e2e::{Helper, Probe, Setup, at, copy_executable, run_as, sys, text};

use crate::common::{CWD, int, make_file, string};

const NOBODY: u32 = 65534;

/// The helper where another user can run it.
fn helper_for_all(probe: &Probe) -> std::path::PathBuf {
    let path = probe.dir().join("helper");
    copy_executable(&Helper::path(), &path);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

#[test]
fn access_denied_is_reported() {
    let mut probe = Setup::new()
        .rule(
            "open_eacces",
            r#"open.file.path == "{work}/secret" && open.retval == EACCES"#,
        )
        .rule(
            "chmod_eperm",
            r#"chmod.file.path == "{work}/secret" && chmod.retval == EPERM"#,
        )
        .rule(
            "unlink_eacces",
            r#"unlink.file.path == "{work}/closed/file" && unlink.retval in [EACCES, EPERM]"#,
        )
        .rule(
            "exec_like",
            r#"mkdir.file.path == "{work}/closed/new" && mkdir.retval == EACCES"#,
        )
        .start();
    let helper = helper_for_all(&probe);
    let secret = probe.path("secret");
    make_file(&secret, 0o600);
    let closed = probe.path("closed");
    std::fs::create_dir(&closed).unwrap();
    make_file(&format!("{closed}/file"), 0o600);
    let call = |number: i64, arguments: &[&str], errno: i32| {
        let number = number.to_string();
        let mut all = vec!["sys", number.as_str()];
        all.extend(arguments);
        let run = run_as(&helper, NOBODY, NOBODY, &all);
        assert_eq!(run.result(), -i64::from(errno), "{all:?}");
        run
    };
    let run = call(
        libc::SYS_openat,
        &[CWD, &string(&secret), "i:0"],
        libc::EACCES,
    );
    let event = probe.events.expect_rule("open_eacces");
    assert_eq!(text(&event, "/file/path"), secret, "{event:#}");
    assert_ne!(text(&event, "/evt/outcome"), "Success", "{event:#}");
    assert_eq!(at(&event, "/process/pid"), run.pid, "{event:#}");
    assert_eq!(at(&event, "/process/credentials/euid"), NOBODY, "{event:#}");
    assert_eq!(at(&event, "/process/credentials/uid"), NOBODY, "{event:#}");
    assert_eq!(text(&event, "/syscall/open/path"), secret, "{event:#}");

    call(
        libc::SYS_chmod,
        &[&string(&secret), &int(0o777)],
        libc::EPERM,
    );
    let event = probe.events.expect_rule("chmod_eperm");
    assert_ne!(text(&event, "/evt/outcome"), "Success", "{event:#}");

    call(
        libc::SYS_unlink,
        &[&string(&format!("{closed}/file"))],
        libc::EACCES,
    );
    probe.events.expect_rule("unlink_eacces");
    call(
        libc::SYS_mkdir,
        &[&string(&format!("{closed}/new")), "i:448"],
        libc::EACCES,
    );
    probe.events.expect_rule("exec_like");
}

/// Opens a file that is not there, then one that is, and waits for the event of the latter.
fn open_missing(setup: Setup) -> Probe {
    let mut probe = setup
        .rule("missing", r#"open.syscall.path == "{work}/missing""#)
        .rule("missing_path", r#"open.file.path == "{work}/missing""#)
        .rule("fence", r#"open.file.path == "{work}/fence""#)
        .start();
    make_file(&probe.path("fence"), 0o600);
    let missing = sys(
        libc::SYS_openat,
        &[CWD, &string(&probe.path("missing")), "i:0"],
    );
    assert_eq!(missing.result(), -i64::from(libc::ENOENT));
    sys(
        libc::SYS_openat,
        &[CWD, &string(&probe.path("fence")), "i:0"],
    );
    probe
        .events
        .expect("fence", |event| at(event, "/syscall/open/flags") == 0);
    probe
}

#[test]
fn a_missing_file_is_not_reported() {
    let mut probe = open_missing(Setup::new());
    assert!(probe.events.of_rule("missing").is_empty());
    assert!(probe.events.of_rule("missing_path").is_empty());
}

#[test]
fn a_missing_file_is_reported_when_asked_for() {
    let setup = Setup::new().config("  syscalls:\n    capture_all_errors:\n      enabled: true\n");
    let mut probe = open_missing(setup);
    for rule in ["missing", "missing_path"] {
        let event = probe.events.expect_rule(rule);
        assert_ne!(text(&event, "/evt/outcome"), "Success", "{event:#}");
        assert_eq!(
            text(&event, "/file/path"),
            probe.path("missing"),
            "{event:#}"
        );
    }
}
