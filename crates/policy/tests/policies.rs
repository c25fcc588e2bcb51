//! Policies from files and memory: what is loaded, what is reported, where.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::time::Duration;

use atalaya_policy::{
    ActionBody, ActionKind, FilterType, InternalPolicy, LoadOptions, LoadReport, RateLimiter,
    RuleSet, Status, VariableScopeKind,
};
use atalaya_secl::model::Type;

use common::{Event, World, errors, load, load_with, matching};

#[test]
fn files_in_order_and_one_bad_thing_alone() {
    let (rules, report) = load(&[
        (
            "b.policy",
            "rules:\n  - id: b\n    expression: open.file.name == \"b\"\n",
        ),
        ("a.policy", "rules: [\n  - broken\n"),
        (
            "default.policy",
            "version: 1.20\nmacros:\n  - id: NAMES\n    expression: '[\"a\", \"b\"]'\n  - id: BAD\n    expression: open.file.nam in NAMES\n\
             rules:\n  - id: good\n    version: 1.0\n    expression: open.file.name in NAMES\n    tags: {k: v, n: 1.0}\n\
             \x20 - id: bad_field\n    expression: |-\n      open.file.name == \"x\" &&\n        open.file.pth == \"/x\"\n\
             \x20 - id: bad_syntax\n    expression: 'open.flags = 3'\n\
             \x20 - id: bad id\n    expression: open.flags == 3\n\
             \x20 - expression: open.flags == 3\n\
             \x20 - id: uses_bad\n    expression: BAD\n\
             \x20 - id: no_event\n    expression: process.uid == 0\n\
             \x20 - id: two_events\n    expression: open.flags == 3 || exec.retval == 0\n\
             \x20 - id: no_expression\n\
             \x20 - just text\n\
             \x20 - id: typo\n    expresion: open.flags == 3\n    every: soon\n",
        ),
        ("ignored.txt", "not a policy"),
        (".hidden.policy", "not a policy"),
    ]);
    let names: Vec<_> = report
        .policies
        .iter()
        .map(|policy| (policy.name.as_str(), policy.status))
        .collect();
    assert_eq!(
        names,
        [
            ("default.policy", Status::PartiallyLoaded),
            ("a.policy", Status::Error),
            ("b.policy", Status::Loaded)
        ]
    );
    assert_eq!(report.policies[0].version, "1.20");
    assert_eq!(
        rules
            .rules()
            .iter()
            .map(|rule| rule.id.as_str())
            .collect::<Vec<_>>(),
        ["good", "b"]
    );
    assert_eq!(rules.rules()[0].event_tags(), ["k:v", "n:1.0"]);
    assert_eq!(
        matching(
            &rules,
            "open",
            &Event::default().with("open.file.name", "b")
        ),
        ["good", "b"]
    );
    let found = errors(&report);
    let expected = [
        "default.policy:6:17: macro `BAD` definition error: field `open.file.nam` not found",
        "default.policy:15:9: rule `bad_field` error: field `open.file.pth` not found",
        "default.policy:17:29: rule `bad_syntax` error: syntax error: unexpected `=`, expected an operator or the end of the expression",
        "default.policy:18:9: rule ID pattern error: `bad id` has other characters than letters, digits and `_`",
        "default.policy:20:5: no rule ID",
        "default.policy:22:17: rule `uses_bad` error: field `BAD` not found",
        "default.policy:24:17: rule `no_event` error: no event in the rule definition",
        "default.policy:26:36: rule `two_events` error: rule with multiple events is not supported: `open` and `exec`",
        "default.policy:27:5: no rule expression",
        "default.policy:28:5: expected a rule: a mapping with `id` and `expression`, found text",
        "default.policy:30:5: unknown key `expresion`",
        "default.policy:31:12: expected a duration such as 10s or 1m30s, or nanoseconds, found text",
    ];
    assert_eq!(found[..expected.len()], expected);
    assert_eq!(found.len(), expected.len() + 1);
    assert!(
        found[expected.len()].starts_with("a.policy:")
            && found[expected.len()].contains("invalid YAML")
    );
    let text = report.to_string();
    assert!(text.contains("did you mean `open.file.path`?"), "{text}");
    assert!(
        text.contains("15 |         open.file.pth == \"/x\"\n     |         ^^^^^^^^^^^^^\n"),
        "{text}"
    );
    assert!(text.contains("comparison is written `==`"), "{text}");
    assert!(
        serde_json::to_string(&report)
            .unwrap()
            .contains("\"partially_loaded\"")
    );
}

