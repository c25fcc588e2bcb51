//! One system-probe a run directory.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Why the lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error(
        "another system-probe{} is running (it holds {path}); stop it first, or give this one its own `run_path`, \
         `runtime_security_config.socket` and `runtime_security_config.spool.dir`",
        pid.map(|p| format!(" (pid {p})")).unwrap_or_default()
    )]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Who, as far as the file tells.
        pid: Option<u32>,
    },
    /// The operating system refused.
    #[error("cannot lock {path}: {source}")]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The lock on a run directory. The kernel gives it up when the process ends, however it ends.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

impl RunLock {
    /// Makes the run directory where it is missing, and locks `system-probe.lock` in it.
    pub fn acquire(run_path: &Path) -> Result<Self, LockError> {
        let path = run_path.join("system-probe.lock");
        match Self::try_acquire(run_path, &path) {
            Ok(Ok(lock)) => Ok(lock),
            Ok(Err(pid)) => Err(LockError::Held { path, pid }),
            Err(source) => Err(LockError::Io { path, source }),
        }
    }

    fn try_acquire(run_path: &Path, path: &Path) -> io::Result<Result<Self, Option<u32>>> {
        // Others must be able to reach the socket in it.
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(run_path)?;
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o644)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(e)) => return Err(e),
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                file.read_to_string(&mut text)?;
                return Ok(Err(text.trim().parse().ok()));
            }
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Ok(Self { _file: file }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn only_one_has_it_and_it_can_be_had_again() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run/atalaya");
        let lock = RunLock::acquire(&run).unwrap();
        let refused = RunLock::acquire(&run).unwrap_err();
        assert!(matches!(refused, LockError::Held { pid, .. } if pid == Some(std::process::id())));
        assert!(!refused.to_string().contains('\n'));
        drop(lock);
        RunLock::acquire(&run).unwrap();
    }
}
