//! Reading variables costs no memory, and counting up no more. One test alone: allocations are counted for the process.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod world;

use std::alloc::System;

use atalaya_model::Event;
use atalaya_policy::{RuleSet, Scopes, Scratch, VariableStore};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOC: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const RULES: &str = r#"
rules:
  - id: fills
    expression: exec.file.name == "fill"
    actions:
      - set: {name: files, field: exec.file.path, append: true, scope: cgroup}
      - set: {name: key, value: "k", scope: process, inherited: true}
      - set: {name: word, value: "some text"}
  - id: counts
    expression: exec.file.name == "count"
    actions:
      - set: {name: count, expression: "${cgroup.count} + 1", default_value: 0, scope: cgroup}
  - id: reads
    expression: >-
      exec.file.path in ${cgroup.files} && ${process.key} == "other" && ${word} == "x" && ${cgroup.count} > 5
  - id: inherits
    expression: exec.file.path != "/nothing" && ${process.key} == "other"
  - id: reads_text
    expression: exec.file.path != "/nothing" && ${word} == "other"
  - id: reads_list
    expression: exec.file.path != "/nothing" && process.comm in ${cgroup.files}
"#;

/// A process below a hundred others.
struct Deep;

impl Scopes for Deep {
    fn process(&self) -> Option<u64> {
        Some(1000)
    }
    fn ancestor(&self, n: usize) -> Option<u64> {
        (n < 100).then(|| 900 - n as u64)
    }
    fn container(&self) -> &str {
        "c1"
    }
    fn cgroup(&self) -> &str {
        "/system.slice/x"
    }
    fn process_of_pid(&self, _: i64) -> Option<u64> {
        None
    }
}

fn run(rules: &RuleSet, store: &mut VariableStore, event: &Event, scratch: &mut Scratch) -> usize {
    let mut matched = 0;
    rules.evaluate(
        event.event_type(),
        event,
        world::NOW,
        &mut store.bind(&Deep, world::NOW),
        scratch,
        |variables, rule| {
            matched += 1;
            variables.act(rule, event, |_, _| {});
        },
    );
    matched
}

#[test]
fn reading_and_counting_cost_no_memory() {
    let (rules, report) = world::load_text(RULES);
    assert!(!report.has_errors(), "{report}");
    let mut store = VariableStore::new(rules.variables());
    let mut scratch = Scratch::default();
    for (name, expected) in [("fill", 1), ("count", 1), ("quiet", 0)] {
        for _ in 0..2 {
            let event = world::exec(&format!("/bin/{name}"), &[name]);
            assert_eq!(run(&rules, &mut store, &event, &mut scratch), expected);
        }
    }
    for name in ["quiet", "count"] {
        let event = world::exec(&format!("/bin/{name}"), &[name]);
        let region = Region::new(ALLOC);
        run(&rules, &mut store, &event, &mut scratch);
        let used = region.change();
        assert_eq!(used.allocations + used.reallocations, 0, "{name}: {used:?}");
    }
    assert_eq!(store.stats().values, 4);
}
