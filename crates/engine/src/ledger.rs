//! The ledger of losses: what was lost since the start, by event type and cgroup.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use atalaya_api::proto;
use atalaya_model::capture::{CaptureKind, Loss};
use atalaya_resolvers::cgroup;

/// How many (type, cgroup) pairs are kept apart. Further cgroups are counted together, under number 0.
const KEYS: usize = 1024;
/// How many lines `status` shows.
const SHOWN: usize = 64;

/// What was lost.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: Mutex<HashMap<(CaptureKind, u64), Entry>>,
}

#[derive(Debug)]
struct Entry {
    /// When it was first lost: the cgroup may be gone when somebody asks.
    cgroup: String,
    count: u64,
    last: Instant,
}

impl Ledger {
    /// Adds losses. `path_of` tells the path of a cgroup.
    pub(crate) fn add(&self, losses: &[Loss], path_of: impl Fn(u64) -> String, now: Instant) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        for loss in losses {
            let mut key = (loss.kind, loss.cgroup_id);
            if entries.len() >= KEYS && !entries.contains_key(&key) {
                key.1 = 0;
            }
            let entry = entries.entry(key).or_insert_with(|| Entry {
                cgroup: match key.1 {
                    0 => String::new(),
                    id => path_of(id),
                },
                count: 0,
                last: now,
            });
            entry.count += loss.count;
            entry.last = now;
        }
    }

    /// The worst, for `status`.
    pub(crate) fn worst(&self, now: Instant) -> Vec<proto::LossStatus> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines: Vec<proto::LossStatus> = entries
            .iter()
            .map(|((kind, cgroup_id), entry)| {
                let age = now.duration_since(entry.last).as_millis();
                proto::LossStatus {
                    event_type: kind.name().to_owned(),
                    container_id: cgroup::parse(&entry.cgroup).container_id.to_owned(),
                    cgroup: entry.cgroup.clone(),
                    cgroup_id: *cgroup_id,
                    count: entry.count,
                    age_ms: u64::try_from(age).unwrap_or(u64::MAX),
                }
            })
            .collect();
        drop(entries);
        lines.sort_by(|a, b| {
            let name = |line: &proto::LossStatus| (line.event_type.clone(), line.cgroup_id);
            b.count.cmp(&a.count).then_with(|| name(a).cmp(&name(b)))
        });
        lines.truncate(SHOWN);
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(kind: CaptureKind, cgroup_id: u64, count: u64) -> Loss {
        Loss {
            kind,
            cgroup_id,
            count,
        }
    }

    #[test]
    fn losses_add_up_and_the_worst_is_first() {
        let ledger = Ledger::default();
        let path = |id: u64| format!("/group{id}");
        let now = Instant::now();
        ledger.add(&[loss(CaptureKind::Open, 1, 5)], path, now);
        ledger.add(
            &[
                loss(CaptureKind::Open, 1, 2),
                loss(CaptureKind::Exec, 1, 100),
                loss(CaptureKind::Open, 2, 1),
            ],
            path,
            now,
        );
        let worst = ledger.worst(now);
        let lines: Vec<_> = worst
            .iter()
            .map(|line| (line.event_type.as_str(), line.cgroup.as_str(), line.count))
            .collect();
        assert_eq!(
            lines,
            [
                ("exec", "/group1", 100),
                ("open", "/group1", 7),
                ("open", "/group2", 1)
            ]
        );
    }

    /// Whoever makes cgroups in a loop does not make the ledger grow.
    #[test]
    fn cgroups_without_end_are_counted_together() {
        let ledger = Ledger::default();
        let now = Instant::now();
        for id in 1..5000 {
            ledger.add(&[loss(CaptureKind::Open, id, 1)], |_| String::new(), now);
        }
        let worst = ledger.worst(now);
        assert_eq!((worst[0].cgroup_id, worst.len()), (0, SHOWN));
        assert_eq!(worst[0].count, 4999 - KEYS as u64);
    }
}
