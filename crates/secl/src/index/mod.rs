//! What the rules of one event type share.
//!
//! Most rules can be ruled out by one look: a rule on `exec.file.name == "nmap"` concerns no other program. [`key`] finds
//! such a necessary condition for each rule, [`slot`] turns the conditions around, so that each field is read once and its
//! value leads to the rules that it can concern. Only those are evaluated, in their order; a rule without such a condition
//! always is. Predicates that several rules have in common ([`graph`]) are evaluated once.

mod choose;
mod graph;
mod key;
mod scratch;
mod slot;
mod text;

use crate::ir::Cx;
use crate::model::{EventView, IterId};
use crate::program::{MAX_REGISTER, Program};
use crate::variables::{EvalContext, NoVariables};

use choose::Chooser;
use graph::{Builder, Graph};
use slot::Slots;

pub use scratch::{Effort, Scratch};
pub use slot::KeyCondition;

/// The rules of one event type, ready to be evaluated together.
#[derive(Debug, Default)]
pub struct RuleIndex {
    graph: Graph,
    rules: Vec<Entry>,
    slots: Slots,
    /// One bit for each rule that the slots decide nothing about.
    always: Vec<u64>,
}

#[derive(Debug)]
struct Entry {
    once: u32,
    each: Option<(IterId, u32)>,
}

impl RuleIndex {
    /// Makes the index of rules, which are known by their position from here on.
    pub fn new<'a>(programs: impl IntoIterator<Item = &'a Program>) -> Self {
        let programs: Vec<&Program> = programs.into_iter().collect();
        let chooser = Chooser::new(&programs);
        let mut graph = Builder::default();
        let mut slots = slot::Builder::default();
        let mut rules: Vec<Entry> = Vec::new();
        let mut always = vec![0u64; programs.len().div_ceil(64)];
        for (number, program) in (0u32..).zip(programs) {
            match (chooser.choose(program), always.get_mut(rules.len() / 64)) {
                (Some(key), _) => slots.add(key, number),
                (None, Some(word)) => *word |= 1 << (number % 64),
                (None, None) => {}
            }
            let (once, each) = program.parts();
            rules.push(Entry {
                once: graph.add(once),
                each: each.map(|(iter, pred)| (*iter, graph.add(pred))),
            });
        }
        Self {
            graph: graph.finish(),
            rules,
            slots: slots.finish(),
            always,
        }
    }

    /// What the index asks of an event before the rule is evaluated: one of these must hold. `None` where the rule is evaluated
    /// for each event; empty where it never matches.
    pub fn key(&self, rule: usize) -> Option<Vec<KeyCondition>> {
        let always = self.always.get(rule / 64)? >> (rule % 64) & 1 == 1;
        let rule = u32::try_from(rule).ok()?;
        (!always).then(|| self.slots.conditions(rule))
    }

    /// Begins an evaluation: finds the rules that can match. [`Self::next_match`] tells which do.
    pub fn start(&self, event: &dyn EventView, now_ns: u64, scratch: &mut Scratch) {
        scratch.start(&self.always, self.graph.len());
        // No key reads a variable.
        let context = EvalContext {
            now_ns,
            variables: &NoVariables,
        };
        self.slots.read(
            &Cx {
                event,
                context: &context,
                register: 0,
            },
            scratch,
        );
    }

    /// The first rule at or after `from` that matches. Variables may change between two calls; event and time must be those of
    /// [`Self::start`].
    pub fn next_match(
        &self,
        event: &dyn EventView,
        context: &EvalContext<'_>,
        scratch: &mut Scratch,
        from: usize,
    ) -> Option<usize> {
        let mut from = from;
        loop {
            let rule = scratch.next_candidate(from)?;
            scratch.effort.candidates += 1;
            let began = scratch.now();
            let matches = self.matches(self.rules.get(rule)?, event, context, scratch);
            scratch.took(rule, began);
            if matches {
                return Some(rule);
            }
            from = rule + 1;
        }
    }

    fn matches(
        &self,
        rule: &Entry,
        event: &dyn EventView,
        context: &EvalContext<'_>,
        scratch: &mut Scratch,
    ) -> bool {
        let mut cx = Cx {
            event,
            context,
            register: 0,
        };
        if !self.graph.eval(rule.once, &cx, scratch) {
            return false;
        }
        let Some((iter, pred)) = rule.each else {
            return true;
        };
        (0..event.iter_len(iter).min(MAX_REGISTER)).any(|at| {
            cx.register = at;
            self.graph.eval(pred, &cx, scratch)
        })
    }
}
