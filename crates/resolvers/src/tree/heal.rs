//! What the tree does where it has lost its thread.
//!
//! A record can name a process that no fork told of: the fork was lost, or the pid has a new owner and its fork was lost, or the tree
//! had no room for it. Each record carries who its process's parent is and, with `start_low`, who has the pid, so that it is noticed
//! at the next sign of life. Then the kernel's list of processes is asked ([`TaskSource`]), and the process and those of its ancestors
//! that are missing are put in their places.
//!
//! After a loss in the ring of life-cycle records nobody may give a sign of life for long, so the tree is compared with the list as a
//! whole ([`ProcessTree::lost`]): what is missing is added, who runs another program than thought gets it, who is gone is over. The
//! list is younger than the records that wait in the queue, so it is held until those are worked off.

use std::collections::VecDeque;
use std::sync::Arc;

use atalaya_model::capture::Header;
use atalaya_model::{Image, Process};
use rustc_hash::FxHashSet;

use super::feed::is_same_start;
use super::history::Slot;
use super::{ProcessTree, Resolved};
use crate::clock;
use crate::procfs::{self, ProcEntry};
use crate::tasks::{Scan, TaskSource};

/// How far up ancestors that are missing are looked for.
const DEPTH: u32 = 64;
/// Broken lineages that are remembered until somebody asks.
const REMEMBERED: usize = 32;
/// Passes over the list take at most this part of the time,
const SHARE: u64 = 10;
/// or so much at once, where there was none for a while;
const AT_ONCE_NS: u64 = 100_000_000;
/// and this is what one counts beside the time that it takes.
const EACH_NS: u64 = 2_000_000;
/// Records of different CPUs come out of order by less than this.
const DISORDER_NS: u64 = 100_000_000;

/// How a lineage was found to be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakReason {
    /// No fork told of the process.
    UnknownProcess,
    /// The pid has a new owner that no fork told of.
    ReusedPid,
    /// The list of processes has it, no fork told of it.
    LostFork,
    /// It runs another program than thought.
    LostExec,
    /// It is gone, and no exit told so.
    LostExit,
}

impl BreakReason {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownProcess => "a process that no fork told of",
            Self::ReusedPid => "a pid with a new owner that no fork told of",
            Self::LostFork => "a process that was missing",
            Self::LostExec => "a process that runs another program than thought",
            Self::LostExit => "a process that is gone and whose end nobody told",
        }
    }
}

/// A lineage that was broken.
#[derive(Debug, Clone)]
pub struct Broken {
    /// How it was noticed.
    pub reason: BreakReason,
    /// Whether the process is in its place now, with its program and its parent.
    pub healed: bool,
    /// The process, as it is known now.
    pub process: Arc<Process>,
    /// When it was noticed (ns since the epoch).
    pub time_ns: u64,
}

/// What came of asking for a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// It is in its place.
    Found,
    /// There is no such process any more.
    Gone,
    /// Not asked, to spare the machine: ask at the next sign of life.
    Later,
}

/// The state of it all.
pub(super) struct Healer {
    source: Option<Box<dyn TaskSource>>,
    /// The last pass.
    scan: Option<Scan>,
    /// The time that passes may take now, and as of when that is.
    credit_ns: u64,
    credited_ns: u64,
    compare: Compare,
    /// Tests ask as often as they like.
    #[cfg(test)]
    pub(super) is_unhurried: bool,
    pub(super) broken: VecDeque<Broken>,
}

/// Whether the tree is to be compared with the list.
#[derive(Debug)]
enum Compare {
    No,
    /// Something was lost.
    Wanted,
    /// This will be compared when what is older has been worked off; the pids that ended meanwhile.
    With(Scan, FxHashSet<u32>),
}

impl std::fmt::Debug for Healer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Healer")
            .field("has_source", &self.source.is_some())
            .field("compare", &self.compare)
            .finish_non_exhaustive()
    }
}

impl Healer {
    pub(super) fn new() -> Self {
        Self {
            source: None,
            scan: None,
            credit_ns: AT_ONCE_NS,
            credited_ns: 0,
            compare: Compare::No,
            #[cfg(test)]
            is_unhurried: false,
            broken: VecDeque::new(),
        }
    }

