//! The rules in force, in buckets by event type.

use std::collections::BTreeMap;

use atalaya_secl::model::{EventView, FieldInfo, Schema};
use atalaya_secl::{EvalContext, RuleIndex, Scratch, Variables};

use crate::variable::{VariableDef, VariableTable};
use crate::{Approvers, LoadOptions, LoadReport, Rule, Texts};

/// The rules in force, in buckets by event type. Immutable: a reload makes another one.
#[derive(Debug, Default)]
pub struct RuleSet {
    pub(crate) rules: Vec<Rule>,
    /// Indices into `rules`, in evaluation order.
    pub(crate) buckets: BTreeMap<String, Vec<usize>>,
    /// The rules of each bucket, in the same order.
    pub(crate) indexes: BTreeMap<String, RuleIndex>,
    pub(crate) variables: VariableTable,
    /// What each macro says, for comparison with another load.
    pub(crate) macros: BTreeMap<String, String>,
    pub(crate) texts: Texts,
}

impl RuleSet {
    /// Reads and compiles every policy. Never fails: what cannot be used is left out and reported.
    pub fn load(schema: &dyn Schema, options: &LoadOptions) -> (Self, LoadReport) {
        crate::load::load(schema, options)
    }

    /// Makes the indexes, when the buckets are complete.
    pub(crate) fn make_indexes(&mut self) {
        let rules = &self.rules;
        let index = |bucket: &Vec<usize>| {
            RuleIndex::new(
                bucket
                    .iter()
                    .filter_map(|&index| rules.get(index))
                    .map(|rule| &rule.program),
            )
        };
        self.indexes = self
            .buckets
            .iter()
            .map(|(event_type, bucket)| (event_type.clone(), index(bucket)))
            .collect();
    }

    /// The event types for which there are rules.
    pub fn event_types(&self) -> impl Iterator<Item = &str> {
        self.buckets.keys().map(String::as_str)
    }

    /// Whether any rule is for this event type.
    pub fn has_rules(&self, event_type: &str) -> bool {
        self.buckets.contains_key(event_type)
    }

    /// Every rule, in load order; `rules()[rule.index()]` is `rule`.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rules for an event type, in evaluation order.
    pub fn rules_for(&self, event_type: &str) -> impl Iterator<Item = &Rule> {
        self.buckets
            .get(event_type)
            .into_iter()
            .flatten()
            .filter_map(|&index| self.rules.get(index))
    }

    /// The variables that the rules set; a [`atalaya_secl::VariableId`] is an index into them.
    pub fn variables(&self) -> &[VariableDef] {
        &self.variables.defs
    }

    /// The texts of the files that the rules are from, for [`LoadOptions::earlier`] of the next load.
    pub fn texts(&self) -> &Texts {
        &self.texts
    }

    /// The rule with this id.
    pub fn rule(&self, id: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.id == id)
    }

    /// Calls `on_match` for each rule that matches the event, in evaluation order and at once: what it changes in `variables` is
    /// seen by the rules after. `now_ns` is on the clock of the event's time fields (`event.timestamp`, `process.created_at`).
    /// Returns whether any rule matched.
    pub fn evaluate<V: Variables>(
        &self,
        event_type: &str,
        event: &dyn EventView,
        now_ns: u64,
        variables: &mut V,
        scratch: &mut Scratch,
        mut on_match: impl FnMut(&mut V, &Rule),
    ) -> bool {
        let Some((bucket, index)) = self
            .buckets
            .get(event_type)
            .zip(self.indexes.get(event_type))
        else {
            return false;
        };
        index.start(event, now_ns, scratch);
        let mut from = 0;
        loop {
            let context = EvalContext {
                now_ns,
                variables: &*variables,
            };
            let Some(at) = index.next_match(event, &context, scratch, from) else {
                return from > 0;
            };
            if let Some(rule) = bucket.get(at).and_then(|&index| self.rules.get(index)) {
                on_match(variables, rule);
            }
            from = at + 1;
        }
    }

    /// The rules that the last evaluation of an event of this type looked at, and the nanoseconds that each took, where it was measured
    /// ([`Scratch::measure_next`]).
    pub fn samples<'a>(
        &'a self,
        event_type: &str,
        scratch: &'a Scratch,
    ) -> impl Iterator<Item = (&'a Rule, u64)> {
        let bucket = self.buckets.get(event_type);
        scratch.samples().iter().filter_map(move |&(at, ns)| {
            let rule = self.rules.get(*bucket?.get(at)?)?;
            Some((rule, ns))
        })
    }

    /// Does what [`Self::evaluate`] does, one rule after the other: what the index is measured and tested against.
    pub fn evaluate_linear<V: Variables>(
        &self,
        event_type: &str,
        event: &dyn EventView,
        now_ns: u64,
        variables: &mut V,
        mut on_match: impl FnMut(&mut V, &Rule),
    ) -> bool {
        let mut any = false;
        for rule in self.rules_for(event_type) {
            let context = EvalContext {
                now_ns,
                variables: &*variables,
            };
            if rule.program.matches(event, &context) {
                any = true;
                on_match(variables, rule);
            }
        }
        any
    }

    /// What an event of this type must have for any rule to match: the union of the rules' necessary conditions.
    /// An event that [`Approvers::accepts`] rejects matches no rule.
    pub fn approvers(&self, event_type: &str) -> Approvers {
        let mut approvers = Approvers::default();
        for rule in self.rules_for(event_type) {
            approvers.add(rule);
        }
        approvers.finish();
        approvers
    }

    /// Every field that the rules of this event type and their actions read (or of all event types, for `None`), each once.
    pub fn fields(&self, event_type: Option<&str>) -> Vec<&FieldInfo> {
        let mut by_id = BTreeMap::new();
        for rule in &self.rules {
            if event_type.is_none_or(|wanted| wanted == rule.event_type) {
                let fields = rule.program.fields().iter().chain(&rule.limiter_fields);
                for field in fields.chain(&rule.action_fields) {
                    by_id.entry(field.id).or_insert(field);
                }
            }
        }
        by_id.into_values().collect()
    }
}
