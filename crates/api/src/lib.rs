//! The wire between system-probe and security-agent: protobuf messages and the two ends of the unix socket.
//!
//! - [`proto`]: messages and services, generated from `proto/api.proto`. After a change of that file:
//!   `cargo run --manifest-path crates/api/codegen/Cargo.toml` (needs `protoc`), and commit `src/api.rs`.
//! - [`RuntimeControl`]: what the engine implements so that [`Server`] can carry out commands; [`SettingsControl`] the same for the
//!   configuration.
//! - [`RunLock`] and [`Server`]: the socket (0660, peer credentials checked) and both services; events come out of
//!   the spool, each an encoded [`proto::SecurityEventMessage`].
//! - [`Client`] and [`Backoff`]: connecting, once or patiently.
//! - [`Sanitized`], [`sanitize`], [`sanitize_json`]: text that an attacker may have chosen, safe for a terminal.
//! - [`chain`]: an error and its causes in one line.
#![forbid(unsafe_code)]

mod account;
mod chain;
mod client;
mod command;
mod control;
mod lock;
mod sanitize;
mod server;
mod socket;
mod stream;

pub use account::Account;
pub use chain::chain;
pub use client::{Backoff, Client, ConnectError};
pub use control::{ControlError, FlareSource, RuntimeControl, SettingsControl};
pub use lock::{LockError, RunLock};
pub use sanitize::{Sanitized, is_dangerous, sanitize, sanitize_json};
pub use server::{Server, ServerError, ServerOptions};
pub use socket::BindError;

/// The header of an event stream that names the spool: see [`proto::SpoolStatus::id`].
pub const SPOOL_ID_HEADER: &str = "atalaya-spool-id";

/// The longest request the server reads, in bytes.
const MAX_REQUEST: usize = 64 << 10;
/// The longest event a client reads, in bytes.
const MAX_EVENT: usize = 4 << 20;
/// The longest answer to a command a client reads, in bytes. A dump of the process tree with arguments is the longest.
const MAX_ANSWER: usize = 256 << 20;

/// The messages and services of `proto/api.proto`.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub mod proto {
    include!("api.rs");
}
