//! Definitions → rules in force: filter, merge, compile, order.

use std::collections::BTreeMap;
use std::sync::Arc;

use atalaya_secl::MacroSet;
use atalaya_secl::model::Schema;
use rustc_hash::FxHashMap;

use crate::action::{self, ActionKind};
use crate::document::MAX_ERRORS;
use crate::lint::Notes;
use crate::merge::MergedRule;
use crate::options::LoadOptions;
use crate::report::{LoadError, LoadReport, RuleReport, Status};
use crate::rule::Rule;
use crate::ruleset::RuleSet;
use crate::source::{Policy, read_all};
use crate::variable::VariableTable;

mod compile;
mod gather;
mod macros;
mod unavailable;

pub(crate) fn load(schema: &dyn Schema, options: &LoadOptions) -> (RuleSet, LoadReport) {
    let mut report = LoadReport::default();
    let mut policies = read_all(options, &mut report);
    let texts = policies
        .iter()
        .filter(|policy| !policy.document.is_nothing())
        .filter_map(|policy| Some((policy.path.clone()?, Arc::from(policy.text.as_str()))))
        .collect();
    let mut notes = Notes::new(&policies);
    // The agent's own ids are its own, though its policies are read last.
    let internal_first = |policy: &Policy| !policy.info.internal;
    let mut order: Vec<usize> = (0..policies.len()).collect();
    order.sort_by_key(|&index| policies.get(index).is_none_or(internal_first));

    let merged_macros = gather::gather_macros(&mut policies, options, &mut report, &mut notes);
    let mut merged = gather::gather_rules(&mut policies, &order, options, &mut report, &mut notes);

    let mut loader = Loader {
        schema,
        options,
        policies: &policies,
        report,
        notes,
        variables: VariableTable::default(),
        macros: MacroSet::default(),
        macro_texts: BTreeMap::new(),
        captured: FxHashMap::default(),
        set: RuleSet {
            texts,
            ..RuleSet::default()
        },
    };
    loader.declare_variables(&mut merged);
    loader.define_macros(merged_macros);
    for rule in merged {
        loader.compile(rule);
    }
    loader.finish()
}

/// The state of a load.
struct Loader<'a> {
    schema: &'a dyn Schema,
    options: &'a LoadOptions,
    policies: &'a [Policy],
    report: LoadReport,
    notes: Notes,
    variables: VariableTable,
    macros: MacroSet,
    /// What the macros say, the macros in them included.
    macro_texts: BTreeMap<String, String>,
    /// Whether events of a type are captured at all, as far as asked.
    captured: FxHashMap<String, bool>,
    set: RuleSet,
}

impl Loader<'_> {
    fn rule_report(&mut self, (policy, rule): (usize, usize)) -> Option<&mut RuleReport> {
        self.report.policies.get_mut(policy)?.rules.get_mut(rule)
    }

    fn note(&mut self, at: (usize, usize), error: LoadError) {
        if let Some(report) = self.rule_report(at)
            && report.errors.len() < MAX_ERRORS
            && !report.errors.contains(&error)
        {
            report.errors.push(error);
        }
    }

    fn reject(&mut self, at: (usize, usize), error: LoadError) {
        if let Some(report) = self.rule_report(at) {
            report.errors.push(error);
            report.status = Status::Error;
        }
    }

    /// Declares the variables of `set` actions. An action that does not say which is skipped.
    fn declare_variables(&mut self, rules: &mut [MergedRule]) {
        for rule in rules.iter_mut().filter(|rule| !rule.def.disabled) {
            let (id, report) = (&rule.def.common.id.value, rule.report);
            rule.def.actions.retain(|raw| {
                if raw.kind != Some(ActionKind::Set) {
                    return true;
                }
                let declared = action::declare(raw, &mut self.variables, self.schema);
                let full = self
                    .rule_report(report)
                    .is_some_and(|report| report.errors.len() >= MAX_ERRORS);
                if let (Err(problem), Some(policy)) = (&declared, self.policies.get(raw.policy))
                    && !full
                {
                    self.note(report, problem.locate(id, policy.file()));
                }
                declared.is_ok()
            });
        }
    }

    fn finish(mut self) -> (RuleSet, LoadReport) {
        self.set.buckets = buckets(&self.set.rules);
        self.set.make_indexes();
        self.set.macros = self.macro_texts;
        self.set.variables = self.variables;
        for policy in &mut self.report.policies {
            let states = || {
                let rules = policy.rules.iter().map(|rule| rule.status);
                rules.chain(policy.macros.iter().map(|item| item.status))
            };
            if policy.status == Status::Loaded && states().any(|status| status == Status::Error) {
                policy.status = if states().any(|status| status == Status::Loaded) {
                    Status::PartiallyLoaded
                } else {
                    Status::Error
                };
            }
        }
        self.report.lints = self.notes.finish(self.policies, &self.set);
        (self.set, self.report)
    }
}

/// The rules of each event type in evaluation order.
fn buckets(rules: &[Rule]) -> BTreeMap<String, Vec<usize>> {
    let mut buckets: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for rule in rules {
        buckets
            .entry(rule.event_type.clone())
            .or_default()
            .push(rule.index);
    }
    for bucket in buckets.values_mut() {
        bucket.sort_by_key(|&index| {
            rules.get(index).map(|rule| {
                let context = rule.tags.get("execution_context");
                let context = context.is_some_and(|value| value.eq_ignore_ascii_case("true"));
                (
                    !context,
                    !rule.policy.is_default,
                    std::cmp::Reverse(rule.priority),
                    index,
                )
            })
        });
    }
    buckets
}
