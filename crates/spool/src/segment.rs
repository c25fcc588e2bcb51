//! One segment file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::record::{self, Parsed};

const MAGIC: [u8; 8] = *b"ATSPOOL1";

/// Bytes before the first record.
pub(crate) const HEADER: u64 = 16;

/// A segment as the spool knows it.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    /// Number of its first record.
    pub(crate) first: u64,
    /// One more than the number of its last record.
    pub(crate) end: u64,
    /// Bytes that are good to read. What may be behind them is the rest of a failed write.
    pub(crate) len: u64,
}

/// What was found in a segment when the spool was opened.
pub(crate) struct Scan {
    pub(crate) segment: Segment,
    /// Damaged places with good records behind them.
    pub(crate) corrupt: u64,
    /// Bytes behind the last good record: a write that was cut off.
    pub(crate) torn: u64,
}

impl Segment {
    /// A new, empty segment.
    pub(crate) fn create(dir: &Path, first: u64) -> io::Result<(Self, File)> {
        let path = path(dir, first);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        let mut header = [0; HEADER as usize];
        header[..8].copy_from_slice(&MAGIC);
        header[8..].copy_from_slice(&first.to_le_bytes());
        if let Err(e) = file.write_all_at(&header, 0) {
            // An empty file would only be in the way at the next start.
            let _ = std::fs::remove_file(&path);
            return Err(e);
        }
        let segment = Self {
            path,
            first,
            end: first,
            len: HEADER,
        };
        Ok((segment, file))
    }

    /// Reads a whole segment to find its last good record. `None`: not a segment (its header is damaged).
    pub(crate) fn scan(path: &Path, first: u64) -> Result<Option<Scan>, Error> {
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        if !good_header(&bytes, first) {
            return Ok(None);
        }
        let mut at = HEADER as usize;
        let mut end = first;
        let mut corrupt = 0;
        loop {
            match record::parse(&bytes[at..]) {
                Parsed::Record {
                    offset,
                    end: length,
                    ..
                } if offset >= end => {
                    at += length;
                    end = offset + 1;
                }
                _ if at == bytes.len() => break,
                _ => {
                    // Damage. If good records follow, only this one is lost; else it is a torn tail, and is cut off.
                    match record::resync(&bytes[at..], record::plausible(end)) {
                        Some(skip) => at += skip,
                        None => break,
                    }
                    corrupt += 1;
                }
            }
        }
        let segment = Self {
            path: path.to_owned(),
            first,
            end,
            len: at as u64,
        };
        let torn = (bytes.len() - at) as u64;
        Ok(Some(Scan {
            segment,
            corrupt,
            torn,
        }))
    }
}

/// Whether these are the first bytes of the segment that begins with `first`.
pub(crate) fn good_header(bytes: &[u8], first: u64) -> bool {
    bytes.get(..8) == Some(&MAGIC[..]) && bytes.get(8..16) == Some(&first.to_le_bytes()[..])
}

/// The segments of a directory as (first offset, path), oldest first.
pub(crate) fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let path = entry.map_err(Error::io("list", dir))?.path();
        let first = path
            .file_name()
            .and_then(|n| n.to_str())
            .and_then(|n| n.strip_suffix(".seg"))
            .filter(|n| n.len() == 20)
            .and_then(|n| n.parse().ok());
        if let Some(first) = first {
            found.push((first, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.seg"))
}
