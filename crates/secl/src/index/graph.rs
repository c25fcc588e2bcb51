//! The predicates of all rules of one event type, equal ones once.

use rustc_hash::FxHashMap;

use super::Scratch;
use crate::ir::{Cx, Pred};

/// The predicates, each after those that it is made of.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    kind: Kind,
    /// Has one value for an event, and more than one place needs it.
    shared: bool,
}

#[derive(Debug)]
enum Kind {
    Leaf(Pred),
    Not(u32),
    And(Box<[u32]>),
    Or(Box<[u32]>),
}

/// Makes a graph.
#[derive(Default)]
pub(super) struct Builder {
    graph: Graph,
    known: FxHashMap<Pred, u32>,
}

impl Builder {
    /// The number of the node for this predicate.
    pub(super) fn add(&mut self, pred: &Pred) -> u32 {
        if let Some(&known) = self.known.get(pred) {
            if let Some(node) = self.graph.nodes.get_mut(known as usize) {
                node.shared = pred.is_pure();
            }
            return known;
        }
        let kind = match pred {
            Pred::Not(inner) => Kind::Not(self.add(inner)),
            Pred::And(terms) => Kind::And(terms.iter().map(|term| self.add(term)).collect()),
            Pred::Or(terms) => Kind::Or(terms.iter().map(|term| self.add(term)).collect()),
            leaf => Kind::Leaf(leaf.clone()),
        };
        let id = u32::try_from(self.graph.nodes.len()).unwrap_or(u32::MAX);
        self.graph.nodes.push(Node {
            kind,
            shared: false,
        });
        self.known.insert(pred.clone(), id);
        id
    }

    pub(super) fn finish(self) -> Graph {
        self.graph
    }
}

impl Graph {
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn eval(&self, id: u32, cx: &Cx<'_>, scratch: &mut Scratch) -> bool {
        let Some(node) = self.nodes.get(id as usize) else {
            return false;
        };
        if !node.shared {
            return self.eval_anew(&node.kind, cx, scratch);
        }
        let known = scratch.memo.get(id as usize).copied().unwrap_or(0);
        if known >> 1 == scratch.epoch {
            return known & 1 == 1;
        }
        let value = self.eval_anew(&node.kind, cx, scratch);
        if let Some(known) = scratch.memo.get_mut(id as usize) {
            *known = scratch.epoch << 1 | u64::from(value);
        }
        value
    }

    fn eval_anew(&self, kind: &Kind, cx: &Cx<'_>, scratch: &mut Scratch) -> bool {
        match kind {
            Kind::Leaf(pred) => {
                scratch.effort.predicates += 1;
                pred.eval(cx)
            }
            Kind::Not(inner) => !self.eval(*inner, cx, scratch),
            Kind::And(terms) => terms.iter().all(|term| self.eval(*term, cx, scratch)),
            Kind::Or(terms) => terms.iter().any(|term| self.eval(*term, cx, scratch)),
        }
    }
}
