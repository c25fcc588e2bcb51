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
    /// Until when no rule waits, in milliseconds since `started`.
    paused_until: AtomicU64,
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
            paused_until: AtomicU64::new(0),
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
        let now_ms = || u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if now_ms() < self.paused_until.load(Ordering::Relaxed) {
            return None;
        }
        let answer = pool.ask(HashRequest {
            deadline: Some(Instant::now() + RULE_WAIT),
            ..request
        });
        let hashes = answer.ok()?.recv_timeout(RULE_WAIT).ok();
        if hashes.is_none() {
            let pause = u64::try_from(PAUSE.as_millis()).unwrap_or(u64::MAX);
            self.paused_until
                .store(now_ms().saturating_add(pause), Ordering::Relaxed);
        }
        hashes
    }
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
        if file.path.is_empty() {
            return None;
        }
        let found = self.hashing.now(HashRequest {
            pids: files::pids(process),
            path: file.path.clone(),
            inode: if file.known { file.inode } else { 0 },
            modified_ns: file.modification_time,
            ..HashRequest::default()
        })?;
        // Whatever the reason is that there is none: it will not get better.
        Some(found.hashes.to_vec())
    }
}
