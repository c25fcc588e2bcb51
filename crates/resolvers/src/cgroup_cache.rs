//! Cgroups that processes are in, each kept once.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use atalaya_model::{Cgroup, Container};
use rustc_hash::FxHashMap;
use rustix::fs::StatxFlags;

use crate::cgroup;

/// A process's cgroup, and its container if it is in one.
#[derive(Debug, Clone, Default)]
pub struct Membership {
    /// The cgroup.
    pub cgroup: Arc<Cgroup>,
    /// The container.
    pub container: Option<Arc<Container>>,
}

/// The cgroups seen, by number and path. On a host with v1 hierarchies processes of many containers are in one cgroup
/// of the default hierarchy and differ only by the path in another, so the number alone is no key.
#[derive(Debug)]
pub struct CgroupCache {
    by_id: FxHashMap<u64, FxHashMap<Box<str>, Membership>>,
    containers: FxHashMap<String, Arc<Container>>,
    len: usize,
    max: usize,
    version: u32,
    mount_id: u32,
    evicted: u64,
}

impl CgroupCache {
    /// A cache of at most `max` cgroups.
    pub fn new(max: usize) -> Self {
        Self {
            by_id: FxHashMap::default(),
            containers: FxHashMap::default(),
            len: 0,
            max: max.max(1),
            version: host_version(),
            mount_id: unified_mount().map_or(0, |path| mount_id(&path)),
            evicted: 0,
        }
    }

    /// The cgroup with this number and path. `now` (ns since the epoch) is when it was first seen, if it was not yet.
    pub fn get(&mut self, id: u64, path: &str, now: u64) -> Membership {
        if let Some(found) = self.by_id.get(&id).and_then(|paths| paths.get(path)) {
            return found.clone();
        }
        if self.len >= self.max {
            self.shrink();
        }
        let placement = cgroup::parse(path);
        let container = (!placement.container_id.is_empty()).then(|| {
            let container = self
                .containers
                .entry(placement.container_id.to_owned())
                .or_insert_with_key(|id| {
                    Arc::new(Container {
                        id: id.clone(),
                        created_at: now,
                        ..Container::default()
                    })
                });
            Arc::clone(container)
        });
        let membership = Membership {
            cgroup: Arc::new(Cgroup {
                path: path.to_owned(),
                version: self.version,
                inode: id,
                created_at: now,
                manager: placement.manager.name().to_owned(),
                mount_id: self.mount_id,
            }),
            container,
        };
        self.by_id
            .entry(id)
            .or_default()
            .insert(path.into(), membership.clone());
        self.len += 1;
        membership
    }

    /// The cgroup with this number, if there is exactly one known.
    pub fn by_id(&self, id: u64) -> Option<Membership> {
        let paths = self.by_id.get(&id)?;
        match paths.len() {
            1 => paths.values().next().cloned(),
            _ => None,
        }
    }

    /// The path of the cgroup with this number, for reports.
    pub fn path_of(&self, id: u64) -> Option<&str> {
        let paths = self.by_id.get(&id)?;
        paths.keys().next().map(|path| &**path)
    }

    /// Cgroups known, and forgotten for want of room while they were in use.
    pub fn stats(&self) -> (usize, u64) {
        (self.len, self.evicted)
    }

    /// Forgets what no process is in any more; everything, where that is not enough (what is in use lives on with the
    /// processes and is found anew).
    fn shrink(&mut self) {
        for paths in self.by_id.values_mut() {
            paths.retain(|_, found| Arc::strong_count(&found.cgroup) > 1);
        }
        self.by_id.retain(|_, paths| !paths.is_empty());
        self.len = self.by_id.values().map(FxHashMap::len).sum();
        if self.len > self.max / 2 {
            self.evicted += self.len as u64;
            self.by_id.clear();
            self.len = 0;
        }
        self.containers
            .retain(|_, container| Arc::strong_count(container) > 1);
    }
}

/// Finds the numbers of cgroups by their paths in the default hierarchy.
#[derive(Debug, Clone, Default)]
pub struct CgroupFs {
    mount: Option<PathBuf>,
}

