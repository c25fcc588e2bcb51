//! What was told, for `status`, and how often something may be told.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use atalaya_model::json::SelfProtection;

use super::Kind;

/// The same by the same program is told once in so much time.
const AGAIN: Duration = Duration::from_secs(30);
/// Of programs that look at all maps regularly, as tools that list them do.
const AGAIN_OPENED: Duration = Duration::from_secs(3600);
/// For so long `status` warns.
const RECENT: Duration = Duration::from_secs(3600);
/// So many different things are remembered.
const KEYS: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Told {
    /// How often each kind was told.
    counts: BTreeMap<&'static str, u64>,
    /// What was not told for its rate, or because too much happened at once.
    pub(super) suppressed: u64,
    last: Option<(Instant, String)>,
    at: BTreeMap<(Kind, String), Instant>,
    /// What is protected now, one line each.
    pub(super) state: Vec<(String, String)>,
}

impl Told {
    /// Whether this may be told now; notes it if so.
    pub(super) fn allow(&mut self, kind: Kind, event: &SelfProtection, now: Instant) -> bool {
        let who: Vec<&str> = event.by.iter().map(|by| by.path.as_str()).collect();
        // Files by what has happened to them: each change counts.
        let what = if kind == Kind::MapsOpened {
            ""
        } else {
            &event.summary
        };
        let key = (kind, format!("{what} {}", who.join(" ")));
        let again = if kind == Kind::MapsOpened {
            AGAIN_OPENED
        } else {
            AGAIN
        };
        self.at.retain(|(kind, _), at| {
            now.duration_since(*at)
                < if *kind == Kind::MapsOpened {
                    AGAIN_OPENED
                } else {
                    AGAIN
                }
        });
        let is_repeated = self
            .at
            .get(&key)
            .is_some_and(|at| now.duration_since(*at) < again);
        if is_repeated || self.at.len() >= KEYS {
            self.suppressed += 1;
            return false;
        }
        self.at.insert(key, now);
        *self.counts.entry(kind.name()).or_default() += 1;
        self.last = Some((now, event.summary.clone()));
        true
    }

    pub(super) fn details(&self) -> Vec<(String, String)> {
        let mut lines = self.state.clone();
        for (kind, count) in &self.counts {
            lines.push((format!("self_protection.seen.{kind}"), count.to_string()));
        }
        if self.suppressed > 0 {
            let count = self.suppressed.to_string();
            lines.push(("self_protection.not_told".to_owned(), count));
        }
        lines
    }

    pub(super) fn warning(&self) -> Option<String> {
        let (at, summary) = self.last.as_ref()?;
        let ago = at.elapsed();
        (ago < RECENT).then(|| format!("self-protection: {summary} ({} s ago)", ago.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PROBE, event};
    use super::*;

    #[test]
    fn the_same_is_told_once_and_counted() {
        let mut told = Told::default();
        let now = Instant::now();
        let event = event(Kind::Ptrace, PROBE, "traced".into(), Vec::new());
        assert!(told.allow(Kind::Ptrace, &event, now));
        assert!(!told.allow(Kind::Ptrace, &event, now + AGAIN / 2));
        assert!(told.allow(Kind::Signal, &event, now));
        assert!(told.allow(Kind::Ptrace, &event, now + AGAIN * 2));
        let details = told.details();
        let of = |name: &str| {
            details
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
        };
        assert_eq!(of("self_protection.seen.ptrace"), Some("2"));
        assert_eq!(of("self_protection.not_told"), Some("1"));
        assert!(told.warning().is_some_and(|text| text.contains("traced")));
    }

    #[test]
    fn memory_is_bounded() {
        let mut told = Told::default();
        let now = Instant::now();
        for number in 0..1000 {
            let event = event(Kind::Files, PROBE, format!("file {number}"), Vec::new());
            told.allow(Kind::Files, &event, now);
        }
        assert_eq!((told.at.len(), told.suppressed), (KEYS, 1000 - KEYS as u64));
    }
}
