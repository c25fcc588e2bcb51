//! The proof of life: kernel → rule → output.
//!
//! Every few seconds the kernel is asked for a heartbeat record. It comes back through the vital ring, the queue and
//! the internal rule [`RULE`], and only what has come out at the far end counts here. The `heartbeat` event that is
//! sent now and then is sent by such a record, not by a timer: when the way is broken anywhere, it stops.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use atalaya_policy::InternalPolicy;

use crate::options::HeartbeatOptions;
use crate::rules::internal_policy;

/// The id of the internal rule that heartbeats match.
pub(crate) const RULE: &str = "atalaya_heartbeat";

/// Where the internal rule says it is from.
pub(crate) const SOURCE: &str = "bundled";

/// The policy with the rule that heartbeats match. The rule is silent: the engine itself looks at what comes out.
pub(crate) fn policy() -> InternalPolicy {
    internal_policy(
        "atalaya-internal-policy",
        SOURCE,
        &[(
            RULE,
            "heartbeat.sequence > 0".to_owned(),
            "The sensor lives",
            true,
        )],
    )
}

/// How many questions may be open. Older ones were lost.
const OPEN: usize = 32;

/// The state of the heartbeat.
#[derive(Debug)]
pub(crate) struct Pulse {
    options: HeartbeatOptions,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    started: Instant,
    next: u64,
    asked: VecDeque<(u64, Instant)>,
    /// When the last one was seen, and how long it took.
    seen: Option<(Instant, Duration)>,
    error: Option<String>,
    announced: Option<Instant>,
    announcements: u32,
}

/// What `status` says of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Vital {
    /// How long ago the last one was seen; `None` when none was.
    pub(crate) age: Option<Duration>,
    /// How long it took from question to output.
    pub(crate) latency: Duration,
    /// It is young enough, or the agent is too young to have missed one.
    pub(crate) healthy: bool,
    /// Why not.
    pub(crate) reason: Option<String>,
}

impl Pulse {
    pub(crate) fn new(options: HeartbeatOptions, now: Instant) -> Self {
        Self {
            options,
            state: Mutex::new(State {
                started: now,
                next: 1,
                asked: VecDeque::new(),
                seen: None,
                error: None,
                announced: None,
                announcements: 0,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn period(&self) -> Duration {
        self.options.period
    }

    /// The number to ask the kernel with.
    pub(crate) fn ask(&self, now: Instant) -> u64 {
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.asked.push_back((number, now));
        if state.asked.len() > OPEN {
            state.asked.pop_front();
        }
        number
    }

    /// Whether the question could be put.
    pub(crate) fn asked(&self, result: Result<(), String>) {
        self.lock().error = result.err();
    }

    /// One has come out at the output end. A number that was not asked for does not count: nobody but this agent
    /// can keep it alive. Returns whether the `heartbeat` event is due.
    pub(crate) fn seen(&self, number: u64, now: Instant) -> bool {
        let mut state = self.lock();
        let Some(at) = state.asked.iter().position(|(asked, _)| *asked == number) else {
            return false;
        };
        let asked = state.asked[at].1;
        state.asked.drain(..=at);
        state.seen = Some((now, now.saturating_duration_since(asked)));
        let period = if state.announcements <= self.options.announce_early_count {
            self.options.announce_early
        } else {
            self.options.announce_late
        };
        let since = state.announced.unwrap_or(state.started);
        let due = state.announced.is_none() || now.saturating_duration_since(since) >= period;
        if due {
            state.announced = Some(now);
            state.announcements += 1;
        }
        due
    }

    pub(crate) fn vital(&self, now: Instant) -> Vital {
        let state = self.lock();
        let limit = self.options.period * (self.options.misses + 1);
        let age = state.seen.map(|(at, _)| now.saturating_duration_since(at));
        let silence = now.saturating_duration_since(state.seen.map_or(state.started, |(at, _)| at));
        let healthy = silence <= limit;
        let reason = (!healthy).then(|| {
            let mut reason = match age {
                Some(age) => format!(
                    "no heartbeat has come through from the kernel for {} s",
                    age.as_secs()
                ),
                None => format!(
                    "no heartbeat has come through from the kernel since the start {} s ago",
                    silence.as_secs()
                ),
            };
            if let Some(error) = &state.error {
                reason.push_str(": ");
                reason.push_str(error);
            }
            reason
        });
        Vital {
            age,
            latency: state.seen.map_or(Duration::ZERO, |(_, latency)| latency),
            healthy,
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn silence_makes_unhealthy() {
        let start = Instant::now();
        let pulse = Pulse::new(HeartbeatOptions::default(), start);
        assert!(pulse.vital(start).healthy, "too young to have missed one");
        let number = pulse.ask(start);
        pulse.asked(Ok(()));
        assert!(!pulse.vital(start + 21 * SECOND).healthy);
        pulse.seen(number, start + SECOND / 2);
        let vital = pulse.vital(start + 2 * SECOND);
        assert_eq!(
            (vital.age, vital.latency, vital.healthy),
            (Some(SECOND * 3 / 2), SECOND / 2, true)
        );
        // Somebody else's, or one seen twice, is no proof.
        pulse.seen(999, start + 30 * SECOND);
        pulse.seen(number, start + 30 * SECOND);
        pulse.asked(Err("the program is gone".to_owned()));
        let vital = pulse.vital(start + 30 * SECOND);
        assert_eq!(
            vital.reason.unwrap(),
            "no heartbeat has come through from the kernel for 29 s: the program is gone"
        );
    }

    #[test]
    fn announced_each_minute_then_each_ten() {
        let start = Instant::now();
        let pulse = Pulse::new(HeartbeatOptions::default(), start);
        let mut due = Vec::new();
        for second in (5..=1900).step_by(5) {
            let now = start + second * SECOND;
            let number = pulse.ask(now);
            if pulse.seen(number, now) {
                due.push(second);
            }
        }
        assert_eq!(due, [5, 65, 125, 185, 245, 305, 905, 1505]);
    }

    #[test]
    fn open_questions_are_bounded() {
        let now = Instant::now();
        let pulse = Pulse::new(HeartbeatOptions::default(), now);
        for _ in 0..1000 {
            pulse.ask(now);
        }
        assert_eq!(pulse.lock().asked.len(), OPEN);
        assert!(!pulse.seen(1, now), "too old");
    }
}
