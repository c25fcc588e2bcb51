//! Events of mounts.

use atalaya_model_derive::Fields;

use crate::record::EventBody;

/// A file system was mounted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct MountEvent {
    /// Where it was mounted.
    #[field(name = "mountpoint.path", text = Path, validator = Path)]
    pub mountpoint: String,
    /// The directory of the file system that is the root of the mount.
    #[field(name = "root.path", text = Path, validator = Path)]
    pub root: String,
    /// For a bind mount: the directory or file that was mounted at another place.
    #[field(name = "source.path", text = Path, validator = Path)]
    pub source: String,
    /// The type of the file system (`ext4`).
    #[field]
    pub fs_type: String,
    /// Whether the mount is attached to no mount namespace.
    #[field]
    pub detached: bool,
    /// Whether the mount can be seen in the tree of its mount namespace.
    #[field]
    pub visible: bool,
    /// What the call returned: 0, or a negative error.
    #[field(constants = "Error constants")]
    pub retval: i64,
    /// The source argument as the caller gave it.
    #[field(name = "syscall.source.path", weight = 900)]
    pub syscall_source: String,
    /// The target argument as the caller gave it.
    #[field(name = "syscall.mountpoint.path", weight = 900)]
    pub syscall_mountpoint: String,
    /// The file system type argument as the caller gave it.
    #[field(name = "syscall.fs_type", weight = 900)]
    pub syscall_fs_type: String,
}

impl EventBody for MountEvent {}
