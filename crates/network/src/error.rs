//! What can go wrong.

use std::io;

/// A request to the kernel that failed: what was asked, and what it said.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// rtnetlink refused, or its socket failed.
    #[error("rtnetlink, {what}: {source}")]
    Netlink {
        /// What was asked.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// What was listed changed while it was being listed, and did so again each time.
    #[error("rtnetlink, {what}: it changes faster than it can be listed")]
    Unsteady {
        /// What was asked.
        what: String,
    },
    /// An answer that is no rtnetlink message.
    #[error("rtnetlink, {what}: the answer is cut off")]
    Malformed {
        /// What was asked.
        what: String,
    },
    /// bpf(2) refused.
    #[error("bpf(2), {what}: {source}")]
    Bpf {
        /// What was asked.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A namespace could not be opened or entered.
    #[error("network namespace, {what}: {source}")]
    Namespace {
        /// Which, or what was to be done.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Another queueing discipline is where clsact would have to be.
    #[error("its queueing discipline is `{kind}`, which has no egress; only clsact has both sides")]
    Occupied {
        /// The kind of the other.
        kind: String,
    },
}

impl Error {
    /// The kernel's error, where it gave one.
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Netlink { source, .. }
            | Self::Bpf { source, .. }
            | Self::Namespace { source, .. } => Some(source),
            Self::Unsteady { .. } | Self::Malformed { .. } | Self::Occupied { .. } => None,
        }
    }

    /// The kernel's error number, where it gave one.
    pub fn errno(&self) -> Option<nix::Error> {
        self.io()?.raw_os_error().map(nix::Error::from_raw)
    }

    /// Whether what was asked for is not there (any more): interfaces and programs may go at any time.
    pub fn is_gone(&self) -> bool {
        matches!(
            self.errno(),
            Some(nix::Error::ENODEV | nix::Error::ENOENT | nix::Error::ENXIO)
        )
    }
}
