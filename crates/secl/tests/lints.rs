//! What is warned of.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use atalaya_secl::lint::lint;
use atalaya_secl::{MacroSet, Scope, parse};
use common::{TestSchema, TestVariables};

/// `code: the text that is meant`, for each finding.
fn findings(source: &str) -> Vec<String> {
    let macros = MacroSet::default();
    let scope = Scope {
        variables: &TestVariables,
        ..Scope::new(&TestSchema, &macros)
    };
    lint(&parse(source).unwrap(), &scope)
        .into_iter()
        .map(|lint| {
            format!(
                "{}: {}",
                lint.code.as_str(),
                &source[lint.span.start..lint.span.end]
            )
        })
        .collect()
}

#[test]
fn traps() {
    let cases: &[(&str, &[&str])] = &[
        // Mixed operators.
        (
            "process.uid == 0 && process.gid == 0 || process.pid == 1",
            &["mixed-logical: process.gid == 0 || process.pid == 1"],
        ),
        (
            "process.uid == 0 && (process.gid == 0 || process.pid == 1)",
            &[],
        ),
        (
            "(process.uid == 0 && process.gid == 0) || process.pid == 1",
            &[],
        ),
        (
            "process.uid == 0 && process.gid == 0 && process.pid == 1",
            &[],
        ),
        (
            "process.is_root && (process.uid == 1 || process.uid == 2 && process.gid == 1)",
            &["mixed-logical: process.uid == 2 && process.gid == 1"],
        ),
        // Conditions that do not depend on the event.
        (
            "process.uid == 0 && 1 == 2",
            &["constant-condition: 1 == 2"],
        ),
        (
            "open.flags & O_RDONLY > 0",
            &["constant-condition: open.flags & O_RDONLY > 0"],
        ),
        ("open.flags & O_CREAT > 0", &[]),
        (
            r#"process.name == "a" && process.name == "b""#,
            &[r#"constant-condition: process.name == "a" && process.name == "b""#],
        ),
        (
            "process.uid != 1 || process.gid == 3 || process.uid != 2",
            &["constant-condition: process.uid != 1 || process.gid == 3 || process.uid != 2"],
        ),
        ("process.uid == 1 || process.uid == 2", &[]),
        ("process.uid != 1 && process.uid != 2", &[]),
        (r#"process.argv == "a" && process.argv == "b""#, &[]),
        ("process.uid == 1 && true", &[]),
        // The same again.
        (
            "process.uid == 1 || process.gid == 2 || (process.uid  == 1)",
            &["duplicate-term: (process.uid  == 1)"],
        ),
        (
            "process.uid == 1 && (process.uid == 1 || process.is_root)",
            &[],
        ),
        // Negation of "any".
        (
            r#"process.ancestors.comm != "sh""#,
            &[r#"negated-any: process.ancestors.comm != "sh""#],
        ),
        (r#"process.ancestors[A].comm != "sh""#, &[]),
        (
            r#"process.argv not in ["a", "b"]"#,
            &[r#"negated-any: process.argv not in ["a", "b"]"#],
        ),
        (r#""a" not in process.argv"#, &[]),
        (r#"process.comm not in ["a", "b"]"#, &[]),
        // What does not compile is for others to tell.
        ("nope != 1 && 1 == \"a\"", &[]),
    ];
    for (source, expected) in cases {
        assert_eq!(findings(source), *expected, "{source}");
    }
}
