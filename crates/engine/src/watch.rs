//! Watches the directory of the policies.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use crate::engine::Shared;

/// How often it looks.
const TICK: Duration = Duration::from_secs(1);
/// Changes that never end are not waited for any longer than so many times the usual.
const MOST: u32 = 12;

/// Begins to watch the directory of the policies. Before they are read: a change while they are must not be missed.
pub(crate) fn begin(dir: &Path) -> Option<Watch> {
    Watch::new(dir)
        .inspect_err(|error| {
            tracing::warn!(
                %error,
                dir = %dir.display(),
                "cannot watch the policies: changes count after SIGHUP or `runtime policy reload` only"
            );
        })
        .ok()
}

/// Reads the policies again when their directory has changed and then kept still for `quiet`. Until the engine stops.
pub(crate) fn watch(shared: &Shared, quiet: Duration) {
    while let Err(RecvTimeoutError::Timeout) = shared.stop.recv_timeout(TICK.min(quiet)) {
        let is_due = shared
            .watch()
            .as_mut()
            .is_some_and(|watch| watch.is_due(quiet));
        if !is_due {
            continue;
        }
        let dir = &shared.live.load().policies_dir;
        tracing::info!(dir = %dir.display(), "the policies have changed");
        if let Err(error) = shared.reload() {
            tracing::error!("cannot read the policies again: {error}; the former rules stay");
        }
    }
}

/// An inotify watch of a directory.
pub(crate) struct Watch {
    dir: PathBuf,
    fd: OwnedFd,
    /// Whether the directory is watched; not while it is gone.
    is_set: bool,
    /// The first change that was not yet reacted to, and the last.
    changes: Option<(Instant, Instant)>,
}

impl Watch {
    fn new(dir: &Path) -> rustix::io::Result<Self> {
        let mut watch = Self {
            dir: dir.to_owned(),
            fd: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            is_set: false,
            changes: None,
        };
        match watch.set() {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(watch),
            Err(error) => Err(error),
        }
    }

    fn set(&mut self) -> rustix::io::Result<()> {
        let flags = WatchFlags::CREATE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::ATTRIB
            | WatchFlags::MOVE
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        inotify::add_watch(&self.fd, &self.dir, flags)?;
        self.is_set = true;
        Ok(())
    }

    /// Whether there were changes and they are over.
    fn is_due(&mut self, quiet: Duration) -> bool {
        let now = Instant::now();
        if self.has_changed() {
            self.changes = Some((self.changes.map_or(now, |(first, _)| first), now));
        }
        self.changes.is_some_and(|(first, last)| {
            now.duration_since(last) >= quiet || now.duration_since(first) >= quiet * MOST
        })
    }

    /// The policies are about to be read: what has changed until now is seen then.
    pub(crate) fn forget(&mut self) {
        self.has_changed();
        self.changes = None;
    }

    /// Whether a policy has changed since the last call. Does not wait.
    fn has_changed(&mut self) -> bool {
        let mut has_changed = false;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(&self.fd, &mut buffer);
        let mut is_gone = false;
        while let Ok(event) = events.next() {
            let own = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::IGNORED;
            is_gone |= event.events().intersects(own);
            has_changed |= match event.file_name() {
                Some(name) => is_policy(&name.to_string_lossy()),
                // The directory itself; or too much has happened.
                None => !event.events().contains(ReadFlags::ATTRIB),
            };
        }
        self.is_set &= !is_gone;
        if !self.is_set && self.set().is_ok() {
            has_changed = true;
        }
        has_changed
    }
}

/// Policies, and what Kubernetes exchanges when a ConfigMap changes. Not the temporary files of editors.
fn is_policy(name: &str) -> bool {
    name.ends_with(".policy") && !name.starts_with('.') || name == "..data"
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use std::fs;

    #[test]
    fn what_counts_as_a_change() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("policies");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("a.policy"), "").unwrap();
        let mut watch = Watch::new(&dir).unwrap();
        assert!(!watch.has_changed());
        fs::write(dir.join("a.policy"), "x").unwrap();
        assert!(watch.has_changed());
        assert!(!watch.has_changed(), "told once");
        fs::write(dir.join("notes.txt"), "x").unwrap();
        fs::write(dir.join(".a.policy.swp"), "x").unwrap();
        assert!(!watch.has_changed());
        // As editors save, and as Kubernetes does.
        fs::write(dir.join("new"), "x").unwrap();
        assert!(!watch.has_changed());
        fs::rename(dir.join("new"), dir.join("a.policy")).unwrap();
        assert!(watch.has_changed());
        fs::create_dir(dir.join("..data")).unwrap();
        assert!(watch.has_changed());
        fs::remove_file(dir.join("a.policy")).unwrap();
        assert!(watch.has_changed());
    }

    #[test]
    fn a_directory_that_goes_and_comes() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("policies");
        let mut watch = Watch::new(&dir).unwrap();
        assert!(!watch.has_changed());
        fs::create_dir(&dir).unwrap();
        assert!(watch.has_changed());
        assert!(!watch.has_changed());
        fs::write(dir.join("a.policy"), "").unwrap();
        assert!(watch.has_changed());
        fs::rename(&dir, parent.path().join("away")).unwrap();
        assert!(watch.has_changed());
        assert!(!watch.has_changed());
        fs::create_dir(&dir).unwrap();
        assert!(watch.has_changed());
        fs::write(dir.join("b.policy"), "").unwrap();
        assert!(watch.has_changed());
    }
}
