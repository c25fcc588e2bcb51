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

/// A few names, which most of what it is asked for is not among.
#[derive(Debug, Clone, Default)]
pub struct NameSet {
    names: BTreeSet<String>,
    /// One bit for each [`sketch`] that there is.
    sketches: u64,
}

/// A bit from what is seen of a name at a glance.
fn sketch(name: &str) -> u64 {
    let first = name.as_bytes().first().copied().map_or(0, usize::from);
    1 << ((name.len() + 5 * first) % 64)
}

impl NameSet {
    /// Whether the name is among them.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.sketches & sketch(name) != 0 && self.names.contains(name)
    }
}

impl FromIterator<String> for NameSet {
    fn from_iter<T: IntoIterator<Item = String>>(names: T) -> Self {
        let names: BTreeSet<String> = names.into_iter().collect();
        let sketches = names.iter().fold(0, |bits, name| bits | sketch(name));
        Self { names, sketches }
    }
}

/// What is the same for every event of a run.
pub struct Context {
    /// The host's name (`event.hostname`).
    pub hostname: String,
    /// How events are captured (`event.origin`): `ebpf`.
    pub origin: String,
    /// The service of processes that name none themselves (`event.service`).
    pub service: String,
    /// The variables whose values `process.envs` keeps. Must not change while processes live: the lists are cached.
    pub envs_with_value: NameSet,
    /// Who tells names.
    pub lookup: Box<dyn Lookup>,
}

impl Default for Context {
    fn default() -> Self {
        Self {
            hostname: String::new(),
            origin: "ebpf".to_owned(),
            service: String::new(),
            envs_with_value: ENVS_WITH_VALUE.map(str::to_owned).into_iter().collect(),
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
