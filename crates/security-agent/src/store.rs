//! The events file: JSON lines, bounded by rotation, and a state file that says how far it has come.
//!
//! After each batch the lines are made durable, then the state is written (`EVENTS_FILE.state`: spool, offset of the
//! last event, length of the file), then the probe is told. When the agent dies in between, the probe sends the batch
//! again. Lines that are beyond the length in the state may already be of that batch, so an event whose very line is
//! among them is not written twice: a `kill -9` neither loses nor repeats an event.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use atalaya_api::proto::SecurityEventMessage;

use crate::record::{Host, line};

/// How many bytes beyond the state are looked at. A batch is smaller.
const MAX_TAIL: u64 = 64 << 20;

/// How large the file may grow, and how many old ones are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rotation {
    pub(crate) max_bytes: u64,
    pub(crate) max_files: u64,
}

pub(crate) struct Store {
    path: PathBuf,
    file: File,
    /// Bytes of the file that are whole lines.
    length: u64,
    rotation: Rotation,
    host: Host,
    state: State,
    /// Lines that were written, but perhaps not acknowledged, before this run; and how often.
    perhaps: HashMap<Vec<u8>, u32>,
    _lock: File,
}

/// What the state file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct State {
    spool: String,
    /// The last event that is safe.
    offset: u64,
    /// Of the events file.
    length: u64,
}

impl Store {
    /// Opens the events file, whose directory must be there. Refuses when another agent writes it.
    pub(crate) fn open(path: &Path, rotation: Rotation, host: Host) -> Result<Self> {
        let lock = lock(&beside(path, ".lock"))?;
        let state = State::read(&beside(path, ".state"));
        let file = open_append(path).with_context(|| format!("cannot open {}", path.display()))?;
        let mut store = Self {
            path: path.to_owned(),
            length: file
                .metadata()
                .context("cannot examine the events file")?
                .len(),
            file,
            rotation,
            host,
            state,
            perhaps: HashMap::new(),
            _lock: lock,
        };
        store
            .look_at_tail()
            .with_context(|| format!("cannot read {}", path.display()))?;
        Ok(store)
    }

    /// From the next batch on, other bounds and another host.
    pub(crate) fn configure(&mut self, rotation: Rotation, host: Host) {
        self.rotation = rotation;
        self.host = host;
    }

    /// Cuts a torn last line off, and notes the lines that the state does not know of.
    fn look_at_tail(&mut self) -> io::Result<()> {
        // A file that is shorter than the state says was replaced: then every line in it is unknown.
        let known = if self.state.length <= self.length {
            self.state.length
        } else {
            0
        };
        let from = known.max(self.length.saturating_sub(MAX_TAIL));
        let mut tail = vec![0; (self.length - from) as usize];
        self.file.read_exact_at(&mut tail, from)?;
        let whole = tail
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        if whole < tail.len() {
            tracing::info!("cut an unfinished line off {}", self.path.display());
            self.length = from + whole as u64;
            self.file.set_len(self.length)?;
        }
        for line in tail[..whole].split_inclusive(|b| *b == b'\n') {
            *self.perhaps.entry(line.to_vec()).or_default() += 1;
        }
        Ok(())
    }

    /// Events up to and including this one are safe, if they came from this spool.
    pub(crate) fn safe_up_to(&self, spool: &str) -> Option<u64> {
        (self.state.spool == spool && self.state.offset > 0).then_some(self.state.offset)
    }

    /// Writes a batch of this spool's events and makes it durable. On an error nothing has changed, and the batch can
    /// be tried again. Returns how many lines were written.
    pub(crate) fn write(&mut self, spool: &str, batch: &[SecurityEventMessage]) -> Result<usize> {
        self.rotate_if_full()?;
        let safe = self.safe_up_to(spool).unwrap_or(0);
        let mut lines = Vec::new();
        let mut written = 0;
        let mut found = Vec::new();
        for message in batch.iter().filter(|m| m.offset > safe) {
            let line = line(message, &self.host);
            let times = self.perhaps.get(&line).copied().unwrap_or(0);
            let taken = found.iter().filter(|l| **l == line).count() as u32;
            if times > taken {
                found.push(line);
            } else {
                lines.extend_from_slice(&line);
                written += 1;
            }
        }
        let path = self.path.display();
        if let Err(e) = self.file.write_all_at(&lines, self.length) {
            // What a short write left is no whole line.
            let _ = self.file.set_len(self.length);
            return Err(e).with_context(|| format!("cannot write {path}"));
        }
        self.file
            .sync_data()
            .with_context(|| format!("cannot make {path} durable"))?;
        let offset = batch.last().map_or(0, |m| m.offset);
        let state = State {
            spool: spool.to_owned(),
            offset: offset.max(safe),
            length: self.length + lines.len() as u64,
        };
        state.write(&beside(&self.path, ".state"))?;
        self.length = state.length;
        self.state = state;
        for line in found {
            if let Some(times) = self.perhaps.get_mut(&line) {
                *times = times.saturating_sub(1);
            }
        }
        if written > 0 && !self.perhaps.is_empty() {
            // Events come in order: after the first new one, no old one comes.
            self.perhaps = HashMap::new();
        }
        Ok(written)
    }

