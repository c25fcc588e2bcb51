//! Network namespaces: what names one, how work is done inside one, and where one is found again.
//!
//! No handle is kept. An open `/proc/PID/ns/net`, and any socket made inside, would keep the namespace alive, with its interfaces, their
//! peers and its addresses, after the runtime has let go of it. A handle lives for one visit; what is remembered is the number that the
//! kernel gives the namespace as seen from ours (`nsid`, see [`crate::manager`]) and processes that were in it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};

use crate::Error;

/// So many processes of a namespace are remembered.
const PIDS: usize = 4;

/// A network namespace, kept alive as long as this lives: not longer than a visit takes.
#[derive(Debug)]
pub struct NetNs {
    file: File,
    inum: u32,
}

impl NetNs {
    /// The namespace that a file of nsfs stands for, as `/proc/PID/ns/net` and what is bind-mounted from there.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Namespace {
            what: path.display().to_string(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let status = file.metadata().map_err(failed)?;
        let kind = rustix::fs::fstatfs(&file)
            .map_err(|e| failed(e.into()))?
            .f_type;
        if u64::try_from(kind).ok() != Some(NSFS) {
            return Err(failed(io::Error::other("it is no namespace")));
        }
        // The inode numbers of nsfs are those of the kernel's `ns.inum`, of 32 bits.
        let inum = u32::try_from(status.ino()).unwrap_or(0);
        Ok(Self { file, inum })
    }

    /// The namespace of a process or thread.
    pub fn of_task(proc: &Path, id: u32) -> Result<Self, Error> {
        Self::open(&proc.join(format!("{id}/ns/net")))
    }

    /// That of the calling thread.
    pub fn own() -> Result<Self, Error> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// The kernel's number of it. Once a namespace is gone another one may get its number.
    pub fn inum(&self) -> u32 {
        self.inum
    }

    /// Does `work` inside, on a thread of its own that is thrown away: a thread that could not come back would do all that follows in
    /// the wrong place.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        in_namespace(self.as_fd(), work)
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// `NSFS_MAGIC`
const NSFS: u64 = 0x6e73_6673;

/// Does `work` in the namespace of this handle, on a thread of its own that is thrown away. Needs CAP_SYS_ADMIN.
pub fn in_namespace<T: Send>(
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> T + Send,
) -> Result<T, Error> {
    let failed = |source| Error::Namespace {
        what: "entering it".into(),
        source,
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".into());
        let entered = move || -> io::Result<T> {
            setns(namespace, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        };
        let handle = thread.spawn_scoped(scope, entered).map_err(failed)?;
        match handle.join() {
            Ok(result) => result.map_err(failed),
            Err(_) => Err(failed(io::Error::other("the work inside it failed"))),
        }
    })
}

/// Where the namespaces of a host are found.
#[derive(Debug, Clone)]
pub struct Places {
    /// The proc file system of the host.
    pub proc: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            proc: atalaya_host::paths::host().proc.clone(),
        }
    }
}

