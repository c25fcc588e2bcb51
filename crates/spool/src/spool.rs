//! The spool itself: append, quota, the memory queue, and the thread that makes things durable.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::consumers::{Consumer, Consumers};
use crate::reader::Reader;
use crate::record::{self, MAX_RECORD};
use crate::segment::{self, Segment};
use crate::{ConsumerStats, Error, Limits, valid_name};

/// How often the disk is told to keep what it has, and what it refused is tried again.
const TICK: Duration = Duration::from_secs(1);

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

pub(crate) struct Inner {
    dir: Option<PathBuf>,
    id: String,
    limits: Limits,
    state: Mutex<State>,
    /// Told when a record was appended or the spool was closed.
    pub(crate) appended: Condvar,
    /// Wakes the thread before its tick is over.
    wake: Condvar,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) segments: VecDeque<Segment>,
    /// The last segment, while it may grow.
    active: Option<Arc<File>>,
    /// What the disk refused, oldest first. Every offset here is higher than every one on disk.
    pub(crate) queue: VecDeque<(u64, Vec<u8>)>,
    queue_bytes: usize,
    pub(crate) next: u64,
    bytes: u64,
    dropped: u64,
    pub(crate) corrupt: u64,
    error: Option<String>,
    pub(crate) consumers: Consumers,
    /// The active segment has what `fdatasync` has not seen.
    dirty: bool,
    /// The directory has names that `fsync` has not seen.
    dir_dirty: bool,
    /// Full segments that want a last `fdatasync`.
    full: Vec<Arc<File>>,
    buffer: Vec<u8>,
    lock: Option<File>,
    pub(crate) closed: bool,
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

impl State {
    /// Takes over what is in the directory.
    fn load(&mut self, dir: &Path) -> Result<(), Error> {
        let mut found = segment::list(dir)?;
        // Only the last segment can have a torn tail; the others were full. What is damaged inside them, readers find.
        while let Some((first, path)) = found.pop() {
            let Some(scan) = Segment::scan(&path, first)? else {
                tracing::warn!(
                    "the spool's segment {} has a damaged header: deleted",
                    path.display()
                );
                self.corrupt += 1;
                fs::remove_file(&path).map_err(Error::io("delete", &path))?;
                continue;
            };
            let segment = scan.segment;
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .open(&path)
                .map_err(Error::io("open", &path))?;
            if scan.torn > 0 {
                tracing::info!(
                    "cut {} bytes of an unfinished record off {}",
                    scan.torn,
                    path.display()
                );
                file.set_len(segment.len)
                    .map_err(Error::io("truncate", &path))?;
            }
            self.corrupt += scan.corrupt;
            self.active = Some(Arc::new(file));
            self.next = segment.end;
            self.segments.push_front(segment);
            break;
        }
        for (first, path) in found.into_iter().rev() {
            let len = fs::metadata(&path)
                .map_err(Error::io("examine", &path))?
                .len();
            let end = self.segments.front().map_or(self.next, |s| s.first);
            self.segments.push_front(Segment {
                path,
                first,
                end,
                len,
            });
        }
        self.bytes = self.segments.iter().map(|s| s.len).sum();
        self.next = self.next.max(1);
        self.consumers = Consumers::load(dir, self.first())?;
        // Never give a number again that a consumer has seen: after a power cut its file may be newer than the records.
        let acknowledged = self.consumers.all.values().map(|c| c.next).max();
        self.next = self.next.max(acknowledged.unwrap_or(0));
        Ok(())
    }

    /// The offset of the oldest record, or of the next one when there is none.
    pub(crate) fn first(&self) -> u64 {
        let on_disk = self
            .segments
            .iter()
            .find(|s| s.end > s.first)
            .map(|s| s.first);
        let first = on_disk.or_else(|| self.queue.front().map(|(offset, _)| *offset));
        first.unwrap_or(self.next)
    }

    fn fail(&mut self, what: &str, error: &io::Error) {
        if self.error.is_none() {
            tracing::error!("the event spool cannot {what}: {error}; events wait in memory");
        }
        self.error = Some(format!("cannot {what}: {error}"));
    }
}

