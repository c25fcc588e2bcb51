//! The commands on policy files as people run them, and the tests of the shipped rules.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use atalaya_policy::testing::{TestCase, TestFile};
use atalaya_policy::{LoadOptions, RuleSet};
use serde_json::{Value, json};

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies")
}

/// A directory with policies, and no other configuration.
struct World(tempfile::TempDir);

impl World {
    fn new(files: &[(&str, &str)]) -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        fs::write(world.path("atalaya.yaml"), "hostname: box\n").unwrap();
        for (name, text) in files {
            fs::write(world.path(name), text).unwrap();
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Exit code, standard output, standard error.
    fn run(&self, args: &[&str], input: &str) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_security-agent"));
        command
            .arg("-c")
            .arg(self.path("atalaya.yaml"))
            .args(["runtime", "policy"])
            .args(args)
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, _) in std::env::vars().filter(|(n, _)| n.starts_with("DD_")) {
            command.env_remove(name);
        }
        let mut child = command.spawn().unwrap();
        // A command that fails early reads no input.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    fn json(&self, args: &[&str], input: &str) -> (i32, Value) {
        let (code, out, err) = self.run(args, input);
        let value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}\n{err}"));
        (code, value)
    }
}

#[test]
fn every_shipped_rule_has_a_test_and_a_near_miss() {
    let path = shipped().join("default.test.yaml");
    let file = TestFile::read(&path).unwrap();
    let options = LoadOptions {
        policies_dir: Some(shipped()),
        ..LoadOptions::default()
    };
    let (rules, _) = RuleSet::load(atalaya_model::schema(), &options);
    let mut tested: BTreeMap<&str, bool> = BTreeMap::new();
    for rule in rules.rules() {
        let expects = |test: &&TestCase, wanted: bool| {
            test.events.iter().any(|event| {
                let rules = event.expect.as_ref().map(|expect| &expect.rules);
                rules.is_some_and(|rules| rules.contains(&rule.written_id) == wanted)
            })
        };
        let both = file
            .tests
            .iter()
            .any(|test| expects(&test, true) && expects(&test, false));
        *tested.entry(&rule.written_id).or_default() |= both;
    }
    let untested: Vec<_> = tested.iter().filter(|(_, both)| !**both).collect();
    assert!(untested.is_empty(), "{untested:?}");
    assert!(tested.len() >= 46, "{}", tested.len());
}

#[test]
fn the_tests_of_the_shipped_rules_pass() {
    let world = World::new(&[]);
    let file = shipped().join("default.test.yaml");
    let (code, out, err) = world.run(&["test", "--coverage", file.to_str().unwrap()], "");
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(
        out.contains(", 0 failed\n") || out.contains(" passed, 0 failed"),
        "{out}"
    );
    assert!(!out.contains("without a test"), "{out}");
}

const POLICY: &str = r#"
macros:
  - id: editors
    values: [vim, nano]
rules:
  - id: counted
    expression: open.file.path == "/tmp/secret" && process.file.name not in editors
    silent: true
    actions:
      - set: {name: reads, expression: "${reads} + 1", default_value: 0}
      - set: {name: seen, field: process.file.name, append: true, scope: process}
  - id: second
    expression: open.file.path == "/tmp/secret" && process.file.name not in editors && ${reads} > 1
  - id: written
    expression: fim.write.file.path == "/tmp/secret"
  - id: switched_off
    expression: open.file.path == "/x"
    disabled: true
"#;

const TESTS: &str = r"
policies: [mine.policy]
tests:
  - name: the second reader is told
    events:
      - {type: open, values: {open.file.path: /tmp/secret, process.file.path: /usr/bin/cat}, expect: [counted]}
      - {type: open, values: {open.file.path: /tmp/secret, process.file.path: /usr/bin/vim}, expect: []}
      - {type: open, values: {open.file.path: /tmp/secret, process.file.path: /usr/bin/cat}, expect: [counted, second]}
  - name: variables begin anew
    events:
      - {type: open, values: {open.file.path: /tmp/secret, process.file.path: /usr/bin/cat}}
    expect: [counted]
";

