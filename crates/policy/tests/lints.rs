//! Remarks on what loads but is likely not meant: each with its code, place and hint, and none on sound rules.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::collections::BTreeSet;

use atalaya_policy::{LINT_CODES, RuleSet};

use common::{errors, lints, load_one};

/// A policy with one rule, whose expression begins at 3:17.
fn rule(expression: &str) -> String {
    format!("rules:\n  - id: r\n    expression: {expression}\n")
}

#[test]
fn every_code() {
    let mut seen = BTreeSet::new();
    let expressions = [
        (
            "open.file.name == \"a\" && process.uid == 0 || process.uid == 1",
            "3:42: `&&` and `||`",
            "mixed-logical",
        ),
        (
            "open.file.name == \"a\" || open.file.name == \"a\"",
            "3:42: the same condition",
            "duplicate-term",
        ),
        (
            "open.file.name == \"a\" && process.comm == \"x\" && process.comm == \"y\"",
            "3:42: this is false for every event",
            "constant-condition",
        ),
        (
            "open.file.name == \"a\" && open.flags > 5 && open.flags < 5",
            "3:42: no value of `open.flags` satisfies",
            "unsatisfiable",
        ),
        (
            "open.file.name == \"a\" && (open.retval == EPERM && 0 < open.retval)",
            "3:43: no value of `open.retval` satisfies",
            "unsatisfiable",
        ),
        (
            "open.file.path =~ \"/**\"",
            "3:17: this matches every path",
            "over-broad",
        ),
        (
            "open.flags & O_CREAT > 0",
            "3:17: nothing but flags or results",
            "over-broad",
        ),
        (
            "open.file.path =~ \"*/secret*\"",
            "3:35: a pattern that begins with `*`",
            "no-kernel-filter",
        ),
        (
            "open.file.path != \"/etc/passwd\" && process.comm == \"x\"",
            "3:17: no condition that the kernel could filter",
            "no-kernel-filter",
        ),
        (
            "open.file.path == \"/a\" && process.name == \"x\"",
            "3:43: `process.name` is an old name",
            "legacy-name",
        ),
        (
            "open.file.path == \"/a\" && process.comm == r\"bash\"",
            "3:59: the regular expression `bash` is a plain text",
            "plain-regexp",
        ),
        (
            "open.file.path == \"/a\" && process.comm == ~\"bash\"",
            "3:59: the pattern `bash` has no `*`",
            "plain-pattern",
        ),
        (
            "open.file.path =~ \"/a\"",
            "3:35: the pattern `/a` has no `*`",
            "plain-pattern",
        ),
    ];
    for (expression, wanted, code) in expressions {
        let (_, report) = load_one(&rule(expression));
        assert_eq!(errors(&report), Vec::<String>::new());
        let found = lints(&report);
        let wanted = format!("a.policy:{wanted}");
        assert!(
            found
                .iter()
                .any(|lint| lint.starts_with(&wanted) && lint.ends_with(&format!("[{code}]"))),
            "{expression}\nwanted {wanted} [{code}]\nfound {found:#?}"
        );
        seen.extend(report.lints.iter().map(|lint| lint.code));
    }
    let policies = [
        (
            "rules:\n  - {id: a, expression: open.file.path == \"/a\"}\n  - {id: b, expression: (open.file.path == \"/a\")}\n",
            "3:25: rule `a` has the same expression",
            "duplicate-rule",
        ),
        (
            "rules:\n  - {id: a, expression: open.file.path == \"/a\"}\n  - {id: a, expression: open.file.path == \"/b\"}\n",
            "3:10: rule `a` is defined in a.policy before, differently: this definition is ignored",
            "ignored-definition",
        ),
        (
            "rules:\n  - {id: a, expression: open.file.path == \"/a\"}\n  - {id: a, disabled: true}\n",
            "3:10: rule `a` of a.policy is not disabled by this",
            "not-disabled",
        ),
        (
            "macros:\n  - {id: M, values: [a]}\nrules:\n  - {id: a, expression: open.file.path == \"/a\"}\n",
            "2:10: macro `M` is used by no rule",
            "unused-macro",
        ),
        (
            "rules:\n  - {id: a, expression: open.file.path == \"/a\", silent: true, every: 5s}\n",
            "2:25: a silent rule sends no events",
            "useless-limit",
        ),
        (
            "rules:\n  - {id: a, expression: open.file.path == \"/a\", limiter_token: [process.created_at]}\n",
            "2:65: `process.created_at` differs from event to event",
            "useless-limit",
        ),
        (
            "rules:\n  - id: a\n    expression: open.file.path == \"/a\"\n    actions:\n      - set: {name: x, expression: '${x} + 1', default_value: 0, private: true}\n",
            "2:5: variable `x` is set, and neither rules nor events show it",
            "unread-variable",
        ),
        (
            "rules:\n  - id: a\n    expression: open.file.path == \n    actions:\n      - set: {name: x, value: 1}\n  - {id: b, expression: 'open.file.path == \"/b\" && ${x} == 1'}\n",
            "6:5: variable `x` is read, but the rules that set it are not loaded",
            "unset-variable",
        ),
        (
            "rules:\n  - {id: a, expression: 'open.file.path == \"/a\" && false'}\n",
            "2:25: this rule can never match",
            "never-matches",
        ),
        (
            "rules:\n  - {id: a, expression: 'true || open.file.path == \"/a\"'}\n",
            "2:25: this rule matches every event of its type",
            "always-matches",
        ),
    ];
    for (text, wanted, code) in policies {
        let (_, report) = load_one(text);
        let found = lints(&report);
        let wanted = format!("a.policy:{wanted}");
        assert!(
            found
                .iter()
                .any(|lint| lint.starts_with(&wanted) && lint.ends_with(&format!("[{code}]"))),
            "{text}\nwanted {wanted} [{code}]\nfound {found:#?}"
        );
        assert!(report.lints.iter().all(|lint| lint.help.is_some()));
        seen.extend(report.lints.iter().map(|lint| lint.code));
    }
    assert_eq!(seen, LINT_CODES.into_iter().collect());
}

