//! The wire between system-probe and security-agent: protobuf messages and the two ends of the unix socket.
//!
//! - [`proto`]: messages and services, generated from `proto/api.proto` (how: `codegen/Cargo.toml`).
//! - [`RuntimeControl`]: what the engine implements so that [`server`] can carry out commands.
//! - [`server`]: the socket (0660, peer credentials checked) and both services; events come out of the spool.
//! - [`client`]: connects, with a helper that keeps trying.
//! - [`sanitize`]: makes text that an attacker may have chosen safe for a terminal.
#![forbid(unsafe_code)]

mod control;

pub use control::{ControlError, RuntimeControl};

/// The messages and services of `proto/api.proto`.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    reason = "generated code"
)]
pub mod proto {
    include!("api.rs");
}
