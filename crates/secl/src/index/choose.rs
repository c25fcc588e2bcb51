//! Which of its possible keys each rule gets.

use rustc_hash::{FxHashMap, FxHashSet};

use super::key::{Key, Lookup};

/// What evaluating one rule is thought to take, in nanoseconds.
const RULE_COST: u64 = 250;

/// The best key of each rule.
///
/// What counts is the time for one event: that of the look-ups, which all rules that need one share, and that of the rules
/// that are found. A look-up among arguments pays for a hundred rules that have a word in them and nothing else that is rare;
/// for one rule it does not, if that rule has another key that keeps it from most events.
pub(super) fn choose(rules: Vec<Vec<Key>>) -> Vec<Option<Key>> {
    let mut users: FxHashMap<Lookup, u64> = FxHashMap::default();
    for keys in &rules {
        if let Some(rarest) = keys.iter().min_by_key(|key| key.chance) {
            for lookup in lookups(rarest) {
                *users.entry(lookup).or_default() += 1;
            }
        }
    }
    rules
        .into_iter()
        .map(|keys| keys.into_iter().min_by_key(|key| cost(key, &users)))
        .collect()
}

fn lookups(key: &Key) -> FxHashSet<Lookup> {
    key.atoms.iter().map(|atom| atom.lookup()).collect()
}

/// The rule's share of an event's time, in thousandths of a nanosecond.
fn cost(key: &Key, users: &FxHashMap<Lookup, u64>) -> u64 {
    let mut seen = FxHashSet::default();
    let mut sum = key.chance.saturating_mul(RULE_COST) / 1000;
    for atom in &key.atoms {
        let lookup = atom.lookup();
        let users = users.get(&lookup).copied().unwrap_or(0).max(1);
        if seen.insert(lookup) {
            sum = sum.saturating_add(atom.cost() * 1000 / users);
        }
    }
    sum
}
