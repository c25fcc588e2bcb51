//! How definitions of one id from several policies become one, and the order in which policies count.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::time::Duration;

use atalaya_policy::{
    FilterType, InternalPolicy, LoadOptions, LoadReport, RuleSet, RuleSetDiff, Status,
};

use common::{Event, errors, load, load_one, load_with, matching};

fn policy(name: &str, content: &str) -> InternalPolicy {
    InternalPolicy {
        name: name.to_owned(),
        source: "remote".to_owned(),
        content: content.to_owned(),
    }
}

fn rule(id: &str, expression: &str) -> String {
    format!("rules:\n  - {{id: {id}, expression: '{expression}'}}\n")
}

/// The remarks that are about merging.
fn merge_lints(report: &LoadReport) -> Vec<String> {
    let mut found = common::lints(report);
    found.retain(|lint| lint.contains("[ignored-definition]") || lint.contains("[not-disabled]"));
    found
}

fn policy_states(report: &LoadReport) -> Vec<(&str, Status)> {
    let policies = report.policies.iter();
    policies
        .map(|policy| (policy.name.as_str(), policy.status))
        .collect()
}

const BASE: &str = "
rules:
  - id: base
    expression: open.flags == 1
    description: old
    version: '1'
    every: 5s
    priority: 3
    tags: {a: '1', b: '1'}
    product_tags: [p]
    actions:
      - log: {level: info}
      - log: {level: error}
";

fn merged(overriding: &str) -> (RuleSet, LoadReport) {
    load(&[("default.policy", BASE), ("z.policy", overriding)])
}

#[test]
fn override_takes_the_listed_fields_and_no_others() {
    let later = |fields: &str| {
        format!(
            "rules:
  - id: base
    combine: override
    override_options: {{fields: [{fields}]}}
    expression: open.flags == 2
    description: new
    every: 9s
    priority: 7
    silent: true
    limiter_token: [process.uid]
    tags: {{b: '2', c: '2'}}
    product_tags: [q, r]
    actions:
      - log: {{level: info}}
      - log: {{level: debug}}
"
        )
    };
    // fields → every, tags, how many actions, priority and silent.
    for (fields, every, tags, actions, priority) in [
        ("", 5, "a:1 b:1 p", 2, 3),
        ("every", 9, "a:1 b:1 p", 2, 3),
        ("tags", 5, "a:1 b:2 c:2 p", 2, 3),
        ("product_tags", 5, "a:1 b:1 q r", 2, 3),
        ("actions", 5, "a:1 b:1 p", 3, 3),
        ("every, tags, actions", 9, "a:1 b:2 c:2 p", 3, 3),
        ("all", 9, "b:2 c:2 q r", 3, 7),
    ] {
        let (rules, report) = merged(&later(fields));
        assert_eq!(errors(&report), Vec::<String>::new(), "{fields}");
        let rule = rules.rule("base").unwrap();
        assert_eq!(rule.expression, "open.flags == 1", "{fields}");
        assert_eq!(rule.every, Some(Duration::from_secs(every)), "{fields}");
        assert_eq!(rule.event_tags().join(" "), tags, "{fields}");
        assert_eq!(rule.actions.len(), actions, "{fields}");
        assert_eq!(rule.priority, priority, "{fields}");
        assert_eq!(rule.silent, fields == "all");
        assert_eq!(rule.modified_by[0].name, "z.policy");
        assert_eq!(report.counts().loaded, 1);
        let later = &report.policies[1].rules[0];
        assert_eq!(later.merged_into.as_deref(), Some("default.policy"));
    }
}

#[test]
fn errors_of_merging() {
    let with = |rest: &str| format!("rules:\n  - {{id: base, {rest}}}\n");
    for (later, wanted) in [
        (
            with("combine: override, override_options: {fields: [expression]}"),
            "z.policy:2:63: the expression of a rule cannot be overridden",
        ),
        (
            with("combine: override, override_options: {fields: [every, name]}"),
            "z.policy:2:70: unknown field `name` in override_options",
        ),
        (
            with("disabled: true, combine: override, override_options: {fields: [name]}"),
            "z.policy:2:79: unknown field `name` in override_options",
        ),
        (
            with("combine: override, override_options: {field: [every]}"),
            "z.policy:2:54: unknown key `field`",
        ),
        (
            with("combine: merge, expression: open.flags == 1"),
            "z.policy:2:25: `combine` of a rule can only be `override`, not `merge`",
        ),
        (
            rule("none", "").replace("expression: ''", "combine: override"),
            "z.policy:2:10: no rule expression: no earlier policy has a rule `none` to override",
        ),
        (with("every: 1s"), "z.policy:2:5: no rule expression"),
    ] {
        let (rules, report) = merged(&later);
        let found = errors(&report);
        assert_eq!(found.len(), 1, "{later}: {found:?}");
        assert!(found[0].starts_with(wanted), "{found:?}");
        // What is wrong in part changes nothing.
        let rule = rules.rule("base").unwrap();
        assert_eq!(rule.every, Some(Duration::from_secs(5)));
    }
    // `all` is for rules of default policies.
    let (_, report) = load(&[
        ("a.policy", BASE),
        (
            "z.policy",
            &with("combine: override, override_options: {fields: [all]}"),
        ),
    ]);
    assert_eq!(
        errors(&report),
        ["z.policy:2:63: `all` can only override a rule of a default policy"]
    );
}

