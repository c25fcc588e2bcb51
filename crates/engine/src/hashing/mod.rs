//! Hashes of the files that events are about: what rules ask for, and the `hash` action.
//!
//! The event loop never reads a file. The `hash` action hands its event over to a thread of its own, which waits for the
//! hashes a bounded time and then sends the event, with them or with the reason why not. A rule that asks for
//! `*.file.hashes` waits, a much shorter time, since its answer depends on it; when that was in vain nobody waits again for
//! a while.

mod files;
mod pending;
mod pool;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use atalaya_model::{Event, File, Lookup, Process};
use atalaya_policy::HashAction;
use atalaya_resolvers::{
    FileHashes, HashOptions, HashRequest, HashResolver, HashState, UserTables,
};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

pub(crate) use files::FileRef;
pub(crate) use pending::{Answer, Deferred, Pending, send_all};
use pool::HashPool;

/// How long an event waits for its hashes.
const WAIT: Duration = Duration::from_secs(2);
/// How long a rule that asks for hashes waits.
const RULE_WAIT: Duration = Duration::from_millis(50);
/// How long no rule waits after one did so in vain.
const PAUSE: Duration = Duration::from_secs(2);
/// Of the event loop's time rules may wait a fifth, and save up a second's worth of that: whoever makes a flood of files that
/// have to be read cannot hold the loop.
const SHARE: u32 = 5;
const SAVED: Duration = Duration::from_secs(1);
/// Events that may wait for their hashes.
const QUEUE: usize = 512;

/// Computes hashes, if it is configured.
#[derive(Debug)]
pub(crate) struct Hashing {
    pool: Option<HashPool>,
    event_types: Vec<String>,
    pending: Mutex<Option<Sender<Pending>>>,
    received: Mutex<Option<Receiver<Pending>>>,
    started: Instant,
    /// When the time that rules have waited so far is earned, in microseconds since `started`.
    earned_until: AtomicU64,
}

impl Hashing {
    /// `None` computes none.
    pub(crate) fn new(options: Option<HashOptions>, event_types: Vec<String>) -> Self {
        let (pending, received) = bounded(QUEUE);
        Self {
            pool: options.map(|options| HashPool::new(HashResolver::new(options))),
            event_types,
            pending: Mutex::new(Some(pending)),
            received: Mutex::new(Some(received)),
            started: Instant::now(),
            earned_until: AtomicU64::new(0),
        }
    }

    /// Begins to hash the file that an action is about.
    pub(crate) fn file(&self, action: &HashAction, event: &Event) -> (FileRef, Answer) {
        let mut file = FileRef::new(&action.field);
        let request = file.request(event);
        let is_configured = self
            .event_types
            .iter()
            .any(|known| known == event.event_type());
        let answer = match request {
            _ if self.pool.is_none() => Err(HashState::NoHash),
            _ if !is_configured => Err(HashState::EventTypeNotConfigured),
            None => Err(HashState::PathnameResolutionError),
            Some(request) => self.ask(HashRequest {
                max_file_size: action.max_file_size,
                ..request
            }),
        };
        (file, answer)
    }

    /// Whether no hash can come any more because no read ends.
    pub(crate) fn is_stuck(&self) -> bool {
        self.pool.as_ref().is_some_and(HashPool::is_stuck)
    }

    /// What waiting events come out of; for the one thread that sends them.
    pub(crate) fn take_receiver(&self) -> Option<Receiver<Pending>> {
        lock(&self.received).take()
    }

    /// Hands an event over. Given back when too many wait, or everything ends.
    pub(crate) fn submit(&self, pending: Pending) -> Result<(), Box<Pending>> {
        let sender = lock(&self.pending);
        let Some(sender) = &*sender else {
            return Err(Box::new(pending));
        };
        sender.try_send(pending).map_err(|error| match error {
            TrySendError::Full(pending) | TrySendError::Disconnected(pending) => Box::new(pending),
        })
    }

    /// Nothing more is handed over: the thread that sends ends when it has sent what waits.
    pub(crate) fn close(&self) {
        lock(&self.pending).take();
    }

    /// Asks for the hashes of a file, for an event that waits.
    fn ask(&self, request: HashRequest) -> Answer {
        let pool = self.pool.as_ref().ok_or(HashState::NoHash)?;
        pool.ask(HashRequest {
            deadline: Some(Instant::now() + WAIT),
            ..request
        })
    }

    /// The hashes of a file, for a rule that asks for them, now. `None`: they cannot be told in time.
    pub(crate) fn now(&self, request: HashRequest) -> Option<FileHashes> {
        let pool = self.pool.as_ref()?;
        let now_us = || micros(self.started.elapsed());
        let earned_until = self.earned_until.load(Ordering::Relaxed);
        if earned_until > now_us().saturating_add(micros(SAVED)) {
            return None;
        }
        let begun = Instant::now();
        let answer = pool.ask(HashRequest {
            deadline: Some(begun + RULE_WAIT),
            ..request
        });
        let hashes = answer.ok()?.recv_timeout(RULE_WAIT).ok();
        let paid = begun.elapsed() * SHARE;
        let (from, pause) = match hashes {
            Some(_) => (self.earned_until.load(Ordering::Relaxed), paid),
            None => (now_us(), PAUSE + SAVED),
        };
        self.earned_until.store(
            from.max(now_us()).saturating_add(micros(pause)),
            Ordering::Relaxed,
        );
        hashes
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Each holds one value that is put in or taken out.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who tells rules names of users and groups, and hashes.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) users: UserTables,
    pub(crate) hashing: Arc<Hashing>,
}

impl Lookup for Names {
    fn user(&self, uid: u32, process: &Process) -> Option<Arc<str>> {
        self.users.user(uid, process)
    }

    fn group(&self, gid: u32, process: &Process) -> Option<Arc<str>> {
        self.users.group(gid, process)
    }

    fn hashes(&self, file: &File, process: &Process) -> Option<Vec<String>> {
        // Without an inode there is no telling whether the path still leads to the file that the event is about.
        if file.path.is_empty() || !file.known || file.inode == 0 {
            return None;
        }
        let found = self.hashing.now(HashRequest {
            pids: files::pids(process),
            path: file.path.clone(),
            inode: file.inode,
            modified_ns: file.modification_time,
            ..HashRequest::default()
        })?;
        // Whatever the reason is that there is none: it will not get better.
        Some(found.hashes.to_vec())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn rules_that_wait_for_hashes_do_not_hold_the_loop() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "x").unwrap();
        let request = || HashRequest {
            pids: vec![std::process::id()],
            path: path.to_str().unwrap().to_owned(),
            ..HashRequest::default()
        };
        let hashing = Hashing::new(Some(HashOptions::default()), Vec::new());
        let now_us = || micros(hashing.started.elapsed());
        // A few in a row are told, and paid for.
        for _ in 0..3 {
            assert!(hashing.now(request()).is_some());
        }
        assert!(hashing.earned_until.load(Ordering::Relaxed) > 0);
        // As if many had been waited for.
        let spent = now_us() + 2 * micros(SAVED);
        hashing.earned_until.store(spent, Ordering::Relaxed);
        assert_eq!(hashing.now(request()), None);
        // And when some of it is earned again.
        hashing.earned_until.store(now_us(), Ordering::Relaxed);
        assert!(hashing.now(request()).is_some());
    }
}