#[test]
fn a_missing_directory_is_one_error() {
    let options = LoadOptions {
        policies_dir: Some("/nonexistent/policies".into()),
        ..LoadOptions::default()
    };
    let (rules, report) = RuleSet::load(&World, &options);
    assert!(rules.rules().is_empty() && report.has_errors());
    assert!(
        errors(&report)[0].starts_with("/nonexistent/policies: cannot read the policy directory")
    );
}

#[test]
fn files_and_directories_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, id: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = format!("rules:\n  - id: {id}\n    expression: open.file.path == \"/x\"\n");
        std::fs::write(&path, text).unwrap();
        path
    };
    let options = LoadOptions {
        paths: vec![
            write("named.yaml", "named"),
            write("more/default.policy", "default").with_file_name(""),
            dir.path().join("missing.policy"),
        ],
        ..LoadOptions::default()
    };
    let (rules, report) = RuleSet::load(&World, &options);
    let ids: Vec<_> = rules.rules().iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(ids, ["default", "named"]);
    let errors = errors(&report);
    assert!(
        errors.len() == 1 && errors[0].contains("missing.policy: cannot read"),
        "{errors:?}"
    );
}

#[test]
fn a_file_that_is_no_policy_any_more_keeps_its_rules() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.policy");
    let rule =
        |id: &str| format!("rules:\n  - id: {id}\n    expression: open.file.path == \"/x\"\n");
    let load = |earlier: &RuleSet| {
        let options = LoadOptions {
            policies_dir: Some(dir.path().to_owned()),
            earlier: earlier.texts().clone(),
            ..LoadOptions::default()
        };
        RuleSet::load(&World, &options)
    };
    let ids = |rules: &RuleSet| -> Vec<String> {
        rules.rules().iter().map(|rule| rule.id.clone()).collect()
    };
    std::fs::write(&path, rule("one")).unwrap();
    let (mut rules, _) = load(&RuleSet::default());
    // However often it is read again.
    for broken in ["rules: [\n", "rules: [\n", "just text\n", "\u{0}\u{1}"] {
        std::fs::write(&path, broken).unwrap();
        let (new, report) = load(&rules);
        assert_eq!(ids(&new), ["one"], "{broken:?}");
        let errors = errors(&report);
        assert!(
            errors.len() == 1 && errors[0].contains("stay in force"),
            "{errors:?}"
        );
        assert_eq!(report.policies[0].status, Status::PartiallyLoaded);
        rules = new;
    }
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert_eq!(ids(&load(&rules).0), ["one"], "no text");
    // One bad rule is no broken file: the others are what is meant now.
    std::fs::write(&path, rule("two") + "  - id: bad\n    expression: x ==\n").unwrap();
    rules = load(&rules).0;
    assert_eq!(ids(&rules), ["two"]);
    // An empty policy, and one that is gone, are meant so.
    std::fs::write(&path, "rules: []\n").unwrap();
    assert!(ids(&load(&rules).0).is_empty());
    std::fs::remove_file(&path).unwrap();
    assert!(ids(&load(&rules).0).is_empty());
}

#[test]
fn odd_files() {
    let (_, report) = load(&[
        ("empty.policy", ""),
        ("list.policy", "- a\n"),
        ("text.policy", "hello"),
        ("only.policy", "version: 1\n"),
    ]);
    assert_eq!(
        errors(&report),
        [
            "empty.policy: policy is empty",
            "list.policy:1:1: a policy is a mapping with `rules` and `macros`, not a list",
            "only.policy: policy is empty",
            "text.policy:1:1: a policy is a mapping with `rules` and `macros`, not text",
        ]
    );
}

#[test]
fn filters_versions_and_disabled() {
    let (rules, report) = load(&[(
        "a.policy",
        r#"
rules:
  - {id: linux, expression: open.flags == 1, filters: [os == "windows", os == "linux"]}
  - {id: windows, expression: this is no expression, filters: [os == "windows"]}
  - {id: same, expression: open.flags == 1, agent_version: "< 7.0"}
  - {id: same, expression: open.flags == 2, agent_version: ">= 7.0"}
  - {id: off, expression: open.flags == 1, disabled: true}
  - {id: bad, expression: open.flags == 1, filters: ["os == 3"]}
"#,
    )]);
    let states: Vec<_> = report.policies[0]
        .rules
        .iter()
        .map(|rule| (rule.status, rule.filter_type))
        .collect();
    assert_eq!(
        states,
        [
            (Status::Loaded, None),
            (Status::Filtered, Some(FilterType::Filters)),
            (Status::Filtered, Some(FilterType::AgentVersion)),
            (Status::Loaded, None),
            (Status::Filtered, Some(FilterType::Disabled)),
            (Status::Error, None),
        ]
    );
    assert_eq!(rules.rule("same").unwrap().expression, "open.flags == 2");
    assert_eq!(
        errors(&report),
        ["a.policy:8:61: filter: type error: expected a string, found an integer"]
    );
}

