//! The event types that change names: unlink, rmdir, mkdir, rename, link.

use std::os::unix::fs::MetadataExt;

use atalaya_e2e::{Setup, at, sys, text};

use crate::common::{CWD, check_event, check_file, int, make_file, string};

#[test]
fn unlink() {
    let mut probe = Setup::new()
        .rule("unlink", r#"unlink.file.path == "{work}/a""#)
        .rule("unlinkat", r#"unlink.file.path == "{work}/b""#)
        .start();
    let path = probe.path("a");
    make_file(&path, 0o642);
    let inode = std::fs::metadata(&path).unwrap().ino();
    let helper = sys(libc::SYS_unlink, &[&string(&path)]);
    let event = probe.events.expect_rule("unlink");
    check_event(&event, "unlink", &path, &helper);
    assert_eq!(at(&event, "/file/inode"), inode, "{event:#}");
    assert_eq!(
        at(&event, "/file/mode").as_u64().unwrap() & 0o7777,
        0o642,
        "{event:#}"
    );
    assert_eq!(text(&event, "/syscall/unlink/path"), path, "{event:#}");

    let path = probe.path("b");
    make_file(&path, 0o600);
    let helper = sys(
        libc::SYS_unlinkat,
        &[&format!("fd:{}", probe.work().display()), "s:b", "i:0"],
    );
    let event = probe.events.expect_rule("unlinkat");
    check_event(&event, "unlink", &path, &helper);
}

#[test]
fn directories() {
    let mut probe = Setup::new()
        .rule("mkdir", r#"mkdir.file.path == "{work}/a""#)
        .rule(
            "mkdirat",
            r#"mkdir.file.path == "{work}/b" && mkdir.file.destination.rights == 448"#,
        )
        .rule("rmdir", r#"rmdir.file.path == "{work}/a""#)
        .rule("unlinkat_dir", r#"rmdir.file.path == "{work}/b""#)
        .start();
    let path = probe.path("a");
    let helper = sys(libc::SYS_mkdir, &[&string(&path), &int(0o750)]);
    let event = probe.events.expect_rule("mkdir");
    check_event(&event, "mkdir", &path, &helper);
    check_file(&event, "/file", &path);
    assert_eq!(text(&event, "/syscall/mkdir/path"), path, "{event:#}");
    assert_eq!(at(&event, "/syscall/mkdir/mode"), 0o750, "{event:#}");

    let path = probe.path("b");
    let work = format!("fd:{}", probe.work().display());
    let helper = sys(libc::SYS_mkdirat, &[&work, "s:b", &int(0o700)]);
    let event = probe.events.expect_rule("mkdirat");
    check_event(&event, "mkdir", &path, &helper);

    let path = probe.path("a");
    let inode = std::fs::metadata(&path).unwrap().ino();
    let helper = sys(libc::SYS_rmdir, &[&string(&path)]);
    let event = probe.events.expect_rule("rmdir");
    check_event(&event, "rmdir", &path, &helper);
    assert_eq!(at(&event, "/file/inode"), inode, "{event:#}");

    let path = probe.path("b");
    let helper = sys(
        libc::SYS_unlinkat,
        &[CWD, &string(&path), &int(libc::AT_REMOVEDIR)],
    );
    let event = probe.events.expect_rule("unlinkat_dir");
    check_event(&event, "rmdir", &path, &helper);
}

#[test]
fn rename() {
    let mut probe = Setup::new()
        .rule(
            "rename",
            r#"rename.file.path == "{work}/a" && rename.file.destination.path == "{work}/b""#,
        )
        .rule("renameat", r#"rename.file.path == "{work}/b""#)
        .rule("renameat2", r#"rename.file.destination.path == "{work}/d""#)
        .start();
    let (a, b, c, d) = (
        probe.path("a"),
        probe.path("b"),
        probe.path("c"),
        probe.path("d"),
    );
    make_file(&a, 0o600);
    let helper = sys(libc::SYS_rename, &[&string(&a), &string(&b)]);
    let event = probe.events.expect_rule("rename");
    check_event(&event, "rename", &a, &helper);
    check_file(&event, "/file", &b);
    assert_eq!(text(&event, "/file/destination/path"), b, "{event:#}");
    assert_eq!(text(&event, "/syscall/rename/path"), a, "{event:#}");
    assert_eq!(
        text(&event, "/syscall/rename/destination_path"),
        b,
        "{event:#}"
    );

    let work = format!("fd:{}", probe.work().display());
    let helper = sys(libc::SYS_renameat, &[&work, "s:b", &work, "s:c"]);
    let event = probe.events.expect_rule("renameat");
    check_event(&event, "rename", &b, &helper);
    assert_eq!(text(&event, "/file/destination/path"), c, "{event:#}");

    let flags = int(i64::from(libc::RENAME_NOREPLACE));
    let helper = sys(
        libc::SYS_renameat2,
        &[CWD, &string(&c), CWD, &string(&d), &flags],
    );
    assert_eq!(helper.result(), 0);
    let event = probe.events.expect_rule("renameat2");
    check_event(&event, "rename", &c, &helper);
}

#[test]
fn link() {
    let mut probe = Setup::new()
        .rule(
            "link",
            r#"link.file.path == "{work}/a" && link.file.destination.path == "{work}/b""#,
        )
        .rule("linkat", r#"link.file.destination.path == "{work}/c""#)
        .start();
    let (a, b, c) = (probe.path("a"), probe.path("b"), probe.path("c"));
    make_file(&a, 0o600);
    let helper = sys(libc::SYS_link, &[&string(&a), &string(&b)]);
    let event = probe.events.expect_rule("link");
    check_event(&event, "link", &a, &helper);
    check_file(&event, "/file", &a);
    assert_eq!(text(&event, "/file/destination/path"), b, "{event:#}");
    assert_eq!(text(&event, "/syscall/link/path"), a, "{event:#}");
    assert_eq!(
        text(&event, "/syscall/link/destination_path"),
        b,
        "{event:#}"
    );

    let work = format!("fd:{}", probe.work().display());
    let helper = sys(libc::SYS_linkat, &[&work, "s:a", &work, "s:c", "i:0"]);
    let event = probe.events.expect_rule("linkat");
    check_event(&event, "link", &a, &helper);
    assert_eq!(text(&event, "/file/destination/path"), c, "{event:#}");
}
