//! Unit tests of rules: what the runner says of right and wrong expectations and of wrong files.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use atalaya_policy::testing::{TestFile, TestReport};

use common::{Event, load_one};

const POLICY: &str = r#"
macros:
  - {id: SECRETS, values: [/etc/shadow]}
rules:
  - id: first
    expression: open.file.path in SECRETS
    every: 1h
    actions:
      - set: {name: seen, value: true, scope: process}
      - filter: open.flags == 2
        set: {name: count, expression: "${count} + 1", default_value: 0}
  - id: second
    expression: open.file.path == "/tmp/x" && ${process.seen}
  - {id: twice, silent: true, expression: 'open.file.path in SECRETS && ${count} >= 2'}
  - {id: writes, expression: fim.write.file.path == "/etc/passwd"}
  - {id: old, expression: process.created_at > 1h && open.flags == 9}
  - {id: windows, expression: open.flags == 1, filters: ['os == "windows"']}
  - {id: broken, expression: open.flags == }
"#;

fn run(tests: &str) -> TestReport {
    let (rules, report) = load_one(POLICY);
    let file = TestFile::parse("x.test.yaml", tests).unwrap();
    file.run(&rules, &report, Event::from_values)
}

#[test]
fn events_in_order_with_variables() {
    let report = run(r#"
tests:
  - name: variables live through the events of a test, and of the process
    events:
      - {type: open, values: {open.file.path: /tmp/x, process.pid: 7}, expect: []}
      - {type: open, values: {open.file.path: /etc/shadow, process.pid: 7}, expect: first}
      - {type: open, values: {open.file.path: /tmp/x, process.pid: 7}, expect: [second]}
      - {type: open, values: {open.file.path: /tmp/x, process.pid: 8}, expect: []}
    expect: [second, first]
  - name: and not into the next test; limits are off, filters of actions are not
    events:
      - {type: open, values: {open.file.path: /tmp/x, process.pid: 7}, expect: []}
      - {type: open, values: {open.file.path: /etc/shadow, open.flags: 2}, expect: [first]}
      - {type: open, values: {open.file.path: /etc/shadow, open.flags: 1}, expect: [first]}
      - {type: open, values: {open.file.path: /etc/shadow, open.flags: 2}, expect: [first, twice]}
  - name: an expanded rule under its own name
    events:
      - {type: unlink, values: {unlink.file.path: /etc/passwd}}
      - {type: open, values: {open.file.path: /etc/passwd, open.flags: 0}}
    expect: [writes]
  - name: time
    events:
      - {type: open, values: {open.flags: 9, process.created_at: 1, now: 3600000000002}, expect: [old]}
      - {type: open, values: {open.flags: 9, process.created_at: 1, now: 3600000000000}, expect: []}
"#);
    assert_eq!(report.to_string().matches(": ok\n").count(), 4, "{report}");
    assert_eq!(report.failed(), 0);
    assert_eq!(report.untested, Vec::<String>::new());
}

#[test]
fn failures_say_what_and_why() {
    let report = run(r#"
tests:
  - name: wrong
    events:
      - type: open
        values: {open.file.path: /etc/shadow}
        expect: [second, frist, windows, broken]
      - {type: unlink, values: {unlink.file.path: /etc/shadow}, expect: [first]}
      - {type: open, values: {open.file.path: /etc/shadow}, expect: []}
  - name: no such things
    events:
      - {type: opne, values: {}, expect: []}
      - type: open
        values:
          open.file.path: /x
          open.file.pth: /x
        expect: []
      - {type: open, values: {open.flags: much}, expect: []}
    expect: [first]
"#);
    assert_eq!(report.failed(), 2);
    let text = report.to_string();
    for wanted in [
        "x.test.yaml:3: wrong: FAILED",
        "x.test.yaml:7: an event of type open\n    expected: broken, frist, second, windows\n         got: first\n",
        "second did not match: false: open.file.path == \"/tmp/x\" (open.file.path is \"/etc/shadow\")",
        "frist did not match: there is no such rule; did you mean `first`?",
        "windows did not match: it is not in force: none of its filters holds here: os == \"windows\"",
        "broken did not match: it is not in force: ",
        "first did not match: it is about events of type open",
        "expected: no rule\n         got: first",
        "x.test.yaml:12:16: there is no event type `opne`",
        "x.test.yaml:16:11: field `open.file.pth` does not exist",
        "x.test.yaml:18:31: field `open.flags` has another type",
        "0 of 2 tests passed; no test expects old, twice, writes",
    ] {
        assert!(text.contains(wanted), "{wanted}\n---\n{text}");
    }
    // An event that could not be made says so itself; what the others make of it is not judged.
    assert_eq!(report.tests[1].failures.len(), 3);
}

#[test]
fn errors_of_the_file() {
    for (text, wanted) in [
        ("", "x.test.yaml:1:1: expected a test file"),
        ("tests: []", "x.test.yaml:1:1: no tests"),
        ("tests: [", "x.test.yaml:"),
        ("test: []", "x.test.yaml:1:1: unknown key `test`"),
        (
            "tests:\n  - {name: a, events: [{values: {}, expect: []}]}",
            "x.test.yaml:2:24: an event needs `type`",
        ),
        (
            "tests:\n  - {name: a, events: [{type: open}]}",
            "x.test.yaml:2:5: a test needs `expect`",
        ),
        (
            "tests:\n  - {name: a, expect: []}",
            "x.test.yaml:2:5: a test needs `events`",
        ),
        (
            "tests:\n  - {name: a, expect: [], event: []}",
            "x.test.yaml:2:27: unknown key `event`",
        ),
        (
            "tests:\n  - {name: a, events: [{typo: open, values: {}, expect: []}]}",
            "x.test.yaml:2:25: unknown key `typo`",
        ),
        (
            "tests:\n  - {name: a, expect: [], events: [{type: open, values: {open.flags: {}}}]}",
            "x.test.yaml:2:70: expected a boolean",
        ),
        (
            "tests:\n  - {name: a, expect: {b: c}, events: [{type: open}]}",
            "x.test.yaml:2:23: expected text",
        ),
    ] {
        let errors = TestFile::parse("x.test.yaml", text).unwrap_err();
        let found = errors[0].to_string();
        assert!(found.starts_with(wanted), "{text}\n{found}");
        assert_eq!(errors.len(), 1, "{text}\n{errors:?}");
    }
    let errors = TestFile::read(std::path::Path::new("/missing.test.yaml")).unwrap_err();
    assert!(errors[0].to_string().contains("cannot read"), "{errors:?}");
}

#[test]
fn policies_are_beside_the_file() {
    let text = "policies: [a.policy, ../b.policy, /etc/c.policy]\ntests: [{events: [{type: open}], expect: []}]";
    let file = TestFile::parse("/rules/x.test.yaml", text).unwrap();
    let paths = file.policy_paths();
    let paths: Vec<_> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(
        paths,
        ["/rules/a.policy", "/rules/../b.policy", "/etc/c.policy"]
    );
}