#[test]
fn merging() {
    let default = "
type: policy
macros:
  - {id: LIST, values: [a]}
  - {id: EXPR, expression: '[\"a\"]'}
rules:
  - {id: one, expression: open.file.name in LIST, tags: {a: '1'}, every: 1s}
  - {id: two, expression: open.flags == 1}
  - {id: three, expression: open.flags == 3, disabled: true}
";
    let custom = "
macros:
  - {id: LIST, values: [b], combine: merge}
  - {id: EXPR, values: [b], combine: merge}
rules:
  - {id: one, combine: override, override_options: {fields: [tags, every]}, tags: {b: '2'}, every: 10s}
  - {id: two, disabled: true, expression: open.flags == 1}
  - {id: three, expression: open.flags == 3, disabled: false}
  - {id: four, combine: override}
  - {id: five, expression: open.flags == 5}
  - {id: five, expression: open.flags == 6}
";
    let (rules, report) = load(&[("default.policy", default), ("custom.policy", custom)]);
    assert_eq!(
        errors(&report),
        [
            "custom.policy:4:38: cannot merge expression",
            "custom.policy:9:10: no rule expression: no earlier policy has a rule `four` to override",
        ]
    );
    let lints: Vec<_> = report.lints.iter().map(ToString::to_string).collect();
    assert!(
        lints.iter().any(|lint| lint.ends_with(
            "custom.policy:11:10: rule `five` is defined in custom.policy before, differently: this definition is ignored [ignored-definition]"
        )),
        "{lints:?}"
    );
    let one = rules.rule("one").unwrap();
    assert_eq!(one.event_tags(), ["a:1", "b:2"]);
    assert_eq!(one.every, Some(Duration::from_secs(10)));
    assert_eq!(one.modified_by[0].name, "custom.policy");
    assert_eq!(
        matching(
            &rules,
            "open",
            &Event::default().with("open.file.name", "b")
        ),
        ["one"]
    );
    assert!(rules.rule("two").is_none());
    assert_eq!(rules.rule("five").unwrap().expression, "open.flags == 5");
    assert_eq!(
        matching(&rules, "open", &Event::default().int("open.flags", 3)),
        ["three"]
    );
    let two = &report.policies[0].rules[1];
    assert_eq!(
        (two.status, two.filter_type),
        (Status::Filtered, Some(FilterType::Disabled))
    );
    assert_eq!(two.modified_by, ["custom.policy"]);
}

#[test]
fn internal_policies_cannot_be_taken_over() {
    let internal = InternalPolicy {
        name: "self-test-policy".to_owned(),
        source: "self-test".to_owned(),
        content: "version: 1.0.0\nrules:\n  - {id: self_test_open, expression: 'open.file.path == \"/tmp/x\"', silent: true}\n".to_owned(),
    };
    let options = LoadOptions {
        internal: vec![internal],
        ..LoadOptions::default()
    };
    let user = "rules:\n  - {id: self_test_open, expression: open.flags == 1, disabled: true}\n  - {id: mine, expression: open.flags == 1}\n";
    let (rules, report) = load_with(&[("user.policy", user)], options);
    assert_eq!(
        errors(&report),
        ["user.policy:2:10: internal rule ID conflict: `self_test_open`"]
    );
    let rule = rules.rule("self_test_open").unwrap();
    assert!(rule.silent && rule.policy.internal && rule.policy.source == "self-test");
    assert_eq!(rules.rules()[0].id, "mine");
}

#[test]
fn order_of_evaluation() {
    let custom = "
rules:
  - {id: plain, expression: open.flags == 1}
  - {id: urgent, expression: open.flags == 1, priority: 5}
  - {id: context, expression: open.flags == 1, tags: {execution_context: 'True'}}
";
    let default = "rules:\n  - {id: from_default, expression: open.flags == 1}\n";
    let (rules, _) = load(&[("custom.policy", custom), ("default.policy", default)]);
    let event = Event::default().int("open.flags", 1);
    assert_eq!(
        matching(&rules, "open", &event),
        ["context", "from_default", "urgent", "plain"]
    );
    assert_eq!(rules.event_types().collect::<Vec<_>>(), ["open"]);
    assert_eq!(rules.fields(Some("open"))[0].name, "open.flags");
}

