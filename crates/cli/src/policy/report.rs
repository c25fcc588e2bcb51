//! What `policy check` tells of policies that were loaded: for people and as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::Result;
use atalaya_api::Sanitized;
use atalaya_model::capture::CaptureKind;
use atalaya_policy::{Approvers, FilterType, PolicyReport, RuleReport, RuleSet, Status};
use atalaya_secl::kernel_number;
use serde_json::{Value, json};

use super::load::LoadedFiles;
use super::{count, plain};

/// So many names are shown where not all are asked for.
const SOME: usize = 3;

/// The report for people.
pub(super) fn text(loaded: &LoadedFiles, verbose: bool) -> String {
    let report = &loaded.report;
    let counts = report.counts();
    let mut text = format!(
        "{}: {}, {} loaded, {} filtered out, {} rejected\n",
        Sanitized(&loaded.from),
        policies(report.policies.len()),
        count(counts.loaded, "rule"),
        counts.filtered,
        counts.rejected
    );
    for policy in &report.policies {
        policy_text(&mut text, policy, verbose);
    }
    let types: Vec<_> = loaded
        .rules
        .event_types()
        .filter(|name| CaptureKind::from_name(name).is_some())
        .collect();
    if !types.is_empty() {
        text.push_str("\nWhat the kernel passes to the rules\n");
    }
    for event_type in types {
        event_type_text(&mut text, &loaded.rules, event_type, verbose);
    }
    text
}

fn policies(number: usize) -> String {
    match number {
        1 => "1 policy".to_owned(),
        number => format!("{number} policies"),
    }
}

// Writing to a String cannot fail, so results are dropped from here on.

fn policy_text(text: &mut String, policy: &PolicyReport, verbose: bool) {
    let version = match policy.version.as_str() {
        "" => String::new(),
        version => format!(" {}", Sanitized(version)),
    };
    let state = match policy.status {
        Status::Loaded => "loaded",
        Status::PartiallyLoaded => "partially loaded",
        Status::Filtered => "replaced by another policy",
        Status::Error => "rejected",
    };
    let _ = writeln!(
        text,
        "  {}{version}: {state}; {}, {}",
        Sanitized(&policy.name),
        count(policy.rules.len(), "rule"),
        count(policy.macros.len(), "macro")
    );
    let mut filtered: BTreeMap<&str, Vec<&RuleReport>> = BTreeMap::new();
    for rule in policy
        .rules
        .iter()
        .filter(|rule| rule.status == Status::Filtered)
    {
        filtered
            .entry(reason(rule.filter_type))
            .or_default()
            .push(rule);
    }
    for (reason, rules) in filtered {
        listed(
            text,
            &format!("left out, {reason}"),
            &rules,
            verbose,
            |rule| rule.filter_reason.clone().unwrap_or_default(),
        );
    }
    let not_here = |rule: &&RuleReport| is_of_missing_event(rule);
    let missing: Vec<_> = policy.rules.iter().filter(not_here).collect();
    let types: BTreeSet<&str> = missing
        .iter()
        .filter_map(|rule| rule.event_type.as_deref())
        .collect();
    let types = types.into_iter().collect::<Vec<_>>().join(", ");
    let title = format!("never match, event not available here ({types})");
    listed(text, &title, &missing, verbose, |rule| {
        rule.unavailable.join("; ")
    });
    let partly: Vec<_> = policy
        .rules
        .iter()
        .filter(|rule| !rule.unavailable.is_empty() && !is_of_missing_event(rule))
        .collect();
    let title = "read fields that are not available here";
    listed(text, title, &partly, verbose, |rule| {
        rule.unavailable.join("; ")
    });
    let idle: Vec<_> = policy
        .rules
        .iter()
        .filter(|rule| !rule.not_executed.is_empty())
        .collect();
    listed(
        text,
        "have actions that this build does not execute",
        &idle,
        verbose,
        |rule| rule.not_executed.join(", "),
    );
}

fn reason(filter: Option<FilterType>) -> &'static str {
    match filter {
        Some(FilterType::Filters) => "`filters` are false on this host",
        Some(FilterType::AgentVersion) => "`agent_version` excludes this agent",
        Some(FilterType::Disabled) => "`disabled`",
        None => "for another reason",
    }
}

/// Whether the rule's events cannot be seen by this build at all.
fn is_of_missing_event(rule: &RuleReport) -> bool {
    rule.unavailable
        .iter()
        .any(|why| why.starts_with("event not available"))
}

/// `    12 rules left out: …`, or, in full, a line a rule.
fn listed(
    text: &mut String,
    title: &str,
    rules: &[&RuleReport],
    verbose: bool,
    about: impl Fn(&RuleReport) -> String,
) {
    if rules.is_empty() {
        return;
    }
    let _ = write!(
        text,
        "    {} {}",
        count(rules.len(), "rule"),
        Sanitized(title)
    );
    if !verbose {
        let ids: Vec<_> = rules.iter().map(|rule| rule.id.as_str()).collect();
        let _ = writeln!(text, ": {}", some(&ids));
        return;
    }
    text.push('\n');
    for rule in rules {
        let about = match about(rule) {
            about if about.is_empty() => about,
            about => format!(": {}", plain(&about)),
        };
        let _ = writeln!(
            text,
            "      {} (line {}){about}",
            Sanitized(&rule.id),
            rule.line
        );
    }
}

