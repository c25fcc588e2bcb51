//! The directory: one process at a time, and a name that stays.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::Error;

/// Locks the directory. The kernel gives the lock up when the process ends, however it ends.
pub(crate) fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked(dir.to_owned())),
        Err(TryLockError::Error(e)) => Err(Error::io("lock", path)(e)),
    }
}

/// The spool's own name and the kernel's boot id.
pub(crate) fn identity(dir: &Path) -> Result<String, Error> {
    let path = dir.join("id");
    let own = match fs::read_to_string(&path) {
        Ok(text) if text.trim().len() == 16 => text.trim().to_owned(),
        _ => {
            let id = random_name();
            fs::write(&path, format!("{id}\n")).map_err(Error::io("write", &path))?;
            id
        }
    };
    let boot =
        fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_else(|_| random_name());
    Ok(format!("{own}-{}", boot.trim()))
}

/// 16 hexadecimal digits; the standard library's hash keys are random enough for a name.
pub(crate) fn random_name() -> String {
    let hasher = std::hash::RandomState::new().build_hasher();
    format!("{:016x}", hasher.finish())
}