#[test]
fn actions_are_compiled_and_reported() {
    let text = "
rules:
  - id: a
    expression: open.flags == 1 && ${process.seen} == false && ${count} == 0 && process.comm not in ${names}
    actions:
      - set: {name: seen, value: true, scope: process, inherited: true}
      - set: {name: count, expression: '${count} + 1', default_value: 0}
      - set: {name: names, field: process.comm, append: true, ttl: 5000000000}
      - filter: open.flags == 1
        kill: {signal: SIGKILL}
      - {kill: {signal: SIGKILL}, log: {level: info}}
      - {}
      - hash: {fields: open.file}
      - set: {value: 1}
  - id: b
    expression: open.flags == 1 && ${missing} == 0
";
    let (rules, report) = load(&[("a.policy", text)]);
    assert_eq!(
        errors(&report),
        [
            "a.policy:11:35: only one action can be specified",
            "a.policy:12:9: either [set, kill, hash, coredump, log, network_filter] section of an action must be specified",
            "a.policy:13:16: unknown key `fields`",
            "a.policy:14:9: skipping invalid action in rule a: variable name is empty",
            "a.policy:16:36: rule `b` error: variable `missing` doesn't exist",
        ]
    );
    let rule = rules.rule("a").unwrap();
    let kinds: Vec<_> = rule.actions.iter().map(|action| action.kind).collect();
    assert_eq!(
        kinds,
        [
            ActionKind::Set,
            ActionKind::Set,
            ActionKind::Set,
            ActionKind::Kill,
            ActionKind::Hash
        ]
    );
    assert!(rule.actions[3].filter.is_some() && rule.actions[0].filter.is_none());
    assert!(matches!(&rule.actions[3].body, ActionBody::Kill(kill) if kill.signal == 9));
    assert_eq!(report.policies[0].rules[0].not_executed, ["kill"]);
    let variables: Vec<_> = rules
        .variables()
        .iter()
        .map(|def| (def.name.as_str(), def.scope, def.ty, def.list, def.ttl))
        .collect();
    assert_eq!(
        variables,
        [
            (
                "process.seen",
                VariableScopeKind::Process,
                Type::Bool,
                false,
                None
            ),
            ("count", VariableScopeKind::Global, Type::Int, false, None),
            (
                "names",
                VariableScopeKind::Global,
                Type::String,
                true,
                Some(Duration::from_secs(5))
            ),
        ]
    );
    assert_eq!(
        matching(&rules, "open", &Event::default().int("open.flags", 1)),
        ["a"]
    );
}

#[test]
fn file_integrity_rules_are_expanded() {
    let text = "rules:\n  - {id: fim, expression: 'fim.write.file.path == \"/etc/passwd\" && process.uid != 0'}\n";
    let (rules, report) = load(&[("a.policy", text)]);
    assert_eq!(errors(&report), Vec::<String>::new());
    assert_eq!(rules.rules().len(), 8);
    assert!(rules.rules().iter().all(|rule| rule.rule_id() == "fim"));
    let event = Event::default()
        .with("rename.file.destination.path", "/etc/passwd")
        .int("process.uid", 1);
    assert_eq!(
        matching(&rules, "rename", &event),
        ["__fim_expanded_rename_destination__fim"]
    );
    let read = Event::default()
        .with("open.file.path", "/etc/passwd")
        .int("process.uid", 1);
    assert!(matching(&rules, "open", &read).is_empty());
    assert_eq!(
        matching(&rules, "open", &read.int("open.flags", 1)).len(),
        1
    );
    let approvers = rules.approvers("open");
    assert!(!approvers.all);
    assert_eq!(
        approvers.paths,
        [("/etc/passwd".to_owned(), 1 | 2 | 64 | 512 | 1024)]
    );
}

