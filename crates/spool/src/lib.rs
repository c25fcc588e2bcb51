//! A bounded, append-only spool of numbered records on disk, with named readers that acknowledge.
//!
//! ```no_run
//! use std::time::Duration;
//! use atalaya_spool::{Limits, Next, Spool};
//!
//! let spool = Spool::open("/var/lib/atalaya/spool", Limits::default())?;
//! let offset = spool.append(b"an event");
//! let mut reader = spool.reader("security-agent")?;
//! if let Next::Record(record) = reader.next(Duration::from_secs(1)) {
//!     assert_eq!(record.offset, offset);
//!     spool.ack("security-agent", record.offset)?;
//! }
//! # Ok::<(), atalaya_spool::Error>(())
//! ```
//!
//! # What is promised
//! - A record has a number (its *offset*) that grows by one a record, also across restarts.
//! - Once [`Spool::append`] has returned, the record is in the page cache: a `kill -9` of the process loses nothing. A
//!   thread calls `fdatasync` every second and when a segment is full, so a power cut loses about a second.
//! - [`Spool::append`] never fails. Where the disk refuses a record (full, read-only, broken), it waits in a bounded
//!   memory queue and is tried again every second. It does wait for the `write` into the page cache.
//! - When the quota is reached, the oldest segment is deleted. A reader that had not come that far is told how many
//!   records it missed, and the loss is counted in [`Stats::dropped`].
//! - A segment that every named consumer has acknowledged is deleted early. With no consumer, records stay until the
//!   quota takes them.
//! - A damaged record is skipped and counted, never returned. A torn last record is cut off when the spool is opened.
//! - One process a directory: a second one is refused.
//!
//! # Files
//! `NNNNNNNNNNNNNNNNNNNN.seg` (the number is that of its first record): 16 bytes of header (`ATSPOOL1`, first offset),
//! then records: length `u32`, CRC-32 `u32` (of length, offset and data), offset `u64`, data; all little-endian.
//! `consumers/NAME` (text: the first offset that is not acknowledged, and the number of missed records), replaced
//! atomically. `id`: a random name of this spool. `lock`.
#![forbid(unsafe_code)]

mod consumers;
mod directory;
mod reader;
mod record;
mod segment;
mod spool;
mod state;

use std::path::PathBuf;

pub use consumers::{ConsumerStats, valid_name};
pub use reader::{Next, Reader, Record};
pub use record::{MAX_RECORD, Parsed, parse};
pub use spool::{Spool, Stats};

/// How much a spool may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes on disk. At least twice `segment_bytes` is used.
    pub max_bytes: u64,
    /// Bytes of one segment. The oldest segment is what the quota deletes.
    pub segment_bytes: u64,
    /// Bytes of records that wait in memory while the disk refuses them.
    pub memory_bytes: usize,
    /// Named consumers. One more is refused, so that nobody can fill the directory with names.
    pub max_consumers: usize,
}

impl Limits {
    /// The limits for this many bytes on disk.
    pub fn with_max_bytes(max_bytes: u64) -> Self {
        Self {
            max_bytes,
            segment_bytes: (max_bytes / 16).clamp(64 << 10, 16 << 20),
            ..Self::default()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_bytes: 256 << 20,
            segment_bytes: 16 << 20,
            memory_bytes: 8 << 20,
            max_consumers: 16,
        }
    }
}

/// Why a spool could not be opened or a consumer not served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried, as `create`.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error("the spool {0} is in use by another process")]
    Locked(PathBuf),
    /// A consumer's name has other characters than `a-z0-9._-`, begins with `.`, or is longer than 64.
    #[error("`{0}` is no valid consumer name (a-z, 0-9, '-', '_', '.', at most 64)")]
    BadName(String),
    /// Too many names.
    #[error("there are already {0} consumers")]
    TooManyConsumers(usize),
    /// This consumer has never read.
    #[error("there is no consumer `{0}`")]
    UnknownConsumer(String),
    /// An offset that no record has yet.
    #[error("cannot acknowledge {offset}: the next record will be {next}")]
    AckBeyondEnd {
        /// What was acknowledged.
        offset: u64,
        /// What the next record will be.
        next: u64,
    },
}

impl Error {
    pub(crate) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}
