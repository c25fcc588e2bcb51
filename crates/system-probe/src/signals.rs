//! Signals: stop, stop at once, read the policies again.

use anyhow::{Context, Result};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
pub(crate) enum Asked {
    Stop,
    Reload,
}

/// The signals that this program handles.
pub(crate) struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From here on, none of them ends the program by itself.
    pub(crate) fn install() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the event loop")?;
        let _guard = runtime.enter();
        let handle = |kind| signal(kind).context("cannot handle signals");
        let (terminate, interrupt, hangup) = (
            handle(SignalKind::terminate())?,
            handle(SignalKind::interrupt())?,
            handle(SignalKind::hangup())?,
        );
        drop(_guard);
        Ok(Self {
            runtime,
            terminate,
            interrupt,
            hangup,
        })
    }

    /// Waits for the next one.
    pub(crate) fn next(&mut self) -> Asked {
        let Self {
            runtime,
            terminate,
            interrupt,
            hangup,
        } = self;
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => Asked::Stop,
                _ = interrupt.recv() => Asked::Stop,
                _ = hangup.recv() => Asked::Reload,
            }
        })
    }

    /// From here on, a further SIGTERM or SIGINT ends the program at once: somebody is in a hurry.
    pub(crate) fn end_at_next(mut self) {
        let waiting = std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                loop {
                    if matches!(self.next(), Asked::Stop) {
                        tracing::warn!("asked to stop again: ending at once");
                        std::process::exit(1);
                    }
                }
            });
        if let Err(e) = waiting {
            tracing::warn!("cannot wait for a second signal: {e}");
        }
    }
}
