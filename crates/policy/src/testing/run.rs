//! Runs tests against a rule set.

use std::collections::{BTreeMap, BTreeSet};

use atalaya_secl::model::EventView;
use atalaya_secl::{EvalContext, Failed, Scratch, nearest};

use super::{
    Expectation, Failure, Missing, TestCase, TestEvent, TestFile, TestReport, TestResult, Values,
};
use crate::locate::File;
use crate::report::{LoadReport, Status};
use crate::rule::Rule;
use crate::ruleset::RuleSet;
use crate::store::{Scopes, VariableStore};

impl TestFile {
    /// Runs all tests. `make` makes an event of a type with the given values, and says what time it is for it in nanoseconds;
    /// or says what is wrong, naming the field between backticks.
    pub fn run<E: EventView + Scopes>(
        &self,
        rules: &RuleSet,
        report: &LoadReport,
        mut make: impl FnMut(&str, &Values) -> Result<(E, u64), String>,
    ) -> TestReport {
        let mut expected = BTreeSet::new();
        let tests = self
            .tests
            .iter()
            .map(|test| {
                let events = test.events.iter().map(|event| event.expect.as_ref());
                for expectation in events.chain([test.expect.as_ref()]).flatten() {
                    expected.extend(expectation.rules.iter().map(String::as_str));
                }
                self.run_test(test, rules, report, &mut make)
            })
            .collect();
        let ids = rules.rules().iter().filter(|rule| !rule.policy.internal);
        let ids: BTreeSet<&str> = ids.map(|rule| rule.written_id.as_str()).collect();
        TestReport {
            file: self.name.clone(),
            tests,
            untested: ids
                .difference(&expected)
                .map(|id| (*id).to_owned())
                .collect(),
        }
    }

    fn run_test<E: EventView + Scopes>(
        &self,
        test: &TestCase,
        rules: &RuleSet,
        report: &LoadReport,
        make: &mut impl FnMut(&str, &Values) -> Result<(E, u64), String>,
    ) -> TestResult {
        let mut store = VariableStore::new(rules.variables());
        let mut scratch = Scratch::default();
        let mut all = BTreeSet::new();
        let mut failures = Vec::new();
        let mut types = Vec::new();
        // Why rules that the test expects did not match an event of their type.
        let mut reasons = Reasons::new();
        let of_test = test.expect.iter().flat_map(|expect| &expect.rules);
        let of_test: Vec<&String> = of_test.collect();
        for event in &test.events {
            let (view, now_ns) = match make(&event.event_type, &event.values) {
                Ok(made) => made,
                Err(message) => {
                    failures.push(self.bad_event(event, &message));
                    continue;
                }
            };
            types.push(event.event_type.as_str());
            let mut got = BTreeSet::new();
            let mut bound = store.bind(&view, now_ns);
            rules.evaluate(
                &event.event_type,
                &view,
                now_ns,
                &mut bound,
                &mut scratch,
                |bound, rule| {
                    got.insert(rule.written_id.clone());
                    bound.act(rule, &view, |_, _| {});
                },
            );
            let expected = event.expect.iter().flat_map(|expect| &expect.rules);
            for id in expected.chain(of_test.iter().copied()) {
                let of_id =
                    |rule: &&Rule| rule.written_id == *id && rule.event_type == event.event_type;
                if !got.contains(id)
                    && let Some(rule) = rules.rules().iter().find(of_id)
                {
                    let context = EvalContext {
                        now_ns,
                        variables: &bound,
                    };
                    let failed = rule.why_not(&view, &context);
                    let lines: Vec<String> = failed.iter().map(describe).collect();
                    reasons.insert(id.clone(), lines.join("\n"));
                }
            }
            if let Some(expect) = &event.expect {
                let about = format!("an event of type {}", event.event_type);
                let kinds = [event.event_type.as_str()];
                failures.extend(compare(
                    about, expect, &got, &kinds, &reasons, rules, report,
                ));
            }
            all.append(&mut got);
        }
        if let Some(expect) = &test.expect
            && types.len() == test.events.len()
        {
            let about = "all events of the test".to_owned();
            failures.extend(compare(
                about, expect, &all, &types, &reasons, rules, report,
            ));
        }
        TestResult {
            name: test.name.clone(),
            line: test.line,
            passed: failures.is_empty(),
            failures,
        }
    }

