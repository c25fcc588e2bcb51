//! What security-agent knows of itself, for `/status`, `/metrics` and `/healthz`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The event loop of security-agent goes round once a second. When it has not for so long, it hangs: most likely on a disk.
const STUCK: Duration = Duration::from_secs(30);
/// How long system-probe may be away before that is no restart any more.
const AWAY: Duration = Duration::from_secs(30);

/// Written by the loop that stores events, read by the thread that answers.
#[derive(Debug)]
pub(crate) struct State {
    started: Instant,
    stored: AtomicU64,
    missed: AtomicU64,
    connections: AtomicU64,
    connected: AtomicBool,
    times: Mutex<Times>,
}

#[derive(Debug)]
struct Times {
    /// When the loop last went round.
    turned: Instant,
    /// When events were last stored.
    stored: Option<Instant>,
    /// Since when it is not connected.
    away: Instant,
    /// Why events cannot be stored.
    failing: Option<String>,
}

impl State {
    /// Nothing has happened yet.
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            started: now,
            stored: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            connected: AtomicBool::new(false),
            times: Mutex::new(Times {
                turned: now,
                stored: None,
                away: now,
                failing: None,
            }),
        }
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop goes round.
    pub(crate) async fn turn(&self) -> std::convert::Infallible {
        loop {
            self.times().turned = Instant::now();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// A stream of events begins, or ends.
    pub(crate) fn connected(&self, connected: bool) {
        if connected {
            self.connections.fetch_add(1, Ordering::Relaxed);
        }
        if self.connected.swap(connected, Ordering::Relaxed) && !connected {
            self.times().away = Instant::now();
        }
    }

    /// Events were stored; of others it is known that they never will be.
    pub(crate) fn stored(&self, events: usize, missed: u64) {
        self.stored.fetch_add(events as u64, Ordering::Relaxed);
        self.missed.fetch_add(missed, Ordering::Relaxed);
        let mut times = self.times();
        times.stored = Some(Instant::now());
        times.failing = None;
    }

    /// Events cannot be stored.
    pub(crate) fn failing(&self, why: &str) {
        self.times().failing = Some(why.to_owned());
    }

    /// Whether the loop that stores events goes round.
    pub(crate) fn is_alive(&self) -> bool {
        self.times().turned.elapsed() < STUCK
    }

    /// Why security-agent itself is not healthy; empty when it is.
    pub(crate) fn unhealthy_because(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        let times = self.times();
        let stuck = times.turned.elapsed();
        if stuck >= STUCK {
            let seconds = stuck.as_secs();
            reasons.push(format!("security-agent hangs for {seconds} s"));
        }
        if let Some(why) = &times.failing {
            reasons.push(format!("events cannot be stored: {why}"));
        }
        if !self.connected.load(Ordering::Relaxed) && times.away.elapsed() >= AWAY {
            let seconds = times.away.elapsed().as_secs();
            reasons.push(format!(
                "no stream of events from system-probe for {seconds} s"
            ));
        }
        reasons
    }

    /// The counters, for metrics: events stored, events missed, streams begun, and whether there is one.
    pub(crate) fn counters(&self) -> (u64, u64, u64, bool) {
        (
            self.stored.load(Ordering::Relaxed),
            self.missed.load(Ordering::Relaxed),
            self.connections.load(Ordering::Relaxed),
            self.connected.load(Ordering::Relaxed),
        )
    }

    /// Everything, for `/status`.
    pub(crate) fn json(&self) -> Value {
        let reasons = self.unhealthy_because();
        let (stored, missed, connections, connected) = self.counters();
        let usage = Usage::read();
        let last = self.times().stored.map(|at| at.elapsed().as_secs());
        json!({
            "program": "security-agent",
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "uid": rustix::process::geteuid().as_raw(),
            "uptime_seconds": self.started.elapsed().as_secs(),
            "healthy": reasons.is_empty(),
            "reasons": reasons,
            "connected": connected,
            "connections": connections,
            "events_stored": stored,
            "events_missed": missed,
            "last_stored_seconds_ago": last,
            "rss_bytes": usage.rss_bytes,
            "cpu_ms": usage.cpu_ms,
        })
    }
}

/// What this process uses.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    pub(crate) rss_bytes: u64,
    pub(crate) cpu_ms: u64,
}

impl Usage {
    pub(crate) fn read() -> Self {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages = statm.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok());
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let ms = time.tv_sec * 1000 + time.tv_nsec / 1_000_000;
        Self {
            rss_bytes: pages.unwrap_or(0) * rustix::param::page_size() as u64,
            cpu_ms: u64::try_from(ms).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_stored_is_a_reason_until_it_can() {
        let state = State::new();
        assert!(state.unhealthy_because().is_empty() && state.is_alive());
        state.failing("no space left");
        assert_eq!(
            state.unhealthy_because(),
            ["events cannot be stored: no space left"]
        );
        state.stored(3, 1);
        assert!(state.unhealthy_because().is_empty());
        assert_eq!(state.counters(), (3, 1, 0, false));
    }

    #[test]
    fn a_loop_that_hangs_and_a_probe_that_stays_away_are_reasons() {
        let state = State::new();
        let long_ago = Instant::now().checked_sub(STUCK * 2);
        if let Some(long_ago) = long_ago {
            let mut times = state.times();
            times.turned = long_ago;
            times.away = long_ago;
        }
        assert!(!state.is_alive());
        let reasons = state.unhealthy_because();
        assert!(
            reasons[0].starts_with("security-agent hangs for 60"),
            "{reasons:?}"
        );
        assert!(reasons[1].starts_with("no stream of events"), "{reasons:?}");
        state.connected(true);
        assert_eq!(state.unhealthy_because().len(), 1);
    }
}