impl Places {
    /// Every namespace that a process is in, with a few of its processes.
    pub fn processes(&self) -> BTreeMap<u32, Vec<u32>> {
        let mut found: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let Ok(entries) = std::fs::read_dir(&self.proc) else {
            return found;
        };
        for entry in entries.flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            if let Some(inum) = self.namespace_of(pid) {
                let pids = found.entry(inum).or_default();
                if pids.len() < PIDS {
                    pids.push(pid);
                }
            }
        }
        found
    }

    /// The number of the namespace that a process or thread is in, without opening it.
    pub fn namespace_of(&self, id: u32) -> Option<u32> {
        let link = std::fs::read_link(self.proc.join(format!("{id}/ns/net"))).ok()?;
        number_in(link.to_str()?)
    }

    /// Every namespace that is bind-mounted where we, or the host's first process, can reach it: those that `ip netns add` and
    /// runtimes make exist before any process is in them, and after.
    pub fn mounts(&self) -> BTreeMap<u32, PathBuf> {
        let mut found = BTreeMap::new();
        let own = (self.proc.join("thread-self/mountinfo"), PathBuf::new());
        let host = (self.proc.join("1/mountinfo"), self.proc.join("1/root"));
        for (table, root) in [own, host] {
            let Ok(text) = std::fs::read_to_string(table) else {
                continue;
            };
            for (inum, path) in text.lines().filter_map(mounted) {
                let relative = path.strip_prefix("/").unwrap_or(&path).to_owned();
                let path = if root.as_os_str().is_empty() {
                    path
                } else {
                    root.join(relative)
                };
                found.entry(inum).or_insert(path);
            }
        }
        found
    }

    /// Opens a namespace by its number: through one of these processes, any other, or a mount. `None`: nothing leads to it any more.
    pub fn find(&self, inum: u32, likely: &[u32]) -> Option<NetNs> {
        let open = |id: &u32| NetNs::of_task(&self.proc, *id).ok();
        // Opened first and looked at then: the process may have gone, and its number be another's.
        let is_it = |namespace: &NetNs| namespace.inum() == inum;
        if let Some(found) = likely.iter().filter_map(open).find(is_it) {
            return Some(found);
        }
        if let Some(path) = self.mounts().get(&inum)
            && let Some(found) = NetNs::open(path).ok().filter(is_it)
        {
            return Some(found);
        }
        let others = self.processes().remove(&inum).unwrap_or_default();
        others.iter().filter_map(open).find(is_it)
    }
}

/// `net:[4026531840]`
fn number_in(text: &str) -> Option<u32> {
    text.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// A line of mountinfo, if it is a network namespace's: `ID PARENT MAJ:MIN net:[NUMBER] /run/netns/x OPTIONS … - nsfs nsfs rw`.
fn mounted(line: &str) -> Option<(u32, PathBuf)> {
    let mut fields = line.split(' ');
    let inum = number_in(fields.nth(3)?)?;
    let path = unescape(fields.next()?);
    line.contains(" - nsfs ").then_some((inum, path))
}

/// Blank, tab, newline and backslash are `\ooo` in mountinfo.
fn unescape(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let code = bytes.get(at + 1..at + 4).filter(|_| *byte == b'\\');
        let code = code.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(plain) => {
                out.push(plain);
                at += 4;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    std::ffi::OsString::from_vec(out).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panic")]
mod tests {
    use super::*;

    #[test]
    fn a_mounted_namespace_is_read_from_mountinfo() {
        let line = r"1181 30 0:4 net:[4026532201] /run/netns/a\040b rw shared:567 - nsfs nsfs rw";
        assert_eq!(
            mounted(line),
            Some((4_026_532_201, "/run/netns/a b".into()))
        );
        let other = "1181 30 0:4 mnt:[4026532201] /run/x rw - nsfs nsfs rw";
        assert_eq!(mounted(other), None);
        let fake = "1181 30 0:4 net:[1] /run/x rw - tmpfs nsfs rw";
        assert_eq!(mounted(fake), None);
        assert_eq!(mounted(""), None);
    }

    #[test]
    fn the_own_namespace_is_found_by_its_number() {
        let own = NetNs::own().unwrap();
        let places = Places::default();
        assert_eq!(places.namespace_of(std::process::id()), Some(own.inum()));
        let found = places.find(own.inum(), &[]).unwrap();
        assert_eq!(found.inum(), own.inum());
        assert!(places.processes().contains_key(&own.inum()));
        // A process that is in another one, as far as the number says, leads nowhere.
        assert!(places.find(1, &[std::process::id()]).is_none());
    }

    #[test]
    fn a_file_that_is_no_namespace_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(NetNs::open(file.path()).is_err());
        assert!(NetNs::open(Path::new("/nowhere")).is_err());
    }
}
