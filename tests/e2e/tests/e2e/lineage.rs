//! Where processes come from and where they are: who forked them, who is their parent, in which cgroup.

use std::process::Command;

use atalaya_e2e::{Helper, Setup, at, skip, text};

use crate::common::{cgroup2, make_file, remove_group, string, tiny_program};

/// A v1 hierarchy with the pids controller, where there is one.
fn pids_hierarchy() -> Option<std::path::PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|words| {
            words.get(2) == Some(&"cgroup")
                && words
                    .get(3)
                    .is_some_and(|options| options.split(',').any(|option| option == "pids"))
        })
        .map(|words| words[1].into())
}

/// A process that is put into a cgroup after its exec, opens a file, and is put back.
fn moved_after_its_exec(root: &std::path::Path) {
    let id = format!("{:x}", std::process::id()).repeat(64)[..64].to_owned();
    let mut probe = Setup::new()
        .rule(
            "inside",
            &format!(r#"open.file.path == "{{work}}/inside" && process.container.id == "{id}""#),
        )
        .rule(
            "exec",
            &format!(r#"exec.file.path == "{{work}}/tiny" && exec.container.id == "{id}""#),
        )
        .rule(
            "outside",
            r#"open.file.path == "{work}/outside" && process.container.id == """#,
        )
        .start();
    for name in ["inside", "outside"] {
        make_file(&probe.path(name), 0o600);
    }
    tiny_program(probe.path("tiny").as_ref());
    let parent = root.join("docker");
    let existed = parent.exists();
    let group = parent.join(&id);
    if let Err(error) = std::fs::create_dir_all(&group) {
        skip(&format!("no cgroup can be made: {error}"));
        return;
    }
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let script = format!(
        "echo $$ > '{group}/cgroup.procs'; cat '{inside}'; '{tiny}'; echo $$ > '{root}/cgroup.procs'; cat '{outside}'",
        group = group.display(),
        root = root.display(),
        inside = probe.path("inside"),
        outside = probe.path("outside"),
        tiny = probe.path("tiny"),
    );
    let status = Command::new("sh").args(["-ec", &script]).status().unwrap();
    let events: Vec<_> = ["inside", "exec", "outside"]
        .map(|rule| {
            probe.events.find(atalaya_e2e::event_time(), |event| {
                text(event, "/agent/rule_id") == rule
            })
        })
        .into();
    remove_group(&group);
    if !existed {
        remove_group(&parent);
    }
    assert!(status.success(), "{own}");
    for event in &events[..2] {
        let event = event.as_ref().expect("an event in the container");
        assert_eq!(text(event, "/container/id"), id, "{event:#}");
    }
    assert!(events[2].is_some(), "an event after it was put back");
}

#[test]
fn a_process_is_followed_into_a_cgroup_of_v2() {
    match cgroup2() {
        Some(root) => moved_after_its_exec(&root),
        None => skip("no cgroup v2 hierarchy"),
    }
}

#[test]
fn a_process_is_followed_into_a_cgroup_of_v1() {
    match pids_hierarchy() {
        Some(root) => moved_after_its_exec(&root),
        None => skip("no cgroup v1 hierarchy with the pids controller"),
    }
}

#[test]
fn an_orphan_keeps_its_lineage_and_has_a_new_parent() {
    let mut probe = Setup::new()
        .rule("orphan", r#"open.file.path == "{work}/file""#)
        .start();
    make_file(&probe.path("file"), 0o600);
    // Two shells: the inner one leaves a child behind.
    let script = format!(
        "sh -c '( sleep 0.2; exec \"{}\" sys {} \"{}\" i:0 ) & : middle-mark'; sleep 0.5",
        Helper::path().display(),
        libc::SYS_open,
        string(&probe.path("file")),
    );
    let child = Command::new("sh").args(["-c", &script]).spawn().unwrap();
    let outer = child.id();
    assert!(child.wait_with_output().unwrap().status.success());
    let helper = Helper::path().canonicalize().unwrap();
    let event = probe.events.expect("orphan", |event| {
        text(event, "/process/executable/path") == helper.to_string_lossy()
    });
    // The kernel's parent is whoever adopts orphans here; the lineage goes on through the shell that has ended.
    assert_ne!(at(&event, "/process/ppid"), outer, "{event:#}");
    let ancestors = at(&event, "/process/ancestors").as_array().unwrap();
    assert_ne!(
        at(&event, "/process/ppid"),
        at(&ancestors[0], "/pid"),
        "{event:#}"
    );
    assert!(
        ancestors[1].to_string().contains("middle-mark")
            || ancestors[0].to_string().contains("middle-mark"),
        "{event:#}"
    );
    assert!(
        ancestors
            .iter()
            .any(|ancestor| at(ancestor, "/pid") == outer),
        "{event:#}"
    );
}
