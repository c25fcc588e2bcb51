//! The zip file.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use atalaya_collect::safe_name;
use atalaya_scrub::Scrubber;
use tempfile::NamedTempFile;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// How large all files together may become.
const MAX_TOTAL: u64 = 512 << 20;
/// How many lines of what went wrong are kept.
const MAX_NOTES: usize = 5000;

/// Why there is no archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The directory, or the file in it, cannot be made.
    #[error("cannot create the archive in {dir}: {source}")]
    Create {
        /// Where.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be written to its end.
    #[error("cannot write the archive in {dir}: {source}")]
    Write {
        /// Where.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is such a file already.
    #[error("{0} exists; it is not overwritten")]
    Exists(PathBuf),
}

/// A file in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path below the top directory.
    pub name: String,
    /// Its size, not compressed.
    pub bytes: u64,
}

/// An archive that is being written.
pub struct Archive {
    zip: ZipWriter<BufWriter<NamedTempFile>>,
    dir: PathBuf,
    part: PathBuf,
    top: String,
    scrubber: Scrubber,
    entries: Vec<Entry>,
    names: HashSet<String>,
    notes: Vec<String>,
    total: u64,
    at: DateTime,
}

/// A complete archive.
#[derive(Debug)]
pub struct Finished {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// What is in it, in its order.
    pub entries: Vec<Entry>,
}

impl Archive {
    /// Begins an archive below `dir`, which becomes visible when it is finished. `host` is the name of its top directory.
    ///
    /// # Errors
    /// No file can be made there.
    pub fn create(dir: &Path, host: &str, scrubber: Scrubber) -> Result<Self, ArchiveError> {
        // Mode 0600, and a name that nobody can have guessed and put a link at.
        let file = tempfile::Builder::new()
            .prefix(".atalaya-flare-")
            .suffix(".part")
            .tempfile_in(dir)
            .map_err(|source| ArchiveError::Create {
                dir: dir.to_owned(),
                source,
            })?;
        let top = safe_name(&host.replace('/', "_"));
        Ok(Self {
            part: file.path().to_owned(),
            zip: ZipWriter::new(BufWriter::new(file)),
            dir: dir.to_owned(),
            top: if host.is_empty() {
                "unknown".into()
            } else {
                top
            },
            scrubber,
            entries: Vec::new(),
            names: HashSet::new(),
            notes: Vec::new(),
            total: 0,
            at: now(),
        })
    }

    /// Adds a file, scrubbed. One of the same name that is there already stays, and this one is left out.
    ///
    /// # Errors
    /// It cannot be written: the disk is full.
    pub fn add(&mut self, name: &str, content: &[u8]) -> Result<(), ArchiveError> {
        let name = safe_name(name);
        if !self.names.insert(name.clone()) {
            return Ok(());
        }
        let scrubber = &self.scrubber;
        // A bug there costs this file, and never shows it.
        let scrubbed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            scrubber.scrub_bytes(content)
        }));
        let Ok(scrubbed) = scrubbed else {
            self.note(
                "scrubber",
                &format!("{name} is left out: hiding its secrets failed unexpectedly (a bug)"),
            );
            return Ok(());
        };
        self.put(name, scrubbed.as_bytes())
    }

    /// The file that it is written to until it is finished.
    pub fn part(&self) -> PathBuf {
        self.part.clone()
    }

    fn put(&mut self, name: String, content: &[u8]) -> Result<(), ArchiveError> {
        let bytes = content.len() as u64;
        if self.total + bytes > MAX_TOTAL {
            self.note(
                "archive",
                &format!("{name} is left out: the archive would become too large"),
            );
            return Ok(());
        }
        self.total += bytes;
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .unix_permissions(0o600)
            .last_modified_time(self.at);
        let written = self
            .zip
            .start_file(format!("{}/{name}", self.top), options)
            .map_err(io::Error::from)
            .and_then(|()| self.zip.write_all(content));
        written.map_err(|source| ArchiveError::Write {
            dir: self.dir.clone(),
            source,
        })?;
        self.entries.push(Entry { name, bytes });
        Ok(())
    }

    /// Writes a line to `flare_creation.log`.
    pub fn note(&mut self, collector: &str, text: &str) {
        if self.notes.len() < MAX_NOTES {
            let now = jiff::Timestamp::now();
            let text = text.replace(['\n', '\r'], " ");
            self.notes.push(format!("{now:.3} {collector}: {text}\n"));
        }
    }

    /// Writes `flare_creation.log` and the end, and gives the file its name, which no file may have yet.
    ///
    /// # Errors
    /// The disk is full, or there is a file of that name. Nothing is left behind.
    pub fn finish(mut self, path: &Path) -> Result<Finished, ArchiveError> {
        let log = self.scrubber.scrub(&self.notes.concat());
        self.put("flare_creation.log".into(), log.as_bytes())?;
        let dir = self.dir.clone();
        let error = |source| ArchiveError::Write {
            dir: dir.clone(),
            source,
        };
        let writer = self.zip.finish().map_err(|e| error(e.into()))?;
        let file = writer.into_inner().map_err(|e| error(e.into_error()))?;
        file.as_file().sync_all().map_err(error)?;
        let bytes = file.as_file().metadata().map_err(error)?.len();
        file.persist_noclobber(path).map_err(|e| {
            if e.error.kind() == io::ErrorKind::AlreadyExists {
                ArchiveError::Exists(path.to_owned())
            } else {
                error(e.error)
            }
        })?;
        Ok(Finished {
            path: path.to_owned(),
            bytes,
            entries: self.entries,
        })
    }
}

