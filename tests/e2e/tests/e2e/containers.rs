//! Mounts, roots and cgroups that are not the host's.

use std::process::Command;

use atalaya_e2e::{Helper, Setup, skip, text};

use crate::common::{cgroup2, make_file, remove_group, string, tiny_program};

/// Runs a shell script in a mount namespace of its own, so that no mount is left.
fn in_own_mounts(script: &str) -> bool {
    Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-ec", script])
        .status()
        .unwrap()
        .success()
}

#[test]
fn a_changed_root() {
    let mut probe = Setup::new()
        .rule("exec", r#"exec.file.path == "{work}/jail/tiny""#)
        .start();
    let jail = probe.work().join("jail");
    std::fs::create_dir(&jail).unwrap();
    tiny_program(&jail.join("tiny"));
    let status = Command::new("chroot")
        .arg(&jail)
        .arg("/tiny")
        .status()
        .unwrap();
    assert!(status.success());
    let event = probe.events.expect_rule("exec");
    assert_eq!(
        text(&event, "/process/executable/path"),
        jail.join("tiny").to_string_lossy(),
        "{event:#}"
    );
}

#[test]
fn a_bind_mount() {
    let mut probe = Setup::new()
        .rule("open", r#"open.file.path == "{work}/to/file""#)
        .rule("unlink", r#"unlink.file.path == "{work}/to/file""#)
        .start();
    for dir in ["from", "to"] {
        std::fs::create_dir(probe.work().join(dir)).unwrap();
    }
    make_file(&probe.path("from/file"), 0o600);
    let script = format!(
        "mount --bind '{}' '{}'; cat '{to}'; rm '{to}'",
        probe.path("from"),
        probe.path("to"),
        to = probe.path("to/file")
    );
    if !in_own_mounts(&script) {
        skip("no bind mount in a mount namespace of one's own");
        return;
    }
    probe.events.expect_rule("open");
    let event = probe.events.expect_rule("unlink");
    assert_eq!(
        text(&event, "/file/path"),
        probe.path("to/file"),
        "{event:#}"
    );
}

#[test]
fn a_nested_mount_of_memory() {
    let mut probe = Setup::new()
        .rule("open", r#"open.file.path == "{work}/a/b/file" && open.flags & O_CREAT > 0"#)
        .rule("rename", r#"rename.file.path == "{work}/a/b/file" && rename.file.destination.path == "{work}/a/b/other""#)
        .start();
    std::fs::create_dir(probe.work().join("a")).unwrap();
    let script = format!(
        "cd '{}'; mount -t tmpfs one a; mkdir a/b; mount -t tmpfs two a/b; cd a/b; : > file; mv file other",
        probe.work().display()
    );
    if !in_own_mounts(&script) {
        skip("no tmpfs in a mount namespace of one's own");
        return;
    }
    let event = probe.events.expect_rule("open");
    assert_eq!(text(&event, "/file/filesystem"), "tmpfs", "{event:#}");
    probe.events.expect_rule("rename");
}

#[test]
fn an_overlay() {
    let mut probe = Setup::new()
        .rule(
            "lower",
            r#"open.file.path == "{work}/merged/lower-file" && open.flags & O_WRONLY == 0"#,
        )
        .rule(
            "write",
            r#"open.file.path == "{work}/merged/lower-file" && open.flags & O_WRONLY > 0"#,
        )
        .rule("exec", r#"exec.file.path == "{work}/merged/tiny""#)
        .rule(
            "unlink",
            r#"unlink.file.path == "{work}/merged/lower-file""#,
        )
        .start();
    for dir in ["lower", "upper", "scratch", "merged"] {
        std::fs::create_dir(probe.work().join(dir)).unwrap();
    }
    make_file(&probe.path("lower/lower-file"), 0o600);
    tiny_program(probe.path("lower/tiny").as_ref());
    let script = format!(
        "cd '{}'; mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=scratch merged\n\
         cat merged/lower-file; echo more >> merged/lower-file; ./merged/tiny; rm merged/lower-file",
        probe.work().display()
    );
    if !in_own_mounts(&script) {
        skip("no overlay mount over this file system");
        return;
    }
    let event = probe.events.expect_rule("lower");
    assert_eq!(text(&event, "/file/filesystem"), "overlay", "{event:#}");
    for rule in ["write", "exec", "unlink"] {
        probe.events.expect_rule(rule);
    }
}

#[test]
fn a_container_by_its_cgroup() {
    let id = format!("{:x}", std::process::id()).repeat(64)[..64].to_owned();
    let mut probe = Setup::new()
        .rule(
            "in_container",
            &format!(r#"open.file.path == "{{work}}/file" && process.container.id == "{id}""#),
        )
        .start();
    make_file(&probe.path("file"), 0o600);
    let Some(root) = cgroup2() else {
        skip("no cgroup v2 hierarchy");
        return;
    };
    let parent = root.join("docker");
    let existed = parent.exists();
    let group = parent.join(&id);
    if let Err(error) = std::fs::create_dir_all(&group) {
        skip(&format!("no cgroup can be made: {error}"));
        return;
    }
    let helper = Helper::path();
    let script = format!(
        "echo $$ > '{}/cgroup.procs'; exec '{}' sys {} '{}' i:0",
        group.display(),
        helper.display(),
        libc::SYS_open,
        string(&probe.path("file"))
    );
    let joined = Command::new("sh").args(["-ec", &script]).status().unwrap();
    let result = joined.success().then(|| {
        probe.events.find(atalaya_e2e::event_time(), |event| {
            text(event, "/agent/rule_id") == "in_container"
        })
    });
    remove_group(&group);
    if !existed {
        remove_group(&parent);
    }
    let Some(event) = result else {
        skip("no process can join a cgroup");
        return;
    };
    let event = event.expect("an event of the container");
    assert_eq!(text(&event, "/container/id"), id, "{event:#}");
    assert_eq!(text(&event, "/process/container/id"), id, "{event:#}");
    assert!(
        text(&event, "/process/cgroup/id").contains(&id),
        "{event:#}"
    );
}
