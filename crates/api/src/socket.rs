//! The listening unix socket: made without a moment in which others could connect, replaced only when it is stale.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::lock::RunLock;

/// Why the socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody answers there.
    #[error("{0} is in use: another system-probe answers there")]
    InUse(PathBuf),
    /// There is something else of that name.
    #[error(
        "{0} exists and is no socket; remove it or set `runtime_security_config.socket` to another path"
    )]
    NoSocket(PathBuf),
    /// The operating system refused.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BindError {
    let path = path.to_owned();
    move |source| BindError::Io { what, path, source }
}

/// A listening socket. Its file goes when this does.
pub(crate) struct Socket {
    pub(crate) listener: UnixListener,
    pub(crate) file: SocketFile,
}

/// The socket's name in the file system.
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl Socket {
    /// Listens at `path`, open for `group` (mode 0660). The lock proves that no other probe of this run directory is
    /// alive; one of another run directory with the same socket is found by connecting.
    pub(crate) fn bind(
        path: &Path,
        group: Option<u32>,
        _lock: &RunLock,
    ) -> Result<Self, BindError> {
        if let Some(dir) = path.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(dir)
                .map_err(io_error("create", dir))?;
        }
        match fs::symlink_metadata(path) {
            Ok(existing) if !existing.file_type().is_socket() => {
                return Err(BindError::NoSocket(path.to_owned()));
            }
            Ok(_) if UnixStream::connect(path).is_ok() => {
                return Err(BindError::InUse(path.to_owned()));
            }
            Ok(_) => tracing::info!(
                "replacing the socket {} that a former system-probe left",
                path.display()
            ),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(io_error("examine", path)(e)),
        }
        // Under another name first, so that nobody connects before owner and mode are right; the rename also replaces
        // a stale socket.
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let temporary = PathBuf::from(name);
        match fs::remove_file(&temporary) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(io_error("remove", &temporary)(e));
            }
            _ => {}
        }
        let listener = UnixListener::bind(&temporary).map_err(io_error("listen at", &temporary))?;
        listener
            .set_nonblocking(true)
            .map_err(io_error("set up", &temporary))?;
        if let Some(group) = group
            && let Err(e) = chown(&temporary, None, Some(group))
        {
            tracing::warn!(
                "cannot give {} to group {group}: {e}; only this user can connect",
                path.display()
            );
        }
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o660))
            .map_err(io_error("set the mode of", &temporary))?;
        let metadata = fs::symlink_metadata(&temporary).map_err(io_error("examine", &temporary))?;
        fs::rename(&temporary, path).map_err(io_error("create", path))?;
        let file = SocketFile {
            path: path.to_owned(),
            identity: (metadata.dev(), metadata.ino()),
        };
        Ok(Self { listener, file })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours =
            fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.identity);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn temporary() -> (tempfile::TempDir, RunLock, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let lock = RunLock::acquire(dir.path()).unwrap();
        let path = dir.path().join("deep/er/x.sock");
        (dir, lock, path)
    }

    #[test]
    fn it_is_made_with_its_mode_and_goes_with_its_owner() {
        let (_dir, lock, path) = temporary();
        let socket = Socket::bind(&path, None, &lock).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        UnixStream::connect(&path).unwrap();
        drop(socket);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
    }

    #[test]
    fn a_stale_one_is_replaced_and_a_live_one_is_not() {
        let (_dir, lock, path) = temporary();
        let first = Socket::bind(&path, None, &lock).unwrap();
        assert!(matches!(
            Socket::bind(&path, None, &lock),
            Err(BindError::InUse(_))
        ));
        // As after a kill -9: the file is there, nobody listens.
        drop(first.listener);
        let second = Socket::bind(&path, None, &lock).unwrap();
        // The first one's end must not remove what is not its own.
        drop(first.file);
        UnixStream::connect(&path).unwrap();
        drop(second);
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let (_dir, lock, path) = temporary();
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "precious").unwrap();
        assert!(matches!(
            Socket::bind(&path, None, &lock),
            Err(BindError::NoSocket(_))
        ));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
