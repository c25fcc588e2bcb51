//! Whatever a policy file holds: no panic, bounded time and memory, and the other files count.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use atalaya_policy::testing::TestFile;
use atalaya_policy::{LoadOptions, RuleSet, Status};
use proptest::prelude::*;

use common::{World, errors, load, load_one};

const GOOD: &str = "rules:\n  - {id: good, expression: open.flags == 1}\n";

/// Loads a hostile file beside a good one, which must survive. Returns the errors.
fn beside_good(hostile: &str) -> Vec<String> {
    let (rules, report) = load(&[("a.policy", hostile), ("z.policy", GOOD)]);
    assert!(rules.rule("good").is_some(), "{report}");
    errors(&report)
}

#[test]
fn the_end_of_a_line_is_no_part_of_it() {
    let text = "rules:\r\n  - id: r\r\n    expression: process.uid == 0\r\n";
    let (_, report) = load(&[("a.policy", text)]);
    let error = report.all_errors().next().unwrap().render();
    assert!(
        error.contains(
            "3 |     expression: process.uid == 0\n  |                 ^^^^^^^^^^^^^^^^\n"
        ),
        "{error:?}"
    );
}

#[test]
fn odd_texts() {
    // The text, and how its first error begins; none where there is none.
    for (text, wanted) in [
        ("", "a.policy: policy is empty"),
        ("# nothing\n", "a.policy: policy is empty"),
        ("---\n...\n", "a.policy: policy is empty"),
        ("rules:\n", "a.policy: policy is empty"),
        (
            "\u{feff}rules:\n  - {id: r, expression: open.flags == 1}\n",
            "",
        ),
        (
            "rules:\r\n  - id: r\r\n    expression: open.flags == 1\r\n",
            "",
        ),
        (
            "rules:\r\n  - id: r\r\n    expression: |-\r\n      open.flags == 1 &&\r\n      open.retval == 0\r\n",
            "",
        ),
        (
            "rules:\n\t- {id: r, expression: open.flags == 1}\n",
            "a.policy:2:",
        ),
        (
            "rules:\n  - {id: r, expression: open.flags == 1}\nrules: []\n",
            "a.policy:3:1: invalid YAML: duplicate mapping key",
        ),
        (
            "rules:\n  - {id: r, id: s, expression: open.flags == 1}\n",
            "a.policy:2:13: invalid YAML: duplicate mapping key",
        ),
        (
            "rules: one\n",
            "a.policy:1:8: `rules` must be a list, found text",
        ),
        (
            "rules: {id: r}\n",
            "a.policy:1:8: `rules` must be a list, found a mapping",
        ),
        ("- id: r\n", "a.policy:1:1: a policy is a mapping"),
        (
            "rules:\n  - {id: r, expression: open.flags == 1}\n---\nrules: []\n",
            "a.policy:",
        ),
        (
            "rules:\n  - {id: [a], expression: open.flags == 1}\n",
            "a.policy:2:10: expected text, found a list",
        ),
        ("rules:\n  - {id: 7, expression: open.flags == 1}\n", ""),
        (
            "rules:\n  - {id: r, expression: 5}\n",
            "a.policy:2:25: rule `r` error",
        ),
        (
            "rules:\n  - {id: r, expression: ''}\n",
            "a.policy:2:26: rule `r` error",
        ),
        (
            "rules:\n  - {id: r, expression: open.flags == 1, tags: [a]}\n",
            "a.policy:2:48: expected a mapping of tags, found a list",
        ),
        (
            "rules:\n  - {id: r, expression: open.flags == 1, every: -5s}\n",
            "a.policy:2:49: expected a duration",
        ),
        (
            "rules:\n  - {id: r, expression: open.flags == 1, every: 99999999999999999999h}\n",
            "a.policy:2:49: expected a duration",
        ),
        (
            "rules:\n  - {id: r, expression: open.flags == 1, priority: 99999999999999999999}\n",
            "a.policy:2:52: expected a number",
        ),
        (
            "rules:\n  - &r {id: r, expression: open.flags == 1}\n  - *r\n",
            "",
        ),
        (
            "x-base: &b {every: 5s}\nrules:\n  - {<<: *b, id: r, expression: open.flags == 1}\n",
            "",
        ),
        (
            "rules:\n  - {? [a, b] : c, id: r, expression: open.flags == 1}\n",
            "a.policy:",
        ),
        (
            "rules:\n  - {id: !!binary aGk=, expression: open.flags == 1}\n",
            "",
        ),
        (
            "rules: !odd\n  - {id: r, expression: open.flags == 1}\n",
            "",
        ),
        ("%YAML 9.9\n---\nrules: []\n", "a.policy:"),
    ] {
        let found = beside_good(text);
        match (found.first(), wanted) {
            (None, "") => {}
            (Some(first), wanted) if !wanted.is_empty() && first.starts_with(wanted) => {}
            _ => panic!("{text:?}\nwanted {wanted:?}\nfound {found:#?}"),
        }
    }
}

