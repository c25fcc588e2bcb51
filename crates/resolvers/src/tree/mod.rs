//! The process tree: who a pid is at a given time, and where it comes from.
//!
//! A pid has a short history of nodes rather than one: file captures travel by another ring than life-cycle captures and
//! may be looked up after their process has exec'd, or ended, or after its pid has a new owner. The history is kept
//! for a few seconds, so that a late event finds the node of its own time.

mod build;
mod feed;
mod heal;
mod history;
mod images;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use atalaya_model::Process;
use atalaya_model::capture::Header;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::cgroup_cache::{CgroupCache, CgroupFs, Membership};
use crate::clock;
use crate::session::Sessions;
use crate::strings::StringsReader;
use heal::Healer;
use history::Slot;
use images::ImageBudget;

pub use heal::{BreakReason, Broken};

/// Bounds of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeOptions {
    /// Processes, those that ended a short while ago included. Beyond, ended ones go first, then those that were not
    /// heard of for the longest; when such a one is heard of again it is read from `/proc`.
    pub max_processes: usize,
    /// Of these, ended ones: a storm of short processes must not push out those that live.
    pub max_ended: usize,
    /// Bytes of arguments, environments and paths. Beyond, what the tree keeps of a new program is cut short; the
    /// program's own exec event is not.
    pub max_image_bytes: usize,
    /// Cgroups.
    pub max_cgroups: usize,
    /// How long an ended process, or the node before an exec, is kept for late events.
    pub keep: Duration,
    /// How often the kernel may be asked about a process that is not known: per second, and as many at once.
    pub procfs_per_second: u32,
}

impl Default for TreeOptions {
    fn default() -> Self {
        Self {
            max_processes: 16 * 1024,
            max_ended: 512,
            max_image_bytes: 12 << 20,
            max_cgroups: 4096,
            keep: Duration::from_secs(2),
            procfs_per_second: 100,
        }
    }
}

/// What the tree has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TreeStats {
    /// Pids known now.
    pub processes: usize,
    /// Of which ended.
    pub exited: usize,
    /// Cgroups known now.
    pub cgroups: usize,
    /// Bytes of arguments, environments and paths, roughly.
    pub image_bytes: usize,
    /// Programs whose arguments or environment were cut short for want of room.
    pub trimmed: u64,
    /// Living processes forgotten for want of room.
    pub evicted: u64,
    /// Lineages that were found to be broken.
    pub broken: u64,
    /// Of these, those that are whole again.
    pub healed: u64,
    /// How often all processes were listed for it.
    pub scans: u64,
    /// Processes whose arguments could not be read in time.
    pub slow_strings: u64,
    /// Unknown processes of which only the record's header is known.
    pub incomplete: u64,
    /// Exits and execs of processes that were not known.
    pub unknown: u64,
}

/// How a process was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolved {
    /// In the tree.
    Known,
    /// Asked for just now: arguments and path are those of now.
    Found,
    /// Only what the record's header says is known: no executable, no parent.
    Incomplete,
}

/// The process tree. One owner; not shared between threads while it is fed.
#[derive(Debug)]
pub struct ProcessTree {
    options: TreeOptions,
    slots: FxHashMap<u32, Slot>,
    /// Ended processes in the order of their end, for expiry.
    ended: VecDeque<(u64, u32)>,
    /// Pids for eviction by second chance.
    clock_hand: VecDeque<u32>,
    images: ImageBudget,
    cgroups: CgroupCache,
    cgroup_fs: CgroupFs,
    /// Added to boot time gives time since the epoch.
    epoch_offset: i64,
    budget: Budget,
    healer: Healer,
    strings: StringsReader,
    sessions: Sessions,
    /// When the snapshot was finished (boot time, ns).
    loaded_ns: u64,
    /// Living processes that had to be forgotten: that they are not known is no loss.
    evicted: FxHashSet<u32>,
    stats: TreeStats,
}

impl Default for ProcessTree {
    fn default() -> Self {
        Self::new(TreeOptions::default())
    }
}

impl ProcessTree {
    /// An empty tree.
    pub fn new(options: TreeOptions) -> Self {
        Self {
            options,
            slots: FxHashMap::default(),
            ended: VecDeque::new(),
            clock_hand: VecDeque::new(),
            images: ImageBudget::new(options.max_image_bytes),
            cgroups: CgroupCache::new(options.max_cgroups),
            cgroup_fs: CgroupFs::find(),
            epoch_offset: clock::boot_to_epoch_ns(),
            budget: Budget::new(options.procfs_per_second),
            healer: Healer::new(),
            strings: StringsReader::default(),
            sessions: Sessions::default(),
            loaded_ns: 0,
            evicted: FxHashSet::default(),
            stats: TreeStats::default(),
        }
    }

