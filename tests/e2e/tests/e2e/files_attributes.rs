//! Working directories, extended attributes and lengths: what a rule sees, and what the event tells, whichever call was made.

use atalaya_e2e::{Helper, Setup, at, run_as, skip, sys, text};

use crate::common::{CWD, check_event, check_file, int, make_file, string};
use crate::compat::int80;
use crate::uring::uring;

/// An attribute that every file system keeps, for root.
const ATTRIBUTE: &str = "trusted.atalaya";

/// Where the kernel is older than the call.
fn is_unknown(helper: &Helper) -> bool {
    helper.result() == -i64::from(libc::ENOSYS)
}

#[test]
fn chdir() {
    let mut probe = Setup::new()
        .rule(
            "chdir",
            r#"chdir.file.path == "{work}/a" && chdir.syscall.path != """#,
        )
        .rule(
            "fchdir",
            r#"chdir.file.path == "{work}/b" && chdir.file.name == "b""#,
        )
        .rule("chdir_link", r#"chdir.file.path == "{work}/c/d""#)
        .rule(
            "chdir_refused",
            r#"chdir.retval == EACCES && chdir.file.path == "{work}/shut/in""#,
        )
        .start();
    for name in ["a", "b", "c/d", "shut/in"] {
        std::fs::create_dir_all(probe.path(name)).unwrap();
    }
    let path = probe.path("a");
    let helper = sys(libc::SYS_chdir, &[&string(&path)]);
    let event = probe.events.expect_rule("chdir");
    check_event(&event, "chdir", &path, &helper);
    check_file(&event, "/file", &path);
    assert_eq!(text(&event, "/syscall/chdir/path"), path, "{event:#}");

    let path = probe.path("b");
    let helper = sys(libc::SYS_fchdir, &[&format!("rfd:{path}")]);
    let event = probe.events.expect_rule("fchdir");
    check_event(&event, "chdir", &path, &helper);
    check_file(&event, "/file", &path);

    // The directory, not the link that led to it.
    std::os::unix::fs::symlink(probe.path("c"), probe.path("link")).unwrap();
    let argument = probe.path("link/d");
    let helper = sys(libc::SYS_chdir, &[&string(&argument)]);
    let event = probe.events.expect_rule("chdir_link");
    check_event(&event, "chdir", &probe.path("c/d"), &helper);
    assert_eq!(text(&event, "/syscall/chdir/path"), argument, "{event:#}");

    let shut = std::path::PathBuf::from(probe.path("shut"));
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&shut, private).unwrap();
    let number = libc::SYS_chdir.to_string();
    let helper = run_as(
        &Helper::path(),
        65_534,
        65_534,
        &["sys", &number, &string(&probe.path("shut/in"))],
    );
    assert_eq!(helper.result(), -i64::from(libc::EACCES));
    let event = probe.events.expect_rule("chdir_refused");
    assert_eq!(text(&event, "/evt/outcome"), "Refused", "{event:#}");
}

