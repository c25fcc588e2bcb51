//! The public default policy of the reference must load unchanged: no error, and what is left out says why.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::path::Path;

use atalaya_policy::{HostFacts, LoadOptions, RuleSet, Status};

const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/reference");

fn errors(report: &atalaya_policy::LoadReport) -> Vec<String> {
    report.all_errors().map(ToString::to_string).collect()
}

#[test]
fn the_default_policy_loads() {
    let Ok(text) = std::fs::read(Path::new(REFERENCE).join("default.policy")) else {
        println!("SKIPPED: {REFERENCE} is not here");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("default.policy"), text).unwrap();
    let mut host = HostFacts::default();
    host.set_kernel_release("6.1.0-28-amd64");
    let options = LoadOptions {
        policies_dir: Some(dir.path().to_owned()),
        host,
        ..LoadOptions::default()
    };
    let start = std::time::Instant::now();
    let (rules, report) = RuleSet::load(atalaya_model::schema(), &options);
    let took = start.elapsed();
    println!("{report}");
    let macros = &report.policies[0].macros;
    let loaded_macros = macros
        .iter()
        .filter(|item| item.status == Status::Loaded)
        .count();
    println!("in {took:?}; {loaded_macros} of {} macros", macros.len());
    for event in rules.event_types() {
        let approvers = rules.approvers(event);
        println!(
            "{event}: {} rules, accept all because of {:?}",
            rules.rules_for(event).count(),
            approvers.all_because
        );
    }
    let rules_of_file = &report.policies[0].rules;
    let mut filtered: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for rule in rules_of_file {
        if rule.status == Status::Filtered {
            let reason = rule.filter_reason.as_deref().unwrap();
            filtered.entry(reason).or_default().push(&rule.id);
        }
    }
    for (reason, ids) in &filtered {
        println!("filtered, {reason}: {} {ids:?}", ids.len());
    }
    let mut lints: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for lint in &report.lints {
        lints.entry(lint.code).or_default().push(lint.render());
    }
    for (code, found) in &lints {
        println!("lint {code}: {}, such as\n{}", found.len(), found[0]);
    }
    let notes: Vec<&str> = rules_of_file
        .iter()
        .flat_map(|rule| rule.unavailable.iter().map(String::as_str))
        .collect();
    let not_here = rules_of_file
        .iter()
        .filter(|rule| !rule.unavailable.is_empty());
    println!("{} rules with {} notes:", not_here.count(), notes.len());
    let distinct: std::collections::BTreeSet<&str> = notes.into_iter().collect();
    for note in distinct {
        println!("  {note}");
    }
    let counts = report.counts();
    assert_eq!(counts.loaded + counts.filtered + counts.rejected, 319);
    assert_eq!(errors(&report), Vec::<String>::new());
    // 37 are for Windows.
    let windows = filtered
        .iter()
        .filter(|(reason, _)| reason.contains("windows"));
    assert_eq!(windows.map(|(_, ids)| ids.len()).sum::<usize>(), 37);
    assert_eq!(loaded_macros, macros.len());
    let actions: usize = rules.rules().iter().map(|rule| rule.actions.len()).sum();
    println!("{actions} actions, {} variables", rules.variables().len());
    assert!(actions > 100);
}