    /// Takes over the present difference between the clocks. Call it every few seconds: people set clocks.
    pub fn set_epoch_offset(&mut self, offset: i64) {
        self.epoch_offset = offset;
    }

    /// Boot time as time since the epoch.
    pub fn epoch_ns(&self, boot_ns: u64) -> u64 {
        boot_ns.saturating_add_signed(self.epoch_offset)
    }

    /// The process that caused a record, as it was then: with the record's credentials, thread, comm and cgroup.
    pub fn resolve(&mut self, header: &Header) -> (Arc<Process>, Resolved) {
        self.saw(header.time_ns);
        let found = self
            .slots
            .get(&header.pid)
            .filter(|slot| !slot.is_over(header.time_ns))
            .filter(|slot| !slot.is_of_another(header.start_low, header.time_ns))
            .map(|slot| (slot.wants_procfs, slot.is_newest_at(header.time_ns)));
        let resolved = match found {
            Some((false, _)) => Resolved::Known,
            Some((true, _)) | None => self.find_unknown(header, found.is_some()),
        };
        let newest = found.is_none_or(|(_, newest)| newest);
        let Some(slot) = self.slots.get(&header.pid) else {
            // find_unknown always leaves a slot; without one the header is all there is.
            return (Arc::new(self.node_of_header(header)), Resolved::Incomplete);
        };
        let process = Arc::clone(slot.at(header.time_ns));
        let process = match self.refreshed(&process, header) {
            None => process,
            Some(changed) => {
                let changed = Arc::new(changed);
                if newest && let Some(slot) = self.slots.get_mut(&header.pid) {
                    slot.replace_newest(Arc::clone(&changed));
                }
                changed
            }
        };
        if let Some(slot) = self.slots.get_mut(&header.pid) {
            slot.referenced = true;
            if slot.start_low == 0 && slot.start_ns <= header.time_ns {
                slot.start_low = header.start_low;
            }
        }
        (process, resolved)
    }

    /// The process that a record without a task is charged to, as a packet to who owns its socket: as it was then, or as it was at last where
    /// it has ended since. Of a process that nobody knows, the ids alone.
    pub fn owner(&mut self, header: &Header) -> Arc<Process> {
        self.saw(header.time_ns);
        if header.pid == 0 {
            return Arc::new(self.node_of_header(header));
        }
        if let Some(process) = self.known_owner(header) {
            return process;
        }
        if self.budget.take(header.time_ns) {
            self.ask(header);
        }
        let found = self.known_owner(header);
        found.unwrap_or_else(|| Arc::new(self.node_of_header(header)))
    }

    fn known_owner(&mut self, header: &Header) -> Option<Arc<Process>> {
        let slot = self.slots.get_mut(&header.pid)?;
        if slot.is_of_another(header.start_low, header.time_ns) {
            return None;
        }
        // Without a start the pid is all there is: that of one that has ended long ago may be another's.
        if header.start_low == 0 && slot.is_over(header.time_ns) {
            return None;
        }
        slot.referenced = true;
        Some(Arc::clone(slot.at(header.time_ns)))
    }

    /// Keeps what capabilities the process of a record has asked for, and which it was granted, since its program began.
    pub fn capabilities_used(&mut self, header: &Header, attempted: u64, used: u64) {
        self.resolve(header);
        let Some(slot) = self.slots.get_mut(&header.pid) else {
            return;
        };
        // Of a program that another has replaced since nobody asks any more.
        if slot.is_newest_at(header.time_ns) {
            let mut process = Process::clone(slot.newest());
            process.creds.caps_attempted = attempted;
            process.creds.caps_used = used;
            slot.replace_newest(Arc::new(process));
        }
    }

    /// The newest node of a pid, ended or not.
    pub fn get(&self, pid: u32) -> Option<&Arc<Process>> {
        self.slots.get(&pid).map(Slot::newest)
    }

    /// The living processes, in the order of their pids.
    pub fn living(&self) -> Vec<Arc<Process>> {
        let mut living: Vec<Arc<Process>> = self
            .slots
            .values()
            .filter(|slot| slot.ended_ns == 0)
            .map(|slot| Arc::clone(slot.newest()))
            .collect();
        living.sort_unstable_by_key(|process| process.pid);
        living
    }

