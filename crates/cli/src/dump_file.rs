//! Files that dumps are written to.

use std::collections::hash_map::RandomState;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Writes a dump to a new file of the temporary directory that only its owner can read; returns its name.
pub(crate) fn write(name: &str, extension: &str, content: &[u8]) -> Result<PathBuf> {
    let (path, mut file) =
        create(&std::env::temp_dir(), name, extension).context("cannot create the dump file")?;
    file.write_all(content)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// A file that was not there before: in `/tmp`, somebody else may have put a link of any name they can guess.
fn create(dir: &Path, name: &str, extension: &str) -> std::io::Result<(PathBuf, File)> {
    loop {
        let random = RandomState::new().build_hasher().finish();
        let path = dir.join(format!("{name}-{random:016x}.{extension}"));
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(&path)
        {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            result => return Ok((path, result?)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn the_file_is_new_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let (path, mut file) = create(dir.path(), "process-cache-dump", "json").unwrap();
        file.write_all(b"{}").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o400);
        assert!(
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("process-cache-dump-")
        );
        assert_ne!(
            create(dir.path(), "process-cache-dump", "json").unwrap().0,
            path
        );
    }
}
