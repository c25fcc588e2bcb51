//! Reading by offset, from disk and from the memory queue.

use std::fs::File;
use std::io;
use std::io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::record::{self, MAX_RECORD, Parsed};
use crate::segment;
use crate::state::{Inner, State};

/// How much is read from disk at once.
const CHUNK: usize = 64 << 10;

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub offset: u64,
    /// How many records right before it this reader did not get: deleted by the quota, damaged, or skipped by an
    /// observer that was too slow.
    pub missed: u64,
    /// Its data.
    pub data: Vec<u8>,
}

/// What [`Reader::next`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The next record.
    Record(Record),
    /// No record came in this time.
    Timeout,
    /// The spool was closed, and everything was read.
    Closed,
}

/// Reads records in order. Several readers do not disturb each other or the one who appends.
pub struct Reader {
    inner: Arc<Inner>,
    consumer: Option<String>,
    /// The offset that should come next.
    expected: u64,
    /// Missed since the last record that was returned.
    missed: u64,
    /// For observers: jump when so many wait.
    max_lag: Option<u64>,
    open: Option<Open>,
}

/// The segment that is being read.
struct Open {
    first: u64,
    file: File,
    /// Where in the file the next record begins.
    at: u64,
    /// Bytes of the file from `buffered_at` on.
    buffer: Vec<u8>,
    buffered_at: u64,
}

/// Where the next record is.
enum Place {
    Disk { first: u64, len: u64, end: u64 },
    Memory(Vec<u8>),
    Nowhere,
}

impl Reader {
    pub(crate) fn new(
        inner: Arc<Inner>,
        consumer: Option<String>,
        from: u64,
        max_lag: Option<u64>,
    ) -> Self {
        Self {
            inner,
            consumer,
            expected: from,
            missed: 0,
            max_lag,
            open: None,
        }
    }

    /// The offset that should come next.
    pub fn position(&self) -> u64 {
        self.expected
    }

    /// The next record; waits for it at most so long. Blocks: call it from a thread that may.
    pub fn next(&mut self, timeout: Duration) -> Next {
        let deadline = Instant::now() + timeout;
        loop {
            match self.locate(deadline) {
                Ok(Place::Memory(data)) => return self.deliver(self.expected, data),
                Ok(Place::Disk { first, len, end }) => {
                    if let Some((offset, data)) = self.read(first, len, end) {
                        return self.deliver(offset, data);
                    }
                }
                Ok(Place::Nowhere) => {}
                Err(nothing) => return nothing,
            }
        }
    }

    fn deliver(&mut self, offset: u64, data: Vec<u8>) -> Next {
        let missed = std::mem::take(&mut self.missed) + (offset - self.expected);
        self.expected = offset + 1;
        if missed > 0
            && let Some(name) = &self.consumer
            && let Some(consumer) = self.inner.state().consumers.all.get_mut(name)
        {
            consumer.told.push((offset, missed));
        }
        Next::Record(Record {
            offset,
            missed,
            data,
        })
    }

    /// Waits until there is something to read, and says where. Moves `expected` over what is gone.
    fn locate(&mut self, deadline: Instant) -> Result<Place, Next> {
        let inner = Arc::clone(&self.inner);
        let mut state = inner.state();
        while self.expected >= state.next {
            if state.closed {
                return Err(Next::Closed);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Next::Timeout);
            }
            state = inner
                .appended
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        if let Some(max) = self.max_lag
            && state.next - self.expected > max
        {
            // Keeps some, so that a burst still shows its end.
            self.skip_to(state.next - (max / 2).max(1));
        }
        let place = self.find(&state);
        // A segment that was deleted in the meantime stays readable while it is open, but `first` tells that it is gone:
        // what the quota took counts as missed, for all readers alike.
        if !matches!(&place, Place::Disk { first, .. } if self.open.as_ref().is_some_and(|o| o.first == *first))
        {
            self.open = None;
        }
        if let Place::Disk { first, .. } = place
            && self.open.is_none()
        {
            // Under the lock, so that the quota cannot delete it first.
            let path = state
                .segments
                .iter()
                .find(|s| s.first == first)
                .map(|s| &s.path);
            match path.map(|p| Open::new(p, first)) {
                Some(Ok(open)) => self.open = Some(open),
                // It is there but cannot be opened now (too many open files, a disk that is slow to answer): later.
                Some(Err(e)) if !matches!(e.kind(), NotFound | InvalidData | UnexpectedEof) => {
                    drop(state);
                    tracing::warn!("cannot open the spool's segment {first} now: {e}");
                    std::thread::sleep(Duration::from_millis(100));
                    return Err(Next::Timeout);
                }
                _ => {}
            }
        }
        Ok(place)
    }

