//! What a compiled expression does, and why it does not hold for an event: for people who write rules.

use crate::ir::{Cx, Pred, Source};
use crate::model::{EventView, Item};
use crate::necessary::defeat;
use crate::program::{MAX_REGISTER, Program};
use crate::variables::EvalContext;

/// One term of the conjunction that an expression is, as it is evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// The term as text; long lists are cut.
    pub text: String,
    /// What it costs, on the scale of the reference.
    pub weight: u32,
    /// What it is thought to cost, in nanoseconds.
    pub estimated_ns: u32,
    /// It is evaluated for each element of an iterator.
    pub each: bool,
}

/// A term that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The term as text; long lists are cut.
    pub text: String,
    /// The fields and variables that it looks at, with the first of their values.
    pub values: Vec<(String, Vec<String>)>,
}

fn terms(pred: &Pred) -> &[Pred] {
    match pred {
        Pred::And(terms) => terms,
        Pred::Const(true) => &[],
        other => std::slice::from_ref(other),
    }
}

impl Program {
    /// The terms, in the order in which they are evaluated: the first that does not hold ends it.
    pub fn terms(&self) -> Vec<Term> {
        let (once, each) = self.parts();
        let describe = |pred: &Pred, each: bool| Term {
            text: pred.to_string(),
            weight: pred.weight(),
            estimated_ns: pred.estimate_ns(),
            each,
        };
        let once = terms(once).iter().map(|term| describe(term, false));
        let each = each.into_iter().flat_map(|(_, pred)| terms(pred));
        once.chain(each.map(|term| describe(term, true))).collect()
    }

    /// Every variable that it reads, by name, each once.
    pub fn variables(&self) -> Vec<String> {
        let mut names = Vec::new();
        let (once, each) = self.parts();
        for pred in std::iter::once(once).chain(each.map(|(_, pred)| pred)) {
            pred.each_source(&mut |source| source.variable_names(&mut names));
        }
        names.sort();
        names.dedup();
        names
    }

    /// The smallest part of the expression because of which nothing can be said of the events that it holds for. `None` where
    /// [`Self::necessary`] says something.
    pub fn unfiltered_because(&self) -> Option<String> {
        let (once, each) = self.parts();
        let whole = match each {
            None => once.clone(),
            Some((_, pred)) => Pred::And([terms(once), terms(pred)].concat()),
        };
        defeat(&whole, self.event_type())
    }

    /// The terms that do not hold for the event. Empty where the expression holds.
    pub fn failures(&self, event: &dyn EventView, context: &EvalContext<'_>) -> Vec<Failed> {
        let mut cx = Cx {
            event,
            context,
            register: 0,
        };
        let (once, each) = self.parts();
        let mut failures: Vec<Failed> = terms(once)
            .iter()
            .filter(|term| !term.eval(&cx))
            .map(|term| failed(term, &cx))
            .collect();
        if let Some((iter, pred)) = each {
            let length = event.iter_len(*iter).min(MAX_REGISTER);
            let found = (0..length).any(|at| {
                cx.register = at;
                pred.eval(&cx)
            });
            if !found {
                failures.push(Failed {
                    text: format!("for one of {length} elements: {pred}"),
                    values: Vec::new(),
                });
            }
        }
        failures
    }
}

/// A term, and whether it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluated {
    /// The term as text; long lists are cut.
    pub text: String,
    /// It holds; of terms of an iterator's elements: for the element that all of them hold for.
    pub holds: bool,
    /// Where it is a disjunction: those of its alternatives that hold.
    pub alternatives: Vec<String>,
    /// The fields and variables that it looks at, with the first of their values.
    pub values: Vec<(String, Vec<String>)>,
}

impl Program {
    /// Each term, whether it holds for the event, and what it looked at.
    pub fn evaluated(&self, event: &dyn EventView, context: &EvalContext<'_>) -> Vec<Evaluated> {
        let mut cx = Cx {
            event,
            context,
            register: 0,
        };
        let (once, each) = self.parts();
        let mut all: Vec<Evaluated> = terms(once)
            .iter()
            .map(|term| evaluated(term, &cx))
            .collect();
        if let Some((iter, pred)) = each {
            let length = event.iter_len(*iter).min(MAX_REGISTER);
            let found = (0..length).find(|at| {
                cx.register = *at;
                pred.eval(&cx)
            });
            // Where there is none, the first one shows what there was.
            cx.register = found.unwrap_or(0);
            all.extend(terms(pred).iter().map(|term| evaluated(term, &cx)));
        }
        all
    }
}

fn evaluated(pred: &Pred, cx: &Cx<'_>) -> Evaluated {
    let alternatives = match pred {
        Pred::Or(terms) => terms
            .iter()
            .filter(|term| term.eval(cx))
            .map(ToString::to_string)
            .collect(),
        _ => Vec::new(),
    };
    let Failed { text, values } = failed(pred, cx);
    Evaluated {
        text,
        holds: pred.eval(cx),
        alternatives,
        values,
    }
}

/// How many values of one field are shown.
const SHOWN: usize = 8;

fn failed(pred: &Pred, cx: &Cx<'_>) -> Failed {
    let mut values: Vec<(String, Vec<String>)> = Vec::new();
    pred.each_source(&mut |source| {
        let name = source.to_string();
        if matches!(source, Source::Uuid | Source::Texts(_))
            || values.iter().any(|(n, _)| *n == name)
        {
            return;
        }
        let mut found = Vec::new();
        source.any(cx, &mut |item| {
            found.push(match item {
                Item::Bool(value) => value.to_string(),
                Item::Int(value) => value.to_string(),
                Item::Str(text) => format!("\"{text}\""),
                Item::Ip(net) => net.to_string(),
            });
            found.len() == SHOWN
        });
        values.push((name, found));
    });
    Failed {
        text: pred.to_string(),
        values,
    }
}

impl Pred {
    /// What one evaluation is thought to take, in nanoseconds. Measured on one machine for each kind; the order is what counts.
    fn estimate_ns(&self) -> u32 {
        let mut read = 0u32;
        match self {
            Self::And(terms) | Self::Or(terms) => {
                return terms
                    .iter()
                    .fold(0, |sum: u32, term| sum.saturating_add(term.estimate_ns()));
            }
            Self::Not(inner) => return inner.estimate_ns(),
            _ => {}
        }
        self.each_source(&mut |source| {
            let one = if source.weight() % 2000 >= 100 {
                80
            } else {
                12
            };
            read = read.saturating_add(one * if source.many() { 8 } else { 1 });
        });
        let compare = match self {
            Self::Text(source, matcher) => {
                matcher.estimate_ns() * if source.many() { 8 } else { 1 }
            }
            _ => 3,
        };
        read.saturating_add(compare)
    }
}
