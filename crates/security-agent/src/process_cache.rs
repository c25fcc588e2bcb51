//! `runtime process-cache dump`.

use std::collections::hash_map::RandomState;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use atalaya_api::proto;

use crate::cli::{DumpFormat, answer, connect, out};

/// Writes the process tree to a new file that only its owner can read.
pub(crate) async fn dump(socket: &Path, format: DumpFormat, with_args: bool) -> Result<ExitCode> {
    let extension = match format {
        DumpFormat::Dot => "dot",
        DumpFormat::Json => "json",
    };
    let params = proto::DumpProcessCacheParams {
        with_args,
        format: extension.to_owned(),
    };
    let mut client = connect(socket).await?;
    let dumped = client.commands.dump_process_cache(params).await;
    let content = dumped
        .map_err(|e| answer("cannot dump the process cache", &e))?
        .into_inner()
        .content;
    let (path, mut file) =
        create(&std::env::temp_dir(), extension).context("cannot create the dump file")?;
    file.write_all(&content)
        .with_context(|| format!("cannot write {}", path.display()))?;
    out(&format!("Process dump file: {}\n", path.display()));
    Ok(ExitCode::SUCCESS)
}

/// A file that was not there before: in `/tmp`, somebody else may have put a link of any name they can guess.
fn create(dir: &Path, extension: &str) -> std::io::Result<(PathBuf, File)> {
    loop {
        let random = RandomState::new().build_hasher().finish();
        let path = dir.join(format!("process-cache-dump-{random:016x}.{extension}"));
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
        let (path, mut file) = create(dir.path(), "json").unwrap();
        file.write_all(b"{}").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o400);
        assert!(
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("process-cache-dump-")
        );
        assert_ne!(create(dir.path(), "json").unwrap().0, path);
    }
}
