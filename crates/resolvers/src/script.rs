//! The script of an exec, where no hook has seen it.
//!
//! In the tracepoint tier the kernel shows the interpreter and the name that the script was asked for by. The script's inode is looked up
//! here, a few milliseconds later, from the process's own root and directory. It may have been replaced meanwhile: the path's origin
//! keeps saying that it is not the kernel's word.
//!
//! The path was chosen by whoever called exec, perhaps in a container, and this runs in the event loop. So it is resolved inside that process's
//! root, whatever symbolic links say, and only from what the kernel has cached: no file system of the caller's, which may
//! answer never, is asked.

use std::os::fd::OwnedFd;

use atalaya_model::capture::{Exec, FileFields, Header, PathOrigin};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags, StatxTimestamp};
use rustix::io::Errno;

/// Fills in what the file system says of the script, if there is one that was not seen.
pub fn complete_script(header: &Header, exec: &mut Exec) {
    if exec.interpreter.is_some() && !exec.file.known && exec.file.origin == PathOrigin::KernelCopy
    {
        // A process that is gone, or a file that is, or one that is not cached: then the name is all there is.
        let _ = root_of(header.pid).and_then(|root| look(&root, &mut exec.file));
    }
}

const PATH_ONLY: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

fn root_of(pid: u32) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(
        CWD,
        atalaya_host::paths::process(pid, "root"),
        PATH_ONLY,
        Mode::empty(),
    )
}

fn look(root: &OwnedFd, file: &mut FileFields) -> Result<(), Errno> {
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::CACHED;
    let script = rustix::fs::openat2(root, &file.path, PATH_ONLY, Mode::empty(), inside)?;
    let cached = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = rustix::fs::statx(&script, c"", cached, StatxFlags::BASIC_STATS)?;
    file.known = true;
    file.inode = stat.stx_ino;
    file.dev = rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor);
    file.mode = stat.stx_mode;
    file.uid = stat.stx_uid;
    file.gid = stat.stx_gid;
    file.nlink = stat.stx_nlink;
    file.mtime_ns = epoch_ns(stat.stx_mtime);
    file.ctime_ns = epoch_ns(stat.stx_ctime);
    Ok(())
}

fn epoch_ns(time: StatxTimestamp) -> u64 {
    u64::try_from(time.tv_sec)
        .unwrap_or(0)
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec.into())
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

    #[test]
    fn a_link_does_not_lead_out_of_the_root() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("real"), "").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("out")).unwrap();
        std::os::unix::fs::symlink("/real", dir.path().join("in")).unwrap();
        // What an exec has just done: the names are cached, and the links were read.
        std::fs::metadata(dir.path().join("real")).unwrap();
        for link in ["out", "in"] {
            std::fs::read_link(dir.path().join(link)).unwrap();
        }
        let root = OwnedFd::from(std::fs::File::open(dir.path()).unwrap());
        let look = |path: &str| {
            let mut file = FileFields {
                path: path.to_owned(),
                ..FileFields::default()
            };
            look(&root, &mut file).map(|()| file.inode)
        };
        assert!(look("/out").is_err());
        assert_eq!(look("/in"), look("/real"));
        assert!(look("/real").is_ok());
    }
}
