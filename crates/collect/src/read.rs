//! Reading of files that may be huge, endless, or no files at all.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// So much of a file is taken.
pub const MAX_FILE: u64 = 16 << 20;

/// Which end of a large file is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Configuration, lists.
    First,
    /// Logs.
    Last,
}

/// The bytes of a file, at most so many of them, with a line that says what was left out. Only plain files are read: nothing that waits.
///
/// # Errors
/// One line: what cannot be read, and why.
pub fn file(path: &Path, max: u64, end: End) -> Result<Vec<u8>, String> {
    let error = |e: std::io::Error| format!("cannot read {}: {e}", path.display());
    let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY).bits() as i32;
    let mut file = File::options()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(error)?;
    let metadata = file.metadata().map_err(error)?;
    if !metadata.is_file() {
        return Err(format!("{} is no plain file", path.display()));
    }
    let skipped = if end == End::Last {
        metadata.len().saturating_sub(max)
    } else {
        0
    };
    let mut content = Vec::new();
    if skipped > 0 {
        file.seek(SeekFrom::Start(skipped)).map_err(error)?;
    }
    match (&file).take(max).read_to_end(&mut content) {
        Ok(_) => {}
        // What a file of the kernel says when there is no more for now.
        Err(e) if e.kind() == ErrorKind::WouldBlock => {}
        Err(e) => return Err(error(e)),
    }
    if skipped > 0 {
        // From the beginning of a line on.
        let begin = content
            .iter()
            .position(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        let note = format!(
            "[the first {} bytes are left out]\n",
            skipped + begin as u64
        );
        content.splice(..begin, note.into_bytes());
    } else if metadata.len() > max || (content.len() as u64) == max {
        content.extend_from_slice(b"\n[the rest is left out]\n");
    }
    Ok(content)
}

/// Owner, group, mode, size and time of files, one line each.
pub fn permissions(paths: impl IntoIterator<Item = impl AsRef<Path>>) -> String {
    let mut out = String::from("# mode owner group size modified(seconds) path\n");
    for path in paths {
        let path = path.as_ref();
        let line = match std::fs::symlink_metadata(path) {
            Ok(m) => {
                let target = std::fs::read_link(path).map(|to| format!(" -> {}", to.display()));
                format!(
                    "{:06o} {} {} {} {} {}{}\n",
                    m.mode(),
                    m.uid(),
                    m.gid(),
                    m.len(),
                    m.mtime(),
                    path.display(),
                    target.unwrap_or_default()
                )
            }
            Err(e) => format!("? ? ? ? ? {}: {e}\n", path.display()),
        };
        out.push_str(&line);
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn the_wanted_end_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        std::fs::write(&path, "one\ntwo\nthree\nfour\n").unwrap();
        let text = |max, end| String::from_utf8(file(&path, max, end).unwrap()).unwrap();
        assert_eq!(text(100, End::Last), "one\ntwo\nthree\nfour\n");
        assert_eq!(
            text(12, End::Last),
            "[the first 8 bytes are left out]\nthree\nfour\n"
        );
        assert_eq!(text(7, End::First), "one\ntwo\n[the rest is left out]\n");
    }

    #[test]
    fn what_would_wait_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert!(
            file(&fifo, 10, End::First)
                .unwrap_err()
                .ends_with("is no plain file")
        );
        assert!(file(dir.path(), 10, End::First).is_err());
        assert!(file(Path::new("/dev/zero"), 10, End::First).is_err());
    }
}
