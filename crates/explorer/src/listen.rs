//! The sockets: one for browsers on loopback, one for the command line.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::settings::Settings;

/// Where it listens.
#[derive(Debug)]
pub struct Listeners {
    pub(crate) browsers: TcpListener,
    pub(crate) commands: UnixListener,
    address: SocketAddr,
}

impl Listeners {
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The address for browsers.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Why it cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The port.
    #[error("cannot listen on {0}: {1} (explorer.host, explorer.port)")]
    Port(SocketAddr, io::Error),
    /// The unix socket.
    #[error("cannot listen on {0}: {1} (explorer.socket)")]
    Socket(PathBuf, io::Error),
}

/// Begins to listen; `group` is that of the user whom the unix socket is for besides its maker. To be called before anything is forbidden to
/// this process.
///
/// # Errors
/// The port is taken, or the socket cannot be made.
pub fn listen(settings: &Settings, group: Option<u32>) -> Result<Listeners, ListenError> {
    let address = SocketAddr::new(settings.host, settings.port);
    let port = |error| ListenError::Port(address, error);
    let browsers = TcpListener::bind(address).map_err(port)?;
    browsers.set_nonblocking(true).map_err(port)?;
    let bound = browsers.local_addr().map_err(port)?;
    if !settings.host.is_loopback() {
        tracing::warn!(
            "the explorer is not on loopback but on {bound}, without TLS: tokens and events can be read on the way"
        );
    }
    let socket = |error| ListenError::Socket(settings.socket.clone(), error);
    let commands = unix(&settings.socket, group).map_err(socket)?;
    commands.set_nonblocking(true).map_err(socket)?;
    Ok(Listeners {
        browsers,
        commands,
        address: bound,
    })
}

fn unix(path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    if let Some(dir) = path.parent().filter(|dir| !dir.exists()) {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(dir)?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => {
            if UnixStream::connect(path).is_ok() {
                return Err(io::Error::new(
                    io::ErrorKind::AddrInUse,
                    "another security-agent answers there",
                ));
            }
            std::fs::remove_file(path)?;
        }
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "it is no socket",
            ));
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    // Who connects is looked at as well.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    // It stays root's: in a container root may be without the right to go round modes.
    if let Some(group) = group {
        chown(path, None, Some(group))?;
    }
    Ok(listener)
}