impl CgroupFs {
    /// Looks for the mount of the default hierarchy.
    pub fn find() -> Self {
        Self {
            mount: unified_mount(),
        }
    }

    /// The number of the cgroup; 0 when it cannot be found.
    pub fn id_of(&self, path: &str) -> u64 {
        let Some(mount) = &self.mount else { return 0 };
        // A path with `..` is outside of our cgroup namespace.
        if path.is_empty() || path.split('/').any(|element| element == "..") {
            return 0;
        }
        std::fs::metadata(mount.join(path.trim_start_matches('/'))).map_or(0, |found| found.ino())
    }
}

/// Where the default hierarchy is mounted.
fn unified_mount() -> Option<PathBuf> {
    atalaya_host::paths::cgroup_mounts()
        .into_iter()
        .flat_map(|mount| [mount.join("unified"), mount])
        .find(|path| path.join("cgroup.procs").exists() && is_v2(path))
}

/// The id of the mount that a path is in; 0 where the kernel does not tell (before 5.8).
fn mount_id(path: &Path) -> u32 {
    let (cwd, flags) = (rustix::fs::CWD, rustix::fs::AtFlags::empty());
    rustix::fs::statx(cwd, path, flags, StatxFlags::MNT_ID)
        .ok()
        .filter(|found| found.stx_mask & StatxFlags::MNT_ID.bits() != 0)
        .and_then(|found| u32::try_from(found.stx_mnt_id).ok())
        .unwrap_or(0)
}

/// `CGROUP2_SUPER_MAGIC`.
const CGROUP2_MAGIC: u64 = 0x6367_7270;

fn is_v2(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| found.f_type as u64 == CGROUP2_MAGIC)
}

/// 2 where only the default hierarchy is in use.
fn host_version() -> u32 {
    let mounts = atalaya_host::paths::cgroup_mounts();
    if mounts.first().is_some_and(|path| is_v2(path)) {
        2
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn one_cgroup_is_kept_once() {
        let mut cache = CgroupCache::new(10);
        let first = cache.get(5, "/a.service", 100);
        let again = cache.get(5, "/a.service", 200);
        assert!(Arc::ptr_eq(&first.cgroup, &again.cgroup));
        assert_eq!(first.cgroup.created_at, 100);
        assert_eq!(first.cgroup.manager, "systemd");
        assert!(Arc::ptr_eq(&cache.by_id(5).unwrap().cgroup, &first.cgroup));
        cache.get(5, "/b", 300);
        assert!(cache.by_id(5).is_none(), "the number says too little");
        assert!(cache.path_of(5).is_some() && cache.path_of(6).is_none());
    }

    #[test]
    fn cgroups_of_one_container_share_it() {
        let mut cache = CgroupCache::new(10);
        let id = "a".repeat(64);
        let outer = cache.get(1, &format!("/docker/{id}"), 7);
        let inner = cache.get(2, &format!("/docker/{id}/sub"), 9);
        assert!(Arc::ptr_eq(
            outer.container.as_ref().unwrap(),
            inner.container.as_ref().unwrap()
        ));
        assert_eq!(inner.container.unwrap().created_at, 7);
    }

    #[test]
    fn bounded() {
        let mut cache = CgroupCache::new(8);
        let mut held = Vec::new();
        for id in 0..100 {
            let membership = cache.get(id, &format!("/docker/{id:064x}"), 0);
            if id % 2 == 0 {
                held.push(membership);
            }
            assert!(cache.stats().0 <= 8);
            assert!(cache.containers.len() <= 100);
        }
        assert!(cache.stats().1 > 0);
        drop(held);
        cache.shrink();
        assert_eq!(cache.containers.len(), 0);
    }

    #[test]
    fn numbers_of_this_host() {
        let fs = CgroupFs::find();
        if fs.mount.is_some() {
            assert_ne!(fs.id_of("/"), 0);
            assert_ne!(CgroupCache::new(1).get(1, "/", 0).cgroup.mount_id, 0);
        }
        assert_eq!(fs.id_of("/../x"), 0);
        assert_eq!(fs.id_of("/no/such/cgroup"), 0);
    }
}
