//! The server's end: one thread that serves both services on the unix socket.
//!
//! Commands are carried out by a [`RuntimeControl`], each on a thread that may block. Events come out of the spool:
//! see `stream.rs`. Who may connect is checked by the kernel's word for the peer (`SO_PEERCRED`), beyond the socket's
//! mode: root, the probe's own user, and the user of security-agent.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use atalaya_spool::Spool;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::transport::server::UdsConnectInfo;

use crate::account::Account;
use crate::command::Commands;
use crate::lock::RunLock;
use crate::proto::security_module_cmd_server::SecurityModuleCmdServer;
use crate::proto::security_module_event_server::SecurityModuleEventServer;
use crate::socket::{BindError, Socket};
use crate::stream::Events;
use crate::{MAX_REQUEST, RuntimeControl, SettingsControl};

/// How long running calls may take to end when the server stops.
const GRACE: Duration = Duration::from_secs(1);

/// What the server needs to know.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Where to listen.
    pub socket: PathBuf,
    /// Who may connect besides root and this program's own user; the socket's group is this user's.
    pub agent: Option<Account>,
    /// The configuration, for who asks for it; `None`: it cannot be asked.
    pub settings: Option<Arc<dyn SettingsControl>>,
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No socket.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// No thread, or no event loop in it.
    #[error("cannot start the server's thread: {0}")]
    Thread(std::io::Error),
}

/// A running server. It stops, and its socket goes, when this goes.
pub struct Server {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    events: Arc<Events>,
}

impl Server {
    /// Listens and serves. When this returns, clients can connect.
    pub fn start(
        options: ServerOptions,
        lock: &RunLock,
        control: Arc<dyn RuntimeControl>,
        spool: Spool,
    ) -> Result<Self, ServerError> {
        let socket = Socket::bind(&options.socket, options.agent.as_ref().map(|a| a.gid), lock)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name("api-worker")
            .max_blocking_threads(48)
            .build()
            .map_err(ServerError::Thread)?;
        let listener = {
            let _guard = runtime.enter();
            UnixListener::from_std(socket.listener).map_err(ServerError::Thread)?
        };
        let file = socket.file;
        let (stop, mut stopped) = watch::channel(false);
        let events = Arc::new(Events::new(spool.clone()));
        let services = Services {
            events: SecurityModuleEventServer::from_arc(Arc::clone(&events))
                .max_decoding_message_size(MAX_REQUEST),
            commands: SecurityModuleCmdServer::new(Commands::new(
                control,
                options.settings,
                stopped.clone(),
                spool,
                Arc::clone(&events),
            ))
            .max_decoding_message_size(MAX_REQUEST),
            guard: Arc::new(Guard::new(options.agent)),
        };
        let thread = std::thread::Builder::new()
            .name("api".into())
            .spawn(move || {
                let mut stopping = stopped.clone();
                let serving = tonic::transport::Server::builder()
                    .concurrency_limit_per_connection(32)
                    .max_concurrent_streams(64)
                    .serve_with_incoming_shutdown(
                        services,
                        UnixListenerStream::new(listener),
                        async move {
                            let _ = stopping.wait_for(|s| *s).await;
                            // Nobody new, from now on.
                            drop(file);
                        },
                    );
                let ended = runtime.block_on(async {
                    tokio::select! {
                        ended = serving => ended,
                        () = async {
                            let _ = stopped.wait_for(|s| *s).await;
                            tokio::time::sleep(GRACE).await;
                        } => Ok(()),
                    }
                });
                if let Err(e) = ended {
                    tracing::error!("the server on {} ended: {e}", options.socket.display());
                }
                runtime.shutdown_timeout(Duration::from_millis(100));
            })
            .map_err(ServerError::Thread)?;
        Ok(Self {
            stop,
            thread: Some(thread),
            events,
        })
    }

    /// Who knows the processes whose streams are those of consumers.
    #[must_use]
    pub fn consumers(&self) -> Box<dyn Fn() -> Vec<u32> + Send + Sync> {
        let events = Arc::clone(&self.events);
        Box::new(move || events.consumers())
    }

    /// Stops: removes the socket, ends all streams, lets running calls finish for at most a second.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        self.events.end_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Both services behind the check of who asks. Two are few enough to need no router.
#[derive(Clone)]
struct Services {
    events: SecurityModuleEventServer<Events>,
    commands: SecurityModuleCmdServer<Commands>,
    guard: Arc<Guard>,
}

impl Service<http::Request<Body>> for Services {
    type Response = http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = tonic::codegen::BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if let Err(status) = self.guard.check(request.extensions().get()) {
            return Box::pin(std::future::ready(Ok(status.into_http())));
        }
        let service = request.uri().path().split('/').nth(1);
        if service == Some(SecurityModuleEventServer::<Events>::NAME) {
            self.events.call(request)
        } else if service == Some(SecurityModuleCmdServer::<Commands>::NAME) {
            self.commands.call(request)
        } else {
            let status = tonic::Status::unimplemented("there is no such service here");
            Box::pin(std::future::ready(Ok(status.into_http())))
        }
    }
}

/// Who may ask.
struct Guard {
    own: u32,
    agent: Option<Account>,
    /// When a refusal was last logged, so that nobody can fill the log.
    logged: Mutex<Option<Instant>>,
}

impl Guard {
    fn new(agent: Option<Account>) -> Self {
        Self {
            own: Account::own().0,
            agent,
            logged: Mutex::new(None),
        }
    }

    fn allows(&self, uid: u32) -> bool {
        uid == 0 || uid == self.own || self.agent.as_ref().is_some_and(|a| a.uid == uid)
    }

    fn check(&self, peer: Option<&UdsConnectInfo>) -> Result<(), tonic::Status> {
        let credentials = peer.and_then(|p| p.peer_cred);
        let uid = credentials.map(|c| c.uid());
        if uid.is_some_and(|uid| self.allows(uid)) {
            return Ok(());
        }
        let who = uid.map_or("somebody unknown".to_owned(), |uid| format!("uid {uid}"));
        let pid = credentials.and_then(|c| c.pid()).unwrap_or(0);
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_none_or(|at| at.elapsed() > Duration::from_secs(1)) {
            *logged = Some(Instant::now());
            tracing::warn!("refused {who} (pid {pid}) on the socket");
        }
        let agent = self.agent.as_ref().map_or("", |a| a.name.as_str());
        Err(tonic::Status::permission_denied(format!(
            "{who} may not talk to system-probe: only root and the user of security-agent ({agent})"
        )))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn root_self_and_the_agent_may_ask() {
        let guard = Guard {
            own: 500,
            agent: Some(Account {
                name: "atalaya".into(),
                uid: 998,
                gid: 998,
            }),
            logged: Mutex::new(None),
        };
        assert_eq!(
            [0, 500, 998, 1000, 65534].map(|u| guard.allows(u)),
            [true, true, true, false, false]
        );
        assert_eq!(
            guard.check(None).unwrap_err().code(),
            tonic::Code::PermissionDenied
        );
    }
}