#[test]
fn an_override_of_no_fields_is_told() {
    let with = |rest: &str| {
        let later = format!("rules:\n  - {{id: base, combine: override, {rest}}}\n");
        let (rules, report) = merged(&later);
        assert_eq!(errors(&report), Vec::<String>::new());
        (
            rules.rule("base").map(|rule| rule.every),
            merge_lints(&report),
        )
    };
    let five = Some(Some(Duration::from_secs(5)));
    assert_eq!(
        with("every: 1s"),
        (
            five,
            vec![
                "z.policy:2:10: rule `base` of default.policy is not changed by this: no fields to override are named [ignored-definition]"
                    .to_owned()
            ]
        )
    );
    assert_eq!(with("disabled: true"), (None, Vec::new()));
    let every = with("every: 1s, override_options: {fields: [every]}");
    assert_eq!(every, (Some(Some(Duration::from_secs(1))), Vec::new()));
}

#[test]
fn disabling() {
    let off = "rules:\n  - {id: base, disabled: true}\n";
    let on = "rules:\n  - {id: base, disabled: false, expression: open.flags == 1}\n";
    let loaded = |files: &[(&str, &str)]| {
        let (rules, report) = load(files);
        assert_eq!(errors(&report), Vec::<String>::new());
        (rules.rule("base").is_some(), merge_lints(&report))
    };
    // A custom policy disables a rule of the default policy.
    let (is_on, lints) = loaded(&[("default.policy", BASE), ("b.policy", off)]);
    assert!(!is_on && lints.is_empty());
    // Not one of another custom policy.
    let (is_on, lints) = loaded(&[("a.policy", BASE), ("b.policy", off)]);
    assert!(is_on);
    assert_eq!(
        lints,
        ["b.policy:2:10: rule `base` of a.policy is not disabled by this [not-disabled]"]
    );
    // A disabled rule takes the later value, and the later expression if it has none.
    let (is_on, _) = loaded(&[("a.policy", off), ("b.policy", on)]);
    assert!(is_on);
    let (is_on, _) = loaded(&[("default.policy", off), ("b.policy", on), ("c.policy", off)]);
    assert!(!is_on);
    let (_, report) = load(&[("a.policy", off)]);
    let state = &report.policies[0].rules[0];
    assert_eq!(
        (
            state.status,
            state.filter_type,
            state.filter_reason.as_deref()
        ),
        (
            Status::Filtered,
            Some(FilterType::Disabled),
            Some("it is disabled")
        )
    );
    // An error in an expression that came from a later file is in that file.
    let broken = on.replace("== 1", "=");
    let (_, report) = load(&[("a.policy", off), ("b.policy", &broken)]);
    assert!(
        errors(&report)[0].starts_with("b.policy:2:56: rule `base` error: syntax error"),
        "{report}"
    );
}

#[test]
fn places_are_in_the_file_that_says_it() {
    let later = "
rules:
  - id: base
    combine: override
    override_options: {fields: [all]}
    limiter_token: [nothing]
    actions:
      - hash: {field: exec.file}
";
    let (_, report) = merged(later);
    assert_eq!(
        errors(&report),
        [
            "z.policy:6:21: limiter_token: field `nothing` not found",
            "z.policy:8:23: skipping invalid action in rule base: field 'exec.file' is not compatible with 'open' rules",
        ]
    );
}

