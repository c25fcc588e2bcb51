//! What a record of the kernel is joined with: the process tree, users and groups, cgroups and containers.
//!
//! - [`ProcessTree`]: who a pid is at a given time, and where it comes from. Fed by fork, exec and exit captures; filled
//!   at start by a [`Snapshot`] of `/proc`.
//! - [`TaskSource`]: the kernel's own list of processes, which the tree asks where it has lost its thread.
//! - [`UserTables`]: names of users and groups, on the host and in containers.
//! - [`cgroup`]: what a cgroup's path says; [`CgroupCache`] keeps each once.
//! - [`HashResolver`]: hashes of files.
//! - [`procfs`]: one process as `/proc` tells it.
//! - [`clock`]: boot time and wall-clock time.
//!
//! Everything is bounded in memory, and everything that reads what a process or container chose takes any bytes.
#![forbid(unsafe_code)]

pub mod cgroup;
mod cgroup_cache;
pub mod clock;
mod hash;
pub mod procfs;
mod script;
mod session;
mod snapshot;
mod strings;
mod tasks;
mod tree;
mod users;

pub use cgroup_cache::{CgroupCache, CgroupFs, Membership};
pub use hash::{FileHashes, HashAlgorithm, HashOptions, HashRequest, HashResolver, HashState};
pub use script::complete_script;
pub use snapshot::Snapshot;
pub use tasks::TaskSource;
pub use tree::{BreakReason, Broken, ProcessTree, Resolved, TreeOptions, TreeStats};
pub use users::{Names, Scope, UserTables};