#[test]
fn one_error_for_one_mistake() {
    for text in [
        "rules:\n  - just text\n",
        "rules:\n  - [a]\n",
        "rules:\n  - {id: r, expresion: open.flags == 1}\n",
        "rules:\n  - {ID: r, expression: open.flags == 1}\n",
        "rules:\n  - {expression: open.flags == 1}\n",
        "rules:\n  - {id: r}\n",
        "rules:\n  - {id: r, expression: {a: b}}\n",
        "rules:\n  - {id: r, expression: open.flags == 1, combine: merge}\n",
        "macros:\n  - text\n",
        "macros:\n  - {id: M, vlaues: [a]}\n",
        "macros:\n  - {id: M}\n",
        "rulez:\n  - {id: r, expression: open.flags == 1}\n",
        "rules:\n  - {id: r, expression: open.flags == 1, actions: {hash: {}}}\n",
    ] {
        let (_, report) = load(&[("a.policy", text), ("default.policy", GOOD)]);
        let found = errors(&report);
        assert_eq!(found.len(), 1, "{text}\n{found:#?}");
    }
}

#[test]
fn odd_files() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::create_dir(path("dir.policy")).unwrap();
    std::fs::write(path("latin.policy"), b"rules: [caf\xe9]\n").unwrap();
    std::fs::write(path("null.policy"), b"rules:\0\n").unwrap();
    std::fs::write(path("outside.txt"), GOOD).unwrap();
    symlink(path("outside.txt"), path("link.policy")).unwrap();
    symlink(path("loop.policy"), path("loop.policy")).unwrap();
    symlink(path("gone"), path("dangling.policy")).unwrap();
    symlink("/dev/zero", path("zero.policy")).unwrap();
    std::fs::write(path("secret.policy"), GOOD).unwrap();
    std::fs::set_permissions(
        path("secret.policy"),
        std::fs::Permissions::from_mode(0o000),
    )
    .unwrap();
    let huge = std::fs::File::create(path("huge.policy")).unwrap();
    huge.set_len(17 << 20).unwrap();
    let options = LoadOptions {
        policies_dir: Some(dir.path().to_owned()),
        ..LoadOptions::default()
    };
    let (rules, report) = RuleSet::load(&World, &options);
    let prefix = format!("{}/", dir.path().display());
    let found: Vec<_> = errors(&report)
        .iter()
        .map(|error| error.replace(&prefix, ""))
        .collect();
    for wanted in [
        "dir.policy: not a regular file",
        "latin.policy: not UTF-8 from byte 11 on",
        "null.policy:",
        "loop.policy: cannot read: ",
        "dangling.policy: cannot read: ",
        "zero.policy: not a regular file",
        "huge.policy: larger than 16 MiB",
    ] {
        assert!(
            found.iter().any(|error| error.starts_with(wanted)),
            "{wanted}\n{found:#?}"
        );
    }
    assert!(rules.rule("good").is_some());
    let state = |name: &str| {
        report
            .policies
            .iter()
            .find(|policy| policy.name == name)
            .unwrap()
            .status
    };
    assert_eq!(state("link.policy"), Status::Loaded);
}