    /// An event that cannot be made, with the place of the field that the message names.
    fn bad_event(&self, event: &TestEvent, message: &str) -> Failure {
        let names = || message.split('`').skip(1).step_by(2);
        let at = event
            .at
            .values
            .iter()
            .find(|(name, _)| names().any(|named| named == name))
            .map_or_else(
                || {
                    if names().any(|named| named == event.event_type) {
                        event.at.kind
                    } else {
                        event.at.event
                    }
                },
                |(_, at)| *at,
            );
        let file = File {
            name: &self.name,
            source: &self.source,
        };
        Failure {
            line: at.line,
            about: format!("an event of type {}", event.event_type),
            error: Some(file.error(at, message).render()),
            expected: Vec::new(),
            got: Vec::new(),
            missing: Vec::new(),
        }
    }
}

/// What of a rule was false, by its id.
type Reasons = BTreeMap<String, String>;

fn compare(
    about: String,
    expect: &Expectation,
    got: &BTreeSet<String>,
    event_types: &[&str],
    reasons: &Reasons,
    rules: &RuleSet,
    report: &LoadReport,
) -> Option<Failure> {
    if expect.rules.iter().eq(got) {
        return None;
    }
    let missing = expect.rules.iter().filter(|id| !got.contains(*id));
    Some(Failure {
        line: expect.line,
        about,
        error: None,
        expected: expect.rules.clone(),
        got: got.iter().cloned().collect(),
        missing: missing
            .map(|id| Missing {
                rule: id.clone(),
                reason: reason(id, event_types, reasons, rules, report),
            })
            .collect(),
    })
}

/// Why a rule did not match.
fn reason(
    id: &str,
    event_types: &[&str],
    reasons: &Reasons,
    rules: &RuleSet,
    report: &LoadReport,
) -> String {
    let mut of_id = rules.rules().iter().filter(|rule| rule.written_id == id);
    let Some(rule) = of_id.next() else {
        return not_loaded(id, rules, report);
    };
    let is_for = |event: &str| event_types.contains(&event);
    if !is_for(&rule.event_type) && !of_id.any(|rule| is_for(&rule.event_type)) {
        return format!("it is about events of type {}", rule.event_type);
    }
    match reasons.get(id) {
        Some(reason) if !reason.is_empty() => reason.clone(),
        _ => format!("its expression is false: {}", rule.expression),
    }
}

/// A term that is false, with what it looks at.
fn describe(failed: &Failed) -> String {
    let values: Vec<String> = failed
        .values
        .iter()
        .map(|(name, values)| match values.as_slice() {
            [] => format!("{name} is empty"),
            [value] => format!("{name} is {value}"),
            values => format!("{name} is [{}]", values.join(", ")),
        })
        .collect();
    if values.is_empty() {
        format!("false: {}", failed.text)
    } else {
        format!("false: {} ({})", failed.text, values.join("; "))
    }
}

fn not_loaded(id: &str, rules: &RuleSet, report: &LoadReport) -> String {
    let found = report
        .policies
        .iter()
        .flat_map(|policy| &policy.rules)
        .find(|rule| rule.id == id);
    match found {
        Some(rule) if rule.status == Status::Filtered => {
            let reason = rule.filter_reason.as_deref().unwrap_or("it is filtered");
            format!("it is not in force: {reason}")
        }
        Some(rule) => {
            let errors: Vec<String> = rule.errors.iter().map(ToString::to_string).collect();
            format!("it is not in force: {}", errors.join("; "))
        }
        None => {
            let ids = rules.rules().iter().map(|rule| rule.written_id.as_str());
            match nearest(id, ids) {
                Some(near) => format!("there is no such rule; did you mean `{near}`?"),
                None => "there is no such rule".to_owned(),
            }
        }
    }
}