#[test]
fn approvers_are_the_union() {
    let text = r#"
rules:
  - {id: a, expression: 'open.file.path == "/etc/shadow"'}
  - {id: b, expression: 'open.file.name in ["x", "y"] && open.flags & O_CREAT != 0'}
  - {id: c, expression: 'open.file.path =~ "/srv/**"'}
  - {id: d, expression: 'open.flags & (O_TRUNC|O_APPEND) > 0 && process.uid == 0'}
  - {id: e, expression: 'unlink.file.name == "x"'}
  - {id: f, expression: 'unlink.file.path != "/x"'}
"#;
    let (rules, _) = load(&[("a.policy", text)]);
    let open = rules.approvers("open");
    assert!(!open.all);
    assert_eq!(open.paths, [("/etc/shadow".to_owned(), 0)]);
    assert_eq!(open.basenames, [("x".to_owned(), 64), ("y".to_owned(), 64)]);
    assert_eq!(open.directories, [("/srv".to_owned(), true, 0)]);
    assert_eq!(open.flags, 512 | 1024);
    assert!(
        open.accepts(&["/srv/a/b"], 0) && open.accepts(&["/a/x"], 64) && open.accepts(&["/z"], 512)
    );
    assert!(
        !open.accepts(&["/srv"], 0)
            && !open.accepts(&["/srvx/a"], 0)
            && !open.accepts(&["/a/x"], 1)
    );
    let unlink = rules.approvers("unlink");
    assert!(unlink.all);
    assert_eq!(unlink.all_because, ["f"]);
    // No rule, nothing to accept.
    assert_eq!(
        rules.approvers("chmod"),
        atalaya_policy::Approvers::default()
    );
}

#[test]
fn rate_limits() {
    let text = r#"
rules:
  - {id: plain, expression: open.flags == 1}
  - {id: every, expression: open.flags == 1, every: 10s}
  - {id: token, expression: open.flags == 1, every: 10s, limiter_token: [open.file.path, process.uid]}
  - {id: bad_token, expression: open.flags == 1, limiter_token: [exec.file.path, nothing]}
"#;
    let (rules, report) = load(&[("a.policy", text)]);
    assert_eq!(
        errors(&report),
        [
            "a.policy:6:66: limiter_token: field 'exec.file.path' is not compatible with 'open' rules",
            "a.policy:6:82: limiter_token: field `nothing` not found",
        ]
    );
    let mut limiter = RateLimiter::new();
    let second = 1_000_000_000;
    let event = Event::default();
    let plain = rules.rule("plain").unwrap();
    let count = |limiter: &mut RateLimiter, now| {
        (0..100)
            .filter(|_| limiter.allow(plain, &event, now))
            .count()
    };
    assert_eq!(count(&mut limiter, 5 * second), 40);
    assert_eq!(count(&mut limiter, 6 * second), 10);
    assert_eq!(count(&mut limiter, 600 * second), 40);
    assert_eq!(limiter.dropped(plain), 210);
    // A clock that goes back does no harm.
    assert!(!limiter.allow(plain, &event, 0));
    let every = rules.rule("every").unwrap();
    let at: Vec<u64> = (0..25)
        .filter(|&at| limiter.allow(every, &event, at * second))
        .collect();
    assert_eq!(at, [0, 10, 20]);
    let token = rules.rule("token").unwrap();
    let of = |name: &'static str| Event::default().with("open.file.path", name);
    assert!(limiter.allow(token, &of("/a"), 0) && limiter.allow(token, &of("/b"), 0));
    assert!(
        !limiter.allow(token, &of("/a"), second)
            && limiter.allow(token, &of("/a").int("process.uid", 1), second)
    );
    // The least recently used value is forgotten, so it may send again.
    for number in 0..501 {
        let path: &'static str = Box::leak(format!("/n{number}").into_boxed_str());
        assert!(limiter.allow(token, &of(path), 2 * second));
    }
    assert!(limiter.allow(token, &of("/a"), 2 * second));
}

#[test]
fn hostile_yaml_is_refused() {
    let deep = format!("rules: {}{}\n", "[".repeat(100_000), "]".repeat(100_000));
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    let nul = "rules:\n  - {id: \"a\\0b\", expression: open.flags == 1}\n";
    let (_, report) = load(&[
        ("a_deep.policy", &deep),
        ("b_bomb.policy", &bomb),
        ("c_nul.policy", nul),
        ("d_binary.policy", "\u{1}\u{2}"),
    ]);
    let found = errors(&report);
    for name in ["a_deep", "b_bomb", "c_nul", "d_binary"] {
        assert!(
            found.iter().any(|error| error.starts_with(name)),
            "{name}: {found:?}"
        );
    }
    assert!(found.iter().all(|error| !error.contains('\0')));
}

#[test]
fn a_rule_set_is_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<RuleSet>();
    shared::<LoadReport>();
    shared::<RateLimiter>();
}