    /// A pass over the list, unless there were too many just now.
    fn take_scan(&mut self) -> Option<Scan> {
        let now = clock::boot_now_ns();
        let earned = now.saturating_sub(self.credited_ns) / SHARE;
        self.credit_ns = AT_ONCE_NS.min(self.credit_ns + earned);
        self.credited_ns = now;
        #[cfg(test)]
        if self.is_unhurried {
            self.credit_ns = AT_ONCE_NS;
        }
        if self.credit_ns < EACH_NS {
            return None;
        }
        let scan = self
            .source
            .as_mut()
            .and_then(|source| Scan::take(&mut **source));
        if scan.is_none() {
            self.source = None; // this kernel has none; do not ask again
        }
        let took = clock::boot_now_ns().saturating_sub(now);
        self.credit_ns = self.credit_ns.saturating_sub(took + EACH_NS);
        scan
    }
}

impl ProcessTree {
    /// Who lists the processes. Without, `/proc` is asked.
    pub fn set_task_source(&mut self, source: Box<dyn TaskSource>) {
        self.healer.source = Some(source);
    }

    /// Life-cycle records were lost: the tree may be wrong anywhere.
    pub fn lost(&mut self) {
        if self.healer.source.is_some() {
            self.healer.compare = Compare::Wanted;
        }
    }

    /// The lineages that were broken since the last call. How many there were in all says [`ProcessTree::stats`].
    pub fn take_broken(&mut self) -> Vec<Broken> {
        self.healer.broken.drain(..).collect()
    }

    /// A record of this time was worked off, and all that are older.
    pub fn saw(&mut self, time_ns: u64) {
        match &self.healer.compare {
            Compare::No => {}
            Compare::Wanted => {
                if let Some(scan) = self.healer.take_scan() {
                    self.stats.scans += 1;
                    self.healer.compare = Compare::With(scan, FxHashSet::default());
                }
            }
            Compare::With(scan, _) if time_ns > scan.finished_ns + DISORDER_NS => {
                let compare = std::mem::replace(&mut self.healer.compare, Compare::No);
                if let Compare::With(scan, ended) = compare {
                    self.compare_with(&scan, &ended);
                }
            }
            Compare::With(..) => {}
        }
    }

    pub(super) fn saw_end(&mut self, pid: u32) {
        if let Compare::With(_, ended) = &mut self.healer.compare {
            ended.insert(pid);
        }
    }

    /// A process that a record names and the tree does not know, or knows another one by the pid. It is asked for once, and not too often,
    /// because a storm of such records must not become a storm of system calls. What has ended already nobody can tell of: then the
    /// record's header is all there is, and the parent that it names.
    pub(super) fn find_unknown(&mut self, header: &Header, has_slot: bool) -> Resolved {
        let reason = if self.slots.contains_key(&header.pid) && !has_slot {
            BreakReason::ReusedPid
        } else {
            BreakReason::UnknownProcess
        };
        let answer = if self.budget.take(header.time_ns) {
            self.ask_for(header.pid, header.time_ns, header.start_low, DEPTH)
        } else {
            Answer::Later
        };
        if answer == Answer::Found {
            self.tell(reason, header, true);
            self.stats.healed += 1;
            return Resolved::Found;
        }
        if has_slot {
            if let Some(slot) = self.slots.get_mut(&header.pid) {
                slot.wants_procfs = answer == Answer::Later;
            }
            return Resolved::Incomplete;
        }
        let parent = self.living_parent(header.ppid, header.time_ns);
        let mut process = self.node_of_header(header);
        process.set_parent(parent);
        let mut slot = Slot::new(header.time_ns, Arc::new(process));
        slot.start_low = header.start_low;
        slot.wants_procfs = answer == Answer::Later;
        self.replace(header.pid, slot);
        self.stats.incomplete += 1;
        self.tell(reason, header, false);
        Resolved::Incomplete
    }

    /// Looks for the process of a record that has no task.
    pub(super) fn ask(&mut self, header: &Header) {
        self.ask_for(header.pid, header.time_ns, header.start_low, DEPTH);
    }

    /// Looks for the parent of a process that executes something and whose fork was not seen.
    pub(super) fn find_parent(&mut self, header: &Header, ppid: u32) -> BreakReason {
        let is_over = |slot: &Slot| slot.is_over(header.time_ns) || slot.ended_ns != 0;
        let reason = match self.slots.get(&header.pid) {
            Some(slot) if !is_over(slot) => BreakReason::ReusedPid,
            _ => BreakReason::UnknownProcess,
        };
        if ppid != 0 && !self.is_known(ppid, header.time_ns) && self.budget.take(header.time_ns) {
            self.ask_for(ppid, header.time_ns, 0, DEPTH);
        }
        reason
    }

