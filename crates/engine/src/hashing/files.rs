//! Which file of an event is meant, and where its process sees it.

use std::sync::LazyLock;

use atalaya_model::{Event, Process, schema};
use atalaya_resolvers::HashRequest;
use atalaya_secl::model::{EventView, Schema, Value};

/// How many ancestors are asked for their root where the process itself is gone.
const ANCESTORS: usize = 8;

/// A file of an event, by the field that it is in: `open.file`, `exec.file`, `rename.file.destination`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileRef {
    field: String,
    path: String,
}

impl FileRef {
    pub(crate) fn new(field: &str) -> Self {
        Self {
            field: field.to_owned(),
            path: String::new(),
        }
    }

    /// The path, once it was asked for.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Where the file is in the event's JSON.
    pub(crate) fn places(&self) -> &'static [&'static [&'static str]] {
        match self.field.as_str() {
            "exec.file" | "exit.file" => &[&["file"], &["process", "executable"]],
            "process.file" => &[&["process", "executable"]],
            "process.interpreter.file" | "exec.interpreter.file" => &[&["process", "interpreter"]],
            "process.parent.file" => &[&["process", "parent", "executable"]],
            field if field.ends_with(".file.destination") => &[&["file", "destination"]],
            _ => &[&["file"]],
        }
    }

    /// What to ask for. `None` where the event has no such file, or no inode of it: a path that only the caller has given may
    /// lead to any file, and the hashes of another one must not be told as those of the event's.
    pub(crate) fn request(&mut self, event: &Event) -> Option<HashRequest> {
        let field = |name: &str| {
            let info = schema().field(&format!("{}.{name}", self.field))?;
            Some(event.get(info.id))
        };
        let number = |name: &str| match field(name) {
            Some(Value::Int(number)) => u64::try_from(number).unwrap_or(0),
            _ => 0,
        };
        let path = match field("path")? {
            Value::Str(path) if !path.is_empty() => path.into_owned(),
            _ => return None,
        };
        self.path.clone_from(&path);
        let inode = number("inode");
        if inode == 0 {
            return None;
        }
        let modified_ns = number("modification_time");
        Some(HashRequest {
            pids: pids(&event.process),
            path,
            inode,
            modified_ns,
            ..HashRequest::default()
        })
    }
}

/// Processes that see the same files as this one, itself first.
pub(super) fn pids(process: &Process) -> Vec<u32> {
    let namespace = process.namespaces.mnt;
    let mut pids = vec![process.pid];
    if namespace == 0 {
        return pids;
    }
    let relatives = process
        .ancestors()
        .take(ANCESTORS)
        .filter(|ancestor| ancestor.namespaces.mnt == namespace)
        .map(|ancestor| ancestor.pid);
    for pid in relatives {
        if !pids.contains(&pid) {
            pids.push(pid);
        }
    }
    if OWN_NAMESPACE.is_some_and(|own| own == u64::from(namespace)) {
        pids.push(atalaya_host::paths::own_pid());
    }
    pids
}

/// The mount namespace of this program.
static OWN_NAMESPACE: LazyLock<Option<u64>> = LazyLock::new(|| {
    rustix::fs::stat("/proc/self/ns/mnt")
        .ok()
        .map(|stat| stat.st_ino)
});