    /// The path of a cgroup by its number, for reports.
    pub fn cgroup_path(&self, id: u64) -> Option<&str> {
        self.cgroups.path_of(id)
    }

    /// Counters.
    pub fn stats(&self) -> TreeStats {
        TreeStats {
            processes: self.slots.len(),
            exited: self.ended.len().min(self.slots.len()),
            cgroups: self.cgroups.stats().0,
            image_bytes: self.images.total_bytes(),
            trimmed: self.images.trimmed,
            ..self.stats
        }
    }

    /// Forgets what ended long enough ago. `now_ns` is the time of the youngest record processed, not the clock's, so
    /// that a backlog does not outlive what it needs.
    pub fn expire(&mut self, now_ns: u64) {
        let keep = self.keep_ns();
        while let Some((ended_ns, pid)) = self.ended.front().copied() {
            let is_young = now_ns.saturating_sub(ended_ns) < keep;
            if is_young && self.ended.len() <= self.options.max_ended {
                break;
            }
            self.ended.pop_front();
            // The pid may have a new owner.
            if self
                .slots
                .get(&pid)
                .is_some_and(|slot| slot.ended_ns == ended_ns)
            {
                self.slots.remove(&pid);
            }
        }
    }

    fn keep_ns(&self) -> u64 {
        u64::try_from(self.options.keep.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Adds a pid, making room if there is none.
    fn insert(&mut self, pid: u32, slot: Slot) {
        if !self.slots.contains_key(&pid) {
            while self.slots.len() >= self.options.max_processes {
                if !self.evict() {
                    break;
                }
            }
            self.clock_hand.push_back(pid);
            // Pids that were reused stand in the list twice.
            if self.clock_hand.len() > 2 * self.options.max_processes.max(64) {
                let slots = &self.slots;
                let mut seen = FxHashSet::default();
                self.clock_hand.retain(|known| {
                    (slots.contains_key(known) || *known == pid) && seen.insert(*known)
                });
            }
        }
        self.slots.insert(pid, slot);
    }

    fn evict(&mut self) -> bool {
        while let Some((ended_ns, pid)) = self.ended.pop_front() {
            if self
                .slots
                .get(&pid)
                .is_some_and(|slot| slot.ended_ns == ended_ns)
            {
                self.slots.remove(&pid);
                return true;
            }
        }
        // Second chance: what was heard of since the hand last passed stays for another round.
        for _ in 0..2 * self.clock_hand.len() + 1 {
            let Some(pid) = self.clock_hand.pop_front() else {
                break;
            };
            let Some(slot) = self.slots.get_mut(&pid) else {
                continue;
            };
            if slot.referenced {
                slot.referenced = false;
                self.clock_hand.push_back(pid);
            } else {
                self.slots.remove(&pid);
                self.stats.evicted += 1;
                if self.evicted.len() >= 4 * self.options.max_processes {
                    self.evicted.clear();
                }
                self.evicted.insert(pid);
                return true;
            }
        }
        false
    }

    fn membership(
        &mut self,
        parent: Option<&Process>,
        id: u64,
        path: &str,
        now: u64,
    ) -> Membership {
        if let Some(parent) = parent
            && parent.cgroup.inode == id
            && parent.cgroup.path == path
        {
            return Membership {
                cgroup: Arc::clone(&parent.cgroup),
                container: parent.container.clone(),
            };
        }
        self.cgroups.get(id, path, now)
    }
}

/// A token bucket over the time of records.
#[derive(Debug)]
struct Budget {
    per_second: u64,
    tokens: u64,
    refilled_ns: u64,
}

impl Budget {
    fn new(per_second: u32) -> Self {
        Self {
            per_second: u64::from(per_second),
            tokens: u64::from(per_second),
            refilled_ns: 0,
        }
    }

    fn take(&mut self, now_ns: u64) -> bool {
        let passed = u128::from(now_ns.saturating_sub(self.refilled_ns));
        let gained = passed * u128::from(self.per_second) / 1_000_000_000;
        if gained > 0 {
            let gained = u64::try_from(gained).unwrap_or(u64::MAX);
            self.tokens = self.tokens.saturating_add(gained).min(self.per_second);
            self.refilled_ns = now_ns;
        }
        let has = self.tokens > 0;
        self.tokens -= u64::from(has);
        has
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_heal;
