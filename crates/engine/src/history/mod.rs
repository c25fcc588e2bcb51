//! What happened a short while ago: so that an alert can say what came before it.
//!
//! Every event that the kernel sends leaves a short record in a ring, whether a rule matches it or not. Only when one is sent are those
//! records looked through that are of its process, its ancestors and descendants, or of its container. Memory is bounded and grows with
//! what happens; a record costs no allocation; looking through has a budget, so that a storm of alerts does not cost more.

mod collect;
mod record;
mod ring;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use atalaya_model::json::Scrubber;
use atalaya_model::{Event, EventSource};
use atalaya_policy::Bucket;
use atalaya_resolvers::ProcessTree;
use rustc_hash::FxHashMap;

pub(crate) use record::Record;
use ring::Ring;

/// How much is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryOptions {
    /// For how long; zero: nothing is.
    pub window: Duration,
    /// So many events at most, of 120 bytes each.
    pub max_events: usize,
}

impl Default for HistoryOptions {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(30),
            max_events: 8192,
        }
    }
}

/// How often the records are looked through: of all processes, and of one.
const ALL_EVERY: Duration = Duration::from_millis(50);
const ALL_AT_ONCE: u32 = 40;
const ONE_EVERY: Duration = Duration::from_secs(1);
const ONE_AT_ONCE: u32 = 5;
/// So many processes have a budget of their own; then all begin anew.
const MAX_BUDGETS: usize = 512;

/// The records, and the budget for looking through them.
#[derive(Debug)]
pub(crate) struct History {
    window_ns: u64,
    ring: Ring,
    all: Option<Bucket>,
    of_process: FxHashMap<u32, Bucket>,
}

impl History {
    pub(crate) fn new(options: HistoryOptions) -> Self {
        let window_ns = u64::try_from(options.window.as_nanos()).unwrap_or(u64::MAX);
        Self {
            window_ns,
            ring: Ring::new(options.max_events, window_ns),
            all: None,
            of_process: FxHashMap::default(),
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.window_ns > 0 && self.ring.max_records() > 0
    }

    /// Remembers an event. Those of one thread come in the order of time.
    pub(crate) fn saw(&mut self, record: Record) {
        self.ring.push(record);
    }

    /// What came before an event, as JSON. `None`: nothing is remembered, or it was asked for too often.
    pub(crate) fn before(
        &mut self,
        event: &Event,
        boot_ns: u64,
        tree: &ProcessTree,
        scrubber: &Scrubber,
    ) -> Option<Arc<[u8]>> {
        // What was there at start did not happen now.
        if !self.is_on() || event.source != EventSource::Runtime {
            return None;
        }
        if !self.may_look(event.process.pid, boot_ns) {
            return None;
        }
        let since_ns = boot_ns.saturating_sub(self.window_ns);
        let found = collect::Search {
            ring: &self.ring,
            tree,
            event,
            since_ns,
            until_ns: boot_ns,
        };
        Some(found.json(self.window_ns / 1_000_000_000, scrubber).into())
    }

    fn may_look(&mut self, pid: u32, now_ns: u64) -> bool {
        if self.of_process.len() >= MAX_BUDGETS && !self.of_process.contains_key(&pid) {
            self.of_process.clear();
        }
        let fresh = || Bucket::new(ONE_EVERY, ONE_AT_ONCE, now_ns);
        if !self
            .of_process
            .entry(pid)
            .or_insert_with(fresh)
            .take(now_ns)
        {
            return false;
        }
        self.all
            .get_or_insert_with(|| Bucket::new(ALL_EVERY, ALL_AT_ONCE, now_ns))
            .take(now_ns)
    }
}
