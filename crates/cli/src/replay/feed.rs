//! Recorded events in the order in which they were stored, read and parsed by several threads, in bounded memory.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use anyhow::{Context, Result, anyhow};

use crate::records::{Line, Lines, time_of};

/// A batch has about so many bytes, and so many wait for each thread at most.
const BATCH: usize = 256 << 10;
const WAITING: usize = 2;
/// More threads than this only wait for each other.
const MAX_THREADS: usize = 8;
/// Events that need hashes are stored up to so much later than those after them.
const LATE_MS: i64 = 60_000;
/// The last line of a file is looked for in so many of its last bytes.
const TAIL: u64 = 256 << 10;

/// From when to when, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Range {
    pub(super) since: Option<i64>,
    pub(super) until: Option<i64>,
}

impl Range {
    pub(super) fn has(self, ms: i64) -> bool {
        self.since.is_none_or(|since| ms >= since) && self.until.is_none_or(|until| ms <= until)
    }
}

/// Lines one after the other.
#[derive(Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Lines that were passed over: outside the time that was asked for, and too long ones.
    pub(super) outside: u64,
    pub(super) too_long: u64,
}

impl Batch {
    fn push(&mut self, line: &[u8]) {
        self.bytes.extend_from_slice(line);
        self.ends.push(self.bytes.len());
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        let both = starts.zip(&self.ends);
        both.filter_map(|(start, end)| self.bytes.get(*start..*end))
    }
}

/// The files, the oldest first.
pub(super) struct Source {
    files: std::vec::IntoIter<(PathBuf, Lines)>,
    current: Option<(PathBuf, Lines)>,
    range: Range,
    /// Files that were read, and those with nothing of the time that was asked for.
    pub(super) read: Vec<PathBuf>,
    pub(super) skipped: Vec<PathBuf>,
}

