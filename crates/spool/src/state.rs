//! What a spool has in its hands, and how it changes: loading, writing, the quota, the memory queue, and the thread that
//! makes things durable.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::consumers::{Consumer, Consumers};
use crate::segment::{self, Segment};
use crate::{Error, Limits, record, valid_name};

/// How often the disk is told to keep what it has, and what it refused is tried again.
const TICK: Duration = Duration::from_secs(1);

pub(crate) struct Inner {
    pub(crate) dir: Option<PathBuf>,
    pub(crate) id: String,
    pub(crate) limits: Limits,
    pub(crate) state: Mutex<State>,
    /// Told when a record was appended or the spool was closed.
    pub(crate) appended: Condvar,
    /// Wakes the thread before its tick is over.
    pub(crate) wake: Condvar,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) segments: VecDeque<Segment>,
    /// The last segment, while it may grow.
    pub(crate) active: Option<Arc<File>>,
    /// What the disk refused, oldest first. Every offset here is higher than every one on disk.
    pub(crate) queue: VecDeque<(u64, Vec<u8>)>,
    pub(crate) queue_bytes: usize,
    pub(crate) next: u64,
    pub(crate) bytes: u64,
    pub(crate) dropped: u64,
    pub(crate) corrupt: u64,
    pub(crate) error: Option<String>,
    pub(crate) consumers: Consumers,
    /// The active segment has what `fdatasync` has not seen.
    pub(crate) dirty: bool,
    /// The directory has names that `fsync` has not seen.
    pub(crate) dir_dirty: bool,
    /// Full segments that want a last `fdatasync`.
    pub(crate) full: Vec<Arc<File>>,
    pub(crate) buffer: Vec<u8>,
    pub(crate) lock: Option<File>,
    pub(crate) closed: bool,
}

impl State {
    /// Takes over what is in the directory.
    pub(crate) fn load(&mut self, dir: &Path) -> Result<(), Error> {
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

    pub(crate) fn fail(&mut self, what: &str, error: &io::Error) {
        if self.error.is_none() {
            tracing::error!("the event spool cannot {what}: {error}; events wait in memory");
        }
        self.error = Some(format!("cannot {what}: {error}"));
    }
}

impl Inner {
    pub(crate) fn new(dir: Option<PathBuf>, id: String, limits: Limits, state: State) -> Self {
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

    pub(crate) fn max_bytes(&self) -> u64 {
        self.limits.max_bytes.max(self.limits.segment_bytes * 2)
    }

    pub(crate) fn register(&self, state: &mut State, name: &str) -> Result<(), Error> {
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
    pub(crate) fn write(&self, state: &mut State, offset: u64, data: &[u8]) -> Result<(), ()> {
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

    pub(crate) fn write_bytes(
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

    pub(crate) fn delete_oldest(&self, state: &mut State) {
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
    pub(crate) fn forget_read(&self, state: &mut State) {
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

    pub(crate) fn enqueue(&self, state: &mut State, offset: u64, data: &[u8]) {
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
    pub(crate) fn flush(&self, state: &mut State) {
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
    pub(crate) fn maintain(&self) {
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
