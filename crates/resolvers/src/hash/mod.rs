//! Cryptographic hashes of files that events are about.
//!
//! The file was named by whoever caused the event, and may be anything by now: another file, a pipe, something on a file
//! system that never answers. So it is opened inside the root of its process, without following a link at its end,
//! first without any effect ([`open`](self::open)); only a regular file with the event's inode is read, up to a size,
//! a time and a rate. Reading can still block for ever (a dead disk, a file system in user space): do not call
//! [`HashResolver::resolve`] from a thread that others wait for without a limit.
//!
//! ssdeep, which the reference agent knows as well, is not offered: its implementations are under the GPL.

mod cache;
mod digest;
mod open;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use cache::Cache;
use digest::Digests;
use open::Opened;

/// What is computed, and within which bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashOptions {
    /// Which hashes, in the order in which events list them.
    pub algorithms: Vec<HashAlgorithm>,
    /// Larger files are not hashed, in bytes.
    pub max_file_size: u64,
    /// Files that are read, a second. What is cached costs nothing.
    pub max_rate: u32,
    /// Files whose hashes are remembered.
    pub cache_size: usize,
}

impl Default for HashOptions {
    fn default() -> Self {
        Self {
            algorithms: vec![HashAlgorithm::Sha1, HashAlgorithm::Sha256],
            max_file_size: 5 << 20,
            max_rate: 500,
            cache_size: 500,
        }
    }
}

/// A hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum HashAlgorithm {
    Md5,
    Sha1,
    Sha256,
}

impl HashAlgorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Md5, Self::Sha1, Self::Sha256];

    /// The name in configuration and in front of the hash: `sha256`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }
}

/// What became of a file's hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HashState {
    /// Nobody asked for them.
    #[default]
    NoHash,
    /// They are there.
    Done,
    /// There is no such file any more, or its process and whoever could tell are gone.
    FileNotFound,
    /// The event has no path that is certain.
    PathnameResolutionError,
    /// It is larger than allowed.
    FileTooBig,
    /// It has no content.
    FileEmpty,
    /// It cannot be opened, or is no regular file.
    FileOpenError,
    /// Another file is in its place, or it was changed while it was read.
    FileChanged,
    /// Hashes are not configured for events of this type.
    EventTypeNotConfigured,
    /// Too many files were hashed just now.
    HashWasRateLimited,
    /// It did not come in time.
    HashTimedOut,
    /// It could not be read.
    HashFailed,
}

impl HashState {
    /// The name in events. Those that the reference agent has are called as there.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoHash => "NoHash",
            Self::Done => "Done",
            Self::FileNotFound => "FileNotFound",
            Self::PathnameResolutionError => "PathnameResolutionError",
            Self::FileTooBig => "FileTooBig",
            Self::FileEmpty => "FileEmpty",
            Self::FileOpenError => "FileOpenError",
            Self::FileChanged => "FileChanged",
            Self::EventTypeNotConfigured => "EventTypeNotConfigured",
            Self::HashWasRateLimited => "HashWasRateLimited",
            Self::HashTimedOut => "HashTimedOut",
            Self::HashFailed => "HashFailed",
        }
    }
}

/// The hashes of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileHashes {
    /// What became of them.
    pub state: HashState,
    /// `algorithm:hex`, in the configured order; empty unless the state is [`HashState::Done`].
    pub hashes: Arc<[String]>,
}

impl From<HashState> for FileHashes {
    fn from(state: HashState) -> Self {
        Self {
            state,
            hashes: Arc::default(),
        }
    }
}

/// Which file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HashRequest {
    /// Processes in whose root the path is looked up, the first that still exists. All must be in the same mount
    /// namespace.
    pub pids: Vec<u32>,
    /// The path within that root.
    pub path: String,
    /// The inode number that the event has; 0 where it has none.
    pub inode: u64,
    /// The file's modification time that the event has (ns since the epoch); 0 where it has none.
    pub modified_ns: u64,
    /// Larger files are not hashed; `None` for the configured limit, which it can only lower.
    pub max_file_size: Option<u64>,
    /// When nobody waits any more.
    pub deadline: Option<Instant>,
}

/// Computes hashes and remembers them. Shared by threads.
#[derive(Debug)]
pub struct HashResolver {
    options: HashOptions,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    cache: Cache,
    tokens: f64,
    refilled: Instant,
}

impl HashResolver {
    /// Nothing is known yet.
    pub fn new(options: HashOptions) -> Self {
        let state = State {
            cache: Cache::new(options.cache_size),
            tokens: f64::from(options.max_rate),
            refilled: Instant::now(),
        };
        Self {
            options,
            state: Mutex::new(state),
        }
    }

    /// The hashes of a file. Blocks for as long as its file system does.
    pub fn resolve(&self, request: &HashRequest) -> FileHashes {
        self.try_resolve(request).unwrap_or_else(FileHashes::from)
    }

    fn try_resolve(&self, request: &HashRequest) -> Result<FileHashes, HashState> {
        let opened = Opened::find(request)?;
        let identity = opened.identity;
        let limit = request
            .max_file_size
            .unwrap_or(u64::MAX)
            .min(self.options.max_file_size);
        match identity.size {
            0 => return Err(HashState::FileEmpty),
            size if size > limit => return Err(HashState::FileTooBig),
            _ => {}
        }
        if let Some(hashes) = self.state().cache.get(&identity) {
            return Ok(done(hashes));
        }
        if !self.state().take_token(self.options.max_rate) {
            return Err(HashState::HashWasRateLimited);
        }
        let mut digests = Digests::new(&self.options.algorithms);
        let after = opened.read(limit, request.deadline, |block| digests.update(block))?;
        if after != identity {
            return Err(HashState::FileChanged);
        }
        let hashes: Arc<[String]> = digests.finish().into();
        if identity.is_settled() {
            self.state().cache.put(identity, Arc::clone(&hashes));
        }
        Ok(done(hashes))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A cache and a counter: nothing that a panic could leave dangerous.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn done(hashes: Arc<[String]>) -> FileHashes {
    FileHashes {
        state: HashState::Done,
        hashes,
    }
}

impl State {
    fn take_token(&mut self, rate: u32) -> bool {
        let rate = f64::from(rate);
        let now = Instant::now();
        let gained = now.duration_since(self.refilled).as_secs_f64() * rate;
        self.refilled = now;
        self.tokens = (self.tokens + gained).min(rate);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}
