//! The store as `status` shows it, and what keeps the whole of it small.

use atalaya_secl::model::OwnedValue;

use super::VariableStore;
use super::sizes::MAX_TOTAL;
use crate::variable::VariableScopeKind;

/// The value that a variable has for one holder.
#[derive(Debug, Clone, PartialEq)]
pub struct VariableState<'a> {
    /// The full name, as rules write it.
    pub name: &'a str,
    /// Whose it is.
    pub scope: VariableScopeKind,
    /// The number of the process; nothing to people for other holders.
    pub holder: u64,
    /// The id of the container or cgroup; empty for other holders.
    pub label: &'a str,
    /// The value.
    pub value: &'a OwnedValue,
}

/// What the store holds and has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreStats {
    /// Values now.
    pub values: usize,
    /// Bytes now, roughly.
    pub bytes: usize,
    /// Values forgotten for want of room.
    pub evicted: u64,
    /// Texts or lists cut short.
    pub cut: u64,
    /// Values removed because their `ttl` had passed.
    pub expired: u64,
}

impl VariableStore {
    /// Every value that is set and not private.
    pub fn states(&self, now_ns: u64) -> impl Iterator<Item = VariableState<'_>> {
        let slots = self.slots.iter().filter(|slot| !slot.def.private);
        slots.flat_map(move |slot| {
            slot.all(now_ns).map(|(holder, held)| VariableState {
                name: &slot.def.name,
                scope: slot.def.scope,
                holder,
                label: &held.label,
                value: &held.value,
            })
        })
    }

    /// Counters.
    pub fn stats(&self) -> StoreStats {
        StoreStats {
            values: self.slots.iter().map(|slot| slot.all(0).count()).sum(),
            bytes: self.counters.bytes,
            evicted: self.counters.evicted,
            cut: self.counters.cut,
            expired: self.counters.expired,
        }
    }

    /// Where everything together has become too much, removes the largest values until there is room again for a
    /// while.
    pub(super) fn keep_small(&mut self) {
        if self.counters.bytes <= MAX_TOTAL {
            return;
        }
        let mut all: Vec<(usize, usize, u64)> = Vec::new();
        for (index, slot) in self.slots.iter().enumerate() {
            all.extend(slot.all(0).map(|(key, held)| (held.bytes, index, key)));
        }
        all.sort_unstable_by(|a, b| b.cmp(a));
        for (_, index, key) in all {
            if self.counters.bytes <= MAX_TOTAL * 7 / 8 {
                break;
            }
            if let Some(slot) = self.slots.get_mut(index) {
                slot.remove(key, &mut self.counters);
                self.counters.evicted += 1;
            }
        }
    }
}