    fn rotate_if_full(&mut self) -> Result<()> {
        if self.length < self.rotation.max_bytes {
            return Ok(());
        }
        let path = &self.path;
        for n in (0..self.rotation.max_files).rev() {
            let older = beside(path, &format!(".{}", n + 1));
            let newer = if n == 0 {
                path.clone()
            } else {
                beside(path, &format!(".{n}"))
            };
            match fs::rename(&newer, &older) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    return Err(e).with_context(|| format!("cannot rename {}", newer.display()));
                }
                _ => {}
            }
        }
        if self.rotation.max_files == 0 {
            fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        self.file = open_append(path).with_context(|| format!("cannot open {}", path.display()))?;
        self.length = 0;
        self.state.length = 0;
        // `perhaps` stays: the lines are in the renamed file, and their events may still come again.
        self.state.write(&beside(path, ".state"))
    }
}

impl State {
    /// What cannot be read is no state.
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        let mut words = text.split_ascii_whitespace();
        let parsed = (|| {
            Some(Self {
                spool: words.next()?.to_owned(),
                offset: words.next()?.parse().ok()?,
                length: words.next()?.parse().ok()?,
            })
        })();
        parsed.unwrap_or_default()
    }

    fn write(&self, path: &Path) -> Result<()> {
        let temporary = beside(path, ".new");
        let spool = if self.spool.is_empty() {
            "-"
        } else {
            &self.spool
        };
        fs::write(
            &temporary,
            format!("{spool} {} {}\n", self.offset, self.length),
        )
        .and_then(|()| fs::rename(&temporary, path))
        .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// `path` with something after its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Every file that a store of this path may make, for who prepares them.
pub(crate) fn files(path: &Path, rotation: Rotation) -> Vec<PathBuf> {
    let fixed = ["", ".lock", ".state", ".state.new"].map(|s| beside(path, s));
    let old = (1..=rotation.max_files.min(1000)).map(|n| beside(path, &format!(".{n}")));
    fixed.into_iter().chain(old).collect()
}

/// Events tell of arguments and paths: for the owner and its group only.
fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o640)
        .open(path)
}

