//! What the rules of one event type share.
//!
//! Most rules can be ruled out by one look: a rule on `exec.file.name == "nmap"` concerns no other program. [`key`] finds
//! such a necessary condition for each rule, [`slot`] turns the conditions around, so that each field is read once and its
//! value leads to the rules that it can concern. Only those are evaluated, in their order; a rule without such a condition
//! always is. Predicates that several rules have in common ([`graph`]) are evaluated once.

mod graph;
mod key;
mod scratch;
mod slot;
mod text;

use crate::ir::Cx;
use crate::model::{EventView, IterId};
use crate::program::{MAX_REGISTER, Program};
use crate::variables::{EvalContext, NoVariables};

use graph::{Builder, Graph};
use slot::Slots;

pub use scratch::{Effort, Scratch};

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
        let mut graph = Builder::default();
        let mut slots = slot::Builder::default();
        let mut rules: Vec<Entry> = Vec::new();
        let mut always = Vec::new();
        for program in programs {
            let rule = rules.len();
            if rule.is_multiple_of(64) {
                always.push(0);
            }
            match key::of(program) {
                Some(key) => slots.add(key, u32::try_from(rule).unwrap_or(u32::MAX)),
                None => {
                    if let Some(word) = always.last_mut() {
                        *word |= 1u64 << (rule % 64);
                    }
                }
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
            if self.matches(self.rules.get(rule)?, event, context, scratch) {
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
