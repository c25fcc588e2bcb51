//! Ctrl-C while an archive is made: it goes, and the command ends as others do.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use atalaya_cli::ask::runtime;
use tokio::signal::unix::{SignalKind, signal};

static UNFINISHED: Mutex<Option<PathBuf>> = Mutex::new(None);

/// The file that is of no use to anybody if the command ends now.
pub(crate) fn remove_at_end(file: Option<PathBuf>) {
    *UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner) = file;
}

/// Waits for SIGINT and SIGTERM from now on.
pub(crate) fn handle() -> Result<()> {
    let runtime = runtime()?;
    let (mut interrupt, mut terminate) = {
        let _guard = runtime.enter();
        let handler = |kind| signal(kind).context("cannot wait for signals");
        (
            handler(SignalKind::interrupt())?,
            handler(SignalKind::terminate())?,
        )
    };
    std::thread::spawn(move || {
        let number = runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => 2,
                _ = terminate.recv() => 15,
            }
        });
        if let Some(file) = UNFINISHED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            let _ = std::fs::remove_file(file);
        }
        std::process::exit(128 + number);
    });
    Ok(())
}
