//! What changes the tree: forks, execs, exits, and the snapshot.

use std::sync::Arc;

use atalaya_model::Process;
use atalaya_model::capture::{CgroupMove, Exec, Fork, Header};

use super::ProcessTree;
use super::history::Slot;
use crate::procfs::{self, ProcEntry};
use crate::snapshot::Snapshot;

/// Whether it is the process that began then. Start times in `/proc` are counted in clock ticks, those of captures in nanoseconds.
pub(super) fn is_same_start(slot: &Slot, start_ns: u64) -> bool {
    if slot.start_low != 0 && start_ns != 0 {
        return slot.start_low == start_ns as u32;
    }
    let known = slot.start_ns;
    known == 0 || start_ns == 0 || known.abs_diff(start_ns) <= 1_000_000_000 / procfs::clock_ticks()
}

impl ProcessTree {
    /// Takes over the snapshot. Do it before the first capture; see [`Snapshot::take`]. Returns the processes, in the
    /// order of their start.
    pub fn load(&mut self, snapshot: Snapshot) -> Vec<Arc<Process>> {
        self.loaded_ns = snapshot.finished_ns;
        let mut loaded: Vec<Arc<Process>> = snapshot
            .processes
            .into_iter()
            .map(|entry| self.add_entry(entry, true))
            .collect();
        loaded.sort_by_key(|process| (process.fork_time, process.pid));
        loaded
    }

    pub(super) fn add_entry(&mut self, entry: ProcEntry, from_snapshot: bool) -> Arc<Process> {
        let (pid, start_ns, read_at_ns) = (entry.pid, entry.start_time_ns, entry.read_at_ns);
        let start_low = entry.start_low;
        // As the parent was when it forked, or the oldest that is known of it. Who began later cannot be a parent: that pid has a new owner.
        let tick = 1_000_000_000 / procfs::clock_ticks();
        let parent = self
            .slots
            .get(&entry.ppid)
            .filter(|slot| entry.ppid != pid && slot.start_ns <= start_ns + tick)
            .map(|slot| Arc::clone(slot.at(start_ns)));
        let mut process = self.node_of_entry(entry, from_snapshot, parent);
        let is_own = process
            .parent
            .parent()
            .is_none_or(|parent| !Arc::ptr_eq(&parent.image, &process.image));
        if is_own && let Some(image) = self.images.admit(&process.image) {
            process.image = image;
        }
        let process = Arc::new(process);
        let mut slot = Slot::new(start_ns, Arc::clone(&process));
        slot.start_ns = start_ns;
        slot.start_low = start_low;
        slot.read_at_ns = read_at_ns;
        let is_same = self
            .slots
            .get(&pid)
            .is_some_and(|former| is_same_start(former, start_ns));
        if is_same {
            self.insert(pid, slot);
        } else {
            self.replace(pid, slot);
        }
        process
    }

    /// A fork. Returns the child.
    pub fn fork(&mut self, header: &Header, fork: &Fork) -> Arc<Process> {
        let (forker, _) = self.resolve(header);
        let mut child = Arc::new(self.node_of_fork(header, fork, forker));
        let keep_ns = self.keep_ns();
        let former = self.slots.remove(&fork.child_pid);
        let mut slot = Slot::new(fork.start_time_ns.min(header.time_ns), Arc::clone(&child));
        slot.start_ns = fork.start_time_ns;
        slot.start_low = fork.start_time_ns as u32;
        if let Some(former) = former {
            if former.ended_ns == 0
                && former.read_at_ns > header.time_ns
                && is_same_start(&former, fork.start_time_ns)
            {
                // The snapshot has read this very process after it was forked. What it read is at least as new; only
                // the lineage and the exact start are better here. Captures of what it did until then follow.
                let mut known = (**former.newest()).clone();
                known.fork_time = child.fork_time;
                if known.is_thread {
                    known.image = Arc::clone(&child.image);
                }
                known.set_parent(child.parent.parent().cloned());
                child = Arc::new(known);
                slot.replace_newest(Arc::clone(&child));
                slot.read_at_ns = former.read_at_ns;
            } else {
                slot.inherit(former, keep_ns);
            }
        }
        // The slot was taken out above, so this only finds room.
        self.insert(fork.child_pid, slot);
        child
    }

