//! How the two programs sit in a host: what a service manager wants to hear of them, and where the host's own files are when they
//! run in a container.
//!
//! - [`Notifier`]: the `sd_notify(3)` protocol: ready, reloading, stopping, and the watchdog.
//! - [`paths`]: `HOST_PROC`, `HOST_SYS`, `HOST_ROOT` and `HOST_ETC`, as agents in containers know them.
#![forbid(unsafe_code)]

mod notify;
pub mod paths;

pub use notify::Notifier;
