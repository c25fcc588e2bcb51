//! What rules do besides sending an event.

use std::process::Command;

use atalaya_e2e::{Setup, at, event_time, wait_for};

use crate::common::shell;

const HASH: &str = r#"
rules:
  - id: hashed
    expression: open.file.path == "{work}/file" && process.file.name == "cat"
    actions:
      - hash: {field: open.file}
  - id: hashed_program
    expression: exec.file.path == "{work}/tool"
    actions:
      - hash: {}
"#;

/// What sha256sum says of a file.
fn sha256(path: &str) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    format!("sha256:{}", text.split(' ').next().unwrap())
}

#[test]
fn a_hash_is_what_sha256sum_says() {
    let mut probe = Setup::new().policy("hash.policy", HASH).start();
    std::fs::write(probe.path("file"), "what is hashed\n").unwrap();
    crate::common::tiny_program(probe.path("tool").as_ref());
    shell(&probe, "cat file; ./tool");
    for (rule, file, pointer) in [
        ("hashed", "file", "/file/hashes"),
        ("hashed_program", "tool", "/process/executable/hashes"),
    ] {
        let event = probe.events.expect_rule(rule);
        let found = at(&event, pointer).as_array().cloned().unwrap_or_default();
        let expected = sha256(&probe.path(file));
        assert!(
            found.iter().any(|hash| hash == expected.as_str()),
            "no {expected} in {event:#}"
        );
    }
}

const LOG: &str = r#"
rules:
  - id: told
    expression: open.file.path == "{work}/file"
    silent: true
    actions:
      - set: {name: opener, field: process.file.name}
      - log: {level: warning, message: "the door was opened"}
      - filter: process.file.name == "nobody"
        log: {level: error, message: "this is not told"}
"#;

#[test]
fn a_log_action_writes_to_the_probe_s_log() {
    let probe = Setup::new().policy("log.policy", LOG).start();
    std::fs::write(probe.path("file"), "").unwrap();
    shell(&probe, "cat file");
    let line = wait_for(event_time(), || {
        let log = probe.log();
        log.lines()
            .find(|line| line.contains("the door was opened"))
            .map(str::to_owned)
    });
    let line = line.unwrap_or_else(|| panic!("not in the log:\n{}", probe.log()));
    assert!(line.contains("WARN") && line.contains("told"), "{line}");
    assert!(!probe.log().contains("this is not told"));
}

const IDLE: &str = r#"
rules:
  - id: kills
    expression: open.file.path == "{work}/file"
    actions:
      - kill: {signal: SIGKILL}
  - id: bad_kill
    expression: open.file.path == "{work}/other"
    actions:
      - kill: {signal: SIGNOTHING}
"#;

#[test]
fn an_action_that_is_not_executed_is_told_and_its_rule_matches() {
    let mut probe = Setup::new().policy("kill.policy", IDLE).start();
    shell(&probe, ": > file; : > other");
    probe.events.expect_rule("kills");
    // The bad action is left out with an error; its rule stays.
    probe.events.expect_rule("bad_kill");
    let (good, out, error) = probe.agent(&["runtime", "policy", "check", "--loaded-policies"]);
    assert!(
        !good && error.contains("unsupported signal") && error.contains("SIGNOTHING"),
        "{out}{error}"
    );
}