    /// The node that a parent's pid stands for, if the tree has it.
    pub(super) fn living_parent(&self, ppid: u32, time_ns: u64) -> Option<Arc<Process>> {
        self.slots
            .get(&ppid)
            .filter(|slot| ppid != 0 && !slot.is_over(time_ns) && slot.start_ns <= time_ns)
            .map(|slot| Arc::clone(slot.at(time_ns)))
    }

    /// Puts a slot in the place of a former owner's, whose nodes are kept for late events.
    pub(super) fn replace(&mut self, pid: u32, mut slot: Slot) {
        let keep_ns = self.keep_ns();
        if let Some(former) = self.slots.remove(&pid) {
            slot.inherit(former, keep_ns);
        }
        self.insert(pid, slot);
    }

    /// Counts a broken lineage.
    pub(super) fn tell(&mut self, reason: BreakReason, header: &Header, healed: bool) {
        // What ended before the snapshot came to it is no loss.
        if header.time_ns <= self.loaded_ns || self.evicted.remove(&header.pid) {
            return;
        }
        if let Some(slot) = self.slots.get(&header.pid) {
            let process = Arc::clone(slot.newest());
            self.remember(reason, process, header.time_ns, healed);
        }
    }

    fn remember(&mut self, reason: BreakReason, process: Arc<Process>, time_ns: u64, healed: bool) {
        self.stats.broken += 1;
        if self.healer.broken.len() < REMEMBERED {
            let time_ns = self.epoch_ns(time_ns);
            self.healer.broken.push_back(Broken {
                reason,
                healed,
                process,
                time_ns,
            });
        }
    }

    /// Reads a process, and those of its ancestors that are missing. Only if it can have caused what happened at `time_ns`.
    fn ask_for(&mut self, pid: u32, time_ns: u64, start_low: u32, depth: u32) -> Answer {
        let is_stale = self
            .healer
            .scan
            .as_ref()
            .is_none_or(|scan| scan.begun_ns < time_ns);
        if is_stale && self.healer.source.is_some() {
            match self.healer.take_scan() {
                Some(scan) => {
                    self.stats.scans += 1;
                    self.healer.scan = Some(scan);
                }
                None if self.healer.source.is_some() => return Answer::Later,
                None => {} // there is no list here
            }
        }
        let listed = self
            .healer
            .scan
            .as_ref()
            .and_then(|scan| scan.entries.get(&pid))
            .cloned();
        // Some machines keep a process from the list and show it in /proc.
        let Some(mut entry) = listed.or_else(|| read_from_procfs(pid)) else {
            return Answer::Gone;
        };
        let is_another = start_low != 0 && entry.start_low != 0 && start_low != entry.start_low;
        if entry.start_time_ns > time_ns || is_another {
            return Answer::Gone;
        }
        self.strings.fill(&mut entry);
        self.stats.slow_strings = self.strings.missed;
        let ppid = entry.ppid;
        if depth > 0 && ppid != 0 && ppid != pid && !self.is_known(ppid, time_ns) {
            self.ask_for(ppid, time_ns, 0, depth - 1);
        }
        self.add_entry(entry, false);
        Answer::Found
    }

    fn is_known(&self, pid: u32, time_ns: u64) -> bool {
        self.slots.get(&pid).is_some_and(|slot| {
            let listed = self
                .healer
                .scan
                .as_ref()
                .and_then(|scan| scan.entries.get(&pid));
            let is_other = listed.is_some_and(|entry| slot.is_of_another(entry.start_low, time_ns));
            !slot.is_over(time_ns) && !slot.wants_procfs && !is_other
        })
    }