#[test]
fn sound_rules_are_left_alone() {
    for expression in [
        "open.file.path == \"/etc/shadow\" && process.comm not in [\"sshd\", \"sudo\"]",
        "(open.file.path == \"/a\" && process.uid == 0) || open.file.path == \"/b\"",
        "open.file.path =~ \"/etc/**\" && open.flags & (O_CREAT | O_TRUNC) > 0 && process.uid > 0 && process.uid < 10",
        "open.file.name == \"x\" && process.comm =~ \"py*\" && process.argv == r\"a|b\"",
        "open.file.path == \"/a\" && (process.comm == \"a\" || process.comm == \"b\")",
        // Any one of the ancestors may be each.
        "open.file.path == \"/a\" && process.ancestors.comm == \"a\" && process.ancestors.comm == \"b\"",
        "open.file.path == \"/a\" && open.retval in [EPERM, -2]",
        "exec.file.path == \"/a\" && process.created_at < 5s",
        "connect.addr.ip in 10.0.0.0/8",
    ] {
        let text = rule(&format!("'{}'", expression.replace('\'', "''")));
        let (rules, report) = load_one(&text);
        assert_eq!(rules.rules().len(), 1, "{report}");
        assert_eq!(lints(&report), Vec::<String>::new(), "{expression}");
    }
    // Used only where this host does not look; used by a filter of an action; read in a text.
    let (_, report) = load_one(
        r#"
macros:
  - {id: WINDOWS, values: [a]}
  - {id: DEEP, expression: '["a"]'}
  - {id: IN_FILTER, expression: open.flags == 1}
rules:
  - {id: w, expression: open.file.name in WINDOWS, filters: ['os == "windows"']}
  - id: a
    expression: open.file.path == "/a"
    actions:
      - filter: IN_FILTER
        set: {name: x, value: 1, private: true}
      - set: {name: y, expression: '"${x}"', default_value: ''}
  - {id: b, expression: open.file.name in DEEP}
"#,
    );
    assert_eq!(lints(&report), Vec::<String>::new());
}

#[test]
fn the_shipped_policy_has_none() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/default.policy");
    let options = atalaya_policy::LoadOptions {
        paths: vec![path.into()],
        ..atalaya_policy::LoadOptions::default()
    };
    let (_, report) = RuleSet::load(atalaya_model::schema(), &options);
    let found: Vec<String> = report
        .lints
        .iter()
        .map(atalaya_policy::Lint::render)
        .collect();
    // What these rules look for is in directories of any user, or anywhere.
    let found: Vec<&String> = found
        .iter()
        .filter(|lint| !lint.contains("[no-kernel-filter]"))
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}
