//! The values of variables, between events and across reloads.
//!
//! [`VariableStore`] keeps a value for each variable and holder: the host, a process, a container or a cgroup. For one
//! event it is bound to the event's holders ([`VariableStore::bind`]); the [`Bound`] store is what rules read and what
//! `set` actions change.
//!
//! # Rules
//! - An unset variable reads as the zero value of its type; so does one whose `ttl` has passed since it was last set.
//! - Lists hold each element once. An element that is added again counts as new; when a list is full (`size`, by
//!   default 100) the oldest element goes.
//! - A variable has values for so many holders (`size` for a variable that is no list, by default 100); when there is
//!   another, the holder goes whose value was neither read nor set for the longest.
//! - `append` on what is no list adds numbers and concatenates text.
//! - An `inherited` variable of a process that has no value reads as its nearest ancestor's. Setting it gives the
//!   process a value of its own.
//! - When a process ends its values go, but for inherited ones, which stay as long as it has descendants.
//!
//! # Limits
//! Whatever an attacker does, memory is bounded: [`MAX_TEXT`] a text, [`MAX_ELEMENTS`] a list, [`MAX_VALUE`] a value,
//! [`MAX_TOTAL`] all together. A longer text is cut; a list loses its oldest elements; when everything is too much the
//! largest values go, so that it is the one who fills it who loses. [`StoreStats`] counts all of it.

mod bound;
mod sizes;
mod slot;
mod state;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, RandomState};

use atalaya_secl::VariableId;

pub use bound::{Bound, VariableValues};
pub use sizes::{MAX_ELEMENTS, MAX_HOLDERS, MAX_TEXT, MAX_TOTAL, MAX_VALUE};
pub use state::{StoreStats, VariableState};

use crate::variable::{VariableDef, VariableScopeKind};
use sizes::Counters;
use slot::Slot;

/// The holders of variables that belong to an event. Processes have numbers that the caller chooses, such that no two
/// nodes of the process tree have the same.
pub trait Scopes {
    /// The event's process.
    fn process(&self) -> Option<u64>;
    /// The process's ancestor, 0 being the parent; `None` past the last.
    fn ancestor(&self, n: usize) -> Option<u64>;
    /// The id of the process's container, or empty.
    fn container(&self) -> &str;
    /// The id of the process's cgroup, or empty.
    fn cgroup(&self) -> &str;
    /// The process that has this pid now.
    fn process_of_pid(&self, pid: i64) -> Option<u64>;
}

/// Holders for what belongs to no process: only global variables have values.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoScopes;

impl Scopes for NoScopes {
    fn process(&self) -> Option<u64> {
        None
    }
    fn ancestor(&self, _: usize) -> Option<u64> {
        None
    }
    fn container(&self) -> &str {
        ""
    }
    fn cgroup(&self) -> &str {
        ""
    }
    fn process_of_pid(&self, _: i64) -> Option<u64> {
        None
    }
}

/// The values of all variables of one rule set.
#[derive(Debug)]
pub struct VariableStore {
    slots: Vec<Slot>,
    /// Containers and cgroups are kept by the hash of their id; the keys of this one are random, so that nobody can
    /// choose ids that collide.
    hasher: RandomState,
    counters: Counters,
}

impl VariableStore {
    /// Every variable is unset. `defs` are [`crate::RuleSet::variables`].
    pub fn new(defs: &[VariableDef]) -> Self {
        Self {
            slots: defs.iter().cloned().map(Slot::new).collect(),
            hasher: RandomState::new(),
            counters: Counters::default(),
        }
    }

    /// Takes over, after a reload, the values of the variables that still exist with the same scope and type. A new
    /// `ttl` or `size` counts for old values as well.
    #[must_use]
    pub fn carry_over(mut self, old: Self) -> Self {
        self.hasher = old.hasher;
        self.counters = old.counters;
        for old_slot in old.slots {
            let same = self
                .slots
                .iter_mut()
                .find(|slot| slot.is_successor_of(&old_slot));
            match same {
                Some(slot) => slot.take_over(old_slot, &mut self.counters),
                None => self.counters.bytes -= old_slot.bytes(),
            }
        }
        self
    }

    /// The store as an event sees it. `now_ns` is on any one clock that goes on across reloads; it is what `ttl` counts on
    /// and what durations in expressions are compared with.
    pub fn bind<'a>(&'a mut self, scopes: &'a dyn Scopes, now_ns: u64) -> Bound<'a> {
        Bound::new(self, scopes, now_ns)
    }

    /// Removes what has expired. To be called now and then.
    pub fn expire(&mut self, now_ns: u64) {
        for slot in &mut self.slots {
            slot.expire(now_ns, &mut self.counters);
        }
    }

    /// A process has ended or runs another program: its values go. Those of inherited variables stay for its
    /// descendants, until [`Self::retain_processes`] finds that there is none.
    pub fn process_ended(&mut self, process: u64) {
        for slot in &mut self.slots {
            if slot.def.scope == VariableScopeKind::Process && !slot.def.inherited {
                slot.remove(process, &mut self.counters);
            }
        }
    }

    /// Whether any process has a variable, so that [`Self::retain_processes`] has something to do.
    pub fn has_processes(&self) -> bool {
        self.slots
            .iter()
            .any(|slot| slot.def.scope == VariableScopeKind::Process && !slot.is_empty())
    }

    /// Removes the values of processes that are neither alive nor an ancestor of one that is. To be called now and then.
    pub fn retain_processes(&mut self, is_needed: impl Fn(u64) -> bool) {
        for slot in &mut self.slots {
            if slot.def.scope == VariableScopeKind::Process {
                slot.retain(&is_needed, &mut self.counters);
            }
        }
    }

    fn slot(&self, id: VariableId) -> Option<&Slot> {
        self.slots.get(usize::try_from(id.0).ok()?)
    }

    /// The number of a container or cgroup.
    fn key_of(&self, id: &str) -> u64 {
        self.hasher.hash_one(id)
    }
}