#[test]
fn setxattr_and_removexattr() {
    let mut probe = Setup::new()
        .rule(
            "setxattr",
            r#"setxattr.file.path =~ "{work}/*" && setxattr.file.destination.name == "trusted.atalaya" && setxattr.file.destination.namespace == "trusted""#,
        )
        .rule(
            "removexattr",
            r#"removexattr.file.name in ["path", "link", "fd", "at"] && removexattr.file.path =~ "{work}/*" && removexattr.file.destination.name == "trusted.atalaya" && removexattr.file.destination.namespace == "trusted""#,
        )
        .start();
    let [name, value] = [string(ATTRIBUTE), string("x")];
    let link = probe.path("link");
    std::os::unix::fs::symlink(probe.path("path"), &link).unwrap();
    for file in ["path", "fd", "at"] {
        make_file(&probe.path(file), 0o640);
    }
    let fd = format!("rfd:{}", probe.path("fd"));
    let [path, link, at_] = ["path", "link", "at"].map(|file| string(&probe.path(file)));
    let sets: [(&str, Helper); 3] = [
        (
            "path",
            sys(libc::SYS_setxattr, &[&path, &name, &value, "i:1", "i:0"]),
        ),
        (
            "link",
            sys(libc::SYS_lsetxattr, &[&link, &name, &value, "i:1", "i:0"]),
        ),
        (
            "fd",
            sys(libc::SYS_fsetxattr, &[&fd, &name, &value, "i:1", "i:0"]),
        ),
    ];
    for (file, helper) in &sets {
        assert_eq!(helper.result(), 0, "{file}");
        let path = probe.path(file);
        let event = probe
            .events
            .expect("setxattr", |event| text(event, "/file/name") == *file);
        check_event(&event, "setxattr", &path, helper);
        check_file(&event, "/file", &path);
        let destination = at(&event, "/file/destination");
        assert_eq!(text(destination, "/attribute_name"), ATTRIBUTE, "{event:#}");
        assert_eq!(
            text(destination, "/attribute_namespace"),
            "trusted",
            "{event:#}"
        );
    }
    let removals: [(&str, Helper); 3] = [
        ("path", sys(libc::SYS_removexattr, &[&path, &name])),
        ("link", sys(libc::SYS_lremovexattr, &[&link, &name])),
        ("fd", sys(libc::SYS_fremovexattr, &[&fd, &name])),
    ];
    for (file, helper) in &removals {
        assert_eq!(helper.result(), 0, "{file}");
        let path = probe.path(file);
        let event = probe
            .events
            .expect("removexattr", |event| text(event, "/file/name") == *file);
        check_event(&event, "removexattr", &path, helper);
        check_file(&event, "/file", &path);
        assert_eq!(
            text(&event, "/file/destination/attribute_name"),
            ATTRIBUTE,
            "{event:#}"
        );
    }

    // Since 6.13: struct xattr_args { u64 value; u32 size; u32 flags; }, here without a value.
    let helper = sys(463, &[CWD, &at_, "i:0", &name, "l:0,0", "i:16"]);
    if is_unknown(&helper) {
        return;
    }
    assert_eq!(helper.result(), 0);
    let path = probe.path("at");
    let event = probe
        .events
        .expect("setxattr", |event| text(event, "/file/name") == "at");
    check_event(&event, "setxattr", &path, &helper);
    // A descriptor and an empty path.
    let fd = format!("rfd:{path}");
    let helper = sys(466, &[&fd, "s:", &int(libc::AT_EMPTY_PATH), &name]);
    assert_eq!(helper.result(), 0);
    let event = probe
        .events
        .expect("removexattr", |event| text(event, "/file/name") == "at");
    check_event(&event, "removexattr", &path, &helper);
}

#[test]
fn a_refused_setxattr() {
    let mut probe = Setup::new()
        .rule(
            "refused",
            r#"setxattr.file.path == "{work}/file" && setxattr.retval == EPERM"#,
        )
        .start();
    let path = probe.path("file");
    make_file(&path, 0o666);
    let number = libc::SYS_setxattr.to_string();
    let helper = run_as(
        &Helper::path(),
        65_534,
        65_534,
        &[
            "sys",
            &number,
            &string(&path),
            &string(ATTRIBUTE),
            "s:x",
            "i:1",
            "i:0",
        ],
    );
    assert_eq!(helper.result(), -i64::from(libc::EPERM));
    let event = probe.events.expect_rule("refused");
    assert_eq!(text(&event, "/file/path"), path, "{event:#}");
    assert_eq!(text(&event, "/evt/outcome"), "Refused", "{event:#}");
}

