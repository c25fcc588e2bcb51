//! Every example of the documentation is what it says: policies load without an error, test files parse.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use atalaya_policy::testing::TestFile;
use atalaya_policy::{InternalPolicy, LINT_CODES, LoadOptions, RuleSet};

fn text() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/policies.md");
    std::fs::read_to_string(path).unwrap()
}

/// The shipped policy, whose rules the examples change.
fn options(example: &str) -> LoadOptions {
    LoadOptions {
        paths: vec![concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies/default.policy").into()],
        remote: vec![InternalPolicy {
            name: "example".to_owned(),
            source: "docs/policies.md".to_owned(),
            content: example.to_owned(),
        }],
        ..LoadOptions::default()
    }
}

#[test]
fn every_example() {
    let text = text();
    let examples: Vec<&str> = text
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(examples.len() >= 7);
    for example in examples {
        if example.contains("tests:") {
            let file = TestFile::parse("docs/x.test.yaml", example).unwrap();
            assert_eq!(file.tests.len(), 2);
            continue;
        }
        let (rules, report) = RuleSet::load(atalaya_model::schema(), &options(example));
        assert!(!report.has_errors(), "{example}\n{report}");
        let of_example: Vec<String> = report
            .lints
            .iter()
            .filter(|lint| lint.file == "example")
            .map(ToString::to_string)
            .collect();
        assert_eq!(of_example, Vec::<String>::new(), "{example}");
        assert!(rules.rules().len() > 10);
    }
}

#[test]
fn every_remark_is_in_the_table() {
    let text = text();
    let listed: Vec<&str> = text
        .split("## Remarks")
        .nth(1)
        .unwrap()
        .split("## ")
        .next()
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    assert_eq!(listed, LINT_CODES);
}
