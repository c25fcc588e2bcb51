//! A compiled rule.

use crate::ir::{Cx, Pred};
use crate::model::{EventView, FieldInfo, IterId};
use crate::necessary::{Necessary, necessary};
use crate::variables::EvalContext;

/// How many elements a named iterator goes through.
pub(crate) const MAX_REGISTER: usize = 100;

/// A compiled expression.
#[derive(Debug, Clone)]
pub struct Program {
    event_type: Option<String>,
    fields: Vec<FieldInfo>,
    necessary: Necessary,
    /// What is evaluated once.
    once: Pred,
    /// What is evaluated for each element of the named iterator, until it holds for one.
    each: Option<(IterId, Pred)>,
}

impl Program {
    pub(crate) fn new(
        pred: Pred,
        event_type: Option<String>,
        fields: Vec<FieldInfo>,
        register: Option<IterId>,
    ) -> Self {
        let necessary = necessary(&pred, event_type.as_deref());
        let (once, each) = match register {
            None => (pred, None),
            Some(iter) => {
                // What does not depend on the element need not be evaluated for each.
                let terms = match pred {
                    Pred::And(terms) => terms,
                    other => vec![other],
                };
                let (each, once) = terms.into_iter().partition(Pred::uses_register);
                (Pred::and(once), Some((iter, Pred::and(each))))
            }
        };
        Self {
            event_type,
            fields,
            necessary,
            once,
            each,
        }
    }

    /// Whether the event satisfies the expression.
    pub fn matches(&self, event: &dyn EventView, context: &EvalContext<'_>) -> bool {
        let mut cx = Cx {
            event,
            context,
            register: 0,
        };
        if !self.once.eval(&cx) {
            return false;
        }
        let Some((iter, pred)) = &self.each else {
            return true;
        };
        (0..event.iter_len(*iter).min(MAX_REGISTER)).any(|at| {
            cx.register = at;
            pred.eval(&cx)
        })
    }

    /// What is evaluated once, and what for each element of the named iterator.
    pub(crate) fn parts(&self) -> (&Pred, Option<&(IterId, Pred)>) {
        (&self.once, self.each.as_ref())
    }

    /// The event type that the expression is about, if it names a field of one.
    pub fn event_type(&self) -> Option<&str> {
        self.event_type.as_deref()
    }

    /// The fields that it reads, each once.
    pub fn fields(&self) -> &[FieldInfo] {
        &self.fields
    }

    /// The texts that a field is compared with, by equality.
    pub fn texts_of(&self, field: &str) -> Vec<&str> {
        let mut texts = Vec::new();
        self.once.texts_of(field, &mut texts);
        if let Some((_, each)) = &self.each {
            each.texts_of(field, &mut texts);
        }
        texts
    }

    /// What an event must have for the expression to hold.
    pub fn necessary(&self) -> &Necessary {
        &self.necessary
    }

    /// What it costs to evaluate, on the scale of the reference.
    pub fn weight(&self) -> u32 {
        self.once
            .weight()
            .saturating_add(self.each.as_ref().map_or(0, |(_, pred)| pred.weight()))
    }

    /// Whether it holds for every event, or for none, whatever the event.
    pub fn constant(&self) -> Option<bool> {
        match (&self.once, &self.each) {
            (Pred::Const(false), _) => Some(false),
            (Pred::Const(true), None) => Some(true),
            _ => None,
        }
    }
}
