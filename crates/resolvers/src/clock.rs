//! Boot time and wall-clock time.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_BOOTTIME` now: the clock of every capture.
pub fn boot_now_ns() -> u64 {
    now_ns(ClockId::Boottime)
}

/// What to add to a boot time to get nanoseconds since the epoch. It changes when somebody sets the clock, so ask
/// again now and then.
pub fn boot_to_epoch_ns() -> i64 {
    // The wall clock is read between two readings of the other: the middle of the closest pair is right to well below
    // a microsecond, even if this thread was preempted once.
    let mut best = (u64::MAX, 0_i64);
    for _ in 0..3 {
        let before = now_ns(ClockId::Boottime);
        let wall = now_ns(ClockId::Realtime);
        let after = now_ns(ClockId::Boottime);
        let width = after.saturating_sub(before);
        if width < best.0 {
            let middle = before + width / 2;
            best = (width, wall as i64 - middle as i64);
        }
    }
    best.1
}

fn now_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    (time.tv_sec as u64)
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn offset() {
        let wall = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_nanos() as i64;
        let ours = boot_now_ns() as i64 + boot_to_epoch_ns();
        assert!((ours - wall).abs() < 1_000_000_000, "{ours} {wall}");
    }
}
