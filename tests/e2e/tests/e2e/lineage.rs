//! Where processes come from and where they are: who forked them, who is their parent, in which cgroup.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use atalaya_e2e::{Helper, Probe, Setup, at, copy_executable, has_args, skip, slow, text};
use nix::sys::signal::Signal;

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

/// Execs that fill the ring of life-cycle records of 8 MiB: one with long arguments takes 24 KiB.
const STORM: &str = "600";

fn expect_line(lines: &mut BufReader<ChildStdout>, expected: &str) {
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line.trim(), expected);
}

/// Starts the helper with pipes.
fn start_helper(program: &str, arguments: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

/// The number behind a name in the output of `status`.
fn number_in_status(probe: &Probe, name: &str) -> Option<u64> {
    let (_, status, _) = probe.agent(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&status).ok()?;
    find(&status, name)
}

fn find(value: &serde_json::Value, name: &str) -> Option<u64> {
    match value {
        serde_json::Value::Object(map) => map.iter().find_map(|(key, value)| {
            let here = || value.as_u64().or_else(|| value.as_str()?.parse().ok());
            (key == name)
                .then(here)
                .flatten()
                .or_else(|| find(value, name))
        }),
        serde_json::Value::Array(list) => list.iter().find_map(|value| find(value, name)),
        _ => None,
    }
}

#[test]
fn a_process_whose_fork_and_exec_were_lost_has_its_lineage() {
    let mut probe = Setup::new()
        .rule(
            "lost",
            r#"open.file.path == "{work}/file" && process.file.name == "lost-shell" && process.ancestors.file.name == "storm-helper""#,
        )
        .start();
    make_file(&probe.path("file"), 0o600);
    copy_executable(&Helper::path(), probe.path("storm-helper").as_ref());
    let lost = probe.path("lost-shell");
    copy_executable(
        std::fs::canonicalize("/bin/sh").unwrap().as_ref(),
        lost.as_ref(),
    );
    // It stays for a while: of who is gone nobody can tell.
    let script = format!(
        "echo holding; read line; : < '{}'; sleep 3",
        probe.path("file")
    );
    let arguments = ["storm-then", STORM, &lost, "-c", &script];
    let (mut storm, mut lines) = start_helper(&probe.path("storm-helper"), &arguments);
    expect_line(&mut lines, "ready");
    // Nobody reads the rings while the storm lasts.
    probe.signal(Signal::SIGSTOP);
    let mut input = storm.stdin.take().unwrap();
    input.write_all(b"go\n").unwrap();
    expect_line(&mut lines, "holding");
    probe.signal(Signal::SIGCONT);
    drop(input);
    let event = probe.events.expect_rule("lost");
    assert_eq!(text(&event, "/process/executable/path"), lost, "{event:#}");
    assert!(has_args(&event, &script), "{event:#}");
    assert_eq!(at(&event, "/process/ppid"), storm.id(), "{event:#}");
    let ancestors = at(&event, "/process/ancestors").as_array().unwrap();
    assert_eq!(at(&ancestors[0], "/pid"), storm.id(), "{event:#}");
    assert_eq!(at(&ancestors[1], "/pid"), std::process::id(), "{event:#}");
    assert_eq!(at(ancestors.last().unwrap(), "/pid"), 1, "{event:#}");
    // At most one in 30 s, and the other tests' processes are seen as well.
    let told = probe.events.find(slow(Duration::from_secs(40)), |event| {
        text(event, "/agent/rule_id") == "broken_process_lineage"
    });
    storm.wait().unwrap();
    let told = told.expect("it is told");
    let listed = at(&told, "/processes").as_array().unwrap();
    assert!(
        listed.iter().any(|process| at(process, "/healed") == true),
        "{told:#}"
    );
    assert!(number_in_status(&probe, "process_tree.healed").is_some_and(|healed| healed > 0));
}

#[test]
fn a_lost_exec_is_found_by_comparing_with_the_kernels_list() {
    let mut probe = Setup::new()
        .rule(
            "silent",
            r#"open.file.path == "{work}/file" && process.file.name == "second-shell""#,
        )
        .start();
    make_file(&probe.path("file"), 0o600);
    copy_executable(&Helper::path(), probe.path("first-helper").as_ref());
    let second = probe.path("second-shell");
    copy_executable(
        std::fs::canonicalize("/bin/sh").unwrap().as_ref(),
        second.as_ref(),
    );
    // A process that is known, executes another program when nobody looks, and opens the file again and again.
    let open = format!(
        "echo holding; while sleep 0.2; do : < '{}'; done",
        probe.path("file")
    );
    let script = format!("echo ready; read line; exec '{second}' -c \"{open}\"");
    let (mut silent, mut lines) = start_helper("sh", &["-c", &script]);
    expect_line(&mut lines, "ready");
    let (mut storm, mut storm_lines) =
        start_helper(&probe.path("first-helper"), &["storm-then", STORM, "true"]);
    expect_line(&mut storm_lines, "ready");
    probe.signal(Signal::SIGSTOP);
    drop(storm.stdin.take());
    assert!(storm.wait().unwrap().success());
    let mut input = silent.stdin.take().unwrap();
    input.write_all(b"go\n").unwrap();
    expect_line(&mut lines, "holding");
    probe.signal(Signal::SIGCONT);
    // The comparison follows the report of the loss, which comes each second, and the next heartbeat.
    let event = probe.events.find(slow(Duration::from_secs(40)), |event| {
        text(event, "/agent/rule_id") == "silent"
    });
    silent.kill().unwrap();
    silent.wait().unwrap();
    let event = event.expect("an event of the program that it runs");
    assert_eq!(at(&event, "/process/pid"), silent.id(), "{event:#}");
    assert!(has_args(&event, &open), "{event:#}");
    let before = at(&event, "/process/ancestors/0");
    assert_eq!(at(before, "/pid"), silent.id(), "{event:#}");
}
