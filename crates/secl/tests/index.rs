//! What the index reads of an event.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use atalaya_secl::{EvalContext, MacroSet, RuleIndex, Scope, Scratch, compile_rule};
use common::{NOW, TestEvent, TestSchema, TestVariables};

/// The rules that match, and how often the hashes were read.
fn tried(rules: &[&str], event: &TestEvent) -> (Vec<usize>, usize) {
    let macros = MacroSet::default();
    let scope = Scope::new(&TestSchema, &macros);
    let programs: Vec<_> = rules
        .iter()
        .map(|rule| compile_rule(rule, &scope).unwrap())
        .collect();
    let index = RuleIndex::new(&programs);
    let mut scratch = Scratch::default();
    let context = EvalContext {
        now_ns: NOW,
        variables: &TestVariables,
    };
    index.start(event, NOW, &mut scratch);
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(rule) = index.next_match(event, &context, &mut scratch, from) {
        found.push(rule);
        from = rule + 1;
    }
    let reads = event.reads.borrow();
    (found, reads.get("open.file.hashes").copied().unwrap_or(0))
}

#[test]
fn a_file_is_not_hashed_when_the_rest_of_the_rule_is_false() {
    // Enough of them that a look-up of the hashes would be shared by many.
    let mut rules: Vec<String> = (12..40)
        .map(|hash| format!(r#"open.file.hashes == "sha256:{hash}" && open.flags > 0"#))
        .collect();
    rules.push(r#"open.file.name == "a" && open.file.hashes == "sha256:12""#.to_owned());
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let hashed = || TestEvent::new().list("open.file.hashes", &["sha256:12"]);
    assert_eq!(tried(&rules, &hashed()), (vec![], 0));
    let (found, _) = tried(&rules, &hashed().int("open.flags", 2));
    assert_eq!(found, [0]);
    let (found, reads) = tried(&rules, &hashed().str("open.file.name", "a"));
    assert_eq!((found, reads), (vec![28], 1));
}