    /// Compares the tree with the list. Nothing that was seen since the list was made is touched.
    fn compare_with(&mut self, scan: &Scan, ended: &FxHashSet<u32>) {
        let mut missing: Vec<&ProcEntry> = Vec::new();
        let mut others: Vec<&ProcEntry> = Vec::new();
        for (pid, entry) in &scan.entries {
            if ended.contains(pid) {
                continue;
            }
            match self.slots.get(pid) {
                None => missing.push(entry),
                Some(slot)
                    if slot.newest_since() > scan.begun_ns || slot.start_ns > scan.begun_ns => {}
                Some(slot) if !is_same_start(slot, entry.start_time_ns) || slot.wants_procfs => {
                    missing.push(entry);
                }
                Some(slot) if slot.ended_ns == 0 && runs_another(slot.newest(), entry) => {
                    others.push(entry);
                }
                Some(_) => {}
            }
        }
        // Parents first: who began earlier cannot be a child of who began later.
        missing.sort_unstable_by_key(|entry| (entry.start_time_ns, entry.pid));
        for entry in missing {
            let reason = if self.slots.contains_key(&entry.pid) {
                BreakReason::ReusedPid
            } else {
                BreakReason::LostFork
            };
            let mut entry = entry.clone();
            self.strings.fill(&mut entry);
            let process = self.add_entry(entry, false);
            self.stats.healed += 1;
            self.remember(reason, process, scan.begun_ns, true);
        }
        for entry in others {
            let mut entry = entry.clone();
            self.strings.fill(&mut entry);
            self.push_lost_exec(entry, scan.begun_ns);
        }
        let gone: Vec<u32> = self
            .slots
            .iter()
            .filter(|(pid, slot)| {
                slot.ended_ns == 0
                    && slot.newest_since() < scan.begun_ns
                    && !scan.entries.contains_key(pid)
                    && !procfs::exists(**pid)
            })
            .map(|(pid, _)| *pid)
            .collect();
        for pid in gone {
            self.end_lost(pid, scan.begun_ns);
        }
    }

    /// It has executed something since, nobody knows when.
    fn push_lost_exec(&mut self, entry: ProcEntry, at_ns: u64) {
        let Some(slot) = self.slots.get(&entry.pid) else {
            return;
        };
        let former = Arc::clone(slot.newest());
        let parent = if former.is_exec {
            Some(Arc::clone(&former))
        } else {
            former.parent.parent().cloned()
        };
        let image = Arc::new(Image {
            filename: entry.exe.path.clone(),
            file: entry.exe.into(),
            argv: entry.args,
            args_truncated: entry.args_truncated,
            envp: entry.envs,
            envs_truncated: entry.envs_truncated,
            ..Image::default()
        });
        let mut process = Process {
            comm: entry.comm.into(),
            image: self.images.admit(&image).unwrap_or(image),
            is_thread: false,
            is_exec: true,
            exec_time: self.epoch_ns(at_ns),
            creds: entry.creds.into(),
            ..(*former).clone()
        };
        process.set_parent(parent);
        let process = Arc::new(process);
        let keep_ns = self.keep_ns();
        if let Some(slot) = self.slots.get_mut(&process.pid) {
            slot.push(at_ns, Arc::clone(&process), keep_ns);
            slot.read_at_ns = at_ns;
        }
        self.stats.healed += 1;
        self.remember(BreakReason::LostExec, process, at_ns, true);
    }

    fn end_lost(&mut self, pid: u32, at_ns: u64) {
        let keep_ns = self.keep_ns();
        let exit_time = self.epoch_ns(at_ns);
        let Some(slot) = self.slots.get_mut(&pid) else {
            return;
        };
        let process = Arc::new(Process {
            exit_time,
            ..(**slot.newest()).clone()
        });
        slot.push(at_ns, Arc::clone(&process), keep_ns);
        slot.ended_ns = at_ns;
        self.ended.push_back((at_ns, pid));
        self.stats.healed += 1;
        self.remember(BreakReason::LostExit, process, at_ns, true);
    }
}

fn read_from_procfs(pid: u32) -> Option<ProcEntry> {
    let mut entry = procfs::read_task(pid)?;
    if entry.exe.known {
        let mounts = procfs::read_filesystems(pid);
        if let Some((_, filesystem)) = mounts
            .into_iter()
            .find(|(mount, _)| *mount == entry.exe.mount_id)
        {
            entry.exe.filesystem = filesystem;
        }
    }
    Some(entry)
}

/// Whether a process runs another file than its node has. What `/proc` told at start has inode numbers as a file system shows them, which
/// some make up (overlay), so both name and number must differ.
fn runs_another(process: &Process, entry: &ProcEntry) -> bool {
    let image = &*process.image;
    let file = image.interpreter.as_ref().unwrap_or(&image.file);
    !entry.is_kthread
        && entry.exe.known
        && !(file.known && file.inode == entry.exe.inode)
        && file.path != entry.exe.path
}
