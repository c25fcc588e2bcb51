//! A file, as rules see it.

use std::sync::{Arc, OnceLock};

use atalaya_model_derive::Fields;

use crate::capture::{FileFields, PathOrigin};
use crate::fields::Cx;

/// A file. Where it is unknown (`known` is false) only the path can be relied on.
#[derive(Debug, Clone, PartialEq, Default, Fields)]
pub struct File {
    /// The file's absolute path, from the root of the mount namespace of the process that used it.
    #[field(text = Path, validator = Path)]
    #[computed(name = "path.length", ty = i64, get = File::path_length, doc = "The length of the path in bytes.")]
    #[computed(name = "name", ty = String, get = File::name_field, doc = "The last element of the file's path.")]
    #[computed(name = "name.length", ty = i64, get = File::name_length, doc = "The length of the name in bytes.")]
    #[computed(name = "extension", ty = String, get = File::extension_field, text = Extension, doc = "The end of the name from its last dot on, dot included.")]
    pub path: String,
    /// The name of a file that is under no directory (`memfd:x`): it has no path.
    pub rootless_name: String,
    /// What to believe of the path.
    pub origin: PathOrigin,
    /// The front of the path is missing.
    pub truncated: bool,
    /// The file had no name any more.
    pub deleted: bool,
    /// The inode was seen; the fields below are valid.
    pub known: bool,
    /// The file's inode number.
    #[field]
    pub inode: u64,
    /// The device number, as in `stat(2)`.
    pub dev: u64,
    /// The id of the mount that the file was reached by.
    #[field]
    pub mount_id: u32,
    /// Whether that mount is attached to no mount namespace (an `O_PATH` tree, a lazily unmounted one).
    #[field(name = "mount_detached")]
    #[computed(name = "mount_visible", ty = bool, get = File::mount_visible, doc = "Whether the file's mount can be seen in the tree of its mount namespace.")]
    pub detached: bool,
    /// The file's type and permission bits.
    #[field(constants = "Inode mode constants")]
    #[computed(name = "rights", ty = i64, get = File::rights, constants = "File mode constants", doc = "The file's permission bits, with set-user-id, set-group-id and sticky.")]
    pub mode: u16,
    /// The id of the file's owner.
    #[field]
    #[computed(name = "user", ty = String, get = File::user, weight = 50, doc = "The name of the file's owner.")]
    pub uid: u32,
    /// The id of the file's group.
    #[field]
    #[computed(name = "group", ty = String, get = File::group, weight = 50, doc = "The name of the file's group.")]
    pub gid: u32,
    /// The number of names.
    pub nlink: u32,
    /// When the file's content last changed (ns since the epoch).
    #[field]
    pub modification_time: u64,
    /// When the file's inode last changed (ns since the epoch).
    #[field]
    pub change_time: u64,
    /// The type of the file's file system (`ext4`).
    #[field]
    pub filesystem: String,
    /// The digests of the content, as `algorithm:hex`; set by who computes them, else asked of the
    /// [`Lookup`](crate::Lookup) when they are first read.
    #[computed(name = "hashes", ty = Vec<String>, get = File::hashes, weight = 999, doc = "The digests of the file's content, as `sha256:…`.")]
    pub hashes: OnceLock<Vec<String>>,
    /// Whether the file lies in the layer of an overlay that is written to, not in one it was mounted over.
    #[field(unavailable = "overlay layers are not told apart yet")]
    pub in_upper_layer: bool,
    /// The package that the file came with.
    #[nested(
        prefix = "package",
        unavailable = "files are not looked up in packages yet"
    )]
    pub package: Option<Arc<Package>>,
}

/// The package that a file came with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Fields)]
pub struct Package {
    /// The name of the package that the file came with.
    #[field(weight = 999)]
    pub name: String,
    /// The package's whole version.
    #[field(weight = 999)]
    pub version: String,
    /// The package's release: what counts how often one version was packed.
    #[field(weight = 999)]
    pub release: String,
    /// The package's epoch: what goes before versions when they are compared.
    #[field(weight = 999)]
    pub epoch: u32,
    /// The whole version of the source package that the package was built from.
    #[field(weight = 999)]
    pub source_version: String,
    /// The release of that source package.
    #[field(weight = 999)]
    pub source_release: String,
    /// The epoch of that source package.
    #[field(weight = 999)]
    pub source_epoch: u32,
}

