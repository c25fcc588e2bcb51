//! What is the same for every event of a run: the host, and who can tell names.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::file::File;
use crate::process::Process;

/// Tells the names of users and groups, and the digests of files. Asked only when a rule or the output needs one.
pub trait Lookup: Send + Sync {
    /// The name of a user id, in the file system view of `process` (its container's `/etc/passwd`).
    fn user(&self, uid: u32, process: &Process) -> Option<Arc<str>>;
    /// The name of a group id, likewise.
    fn group(&self, gid: u32, process: &Process) -> Option<Arc<str>>;
    /// The digests of a file's content as `algorithm:hex`, in the file system view of `process`; `None` where they cannot
    /// be told, or not yet: then it is asked again.
    fn hashes(&self, file: &File, process: &Process) -> Option<Vec<String>> {
        let _ = (file, process);
        None
    }
}

/// A [`Lookup`] that knows nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLookup;

impl Lookup for NoLookup {
    fn user(&self, _uid: u32, _process: &Process) -> Option<Arc<str>> {
        None
    }

    fn group(&self, _gid: u32, _process: &Process) -> Option<Arc<str>> {
        None
    }
}

/// The environment variables whose values `process.envs` keeps unless configuration says otherwise.
pub const ENVS_WITH_VALUE: [&str; 9] = [
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "PATH",
    "HISTSIZE",
    "HISTFILESIZE",
    "GLIBC_TUNABLES",
    "SSH_CLIENT",
    "DD_SERVICE",
    "OTEL_SERVICE_NAME",
];

/// What is the same for every event of a run.
pub struct Context {
    /// The host's name (`event.hostname`).
    pub hostname: String,
    /// How events are captured (`event.origin`): `ebpf`.
    pub origin: String,
    /// The service of processes that name none themselves (`event.service`).
    pub service: String,
    /// The variables whose values `process.envs` keeps. Must not change while processes live: the lists are cached.
    pub envs_with_value: BTreeSet<String>,
    /// Who tells names.
    pub lookup: Box<dyn Lookup>,
}

impl Default for Context {
    fn default() -> Self {
        Self {
            hostname: String::new(),
            origin: "ebpf".to_owned(),
            service: String::new(),
            envs_with_value: ENVS_WITH_VALUE.map(str::to_owned).into(),
            lookup: Box::new(NoLookup),
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("hostname", &self.hostname)
            .field("origin", &self.origin)
            .field("service", &self.service)
            .field("envs_with_value", &self.envs_with_value)
            .finish_non_exhaustive()
    }
}