#[test]
fn the_first_definition_holds() {
    let same = rule("x", "open.flags == 1");
    let other = rule("x", "open.flags == 2");
    let (rules, report) = load(&[
        ("a.policy", &same),
        ("b.policy", &same),
        ("c.policy", &other),
    ]);
    assert_eq!(errors(&report), Vec::<String>::new());
    assert_eq!(rules.rule("x").unwrap().expression, "open.flags == 1");
    assert_eq!(
        merge_lints(&report),
        [
            "c.policy:2:10: rule `x` is defined in a.policy before, differently: this definition is ignored [ignored-definition]"
        ]
    );
    assert_eq!(
        report.policies[0].rules[0].modified_by,
        ["b.policy", "c.policy"]
    );
    assert_eq!(report.counts().loaded, 1);
}

#[test]
fn macros_merge() {
    let first = "macros:\n  - {id: M, values: [a, b]}\n  - {id: E, expression: '[\"a\"]'}\n";
    let with = |later: &str| {
        let rules = "rules:\n  - {id: m, expression: open.file.name in M}\n  - {id: e, expression: open.file.name in E}\n";
        let (rules, report) = load(&[
            ("a.policy", first),
            ("b.policy", &format!("macros:\n  - {{{later}}}\n{rules}")),
        ]);
        let hits = ["a", "b", "c"].map(|name| {
            let event = Event::default().with("open.file.name", name);
            matching(&rules, "open", &event).join("")
        });
        (hits.join(" "), errors(&report), merge_lints(&report))
    };
    for (later, hits) in [
        ("id: M, values: [c], combine: merge", "me m m"),
        ("id: M, values: [c], combine: override", "e  m"),
        ("id: E, values: [c], combine: override", "m m e"),
        ("id: E, expression: '[~\"b*\"]', combine: override", "m me "),
        ("id: M, values: [a, b]", "me m "),
    ] {
        let (found, errors, lints) = with(later);
        assert_eq!(
            (found.as_str(), errors.len(), lints.len()),
            (hits, 0, 0),
            "{later} {errors:?} {lints:?}"
        );
    }
    for (later, wanted) in [
        (
            "id: E, values: [c], combine: merge",
            "b.policy:2:35: cannot merge expression",
        ),
        (
            "id: M, expression: '[\"c\"]', combine: merge",
            "b.policy:2:43: cannot merge expression",
        ),
        (
            "id: M, values: [c], combine: add",
            "b.policy:2:35: `combine` can be `merge` or `override`, not `add`",
        ),
        (
            "id: M, values: [c], expression: '[\"c\"]'",
            "b.policy:2:5: only one of 'expression' and 'values' can be defined",
        ),
        ("id: N", "b.policy:2:5: no macro expression"),
        (
            "id: 'N-1', values: [x]",
            "b.policy:2:10: macro ID pattern error",
        ),
        (
            "id: N, expression: fim.write.file.path == \"x\"",
            "b.policy:2:25: macro expression cannot contain 'fim.write.file.' event types",
        ),
        (
            "id: N, expression: open.flags == LATER",
            "b.policy:2:39: macro `N` definition error: field `LATER` not found",
        ),
    ] {
        let (found, errors, _) = with(later);
        assert_eq!(found, "me m ", "{later}");
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with(wanted), "{errors:?}");
    }
    // Without `combine` the first holds; that another one is ignored is told.
    let (found, errors, lints) = with("id: M, values: [c]");
    assert_eq!((found.as_str(), errors.len()), ("me m ", 0));
    assert!(lints[0].ends_with("[ignored-definition]"), "{lints:?}");
}

#[test]
fn pushed_policies_come_first() {
    let remote_default = "type: policy\n".to_owned() + &rule("d", "open.flags == 1");
    let options = LoadOptions {
        remote: vec![
            policy("pushed", &rule("p", "open.flags == 2")),
            policy("pushed-default", &remote_default),
        ],
        internal: vec![policy("self-test", &rule("s", "open.flags == 9"))],
        ..LoadOptions::default()
    };
    let (rules, report) = load_with(
        &[
            ("default.policy", &rule("local_default", "open.flags == 3")),
            ("a.policy", &rule("a", "open.flags == 4")),
            ("b.policy", &rule("p", "open.flags == 5")),
        ],
        options,
    );
    assert_eq!(errors(&report), Vec::<String>::new());
    let ids: Vec<_> = rules.rules().iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(ids, ["d", "p", "a", "s"]);
    assert_eq!(rules.rule("p").unwrap().expression, "open.flags == 2");
    assert_eq!(
        policy_states(&report),
        [
            ("pushed", Status::Loaded),
            ("pushed-default", Status::Loaded),
            ("default.policy", Status::Filtered),
            ("a.policy", Status::Loaded),
            ("b.policy", Status::Loaded),
            ("self-test", Status::Loaded),
        ]
    );
}

