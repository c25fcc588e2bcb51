//! One file, many ways to name it.

use atalaya_e2e::{Setup, at, sys, text};

use crate::common::{CWD, check_event, check_file, int, make_file, string};

#[test]
fn through_a_symbolic_link_to_the_file_itself() {
    let mut probe = Setup::new()
        .rule("open", r#"open.file.path == "{work}/dir/real""#)
        .rule("chmod", r#"chmod.file.path == "{work}/dir/real""#)
        .rule("unlink", r#"unlink.file.path == "{work}/link""#)
        .start();
    std::fs::create_dir(probe.work().join("dir")).unwrap();
    let real = probe.path("dir/real");
    make_file(&real, 0o600);
    std::os::unix::fs::symlink("dir/real", probe.path("link")).unwrap();
    let link = string(&probe.path("link"));

    let helper = sys(libc::SYS_openat, &[CWD, &link, &int(libc::O_RDONLY)]);
    assert!(helper.result() >= 0);
    let event = probe.events.expect("open", |event| {
        text(event, "/syscall/open/path").ends_with("/link")
    });
    check_event(&event, "open", &real, &helper);
    check_file(&event, "/file", &real);

    let helper = sys(libc::SYS_chmod, &[&link, "i:511"]);
    let event = probe
        .events
        .expect("chmod", |event| at(event, "/process/pid") == helper.pid);
    check_event(&event, "chmod", &real, &helper);

    // unlink does not follow.
    let helper = sys(libc::SYS_unlink, &[&link]);
    let event = probe.events.expect_rule("unlink");
    check_event(&event, "unlink", &probe.path("link"), &helper);
}

#[test]
fn with_dots_and_slashes_in_between() {
    let mut probe = Setup::new()
        .rule("open", r#"open.file.path == "{work}/dir/real""#)
        .rule("mkdir", r#"mkdir.file.path == "{work}/dir/new""#)
        .rule("rename", r#"rename.file.path == "{work}/dir/real" && rename.file.destination.path == "{work}/dir/moved""#)
        .start();
    std::fs::create_dir(probe.work().join("dir")).unwrap();
    make_file(&probe.path("dir/real"), 0o600);
    let work = probe.path("");
    let dotted = |name: &str| string(&format!("{work}.//dir/../dir/./{name}"));

    let helper = sys(
        libc::SYS_openat,
        &[CWD, &dotted("real"), &int(libc::O_RDWR)],
    );
    let event = probe.events.expect("open", |event| {
        text(event, "/syscall/open/path").contains("/../")
    });
    check_event(&event, "open", &probe.path("dir/real"), &helper);

    let helper = sys(libc::SYS_mkdir, &[&dotted("new"), "i:448"]);
    let event = probe.events.expect_rule("mkdir");
    check_event(&event, "mkdir", &probe.path("dir/new"), &helper);

    let helper = sys(libc::SYS_rename, &[&dotted("real"), &dotted("moved")]);
    let event = probe.events.expect_rule("rename");
    check_event(&event, "rename", &probe.path("dir/real"), &helper);
}
