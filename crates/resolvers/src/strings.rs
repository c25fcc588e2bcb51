//! Arguments and environments of processes that are there already.
//!
//! `/proc/<pid>/cmdline` and `environ` are read from the process's own memory, and that can be a mapping of a file that a server in
//! user space fills, or nobody does: reading it then takes for ever. So a thread reads, and who asks waits a moment. A reader that
//! hangs is left behind and another takes its place; when too many hang nothing is read any more.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use crate::procfs::{self, ProcEntry, Strings};

/// How long the first answer of a process may take. Memory that is there is read in microseconds; what was swapped out takes longer.
const WAIT: Duration = Duration::from_millis(50);
/// Readers that may hang at once.
const HANGING: usize = 8;

/// Reads them, one process after the other.
#[derive(Debug, Default)]
pub(crate) struct StringsReader {
    worker: Option<Worker>,
    /// Readers that live, the present one included: each counts itself out when it ends.
    alive: Arc<AtomicUsize>,
    /// Processes whose memory was not read in time.
    pub(crate) missed: u64,
}

#[derive(Debug)]
struct Worker {
    jobs: SyncSender<OwnedFd>,
    answers: Receiver<Strings>,
}

impl StringsReader {
    /// Fills in arguments and environment. Where they cannot be had they are marked as truncated.
    pub(crate) fn fill(&mut self, entry: &mut ProcEntry) {
        if entry.is_kthread {
            return;
        }
        let Some(dir) = procfs::open_process(entry.pid, entry.start_time_ns) else {
            return; // gone: nothing is known, and nothing will be
        };
        let strings = self.read(dir).unwrap_or_else(|| {
            self.missed += 1;
            Strings {
                args_truncated: true,
                envs_truncated: true,
                ..Strings::default()
            }
        });
        entry.take_strings(strings);
    }

    fn read(&mut self, dir: OwnedFd) -> Option<Strings> {
        if self.worker.is_none() {
            self.worker = Worker::start(&self.alive);
        }
        let worker = self.worker.as_ref()?;
        let answer = worker
            .jobs
            .try_send(dir)
            .ok()
            .and_then(|()| worker.answers.recv_timeout(WAIT).ok());
        if answer.is_none() {
            // It hangs; when it wakes up it finds that nobody listens, and ends.
            self.worker = None;
        }
        answer
    }
}

impl Worker {
    fn start(alive: &Arc<AtomicUsize>) -> Option<Self> {
        if alive.load(Ordering::Relaxed) >= HANGING {
            return None;
        }
        alive.fetch_add(1, Ordering::Relaxed);
        let (jobs, received) = sync_channel::<OwnedFd>(1);
        let (sender, answers) = sync_channel(1);
        let counted = Arc::clone(alive);
        let spawned = std::thread::Builder::new()
            .name("proc-strings".to_owned())
            .spawn(move || {
                while let Ok(dir) = received.recv() {
                    if sender.send(procfs::read_strings(&dir)).is_err() {
                        break;
                    }
                }
                counted.fetch_sub(1, Ordering::Relaxed);
            });
        if let Err(error) = spawned {
            alive.fetch_sub(1, Ordering::Relaxed);
            tracing::debug!(%error, "no thread that reads arguments");
            return None;
        }
        Some(Self { jobs, answers })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn of_this_process() {
        let mut reader = StringsReader::default();
        let mut entry = procfs::read_task(std::process::id()).unwrap();
        for _ in 0..3 {
            reader.fill(&mut entry);
            assert_eq!(entry.args, std::env::args().collect::<Vec<_>>());
            assert!(!entry.args_truncated && !entry.envs.is_empty());
        }
        // Another process by the same pid, or none.
        let mut other = ProcEntry {
            start_time_ns: entry.start_time_ns + 60_000_000_000,
            ..procfs::read_task(std::process::id()).unwrap()
        };
        reader.fill(&mut other);
        assert!(other.args.is_empty() && !other.args_truncated);
        assert_eq!(reader.missed, 0);
        assert_eq!(reader.alive.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn readers_that_hang_are_left_behind_until_there_are_too_many() {
        // A pipe that nobody writes to stands for a page that never comes.
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("cmdline");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, fifo, mode, 0).unwrap();
        let open = || OwnedFd::from(std::fs::File::open(dir.path()).unwrap());
        let mut reader = StringsReader::default();
        let began = std::time::Instant::now();
        for _ in 0..2 * HANGING {
            assert_eq!(reader.read(open()), None);
        }
        let waited = began.elapsed();
        assert!(waited >= WAIT && waited < 2 * HANGING as u32 * WAIT);
        assert_eq!(reader.alive.load(Ordering::Relaxed), HANGING);
        let mut entry = procfs::read_task(std::process::id()).unwrap();
        reader.fill(&mut entry);
        assert!(entry.args_truncated && entry.envs_truncated && entry.args.is_empty());
        assert_eq!(reader.missed, 1);
        // They wake up, and the next question is answered.
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while reader.alive.load(Ordering::Relaxed) == HANGING {
            // Without waiting for somebody who reads: perhaps all are awake.
            let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
            let _ = rustix::fs::open(&pipe, flags, rustix::fs::Mode::empty());
            std::thread::sleep(Duration::from_millis(5));
            assert!(std::time::Instant::now() < deadline);
        }
        reader.fill(&mut entry);
        assert!(!entry.args.is_empty() && !entry.args_truncated);
    }
}
