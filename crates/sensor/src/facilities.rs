//! What a kernel may lack for a kind of event, however good its hooks are.

use std::fs::File;
use std::path::{Path, PathBuf};

use atalaya_model::capture::CaptureKind;

/// Why there can be no events of this kind on this kernel; `None` where there can.
pub(crate) fn missing(kind: CaptureKind) -> Option<&'static str> {
    let exists = |path: &str| Path::new(path).exists();
    match kind {
        CaptureKind::LoadModule | CaptureKind::UnloadModule if !exists("/proc/modules") => {
            Some("this kernel is built without modules")
        }
        CaptureKind::Selinux if !selinux_is_active() => {
            Some("SELinux is not active on this kernel")
        }
        _ => None,
    }
}

/// By the kernel's list of security modules; where that is not mounted, by SELinux's own files. Its directory alone says nothing: it is
/// there wherever SELinux is compiled in.
fn selinux_is_active() -> bool {
    match std::fs::read_to_string("/sys/kernel/security/lsm") {
        Ok(modules) => modules.trim().split(',').any(|module| module == "selinux"),
        Err(_) => Path::new("/sys/fs/selinux/enforce").exists(),
    }
}

/// The root of the second version of cgroups, which every process is below.
pub(crate) fn cgroup_root() -> std::io::Result<File> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let found = root_of(&mounts).ok_or_else(|| {
        std::io::Error::other("no hierarchy of the second version of cgroups is mounted")
    })?;
    File::open(found)
}

/// A mount of the whole hierarchy before one of a part of it.
fn root_of(mounts: &str) -> Option<PathBuf> {
    let mut found = None;
    for line in mounts.lines() {
        let (mount, file_system) = line.split_once(" - ")?;
        if !file_system.starts_with("cgroup2 ") {
            continue;
        }
        let mut fields = mount.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        let at = PathBuf::from(at.replace("\\040", " "));
        if root == "/" {
            return Some(at);
        }
        found = found.or(Some(at));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_hierarchy_is_taken_before_a_part() {
        let part = "30 20 0:26 /a /jail/cg rw - cgroup2 cgroup2 rw\n";
        let whole = "31 20 0:26 / /sys/fs/cgroup\\040x rw shared:4 - cgroup2 none rw\n";
        let other = "32 20 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        let path = |text: &str| root_of(text).map(|path| path.display().to_string());
        assert_eq!(
            path(&[part, other, whole].concat()).as_deref(),
            Some("/sys/fs/cgroup x")
        );
        assert_eq!(path(&[other, part].concat()).as_deref(), Some("/jail/cg"));
        assert_eq!(path(other), None);
    }
}
