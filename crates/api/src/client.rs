//! The client's end.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use crate::proto::security_module_cmd_client::SecurityModuleCmdClient;
use crate::proto::security_module_event_client::SecurityModuleEventClient;
use crate::{MAX_ANSWER, MAX_EVENT, chain};

/// Why there is no connection. One line: what is wrong and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens.
    #[error(
        "system-probe is not running: nobody answers at {0} (start it with `system-probe run`, or check \
         `runtime_security_config.socket`)"
    )]
    NotRunning(PathBuf),
    /// The socket's mode forbids it.
    #[error("no permission to open {0} (run this as root or as the user `security_agent.user`)")]
    Denied(PathBuf),
    /// Something else.
    #[error("cannot connect to system-probe at {socket}: {cause}")]
    Other {
        /// The socket.
        socket: PathBuf,
        /// Why not.
        cause: String,
    },
}

/// A connection to system-probe.
#[derive(Debug, Clone)]
pub struct Client {
    /// The commands.
    pub commands: SecurityModuleCmdClient<Channel>,
    /// The events.
    pub events: SecurityModuleEventClient<Channel>,
}

impl Client {
    /// Connects to the socket.
    pub async fn connect(socket: &Path) -> Result<Self, ConnectError> {
        let other = |cause: String| ConnectError::Other {
            socket: socket.to_owned(),
            cause,
        };
        let Some(name) = socket.to_str() else {
            return Err(other("its name is not UTF-8".into()));
        };
        let endpoint =
            Endpoint::from_shared(format!("unix:{name}")).map_err(|e| other(e.to_string()))?;
        let endpoint = endpoint.connect_timeout(Duration::from_secs(5));
        let channel =
            endpoint
                .connect()
                .await
                .map_err(|e| match io_error(&e).map(io::Error::kind) {
                    Some(ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                        ConnectError::NotRunning(socket.to_owned())
                    }
                    Some(ErrorKind::PermissionDenied) => ConnectError::Denied(socket.to_owned()),
                    _ => other(chain(&e)),
                })?;
        Ok(Self {
            commands: SecurityModuleCmdClient::new(channel.clone())
                .max_decoding_message_size(MAX_ANSWER),
            events: SecurityModuleEventClient::new(channel).max_decoding_message_size(MAX_EVENT),
        })
    }

    /// Connects, and keeps trying for ever with growing pauses. `waiting` is told of each error and the pause.
    pub async fn connect_patiently(
        socket: &Path,
        mut waiting: impl FnMut(&ConnectError, Duration),
    ) -> Self {
        let mut backoff = Backoff::default();
        loop {
            match Self::connect(socket).await {
                Ok(client) => return client,
                Err(e) => {
                    let pause = backoff.pause();
                    waiting(&e, pause);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
}

/// Pauses that grow: 100 ms, doubled up to 5 s.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let pause = Duration::from_millis(100 << self.tries.min(6));
        self.tries += 1;
        pause.min(Duration::from_secs(5))
    }

    /// It worked: the next pause is short again.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

fn io_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    let mut next = Some(error);
    while let Some(e) = next {
        if let Some(io) = e.downcast_ref() {
            return Some(io);
        }
        next = e.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..8).map(|_| backoff.pause().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        backoff.reset();
        assert_eq!(backoff.pause().as_millis(), 100);
    }
}
