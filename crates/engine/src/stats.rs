//! Counters by event type. Plain atomics: the event loop adds, `status` reads.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

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
    /// CPU time of the event loop, extrapolated from samples.
    pub(crate) cost_ns: AtomicU64,
}

/// The time that rates are of.
const WINDOW: Duration = Duration::from_secs(10);

/// How many events had come, of each kind, at some moment.
type Moment = (Instant, [u64; CAPTURE_KINDS.len()]);

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
    /// A moment a second, of the last [`WINDOW`].
    history: Mutex<VecDeque<Moment>>,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            kinds: std::array::from_fn(|_| KindStats::default()),
            malformed: AtomicU64::default(),
            panics: AtomicU64::default(),
            custom: AtomicU64::default(),
            history: Mutex::default(),
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

    /// Notes how many events have come, for [`Self::rates`]. To be called about once a second.
    pub(crate) fn note(&self, now: Instant) {
        let counts = std::array::from_fn(|kind| get(&self.kinds[kind].received));
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        // One that is older stays, so that the window is always filled.
        while history
            .get(1)
            .is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW)
        {
            history.pop_front();
        }
        history.push_back((now, counts));
    }

    /// Events a second of each kind, over the last ten seconds; fewer where it has not run for so long.
    pub(crate) fn rates(&self, now: Instant) -> [f64; CAPTURE_KINDS.len()] {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((since, before)) = history.front() else {
            return [0.0; CAPTURE_KINDS.len()];
        };
        // Shorter than a tick it would be noise.
        let seconds = now.duration_since(*since).as_secs_f64().max(0.5);
        std::array::from_fn(|kind| {
            let new = get(&self.kinds[kind].received).saturating_sub(before[kind]);
            new as f64 / seconds
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_last_ten_seconds() {
        let stats = Stats::default();
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let open = CAPTURE_KINDS
            .iter()
            .position(|kind| *kind == CaptureKind::Open)
            .unwrap_or_default();
        assert_eq!(stats.rates(at(0))[open], 0.0);
        for second in 0..60 {
            stats.note(at(second));
            // A burst in the first half minute, then ten a second.
            let count = if second < 30 { 1000 } else { 10 };
            add(&stats.of(CaptureKind::Open).received, count);
        }
        let rate = stats.rates(at(60))[open];
        assert!((9.0..=11.0).contains(&rate), "{rate}");
        let others: f64 = stats.rates(at(60)).iter().sum::<f64>() - rate;
        assert_eq!(others, 0.0);
    }
}
