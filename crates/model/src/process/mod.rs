//! A process: what rules call `process.*`, `exec.*`, `exit.*`, and its ancestors.
//!
//! A [`Process`] is one node of the process tree: a process from its fork to its exec, or from one exec to the next. It
//! is immutable once shared; when something changes (credentials, comm, the thread that acts) the owner of the tree makes
//! a changed copy. Copies are cheap: what is large ([`Image`], [`Cgroup`]) is shared.

pub(crate) mod args;
mod creds;
mod image;
mod lineage;
mod session;
mod target;

use std::sync::Arc;

use atalaya_model_derive::Fields;

use crate::capture::Namespaces;
use crate::fields::Cx;

pub use creds::Creds;
pub(crate) use creds::{group as group_name, user as user_name};
pub use image::Image;
pub(crate) use image::Words;
pub use lineage::{Ancestors, Lineage, MAX_LINEAGE};
pub use session::{SessionKind, SshAuth, UserSession};
pub use target::Target;

/// One node of the process tree. All times are nanoseconds since the Unix epoch, 0 when unknown.
#[derive(Debug, Clone, Default, Fields)]
pub struct Process {
    /// The id of the process (its thread group) in the initial pid namespace.
    #[field(validator = NonNegative)]
    pub pid: u32,
    /// The id of the thread that acts.
    #[field(validator = NonNegative)]
    pub tid: u32,
    /// The id of the process's parent.
    #[field(validator = NonNegative)]
    pub ppid: u32,
    /// The id of the process's session.
    #[field]
    pub sid: u32,
    /// The id in the process's own pid namespace, 0 when unknown.
    pub ns_pid: u32,
    /// The name of the thread that acts, as in `/proc/PID/comm`.
    #[field]
    pub comm: Arc<str>,
    /// The name of the controlling terminal (`pts0`), or empty.
    #[field(name = "tty_name")]
    pub tty: Arc<str>,
    /// Whether the process has run nothing of its own since it was forked.
    #[field]
    pub is_thread: bool,
    /// Whether this entry of the process tree began with an exec.
    #[field]
    pub is_exec: bool,
    /// Whether this is a kernel thread.
    #[field]
    pub is_kworker: bool,
    /// Found in the snapshot at start, not seen to start.
    pub from_snapshot: bool,
    /// When the process was forked.
    #[computed(name = "created_at", ty = i64, get = Process::created_at, doc = "When the process began to run its present program; when it was forked, if it runs its parent's (ns since the epoch).")]
    pub fork_time: u64,
    /// When its present image was executed; 0 for one that only forked.
    pub exec_time: u64,
    /// When it ended; 0 while it lives.
    pub exit_time: u64,
    /// The credentials at the time of the event.
    #[nested]
    pub creds: Creds,
    /// The namespaces.
    #[computed(name = "mntns", ty = i64, get = Process::mntns, doc = "The inode number of the process's mount namespace.")]
    #[computed(name = "netns", ty = i64, get = Process::netns, doc = "The inode number of the process's network namespace.")]
    pub namespaces: Namespaces,
    /// The program it runs, shared with the parent until it executes one of its own.
    #[nested]
    pub image: Arc<Image>,
    /// The cgroup.
    #[nested(prefix = "cgroup")]
    pub cgroup: Arc<Cgroup>,
    /// The container, if it is in one.
    #[nested(prefix = "container")]
    pub container: Option<Arc<Container>>,
    /// The session of the user that started it.
    #[nested(prefix = "user_session")]
    pub user_session: Option<Arc<UserSession>>,
    /// The node before this one. As in the reference: for an exec, the node that the process was before; for a fork,
    /// the forking process's node. Set it with [`Process::set_parent`].
    pub parent: Lineage,
}

/// The cgroup of a process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct Cgroup {
    /// The path of the cgroup below the root of its hierarchy.
    #[field(name = "id")]
    pub path: String,
    /// The version of the cgroup interface: 1 or 2.
    #[field]
    pub version: u32,
    /// The cgroup's number in the kernel, which is the inode number of its directory; 0 when unknown.
    #[field(name = "file.inode")]
    pub inode: u64,
    /// When the cgroup was made or, where that cannot be known, first seen (ns since the epoch).
    #[field]
    pub created_at: u64,
    /// The id of the mount that the cgroup's directory was reached by.
    #[field(name = "file.mount_id")]
    pub mount_id: u32,
    /// What manages it, for the output: `systemd`, `docker`, `containerd`, `cri-o`, `podman`, or empty.
    pub manager: String,
}

/// The container of a process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct Container {
    /// The container's id, as its runtime gave it.
    #[field]
    pub id: String,
    /// When the container was started or, where that cannot be known, first seen (ns since the epoch).
    #[field]
    pub created_at: u64,
    /// The container's tags, as `key:value`.
    #[field(weight = 9999, unavailable = "container tags are not collected yet")]
    pub tags: Vec<String>,
}

impl Process {
    /// The id of its container, or empty.
    #[must_use]
    pub fn container_id(&self) -> &str {
        self.container
            .as_deref()
            .map_or("", |container| &container.id)
    }

    /// The ancestors, nearest first.
    #[must_use]
    pub fn ancestors(&self) -> Ancestors<'_> {
        Ancestors::new(self)
    }

    /// The ancestors, nearest first, as they are shared.
    pub(crate) fn shared_ancestors(&self) -> Box<[Arc<Self>]> {
        let mut walk = self.ancestors();
        std::iter::from_fn(|| walk.next_shared().cloned()).collect()
    }

    /// The service the process says it belongs to: `DD_SERVICE` of its environment, or of the nearest ancestor in the
    /// same container that has one.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        std::iter::once(self)
            .chain(self.ancestors())
            .take_while(|process| process.container_id() == self.container_id())
            .find_map(|process| process.image.env("DD_SERVICE"))
    }

    fn created_at(&self, _: Cx<'_>) -> i64 {
        let time = match self.exec_time {
            0 => self.fork_time,
            time => time,
        };
        i64::try_from(time).unwrap_or(i64::MAX)
    }

    fn mntns(&self, _: Cx<'_>) -> i64 {
        i64::from(self.namespaces.mnt)
    }

    fn netns(&self, _: Cx<'_>) -> i64 {
        i64::from(self.namespaces.net)
    }
}
