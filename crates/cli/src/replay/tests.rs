//! Replays of small files.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use super::*;
use serde_json::{Value, json};

/// An event that a rule recorded.
fn event(id: u64, ms: i64, rule: &str, name: &str, path: &str, pid: u32) -> Value {
    let at = jiff::Timestamp::from_millisecond(ms).unwrap();
    json!({
        "ddsource": "runtime-security-agent", "timestamp": ms,
        "ddtags": format!("rule_id:{rule},source_rule_id:{rule},type:{name}"), "event_id": id,
        "message": {
            "agent": {"rule_id": rule}, "title": format!("{rule} matched"),
            "evt": {"name": name, "rule_context": {"expression": format!("{name}.file.path != \"\"")}},
            "date": at.to_string(),
            "file": {"path": path},
            "process": {"pid": pid, "comm": "cat", "exec_time": "2026-11-23T00:00:00Z",
                "executable": {"path": format!("/usr/bin/p{pid}")},
                "ancestors": [{"pid": 1, "comm": "init"}]},
        },
    })
}

const T: i64 = 1_763_980_000_000;

/// Replays these events against a policy.
fn replay(policy: &str, events: &[Value]) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let [file, events_file] = ["p.policy", "events"].map(|name| dir.path().join(name));
    std::fs::write(&file, policy).unwrap();
    let text: String = events
        .iter()
        .map(|event| event.to_string() + "\n")
        .collect();
    std::fs::write(&events_file, text).unwrap();
    let config = Config::default();
    let loaded = load(None, &[file], &config, Vec::new()).unwrap();
    let errors: Vec<String> = loaded.report.all_errors().map(LoadError::render).collect();
    let range = Range::default();
    let source = Source::open(&[events_file], range).unwrap();
    let types: HashSet<&str> = loaded.rules.event_types().collect();
    let mut replay = Replay::new(&loaded.rules, limiter(&config), 2);
    feed::in_order(
        source,
        |batch| event::parse(batch, range, &types),
        |chunk| replay.take(chunk),
    )
    .unwrap();
    let report = Report {
        loaded: &loaded,
        replay: &replay,
        read: Vec::new(),
        skipped: Vec::new(),
        errors,
        took: Duration::ZERO,
    };
    assert!(
        report
            .text(Style { color: false })
            .contains("proves little")
    );
    report.json()
}

fn rule<'a>(report: &'a Value, id: &str) -> &'a Value {
    let rules = report["rules"].as_array().unwrap();
    let found = rules.iter().find(|rule| rule["id"] == id);
    found.unwrap_or_else(|| panic!("{id}: {report:#}"))
}

