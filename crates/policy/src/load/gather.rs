//! The definitions of all policies → one of each id, in load order.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::document::{Common, MacroDef, RuleDef};
use crate::filter::{holds, version_matches};
use crate::lint::Notes;
use crate::locate::File;
use crate::merge::{MergedRule, Outcome, merge_macro, merge_rule};
use crate::options::LoadOptions;
use crate::report::{FilterType, LoadError, LoadReport, MacroReport, RuleReport, Status};
use crate::source::Policy;

/// What filters say of a definition: nothing, or which and why.
fn filtered(
    common: &Common,
    file: File<'_>,
    options: &LoadOptions,
) -> Result<Option<(FilterType, String)>, Box<LoadError>> {
    if let Some(constraint) = &common.agent_version {
        match version_matches(&constraint.value, &options.agent_version) {
            Ok(true) => {}
            Ok(false) => {
                let reason = format!(
                    "this agent version doesn't support this rule: agent_version is `{}`, and {} is emulated",
                    constraint.value, options.agent_version
                );
                return Ok(Some((FilterType::AgentVersion, reason)));
            }
            Err(message) => {
                let mut error = file.error(constraint.at, message);
                error.help = Some("such as `>= 7.50, < 7.55`".to_owned());
                return Err(Box::new(error));
            }
        }
    }
    let mut any = common.filters.is_empty();
    for filter in &common.filters {
        match holds(&filter.value, &options.host) {
            Ok(value) => any |= value,
            Err(error) => {
                return Err(Box::new(file.in_expression(
                    filter.at,
                    &filter.value,
                    "filter: ",
                    &error,
                )));
            }
        }
    }
    if any {
        return Ok(None);
    }
    let texts: Vec<&str> = common
        .filters
        .iter()
        .map(|filter| filter.value.as_str())
        .collect();
    let reason = format!("none of its filters holds here: {}", texts.join("; "));
    Ok(Some((FilterType::Filters, reason)))
}

/// The state of a definition before it is merged and compiled.
struct State {
    status: Status,
    filter_type: Option<FilterType>,
    filter_reason: Option<String>,
    errors: Vec<LoadError>,
}

fn state(common: &Common, file: File<'_>, options: &LoadOptions) -> State {
    let mut state = State {
        status: Status::Loaded,
        filter_type: None,
        filter_reason: None,
        errors: common.errors.clone(),
    };
    // What is for another host or version may be in a language that this version does not know.
    match filtered(common, file, options) {
        Ok(Some((filter, reason))) => {
            state.status = Status::Filtered;
            state.filter_type = Some(filter);
            state.filter_reason = Some(reason);
            state.errors.clear();
        }
        _ if common.unusable => state.status = Status::Error,
        Err(error) => {
            state.status = Status::Error;
            state.errors.push(*error);
        }
        Ok(None) => {}
    }
    state
}

/// A macro, with the positions of its policy and reports.
pub(super) struct MergedMacro {
    pub(super) def: MacroDef,
    pub(super) policy_index: usize,
    pub(super) report: (usize, usize),
}

pub(super) fn gather_macros(
    policies: &mut [Policy],
    options: &LoadOptions,
    report: &mut LoadReport,
    notes: &mut Notes,
) -> Vec<MergedMacro> {
    let mut merged: Vec<MergedMacro> = Vec::new();
    let mut by_id: FxHashMap<String, usize> = FxHashMap::default();
    for (policy_index, policy) in policies.iter_mut().enumerate() {
        for def in std::mem::take(&mut policy.document.macros) {
            let state = state(&def.common, policy.file(), options);
            let mut status = MacroReport {
                id: def.common.id.value.clone(),
                status: state.status,
                filter_type: state.filter_type,
                filter_reason: state.filter_reason,
                line: def.common.at.line,
                errors: state.errors,
            };
            let Some(policy_report) = report.policies.get_mut(policy.report) else {
                continue;
            };
            let position = (policy.report, policy_report.macros.len());
            if status.status == Status::Loaded {
                let id = def.common.id.value.clone();
                match by_id.get(&id).and_then(|&index| merged.get_mut(index)) {
                    Some(first) => match merge_macro(&mut first.def, &def, policy.file()) {
                        // Its text is now in the later file.
                        Ok(Outcome::Changed) if def.common.expression.is_some() => {
                            (first.policy_index, first.report) = (policy_index, position);
                        }
                        Ok(Outcome::Ignored) => notes.ignored_macro(policy_index, &def.common.id),
                        Ok(_) => {}
                        Err(error) => {
                            status.status = Status::Error;
                            status.errors.push(*error);
                        }
                    },
                    None => {
                        by_id.insert(id, merged.len());
                        merged.push(MergedMacro {
                            def,
                            policy_index,
                            report: position,
                        });
                    }
                }
            }
            policy_report.macros.push(status);
        }
    }
    merged
}