impl Inner {
    fn new(dir: Option<PathBuf>, id: String, limits: Limits, state: State) -> Self {
        Self {
            dir,
            id,
            limits,
            state: Mutex::new(state),
            appended: Condvar::new(),
            wake: Condvar::new(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn max_bytes(&self) -> u64 {
        self.limits.max_bytes.max(self.limits.segment_bytes * 2)
    }

    fn register(&self, state: &mut State, name: &str) -> Result<(), Error> {
        if !valid_name(name) {
            return Err(Error::BadName(name.to_owned()));
        }
        if state.consumers.all.contains_key(name) {
            return Ok(());
        }
        if state.consumers.all.len() >= self.limits.max_consumers {
            return Err(Error::TooManyConsumers(self.limits.max_consumers));
        }
        let consumer = Consumer {
            next: state.first(),
            ..Consumer::default()
        };
        state.consumers.all.insert(name.to_owned(), consumer);
        state.consumers.persist(name);
        Ok(())
    }

    /// Writes a record to the active segment. On an error nothing has changed: what a short write left behind the
    /// segment's length is overwritten by the next one.
    fn write(&self, state: &mut State, offset: u64, data: &[u8]) -> Result<(), ()> {
        let Some(dir) = &self.dir else {
            return Err(());
        };
        let mut buffer = std::mem::take(&mut state.buffer);
        buffer.clear();
        record::encode(offset, data, &mut buffer);
        let result = self.write_bytes(dir, state, offset, &buffer);
        // One large event shall not cost its memory for ever.
        buffer.shrink_to(64 << 10);
        state.buffer = buffer;
        if let Err(e) = result {
            state.fail(&format!("write to {}", dir.display()), &e);
            return Err(());
        }
        if state.error.take().is_some() {
            tracing::info!("the event spool can write again");
        }
        Ok(())
    }

    fn write_bytes(
        &self,
        dir: &Path,
        state: &mut State,
        offset: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        let size = bytes.len() as u64;
        let full = state
            .segments
            .back()
            .is_none_or(|s| s.len > segment::HEADER && s.len + size > self.limits.segment_bytes);
        if full {
            // The end of a short write must not be taken for a record.
            if let (Some(file), Some(segment)) = (state.active.take(), state.segments.back()) {
                let _ = file.set_len(segment.len);
                state.full.push(file);
            }
            self.wake.notify_one();
        }
        while state.bytes + size + segment::HEADER > self.max_bytes()
            && (state.segments.len() > 1 || (full && !state.segments.is_empty()))
        {
            self.delete_oldest(state);
        }
        let file = match &state.active {
            Some(file) => Arc::clone(file),
            None => {
                let (segment, file) = Segment::create(dir, offset)?;
                let file = Arc::new(file);
                state.bytes += segment.len;
                state.segments.push_back(segment);
                state.active = Some(Arc::clone(&file));
                state.dir_dirty = true;
                file
            }
        };
        if let Some(segment) = state.segments.back_mut() {
            file.write_all_at(bytes, segment.len)?;
            segment.len += size;
            segment.end = offset + 1;
            state.bytes += size;
            state.dirty = true;
        }
        Ok(())
    }

    fn delete_oldest(&self, state: &mut State) {
        let Some(segment) = state.segments.pop_front() else {
            return;
        };
        let needed = state
            .consumers
            .needed()
            .unwrap_or(0)
            .clamp(segment.first, segment.end);
        state.dropped += segment.end - needed;
        state.bytes -= segment.len;
        state.dir_dirty = true;
        if let Err(e) = fs::remove_file(&segment.path) {
            tracing::warn!("cannot delete {}: {e}", segment.path.display());
        }
    }

    /// Deletes what every consumer has acknowledged.
    fn forget_read(&self, state: &mut State) {
        let Some(needed) = state.consumers.needed() else {
            return;
        };
        while state.segments.len() > 1 && state.segments.front().is_some_and(|s| s.end <= needed) {
            self.delete_oldest(state);
        }
        while state
            .queue
            .front()
            .is_some_and(|(offset, _)| *offset < needed)
        {
            if let Some((_, data)) = state.queue.pop_front() {
                state.queue_bytes -= data.len();
            }
        }
    }

    fn enqueue(&self, state: &mut State, offset: u64, data: &[u8]) {
        state.queue.push_back((offset, data.to_vec()));
        state.queue_bytes += data.len();
        while state.queue_bytes > self.limits.memory_bytes {
            match state.queue.pop_front() {
                Some((_, data)) => {
                    state.queue_bytes -= data.len();
                    state.dropped += 1;
                }
                None => break,
            }
        }
    }

    /// Tries to write what waits in memory.
    fn flush(&self, state: &mut State) {
        if self.dir.is_none() {
            return;
        }
        while let Some((offset, data)) = state.queue.pop_front() {
            if self.write(state, offset, &data).is_err() {
                state.queue.push_front((offset, data));
                return;
            }
            state.queue_bytes -= data.len();
        }
    }

    /// The thread: every second, and once more when the spool is closed.
    fn maintain(&self) {
        let mut state = self.state();
        loop {
            let closed = state.closed;
            self.flush(&mut state);
            let mut files = std::mem::take(&mut state.full);
            if std::mem::take(&mut state.dirty) {
                files.extend(state.active.clone());
            }
            let dir = self
                .dir
                .as_ref()
                .filter(|_| std::mem::take(&mut state.dir_dirty));
            // The disk may take its time: appending goes on meanwhile.
            drop(state);
            let mut result = files.iter().try_for_each(|f| f.sync_data());
            if let Some(dir) = dir {
                result = result.and_then(|()| File::open(dir)?.sync_all());
            }
            state = self.state();
            if let Err(e) = result {
                state.fail("make events durable", &e);
            }
            if closed {
                state.lock = None;
                return;
            }
            if !state.closed {
                state = self
                    .wake
                    .wait_timeout(state, TICK)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
        }
    }
}

fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked(dir.to_owned())),
        Err(TryLockError::Error(e)) => Err(Error::io("lock", path)(e)),
    }
}

/// The spool's own name and the kernel's boot id.
fn identity(dir: &Path) -> Result<String, Error> {
    let path = dir.join("id");
    let own = match fs::read_to_string(&path) {
        Ok(text) if text.trim().len() == 16 => text.trim().to_owned(),
        _ => {
            let id = random_name();
            fs::write(&path, format!("{id}\n")).map_err(Error::io("write", &path))?;
            id
        }
    };
    let boot =
        fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_else(|_| random_name());
    Ok(format!("{own}-{}", boot.trim()))
}

/// 16 hexadecimal digits; the standard library's hash keys are random enough for a name.
fn random_name() -> String {
    let hasher = std::hash::RandomState::new().build_hasher();
    format!("{:016x}", hasher.finish())
}
