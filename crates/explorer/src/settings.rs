//! What the explorer is given.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use atalaya_api::proto::{SecurityEventMessage, Status};
use serde_json::Value;

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The directory of the store.
    pub dir: PathBuf,
    /// The unix socket of the command line.
    pub socket: PathBuf,
    /// The address for browsers.
    pub host: IpAddr,
    /// The port for browsers; 0: any that is free.
    pub port: u16,
    /// The socket of system-probe.
    pub probe: PathBuf,
    /// How much is kept.
    pub store: atalaya_store::Options,
}

/// Makes the document of an event.
pub type Document = Box<dyn Fn(&SecurityEventMessage) -> Vec<u8> + Send + Sync>;

/// What only the program around it knows.
pub struct Hooks {
    /// The document of an event.
    pub document: Document,
    /// What security-agent says of itself.
    pub agent_status: Box<dyn Fn() -> Value + Send + Sync>,
    /// What `status --json` says of system-probe.
    pub probe_status: fn(&Status) -> Value,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooks")
    }
}