fn rule_report(def: &RuleDef, state: State) -> RuleReport {
    RuleReport {
        id: def.common.id.value.clone(),
        version: def.version.clone(),
        expression: def
            .common
            .expression
            .as_ref()
            .map(|text| text.value.clone())
            .unwrap_or_default(),
        event_type: None,
        status: state.status,
        filter_type: state.filter_type,
        filter_reason: state.filter_reason,
        merged_into: None,
        modified_by: Vec::new(),
        tags: def
            .tags
            .iter()
            .map(|(key, value)| format!("{key}:{value}"))
            .collect(),
        line: def.common.at.line,
        errors: state.errors,
        unavailable: Vec::new(),
        not_executed: Vec::new(),
    }
}

/// Merges the rules of the policies, which are taken in `order`.
pub(super) fn gather_rules(
    policies: &mut [Policy],
    order: &[usize],
    options: &LoadOptions,
    report: &mut LoadReport,
    notes: &mut Notes,
) -> Vec<MergedRule> {
    let mut merged: Vec<MergedRule> = Vec::new();
    let mut by_id: FxHashMap<String, usize> = FxHashMap::default();
    for &policy_index in order {
        let Some(policy) = policies.get_mut(policy_index) else {
            continue;
        };
        for mut def in std::mem::take(&mut policy.document.rules) {
            for action in &mut def.actions {
                action.policy = policy_index;
            }
            let mut status = rule_report(&def, state(&def.common, policy.file(), options));
            let Some(position) = report
                .policies
                .get(policy.report)
                .map(|found| (policy.report, found.rules.len()))
            else {
                continue;
            };
            if status.status == Status::Loaded {
                let id = def.common.id.value.clone();
                match by_id.get(&id).and_then(|&index| merged.get_mut(index)) {
                    Some(first) => {
                        status.merged_into = Some(first.policy.name.clone());
                        match merge_rule(first, &def, policy_index, &policy.info, policy.file()) {
                            Ok(outcome) => {
                                notes.merged(policy_index, &def.common.id, outcome, first);
                                note_modified(report, first, &policy.info.name);
                            }
                            Err(error) => {
                                status.status = Status::Error;
                                status.errors.push(*error);
                            }
                        }
                    }
                    None if def.common.expression.is_none() && !def.disabled => {
                        status.status = Status::Error;
                        let message = format!(
                            "no rule expression: no earlier policy has a rule `{id}` to override"
                        );
                        let mut error = policy.file().error(def.common.id.at, message);
                        error.help = Some(
                            "policies are read in the order of their file names, the default policy first"
                                .to_owned(),
                        );
                        status.errors.push(error);
                    }
                    None => {
                        by_id.insert(id, merged.len());
                        merged.push(MergedRule {
                            def,
                            policy: Arc::clone(&policy.info),
                            modified_by: Vec::new(),
                            policy_index,
                            text_policy: policy_index,
                            token_policy: policy_index,
                            report: position,
                        });
                    }
                }
            }
            if let Some(found) = report.policies.get_mut(policy.report) {
                found.rules.push(status);
            }
        }
    }
    // Back to load order.
    merged.sort_by_key(|rule| rule.policy_index);
    merged
}

fn note_modified(report: &mut LoadReport, first: &MergedRule, by: &str) {
    let (policy, rule) = first.report;
    let found = report
        .policies
        .get_mut(policy)
        .and_then(|found| found.rules.get_mut(rule));
    if let Some(found) = found {
        found.modified_by.push(by.to_owned());
    }
}