#[test]
fn an_event_that_several_rules_recorded_counts_once() {
    let policy = "rules:\n  - id: a\n    expression: open.file.path == \"/etc/shadow\"\n  - id: b\n    expression: open.file.path =~ \"/etc/*\"\n";
    let report = replay(
        policy,
        &[
            event(1, T, "a", "open", "/etc/shadow", 5),
            event(2, T, "b", "open", "/etc/shadow", 5),
            event(3, T, "gone", "open", "/etc/shadow", 5),
            event(4, T + 1, "b", "open", "/etc/passwd", 6),
            json!({"event_id": 5, "timestamp": T + 2, "message": {"agent": {"rule_id": "heartbeat"}}}),
        ],
    );
    let events = &report["events"];
    assert_eq!(events["records"], 4, "{report:#}");
    assert_eq!(
        (&events["distinct"], &events["duplicates"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(events["own"], 1);
    let (a, b) = (rule(&report, "a"), rule(&report, "b"));
    assert_eq!(
        (&a["matches"], &a["recorded"], &a["new"]),
        (&json!(1), &json!(1), &json!(0))
    );
    assert_eq!(
        (&b["matches"], &b["recorded"], &b["kept"]),
        (&json!(2), &json!(2), &json!(2))
    );
    assert_eq!(b["samples"][1]["event_id"], 4);
    assert_eq!(b["samples"][1]["summary"], "open /etc/passwd by cat(6)");
    assert_eq!(
        b["processes"],
        json!([{"path": "/usr/bin/p5", "count": 1}, {"path": "/usr/bin/p6", "count": 1}])
    );
    assert_eq!(report["recorded_by_others"], json!({"gone": 1}));
}

#[test]
fn what_would_be_lost_is_told_apart_from_what_cannot_be_known() {
    let policy = "rules:\n  - id: narrower\n    expression: open.file.path == \"/a\"\n  - id: same\n    expression: open.file.path != \"\" && process.envp in [\"A=1\"]\n  - id: other_type\n    expression: dns.question.name == \"x\"\n";
    let mut unchanged = event(3, T + 2, "same", "open", "/c", 5);
    unchanged["message"]["evt"]["rule_context"]["expression"] =
        json!("open.file.path != \"\" && process.envp in [\"A=1\"]");
    let report = replay(
        policy,
        &[
            event(1, T, "narrower", "open", "/a", 5),
            event(2, T + 1, "narrower", "open", "/b", 5),
            unchanged,
        ],
    );
    let narrower = rule(&report, "narrower");
    assert_eq!(
        (&narrower["kept"], &narrower["lost"], &narrower["unclear"]),
        (&json!(1), &json!(1), &json!(0))
    );
    assert_eq!(narrower["lost_samples"][0]["event_id"], 2);
    let same = rule(&report, "same");
    assert_eq!(
        (&same["matches"], &same["lost"], &same["unclear"]),
        (&json!(0), &json!(0), &json!(1))
    );
    assert_eq!(same["judged"], true);
    let other = rule(&report, "other_type");
    assert_eq!(other["judged"], false);
    assert_eq!(other["reason"], "no recorded events of type dns");
}

#[test]
fn variables_are_set_in_the_order_of_events_and_of_their_processes() {
    let policy = r#"
rules:
  - id: mark
    expression: open.file.path == "/mark"
    silent: true
    actions:
      - set: {name: marked, scope: process, value: true}
      - kill: {signal: SIGKILL}
  - id: then
    expression: open.file.path == "/then" && ${process.marked}
"#;
    let mut again = event(4, T + 3, "x", "open", "/then", 5);
    // The same pid, another process.
    again["message"]["process"]["exec_time"] = json!("2026-11-24T00:00:00Z");
    let report = replay(
        policy,
        &[
            event(1, T, "x", "open", "/then", 5),
            event(2, T + 1, "x", "open", "/mark", 5),
            event(3, T + 2, "x", "open", "/then", 5),
            again,
            event(5, T + 4, "x", "open", "/then", 6),
        ],
    );
    let then = rule(&report, "then");
    assert_eq!(then["matches"], 1, "{report:#}");
    assert_eq!(then["samples"][0]["event_id"], 3);
    let mark = rule(&report, "mark");
    assert_eq!(
        (&mark["matches"], &mark["sent"], &mark["silent"]),
        (&json!(1), &json!(0), &json!(true))
    );
}

#[test]
fn rate_limits_say_what_would_be_sent() {
    let policy = "rules:\n  - id: often\n    expression: open.file.path != \"\"\n  - id: rarely\n    expression: open.file.path != \"\"\n    every: 1m\n";
    let events: Vec<Value> = (0..100)
        .map(|n| event(n, T + n as i64, "x", "open", "/a", 5))
        .collect();
    let report = replay(policy, &events);
    let often = rule(&report, "often");
    assert_eq!(
        (&often["matches"], &often["sent"]),
        (&json!(100), &json!(40))
    );
    assert_eq!(rule(&report, "rarely")["sent"], 1);
}

#[test]
fn one_bad_rule_or_line_does_not_stop_the_others() {
    let policy = "rules:\n  - id: bad\n    expression: open.file.pth == \"x\"\n  - id: good\n    expression: open.file.path == \"/a\"\n";
    let mut odd = event(2, T, "x", "open", "/a", 5);
    odd["message"]["file"]["path"] = json!(7);
    let report = replay(
        policy,
        &[
            json!("no event"),
            odd,
            event(3, T + 1, "x", "open", "/a", 5),
        ],
    );
    assert_eq!(rule(&report, "good")["matches"], 1);
    assert_eq!(report["events"]["unreadable"], 2);
    assert_eq!(report["left_out"][0]["id"], "bad");
    assert_eq!(report["errors"].as_array().unwrap().len(), 1);
}

#[test]
fn moments() {
    let now: jiff::Timestamp = "2026-11-24T10:00:00Z".parse().unwrap();
    let of = |text| moment("--since", Some(text), now);
    assert_eq!(of("2h").unwrap(), Some(now.as_millisecond() - 7_200_000));
    assert_eq!(of("1h30m").unwrap(), Some(now.as_millisecond() - 5_400_000));
    assert_eq!(
        of("2026-11-24T09:00:00+01:00").unwrap(),
        Some(now.as_millisecond() - 7_200_000)
    );
    assert_eq!(of("now").unwrap(), Some(now.as_millisecond()));
    assert_eq!(moment("--since", None, now).unwrap(), None);
    for bad in ["", "yesterday", "-5m", "2026-11-24"] {
        let error = of(bad).unwrap_err().to_string();
        assert!(error.starts_with("--since: "), "{error}");
    }
}