impl From<FileFields> for File {
    fn from(file: FileFields) -> Self {
        // Only a file under no directory has a path that is not absolute.
        let rootless = file.known && !file.path.starts_with('/');
        let (path, rootless_name) = if rootless {
            (String::new(), file.path)
        } else {
            (file.path, String::new())
        };
        Self {
            path,
            rootless_name,
            origin: file.origin,
            truncated: file.truncated,
            deleted: file.deleted,
            known: file.known,
            inode: file.inode,
            dev: file.dev,
            mount_id: file.mount_id,
            detached: file.detached,
            mode: file.mode,
            uid: file.uid,
            gid: file.gid,
            nlink: file.nlink,
            modification_time: file.mtime_ns,
            change_time: file.ctime_ns,
            filesystem: file.filesystem,
            ..Self::default()
        }
    }
}

impl File {
    /// The last element of the path; `/` for the root, `memfd:x` for a memfd.
    #[must_use]
    pub fn name(&self) -> &str {
        if self.rootless_name.is_empty() {
            basename(&self.path)
        } else {
            &self.rootless_name
        }
    }

    /// The end of the name from its last dot on, dot included; empty without a dot.
    #[must_use]
    pub fn extension(&self) -> &str {
        let name = self.name();
        name.rfind('.').map_or("", |dot| &name[dot..])
    }

    /// Why the path may be other than what the kernel used; `None` when it is certain.
    #[must_use]
    pub fn path_error(&self) -> Option<&'static str> {
        if self.truncated {
            Some("truncated: the path is deeper or longer than what is captured")
        } else if !self.rootless_name.is_empty() {
            None
        } else if self.path.is_empty() {
            Some("unknown: the path was not captured")
        } else {
            match self.origin {
                PathOrigin::Kernel => None,
                PathOrigin::KernelCopy => Some(
                    "not resolved: the kernel's copy of the argument, symbolic links not followed",
                ),
                PathOrigin::UserMemory => Some(
                    "from caller's memory: another thread may have changed it, symbolic links not followed",
                ),
            }
        }
    }

    /// The digests, where somebody computed them already.
    #[must_use]
    pub fn known_hashes(&self) -> &[String] {
        self.hashes.get().map_or(&[], Vec::as_slice)
    }

    fn hashes<'a>(&'a self, cx: Cx<'a>) -> &'a [String] {
        if self.hashes.get().is_none()
            && let Some(hashes) = cx.context.lookup.hashes(self, cx.process)
        {
            // Whoever was first is right as well.
            let _ = self.hashes.set(hashes);
        }
        self.known_hashes()
    }

    fn path_length(&self, _: Cx<'_>) -> i64 {
        length(&self.path)
    }

    fn name_field<'a>(&'a self, _: Cx<'a>) -> &'a str {
        self.name()
    }

    fn name_length(&self, _: Cx<'_>) -> i64 {
        length(self.name())
    }

    fn extension_field<'a>(&'a self, _: Cx<'a>) -> &'a str {
        self.extension()
    }

    fn mount_visible(&self, _: Cx<'_>) -> bool {
        !self.detached
    }

    fn rights(&self, _: Cx<'_>) -> i64 {
        i64::from(self.mode & 0o7777)
    }

    fn user(&self, cx: Cx<'_>) -> Arc<str> {
        self.if_known(|| cx.context.lookup.user(self.uid, cx.process))
    }

    fn group(&self, cx: Cx<'_>) -> Arc<str> {
        self.if_known(|| cx.context.lookup.group(self.gid, cx.process))
    }

    fn if_known(&self, name: impl FnOnce() -> Option<Arc<str>>) -> Arc<str> {
        self.known.then(name).flatten().unwrap_or_default()
    }
}

/// The last element of a path.
pub(crate) fn basename(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", "")) => "/",
        Some((_, name)) => name,
        None => path,
    }
}

pub(crate) fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX)
}
