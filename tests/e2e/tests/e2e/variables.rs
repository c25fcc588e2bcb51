//! Variables of rules, across real processes.

use std::time::Duration;

use atalaya_e2e::{Probe, Setup, at, event_time, skip, slow, text, wait_for};
use serde_json::json;

use crate::common::{cgroup2, in_cgroup, shell};

/// A policy with these rules and a fence, the last rule.
fn start(rules: &str) -> Probe {
    let fence = "  - id: fence\n    expression: mkdir.file.path =~ \"{work}/fence*\"\n";
    Setup::new()
        .policy(
            "variables.policy",
            &format!("version: 1.0.0\nrules:\n{rules}{fence}"),
        )
        .start()
}

/// Makes an empty file without an open under its name: that would set off the rules.
fn make(probe: &Probe, name: &str) {
    let other = probe.path(&format!("{name}.other"));
    std::fs::write(&other, "").unwrap();
    std::fs::rename(&other, probe.path(name)).unwrap();
}

/// Waits until everything that happened before has been worked off.
fn fence(probe: &mut Probe, number: u32) {
    let path = probe.path(&format!("fence{number}"));
    std::fs::create_dir(&path).unwrap();
    probe
        .events
        .expect("fence", |event| text(event, "/file/path") == path);
}

const INHERITED: &str = r#"
  - id: mark
    expression: open.file.path == "{work}/mark"
    silent: true
    actions:
      - set: {name: marked, value: true, scope: process, inherited: true}
      - set: {name: own, value: 7, scope: process}
  - id: of_marked
    expression: open.file.path == "{work}/file" && ${process.marked} == true
  - id: own_of_marked
    expression: open.file.path == "{work}/file" && ${process.own} == 7
"#;

#[test]
fn a_child_inherits_what_its_parent_has_and_a_stranger_does_not() {
    let mut probe = start(INHERITED);
    make(&probe, "mark");
    make(&probe, "file");
    shell(&probe, "cat file; true");
    fence(&mut probe, 1);
    assert!(probe.events.of_rule("of_marked").is_empty());
    // The shell marks itself; its child, and the child's child, read.
    shell(&probe, ": < mark; cat file; sh -c 'cat file; true'; true");
    fence(&mut probe, 2);
    let events = probe.events.of_rule("of_marked");
    assert_eq!(events.len(), 2, "{events:#?}");
    assert_eq!(
        at(&events[0], "/process/variables/marked"),
        &json!(true),
        "{:#}",
        events[0]
    );
    assert!(
        probe.events.of_rule("own_of_marked").is_empty(),
        "what is not `inherited` stays with its process"
    );
    shell(&probe, ": < mark; : < file");
    fence(&mut probe, 3);
    assert_eq!(probe.events.of_rule("own_of_marked").len(), 1);
    // Silent rules send nothing.
    assert!(probe.events.of_rule("mark").is_empty());
}

const COUNTER: &str = r#"
  - id: tick
    expression: open.file.path == "{work}/tick"
    silent: true
    actions:
      - set: {name: ticks, expression: "${ticks} + 1", default_value: 0}
  - id: third
    expression: open.file.path == "{work}/tick" && ${ticks} == 3
"#;

#[test]
fn a_counter_counts_and_the_rule_after_sees_it_in_the_same_event() {
    let mut probe = start(COUNTER);
    make(&probe, "tick");
    shell(&probe, "cat tick; cat tick; cat tick; cat tick");
    fence(&mut probe, 1);
    let third = probe.events.of_rule("third");
    assert_eq!(third.len(), 1, "{third:#?}");
    assert_eq!(at(&third[0], "/evt/variables/ticks"), &json!(3));
}

const LISTS: &str = r#"
  - id: collect
    expression: open.file.path in [ ~"{work}/seen-*" ]
    silent: true
    actions:
      - set: {name: seen, field: open.file.name, append: true, size: 2}
      - set: {name: hidden, field: open.file.name, append: true, private: true}
  - id: first_seen
    expression: mkdir.file.path == "{work}/ask-a" && "seen-a" in ${seen}
  - id: first_hidden
    expression: mkdir.file.path == "{work}/ask-a" && "seen-a" in ${hidden}
  - id: last_seen
    expression: mkdir.file.path == "{work}/ask-b" && "seen-c" in ${seen}
"#;

#[test]
fn a_list_takes_fields_keeps_its_size_and_what_is_private_is_not_told() {
    let mut probe = start(LISTS);
    shell(
        &probe,
        ": > seen-a; : > seen-b; : > seen-b; : > seen-c; mkdir ask-a ask-b",
    );
    fence(&mut probe, 1);
    let event = probe.events.expect_rule("last_seen");
    assert_eq!(
        at(&event, "/evt/variables/seen"),
        &json!(["seen-b", "seen-c"]),
        "{event:#}"
    );
    assert_eq!(at(&event, "/evt/variables/hidden"), &json!(null));
    assert!(probe.events.of_rule("first_seen").is_empty());
    assert_eq!(probe.events.of_rule("first_hidden").len(), 1);
}

const TTL: &str = r#"
  - id: alarm
    expression: open.file.path == "{work}/mark"
    silent: true
    actions:
      - set: {name: alarmed, value: true, ttl: 2s}
  - id: while_alarmed
    expression: open.file.path == "{work}/file" && ${alarmed} == true
"#;

#[test]
fn a_value_ends_after_its_time_to_live() {
    let mut probe = start(TTL);
    make(&probe, "mark");
    make(&probe, "file");
    shell(&probe, ": < mark; : < file; sleep 2.2; : < file");
    fence(&mut probe, 1);
    let events = probe.events.of_rule("while_alarmed");
    assert_eq!(events.len(), 1, "{events:#?}");
}

