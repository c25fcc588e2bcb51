//! All processes that were there before the sensor, from `/proc`.

use rustc_hash::FxHashMap;

use crate::clock;
use crate::procfs::{self, ProcEntry};
use crate::strings::StringsReader;

/// What `/proc` held, parents before their children.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The processes.
    pub processes: Vec<ProcEntry>,
    /// When it was begun (boot time, ns).
    pub begun_ns: u64,
    /// When it was finished.
    pub finished_ns: u64,
}

impl Snapshot {
    /// Reads every process. Takes about 0.1 ms a process.
    ///
    /// So that nothing is missed and nothing seen twice: attach the sensor first, then call this, give it to
    /// [`crate::ProcessTree::load`], and only then begin to process what the sensor has captured meanwhile. A process
    /// that began after the sensor was attached is in the captures, one that began before is in the snapshot, and one
    /// that is in both is recognised by the time that its entry was read at.
    pub fn take() -> Self {
        let begun_ns = clock::boot_now_ns();
        let mut filesystems: FxHashMap<u32, FxHashMap<u32, String>> = FxHashMap::default();
        let mut processes: Vec<ProcEntry> = procfs::pids()
            .into_iter()
            .filter_map(procfs::read_task)
            .collect();
        let mut strings = StringsReader::default();
        for process in &mut processes {
            strings.fill(process);
        }
        for process in &mut processes {
            if !process.exe.known {
                continue;
            }
            // Mount ids are the same for every process of a mount namespace, and reading the table is expensive.
            let mounts = filesystems
                .entry(process.namespaces.mnt)
                .or_insert_with(|| procfs::read_filesystems(process.pid).into_iter().collect());
            if let Some(filesystem) = mounts.get(&process.exe.mount_id) {
                process.exe.filesystem.clone_from(filesystem);
            }
        }
        Self {
            processes: parents_first(processes),
            begun_ns,
            finished_ns: clock::boot_now_ns(),
        }
    }
}

/// Orders processes so that each comes after its parent, if that is there. Loops, which only a `/proc` read in a hurry
/// can show (a pid reused between two reads), are cut anywhere.
pub(crate) fn parents_first(processes: Vec<ProcEntry>) -> Vec<ProcEntry> {
    let mut children: FxHashMap<u32, Vec<usize>> = FxHashMap::default();
    let index: FxHashMap<u32, usize> = processes
        .iter()
        .enumerate()
        .map(|(at, process)| (process.pid, at))
        .collect();
    let mut ready = Vec::new();
    for (at, process) in processes.iter().enumerate() {
        if process.ppid != process.pid && index.contains_key(&process.ppid) {
            children.entry(process.ppid).or_default().push(at);
        } else {
            ready.push(at);
        }
    }
    ready.reverse();
    let mut slots: Vec<Option<ProcEntry>> = processes.into_iter().map(Some).collect();
    let mut ordered = Vec::with_capacity(slots.len());
    while let Some(at) = ready.pop() {
        if let Some(process) = slots[at].take() {
            if let Some(children) = children.remove(&process.pid) {
                ready.extend(children.into_iter().rev());
            }
            ordered.push(process);
        }
    }
    ordered.extend(slots.into_iter().flatten());
    ordered
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn process(pid: u32, ppid: u32) -> ProcEntry {
        ProcEntry {
            pid,
            ppid,
            ..ProcEntry::default()
        }
    }

    #[test]
    fn order() {
        let ordered = parents_first(vec![
            process(9, 5),
            process(5, 1),
            process(1, 0),
            process(4, 4),
            process(7, 99),
            // a loop
            process(20, 21),
            process(21, 20),
        ]);
        let pids: Vec<u32> = ordered.iter().map(|p| p.pid).collect();
        let at = |pid| pids.iter().position(|p| *p == pid).unwrap();
        assert_eq!(pids.len(), 7);
        assert!(at(1) < at(5) && at(5) < at(9));
    }

    #[test]
    fn this_host() {
        let snapshot = Snapshot::take();
        let me = snapshot
            .processes
            .iter()
            .find(|p| p.pid == std::process::id())
            .unwrap();
        assert_ne!(me.exe.filesystem, "");
        assert!(me.read_at_ns >= snapshot.begun_ns && me.read_at_ns <= snapshot.finished_ns);
    }
}
