//! What events cost in the event loop, by samples: reading the clock of the processor for each would cost more than the event.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::stats::add;

/// One event in so many is measured; more while somebody watches.
const EVERY: u32 = 64;
const EVERY_WATCHED: u32 = 8;

/// A thread that was off its processor for longer than this did not only do what is measured: the sample does not count. What
/// is interrupted for less is an error of that size in one sample.
const AWAY: Duration = Duration::from_micros(30);

/// Chooses the events that are measured.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    since: u32,
}

/// An event that is being measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    wall: Instant,
    cpu: Duration,
    weight: u64,
}

impl Meter {
    /// Whether this event is measured, from now on.
    pub(crate) fn begin(&mut self, watched: bool) -> Option<Sample> {
        let every = if watched { EVERY_WATCHED } else { EVERY };
        self.since += 1;
        if self.since < every {
            return None;
        }
        // Those since the last one, should somebody have begun or ceased to watch.
        let weight = u64::from(std::mem::take(&mut self.since));
        Some(Sample {
            cpu: thread_time(),
            wall: Instant::now(),
            weight,
        })
    }
}

impl Sample {
    /// The CPU time since it began, and the time for which it was not interrupted; `None` where it was.
    pub(crate) fn elapsed(&self) -> Option<Duration> {
        let wall = self.wall.elapsed();
        let cpu = thread_time().saturating_sub(self.cpu);
        (wall.saturating_sub(cpu) < AWAY).then_some(wall)
    }

    /// Adds what one sample says to the sum of all events.
    pub(crate) fn add(&self, sum: &AtomicU64, ns: u64) {
        add(sum, ns.saturating_mul(self.weight));
    }

    /// How many events it stands for.
    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }
}

/// As a number that does not overflow.
pub(crate) fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// CPU time of this thread.
fn thread_time() -> Duration {
    of(ClockId::ThreadCPUTime)
}

/// CPU time of all threads of this process.
pub(crate) fn process_time() -> Duration {
    of(ClockId::ProcessCPUTime)
}

fn of(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::get;

    #[test]
    fn samples_stand_for_all_events() {
        let (mut meter, sum) = (Meter::default(), AtomicU64::new(0));
        for number in 0..6400 {
            // Somebody watches for a while.
            let watched = (1000..2000).contains(&number);
            if let Some(sample) = meter.begin(watched) {
                sample.add(&sum, 100);
            }
        }
        let mean = get(&sum) as f64 / 6400.0;
        assert!((99.0..=100.0).contains(&mean), "{mean}");
    }

    /// What is not running costs nothing, so its time must not be taken for a cost.
    #[test]
    fn a_sample_that_was_interrupted_does_not_count() {
        let mut meter = Meter::default();
        let sample = loop {
            if let Some(sample) = meter.begin(false) {
                break sample;
            }
        };
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(sample.elapsed(), None);
    }
}
