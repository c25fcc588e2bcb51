//! How many events a rule may send, and what of a rule the event carries.

use atalaya_e2e::{Agent, Helper, Probe, Setup, event_time, text, wait_for};

use crate::common::shell;

fn fence(probe: &mut Probe) {
    std::fs::create_dir(probe.path("fence")).unwrap();
    probe.events.expect_rule("fence");
}

const LIMITS: &str = r#"
rules:
  - id: by_default
    expression: open.file.path == "{work}/file"
  - id: once
    expression: open.file.path == "{work}/file"
    every: 1h
  - id: each
    expression: open.file.path =~ "{work}/each-*"
    every: 1h
    limiter_token: [open.file.name]
  - id: fence
    expression: mkdir.file.path == "{work}/fence"
"#;

#[test]
fn a_rule_sends_forty_events_at_once_or_one_a_period_or_one_a_token() {
    let mut probe = Setup::new().policy("limits.policy", LIMITS).start();
    // Made without an open under its name.
    std::fs::write(probe.path("other"), "").unwrap();
    std::fs::rename(probe.path("other"), probe.path("file")).unwrap();
    let began = std::time::Instant::now();
    let file = probe.path("file");
    assert_eq!(Helper::run(&["storm-open", &file, "300"]).result(), 300);
    // A token a tenth of a second, besides the forty.
    let more = usize::try_from(began.elapsed().as_millis() / 100).unwrap() + 1;
    shell(
        &probe,
        "for n in 1 2 3; do : > each-a; : > each-b; : > each-c; done",
    );
    fence(&mut probe);
    let sent = probe.events.of_rule("by_default").len();
    assert!(
        (40..=40 + more).contains(&sent),
        "{sent} of 40 to {}",
        40 + more
    );
    assert_eq!(probe.events.of_rule("once").len(), 1);
    let each = probe.events.of_rule("each");
    let names: Vec<_> = each.iter().map(|event| text(event, "/file/name")).collect();
    assert_eq!(names, ["each-a", "each-b", "each-c"]);
    // What was not sent is counted.
    let (_, out, _) = probe.agent(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&out).unwrap();
    let limited: u64 = status["event_types"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|kind| kind["event_type"] == "open")
        .filter_map(|kind| kind["rate_limited"].as_u64())
        .sum();
    let kept_back = 300 - u64::try_from(sent).unwrap() + 299 + 6;
    assert_eq!(limited, kept_back, "{status:#}");
}

const GROUPS: &str = r#"
rules:
  - id: low
    expression: open.file.path == "{work}/file"
    group_id: file_group
    priority: -5
    tags: {colour: blue}
  - id: middle
    expression: open.file.path == "{work}/file"
  - id: high
    expression: open.file.path == "{work}/file"
    priority: 10
  - id: switched_off
    expression: open.file.path == "{work}/file"
    disabled: true
"#;

#[test]
fn a_group_reports_under_its_own_id_and_priority_is_the_order() {
    let mut probe = Setup::new().policy("groups.policy", GROUPS).start();
    std::fs::write(probe.path("file"), "").unwrap();
    probe.events.expect_rule("file_group");
    let of_file: Vec<_> = probe
        .events
        .events
        .iter()
        .filter(|event| text(event, "/file/name") == "file")
        .map(|event| text(event, "/agent/rule_id").to_owned())
        .collect();
    assert_eq!(of_file, ["high", "middle", "file_group"]);
    // The rule's own id is a tag, as are the rule's.
    let _agent = Agent::start(&probe);
    let stored = wait_for(event_time(), || {
        let text = std::fs::read_to_string(probe.dir().join("log/agent.jsonl")).ok()?;
        let line = text.lines().find(|line| line.contains("file_group"))?;
        Some(line.to_owned())
    });
    let stored = stored.expect("a stored event");
    for tag in ["rule_id:file_group", "source_rule_id:low", "colour:blue"] {
        assert!(stored.contains(tag), "no {tag} in {stored}");
    }
}

const FIM: &str = r#"
rules:
  - id: changed
    expression: fim.write.file.path in [ "{work}/watched", "{work}/moved" ]
  - id: fence
    expression: mkdir.file.path == "{work}/fence"
"#;

#[test]
fn a_file_integrity_rule_sees_every_way_to_change_a_file() {
    let mut probe = Setup::new().policy("fim.policy", FIM).start();
    shell(
        &probe,
        ": > watched; cat watched; chmod 600 watched; chown 1 watched; touch watched; ln watched linked; \
         mv watched moved; rm moved",
    );
    fence(&mut probe);
    let mut kinds: Vec<_> = probe
        .events
        .of_rule("changed")
        .iter()
        .map(|event| text(event, "/evt/name").to_owned())
        .collect();
    kinds.sort();
    kinds.dedup();
    assert_eq!(
        kinds,
        [
            "chmod", "chown", "link", "open", "rename", "unlink", "utimes"
        ]
    );
    let events = probe.events.of_rule("changed");
    let read = events
        .iter()
        .find(|event| text(event, "/evt/name") == "open" && text(event, "/process/comm") == "cat");
    assert!(read.is_none(), "{read:#?}");
}
