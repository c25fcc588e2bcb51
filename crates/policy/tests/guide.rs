//! Every example of docs/secl.md compiles, fails as it says, or loads.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;

use atalaya_model::{ValueEvent, schema};
use atalaya_policy::{InternalPolicy, LoadOptions, RuleSet};
use atalaya_secl::{EvalContext, MacroSet, NoVariables, Scope, compile_rule, parse};

/// The fenced blocks of one kind, each with its line.
fn blocks<'t>(text: &'t str, kind: &str) -> Vec<(usize, &'t str)> {
    let mut found = Vec::new();
    let fence = format!("\n```{kind}\n");
    let mut from = 0;
    while let Some(at) = text[from..].find(&fence) {
        let start = from + at + fence.len();
        let end = start + text[start..].find("\n```").unwrap();
        let line = text[..start].matches('\n').count() + 1;
        found.push((line, &text[start..end]));
        from = end;
    }
    found
}

fn guide() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/secl.md");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn expressions_compile() {
    let text = guide();
    let macros = MacroSet::default();
    let scope = Scope::new(schema(), &macros);
    let mut count = 0;
    for (line, block) in blocks(&text, "secl") {
        for expression in block.split("\n\n") {
            let result = compile_rule(expression, &scope);
            if let Err(error) = result {
                panic!(
                    "docs/secl.md:{line}\n{}",
                    error.render(expression, "example")
                );
            }
            // What is printed is the same rule.
            let printed = parse(expression).unwrap().to_string();
            let again = parse(&printed).unwrap().to_string();
            assert_eq!(printed, again, "docs/secl.md:{line}");
            compile_rule(&printed, &scope).unwrap_or_else(|error| panic!("{printed}: {error}"));
            count += 1;
        }
    }
    assert!(count > 25, "{count} examples");
}

#[test]
fn mistakes_are_told_as_they_say() {
    let text = guide();
    let macros = MacroSet::default();
    let scope = Scope::new(schema(), &macros);
    let examples = blocks(&text, "secl fails");
    assert!(examples.len() > 8, "{} examples", examples.len());
    for (line, block) in examples {
        let (message, expression) = block.split_once('\n').unwrap();
        let message = message.strip_prefix("# ").unwrap();
        let error = compile_rule(expression, &scope).expect_err(expression);
        assert_eq!(error.kind.to_string(), message, "docs/secl.md:{line}");
    }
}

#[test]
fn policies_load() {
    let text = guide();
    let examples = blocks(&text, "yaml");
    assert!(examples.len() > 2, "{} examples", examples.len());
    for (line, content) in examples {
        let options = LoadOptions {
            internal: vec![InternalPolicy {
                name: "guide".to_owned(),
                source: "guide".to_owned(),
                content: content.to_owned(),
            }],
            ..LoadOptions::default()
        };
        let (rules, report) = RuleSet::load(schema(), &options);
        assert_eq!(report.counts().rejected, 0, "docs/secl.md:{line}\n{report}");
        assert!(!rules.rules().is_empty(), "docs/secl.md:{line}\n{report}");
    }
}

#[test]
fn path_patterns_match_what_the_table_says() {
    let text = guide();
    let macros = MacroSet::default();
    let scope = Scope::new(schema(), &macros);
    let context = EvalContext {
        now_ns: 0,
        variables: &NoVariables,
    };
    let (_, table) = text.split_once("| pattern | matches | not |\n").unwrap();
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    let mut count = 0;
    for row in rows {
        let mut cells = row.trim_matches('|').split('|');
        let pattern = cells.next().unwrap().trim().trim_matches('`');
        let program = compile_rule(&format!("open.file.path =~ \"{pattern}\""), &scope).unwrap();
        for (cell, expected) in cells.zip([true, false]) {
            for path in cell.split(',') {
                let path = path.trim().trim_matches('`');
                let values = [("open.file.path".to_owned(), path.into())];
                let event = ValueEvent::from_values("open", &values.into_iter().collect()).unwrap();
                let matches = program.matches(&event, &context);
                assert_eq!(matches, expected, "{pattern} on {path}");
                count += 1;
            }
        }
    }
    assert!(count >= 10, "{count} paths");
}
