//! The threads that read files to hash them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use atalaya_resolvers::{FileHashes, HashRequest, HashResolver, HashState};
use crossbeam_channel::{Receiver, Sender, bounded};

/// Threads at most. There is one; another is started when none has come back for a while: reading a file on a dead disk
/// or on somebody's own file system may never end.
const THREADS: usize = 4;
/// For how long.
const STUCK: Duration = Duration::from_millis(500);
/// Requests that may wait.
const QUEUE: usize = 256;

/// Hashes files on threads of its own, which may block for ever.
#[derive(Debug)]
pub(crate) struct HashPool {
    inner: Arc<Inner>,
    jobs: Sender<Job>,
}

#[derive(Debug)]
struct Inner {
    resolver: HashResolver,
    jobs: Receiver<Job>,
    started: Instant,
    threads: AtomicUsize,
    /// Since when each thread is busy, in milliseconds since `started`, and 1 more; 0 for one that is not.
    busy: [AtomicU64; THREADS],
}

#[derive(Debug)]
struct Job {
    request: HashRequest,
    answer: Sender<FileHashes>,
}

impl HashPool {
    pub(crate) fn new(resolver: HashResolver) -> Self {
        let (jobs, receiver) = bounded(QUEUE);
        let inner = Inner {
            resolver,
            jobs: receiver,
            started: Instant::now(),
            threads: AtomicUsize::new(0),
            busy: Default::default(),
        };
        Self {
            inner: Arc::new(inner),
            jobs,
        }
    }

    /// Asks for the hashes of a file. Does not wait. `Err`: too much is waiting already.
    pub(crate) fn ask(&self, request: HashRequest) -> Result<Receiver<FileHashes>, HashState> {
        if self.inner.wants_thread() {
            self.start_thread();
        }
        let (answer, answered) = bounded(1);
        self.jobs
            .try_send(Job { request, answer })
            .map_err(|_| HashState::HashWasRateLimited)?;
        Ok(answered)
    }

    /// Whether every thread that there may be has been reading for long: no hash will come.
    pub(crate) fn is_stuck(&self) -> bool {
        self.inner.threads.load(Ordering::Acquire) >= THREADS && self.inner.all_are_busy()
    }

    fn start_thread(&self) {
        let number = self.inner.threads.fetch_add(1, Ordering::AcqRel);
        if number >= THREADS {
            self.inner.threads.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        let inner = Arc::clone(&self.inner);
        // Not joined at the end: it may never come back.
        let started = std::thread::Builder::new()
            .name("hash".to_owned())
            .spawn(move || inner.work(number));
        if let Err(error) = started {
            self.inner.threads.fetch_sub(1, Ordering::AcqRel);
            tracing::warn!(%error, "cannot start a thread that hashes files");
        }
    }
}

impl Inner {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn wants_thread(&self) -> bool {
        self.threads.load(Ordering::Acquire) < THREADS && self.all_are_busy()
    }

    /// All threads that there are have been reading for long.
    fn all_are_busy(&self) -> bool {
        let threads = self.threads.load(Ordering::Acquire);
        let now = self.now_ms();
        let stuck = u64::try_from(STUCK.as_millis()).unwrap_or(u64::MAX);
        self.busy.iter().take(threads).all(|since| {
            let since = since.load(Ordering::Relaxed);
            since != 0 && now.saturating_sub(since - 1) > stuck
        })
    }

    /// Works until the pool is dropped.
    fn work(&self, number: usize) {
        while let Ok(job) = self.jobs.recv() {
            let late = job.request.deadline.is_some_and(|at| Instant::now() >= at);
            let hashes = if late {
                FileHashes::from(HashState::HashTimedOut)
            } else {
                self.busy[number].store(self.now_ms() + 1, Ordering::Relaxed);
                let hashes = self.resolver.resolve(&job.request);
                self.busy[number].store(0, Ordering::Relaxed);
                hashes
            };
            // Whoever asked may have stopped waiting.
            let _ = job.answer.try_send(hashes);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use atalaya_resolvers::HashOptions;

    fn request(path: &std::path::Path) -> HashRequest {
        HashRequest {
            pids: vec![std::process::id()],
            path: path.to_str().unwrap().to_owned(),
            ..HashRequest::default()
        }
    }

    #[test]
    fn a_stuck_thread_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "x").unwrap();
        let pool = HashPool::new(HashResolver::new(HashOptions::default()));
        let wait = |answer: Receiver<FileHashes>| answer.recv_timeout(Duration::from_secs(5));
        let first = wait(pool.ask(request(&path)).unwrap()).unwrap();
        assert_eq!(first.state, HashState::Done);
        assert_eq!(pool.inner.threads.load(Ordering::Relaxed), 1);
        // As if its only thread had been reading since the beginning.
        std::thread::sleep(STUCK + Duration::from_millis(20));
        pool.inner.busy[0].store(1, Ordering::Relaxed);
        let second = wait(pool.ask(request(&path)).unwrap()).unwrap();
        assert_eq!(second.state, HashState::Done);
        assert_eq!(pool.inner.threads.load(Ordering::Relaxed), 2);
        assert!(!pool.is_stuck());
        pool.inner.threads.store(THREADS, Ordering::Relaxed);
        assert!(!pool.is_stuck());
        for busy in &pool.inner.busy {
            busy.store(1, Ordering::Relaxed);
        }
        assert!(pool.is_stuck());
    }

    #[test]
    fn what_nobody_waits_for_is_not_read() {
        let pool = HashPool::new(HashResolver::new(HashOptions::default()));
        let mut late = request(std::path::Path::new("/etc/passwd"));
        late.deadline = Some(Instant::now());
        let answer = pool.ask(late).unwrap();
        let hashes = answer.recv_timeout(Duration::from_secs(5)).unwrap();
        assert_eq!(hashes.state, HashState::HashTimedOut);
    }

    #[test]
    fn the_queue_is_bounded() {
        let pool = HashPool::new(HashResolver::new(HashOptions::default()));
        // No thread is there to take anything.
        pool.inner.threads.store(THREADS, Ordering::Relaxed);
        let path = std::path::Path::new("/etc/passwd");
        let refused = (0..2 * QUEUE)
            .filter(|_| pool.ask(request(path)).is_err())
            .count();
        assert_eq!(refused, QUEUE);
    }
}