impl Source {
    /// Opens the files, which are given the newest first. What security-agent writes from now on is not read; a file that it renames
    /// meanwhile is read once.
    pub(super) fn open(newest_first: &[PathBuf], range: Range) -> Result<Self> {
        let mut seen = HashSet::new();
        let (mut files, mut read, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        for path in newest_first {
            let name = || format!("cannot read the events in {}", path.display());
            if path == Path::new("-") {
                files.push((path.clone(), Lines::open(path).with_context(name)?));
                read.push(path.clone());
                continue;
            }
            let mut file = File::open(path).with_context(name)?;
            let about = file.metadata().with_context(name)?;
            if about.is_dir() {
                return Err(anyhow!("is a directory")).with_context(name);
            }
            if !seen.insert((about.dev(), about.ino())) {
                continue;
            }
            let is_before = about.is_file()
                && range.since.is_some_and(|since| {
                    last_time(&mut file, about.len()).is_some_and(|last| last + LATE_MS < since)
                });
            if is_before {
                skipped.push(path.clone());
                continue;
            }
            let bounded: Box<dyn Read + Send> = match about.is_file() {
                true => Box::new(file.take(about.len())),
                false => Box::new(file),
            };
            files.push((path.clone(), Lines::new(bounded)));
            read.push(path.clone());
        }
        for list in [&mut read, &mut skipped] {
            list.reverse();
        }
        files.reverse();
        Ok(Self {
            files: files.into_iter(),
            current: None,
            range,
            read,
            skipped,
        })
    }

    fn batch(&mut self) -> Result<Option<Batch>> {
        let mut batch = Batch::default();
        let mut is_end = false;
        while batch.bytes.len() < BATCH {
            if self.current.is_none() {
                self.current = self.files.next();
            }
            let Some((path, lines)) = &mut self.current else {
                is_end = true;
                break;
            };
            let next = lines.next();
            match next.with_context(|| format!("cannot read {}", path.display()))? {
                None => self.current = None,
                Some(Line::TooLong) => batch.too_long += 1,
                Some(Line::Whole(line)) => match time_of(line) {
                    Some(ms) if !self.range.has(ms) => batch.outside += 1,
                    _ => batch.push(line),
                },
            }
        }
        let has_any = !batch.ends.is_empty() || batch.outside > 0 || batch.too_long > 0;
        Ok((has_any || !is_end).then_some(batch))
    }
}

/// The time of the last line.
fn last_time(file: &mut File, length: u64) -> Option<i64> {
    let from = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut tail = Vec::new();
    let read = Read::by_ref(file).take(TAIL).read_to_end(&mut tail);
    file.rewind().ok()?;
    read.ok()?;
    let whole = tail.iter().rposition(|b| *b == b'\n')?;
    let lines = tail.get(..whole)?;
    let start = lines.iter().rposition(|b| *b == b'\n').map(|at| at + 1);
    // Without a line feed before it the line is whole only where the file begins here.
    let start = start.or((from == 0).then_some(0))?;
    time_of(lines.get(start..)?)
}

/// Parses batches in several threads and takes what comes of them in the order of the file.
pub(super) fn in_order<T: Send>(
    mut source: Source,
    parse: impl Fn(&Batch) -> T + Sync,
    mut take: impl FnMut(T),
) -> Result<()> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let parse = &parse;
    thread::scope(|scope| {
        let mut to: Vec<SyncSender<Batch>> = Vec::new();
        let mut from: Vec<Receiver<T>> = Vec::new();
        for _ in 0..threads.clamp(1, MAX_THREADS) {
            let (batches, received) = sync_channel::<Batch>(WAITING);
            let (parsed, results) = sync_channel(WAITING);
            to.push(batches);
            from.push(results);
            scope.spawn(move || {
                for batch in received {
                    if parsed.send(parse(&batch)).is_err() {
                        return;
                    }
                }
            });
        }
        let reader = scope.spawn(move || -> Result<()> {
            for thread in to.iter().cycle() {
                let Some(batch) = source.batch()? else { break };
                if thread.send(batch).is_err() {
                    break;
                }
            }
            Ok(())
        });
        for thread in from.iter().cycle() {
            match thread.recv() {
                Ok(parsed) => take(parsed),
                Err(_) => break,
            }
        }
        drop(from);
        let ended = reader.join();
        ended.map_err(|_| anyhow!("reading the events failed"))?
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn line(ms: i64, number: usize) -> String {
        let filler = "x".repeat(200);
        format!(
            "{{\"ddsource\":\"r\",\"timestamp\":{ms},\"ddtags\":\"{filler}\",\"event_id\":{number}}}\n"
        )
    }

    fn numbers(batch: &Batch) -> Vec<u64> {
        let parse = |line: &[u8]| serde_json::from_slice::<serde_json::Value>(line).unwrap();
        let ids = batch.lines().map(|line| parse(line)["event_id"].as_u64());
        ids.map(Option::unwrap).collect()
    }

    #[test]
    fn the_oldest_file_first_in_order_and_only_what_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let [newest, older, oldest] = ["e", "e.1", "e.2"].map(|name| dir.path().join(name));
        let write = |path: &PathBuf, range: std::ops::Range<usize>| {
            let text: String = range.map(|n| line(1_000_000 + 100 * n as i64, n)).collect();
            std::fs::write(path, text).unwrap();
        };
        write(&oldest, 0..1000);
        write(&older, 1000..12_000);
        write(&newest, 12_000..13_000);
        let read = |range: Range| {
            let all = [newest.clone(), older.clone(), oldest.clone()];
            let source = Source::open(&all, range).unwrap();
            let skipped = source.skipped.len();
            let (mut found, mut outside) = (Vec::new(), 0);
            in_order(
                source,
                |batch| (numbers(batch), batch.outside),
                |(mut numbers, passed)| {
                    found.append(&mut numbers);
                    outside += passed;
                },
            )
            .unwrap();
            (found, outside, skipped)
        };
        let (all, outside, skipped) = read(Range::default());
        assert_eq!(all, (0..13_000).collect::<Vec<u64>>());
        assert_eq!((outside, skipped), (0, 0));
        let range = Range {
            since: Some(1_000_000 + 100 * 2000),
            until: Some(1_000_000 + 100 * 2003),
        };
        let (some, outside, skipped) = read(range);
        assert_eq!(some, [2000, 2001, 2002, 2003]);
        assert_eq!(
            (outside, skipped),
            (12_000 - 4, 1),
            "the oldest file is not read"
        );
    }

    #[test]
    fn a_file_that_is_renamed_meanwhile_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("e");
        std::fs::write(&path, line(1, 1)).unwrap();
        let again = dir.path().join("e.1");
        std::fs::hard_link(&path, &again).unwrap();
        let source = Source::open(&[path, again], Range::default()).unwrap();
        assert_eq!(source.read.len(), 1);
        let missing = Source::open(&[dir.path().join("none")], Range::default());
        assert!(missing.is_err());
        assert!(Source::open(&[dir.path().to_owned()], Range::default()).is_err());
    }
}