#[test]
fn one_default_policy() {
    let default = |id: &str| "type: policy\n".to_owned() + &rule(id, "open.flags == 1");
    let (rules, report) = load(&[
        ("a.policy", &default("a")),
        ("b.policy", &rule("b", "open.flags == 1")),
        ("default.policy", &default("d")),
    ]);
    let ids: Vec<_> = rules.rules().iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(ids, ["d", "b"]);
    assert_eq!(
        errors(&report),
        ["a.policy: ignored: default.policy is the default policy already"]
    );
}

#[test]
fn replacing_policies() {
    let replaces = |name: &str, id: &str| {
        format!("replace_policy_id: {name}\n") + &rule(id, "open.flags == 1")
    };
    let ids = |files: &[(&str, &str)]| {
        let (rules, report) = load(files);
        assert_eq!(errors(&report), Vec::<String>::new());
        let ids: Vec<_> = rules.rules().iter().map(|rule| rule.id.clone()).collect();
        ids.join(" ")
    };
    let plain = rule("plain", "open.flags == 1");
    // Whichever is read first.
    assert_eq!(
        ids(&[("b.policy", &plain), ("c.policy", &replaces("b", "new"))]),
        "new"
    );
    assert_eq!(
        ids(&[
            ("b.policy", &plain),
            ("a.policy", &replaces("b.policy", "new"))
        ]),
        "new"
    );
    // Not itself; and of two that replace each other the first stays.
    assert_eq!(ids(&[("a.policy", &replaces("a", "new"))]), "new");
    assert_eq!(
        ids(&[
            ("a.policy", &replaces("b", "one")),
            ("b.policy", &replaces("a", "two"))
        ]),
        "one"
    );
}

#[test]
fn states_and_reasons() {
    let text = r#"
macros:
  - {id: OLD, values: [a], agent_version: "< 7.0"}
rules:
  - {id: good, expression: open.flags == 1}
  - {id: bad, expression: open.flagz == 1}
  - {id: other_os, expression: not parsed at all, filters: ['os == "windows"', os.is_cos]}
  - {id: too_old, expression: open.flags == 1, agent_version: ">= 8"}
  - {id: odd, expression: open.flags == 1, agent_version: new}
"#;
    let (_, report) = load(&[
        ("a.policy", text),
        ("b.policy", &rule("worse", "open.flags ==")),
        ("c.policy", "version: 1\n"),
    ]);
    assert_eq!(
        policy_states(&report),
        [
            ("a.policy", Status::PartiallyLoaded),
            ("b.policy", Status::Error),
            ("c.policy", Status::Error)
        ]
    );
    let reasons: Vec<_> = report.policies[0]
        .rules
        .iter()
        .map(|rule| rule.filter_reason.as_deref().unwrap_or("-"))
        .collect();
    assert_eq!(
        reasons,
        [
            "-",
            "-",
            "none of its filters holds here: os == \"windows\"; os.is_cos",
            "this agent version doesn't support this rule: agent_version is `>= 8`, and 7.83.0 is emulated",
            "-",
        ]
    );
    assert_eq!(report.policies[0].macros[0].status, Status::Filtered);
    let found = errors(&report);
    assert!(
        found[1].starts_with("a.policy:9:59: invalid agent_version `new`"),
        "{found:?}"
    );
    assert_eq!(found.last().unwrap(), "c.policy: policy is empty");
    let counts = report.counts();
    assert_eq!((counts.loaded, counts.filtered, counts.rejected), (1, 2, 3));
}

#[test]
fn what_is_not_available_is_noted_and_no_error() {
    let (rules, report) = load_one(
        r#"
rules:
  - {id: d, expression: dns.question.name == "x" && process.user_session.id == "a"}
  - {id: o, expression: open.flags == 1 && process.user_session.id != "", actions: [{kill: {signal: SIGTERM}}]}
  - id: a
    expression: open.flags == 2
    actions:
      - set: {name: s, field: process.user_session.id}
"#,
    );
    assert_eq!(errors(&report), Vec::<String>::new());
    assert_eq!(rules.rules().len(), 3);
    let notes: Vec<_> = report.policies[0]
        .rules
        .iter()
        .map(|rule| (rule.status, rule.unavailable.join("; ")))
        .collect();
    let reads_empty = "field `process.user_session.id` not available here (reads as empty): user sessions are not followed";
    assert_eq!(
        notes,
        [
            (
                Status::Loaded,
                "event not available here: dns: DNS is not captured".to_owned()
            ),
            (Status::Loaded, reads_empty.to_owned()),
            (Status::Loaded, reads_empty.to_owned()),
        ]
    );
    assert_eq!(report.policies[0].rules[1].not_executed, ["kill"]);
}

