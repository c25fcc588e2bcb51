//! One test an event type that works on one file: what a rule sees, and what the event tells.

use atalaya_e2e::{Setup, at, sys, text};

use crate::common::{CWD, check_event, check_file, int, make_file, string};

#[test]
fn open() {
    let mut probe = Setup::new()
        .rule(
            "open_create",
            r#"open.file.path == "{work}/made" && open.flags & O_CREAT > 0"#,
        )
        .rule(
            "open_read",
            r#"open.file.path == "{work}/made" && open.flags & O_CREAT == 0 && open.retval >= 0"#,
        )
        .rule(
            "open_relative",
            r#"open.file.path == "{work}/relative" && open.file.name == "relative""#,
        )
        .rule("openat2", r#"open.file.path == "{work}/openat2""#)
        .rule("creat", r#"open.file.path == "{work}/creat""#)
        .start();
    let path = probe.path("made");
    let flags = libc::O_WRONLY | libc::O_CREAT;
    let helper = sys(
        libc::SYS_openat,
        &[CWD, &string(&path), &int(flags), &int(0o640)],
    );
    assert!(helper.result() >= 0);
    let event = probe.events.expect_rule("open_create");
    check_event(&event, "open", &path, &helper);
    check_file(&event, "/file", &path);
    assert_eq!(text(&event, "/syscall/open/path"), path, "{event:#}");
    assert_eq!(
        at(&event, "/syscall/open/flags").as_i64().unwrap() & i64::from(flags),
        i64::from(flags),
        "{event:#}"
    );
    assert_eq!(at(&event, "/syscall/open/mode"), 0o640, "{event:#}");

    let helper = sys(libc::SYS_open, &[&string(&path), &int(libc::O_RDONLY)]);
    let event = probe.events.expect_rule("open_read");
    check_event(&event, "open", &path, &helper);

    let path = probe.path("relative");
    make_file(&path, 0o600);
    let work = format!("fd:{}", probe.work().display());
    let helper = sys(libc::SYS_openat, &[&work, "s:relative", &int(libc::O_RDWR)]);
    let event = probe.events.expect("open_relative", |event| {
        text(event, "/syscall/open/path") == "relative"
    });
    check_event(&event, "open", &path, &helper);
    check_file(&event, "/file", &path);

    let path = probe.path("openat2");
    let how = format!("l:{},{},0", libc::O_WRONLY | libc::O_CREAT, 0o604);
    let helper = sys(libc::SYS_openat2, &[CWD, &string(&path), &how, "i:24"]);
    assert!(helper.result() >= 0);
    let event = probe.events.expect_rule("openat2");
    check_event(&event, "open", &path, &helper);
    assert_eq!(at(&event, "/syscall/open/mode"), 0o604, "{event:#}");

    let path = probe.path("creat");
    let helper = sys(libc::SYS_creat, &[&string(&path), &int(0o600)]);
    let event = probe.events.expect_rule("creat");
    check_event(&event, "open", &path, &helper);
    check_file(&event, "/file", &path);
}

#[test]
fn chmod() {
    let mut probe = Setup::new()
        .rule(
            "chmod",
            r#"chmod.file.path == "{work}/file" && chmod.file.destination.rights == 511"#,
        )
        .rule(
            "fchmod",
            r#"chmod.file.path == "{work}/file" && chmod.file.destination.rights == 448"#,
        )
        .rule(
            "fchmodat",
            r#"chmod.file.path == "{work}/file" && chmod.file.destination.rights == 256"#,
        )
        .rule(
            "suid",
            r#"chmod.file.path == "{work}/file" && chmod.file.destination.mode & S_ISUID > 0"#,
        )
        .start();
    let path = probe.path("file");
    make_file(&path, 0o644);
    let helper = sys(libc::SYS_chmod, &[&string(&path), &int(0o777)]);
    let event = probe.events.expect_rule("chmod");
    check_event(&event, "chmod", &path, &helper);
    assert_eq!(
        at(&event, "/file/mode").as_u64().unwrap() & 0o7777,
        if probe.sees_former_attributes() {
            0o644
        } else {
            0o777
        },
        "{event:#}"
    );
    assert_eq!(
        at(&event, "/file/destination/mode").as_u64().unwrap() & 0o7777,
        0o777,
        "{event:#}"
    );
    assert_eq!(at(&event, "/syscall/chmod/mode"), 0o777, "{event:#}");
    assert_eq!(text(&event, "/syscall/chmod/path"), path, "{event:#}");

    let helper = sys(libc::SYS_fchmod, &[&format!("rfd:{path}"), &int(0o700)]);
    let event = probe.events.expect_rule("fchmod");
    check_event(&event, "chmod", &path, &helper);

    let helper = sys(
        libc::SYS_fchmodat,
        &[
            &format!("fd:{}", probe.work().display()),
            "s:file",
            &int(0o400),
        ],
    );
    let event = probe.events.expect_rule("fchmodat");
    check_event(&event, "chmod", &path, &helper);

    let helper = sys(libc::SYS_chmod, &[&string(&path), &int(0o4755)]);
    let event = probe.events.expect_rule("suid");
    check_event(&event, "chmod", &path, &helper);
}

#[test]
fn chown() {
    let mut probe = Setup::new()
        .rule(
            "chown",
            r#"chown.file.path == "{work}/file" && chown.file.destination.uid == 1001"#,
        )
        .rule(
            "lchown",
            r#"chown.file.path == "{work}/file" && chown.file.destination.uid == 1002"#,
        )
        .rule(
            "fchown",
            r#"chown.file.path == "{work}/file" && chown.file.destination.uid == 1003"#,
        )
        .rule(
            "fchownat",
            r#"chown.file.path == "{work}/file" && chown.file.destination.gid == 1004"#,
        )
        .start();
    let path = probe.path("file");
    make_file(&path, 0o644);
    let helper = sys(libc::SYS_chown, &[&string(&path), &int(1001), &int(2001)]);
    let event = probe.events.expect_rule("chown");
    check_event(&event, "chown", &path, &helper);
    let former = if probe.sees_former_attributes() {
        0
    } else {
        1001
    };
    assert_eq!(at(&event, "/file/uid"), former, "{event:#}");
    assert_eq!(at(&event, "/file/destination/uid"), 1001, "{event:#}");
    assert_eq!(at(&event, "/file/destination/gid"), 2001, "{event:#}");
    assert_eq!(at(&event, "/syscall/chown/uid"), 1001, "{event:#}");

    let helper = sys(libc::SYS_lchown, &[&string(&path), &int(1002), &int(-1)]);
    let event = probe.events.expect_rule("lchown");
    check_event(&event, "chown", &path, &helper);

    let helper = sys(
        libc::SYS_fchown,
        &[&format!("rfd:{path}"), &int(1003), &int(0)],
    );
    let event = probe.events.expect_rule("fchown");
    check_event(&event, "chown", &path, &helper);

    let work = format!("fd:{}", probe.work().display());
    let helper = sys(
        libc::SYS_fchownat,
        &[&work, "s:file", &int(-1), &int(1004), "i:0"],
    );
    let event = probe.events.expect_rule("fchownat");
    check_event(&event, "chown", &path, &helper);
}

#[test]
fn utimes() {
    let mut probe = Setup::new()
        .rule("utimensat", r#"utimes.file.path == "{work}/a""#)
        .rule("utimes", r#"utimes.file.path == "{work}/b""#)
        .rule("utime", r#"utimes.file.path == "{work}/c""#)
        .rule("futimens", r#"utimes.file.path == "{work}/d""#)
        .rule("futimesat", r#"utimes.file.path == "{work}/e""#)
        .start();
    for name in ["a", "b", "c", "d", "e"] {
        make_file(&probe.path(name), 0o644);
    }
    let path = probe.path("a");
    let helper = sys(
        libc::SYS_utimensat,
        &[CWD, &string(&path), "l:1000000000,5,1100000000,6", "i:0"],
    );
    let event = probe.events.expect_rule("utimensat");
    check_event(&event, "utimes", &path, &helper);
    check_file(&event, "/file", &path);
    assert_eq!(text(&event, "/syscall/utimes/path"), path, "{event:#}");

    let path = probe.path("b");
    let helper = sys(
        libc::SYS_utimes,
        &[&string(&path), "l:1000000000,5,1100000000,6"],
    );
    let event = probe.events.expect_rule("utimes");
    check_event(&event, "utimes", &path, &helper);

    let path = probe.path("c");
    let helper = sys(
        libc::SYS_utime,
        &[&string(&path), "l:1000000000,1100000000"],
    );
    let event = probe.events.expect_rule("utime");
    check_event(&event, "utimes", &path, &helper);

    let path = probe.path("d");
    let helper = sys(
        libc::SYS_utimensat,
        &[
            &format!("rfd:{path}"),
            "i:0",
            "l:1000000000,5,1100000000,6",
            "i:0",
        ],
    );
    let event = probe.events.expect_rule("futimens");
    check_event(&event, "utimes", &path, &helper);

    let path = probe.path("e");
    let helper = sys(
        libc::SYS_futimesat,
        &[CWD, &string(&path), "l:1000000000,5,1100000000,6"],
    );
    let event = probe.events.expect_rule("futimesat");
    check_event(&event, "utimes", &path, &helper);
}
