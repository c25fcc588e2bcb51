//! Asking system-probe over its socket, and printing what it says.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use atalaya_api::Client;
use tokio::time::timeout;

/// How long system-probe may take to answer a command that is not known to take long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Does what asks system-probe. One that is stopped, or hangs, is an error, not a wait for ever.
pub async fn patiently<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let late = || {
        format!(
            "system-probe does not answer within {} s",
            PATIENCE.as_secs()
        )
    };
    timeout(PATIENCE, work).await.with_context(late)?
}

/// Prints to stdout. That nobody reads it any more (`| head`) is no error.
pub fn out(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// One thread is enough for a client.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")
}

/// Connects, or says how to mend it.
pub async fn connect(socket: &Path) -> Result<Client> {
    Ok(Client::connect(socket).await?)
}

/// The error a server answered with, without gRPC's own words.
pub fn answer(what: &str, status: &tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{what}: {}", status.message())
}

/// What a program ends with: prints what went wrong in one line, the chain of causes.
pub fn end(result: Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(e) => {
            eprintln!(
                "Error: {}",
                atalaya_api::sanitize(&atalaya_api::chain(e.as_ref()))
            );
            ExitCode::FAILURE
        }
    }
}