    fn find(&mut self, state: &State) -> Place {
        // The first segment that has something at or after `expected`.
        let index = state.segments.partition_point(|s| s.end <= self.expected);
        if let Some(segment) = state.segments.get(index) {
            self.skip_to(segment.first);
            return Place::Disk {
                first: segment.first,
                len: segment.len,
                end: segment.end,
            };
        }
        let index = state
            .queue
            .partition_point(|(offset, _)| *offset < self.expected);
        if let Some((offset, data)) = state.queue.get(index) {
            self.skip_to(*offset);
            return Place::Memory(data.clone());
        }
        self.skip_to(state.next);
        Place::Nowhere
    }

    fn skip_to(&mut self, offset: u64) {
        self.missed += offset.saturating_sub(self.expected);
        self.expected = self.expected.max(offset);
    }

    /// The next record of the open segment. `None`: the rest of it cannot be read, and was skipped.
    fn read(&mut self, first: u64, len: u64, end: u64) -> Option<(u64, Vec<u8>)> {
        let mut corrupt = 0;
        let found = match &mut self.open {
            Some(open) => open.next(self.expected, first, len, &mut corrupt),
            None => {
                corrupt = 1;
                None
            }
        };
        if found.is_none() {
            self.skip_to(end);
        }
        if corrupt > 0 {
            tracing::warn!("{corrupt} damaged place(s) in the spool's segment {first}");
            self.inner.state().corrupt += corrupt;
        }
        found
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(name) = &self.consumer
            && let Some(consumer) = self.inner.state().consumers.all.get_mut(name)
        {
            consumer.readers = consumer.readers.saturating_sub(1);
        }
    }
}

impl Open {
    fn new(path: &Path, first: u64) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut header = [0; segment::HEADER as usize];
        file.read_exact_at(&mut header, 0)?;
        if !segment::good_header(&header, first) {
            return Err(InvalidData.into());
        }
        Ok(Self {
            first,
            file,
            at: segment::HEADER,
            buffer: Vec::new(),
            buffered_at: segment::HEADER,
        })
    }

    /// The first record from here on with a number of at least `expected`. `None`: there is none.
    fn next(
        &mut self,
        expected: u64,
        first: u64,
        len: u64,
        corrupt: &mut u64,
    ) -> Option<(u64, Vec<u8>)> {
        while self.at < len {
            let mut want = record::HEADER;
            let (offset, data, size) = loop {
                if self.fill(want, len).is_err() {
                    *corrupt += 1;
                    return None;
                }
                let begin = (self.at - self.buffered_at) as usize;
                match record::parse(&self.buffer[begin..]) {
                    Parsed::Record { offset, data, end } => break (offset, data, end),
                    Parsed::Incomplete(n) if self.at + n as u64 <= len => want = n,
                    _ => {
                        *corrupt += 1;
                        self.at += self.resync(first, len)?;
                        want = record::HEADER;
                    }
                }
            };
            self.at += size as u64;
            if offset >= expected {
                return Some((offset, data.to_vec()));
            }
        }
        None
    }

    /// Has at least `want` bytes from `at` on in the buffer, or all up to `len`.
    fn fill(&mut self, want: usize, len: u64) -> io::Result<()> {
        let want = (want as u64).min(len - self.at);
        let have = self.buffered_at + self.buffer.len() as u64;
        if have >= self.at + want {
            return Ok(());
        }
        let size = want.max((CHUNK as u64).min(len - self.at)) as usize;
        self.buffer.resize(size, 0);
        self.buffered_at = self.at;
        let result = self.file.read_exact_at(&mut self.buffer, self.at);
        if result.is_err() {
            self.buffer.clear();
        }
        result
    }

    /// How far the next good record is. Rare, so it may read the whole rest of the segment.
    fn resync(&mut self, first: u64, len: u64) -> Option<u64> {
        let mut rest = vec![0; (len - self.at) as usize];
        self.file.read_exact_at(&mut rest, self.at).ok()?;
        let found = record::resync(&rest, record::plausible(first))? as u64;
        Some(found)
    }
}

// A record must fit into memory, and `want` into `usize`.
const _: () = assert!(MAX_RECORD < usize::MAX / 2);