#[test]
fn attributes_of_other_files_are_no_events() {
    let mut probe = Setup::new()
        .rule("wanted", r#"setxattr.file.path == "{work}/wanted""#)
        .start();
    for file in ["other", "wanted"] {
        let path = probe.path(file);
        make_file(&path, 0o600);
        let arguments = [&string(&path), &string(ATTRIBUTE), "s:x", "i:1", "i:0"];
        assert_eq!(sys(libc::SYS_setxattr, &arguments).result(), 0);
    }
    let event = probe.events.expect_rule("wanted");
    assert_eq!(
        text(&event, "/file/path"),
        probe.path("wanted"),
        "{event:#}"
    );
    assert_eq!(probe.events.of_rule("wanted").len(), 1);
}

#[test]
fn truncate_is_an_open_for_writing() {
    let mut probe = Setup::new()
        .rule(
            "truncate",
            r#"open.file.path == "{work}/by_path" && open.flags & O_TRUNC > 0"#,
        )
        .rule(
            "ftruncate",
            r#"open.file.path == "{work}/by_fd" && open.flags & O_TRUNC > 0"#,
        )
        .start();
    let path = probe.path("by_path");
    make_file(&path, 0o644);
    let helper = sys(libc::SYS_truncate, &[&string(&path), "i:3"]);
    assert_eq!(helper.result(), 0);
    let event = probe
        .events
        .expect("truncate", |event| at(event, "/process/pid") == helper.pid);
    check_event(&event, "open", &path, &helper);
    assert_eq!(text(&event, "/syscall/open/path"), path, "{event:#}");

    let path = probe.path("by_fd");
    make_file(&path, 0o644);
    let helper = sys(libc::SYS_ftruncate, &[&format!("wfd:{path}"), "i:3"]);
    assert_eq!(helper.result(), 0);
    let event = probe
        .events
        .expect("ftruncate", |event| at(event, "/process/pid") == helper.pid);
    check_event(&event, "open", &path, &helper);
    check_file(&event, "/file", &path);
}

#[test]
fn int80_attribute_calls() {
    let mut probe = Setup::new()
        .rule("chdir", r#"chdir.file.path == "{work}/directory""#)
        .rule("setxattr", r#"setxattr.file.path == "{work}/file""#)
        .rule("removexattr", r#"removexattr.file.path == "{work}/file""#)
        .start();
    let directory = probe.path("directory");
    std::fs::create_dir(&directory).unwrap();
    let file = probe.path("file");
    make_file(&file, 0o600);
    let (path, name, into) = (string(&file), string(ATTRIBUTE), string(&directory));
    let calls: [(&str, i64, Vec<&str>); 3] = [
        ("chdir", 12, vec![&into]),
        ("setxattr", 226, vec![&path, &name, "s:x", "i:1", "i:0"]),
        ("removexattr", 235, vec![&path, &name]),
    ];
    for (rule, number, arguments) in calls {
        let Some(helper) = int80(number, &arguments) else {
            return;
        };
        assert_eq!(helper.result(), 0, "{rule}");
        let event = probe.events.expect_rule(rule);
        let path = if rule == "chdir" { &directory } else { &file };
        check_event(&event, rule, path, &helper);
    }
}

#[test]
fn extended_attributes_by_io_uring() {
    let mut probe = Setup::new()
        .rule(
            "setxattr",
            r#"setxattr.file.path == "{work}/path" && setxattr.file.destination.name == "trusted.atalaya" && event.async"#,
        )
        .rule("fsetxattr", r#"setxattr.file.path == "{work}/fd" && event.async"#)
        .start();
    const FSETXATTR: i64 = 41;
    const SETXATTR: i64 = 42;
    for file in ["path", "fd"] {
        make_file(&probe.path(file), 0o600);
    }
    // Since 5.19. An older kernel answers EINVAL, as to any operation that it does not know.
    let known = Helper::run(&["uring", "41", "i:-1", "i:0", "i:0", "i:0", "i:0"]).result();
    if known == -i64::from(libc::EINVAL) {
        skip("io_uring sets no extended attributes on this kernel");
        return;
    }
    let (name, path) = (string(ATTRIBUTE), string(&probe.path("path")));
    // The name, the value, its length, flags; the path in the third address.
    let plain = ["i:0", &name, "s:x", "i:1", "i:0", &path];
    let Some(helper) = uring("uring", SETXATTR, &plain) else {
        return;
    };
    let event = probe.events.expect_rule("setxattr");
    check_event(&event, "setxattr", &probe.path("path"), &helper);
    let fd = format!("rfd:{}", probe.path("fd"));
    let Some(helper) = uring("uring", FSETXATTR, &[&fd, &name, "s:x", "i:1", "i:0"]) else {
        return;
    };
    let event = probe.events.expect_rule("fsetxattr");
    check_event(&event, "setxattr", &probe.path("fd"), &helper);
}
