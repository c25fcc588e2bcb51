//! Events of mounts.

use atalaya_model_derive::Fields;
use serde_json::json;

use crate::event_body;
use crate::file::File;
use crate::json::Details;
use crate::record::{EventBody, EventRecord};

/// A file system was mounted.
#[derive(Debug, Clone, PartialEq, Default, Fields)]
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
    /// The mount's number.
    pub mount_id: u32,
    /// The number of the mount that it is mounted on; its own, where it is detached.
    pub parent_mount_id: u32,
    /// For a bind mount: the number of the mount that its source is in.
    pub source_mount_id: u32,
    /// The device of the file system, as in `stat(2)`.
    pub device: u64,
    /// The root of the mount.
    pub root_file: File,
}

event_body! {
    struct MountBody as "mount_body" {
        mount_id: u32,
        parent_mount_id: u32,
        source_mount_id: u32,
        by_argument: u32,
        fs_type: [u8; 32],
    }
}

impl EventBody for MountEvent {
    fn read(record: &mut EventRecord<'_>) -> Option<Self> {
        let body: MountBody = record.body()?;
        let file = record.take_file(0).unwrap_or_default();
        let source = record.take_file(1).unwrap_or_default();
        let end = body.fs_type.iter().position(|byte| *byte == 0);
        let end = end.unwrap_or(body.fs_type.len());
        let syscall_fs_type = String::from_utf8_lossy(&body.fs_type[..end]).into_owned();
        let syscall_mountpoint = record.text(1).to_owned();
        let made = file.known;
        let mountpoint = if body.by_argument != 0 {
            place(&file.path, &syscall_mountpoint)
        } else if file.detached {
            String::new()
        } else {
            file.path.clone()
        };
        let fs_type = if made {
            file.filesystem.clone()
        } else {
            syscall_fs_type.clone()
        };
        Some(Self {
            mountpoint,
            root: if made {
                root(record.bytes)
            } else {
                String::new()
            },
            source: source.path,
            fs_type,
            detached: made && file.detached,
            visible: made && !file.detached,
            retval: record.retval,
            syscall_source: record.text(0).to_owned(),
            syscall_mountpoint,
            syscall_fs_type,
            mount_id: body.mount_id,
            parent_mount_id: body.parent_mount_id,
            source_mount_id: body.source_mount_id,
            device: file.dev,
            root_file: File::from(file),
        })
    }

    fn retval(&self) -> Option<i64> {
        Some(self.retval)
    }

    fn tell<'a>(&'a self, details: &mut Details<'a>) {
        let file = |path: &str| json!({ "path": path, "uid": self.root_file.uid, "gid": self.root_file.gid });
        let mount = json!({
            "mp": file(&self.mountpoint),
            "root": file(&self.root),
            "mount_id": self.mount_id,
            "parent_mount_id": self.parent_mount_id,
            "bind_src_mount_id": self.source_mount_id,
            "device": self.device,
            "fs_type": self.fs_type,
            "mountpoint.path": self.mountpoint,
            "source.path": self.source,
            "detached": self.detached,
            "visible": self.visible,
        });
        details.section("mount", mount);
        details.syscall(json!({
            "path": self.syscall_source,
            "destination_path": self.syscall_mountpoint,
            "fs_type": self.syscall_fs_type,
        }));
    }
}

/// A directory of a file system, from the elements of its path, innermost first, each ended by NUL.
fn root(elements: &[u8]) -> String {
    let elements = elements.strip_suffix(&[0]).unwrap_or(elements);
    let mut path = String::new();
    for element in elements.rsplit(|byte| *byte == 0) {
        path.push('/');
        path.push_str(&String::from_utf8_lossy(element));
    }
    path
}

/// Where a text leads from a directory, as far as it tells: links are not followed.
fn place(base: &str, text: &str) -> String {
    let mut elements: Vec<&str> = base
        .split('/')
        .filter(|element| !element.is_empty())
        .collect();
    let floor = if text.starts_with('/') {
        elements.len()
    } else {
        0
    };
    for element in text.split('/') {
        match element {
            "" | "." => {}
            ".." => elements.truncate(floor.max(elements.len().saturating_sub(1))),
            element => elements.push(element),
        }
    }
    format!("/{}", elements.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_a_mount_is_a_path_within_its_file_system() {
        assert_eq!(root(b""), "/");
        assert_eq!(root(b"b\0a\0"), "/a/b");
    }

    #[test]
    fn a_place_by_its_words() {
        assert_eq!(place("/home/me", "../you/./x"), "/home/you/x");
        assert_eq!(place("/jail", "/../mnt"), "/jail/mnt");
        assert_eq!(place("/", "/"), "/");
    }
}