#[test]
fn deep_and_bombs_and_large() {
    let mut texts = vec![
        format!("rules: {}{}\n", "[".repeat(100_000), "]".repeat(100_000)),
        format!("rules: {}\n", "{a: ".repeat(50_000)),
        (0..5000)
            .map(|depth| format!("{}- \n", " ".repeat(depth)))
            .collect(),
        format!(
            "rules:\n  - {{id: r, expression: '{}1{}'}}\n",
            "(".repeat(100_000),
            ")".repeat(100_000)
        ),
        format!(
            "rules:\n  - {{id: r, expression: '{}open.flags == 1'}}\n",
            "!".repeat(100_000)
        ),
        format!(
            "rules:\n  - {{id: r, expression: 'open.file.name =~ \"{}\"'}}\n",
            "*a".repeat(100_000)
        ),
        format!(
            "rules:\n  - {{id: r, expression: 'open.file.name == r\"{}\"'}}\n",
            "(a*)*".repeat(1000)
        ),
        format!("rules:\n  - {{id: r, expression: 'open.file.name == r\"a{{1000}}{{1000}}\"'}}\n"),
        format!(
            "rules:\n  - {{id: {}, expression: open.flags == 1}}\n",
            "é".repeat(100_000)
        ),
    ];
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{items}]").unwrap();
    }
    texts.push(bomb);
    // Macros that use the one before twice.
    let mut macros = "macros:\n  - {id: M0, expression: open.flags == 1}\n".to_owned();
    for level in 1..40 {
        let last = level - 1;
        writeln!(
            macros,
            "  - {{id: M{level}, expression: M{last} && M{last}}}"
        )
        .unwrap();
    }
    texts.push(macros + "rules:\n  - {id: r, expression: M39}\n");
    for text in texts {
        let start = Instant::now();
        let shown: String = text.chars().take(60).collect();
        let found = beside_good(&text);
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{shown}: {:?}",
            start.elapsed()
        );
        // What is said of it stays short.
        assert!(
            found.iter().all(|error| error.len() < 2000),
            "{shown}: {} bytes",
            found[0].len()
        );
    }
}

#[test]
fn ten_megabytes() {
    let mut rules = "rules:\n".to_owned();
    let mut number = 0;
    while rules.len() < 10 << 20 {
        number += 1;
        writeln!(
            rules,
            "  - id: r{number}\n    expression: open.file.path == \"/srv/{number}\" && process.uid in [1, 2, 3]\n    description: {}\n    tags: {{a: b}}\n    actions: [{{set: {{name: v{}, value: 1}}}}]",
            "x".repeat(1000),
            number % 100
        )
        .unwrap();
    }
    let start = Instant::now();
    let (set, report) = load_one(&rules);
    println!("{number} rules in {:?}", start.elapsed());
    assert_eq!(errors(&report), Vec::<String>::new());
    assert_eq!(set.rules().len(), number);
    // One list and one text of that size.
    let values: Vec<String> = (0..600_000)
        .map(|number| format!("/srv/{number}"))
        .collect();
    let list = format!(
        "macros:\n  - {{id: M, values: [{}]}}\nrules:\n  - {{id: r, expression: open.file.path in M}}\n",
        values.join(", ")
    );
    let long = format!(
        "rules:\n  - {{id: r, expression: 'open.file.path == \"{}\"'}}\n",
        "x".repeat(9 << 20)
    );
    let wrong = format!(
        "rules:\n{}",
        "  - {id: r, expression: open.flagz == 1}\n".repeat(30_000)
    );
    for text in [list, long, wrong] {
        let start = Instant::now();
        let found = beside_good(&text);
        println!(
            "{} bytes in {:?}, {} errors",
            text.len(),
            start.elapsed(),
            found.len()
        );
        assert!(start.elapsed() < Duration::from_secs(60));
    }
}

#[test]
fn many_bad_definitions_are_not_all_told() {
    let text = "rules:\n".to_owned() + &"- {}\n".repeat(400_000);
    let start = Instant::now();
    let found = beside_good(&text);
    assert_eq!(found.len(), 2 * 1000 + 1);
    assert!(
        found[0].starts_with("a.policy:1002:3: more than 1000 `rules` with errors"),
        "{}",
        found[0]
    );
    assert!(start.elapsed() < Duration::from_secs(60));
    // Nor are many errors of one rule.
    let keys: Vec<String> = (0..20_000).map(|number| format!("k{number}: 1")).collect();
    let text = format!(
        "rules:\n  - {{id: r, expression: open.flags == 1, {}}}\n",
        keys.join(", ")
    );
    assert_eq!(beside_good(&text).len(), 100);
    let token = vec!["nothing"; 20_000].join(", ");
    let text =
        format!("rules:\n  - {{id: r, expression: open.flags == 1, limiter_token: [{token}]}}\n");
    assert_eq!(beside_good(&text).len(), 100);
    let actions = vec!["{set: {value: 1}}, {}, {hash: {field: x}}"; 2_000].join(", ");
    let text =
        format!("rules:\n  - {{id: r, expression: open.flags == 1, actions: [{actions}]}}\n");
    assert_eq!(beside_good(&text).len(), 100);
    // More values than a policy can have.
    let text = "rules:\n".to_owned() + &"- {}\n".repeat(3_000_000);
    let found = beside_good(&text);
    assert!(
        found.len() == 1 && found[0].contains("invalid YAML"),
        "{found:?}"
    );
}