/// `a, b, c and 2 more`
fn some(names: &[&str]) -> String {
    let shown: Vec<_> = names
        .iter()
        .take(SOME)
        .map(|name| Sanitized(name).to_string())
        .collect();
    match names.len().saturating_sub(SOME) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn event_type_text(text: &mut String, rules: &RuleSet, event_type: &str, verbose: bool) {
    let approvers = rules.approvers(event_type);
    let because: Vec<_> = approvers.all_because.iter().map(String::as_str).collect();
    let is_needed = matches!(event_type, "exec" | "exit" | "fork");
    let mode = if is_needed {
        "every event: the process tree is made of them".to_owned()
    } else if approvers.all {
        format!("every event, because of {}", some(&because))
    } else {
        format!("only events with {}", values(&approvers))
    };
    let number = count(rules.rules_for(event_type).count(), "rule");
    let _ = writeln!(text, "  {event_type:<8} {number:>9}: {mode}");
    if approvers.all && !is_needed && verbose {
        for id in because {
            let part = part_that_accepts(rules, id);
            let part = part.map_or(String::new(), |part| format!(": {part}"));
            let _ = writeln!(text, "      {}{}", Sanitized(id), plain(&part));
        }
    }
}

/// The part of a rule that keeps the kernel from filtering.
fn part_that_accepts(rules: &RuleSet, id: &str) -> Option<String> {
    rules.explain(id)?.accept_all_because
}

/// What an event must have one of.
fn values(approvers: &Approvers) -> String {
    let mut parts = Vec::new();
    for (number, thing) in [
        (approvers.paths.len(), "path"),
        (approvers.basenames.len(), "name"),
    ] {
        if number > 0 {
            let one_of = if number == 1 { "" } else { "one of " };
            parts.push(format!("{one_of}{}", count(number, thing)));
        }
    }
    match approvers.directories.len() {
        0 => {}
        1 => parts.push("a file below 1 directory".to_owned()),
        number => parts.push(format!("a file below one of {number} directories")),
    }
    if !approvers.numbers.is_empty() || approvers.masks != [0, 0] {
        let masks = approvers.masks.iter().filter(|mask| **mask != 0).count();
        let number = approvers.numbers.len() + masks;
        parts.push(format!("one of {}", count(number, "number")));
    }
    if approvers.flags != 0 {
        parts.push(format!("one of the flags {:#x}", approvers.flags));
    }
    match parts.is_empty() {
        true => "nothing: no rule can match".to_owned(),
        false => parts.join(", or "),
    }
}

/// The report as JSON: the filters as the reference's command prints them, and everything else that is known.
pub(super) fn json(loaded: &LoadedFiles) -> Result<Value> {
    let mut approvers = serde_json::Map::new();
    for event_type in loaded.rules.event_types() {
        let found = loaded.rules.approvers(event_type);
        approvers.insert(
            event_type.to_owned(),
            approvers_json(event_type, &found, &loaded.rules),
        );
    }
    let mut value = serde_json::to_value(&loaded.report)?;
    if let Some(object) = value.as_object_mut() {
        let counts = serde_json::to_value(loaded.report.counts())?;
        object.insert("counts".into(), counts);
        object.insert("filters".into(), json!({ "approvers": approvers }));
    }
    Ok(value)
}

fn approvers_json(event_type: &str, approvers: &Approvers, rules: &RuleSet) -> Value {
    let pair = |kind: &str, (value, flags): &(String, u32)| json!({"kind": kind, "value": value, "flags": flags});
    let mut values: Vec<Value> = Vec::new();
    values.extend(approvers.paths.iter().map(|item| pair("path", item)));
    values.extend(approvers.basenames.iter().map(|item| pair("name", item)));
    values.extend(approvers.directories.iter().map(|(value, recursive, flags)| {
        json!({"kind": "directory", "value": value, "recursive": recursive, "flags": flags})
    }));
    values.extend(approvers.numbers.iter().map(|(slot, value)| {
        json!({"kind": "number", "field": kernel_number(event_type, *slot), "value": value})
    }));
    for (slot, mask) in (0..).zip(approvers.masks).filter(|(_, mask)| *mask != 0) {
        values
            .push(json!({"kind": "bits", "field": kernel_number(event_type, slot), "value": mask}));
    }
    if approvers.flags != 0 {
        values.push(json!({"kind": "flags", "flags": approvers.flags}));
    }
    let because = approvers.all_because.iter();
    json!({
        "mode": if approvers.all { "accept" } else { "deny" },
        "approvers": values,
        "accept_mode_rules": because
            .map(|id| json!({"rule_id": id, "part": part_that_accepts(rules, id)}))
            .collect::<Vec<_>>(),
    })
}