#[test]
fn tests_pass_and_fail_with_the_reason() {
    let world = World::new(&[("mine.policy", POLICY), ("mine.test.yaml", TESTS)]);
    let (code, out, err) = world.run(&["test", ".", "--coverage"], "");
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(
        out.contains("mine.test.yaml:4: the second reader is told ... ok"),
        "{out}"
    );
    assert!(out.contains("2 passed, 0 failed"), "{out}");
    assert!(out.contains("  without a test: written\n"), "{out}");

    let wrong = TESTS.replace("expect: []", "expect: [secnd, written]");
    fs::write(world.path("mine.test.yaml"), wrong).unwrap();
    let (code, out, _) = world.run(&["test", "mine.test.yaml"], "");
    assert_eq!(code, 1, "{out}");
    assert!(
        out.contains("... FAILED")
            && out.contains("mine.test.yaml:7: an event of type open")
            && out.contains("expected: secnd, written")
            && out.contains("got: no rule")
            && out.contains("did you mean `second`?"),
        "{out}"
    );
    assert!(out.contains("1 passed, 1 failed"), "{out}");
    let (code, report) = world.json(&["test", "mine.test.yaml", "--json"], "");
    assert_eq!((code, &report["failed"]), (1, &json!(1)), "{report:#}");

    // What is wrong with the file itself has its place.
    let bad = TESTS.replace(
        "open.file.path: /tmp/secret, process.file.path: /usr/bin/vim",
        "open.file.pat: x",
    );
    fs::write(world.path("mine.test.yaml"), bad).unwrap();
    let (code, out, _) = world.run(&["test", "mine.test.yaml"], "");
    assert!(
        code == 1
            && out.contains("mine.test.yaml:7:")
            && out.contains("did you mean `open.file.path`?"),
        "{out}"
    );
    for (text, what) in [
        ("tests: []\n", "no tests"),
        ("tests: [\n", "invalid YAML"),
        (
            "policies: [none.policy]\ntests: [{events: [{type: open}], expect: []}]\n",
            "there is no policy file",
        ),
    ] {
        fs::write(world.path("mine.test.yaml"), text).unwrap();
        let (code, out, err) = world.run(&["test", "mine.test.yaml"], "");
        assert!(code == 1 && err.contains(what), "{text}: {out}{err}");
    }
    let (code, _, err) = world.run(&["test", "none.test.yaml"], "");
    assert!(code == 1 && err.contains("none.test.yaml"), "{err}");
}

fn secret(program: &str) -> String {
    json!({
        "type": "open",
        "values": {"open.file.path": "/tmp/secret", "process.file.path": program},
        "variables": {"reads": 5, "process.seen": ["cat"]},
    })
    .to_string()
}

#[test]
fn eval_takes_an_event_as_it_was_written() {
    let world = World::new(&[]);
    let event = json!({
        "agent": {"rule_id": "x"},
        "title": "x",
        "evt": {"name": "open", "category": "File Activity", "outcome": "Refused"},
        "date": "2024-05-01T00:00:00.000000001Z",
        "file": {"path": "/etc/shadow", "flags": ["O_WRONLY", "O_CREAT"], "uid": 0, "gid": 0},
        "process": {
            "pid": 7, "comm": "cat", "args": ["/etc/shadow"], "credentials": {"uid": 1000},
            "executable": {"path": "/usr/bin/cat"},
            "ancestors": [{"pid": 5, "comm": "bash"}, {"pid": 1, "executable": {"path": "/sbin/init"}}],
        },
    });
    for (expression, expected) in [
        (
            "open.file.name == \"shadow\" && open.flags & O_CREAT > 0 && open.retval == EACCES && process.uid == 1000",
            true,
        ),
        (
            "open.file.path == \"/etc/shadow\" && process.ancestors[A].pid == 1 && process.ancestors[A].file.name == \"init\"",
            true,
        ),
        (
            "open.file.path == \"/etc/shadow\" && process.ancestors.comm == \"sshd\"",
            false,
        ),
    ] {
        let args = ["eval", "--event-file", "-", "--expression", expression];
        let (code, report) = world.json(&args, &event.to_string());
        assert_eq!(
            (code, &report["Succeeded"]),
            (0, &json!(expected)),
            "{report:#}"
        );
        assert_eq!(report["Event"]["type"], "open");
    }
}

