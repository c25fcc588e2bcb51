//! Times and durations as people write them.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// `90s`, `15m`, `2h`, `7d`, `1w`, also `1h30m`; in milliseconds.
#[must_use]
pub fn parse_duration_ms(text: &str) -> Option<i64> {
    let mut total = 0i64;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let length = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit = match &rest[..length] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            _ => return None,
        };
        rest = &rest[length..];
        total = total.checked_add(number.checked_mul(unit)?)?;
    }
    Some(total)
}

/// `now`, `now-15m`, RFC 3339, `2026-11-24T10:00` and `2026-11-24` (UTC), or milliseconds since 1970.
#[must_use]
pub fn parse_time_ms(text: &str, now_ms: i64) -> Option<i64> {
    if let Some(rest) = text.strip_prefix("now") {
        return match rest.strip_prefix('-') {
            Some(ago) => now_ms.checked_sub(parse_duration_ms(ago)?),
            None if rest.is_empty() => Some(now_ms),
            None => None,
        };
    }
    if text.len() > 8 && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok();
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time.as_millisecond());
    }
    let civil: DateTime = text.parse().ok()?;
    let time = civil.to_zoned(TimeZone::UTC).ok()?;
    Some(time.timestamp().as_millisecond())
}

/// How long ago, for the age of windows.
pub(crate) fn now_ms() -> i64 {
    let since: SignedDuration = Timestamp::now().duration_since(Timestamp::UNIX_EPOCH);
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(parse_duration_ms("1h30m"), Some(5_400_000));
        assert_eq!(parse_duration_ms("15"), None);
        assert_eq!(parse_duration_ms(""), None);
        assert_eq!(parse_duration_ms("99999999999999w"), None);
        let at = parse_time_ms("2026-11-24T10:00:00Z", 0);
        assert_eq!(at, parse_time_ms("2026-11-24T10:00", 0));
        assert_eq!(at, parse_time_ms("2026-11-24T11:00:00+01:00", 0));
        assert_eq!(parse_time_ms("now-2s", 5000), Some(3000));
        assert_eq!(parse_time_ms("1763980000123", 0), Some(1_763_980_000_123));
        assert!(parse_time_ms("2026-11-24", 0).is_some());
        assert_eq!(parse_time_ms("nowhere", 0), None);
    }
}