fn lock(path: &Path) -> Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o640)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "another security-agent writes here (it holds {}); stop it first, or set `security_agent.events_file`",
            path.display()
        ),
        Err(TryLockError::Error(e)) => {
            Err(e).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    const SPOOL: &str = "spool-1";
    const LARGE: Rotation = Rotation {
        max_bytes: 1 << 20,
        max_files: 2,
    };

    fn open(path: &Path, rotation: Rotation) -> Store {
        let host = Host {
            name: "box".into(),
            tags: Vec::new(),
        };
        Store::open(path, rotation, host).unwrap()
    }

    fn events(offsets: std::ops::RangeInclusive<u64>) -> Vec<SecurityEventMessage> {
        offsets
            .map(|offset| SecurityEventMessage {
                offset,
                data: format!("{{\"n\":{offset}}}").into_bytes(),
                ..Default::default()
            })
            .collect()
    }

    fn stored(path: &Path) -> Vec<u64> {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        let lines = text
            .lines()
            .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
        lines.map(|v| v["message"]["n"].as_u64().unwrap()).collect()
    }

    fn temporary() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        (dir, path)
    }

    #[test]
    fn what_was_stored_is_not_stored_again() {
        let (_dir, path) = temporary();
        let mut store = open(&path, LARGE);
        assert_eq!(store.safe_up_to(SPOOL), None);
        assert_eq!(store.write(SPOOL, &events(1..=5)).unwrap(), 5);
        drop(store);
        let mut store = open(&path, LARGE);
        assert_eq!(store.safe_up_to(SPOOL), Some(5));
        assert_eq!(store.write(SPOOL, &events(3..=7)).unwrap(), 2);
        assert_eq!(stored(&path), [1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn another_spool_begins_anew() {
        let (_dir, path) = temporary();
        let mut store = open(&path, LARGE);
        store.write(SPOOL, &events(1..=3)).unwrap();
        assert_eq!(store.safe_up_to("spool-2"), None);
        assert_eq!(store.write("spool-2", &events(1..=2)).unwrap(), 2);
        assert_eq!(stored(&path), [1, 2, 3, 1, 2]);
    }

    #[test]
    fn a_kill_at_any_byte_neither_loses_nor_repeats() {
        let (_dir, path) = temporary();
        let mut store = open(&path, LARGE);
        store.write(SPOOL, &events(1..=2)).unwrap();
        let state = fs::read(beside(&path, ".state")).unwrap();
        let before = fs::metadata(&path).unwrap().len() as usize;
        store.write(SPOOL, &events(3..=5)).unwrap();
        drop(store);
        let whole = fs::read(&path).unwrap();
        // Killed while the second batch was being written, before its state was.
        for length in before..=whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            fs::write(beside(&path, ".state"), &state).unwrap();
            let mut store = open(&path, LARGE);
            assert_eq!(store.safe_up_to(SPOOL), Some(2));
            store.write(SPOOL, &events(3..=4)).unwrap();
            store.write(SPOOL, &events(5..=6)).unwrap();
            assert_eq!(stored(&path), [1, 2, 3, 4, 5, 6], "killed at {length}");
        }
    }

    #[test]
    fn equal_lines_of_different_events_are_both_kept() {
        let (_dir, path) = temporary();
        let mut twins = events(1..=2);
        twins[1].data = twins[0].data.clone();
        let mut store = open(&path, LARGE);
        assert_eq!(store.write(SPOOL, &twins).unwrap(), 2);
        drop(store);
        fs::remove_file(beside(&path, ".state")).unwrap();
        let mut store = open(&path, LARGE);
        assert_eq!(store.write(SPOOL, &twins).unwrap(), 0);
        assert_eq!(stored(&path), [1, 1]);
    }

    #[test]
    fn the_file_is_bounded() {
        let (_dir, path) = temporary();
        let rotation = Rotation {
            max_bytes: 300,
            max_files: 2,
        };
        let mut store = open(&path, rotation);
        for n in 1..=20 {
            store.write(SPOOL, &events(n..=n)).unwrap();
        }
        let old = [beside(&path, ".2"), beside(&path, ".1"), path.clone()];
        let all: Vec<u64> = old.iter().flat_map(|p| stored(p)).collect();
        assert_eq!(all.last(), Some(&20));
        assert!(
            all.is_sorted() && all.windows(2).all(|w| w[1] == w[0] + 1),
            "{all:?}"
        );
        assert!(!beside(&path, ".3").exists());
        drop(store);
        let mut store = open(&path, rotation);
        assert_eq!(store.write(SPOOL, &events(19..=21)).unwrap(), 1);
    }

    #[test]
    fn a_kill_right_before_a_rotation_repeats_nothing() {
        let (_dir, path) = temporary();
        let mut store = open(&path, LARGE);
        store.write(SPOOL, &events(1..=2)).unwrap();
        let state = fs::read(beside(&path, ".state")).unwrap();
        store.write(SPOOL, &events(3..=5)).unwrap();
        drop(store);
        fs::write(beside(&path, ".state"), &state).unwrap();
        let rotation = Rotation {
            max_bytes: 10,
            max_files: 2,
        };
        open(&path, rotation).write(SPOOL, &events(3..=6)).unwrap();
        assert_eq!(stored(&beside(&path, ".1")), [1, 2, 3, 4, 5]);
        assert_eq!(stored(&path), [6]);
    }

    #[test]
    fn a_file_that_somebody_else_removed_or_a_damaged_state_hurts_nobody() {
        let (_dir, path) = temporary();
        open(&path, LARGE).write(SPOOL, &events(1..=5)).unwrap();
        fs::remove_file(&path).unwrap();
        let mut store = open(&path, LARGE);
        assert_eq!(store.write(SPOOL, &events(5..=6)).unwrap(), 1);
        assert_eq!(stored(&path), [6]);
        drop(store);
        fs::write(beside(&path, ".state"), "rubbish").unwrap();
        let mut store = open(&path, LARGE);
        assert_eq!(store.write(SPOOL, &events(6..=7)).unwrap(), 1);
        assert_eq!(stored(&path), [6, 7]);
    }

    #[test]
    fn a_second_agent_is_refused() {
        let (_dir, path) = temporary();
        let _store = open(&path, LARGE);
        let host = Host {
            name: String::new(),
            tags: Vec::new(),
        };
        let error = Store::open(&path, LARGE, host).err().unwrap();
        assert!(error.to_string().contains("another security-agent"));
    }
}