const FILTERED: &str = r#"
  - id: set_two
    expression: open.file.path == "{work}/mark"
    silent: true
    actions:
      - filter: process.file.name == "cat"
        set: {name: by_cat, value: true}
      - filter: process.file.name != "cat"
        set: {name: by_other, value: true}
      - set: {name: who, expression: '"${process.pid}:%{open.file.name}"', default_value: ""}
  - id: verdict
    expression: mkdir.file.path == "{work}/ask" && ${by_cat} == true && ${by_other} == false
"#;

#[test]
fn an_action_with_a_filter_is_done_only_when_it_holds() {
    let mut probe = start(FILTERED);
    make(&probe, "mark");
    shell(&probe, "cat mark; mkdir ask");
    let event = probe.events.expect_rule("verdict");
    let who = text(&event, "/evt/variables/who").to_owned();
    assert!(
        who.ends_with(":mark") && who.trim_end_matches(":mark").parse::<u32>().is_ok(),
        "{event:#}"
    );
}

const PARENT: &str = r#"
  - id: child
    expression: exec.file.path == "{work}/tool"
    silent: true
    actions:
      - set: {name: started_it, value: true, scope: process, scope_field: process.ppid}
  - id: starter
    expression: open.file.path == "{work}/file" && ${process.started_it} == true
"#;

#[test]
fn another_process_gets_the_variable_by_its_pid() {
    let mut probe = start(PARENT);
    std::fs::write(probe.path("file"), "").unwrap();
    crate::common::tiny_program(probe.path("tool").as_ref());
    shell(&probe, "cat file; ./tool; : < file");
    fence(&mut probe, 1);
    let events = probe.events.of_rule("starter");
    assert_eq!(events.len(), 1, "{events:#?}");
    assert_eq!(text(&events[0], "/process/comm"), "sh", "{:#}", events[0]);
}

const CGROUP: &str = r#"
  - id: mark
    expression: open.file.path == "{work}/mark"
    silent: true
    actions:
      - set: {name: marked, field: process.file.name, append: true, scope: cgroup}
  - id: in_marked
    expression: open.file.path == "{work}/file" && "cat" in ${cgroup.marked}
"#;

#[test]
fn a_cgroup_has_variables_of_its_own() {
    let mut probe = start(CGROUP);
    make(&probe, "mark");
    make(&probe, "file");
    let Some(root) = cgroup2() else {
        skip("no cgroup v2 hierarchy");
        return;
    };
    let group = root.join(format!("e2e-variables-{}", std::process::id()));
    let work = probe.work();
    let work = work.display();
    let done = in_cgroup(&group, &format!("cd '{work}'; cat mark; true"))
        && in_cgroup(&group, &format!("cd '{work}'; head file; true"));
    shell(&probe, "tail file");
    if !done {
        skip("no process can join a cgroup");
        return;
    }
    fence(&mut probe, 1);
    let events = probe.events.of_rule("in_marked");
    assert_eq!(events.len(), 1, "{events:#?}");
    assert_eq!(text(&events[0], "/process/comm"), "head");
    assert_eq!(
        at(&events[0], "/cgroup/variables/marked"),
        &json!(["cat"]),
        "{:#}",
        events[0]
    );
}

const KEPT: &str = r#"
  - id: tick
    expression: open.file.path == "{work}/tick"
    silent: true
    actions:
      - set: {name: ticks, expression: "${ticks} + 1", default_value: 0}
      - set: {name: own, value: true, scope: process}
  - id: asked
    expression: mkdir.file.path == "{work}/ask" && ${ticks} == 2
  - id: own_asked
    expression: open.file.path == "{work}/ask-own" && ${process.own} == true
"#;

#[test]
fn values_outlive_a_reload_that_keeps_their_type() {
    let mut probe = start(KEPT);
    make(&probe, "tick");
    // One process that lives through the reload, by waiting for a file.
    let script =
        "cat tick; : < tick; while ! test -e go; do sleep 0.05; done; mkdir ask; : > ask-own";
    let mut child = std::process::Command::new("sh")
        .args(["-c", script])
        .current_dir(probe.work())
        .spawn()
        .unwrap();
    fence(&mut probe, 1);
    probe.write_policy(
        "more.policy",
        "rules:\n  - id: more\n    expression: rmdir.file.path == \"{work}/x\"\n",
    );
    let (good, out, error) = probe.agent(&["runtime", "policy", "reload"]);
    assert!(good, "{out}{error}");
    std::fs::write(probe.path("go"), "").unwrap();
    let ended = wait_for(slow(Duration::from_secs(10)), || child.try_wait().unwrap());
    assert!(ended.is_some_and(|status| status.success()));
    probe.events.expect_rule("asked");
    probe.events.expect_rule("own_asked");
    // Another type under the same name starts anew.
    probe.write_policy(
        "variables.policy",
        "rules:\n  - id: tock\n    expression: open.file.path == \"{work}/tick\"\n    actions:\n      \
         - set: {name: ticks, expression: '\"${ticks}x\"', default_value: \"\"}\n",
    );
    let (good, out, error) = probe.agent(&["runtime", "policy", "reload"]);
    assert!(good, "{out}{error}");
    shell(&probe, "cat tick");
    let event = probe.events.find(event_time(), |event| {
        text(event, "/agent/rule_id") == "tock"
    });
    let event = event.expect("an event of the new rule");
    assert_eq!(at(&event, "/evt/variables/ticks"), "x", "{event:#}");
}