/// Texts that look like policies in part.
fn yaml() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("x".to_owned()),
        Just("-1".to_owned()),
        Just("true".to_owned()),
        Just("~".to_owned()),
        Just("10s".to_owned()),
        Just("open.flags == 1".to_owned()),
        Just("'open.file.path in M && ${process.v}'".to_owned()),
        Just("fim.write.file.name == \"a\"".to_owned()),
        Just("'${v} + 1'".to_owned()),
        Just("override".to_owned()),
        Just("merge".to_owned()),
        Just("process.argv".to_owned()),
        Just("open.file.hashes[0]".to_owned()),
        Just("os == \"linux\"".to_owned()),
        Just("SIGKILL".to_owned()),
        Just(">= 7, < 8".to_owned()),
        "[ -~é]{0,12}".prop_map(|text| format!("{text:?}")),
        "[ -~]{0,8}",
        any::<i64>().prop_map(|number| number.to_string()),
    ];
    let key = prop_oneof![
        Just("id"),
        Just("expression"),
        Just("values"),
        Just("filters"),
        Just("agent_version"),
        Just("combine"),
        Just("override_options"),
        Just("fields"),
        Just("actions"),
        Just("set"),
        Just("name"),
        Just("value"),
        Just("field"),
        Just("default_value"),
        Just("append"),
        Just("scope"),
        Just("scope_field"),
        Just("ttl"),
        Just("size"),
        Just("kill"),
        Just("signal"),
        Just("hash"),
        Just("log"),
        Just("level"),
        Just("network_filter"),
        Just("filter"),
        Just("every"),
        Just("limiter_token"),
        Just("silent"),
        Just("disabled"),
        Just("tags"),
        Just("priority"),
        Just("group_id"),
        Just("rules"),
        Just("macros"),
        Just("version"),
        Just("type"),
        Just("replace_policy_id"),
        Just("tests"),
        Just("events"),
        Just("expect"),
    ];
    let node = scalar.prop_recursive(4, 24, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|entries| {
                let entries = entries.iter().map(|(key, value)| format!("{key}: {value}"));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
            }),
        ]
    });
    let list = prop::collection::vec(node.clone(), 0..6);
    (list.clone(), list, node).prop_map(|(macros, rules, other)| {
        let lines = |items: &[String]| -> String {
            items.iter().map(|item| format!("  - {item}\n")).collect()
        };
        format!(
            "version: 1\nmacros:\n{}  - {{id: M, values: [a]}}\nrules:\n{}{}\n",
            lines(&macros),
            lines(&rules),
            if other.starts_with('{') {
                format!("x-y: {other}")
            } else {
                String::new()
            }
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_policy_is_loaded_or_refused(text in yaml(), more in yaml()) {
        let (rules, report) = load(&[("a.policy", &text), ("default.policy", &more), ("z.policy", GOOD)]);
        prop_assert!(rules.rule("good").is_some());
        for error in report.all_errors() {
            prop_assert!(error.line <= text.lines().count().max(more.lines().count()) + 1);
            let _ = error.render();
        }
        for rule in rules.rules() {
            prop_assert_eq!(rules.rules()[rule.index()].id.as_str(), rule.id.as_str());
        }
        prop_assert!(serde_json::to_string(&report).is_ok());
        let _ = TestFile::parse("t.yaml", &text);
    }

    #[test]
    fn any_bytes_are_loaded_or_refused(text in "\\PC{0,200}|[-a-z:{}\\[\\]&*!|>'\"%@`#, \n\t]{0,200}") {
        beside_good(&text);
        let _ = TestFile::parse("t.yaml", &text);
    }
}
