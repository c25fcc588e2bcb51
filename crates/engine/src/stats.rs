//! Counters by event type. Plain atomics: the event loop adds, `status` reads.

use std::sync::atomic::{AtomicU64, Ordering};

use atalaya_model::capture::{CAPTURE_KINDS, CaptureKind};

/// The counters of one event type.
#[derive(Debug, Default)]
pub(crate) struct KindStats {
    /// Captures that came to the event loop.
    pub(crate) received: AtomicU64,
    /// Captures lost, in the kernel or in the queue.
    pub(crate) lost: AtomicU64,
    /// Events that matched at least one rule.
    pub(crate) matched: AtomicU64,
    /// Matches held back by a rule's rate limit.
    pub(crate) rate_limited: AtomicU64,
    /// Events written to the spool or the output.
    pub(crate) sent: AtomicU64,
}

/// The counters of all event types.
#[derive(Debug)]
pub(crate) struct Stats {
    kinds: [KindStats; CAPTURE_KINDS.len()],
    /// Captures that no event could be made of.
    pub(crate) malformed: AtomicU64,
    /// Captures whose processing failed (a defect, logged).
    pub(crate) panics: AtomicU64,
    /// Events that the agent made itself.
    pub(crate) custom: AtomicU64,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            kinds: std::array::from_fn(|_| KindStats::default()),
            malformed: AtomicU64::default(),
            panics: AtomicU64::default(),
            custom: AtomicU64::default(),
        }
    }
}

impl Stats {
    /// The counters of one kind.
    pub(crate) fn of(&self, kind: CaptureKind) -> &KindStats {
        // Every kind is in the list; the first stands in where the two should ever disagree.
        let index = CAPTURE_KINDS
            .iter()
            .position(|known| *known == kind)
            .unwrap_or(0);
        &self.kinds[index]
    }

    /// All kinds with their counters.
    pub(crate) fn all(&self) -> impl Iterator<Item = (CaptureKind, &KindStats)> {
        CAPTURE_KINDS.into_iter().zip(&self.kinds)
    }
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// Reads a counter.
pub(crate) fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
