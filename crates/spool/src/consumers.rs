//! Who reads, and how far they have come.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;

/// One named consumer, as `stats` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerStats {
    /// Its name.
    pub name: String,
    /// The first offset that it has not acknowledged.
    pub next_offset: u64,
    /// How many records it has not acknowledged, of those that are still there.
    pub lag: u64,
    /// How many records were gone before it read them, since the consumer first came.
    pub missed: u64,
    /// How many readers with this name are open now.
    pub readers: usize,
}

/// Whether this can be the name of a consumer (it becomes a file's name).
pub fn valid_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && !name.starts_with('.')
        && !name.ends_with(".tmp")
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
}

#[derive(Debug, Default)]
pub(crate) struct Consumer {
    /// First offset that is not acknowledged.
    pub(crate) next: u64,
    /// Records it was told it missed, and has acknowledged that.
    pub(crate) missed: u64,
    /// (offset, n): n records right before this one were told as missed, not acknowledged yet.
    pub(crate) told: Vec<(u64, u64)>,
    pub(crate) readers: usize,
}

/// All named consumers, each with its file (none when the spool is in memory only).
#[derive(Debug, Default)]
pub(crate) struct Consumers {
    dir: Option<PathBuf>,
    pub(crate) all: BTreeMap<String, Consumer>,
    /// The last file could not be written: said once, not at each acknowledgement of a full disk.
    failing: bool,
}

impl Consumers {
    /// Reads the files. One that cannot be understood counts as a consumer that begins at `first`: too much is better
    /// than too little.
    pub(crate) fn load(dir: &Path, first: u64) -> Result<Self, Error> {
        let dir = dir.join("consumers");
        fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        let mut all = BTreeMap::new();
        for entry in fs::read_dir(&dir).map_err(Error::io("list", &dir))? {
            let entry = entry.map_err(Error::io("list", &dir))?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                continue;
            };
            if name.ends_with(".tmp") {
                let _ = fs::remove_file(entry.path());
                continue;
            }
            if !valid_name(&name) {
                continue;
            }
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            let mut words = text.split_ascii_whitespace().map(str::parse::<u64>);
            let (at, missed) = match (words.next(), words.next()) {
                (Some(Ok(at)), Some(Ok(missed))) => (at, missed),
                _ => {
                    tracing::warn!(
                        consumer = name,
                        "its offset cannot be read: it begins with the oldest event"
                    );
                    (first, 0)
                }
            };
            let consumer = Consumer {
                next: at,
                missed,
                ..Consumer::default()
            };
            all.insert(name, consumer);
        }
        Ok(Self {
            dir: Some(dir),
            all,
            failing: false,
        })
    }

    /// The first offset that some consumer still needs; `None` when there is no consumer.
    pub(crate) fn needed(&self) -> Option<u64> {
        self.all.values().map(|c| c.next).min()
    }

    /// Writes a consumer's file. An error is logged only: the worst that follows is that records come twice.
    pub(crate) fn persist(&mut self, name: &str) {
        let (Some(dir), Some(consumer)) = (&self.dir, self.all.get(name)) else {
            return;
        };
        let path = dir.join(name);
        let temporary = dir.join(format!("{name}.tmp"));
        let text = format!("{} {}\n", consumer.next, consumer.missed);
        match fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, &path)) {
            Ok(()) => self.failing = false,
            Err(e) if !self.failing => {
                self.failing = true;
                tracing::warn!(consumer = name, "cannot store its offset: {e}");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::{Consumer, Consumers, valid_name};

    #[test]
    fn a_disk_that_refuses_offsets_is_told_once_until_it_takes_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut consumers = Consumers::load(dir.path(), 1).unwrap();
        consumers.all.insert("a".into(), Consumer::default());
        let files = dir.path().join("consumers");
        std::fs::remove_dir(&files).unwrap();
        consumers.persist("a");
        assert!(consumers.failing);
        std::fs::create_dir(&files).unwrap();
        consumers.persist("a");
        assert!(!consumers.failing && files.join("a").exists());
    }

    #[test]
    fn names() {
        for good in ["security-agent", "a", "sink.0_x"] {
            assert!(valid_name(good), "{good}");
        }
        let long = "a".repeat(65);
        for bad in [
            "", ".", "..", ".x", "a/b", "A", "a b", "á", "a\0", "a.tmp", &long,
        ] {
            assert!(!valid_name(bad), "{bad}");
        }
    }
}
