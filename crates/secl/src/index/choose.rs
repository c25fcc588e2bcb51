//! Which of its possible keys each rule gets.

use rustc_hash::FxHashMap;

use super::key::{self, Atom, Key, Lookup};
use crate::program::Program;

/// What evaluating one rule is thought to take, in nanoseconds.
const RULE_COST: u64 = 250;

/// Chooses keys.
///
/// What counts is the time for one event: that of the look-ups, which all rules that need one share, and that of the rules
/// that are found. A look-up among arguments pays for a hundred rules that have a word in them and nothing else that is rare;
/// for one rule it does not, if that rule has another key that keeps it from most events.
#[derive(Debug, Default)]
pub(super) struct Chooser {
    /// How many rules would use each look-up if each got its rarest key.
    users: FxHashMap<Lookup, u64>,
}

impl Chooser {
    pub(super) fn new(programs: &[&Program]) -> Self {
        let mut users: FxHashMap<Lookup, u64> = FxHashMap::default();
        for program in programs {
            if let Some(rarest) = key::of(program).iter().min_by_key(|key| key.chance) {
                for (lookup, _) in lookups(rarest) {
                    *users.entry(lookup).or_default() += 1;
                }
            }
        }
        Self { users }
    }

    /// The best key of the rule. Keys can be large, so they are made anew and not kept for all rules.
    pub(super) fn choose(&self, program: &Program) -> Option<Key> {
        key::of(program)
            .into_iter()
            .min_by_key(|key| self.cost(key))
    }

    /// The rule's share of an event's time, in thousandths of a nanosecond.
    fn cost(&self, key: &Key) -> u64 {
        let found = key.chance.saturating_mul(RULE_COST) / 1000;
        lookups(key).into_iter().fold(found, |sum, (lookup, atom)| {
            let users = self.users.get(&lookup).copied().unwrap_or(0).max(1);
            sum.saturating_add(atom.cost() * 1000 / users)
        })
    }
}

/// The look-ups that a key needs, each once, with a condition that is one.
fn lookups(key: &Key) -> FxHashMap<Lookup, &Atom> {
    let mut found = FxHashMap::default();
    let mut last: Option<&Atom> = None;
    for atom in &key.atoms {
        // The members of a list come one after the other.
        if !last.is_some_and(|last| last.has_lookup_of(atom)) {
            found.insert(atom.lookup(), atom);
        }
        last = Some(atom);
    }
    found
}
