//! Mounts, old and new: where they are, what they show, and whether anybody can see them. Each in a mount namespace of its own.

use std::process::Command;

use atalaya_e2e::{Helper, Setup, at, run_as, skip, text};
use serde_json::Value;

use crate::common::{int, string};

const OPEN_TREE_CLONE: i64 = 1;
/// The same number in both tables.
const OPEN_TREE: i64 = 428;

/// The helper in a mount namespace of its own, from which nothing reaches the others.
fn privately(arguments: &[&str]) -> Helper {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]);
    command.arg(Helper::path());
    Helper::of(&mut command, arguments)
}

fn check_mount(event: &Value, helper: &Helper, mountpoint: &str, fs_type: &str) {
    assert_eq!(text(event, "/evt/name"), "mount", "{event:#}");
    assert_eq!(at(event, "/process/pid"), helper.pid, "{event:#}");
    assert_eq!(
        text(event, "/mount/mountpoint.path"),
        mountpoint,
        "{event:#}"
    );
    assert_eq!(text(event, "/mount/mp/path"), mountpoint, "{event:#}");
    assert_eq!(text(event, "/mount/fs_type"), fs_type, "{event:#}");
    assert!(at(event, "/mount/mount_id").as_u64() > Some(0), "{event:#}");
}

#[test]
fn mount() {
    let mut probe = Setup::new()
        .rule(
            "mount",
            r#"mount.mountpoint.path == "{work}/place" && mount.fs_type == "tmpfs" && mount.root.path == "/" && mount.source.path == "" && !mount.detached && mount.visible && mount.retval == 0"#,
        )
        .rule("words", r#"mount.syscall.mountpoint.path == "{work}/link" && mount.syscall.fs_type == "tmpfs" && mount.syscall.source.path == "none""#)
        .start();
    let place = probe.path("place");
    std::fs::create_dir(&place).unwrap();
    let link = probe.path("link");
    std::os::unix::fs::symlink(&place, &link).unwrap();
    let number = libc::SYS_mount.to_string();
    let helper = privately(&[
        "sys",
        &number,
        "s:none",
        &string(&link),
        "s:tmpfs",
        "i:0",
        "i:0",
    ]);
    assert_eq!(helper.result(), 0);
    // The place, not the link that led to it.
    let event = probe.events.expect_rule("mount");
    check_mount(&event, &helper, &place, "tmpfs");
    assert_eq!(text(&event, "/mount/root/path"), "/", "{event:#}");
    assert_eq!(at(&event, "/mount/visible"), true, "{event:#}");
    let event = probe.events.expect_rule("words");
    assert_eq!(
        text(&event, "/syscall/mount/destination_path"),
        link,
        "{event:#}"
    );
    assert_eq!(text(&event, "/syscall/mount/path"), "none", "{event:#}");
    assert_eq!(text(&event, "/syscall/mount/fs_type"), "tmpfs", "{event:#}");
}

#[test]
fn a_bind_mount_has_its_source() {
    let mut probe = Setup::new()
        .rule(
            "bind",
            r#"mount.mountpoint.path == "{work}/place" && mount.source.path == "{work}/source""#,
        )
        .start();
    let (source, place) = (probe.path("source"), probe.path("place"));
    std::fs::create_dir(&source).unwrap();
    std::fs::create_dir(&place).unwrap();
    let number = libc::SYS_mount.to_string();
    let bind = int(i64::try_from(libc::MS_BIND).unwrap());
    let helper = privately(&[
        "sys",
        &number,
        &string(&source),
        &string(&place),
        "i:0",
        &bind,
        "i:0",
    ]);
    assert_eq!(helper.result(), 0);
    let event = probe.events.expect_rule("bind");
    assert_eq!(text(&event, "/mount/source.path"), source, "{event:#}");
    assert!(
        text(&event, "/mount/root/path").ends_with("/source"),
        "{event:#}"
    );
    assert_ne!(at(&event, "/mount/bind_src_mount_id"), 0, "{event:#}");
}

#[test]
fn a_mount_is_detached_until_it_is_moved_to_a_place() {
    let mut probe = Setup::new()
        .rule(
            "detached",
            r#"mount.detached && !mount.visible && mount.fs_type == "tmpfs" && process.args =~ "*{work}/new*""#,
        )
        .rule(
            "attached",
            r#"mount.mountpoint.path == "{work}/new" && mount.visible && !mount.detached && mount.fs_type == "tmpfs""#,
        )
        .rule("clone", r#"mount.detached && mount.syscall.source.path == "{work}/tree""#)
        .start();
    let place = probe.path("new");
    std::fs::create_dir(&place).unwrap();
    let helper = privately(&["new-mount", &place]);
    if helper.result() == -i64::from(libc::ENOSYS) {
        skip("this kernel has no fsopen()");
        return;
    }
    assert_eq!(helper.result(), 0);
    let event = probe.events.expect_rule("detached");
    assert_eq!(text(&event, "/mount/mountpoint.path"), "", "{event:#}");
    assert_eq!(at(&event, "/mount/detached"), true, "{event:#}");
    let event = probe.events.expect_rule("attached");
    check_mount(&event, &helper, &place, "tmpfs");

    let tree = probe.path("tree");
    std::fs::create_dir(&tree).unwrap();
    let number = OPEN_TREE.to_string();
    let helper = privately(&[
        "sys",
        &number,
        "i:-100",
        &string(&tree),
        &int(OPEN_TREE_CLONE),
    ]);
    assert!(helper.result() >= 0);
    let event = probe.events.expect_rule("clone");
    assert!(
        text(&event, "/mount/root/path").ends_with("/tree"),
        "{event:#}"
    );
    assert_eq!(text(&event, "/mount/source.path"), tree, "{event:#}");
}

#[test]
fn a_refused_mount() {
    let mut probe = Setup::new()
        .rule(
            "refused",
            r#"mount.mountpoint.path == "{work}/place" && mount.retval == EPERM && mount.fs_type == "tmpfs""#,
        )
        .start();
    let place = probe.path("place");
    std::fs::create_dir(&place).unwrap();
    let number = libc::SYS_mount.to_string();
    let arguments = [
        "sys",
        &number,
        "s:none",
        &string(&place),
        "s:tmpfs",
        "i:0",
        "i:0",
    ];
    let helper = run_as(&Helper::path(), 65_534, 65_534, &arguments);
    assert_eq!(helper.result(), -i64::from(libc::EPERM));
    let event = probe.events.expect_rule("refused");
    assert_eq!(text(&event, "/evt/outcome"), "Refused", "{event:#}");
    assert_eq!(at(&event, "/mount/visible"), false, "{event:#}");
}

#[test]
fn a_change_of_a_mount_is_no_mount() {
    let mut probe = Setup::new()
        .rule("mount", r#"mount.syscall.mountpoint.path == "{work}/place" || mount.mountpoint.path == "{work}/place""#)
        .start();
    let place = string(&probe.path("place"));
    std::fs::create_dir(probe.path("place")).unwrap();
    let number = libc::SYS_mount.to_string();
    let private = int(i64::try_from(libc::MS_PRIVATE).unwrap());
    let script = |flags: &str| {
        ["sys", &number, "s:none", &place, "s:tmpfs", flags, "i:0"].map(str::to_owned)
    };
    let run = |words: [String; 7]| privately(&words.each_ref().map(String::as_str));
    // Not a mount point in a new namespace: EINVAL, and no event in either case.
    run(script(&private));
    assert_eq!(run(script("i:0")).result(), 0);
    probe.events.expect_rule("mount");
    assert_eq!(probe.events.of_rule("mount").len(), 1);
}
