//! What a reload changes.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::{LoadReport, Status};
use crate::rule::Rule;
use crate::ruleset::RuleSet;
use crate::variable::VariableDef;

/// The difference between two loads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RuleSetDiff {
    /// The ids of rules that are new.
    pub added: Vec<String>,
    /// The ids of rules that are gone, failed ones included.
    pub removed: Vec<String>,
    /// Rules that differ.
    pub changed: Vec<RuleChange>,
    /// Rules and macros that failed now and did not before, with the errors.
    pub newly_failing: Vec<Failure>,
    /// Macros that are new.
    pub macros_added: Vec<String>,
    /// Macros that are gone.
    pub macros_removed: Vec<String>,
    /// Macros that say something else.
    pub macros_changed: Vec<String>,
    /// Variables that keep their values.
    pub variables_kept: Vec<String>,
    /// Variables that are new.
    pub variables_added: Vec<String>,
    /// Variables whose values are lost: they are gone, or of another type.
    pub variables_dropped: Vec<String>,
    /// How many rules are as they were.
    pub unchanged: usize,
}

/// A rule that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleChange {
    /// Its id.
    pub id: String,
    /// What differs: the keys of the policy file.
    pub what: Vec<&'static str>,
}

/// A rule or macro that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Its id.
    pub id: String,
    /// What is wrong, a line an error.
    pub errors: Vec<String>,
}

impl RuleSetDiff {
    /// Compares two loads. The agent's own rules are not compared.
    pub fn between(old: (&RuleSet, &LoadReport), new: (&RuleSet, &LoadReport)) -> Self {
        let mut diff = Self::default();
        let (before, after) = (rules(old.0), rules(new.0));
        for (id, rule) in &after {
            let Some(earlier) = before.get(id) else {
                diff.added.push((*id).to_owned());
                continue;
            };
            let what = changes(earlier, rule);
            if what.is_empty() {
                diff.unchanged += 1;
            } else {
                diff.changed.push(RuleChange {
                    id: (*id).to_owned(),
                    what,
                });
            }
        }
        let gone = before.keys().filter(|id| !after.contains_key(*id));
        diff.removed = gone.map(|id| (*id).to_owned()).collect();
        let known = failures(old.1);
        diff.newly_failing = failures(new.1)
            .into_iter()
            .filter(|(id, errors)| known.get(id) != Some(errors))
            .map(|(id, errors)| Failure { id, errors })
            .collect();
        diff.macros(old.0, new.0);
        diff.variables(old.0, new.0);
        diff
    }

    /// Whether the loads are the same, but for what failed in both.
    pub fn is_empty(&self) -> bool {
        *self
            == Self {
                unchanged: self.unchanged,
                variables_kept: self.variables_kept.clone(),
                ..Self::default()
            }
    }

    fn macros(&mut self, old: &RuleSet, new: &RuleSet) {
        for (id, text) in &new.macros {
            match old.macros.get(id) {
                None => self.macros_added.push(id.clone()),
                Some(earlier) if earlier != text => self.macros_changed.push(id.clone()),
                Some(_) => {}
            }
        }
        let gone = old.macros.keys().filter(|id| !new.macros.contains_key(*id));
        self.macros_removed = gone.cloned().collect();
    }

    fn variables(&mut self, old: &RuleSet, new: &RuleSet) {
        let same =
            |a: &VariableDef, b: &VariableDef| (&a.name, a.ty, a.list) == (&b.name, b.ty, b.list);
        for def in old.variables() {
            let kept = new.variables().iter().any(|now| same(now, def));
            let list = if kept {
                &mut self.variables_kept
            } else {
                &mut self.variables_dropped
            };
            list.push(def.name.clone());
        }
        self.variables_added = new
            .variables()
            .iter()
            .filter(|def| !old.variables().iter().any(|was| was.name == def.name))
            .map(|def| def.name.clone())
            .collect();
    }
}

/// The rules by the id that users know, or by their own where several report as one.
fn rules(set: &RuleSet) -> BTreeMap<&str, &Rule> {
    set.rules()
        .iter()
        .filter(|rule| !rule.policy.internal)
        .map(|rule| (rule.written_id.as_str(), rule))
        .collect()
}

/// The keys that differ.
fn changes(old: &Rule, new: &Rule) -> Vec<&'static str> {
    let actions = |rule: &Rule| {
        let sources = rule.actions.iter().map(|action| action.source.clone());
        sources.collect::<Vec<_>>()
    };
    [
        ("expression", old.expression != new.expression),
        ("macros", old.macros_hash != new.macros_hash),
        ("actions", actions(old) != actions(new)),
        ("tags", old.tags != new.tags),
        ("product_tags", old.product_tags != new.product_tags),
        ("every", old.every != new.every),
        ("limiter_token", old.limiter_token != new.limiter_token),
        ("silent", old.silent != new.silent),
        ("priority", old.priority != new.priority),
        ("group_id", old.group_id != new.group_id),
        ("version", old.version != new.version),
        ("description", old.description != new.description),
        ("policy", old.policy.name != new.policy.name),
    ]
    .into_iter()
    .filter_map(|(key, differs)| differs.then_some(key))
    .collect()
}

/// What was rejected, by id.
fn failures(report: &LoadReport) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for policy in &report.policies {
        let rules = policy
            .rules
            .iter()
            .map(|rule| (&rule.id, rule.status, &rule.errors));
        let macros = policy
            .macros
            .iter()
            .map(|item| (&item.id, item.status, &item.errors));
        for (id, status, errors) in rules.chain(macros) {
            if status == Status::Error {
                let errors = errors.iter().map(ToString::to_string);
                found.entry(id.clone()).or_default().extend(errors);
            }
        }
        if !policy.errors.is_empty() {
            let errors = policy.errors.iter().map(ToString::to_string);
            found.entry(policy.name.clone()).or_default().extend(errors);
        }
    }
    found
}