impl Finished {
    /// Opens it, to send it.
    ///
    /// # Errors
    /// Somebody has removed it.
    pub fn open(&self) -> io::Result<File> {
        File::open(&self.path)
    }
}

/// The time as zip files have it: without a zone, so this is UTC; every other second.
fn now() -> DateTime {
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let part = |value: i8| u8::try_from(value).unwrap_or(0);
    let year = u16::try_from(now.year()).unwrap_or(1980);
    DateTime::from_date_and_time(
        year,
        part(now.month()),
        part(now.day()),
        part(now.hour()),
        part(now.minute()),
        part(now.second()),
    )
    .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn everything_is_scrubbed_and_only_the_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut archive = Archive::create(dir.path(), "box/../x", Scrubber::default()).unwrap();
        archive
            .add("etc/a.yaml", b"api_key: hunter2\nuser: bob\n")
            .unwrap();
        archive.add("etc/a.yaml", b"twice").unwrap();
        archive.add("../../evil", b"x\xff").unwrap();
        archive.note("config", "cannot read\nit: token=hunter2");
        let path = dir.path().join("x.zip");
        let finished = archive.finish(&path).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(finished.bytes, std::fs::metadata(&path).unwrap().len());
        let mut zip = zip::ZipArchive::new(finished.open().unwrap()).unwrap();
        let names: Vec<String> = zip
            .file_names()
            .map(|name| name.unwrap().into_owned())
            .collect();
        assert_eq!(
            names,
            [
                "box_.._x/etc/a.yaml",
                "box_.._x/evil",
                "box_.._x/flare_creation.log"
            ]
        );
        let mut all = String::new();
        for at in 0..zip.len() {
            zip.by_index(at).unwrap().read_to_string(&mut all).unwrap();
        }
        assert!(
            !all.contains("hunter2") && all.contains("user: bob") && !all.contains("twice"),
            "{all}"
        );
        assert!(
            all.contains("config: cannot read it: token=********"),
            "{all}"
        );
        // Nothing but the archive is left.
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.zip");
        std::fs::write(&path, "precious").unwrap();
        let archive = Archive::create(dir.path(), "", Scrubber::default()).unwrap();
        assert!(matches!(
            archive.finish(&path),
            Err(ArchiveError::Exists(_))
        ));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        drop(Archive::create(dir.path(), "", Scrubber::default()).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let missing = dir.path().join("missing");
        assert!(matches!(
            Archive::create(&missing, "", Scrubber::default()),
            Err(ArchiveError::Create { .. })
        ));
    }
}
