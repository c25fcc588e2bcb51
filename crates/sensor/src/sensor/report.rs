//! What the sensor tells of itself: losses, counters, programs, tables.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use atalaya_model::capture::{CAPTURE_KINDS, CaptureKind, Loss};
use libbpf_rs::{MapCore, MapFlags};
use rustc_hash::FxHashMap;
use zerocopy::FromBytes;

use super::{Sensor, u64_of};
use crate::error::Error;
use crate::layout::{self, COUNTERS, LossKey};
use crate::loading::MissingHook;
use crate::object::ObjectChoice;
use crate::programs::PROGRAMS;
use crate::tier::Choice;
/// Entries of the loss map beyond which those that no longer change are removed.
const LOSSES_KEPT: usize = 2048;

/// Counters of one kind of event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records that the kernel side sent.
    pub sent: u64,
    /// Records that found no place in the ring.
    pub lost: u64,
    /// Of the lost, those that found no buffer to be built in.
    pub busy: u64,
    /// Of the lost, those of cgroups that had used up their share of the ring.
    pub over_budget: u64,
}

/// The sensor's state, for `status`.
#[derive(Debug, Clone)]
pub struct SensorReport {
    /// The tier and why.
    pub choice: Choice,
    /// Which compilation of the programs runs, how records come, and why.
    pub object: ObjectChoice,
    /// Programs that are attached.
    pub attached: Vec<&'static str>,
    /// What is missing.
    pub missing: Vec<MissingHook>,
    /// By kind.
    pub counters: BTreeMap<CaptureKind, Counters>,
    /// Records read, per ring (vital, bulk).
    pub received: [u64; 2],
    /// Records that the sequence numbers say were written and that were not read, per ring. With nothing in flight this is what the kernel
    /// counted as lost: more would be a loss that nobody counted.
    pub gaps: [u64; 2],
    /// Bytes that waited in each ring when the reader last looked, and the most that it ever found; `None` for perf buffers.
    pub waiting: Option<[u64; 2]>,
    /// See [`waiting`](Self::waiting).
    pub high_water: Option<[u64; 2]>,
    /// Ring sizes in bytes (vital, bulk).
    pub ring_bytes: [u32; 2],
    /// Records that could not be decoded.
    pub malformed: u64,
    /// Parts that waited for a call that never ended.
    pub dropped_parts: u64,
}

impl Sensor {
    /// The losses since the last call.
    pub fn take_losses(&mut self) -> Vec<Loss> {
        let Ok(map) = self.map("losses") else {
            return Vec::new();
        };
        let mut losses = Vec::new();
        let mut now = FxHashMap::default();
        for key in map.keys().collect::<Vec<_>>() {
            let Ok(k) = LossKey::read_from_bytes(&key) else {
                continue;
            };
            let Ok(Some(value)) = map.lookup(&key, MapFlags::ANY) else {
                continue;
            };
            let count = u64_of(&value);
            let before = self.seen_losses.get(&(k.cgroup_id, k.kind)).copied();
            if let Some(kind) = reported_kind(k.kind)
                && count > before.unwrap_or(0)
            {
                losses.push(Loss {
                    kind,
                    cgroup_id: k.cgroup_id,
                    count: count - before.unwrap_or(0),
                });
            }
            if before == Some(count) && self.seen_losses.len() > LOSSES_KEPT {
                let _ = map.delete(&key); // a cgroup that is gone, most likely
            } else {
                now.insert((k.cgroup_id, k.kind), count);
            }
        }
        self.seen_losses = now;
        losses
    }

    /// Calls `tell` for each loaded program: its name, the kinds of events that it serves, and the program.
    pub fn each_program(&self, mut tell: impl FnMut(&'static str, &[CaptureKind], BorrowedFd<'_>)) {
        let more = self.more.iter().map(|(object, _)| object);
        for object in std::iter::once(&self.object).chain(more) {
            for loaded in object.progs() {
                let known = PROGRAMS.iter().find(|p| loaded.name() == p.name);
                let Some(program) = known.filter(|p| self.loaded.contains(p.name)) else {
                    continue;
                };
                // Each object has all programs of the source, and those loaded that it was opened for.
                if loaded.as_fd().as_raw_fd() > 0 {
                    tell(program.name, &program.kinds, loaded.as_fd());
                }
            }
        }
    }

    /// The state, for `status`.
    pub fn report(&self) -> SensorReport {
        let mut counters = BTreeMap::new();
        for kind in CAPTURE_KINDS {
            if let Some(count) = self.counters(kind as u32) {
                counters.insert(kind, count);
            }
        }
        let rings = self.which.perf.is_none();
        let read =
            |counters: &[AtomicU64; 2]| [0, 1].map(|ring| counters[ring].load(Ordering::Relaxed));
        SensorReport {
            choice: self.choice.clone(),
            object: self.which.clone(),
            attached: self.links.keys().copied().collect(),
            missing: self.missing.clone(),
            counters,
            received: [0, 1].map(|ring| self.stats.received[ring].load(Ordering::Relaxed)),
            gaps: [0, 1].map(|ring| self.stats.gaps[ring].load(Ordering::Relaxed)),
            waiting: rings.then(|| read(&self.stats.waiting)),
            high_water: rings.then(|| read(&self.stats.high_water)),
            ring_bytes: self.ring_bytes,
            malformed: self.stats.malformed.load(Ordering::Relaxed),
            dropped_parts: self.stats.dropped_parts.load(Ordering::Relaxed),
        }
    }

    fn counters(&self, kind: u32) -> Option<Counters> {
        let per_cpu = self
            .map("counts")
            .ok()?
            .lookup_percpu(&kind.to_le_bytes(), MapFlags::ANY)
            .ok()??;
        let mut sum = [0u64; COUNTERS];
        for cpu in per_cpu {
            for (total, value) in sum.iter_mut().zip(cpu.chunks_exact(8)) {
                *total += u64_of(value);
            }
        }
        Some(Counters {
            sent: sum[0],
            lost: sum[1],
            busy: sum[2],
            over_budget: sum[3],
        })
    }

    /// The tables of the filters: name, entries that the kernel has, entries that were written. Of the filters themselves those that are
    /// on count.
    ///
    /// # Errors
    /// A table cannot be read.
    pub fn filter_tables(&self) -> Result<Vec<(&'static str, usize, usize)>, Error> {
        let mut tables = Vec::new();
        for (name, expected) in [
            ("names", self.maps.names.len()),
            ("paths", self.maps.paths.len()),
            ("numbers", self.maps.numbers.len()),
        ] {
            tables.push((name, self.map(name)?.keys().count(), expected));
        }
        let filters = self.map("filters")?;
        let is_on = |key: &Vec<u8>| {
            let value = filters.lookup(key, MapFlags::ANY);
            // `enabled` is the first word.
            matches!(value, Ok(Some(value)) if value.iter().take(4).any(|byte| *byte != 0))
        };
        let on = filters.keys().filter(is_on).count();
        tables.push(("filters", on, self.maps.filters.len()));
        Ok(tables)
    }
}

/// Parts of a capture are not known outside: a lost part makes its capture poorer, and counts as a lost one of its kind.
fn reported_kind(kind: u32) -> Option<CaptureKind> {
    match u16::try_from(kind).ok()? {
        layout::KIND_SCRIPT => Some(CaptureKind::Exec),
        layout::KIND_OBJECT | layout::KIND_URING => Some(CaptureKind::Open),
        kind => CaptureKind::from_number(kind),
    }
}