#[test]
fn eval_reports_as_the_reference_does() {
    let world = World::new(&[("mine.policy", POLICY)]);
    let eval = ["eval", "--event-file", "-", "mine.policy"];
    let rule = |id| [&eval[..], &["--rule-id", id]].concat();
    let (code, report) = world.json(&rule("second"), &secret("/usr/bin/cat"));
    assert_eq!(
        (code, &report["Succeeded"]),
        (0, &json!(true)),
        "{report:#}"
    );
    assert_eq!(report["Event"]["type"], "open");
    assert!(report.get("Error").is_none(), "{report:#}");
    // Not to match is no error.
    let (code, report) = world.json(&rule("second"), &secret("/usr/bin/vim"));
    assert_eq!(
        (code, &report["Succeeded"]),
        (0, &json!(false)),
        "{report:#}"
    );
    // Variables are unset unless they are given.
    let unset = secret("/usr/bin/cat").replace("variables", "ignored");
    let (_, report) = world.json(&rule("second"), &unset);
    assert_eq!(report["Succeeded"], false, "{report:#}");
    // A rule for every way to write.
    let write = r#"{"type": "chmod", "values": {"chmod.file.path": "/tmp/secret"}}"#;
    let (code, report) = world.json(&rule("written"), write);
    assert_eq!(
        (code, &report["Succeeded"]),
        (0, &json!(true)),
        "{report:#}"
    );
    // From a file.
    fs::write(world.path("event.json"), secret("/usr/bin/cat")).unwrap();
    let from_file = [
        "eval",
        "--rule-id",
        "second",
        "--event-file",
        "event.json",
        "--policies-dir",
        ".",
    ];
    let (code, report) = world.json(&from_file, "");
    assert_eq!(
        (code, &report["Succeeded"]),
        (0, &json!(true)),
        "{report:#}"
    );
    let (_, out, _) = world.run(&rule("second"), &secret("/usr/bin/cat"));
    assert!(
        out.starts_with("{\n  \"Succeeded\": true,\n  \"Event\": "),
        "{out}"
    );
}

#[test]
fn eval_shows_what_each_part_was_worth() {
    let world = World::new(&[("mine.policy", POLICY)]);
    let args = [
        "eval",
        "--rule-id",
        "second",
        "--event-file",
        "-",
        "--debug",
        "mine.policy",
    ];
    let (_, report) = world.json(&args, &secret("/usr/bin/vim"));
    let parts = report["Parts"].as_array().unwrap();
    let holds: Vec<_> = parts.iter().map(|part| &part["Holds"]).collect();
    assert_eq!(holds.len(), 3, "{report:#}");
    assert_eq!(
        holds.iter().filter(|holds| **holds == false).count(),
        1,
        "{report:#}"
    );
    let failed = parts.iter().find(|part| part["Holds"] == false).unwrap();
    assert!(
        failed["Values"]["process.file.name"]
            .to_string()
            .contains("vim"),
        "{report:#}"
    );
    // A variable is shown as well.
    let (_, report) = world.json(&args, &secret("/usr/bin/cat").replace('5', "1"));
    assert!(report["Parts"].to_string().contains("reads"), "{report:#}");
}

