//! The kernel's own list of processes.

use atalaya_model::capture::{Header, Task};
use rustc_hash::FxHashMap;

use crate::cgroup;
use crate::clock;
use crate::procfs::ProcEntry;

/// Who can list all processes there are, from kernel memory alone and so without waiting for anybody.
pub trait TaskSource: Send {
    /// Every process; `None` where the kernel has no such list.
    fn scan(&mut self) -> Option<Vec<Task>>;
}

/// One pass over the list.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) entries: FxHashMap<u32, ProcEntry>,
    /// Boot time, ns.
    pub(crate) begun_ns: u64,
    pub(crate) finished_ns: u64,
}

impl Scan {
    pub(crate) fn take(source: &mut dyn TaskSource) -> Option<Self> {
        let begun_ns = clock::boot_now_ns();
        let tasks = source.scan()?;
        Some(Self::of(tasks, begun_ns, clock::boot_now_ns()))
    }

    pub(crate) fn of(tasks: Vec<Task>, begun_ns: u64, finished_ns: u64) -> Self {
        let mut entries = FxHashMap::default();
        for task in tasks {
            // Of one whose first thread has ended each thread tells; they tell the same.
            entries
                .entry(task.header.pid)
                .or_insert_with(|| entry_of(task));
        }
        Self {
            entries,
            begun_ns,
            finished_ns,
        }
    }
}

/// Without arguments and environment.
fn entry_of(task: Task) -> ProcEntry {
    let Header {
        pid,
        ppid,
        creds,
        comm,
        session,
        cgroup_id,
        time_ns,
        ..
    } = task.header;
    ProcEntry {
        pid,
        ppid,
        ns_pid: task.ns_pid,
        sid: task.sid,
        tty: task.tty,
        start_time_ns: task.start_time_ns,
        start_low: task.start_time_ns as u32,
        is_kthread: task.is_kthread,
        is_fork: task.is_fork && !task.is_kthread,
        comm,
        creds,
        exe: task.exe,
        namespaces: task.namespaces,
        cgroup_path: cgroup::telling(&task.cgroup).to_owned(),
        cgroup_id,
        session,
        read_at_ns: time_ns,
        ..ProcEntry::default()
    }
}