    /// An exec. Takes the strings out of `exec`. Returns the process with its new image.
    pub fn exec(&mut self, header: &Header, exec: &mut Exec) -> Arc<Process> {
        self.saw(header.time_ns);
        let is_own = |slot: &&Slot| {
            (slot.ended_ns == 0 || slot.ended_ns >= header.time_ns)
                && is_same_start(slot, exec.start_time_ns)
        };
        let mut broken = None;
        if self.slots.get(&header.pid).filter(is_own).is_none() {
            // Who it was until now nobody saw; where it comes from the kernel may still know.
            self.stats.unknown += 1;
            broken = Some(self.find_parent(header, exec.ppid));
        }
        let slot = self.slots.get(&header.pid).filter(is_own);
        let (former, parent, since_ns) = match slot {
            Some(slot) => {
                let former = Arc::clone(slot.newest());
                // The node read from /proc may be the image of this exec already, or of a later one: it is no ancestor.
                let already_read = slot.read_at_ns > header.time_ns;
                let parent = if former.is_exec && !already_read {
                    Some(Arc::clone(&former))
                } else {
                    let known = former.parent.parent().cloned();
                    known.or_else(|| self.living_parent(exec.ppid, header.time_ns))
                };
                (Some(former), parent, header.time_ns)
            }
            None => {
                let parent = self.living_parent(exec.ppid, header.time_ns);
                (None, parent, exec.start_time_ns.min(header.time_ns))
            }
        };
        let is_known = former.is_some();
        let start_ns = exec.start_time_ns;
        let process = Arc::new(self.node_of_exec(header, exec, former.as_deref(), parent));
        // The event gets everything, the tree what there is room for.
        let kept = match self.images.admit(&process.image) {
            None => Arc::clone(&process),
            Some(image) => Arc::new(Process {
                image,
                ..(*process).clone()
            }),
        };
        let keep_ns = self.keep_ns();
        match self.slots.get_mut(&header.pid) {
            Some(slot) if is_known => {
                slot.push(since_ns, kept, keep_ns);
                slot.start_ns = start_ns;
                slot.start_low = start_ns as u32;
                slot.read_at_ns = 0;
                slot.wants_procfs = false;
                slot.referenced = true;
            }
            _ => {
                let mut slot = Slot::new(since_ns, kept);
                slot.start_ns = start_ns;
                slot.start_low = start_ns as u32;
                self.replace(header.pid, slot);
            }
        }
        if let Some(reason) = broken {
            let is_whole = process.parent.parent().is_some();
            self.stats.healed += u64::from(is_whole);
            self.tell(reason, header, is_whole);
        }
        process
    }

    /// A process was moved to another cgroup. Its children stay where they are.
    pub fn cgroup_moved(&mut self, header: &Header, moved: &CgroupMove) {
        let known = self
            .slots
            .get(&header.pid)
            .filter(|slot| !slot.is_over(header.time_ns))
            .map(|slot| Arc::clone(slot.newest()));
        // One that is not known is asked for, with its cgroup, when something is known of it that matters.
        let Some(process) = known else { return };
        let now = self.epoch_ns(header.time_ns);
        let path = crate::cgroup::telling(&moved.cgroup);
        let membership = self.membership(Some(&process), moved.cgroup_id, path, now);
        if Arc::ptr_eq(&membership.cgroup, &process.cgroup) {
            return;
        }
        let mut changed = (*process).clone();
        changed.cgroup = membership.cgroup;
        changed.container = membership.container;
        let keep_ns = self.keep_ns();
        if let Some(slot) = self.slots.get_mut(&header.pid) {
            slot.push(header.time_ns, Arc::new(changed), keep_ns);
        }
    }

    /// An exit. Returns the process as it ended; it stays in the tree for late events until [`ProcessTree::expire`].
    pub fn exit(&mut self, header: &Header) -> Arc<Process> {
        self.saw(header.time_ns);
        self.saw_end(header.pid);
        let is_former_owners = self.slots.get(&header.pid).is_some_and(|slot| {
            slot.start_ns > header.time_ns || slot.is_of_another(header.start_low, header.time_ns)
        });
        if is_former_owners || !self.slots.contains_key(&header.pid) {
            // Of a process that was gone before the snapshot came to it, or of one that was never known. /proc has
            // nothing to say of it any more.
            self.stats.unknown += 1;
            let mut process = match self.slots.get(&header.pid) {
                Some(slot)
                    if slot.at(header.time_ns).fork_time <= self.epoch_ns(header.time_ns) =>
                {
                    (**slot.at(header.time_ns)).clone()
                }
                _ => {
                    let mut process = self.node_of_header(header);
                    process.set_parent(self.living_parent(header.ppid, header.time_ns));
                    process
                }
            };
            process.exit_time = self.epoch_ns(header.time_ns);
            return Arc::new(process);
        }
        let (process, _) = self.resolve(header);
        let mut ended = (*process).clone();
        ended.exit_time = self.epoch_ns(header.time_ns);
        let ended = Arc::new(ended);
        let keep_ns = self.keep_ns();
        if let Some(slot) = self.slots.get_mut(&header.pid) {
            slot.push(header.time_ns, Arc::clone(&ended), keep_ns);
            slot.ended_ns = header.time_ns;
        }
        self.ended.push_back((header.time_ns, header.pid));
        self.expire(header.time_ns);
        ended
    }
}
