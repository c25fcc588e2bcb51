//! Changes of files: what has changed is told by their attributes, who changed them by fanotify.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};

/// So many who changed something are remembered until it is known what.
const REMEMBERED: usize = 32;

/// Hears of changes in directories, and who made them. To be opened while `CAP_SYS_ADMIN` is there; nothing is needed afterwards.
#[derive(Debug)]
pub struct FileWatcher {
    group: Fanotify,
    marked: BTreeSet<PathBuf>,
}

impl FileWatcher {
    /// Watches the directories of these files, and these directories. Those that do not exist are left out.
    ///
    /// # Errors
    /// The kernel refuses: no `CAP_SYS_ADMIN`, or it has no fanotify with reports of file handles (before 5.1).
    pub fn open(files: &[PathBuf]) -> std::io::Result<Self> {
        // Without handles the kernel tells of no changes of directories and attributes. They are not looked at.
        let report = InitFlags::from_bits_retain(libc::FAN_REPORT_FID);
        let group = Fanotify::init(
            InitFlags::FAN_CLASS_NOTIF | InitFlags::FAN_CLOEXEC | InitFlags::FAN_NONBLOCK | report,
            EventFFlags::O_RDONLY,
        )?;
        let mut watcher = Self {
            group,
            marked: BTreeSet::new(),
        };
        for file in files {
            let dir = if file.is_dir() {
                Some(file.as_path())
            } else {
                file.parent()
            };
            if let Some(dir) = dir {
                watcher.mark(dir);
            }
        }
        Ok(watcher)
    }

    /// Whether the directory is watched from now on.
    fn mark(&mut self, dir: &Path) -> bool {
        if self.marked.contains(dir) {
            return true;
        }
        let mask = MaskFlags::FAN_MODIFY
            | MaskFlags::FAN_ATTRIB
            | MaskFlags::FAN_CREATE
            | MaskFlags::FAN_DELETE
            | MaskFlags::FAN_MOVED_FROM
            | MaskFlags::FAN_MOVED_TO
            | MaskFlags::FAN_EVENT_ON_CHILD;
        let marked = self.group.mark(
            MarkFlags::FAN_MARK_ADD,
            mask,
            nix::fcntl::AT_FDCWD,
            Some(dir),
        );
        if marked.is_ok() {
            self.marked.insert(dir.to_owned());
        }
        marked.is_ok()
    }

    /// How many directories are watched.
    pub(super) fn len(&self) -> usize {
        self.marked.len()
    }

    /// Who has changed something since the last call, newest last.
    pub(super) fn changers(&self) -> VecDeque<u32> {
        let mut pids = VecDeque::new();
        // Bounded: what comes while it is read waits for the next time.
        for _ in 0..64 {
            let Ok(events) = self.group.read_events() else {
                break;
            };
            for event in events {
                let Ok(pid) = u32::try_from(event.pid()) else {
                    continue;
                };
                if pid != 0 && pids.back() != Some(&pid) {
                    pids.push_back(pid);
                }
                if pids.len() > REMEMBERED {
                    pids.pop_front();
                }
            }
        }
        pids
    }
}

/// What tells a file from what it was: the change time is the kernel's, and no call sets it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    device: u64,
    inode: u64,
    mode: u32,
    owner: (u32, u32),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Signature {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// The files as they were at the last look.
#[derive(Debug, Default)]
pub(super) struct Files {
    known: BTreeMap<PathBuf, Option<Signature>>,
}

impl Files {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.known.values().flatten().count()
    }

    /// What has changed of these since the last look; nothing of those that are looked at for the first time.
    pub(super) fn look(
        &mut self,
        files: impl Iterator<Item = PathBuf>,
        policies: &Path,
    ) -> Vec<String> {
        let mut now: BTreeMap<PathBuf, Option<Signature>> = files
            .map(|file| (file.clone(), Signature::of(&file)))
            .collect();
        // A directory that cannot be read is looked at as if it had no files: each is told as removed.
        let entries = std::fs::read_dir(policies).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            if path
                .extension()
                .is_some_and(|extension| extension == "policy")
            {
                now.insert(path.clone(), Signature::of(&path));
            }
        }
        let is_first = self.known.is_empty();
        let mut changes = Vec::new();
        for (path, new) in &now {
            let name = path.display();
            let in_policies = path.parent() == Some(policies);
            match (self.known.get(path), new) {
                (Some(Some(_)), None) => changes.push(format!("{name} was removed")),
                (Some(None), Some(_)) => changes.push(format!("{name} was created")),
                (None, Some(_)) if in_policies && !is_first => {
                    changes.push(format!("{name} was created"))
                }
                (Some(Some(old)), Some(new)) if old != new => {
                    changes.push(difference(path, old, new))
                }
                _ => {}
            }
        }
        for (path, old) in &self.known {
            if old.is_some() && !now.contains_key(path) && path.parent() == Some(policies) {
                changes.push(format!("{} was removed", path.display()));
            }
        }
        self.known = now;
        changes
    }
}

fn difference(path: &Path, old: &Signature, new: &Signature) -> String {
    let name = path.display();
    if (old.device, old.inode) != (new.device, new.inode) {
        return format!("{name} was replaced by another file");
    }
    if (old.size, old.modified) != (new.size, new.modified) {
        return format!("{name} was written to");
    }
    if old.owner != new.owner {
        return format!(
            "the owner of {name} was changed to {}:{}",
            new.owner.0, new.owner.1
        );
    }
    if old.mode != new.mode {
        return format!("the mode of {name} was changed to {:o}", new.mode & 0o7777);
    }
    format!("{name} was touched: its attributes or links, or its times were set back")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn each_change_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let policies = dir.path().join("policies");
        fs::create_dir(&policies).unwrap();
        let config = dir.path().join("a.yaml");
        let absent = dir.path().join("absent");
        fs::write(&config, "a").unwrap();
        fs::write(policies.join("one.policy"), "x").unwrap();
        let mut files = Files::default();
        let mut look = || files.look([config.clone(), absent.clone()].into_iter(), &policies);
        assert_eq!(look(), [""; 0]);
        assert_eq!(look(), [""; 0]);
        fs::write(&config, "ab").unwrap();
        fs::write(policies.join("two.policy"), "x").unwrap();
        fs::write(policies.join("notes"), "x").unwrap();
        fs::write(&absent, "").unwrap();
        let told = look();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].ends_with("a.yaml was written to"), "{told:?}");
        assert_eq!(look(), [""; 0]);
        fs::remove_file(policies.join("one.policy")).unwrap();
        fs::set_permissions(&config, fs::Permissions::from_mode(0o666)).unwrap();
        let told = look();
        assert!(
            told[0].contains("mode") && told[0].ends_with("666"),
            "{told:?}"
        );
        assert!(told[1].ends_with("one.policy was removed"), "{told:?}");
        // As an attacker who hides a change: same size, times set back.
        fs::write(&config, "cd").unwrap();
        let past = std::time::SystemTime::UNIX_EPOCH;
        fs::File::options()
            .write(true)
            .open(&config)
            .unwrap()
            .set_modified(past)
            .unwrap();
        assert_eq!(look().len(), 1);
        fs::write(dir.path().join("new"), "cd").unwrap();
        fs::rename(dir.path().join("new"), &config).unwrap();
        assert!(look()[0].ends_with("replaced by another file"));
    }
}
