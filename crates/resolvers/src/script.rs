//! The script of an exec, where no hook has seen it.
//!
//! In the tracepoint tier the kernel shows the interpreter and the name that the script was asked for by. The script's inode is looked up
//! here, a few milliseconds later, from the process's own root and directory. It may have been replaced meanwhile: the path's origin
//! keeps saying that it is not the kernel's word.

use std::path::{Path, PathBuf};

use atalaya_model::capture::{Exec, FileFields, Header, PathOrigin};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

/// Fills in what the file system says of the script, if there is one that was not seen.
pub fn complete_script(header: &Header, exec: &mut Exec) {
    if exec.interpreter.is_some() && !exec.file.known && exec.file.origin == PathOrigin::KernelCopy
    {
        let place = match exec.filename.strip_prefix('/') {
            Some(absolute) => PathBuf::from(format!("/proc/{}/root", header.pid)).join(absolute),
            None => PathBuf::from(format!("/proc/{}/cwd", header.pid)).join(&exec.filename),
        };
        // A process that is gone, or a file that is: then the name is all there is.
        let _ = look(&place, &mut exec.file);
    }
}

fn look(place: &Path, file: &mut FileFields) -> rustix::io::Result<()> {
    // O_PATH opens nothing: no FIFO blocks, no device wakes.
    let handle = rustix::fs::openat(CWD, place, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::statat(&handle, c"", AtFlags::EMPTY_PATH)?;
    file.known = true;
    file.inode = stat.st_ino;
    file.dev = stat.st_dev;
    file.mode = (stat.st_mode & 0xffff) as u16;
    file.uid = stat.st_uid;
    file.gid = stat.st_gid;
    file.nlink = u32::try_from(stat.st_nlink).unwrap_or(u32::MAX);
    file.mtime_ns = epoch_ns(stat.st_mtime, stat.st_mtime_nsec);
    file.ctime_ns = epoch_ns(stat.st_ctime, stat.st_ctime_nsec);
    Ok(())
}

fn epoch_ns(seconds: i64, nanoseconds: u64) -> u64 {
    u64::try_from(seconds)
        .unwrap_or(0)
        .saturating_mul(1_000_000_000)
        .saturating_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn a_script_is_found_from_its_process() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("s.sh");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        let header = Header {
            pid: std::process::id(),
            ..Header::default()
        };
        let mut exec = Exec {
            filename: script.to_str().unwrap().to_owned(),
            interpreter: Some(FileFields::default()),
            file: FileFields {
                path: script.to_str().unwrap().to_owned(),
                origin: PathOrigin::KernelCopy,
                ..FileFields::default()
            },
            ..Exec::default()
        };
        complete_script(&header, &mut exec);
        assert!(exec.file.known && exec.file.inode != 0);
        assert_eq!(exec.file.origin, PathOrigin::KernelCopy);
    }
}