#[test]
fn eval_tells_the_place_in_an_expression() {
    // The policies' own rule of this name has nothing to do with it.
    let policy = "rules:\n  - {id: expression, expression: open.flags == 1}\n";
    let world = World::new(&[("mine.policy", policy)]);
    let eval = |expression: &str| {
        let args = [
            "eval",
            "--event-file",
            "-",
            "mine.policy",
            "--expression",
            expression,
        ];
        let (code, report) = world.json(&args, r#"{"type": "open"}"#);
        (
            code,
            report["Error"].as_str().unwrap_or_default().to_owned(),
        )
    };
    assert_eq!(eval("open.flags == 1"), (0, String::new()));
    for (expression, place, shown) in [
        (
            "open.flags == \"x\"",
            "expression:1:15: type error",
            "1 | open.flags == \"x\"\n  |               ^^^",
        ),
        (
            "open.flags == 1\n  && open.nope > 1",
            "expression:2:6: field `open.nope` not found",
            "2 |   && open.nope > 1\n  |      ^^^^^^^^^",
        ),
        ("", "expression:1:1: syntax error", "1 | \n  | ^"),
        (
            "open.flags == 1 \u{7} == 2",
            "expression:1:17: ",
            "1 | open.flags == 1 ? == 2\n  |                 ^",
        ),
    ] {
        let (code, error) = eval(expression);
        assert!(
            code == 1 && error.starts_with(place) && error.contains(shown),
            "{expression}: {error}"
        );
    }
}

#[test]
fn eval_tries_an_expression_with_macros_and_variables() {
    let world = World::new(&[("mine.policy", POLICY)]);
    let eval = |expression, event: &str| {
        world.json(
            &[
                "eval",
                "--event-file",
                "-",
                "mine.policy",
                "--expression",
                expression,
            ],
            event,
        )
    };
    for (expression, expected) in [
        (
            r#"open.file.path == "/tmp/secret" && process.file.name in editors"#,
            false,
        ),
        (
            r#"open.file.path == "/tmp/secret" && "cat" in ${process.seen}"#,
            true,
        ),
        (
            "  open.file.name == \"secret\"\n&& ${reads} == 5 # a comment",
            true,
        ),
    ] {
        let (code, report) = eval(expression, &secret("/usr/bin/cat"));
        assert_eq!(
            (code, &report["Succeeded"]),
            (0, &json!(expected)),
            "{expression}: {report:#}"
        );
    }
    let (code, report) = eval("open.file.pth == \"/x\"", &secret("/usr/bin/cat"));
    let error = report["Error"].as_str().unwrap();
    assert!(
        code == 1 && error.contains("did you mean `open.file.path`?"),
        "{error}"
    );
    // Without any policies.
    let bare = World::new(&[]);
    let (code, report) = bare.json(
        &[
            "eval",
            "--expression",
            "open.flags & O_CREAT > 0",
            "--event-type",
            "open",
            "--event-file",
            "-",
        ],
        r#"{"values": {"open.flags": "O_CREAT|O_RDWR"}}"#,
    );
    assert_eq!(
        (code, &report["Succeeded"]),
        (0, &json!(true)),
        "{report:#}"
    );
}

#[test]
fn eval_tells_what_is_wrong_in_one_place() {
    let world = World::new(&[("mine.policy", POLICY)]);
    let good = secret("/usr/bin/cat");
    let cases: [(&[&str], &str, &str); 9] = [
        (&["--rule-id", "secnd"], &good, "did you mean `second`?"),
        (&["--rule-id", "switched_off"], &good, "is not in force"),
        (
            &["--rule-id", "second"],
            r#"{"type": "exec", "values": {"exec.file.path": "/x"}}"#,
            "is for events of type open, and this one is of type exec",
        ),
        (
            &["--rule-id", "second"],
            r#"{"type": "opn", "values": {}}"#,
            "unknown event type `opn`",
        ),
        (
            &["--rule-id", "second"],
            r#"{"type": "open", "values": {"open.flags": true}}"#,
            "open.flags",
        ),
        (
            &["--rule-id", "second"],
            r#"{"type": "open", "values": {"chmod.file.path": "/x"}}"#,
            "is a field of chmod events",
        ),
        (&["--rule-id", "second"], r#"{"values": {}}"#, "no `type`"),
        (
            &["--rule-id", "second"],
            r#"{"type": "open", "variables": {"raeds": 1}}"#,
            "did you mean `reads`?",
        ),
        (
            &["--rule-id", "second"],
            r#"{"type": "open", "variables": {"reads": "many"}}"#,
            "is a number, not \"many\"",
        ),
    ];
    for (what, event, expected) in cases {
        let args = [&["eval", "--event-file", "-", "mine.policy"], what].concat();
        let (code, report) = world.json(&args, event);
        let error = report["Error"].as_str().unwrap_or_default();
        assert!(
            code == 1 && error.contains(expected) && report["Succeeded"] == false,
            "{event}: {report:#}"
        );
    }
    for (file, input, expected) in [
        ("-", "{\"type\": ", "is not JSON such as"),
        ("none.json", "", "none.json: No such file"),
        (".", "", "is a directory"),
    ] {
        let args = [
            "eval",
            "--rule-id",
            "second",
            "mine.policy",
            "--event-file",
            file,
        ];
        let (code, out, err) = world.run(&args, input);
        assert!(
            code == 1 && out.is_empty() && err.contains(expected) && err.lines().count() == 1,
            "{file}: {out}{err}"
        );
    }
}

#[test]
fn explain_tells_where_a_rule_is_decided() {
    let world = World::new(&[("mine.policy", POLICY)]);
    let (code, out, err) = world.run(&["explain", "second", "mine.policy"], "");
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    for part in [
        "second (mine.policy:12)",
        "For open events",
        "path /tmp/secret",
        " ns alone",
        "open.file.path, process.file.name",
        "system-probe does not run",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    let (code, all) = world.json(&["explain", "written", "mine.policy", "--json"], "");
    let parts = all["parts"].as_array().unwrap();
    assert!(code == 0 && parts.len() >= 7, "{all:#}");
    assert!(parts[0]["measured"]["rule_ns"].as_f64().unwrap() > 0.0);
    let (code, _, err) = world.run(&["explain", "secnd", "mine.policy"], "");
    assert!(code == 1 && err.contains("did you mean `second`?"), "{err}");
    let (code, _, err) = world.run(&["explain", "switched_off", "mine.policy"], "");
    assert!(code == 1 && err.contains("is not in force"), "{err}");
}

const EVIL: &str = "\u{1b}[2J\u{202e}";

#[test]
fn nothing_of_a_policy_or_an_event_reaches_the_terminal_raw() {
    // In YAML, an escape in double quotes.
    let policy = "rules:\n  - id: evil\n    description: \"\\e[2J\\u202e\"\n    expression: \"open.file.path == \\\"/\\e[2J\\u202e\\\"\"\n\
         \x20 - id: \"\\e[2J\"\n    expression: open.file.path == \"/x\"\n\
         \x20 - id: bad\n    expression: \"open.file.pth\\u202e == 3\"\n";
    let tests = "policies: [evil.policy]\ntests:\n  - name: \"\\e[2J\\u202e\"\n    events:\n      \
         - {type: open, values: {open.file.path: \"/\\e[2J\"}, expect: [\"\\e[2J\"]}\n";
    let world = World::new(&[("evil.policy", policy), ("evil.test.yaml", tests)]);
    let event = json!({"type": "open", "values": {"open.file.path": format!("/{EVIL}")}});
    let unknown = json!({"type": EVIL, "values": {}});
    let commands: [(&[&str], &str); 9] = [
        (&["check", "-v", "evil.policy"], ""),
        (&["check", "--json", "evil.policy"], ""),
        (&["explain", "evil", "evil.policy"], ""),
        (&["explain", "evil", "--json", "evil.policy"], ""),
        (&["test", "evil.test.yaml", "--coverage"], ""),
        (&["test", "evil.test.yaml", "--json"], ""),
        (
            &[
                "eval",
                "--rule-id",
                "evil",
                "--event-file",
                "-",
                "evil.policy",
            ],
            &event.to_string(),
        ),
        (
            &[
                "eval",
                "--rule-id",
                "evil",
                "--event-file",
                "-",
                "evil.policy",
            ],
            &unknown.to_string(),
        ),
        (
            &[
                "eval",
                "--rule-id",
                EVIL,
                "--event-file",
                "-",
                "evil.policy",
            ],
            &event.to_string(),
        ),
    ];
    for (args, input) in commands {
        let (_, out, err) = world.run(args, input);
        assert!(!(out.clone() + &err).is_empty());
        for text in [out, err] {
            let raw = text.contains(|c: char| c != '\n' && atalaya_api::is_dangerous(c));
            assert!(!raw, "{args:?}: {text:?}");
        }
    }
}

#[test]
fn check_takes_files_and_directories_and_remarks_can_count() {
    let lint = "rules:\n  - id: mixed\n    expression: open.file.path == \"/a\" || open.file.path == \"/b\" && process.uid == 0\n";
    let world = World::new(&[("mine.policy", POLICY), ("lint.policy", lint)]);
    let (code, out, err) = world.run(&["check", "mine.policy"], "");
    assert_eq!(code, 0, "{out}{err}");
    assert!(
        out.contains("mine.policy: 1 policy, 3 rules loaded, 1 filtered out, 0 rejected"),
        "{out}"
    );
    assert!(
        out.contains("left out") && out.contains("switched_off"),
        "{out}"
    );
    let (code, out, err) = world.run(&["check", "lint.policy"], "");
    assert!(code == 0 && err.contains("lint.policy:3:"), "{out}{err}");
    let (code, _, err) = world.run(&["check", "--strict", "lint.policy"], "");
    assert!(code == 1 && err.contains("(--strict)"), "{err}");
    let (code, _, err) = world.run(&["check", "--no-lint", "lint.policy"], "");
    assert_eq!((code, err.as_str()), (0, ""));
    let (code, report) = world.json(&["check", ".", "--json"], "");
    assert_eq!(code, 0);
    assert_eq!(report["counts"]["loaded"], 4, "{report:#}");
    assert_eq!(
        report["filters"]["approvers"]["open"]["mode"], "deny",
        "{report:#}"
    );
    assert!(!report["lints"].as_array().unwrap().is_empty());
    let (code, _, err) = world.run(&["check", "none.policy"], "");
    assert!(
        code == 1 && err.contains("there is no policy file or directory none.policy"),
        "{err}"
    );
    // Not here, but no error.
    let later = "rules:\n  - id: later\n    expression: ondemand.name == \"vfs_open\"\n";
    fs::write(world.path("later.policy"), later).unwrap();
    let (code, out, err) = world.run(&["check", "-v", "later.policy"], "");
    assert!(
        code == 0 && out.contains("event not available here: ondemand"),
        "{out}{err}"
    );
}

#[test]
fn a_huge_policy_is_checked_in_bounded_time() {
    let mut text = String::from("rules:\n");
    let mut number = 0;
    while text.len() < 10 << 20 {
        number += 1;
        text += &format!(
            "  - id: rule_{number}\n    description: {}\n    expression: open.file.path == \"/srv/{number}\"\n",
            "x".repeat(400)
        );
    }
    let world = World::new(&[("huge.policy", &text)]);
    let began = std::time::Instant::now();
    let (code, out, err) = world.run(&["check", "huge.policy"], "");
    assert!(code <= 1, "{out}{err}");
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    // Larger than what is read at all.
    fs::write(world.path("huge.policy"), "#".repeat(17 << 20)).unwrap();
    let (code, _, err) = world.run(&["check", "huge.policy"], "");
    assert!(code == 1 && err.contains("larger than"), "{err}");
    let event = format!(
        "{{\"type\": \"open\", \"x\": \"{}\"}}",
        "x".repeat(17 << 20)
    );
    fs::write(world.path("event.json"), event).unwrap();
    let (code, _, err) = world.run(
        &["eval", "--rule-id", "x", "--event-file", "event.json", "."],
        "",
    );
    assert!(code == 1 && err.contains("larger than 16 MiB"), "{err}");
}

#[test]
fn the_example_of_the_readme_works() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let world = World::new(&[]);
    for name in ["mine.policy", "mine.test.yaml"] {
        let head = format!("```yaml\n# /tmp/rules/{name}\n");
        let (_, rest) = readme.split_once(&head).unwrap();
        let (text, _) = rest.split_once("```").unwrap();
        fs::write(world.path(name), text).unwrap();
    }
    let (code, out, err) = world.run(&["check", "--strict", "."], "");
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let (code, out, err) = world.run(&["test", "--coverage", "mine.test.yaml"], "");
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(!out.contains("without a test"), "{out}");
    let (_, rest) = readme.split_once("echo '{\"type\"").unwrap();
    let (event, _) = rest.split_once('\'').unwrap();
    let eval = [
        "eval",
        "--rule-id",
        "my_secret_read",
        "--event-file",
        "-",
        "--debug",
        ".",
    ];
    let (code, report) = world.json(&eval, &format!("{{\"type\"{event}"));
    assert_eq!(
        (code, &report["Succeeded"]),
        (0, &json!(false)),
        "{report:#}"
    );
    let (code, out, _) = world.run(&["explain", "my_secret_read", "."], "");
    assert_eq!(code, 0, "{out}");
}
