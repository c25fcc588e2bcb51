//! One system-probe a run directory.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a holder may take to die: whoever kills a probe and starts one at once finds the kernel still at it.
const PATIENCE: Duration = Duration::from_millis(500);

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
    file: File,
    path: PathBuf,
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // While the lock is still held: who opened the file before and gets the lock now sees that it is gone.
        let _ = fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

impl RunLock {
    /// Makes the run directory where it is missing, and locks `system-probe.lock` in it.
    pub fn acquire(run_path: &Path) -> Result<Self, LockError> {
        let path = run_path.join("system-probe.lock");
        let begun = Instant::now();
        loop {
            match Self::try_acquire(run_path, &path) {
                Ok(Ok(lock)) => return Ok(lock),
                Ok(Err(_)) if begun.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Ok(Err(pid)) => return Err(LockError::Held { path, pid }),
                Err(source) => return Err(LockError::Io { path, source }),
            }
        }
    }

    fn try_acquire(run_path: &Path, path: &Path) -> io::Result<Result<Self, Option<u32>>> {
        // Others must be able to reach the socket in it.
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(run_path)?;
        loop {
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
            // A former holder may have removed it between our opening and locking it: then it locks nothing.
            let ours = file.metadata()?;
            if fs::metadata(path).is_ok_and(|m| (m.dev(), m.ino()) == (ours.dev(), ours.ino())) {
                file.set_len(0)?;
                file.rewind()?;
                writeln!(file, "{}", std::process::id())?;
                let path = path.to_owned();
                return Ok(Ok(Self { file, path }));
            }
        }
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
        assert_eq!(fs::read_dir(&run).unwrap().count(), 0);
        RunLock::acquire(&run).unwrap();
    }

    #[test]
    fn a_holder_that_is_just_dying_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let lock = RunLock::acquire(dir.path()).unwrap();
        let dying = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(60));
            drop(lock);
        });
        RunLock::acquire(dir.path()).unwrap();
        dying.join().unwrap();
    }
}
