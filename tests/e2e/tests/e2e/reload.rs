//! Policies that change while the probe runs.

use std::time::Duration;

use atalaya_e2e::{Probe, Setup, at, event_time, slow, text, wait_for};
use serde_json::json;

use crate::common::shell;

const STEADY: &str = r#"
rules:
  - id: count
    expression: mkdir.file.path =~ "{work}/steady-*"
    silent: true
    actions:
      - set: {name: made, expression: "${made} + 1", default_value: 0}
  - id: each
    expression: mkdir.file.path =~ "{work}/steady-*"
    limiter_token: [mkdir.file.path]
"#;

/// A rule of no interest, of another event type each time, so that programs are attached and detached.
fn other_policy(number: usize) -> String {
    let event = ["rmdir", "chown", "link", "utimes", "rename"][number % 5];
    format!(
        "rules:\n  - id: other_{number}\n    expression: {event}.file.path == \"{{work}}/none-{number}\"\n"
    )
}

#[test]
fn no_event_of_a_steady_stream_is_lost_or_told_twice_by_reloads() {
    const COUNT: usize = 400;
    let mut probe = Setup::new().policy("steady.policy", STEADY).start();
    let script = format!("n=0; while [ $n -lt {COUNT} ]; do mkdir steady-$n; n=$((n+1)); done");
    let mut child = std::process::Command::new("sh")
        .args(["-ec", &script])
        .current_dir(probe.work())
        .spawn()
        .unwrap();
    let mut reloads = 0;
    while child.try_wait().unwrap().is_none() {
        probe.write_policy("other.policy", &other_policy(reloads));
        let (good, out, error) = probe.agent(&["runtime", "policy", "reload"]);
        assert!(good, "{out}{error}");
        reloads += 1;
    }
    assert!(reloads >= 2, "only {reloads} reloads during the stream");
    let last = format!("steady-{}", COUNT - 1);
    let event = probe
        .events
        .expect("each", |event| text(event, "/file/name") == last);
    assert_eq!(
        at(&event, "/evt/variables/made"),
        &json!(COUNT),
        "{reloads} reloads: {event:#}"
    );
    let mut names: Vec<String> = probe
        .events
        .of_rule("each")
        .iter()
        .map(|event| text(event, "/file/name").to_owned())
        .collect();
    assert_eq!(names.len(), COUNT);
    names.sort();
    names.dedup();
    assert_eq!(names.len(), COUNT, "each name once");
}

#[test]
fn a_reload_tells_what_is_different() {
    let probe = Setup::new()
        .policy(
            "a.policy",
            "rules:\n  - id: stays\n    expression: open.file.path == \"/a\"\n  - id: goes\n    \
             expression: open.file.path == \"/b\"\n  - id: changes\n    expression: open.file.path == \"/c\"\n",
        )
        .start();
    let reload = ["runtime", "policy", "reload"];
    // The reference is silent, and so is this one where nobody reads it.
    let (good, out, error) = probe.agent(&reload);
    assert_eq!((good, out.as_str(), error.as_str()), (true, "", ""));
    let (good, out, _) = probe.agent(&["runtime", "policy", "reload", "-v"]);
    assert!(good && out.contains("no rule is different"), "{out}");
    probe.write_policy(
        "a.policy",
        "rules:\n  - id: stays\n    expression: open.file.path == \"/a\"\n  - id: comes\n    \
         expression: open.file.path == \"/b\"\n  - id: changes\n    expression: open.file.path == \"/d\"\n",
    );
    let (good, out, error) = probe.agent(&["runtime", "policy", "reload", "--json"]);
    assert!(good, "{out}{error}");
    let diff: serde_json::Value = serde_json::from_str(&out).unwrap();
    let ids = |key: &str| diff["diff"][key].to_string();
    assert!(
        ids("added").contains("comes")
            && ids("removed").contains("goes")
            && ids("changed").contains("changes")
            && !out.contains("stays"),
        "{out}"
    );
}

fn touch(probe: &Probe, name: &str) {
    shell(probe, &format!(": > '{name}'"));
}

const GOOD: &str =
    "version: 1.0.0\nrules:\n  - id: keeper\n    expression: open.file.path == \"{work}/file\"\n";

#[test]
fn a_policy_that_fails_as_a_whole_keeps_the_old_one() {
    let mut probe = Setup::new().policy("keeper.policy", GOOD).start();
    touch(&probe, "file");
    probe.events.expect_rule("keeper");
    probe.write_policy("keeper.policy", "rules:\n  - id: [unclosed\n");
    let (good, out, error) = probe.agent(&["runtime", "policy", "reload"]);
    assert!(
        good && error.contains("keeper.policy"),
        "it is told: {out}{error}"
    );
    touch(&probe, "file");
    let again = wait_for(event_time(), || {
        (probe.events.of_rule("keeper").len() == 2).then_some(())
    });
    assert!(again.is_some(), "the old rules stay: {}", probe.log());
    // A file that is gone on purpose takes its rules along.
    std::fs::remove_file(probe.dir().join("policies/keeper.policy")).unwrap();
    let (good, out, error) = probe.agent(&["runtime", "policy", "reload", "--json"]);
    assert!(good && out.contains("keeper"), "{out}{error}");
}

#[test]
fn a_changed_file_is_read_without_being_told_to() {
    let mut probe = Setup::new().policy("keeper.policy", GOOD).start();
    probe.write_policy(
        "new.policy",
        "rules:\n  - id: newcomer\n    expression: mkdir.file.path =~ \"{work}/dir-*\"\n",
    );
    let mut number = 0;
    // 5 s after the last change.
    let seen = wait_for(slow(Duration::from_secs(15)), || {
        number += 1;
        std::fs::create_dir(probe.path(&format!("dir-{number}"))).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        (!probe.events.of_rule("newcomer").is_empty()).then_some(())
    });
    assert!(seen.is_some(), "{}", probe.log());
    assert!(number > 10, "not before the writing has ended");
}

#[test]
fn the_emulated_version_is_a_setting() {
    let policy = "rules:\n\
        \x20 - id: for_old\n    agent_version: \"< 7.50\"\n    expression: open.file.path == \"/x\"\n\
        \x20 - id: for_new\n    agent_version: \">= 7.50\"\n    expression: open.file.path == \"/x\"\n";
    let probe = Setup::new()
        .policy("versions.policy", policy)
        .env(
            "DD_RUNTIME_SECURITY_CONFIG_POLICIES_AGENT_VERSION",
            "7.49.2",
        )
        .start();
    let (good, out, error) =
        probe.agent(&["runtime", "policy", "check", "--loaded-policies", "--json"]);
    assert!(good, "{out}{error}");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    let state = |id: &str| {
        report["policies"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|policy| policy["status"].as_array().unwrap())
            .find(|rule| rule["id"] == id)
            .map(|rule| rule["status"].to_string())
    };
    assert_eq!(state("for_old").as_deref(), Some("\"loaded\""), "{out}");
    assert_eq!(state("for_new").as_deref(), Some("\"filtered\""), "{out}");
    let (good, out, error) =
        probe.agent(&["runtime", "policy", "check", "--loaded-policies", "-v"]);
    assert!(
        good && out.contains("1 rule left out") && out.contains("for_new: agent_version"),
        "{out}{error}"
    );
}
