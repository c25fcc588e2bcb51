//! What the kernel tests of numbers never keeps an event from a rule that would match it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod world;

use atalaya_model::ValueEvent;
use atalaya_policy::{RuleSet, Scratch};
use atalaya_secl::NoVariables;
use proptest::prelude::*;
use serde_json::json;

fn rules(expressions: &[String]) -> RuleSet {
    use std::fmt::Write as _;
    let mut policy = String::from("version: 1\nrules:\n");
    for (number, expression) in expressions.iter().enumerate() {
        writeln!(policy, "  - id: r{number}\n    expression: {expression:?}").unwrap();
    }
    let (rules, report) = world::load_text(&policy);
    assert!(
        report.policies[0]
            .rules
            .iter()
            .all(|rule| rule.status == atalaya_policy::Status::Loaded),
        "{policy}"
    );
    rules
}

/// Small numbers, so that bits and values meet often.
fn number() -> impl Strategy<Value = i64> {
    0..8i64
}

fn term() -> impl Strategy<Value = String> {
    let field = prop::sample::select(vec!["mmap.protection", "mmap.flags", "mmap.retval"]);
    (field, number(), number(), 0..9).prop_map(|(field, a, b, shape)| match shape {
        0 => format!("{field} == {a}"),
        1 => format!("{field} != {a}"),
        2 => format!("{field} & {a} > 0"),
        3 => format!("{field} & {a} == {b}"),
        4 => format!("{field} & {a} != 0"),
        5 => format!("{field} in [{a}, {b}]"),
        6 => format!("{field} & {a} >= {b}"),
        7 => format!("{field} > {a}"),
        _ => format!("!({field} & {a} == {b})"),
    })
}

fn expression() -> impl Strategy<Value = String> {
    term().prop_recursive(3, 12, 3, |inner| {
        (prop::collection::vec(inner, 1..4), 0..3).prop_map(|(terms, shape)| match shape {
            0 => format!("({})", terms.join(" && ")),
            1 => format!("({})", terms.join(" || ")),
            _ => format!("!({})", terms.join(" && ")),
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_matches_is_accepted(expressions in prop::collection::vec(expression(), 1..4), protection in number(), flags in number()) {
        let rules = rules(&expressions);
        let values = json!({ "mmap.protection": protection, "mmap.flags": flags });
        let event = ValueEvent::from_values("mmap", values.as_object().unwrap()).unwrap();
        let matched = rules.evaluate("mmap", &event, 0, &mut NoVariables, &mut Scratch::default(), |_, _| {});
        if matched {
            let approvers = rules.approvers("mmap");
            prop_assert!(approvers.accepts_numbers([protection, flags]), "{expressions:?}\n{approvers:?}");
        }
    }
}

#[test]
fn rules_on_numbers_are_filtered_in_the_kernel() {
    let of = |expression: &str| rules(&[expression.to_owned()]).approvers("mmap");
    let approvers =
        of("mmap.protection & (PROT_WRITE|PROT_EXEC) == 6 && process.file.name == \"a\"");
    assert_eq!((approvers.all, approvers.masks), (false, [6, 0]));
    let approvers = of("mmap.flags in [1, 2]");
    assert_eq!(
        (approvers.all, approvers.numbers),
        (false, vec![(1, 1), (1, 2)])
    );
    assert!(of("mmap.retval == 0").all);
    assert!(of("mmap.protection == 1 || mmap.retval == 0").all);
}