#[test]
fn differences_of_two_loads() {
    let old = "
macros:
  - {id: A, values: [a]}
  - {id: B, expression: '[\"b\"]'}
  - {id: GONE, values: [a]}
rules:
  - {id: same, expression: open.file.name in B}
  - {id: by_macro, expression: open.file.name in A}
  - {id: text, expression: open.flags == 1, tags: {a: b}}
  - {id: gone, expression: open.flags == 1}
  - {id: breaks, expression: open.flags == 1}
  - {id: writes, expression: fim.write.file.name == \"x\"}
  - id: sets
    expression: open.flags == 5
    actions:
      - set: {name: kept, value: 1}
      - set: {name: retyped, value: 1}
      - set: {name: lost, value: 1}
";
    let new = old
        .replace("values: [a]}\n  - {id: B", "values: [c]}\n  - {id: B")
        .replace(
            "  - {id: GONE, values: [a]}\n",
            "  - {id: NEW, values: [a]}\n",
        )
        .replace(
            "open.flags == 1, tags: {a: b}",
            "open.flags == 2, tags: {a: c}",
        )
        .replace("{id: gone,", "{id: fresh,")
        .replace(
            "breaks, expression: open.flags",
            "breaks, expression: open.flagz",
        )
        .replace("name: retyped, value: 1", "name: retyped, value: a")
        .replace("name: lost", "name: found");
    let (old_rules, old_report) = load_one(old);
    let (new_rules, new_report) = load_one(&new);
    assert_eq!(errors(&old_report), Vec::<String>::new());
    let diff = RuleSetDiff::between((&old_rules, &old_report), (&new_rules, &new_report));
    assert_eq!(diff.added, ["fresh"]);
    assert_eq!(diff.removed, ["breaks", "gone"]);
    let changed: Vec<_> = diff
        .changed
        .iter()
        .map(|change| format!("{}: {}", change.id, change.what.join(" ")))
        .collect();
    assert_eq!(
        changed,
        ["by_macro: macros", "sets: actions", "text: expression tags"]
    );
    assert_eq!(diff.newly_failing.len(), 1);
    assert_eq!(diff.newly_failing[0].id, "breaks");
    assert!(diff.newly_failing[0].errors[0].contains("field `open.flagz` not found"));
    assert_eq!(
        (diff.macros_added, diff.macros_removed, diff.macros_changed),
        (
            vec!["NEW".to_owned()],
            vec!["GONE".to_owned()],
            vec!["A".to_owned()]
        )
    );
    assert_eq!(diff.variables_kept, ["kept"]);
    assert_eq!(diff.variables_dropped, ["retyped", "lost"]);
    assert_eq!(diff.variables_added, ["found"]);
    assert_eq!(diff.unchanged, 2);
    let same = RuleSetDiff::between((&new_rules, &new_report), (&new_rules, &new_report));
    assert!(same.is_empty() && same.unchanged == 6, "{same:?}");
    assert!(
        serde_json::to_string(&same)
            .unwrap()
            .contains("\"unchanged\":6")
    );
}

#[test]
fn a_misspelt_macro_is_offered_before_a_constant() {
    let text = "macros:\n  - {id: O_CREATE, values: [a]}\nrules:\n  - {id: r, expression: open.file.name in O_CREATS}\n";
    let (_, report) = load_one(text);
    let error = report.all_errors().next().unwrap();
    assert_eq!(
        error.help.as_deref(),
        Some("did you mean `O_CREATE`?"),
        "{error}"
    );
}

#[test]
fn event_types_that_are_not_enabled() {
    let options = LoadOptions {
        event_types: Some(["open".to_owned()].into()),
        ..LoadOptions::default()
    };
    let text = "rules:\n  - {id: e, expression: exec.retval == 0}\n  - {id: w, expression: fim.write.file.name == \"x\"}\n";
    let (rules, report) = load_with(&[("a.policy", text)], options);
    let found = errors(&report);
    assert_eq!(
        found[0],
        "a.policy:2:25: rule `e` error: event type not enabled: `exec`"
    );
    // Of a rule about all writes what is enabled stays.
    let ids: Vec<_> = rules.rules().iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(ids, ["__fim_expanded_open__w"]);
    assert_eq!(report.counts().loaded, 1);
}
