//! Typed configuration: `system-probe.yaml` and `security-agent.yaml`, `DD_*` environment variables, flags.
//!
//! One table (`keys.rs`) holds every key with its type, default, unit and documentation; [`Config`], the reading of
//! files and environment, and the reference page ([`markdown`]) all come out of it. To add a key is to add one entry.
//!
//! ```
//! use atalaya_config::Sources;
//!
//! let mut sources = Sources::default();
//! sources.env = vec![("DD_RUNTIME_SECURITY_CONFIG_POLICIES_DIR".into(), "/tmp/policies".into())];
//! let loaded = sources.load()?;
//! assert_eq!(loaded.config.policies_dir.to_str(), Some("/tmp/policies"));
//! assert!(loaded.problems.is_empty());
//! # Ok::<(), atalaya_config::LoadError>(())
//! ```
//!
//! A flag wins over the environment, the environment over a file, a file over the default; of two files, the
//! program's own; [`Loaded::origin`] tells which it was. Nothing in a file is fatal: what is unknown or of the wrong type is told in [`Loaded::problems`] with
//! its place, and the default stays. Keys of the Datadog Agent that have no effect here are a table of their own, [`ACCEPTED`]. Only a file that was named explicitly and cannot be read is an error.
#![forbid(unsafe_code)]

mod accepted;
mod change;
mod docs;
mod keys;
mod load;
mod names;
mod networks;
mod sample;
mod secret;
mod value;
mod yaml;

pub use accepted::{ACCEPTED, Accepted};
pub use change::Change;
pub use docs::markdown;
pub use keys::{Config, Effect, HookTier, KEYS, Key, LogLevel, Ownerless};
pub use load::{LoadError, Loaded, Origin, Problem, Program, Set, Severity, Sources};
pub use names::{AgentVersion, HashNames};
pub use networks::Networks;
pub use sample::sample;
pub use secret::Secret;
pub use value::{Positive, duration};

/// The key of this name; `event_monitoring_config.*` is also known as `runtime_security_config.*`.
pub fn key(name: &str) -> Option<&'static Key> {
    load::find(name).map(|(key, _)| key)
}
