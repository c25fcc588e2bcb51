//! Numbers for people.

/// As `3d 4h 5m`: the two or three largest units.
pub(crate) fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, m) => format!("{m}m {}s", seconds % 60),
        (0, h, m) => format!("{h}h {m}m"),
        (d, h, m) => format!("{d}d {h}h {m}m"),
    }
}

/// As `48.0 MiB`.
pub(crate) fn bytes(n: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = "B";
    for next in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" {
        format!("{n} B")
    } else {
        format!("{value:.1} {unit}")
    }
}

/// As `1.5 ms`.
pub(crate) fn time(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}

/// How much of one core so many nanoseconds are in an interval, as `0.25 %`.
pub(crate) fn of_a_core(ns: u64, interval_ms: u64) -> String {
    let share = ns as f64 / (interval_ms.max(1) as f64 * 1e6) * 100.0;
    format!("{share:.2} %")
}

/// The mean, as `250 ns`; `-` where nothing was measured.
pub(crate) fn each(ns: u64, count: u64) -> String {
    match ns.checked_div(count) {
        Some(mean) if ns > 0 => time(mean),
        _ => "-".to_owned(),
    }
}

/// A number with a letter behind it where it is long: `12.3k`.
pub(crate) fn count(n: u64) -> String {
    match n {
        0..10_000 => n.to_string(),
        10_000..10_000_000 => format!("{:.1}k", n as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1}M", n as f64 / 1e6),
        _ => format!("{:.1}G", n as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(
            [0, 59, 61, 7265, 90061].map(span),
            ["0s", "59s", "1m 1s", "2h 1m", "1d 1h 1m"]
        );
        assert_eq!(
            [0, 1023, 1024, 48 << 20].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "48.0 MiB"]
        );
    }

    #[test]
    fn costs_for_people() {
        assert_eq!(
            [5, 1500, 2_500_000, 3_000_000_000].map(time),
            ["5 ns", "1.5 µs", "2.5 ms", "3.0 s"]
        );
        assert_eq!(of_a_core(20_000_000, 2000), "1.00 %");
        assert_eq!(of_a_core(5, 0), "0.00 %");
        assert_eq!(each(1000, 4), "250 ns");
        assert_eq!([each(1000, 0), each(0, 5)], ["-", "-"]);
        assert_eq!(
            [9999, 12_345, 12_345_678, u64::MAX >> 20].map(count),
            ["9999", "12.3k", "12.3M", "17592.2G"]
        );
    }
}
