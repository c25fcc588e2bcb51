//! Any policy text is loaded, or told what is wrong: no panic, no endless loop, bounded memory. What loads means the same with
//! the index and without. A control character parts the text into several policies, so that merging is reached.
#![no_main]

use atalaya_model::{ValueEvent, schema};
use atalaya_policy::{InternalPolicy, LoadOptions, RuleSet, RuleSetDiff, Scratch};
use atalaya_secl::model::{EventView, Value};
use atalaya_secl::{VariableId, Variables};
use libfuzzer_sys::fuzz_target;

/// Every variable is unset, and no value is random.
struct Unset;

impl Variables for Unset {
    fn get(&self, _: VariableId, _: &dyn EventView) -> Value<'_> {
        Value::Int(0)
    }
    fn uuid4(&self) -> String {
        "00000000-0000-4000-8000-000000000000".to_owned()
    }
}

fn options(policies: &[&str]) -> LoadOptions {
    let internal = policies
        .iter()
        .enumerate()
        .map(|(index, content)| InternalPolicy {
            name: format!("p{index}"),
            source: "fuzz".to_owned(),
            content: (*content).to_owned(),
        });
    LoadOptions {
        internal: internal.collect(),
        ..LoadOptions::default()
    }
}

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let policies: Vec<&str> = text.split('\u{1}').take(4).collect();
    let (first, first_report) = RuleSet::load(schema(), &options(&policies[..1]));
    let (rules, report) = RuleSet::load(schema(), &options(&policies));
    let _ = report.to_string();
    let _ = RuleSetDiff::between((&first, &first_report), (&rules, &report));
    let mut scratch = Scratch::default();
    for event_type in rules.event_types() {
        let _ = rules.approvers(event_type);
        let Ok(event) = ValueEvent::from_values(event_type, &serde_json::Map::new()) else {
            continue;
        };
        let mut indexed = Vec::new();
        rules.evaluate(
            event_type,
            &event,
            1,
            &mut Unset,
            &mut scratch,
            |_, rule| indexed.push(rule.id.clone()),
        );
        let mut linear = Vec::new();
        rules.evaluate_linear(event_type, &event, 1, &mut Unset, |_, rule| {
            linear.push(rule.id.clone())
        });
        assert_eq!(indexed, linear);
    }
});
