//! Where a rule is decided, and what it costs.

use atalaya_secl::model::EventView;
use atalaya_secl::{Condition, EvalContext, Failed, Necessary, NumberTest, RuleIndex, Target};
use serde::Serialize;

use crate::action::ActionBody;
use crate::{Rule, RuleSet};

/// Where a rule is decided, and what it costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The rule's own id.
    pub id: String,
    /// The event type it is for.
    pub event_type: String,
    /// What the kernel asks of an event before it sends it for this rule; empty if the rule never matches, `None` if it sends
    /// every event of the type.
    pub kernel: Option<Vec<String>>,
    /// Why the kernel sends every event: the smallest part of the expression that keeps it from asking anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept_all_because: Option<String>,
    /// What the index asks of an event before the rule is evaluated: that one of these holds. `None` if the rule is evaluated
    /// for every event.
    pub index: Option<Vec<IndexKey>>,
    /// What is evaluated for the events that are left, in this order, until something does not hold.
    pub terms: Vec<TermCost>,
    /// The sum of the weights.
    pub weight: u32,
    /// What evaluating all of it is thought to take.
    pub estimated_ns: u32,
    /// Fields that no event has here; they read as empty.
    pub unavailable: Vec<String>,
    /// The variables that its expression reads. Terms that read some are evaluated for each rule anew.
    pub variables_read: Vec<String>,
    /// The variables that its actions set.
    pub variables_set: Vec<String>,
}

/// What the index asks of one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IndexKey {
    /// The field.
    pub field: String,
    /// What any of its values must be or have.
    pub values: Vec<String>,
}

/// One term of the expression.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TermCost {
    /// The term as it is evaluated; long lists are cut.
    pub text: String,
    /// What it costs, on the scale of the reference.
    pub weight: u32,
    /// What it is thought to take.
    pub estimated_ns: u32,
    /// It is evaluated for each element of an iterator.
    pub each: bool,
}

impl RuleSet {
    /// Where the rule is decided. Of a rule that is several, one for each event type, this is the one with this very id.
    pub fn explain(&self, rule_id: &str) -> Option<Explanation> {
        let rule = self.rule(rule_id)?;
        let bucket = self.buckets.get(&rule.event_type)?;
        let at = bucket.iter().position(|&index| index == rule.index)?;
        let index = self.indexes.get(&rule.event_type)?;
        Some(self.explain_at(rule, index, at))
    }

    fn explain_at(&self, rule: &Rule, index: &RuleIndex, at: usize) -> Explanation {
        let program = rule.program();
        let terms: Vec<TermCost> = program
            .terms()
            .into_iter()
            .map(|term| TermCost {
                text: term.text,
                weight: term.weight,
                estimated_ns: term.estimated_ns,
                each: term.each,
            })
            .collect();
        let key = |key: atalaya_secl::KeyCondition| IndexKey {
            field: key.field,
            values: key.values,
        };
        let unavailable = program
            .fields()
            .iter()
            .filter(|field| field.unavailable.is_some());
        let mut variables_set: Vec<String> = rule
            .actions
            .iter()
            .filter_map(|action| match &action.body {
                ActionBody::Set(set) => self.variables().get(usize::try_from(set.variable.0).ok()?),
                _ => None,
            })
            .map(|variable| variable.name.clone())
            .collect();
        variables_set.sort();
        variables_set.dedup();
        Explanation {
            id: rule.id.clone(),
            event_type: rule.event_type.clone(),
            kernel: match program.necessary() {
                Necessary::Unknown => None,
                Necessary::AnyOf(all) => {
                    let told = |one| condition(&rule.event_type, one);
                    Some(all.iter().map(told).collect())
                }
            },
            accept_all_because: program.unfiltered_because(),
            index: index
                .key(at)
                .map(|keys| keys.into_iter().map(key).collect()),
            weight: program.weight(),
            estimated_ns: terms
                .iter()
                .fold(0, |sum: u32, term| sum.saturating_add(term.estimated_ns)),
            terms,
            unavailable: unavailable.map(|field| field.name.to_string()).collect(),
            variables_read: program.variables(),
            variables_set,
        }
    }
}

impl Rule {
    /// The terms of the rule that do not hold for the event; empty where the rule matches.
    pub fn why_not(&self, event: &dyn EventView, context: &EvalContext<'_>) -> Vec<Failed> {
        self.program.failures(event, context)
    }
}

fn condition(event: &str, condition: &Condition) -> String {
    let file = match &condition.target {
        Target::Any => "any file".to_owned(),
        Target::Number { slot, test } => {
            let field = atalaya_secl::kernel_number(event, *slot);
            match test {
                NumberTest::Equal(value) => format!("{field} == {value}"),
                NumberTest::Mask(mask) => format!("{field} & {mask:#x} != 0"),
            }
        }
        Target::Path(path) => format!("path {path}"),
        Target::Basename(name) => format!("name {name}"),
        Target::Directory { path, recursive } => {
            let place = if *recursive { "below" } else { "in" };
            format!("path {place} {path}")
        }
    };
    match condition.flags {
        0 => file,
        flags => format!("{file}, flags & {flags:#x} != 0"),
    }
}
