//! An event that no rule matches costs no memory, and little work. One test alone: allocations are counted for the process.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod world;

use std::alloc::System;

use atalaya_model::Event;
use atalaya_policy::{NoScopes, RuleSet, Scratch, VariableStore};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOC: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn decide(
    rules: &RuleSet,
    event: &Event,
    store: &mut VariableStore,
    scratch: &mut Scratch,
) -> Vec<String> {
    let mut matched = Vec::new();
    let mut variables = store.bind(&NoScopes, world::NOW);
    rules.evaluate(
        event.event_type(),
        event,
        world::NOW,
        &mut variables,
        scratch,
        |_, rule| matched.push(rule.id.clone()),
    );
    matched
}

#[test]
fn a_quiet_event_costs_no_memory() {
    let mut sets = vec![
        (
            "shipped",
            std::fs::read_to_string(world::shipped_policy()).unwrap(),
        ),
        ("synthetic", world::synthetic(1000)),
    ];
    if let Some(path) = world::reference_policy() {
        sets.push(("reference", std::fs::read_to_string(path).unwrap()));
    }
    for (name, text) in sets {
        let (rules, _) = world::load_text(&text);
        for make in [world::quiet_exec, world::quiet_open] {
            // What the thread has for all events is made by the first one.
            let mut scratch = Scratch::default();
            let mut store = VariableStore::new(rules.variables());
            let first = make();
            assert_eq!(
                decide(&rules, &first, &mut store, &mut scratch),
                [""; 0],
                "{name}"
            );
            // A new event, so that nothing was derived from it before.
            let event = make();
            let region = Region::new(ALLOC);
            decide(&rules, &event, &mut store, &mut scratch);
            let used = region.change();
            println!(
                "{name}, {}: {:?} of {} rules; {used:?}",
                event.event_type(),
                scratch.effort(),
                rules.rules_for(event.event_type()).count()
            );
            assert_eq!(used.allocations + used.reallocations, 0, "{name}: {used:?}");
            // The index leaves next to nothing to do, however many rules there are.
            let effort = scratch.effort();
            assert!(
                effort.candidates <= 6 && effort.predicates <= 20,
                "{name}: {effort:?}"
            );
        }
    }
}
