//! The spool as its users see it.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::directory::{identity, lock, random_name};
use crate::reader::Reader;
use crate::record::MAX_RECORD;
use crate::state::{Inner, State};
use crate::{ConsumerStats, Error, Limits};

/// A spool, for the thread that appends. Clones are the same spool; when the last one goes, it is closed.
#[derive(Clone)]
pub struct Spool {
    owner: Arc<Owner>,
}

/// What a spool holds and has lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// The directory; empty when it is in memory only.
    pub dir: PathBuf,
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes allowed on disk.
    pub max_bytes: u64,
    /// Records that can be read.
    pub records: u64,
    /// The offset of the oldest of them.
    pub first_offset: u64,
    /// The offset of the next record.
    pub next_offset: u64,
    /// Records lost since the spool was opened: deleted by the quota before everybody had read them, or neither disk
    /// nor memory had a place for them.
    pub dropped: u64,
    /// Damaged places found since the spool was opened.
    pub corrupt: u64,
    /// Records in memory because the disk refused them.
    pub in_memory: u64,
    /// Why the disk refuses.
    pub error: Option<String>,
    /// The named consumers.
    pub consumers: Vec<ConsumerStats>,
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let dir = &self.owner.inner.dir;
        f.debug_struct("Spool")
            .field("dir", dir)
            .finish_non_exhaustive()
    }
}

struct Owner {
    inner: Arc<Inner>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Spool {
    /// Opens the spool in this directory, and makes it where it is missing.
    pub fn open(dir: impl AsRef<Path>, limits: Limits) -> Result<Self, Error> {
        let dir = dir.as_ref();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(Error::io("create", dir))?;
        let lock = lock(dir)?;
        let id = identity(dir)?;
        let mut state = State {
            lock: Some(lock),
            ..State::default()
        };
        state.load(dir)?;
        Self::start(Inner::new(Some(dir.to_owned()), id, limits, state))
    }

    /// A spool without a directory, for when none can be had: the last `memory_bytes` of records, gone with the
    /// process. `why` is shown as the error in [`Stats`].
    pub fn in_memory(limits: Limits, why: impl Into<String>) -> Result<Self, Error> {
        let state = State {
            next: 1,
            error: Some(why.into()),
            ..State::default()
        };
        Self::start(Inner::new(None, random_name(), limits, state))
    }

    fn start(inner: Inner) -> Result<Self, Error> {
        let inner = Arc::new(inner);
        let thread = std::thread::Builder::new()
            .name("spool".into())
            .spawn({
                let inner = Arc::clone(&inner);
                move || inner.maintain()
            })
            .map_err(Error::io("start", "the spool's thread"))?;
        let thread = Mutex::new(Some(thread));
        Ok(Self {
            owner: Arc::new(Owner { inner, thread }),
        })
    }

    /// A random name that this spool got when it was made, and the kernel's boot id. While it is the same, an offset
    /// means the same record. (After a power cut the last second's offsets may be given again.)
    pub fn id(&self) -> &str {
        &self.owner.inner.id
    }

    /// Adds a record and returns its offset. Never fails; what finds no place is counted in [`Stats::dropped`].
    pub fn append(&self, data: &[u8]) -> u64 {
        let inner = &self.owner.inner;
        let mut state = inner.state();
        let offset = state.next;
        state.next += 1;
        if data.len() > MAX_RECORD || state.closed {
            state.dropped += 1;
            return offset;
        }
        // While something waits in memory, order forbids to write this one; the thread tries again every second.
        let written = state.queue.is_empty() && inner.write(&mut state, offset, data).is_ok();
        if !written {
            inner.enqueue(&mut state, offset, data);
        }
        drop(state);
        inner.appended.notify_all();
        offset
    }

    /// Reads as this consumer, from its first record that is not acknowledged on; from the oldest record when the
    /// consumer is new.
    pub fn reader(&self, consumer: &str) -> Result<Reader, Error> {
        let inner = &self.owner.inner;
        let mut state = inner.state();
        inner.register(&mut state, consumer)?;
        let mut from = 0;
        if let Some(consumer) = state.consumers.all.get_mut(consumer) {
            consumer.readers += 1;
            consumer.told.clear();
            from = consumer.next;
        }
        drop(state);
        Ok(Reader::new(
            Arc::clone(inner),
            Some(consumer.to_owned()),
            from,
            None,
        ))
    }

    /// Reads what comes from now on, as nobody. When more than `max_lag` records wait, it jumps to the newest
    /// half of them and tells how many it missed.
    pub fn observer(&self, max_lag: u64) -> Reader {
        let inner = &self.owner.inner;
        let from = inner.state().next;
        Reader::new(Arc::clone(inner), None, from, Some(max_lag.max(1)))
    }

    /// This consumer needs no record up to and including `offset` any more. Returns the first offset it still needs.
    pub fn ack(&self, consumer: &str, offset: u64) -> Result<u64, Error> {
        let inner = &self.owner.inner;
        let mut state = inner.state();
        if offset >= state.next {
            let next = state.next;
            return Err(Error::AckBeyondEnd { offset, next });
        }
        let Some(entry) = state.consumers.all.get_mut(consumer) else {
            return Err(Error::UnknownConsumer(consumer.to_owned()));
        };
        if offset < entry.next {
            return Ok(entry.next);
        }
        entry.next = offset + 1;
        let missed = &mut entry.missed;
        entry.told.retain(|&(before, n)| {
            let acked = before <= offset;
            *missed += if acked { n } else { 0 };
            !acked
        });
        state.consumers.persist(consumer);
        inner.forget_read(&mut state);
        Ok(offset + 1)
    }

    /// Forgets a consumer that will not come back, so that nothing is kept for it.
    pub fn forget(&self, consumer: &str) {
        let inner = &self.owner.inner;
        let mut state = inner.state();
        if state.consumers.all.remove(consumer).is_some() {
            if let Some(dir) = &inner.dir {
                let _ = fs::remove_file(dir.join("consumers").join(consumer));
            }
            inner.forget_read(&mut state);
        }
    }

    /// What the spool holds and has lost.
    pub fn stats(&self) -> Stats {
        let inner = &self.owner.inner;
        let state = inner.state();
        let first = state.first();
        Stats {
            dir: inner.dir.clone().unwrap_or_default(),
            bytes: state.bytes,
            max_bytes: if inner.dir.is_some() {
                inner.max_bytes()
            } else {
                0
            },
            records: state.segments.iter().map(|s| s.end - s.first).sum::<u64>()
                + state.queue.len() as u64,
            first_offset: first,
            next_offset: state.next,
            dropped: state.dropped,
            corrupt: state.corrupt,
            in_memory: state.queue.len() as u64,
            error: state.error.clone(),
            consumers: state
                .consumers
                .all
                .iter()
                .map(|(name, c)| ConsumerStats {
                    name: name.clone(),
                    next_offset: c.next,
                    lag: state.next - c.next.max(first).min(state.next),
                    missed: c.missed + first.saturating_sub(c.next),
                    readers: c.readers,
                })
                .collect(),
        }
    }

    /// Writes what waits in memory if the disk takes it now, makes everything durable, and ends all readers. What is
    /// appended afterwards is dropped. Also done when the last clone goes.
    pub fn close(&self) {
        self.owner.close();
    }
}

impl Owner {
    fn close(&self) {
        self.inner.state().closed = true;
        self.inner.appended.notify_all();
        self.inner.wake.notify_all();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.close();
    }
}
