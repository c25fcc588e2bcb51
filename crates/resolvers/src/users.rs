//! Names of users and groups, on the host and inside containers.
//!
//! The host's `/etc/passwd` and `/etc/group` are read by whoever asks. Those of a container are read by one worker
//! thread: the container's owner decides what file system they are on, and a FUSE server that never answers would
//! otherwise stop the event loop. Who asks waits a few milliseconds the first time and goes on without a name if there
//! is none by then. The files are opened through `/proc/<pid>/root` with `openat2(RESOLVE_IN_ROOT)`, so that no
//! symbolic link of the container leads to a file of the host, and only regular files of modest size are read.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use atalaya_model::{Lookup, Process};
use rustc_hash::FxHashMap;
use rustix::fs::{Mode, OFlags, ResolveFlags};

/// Files above this size are cut: a directory service keeps its users elsewhere.
const FILE_LIMIT: usize = 4 << 20;
/// Names longer than this are no names (`useradd` allows 32).
const NAME_LIMIT: usize = 256;
/// Entries above this many are ignored.
const ENTRY_LIMIT: usize = 100_000;
/// A file is looked at again after this long.
const REFRESH: Duration = Duration::from_secs(5);
/// How many containers' tables are kept.
const CONTAINERS: usize = 64;
/// Where none of its processes could be asked (they are short-lived), a container is looked at again after this long.
const RETRY: Duration = Duration::from_millis(200);
/// How many processes of a container are tried.
const CANDIDATES: usize = 8;
/// How long the first question about a container waits.
const FIRST_WAIT: Duration = Duration::from_millis(20);

/// The names of one `/etc/passwd` and `/etc/group`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    users: FxHashMap<u32, Arc<str>>,
    groups: FxHashMap<u32, Arc<str>>,
}

impl Names {
    /// Parses both files. Broken lines are skipped; of two entries with one id the first counts, as in libc.
    pub fn parse(passwd: &[u8], group: &[u8]) -> Self {
        Self {
            users: parse_ids(passwd),
            groups: parse_ids(group),
        }
    }

    /// The user's name.
    pub fn user(&self, uid: u32) -> Option<&Arc<str>> {
        self.users.get(&uid)
    }

    /// The group's name.
    pub fn group(&self, gid: u32) -> Option<&Arc<str>> {
        self.groups.get(&gid)
    }
}

/// `name:password:id:…` lines, which both files have.
fn parse_ids(bytes: &[u8]) -> FxHashMap<u32, Arc<str>> {
    let mut ids = FxHashMap::default();
    for line in bytes.split(|b| *b == b'\n') {
        let mut fields = line.split(|b| *b == b':');
        let (Some(name), Some(_), Some(id)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        // NIS markers and comments are no entries.
        if name.is_empty() || name.len() > NAME_LIMIT || matches!(name[0], b'+' | b'-' | b'#') {
            continue;
        }
        let Some(id) = std::str::from_utf8(id).ok().and_then(|s| s.parse().ok()) else {
            continue;
        };
        if ids.len() >= ENTRY_LIMIT {
            break;
        }
        ids.entry(id)
            .or_insert_with(|| String::from_utf8_lossy(name).into());
    }
    ids
}

impl Lookup for UserTables {
    fn user(&self, uid: u32, process: &Process) -> Option<Arc<str>> {
        self.of(process).user(uid).cloned()
    }

    fn group(&self, gid: u32, process: &Process) -> Option<Arc<str>> {
        self.of(process).group(gid).cloned()
    }
}

/// Size and modification time: what tells that a file was changed.
type Stamp = (u64, i64, i64, u64);

#[derive(Debug, Default)]
struct Table {
    names: Arc<Names>,
    stamps: [Option<Stamp>; 2],
    /// Good until then.
    fresh_until: Option<Instant>,
}

impl Table {
    fn is_fresh(&self) -> bool {
        self.fresh_until.is_some_and(|until| Instant::now() < until)
    }
}

/// Whose names are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// The host's.
    Host,
    /// A container's: its id, and processes of it to find its root by, in the order they are tried.
    Container(&'a str, &'a [u32]),
}

/// All tables. Cheap to ask; safe to share.
#[derive(Debug)]
pub struct UserTables {
    root: PathBuf,
    host: Mutex<Table>,
    containers: Arc<Mutex<Containers>>,
    worker: SyncSender<Job>,
    /// Waiting for the worker is off until then: it hangs.
    no_wait_until: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Containers {
    tables: FxHashMap<String, Table>,
    /// In the order of arrival: the oldest goes first.
    order: VecDeque<String>,
    pending: FxHashMap<String, ()>,
}

#[derive(Debug)]
struct Job {
    container: String,
    pids: Vec<u32>,
    done: SyncSender<()>,
}

impl Default for UserTables {
    fn default() -> Self {
        let host = atalaya_host::paths::host();
        let root = host.etc.parent().filter(|_| host.etc.ends_with("etc"));
        Self::new(root.unwrap_or(&host.root))
    }
}

impl UserTables {
    /// Tables of the host whose root directory this is (`/`, or `/host` in a container).
    pub fn new(host_root: impl Into<PathBuf>) -> Self {
        let containers = Arc::new(Mutex::new(Containers::default()));
        let (worker, jobs) = sync_channel(CONTAINERS);
        let shared = Arc::clone(&containers);
        let spawned = std::thread::Builder::new()
            .name("user-tables".to_owned())
            .spawn(move || work(&jobs, &shared));
        if let Err(error) = spawned {
            tracing::warn!(%error, "users and groups of containers will have no names");
        }
        Self {
            root: host_root.into(),
            host: Mutex::new(Table::default()),
            containers,
            worker,
            no_wait_until: Mutex::new(None),
        }
    }

    /// The names of a scope, as fresh as a few seconds. Empty when they cannot be read.
    pub fn names(&self, scope: Scope<'_>) -> Arc<Names> {
        match scope {
            Scope::Host => self.host_names(),
            Scope::Container(id, pids) => self.container_names(id, pids),
        }
    }

    /// The names that hold for a process: its container's, or the host's.
    fn of(&self, process: &Process) -> Arc<Names> {
        let id = process.container_id();
        if id.is_empty() {
            return self.host_names();
        }
        if let Some(known) = self.known_names(id) {
            return known;
        }
        // It may have ended already; its ancestors live longer.
        let mut pids = vec![process.pid];
        for ancestor in process.ancestors() {
            if ancestor.container_id() == id && !pids.contains(&ancestor.pid) {
                pids.push(ancestor.pid);
            }
            if pids.len() == CANDIDATES {
                break;
            }
        }
        self.container_names(id, &pids)
    }

    fn host_names(&self) -> Arc<Names> {
        let mut table = lock(&self.host);
        if !table.is_fresh() && !refresh(&mut table, &self.root) {
            table.fresh_until = Some(Instant::now() + REFRESH);
        }
        Arc::clone(&table.names)
    }

    fn known_names(&self, id: &str) -> Option<Arc<Names>> {
        let containers = lock(&self.containers);
        let table = containers.tables.get(id)?;
        table.is_fresh().then(|| Arc::clone(&table.names))
    }

    fn container_names(&self, id: &str, pids: &[u32]) -> Arc<Names> {
        let (done, wait) = sync_channel(1);
        let known = {
            let mut containers = lock(&self.containers);
            let known = containers.tables.get(id);
            if let Some(table) = known
                && table.is_fresh()
            {
                return Arc::clone(&table.names);
            }
            let stale = known.map(|table| Arc::clone(&table.names));
            if containers.pending.contains_key(id) {
                return stale.unwrap_or_default();
            }
            let job = Job {
                container: id.to_owned(),
                pids: pids.to_vec(),
                done,
            };
            match self.worker.try_send(job) {
                Ok(()) => containers.pending.insert(id.to_owned(), ()),
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                    return stale.unwrap_or_default();
                }
            };
            stale
        };
        // Old names are good enough until the new ones are there.
        if let Some(names) = known {
            return names;
        }
        self.wait(&wait);
        lock(&self.containers)
            .tables
            .get(id)
            .map(|table| Arc::clone(&table.names))
            .unwrap_or_default()
    }

    fn wait(&self, done: &Receiver<()>) {
        let mut no_wait_until = lock(&self.no_wait_until);
        if no_wait_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        if let Err(RecvTimeoutError::Timeout) = done.recv_timeout(FIRST_WAIT) {
            *no_wait_until = Some(Instant::now() + Duration::from_secs(10));
        }
    }
}

fn work(jobs: &Receiver<Job>, containers: &Mutex<Containers>) {
    while let Ok(job) = jobs.recv() {
        let taken = lock(containers).tables.remove(&job.container);
        let is_new = taken.is_none();
        let mut table = taken.unwrap_or_default();
        let kept = Arc::clone(&table.names);
        if !is_new {
            // While it is read again, the old names stay visible.
            lock(containers).tables.insert(
                job.container.clone(),
                Table {
                    names: kept,
                    ..Table::default()
                },
            );
        }
        let found = job
            .pids
            .iter()
            .any(|pid| refresh(&mut table, &atalaya_host::paths::process(*pid, "root")));
        if !found {
            table.fresh_until = Some(Instant::now() + RETRY);
        }
        let mut containers = lock(containers);
        containers.pending.remove(&job.container);
        if is_new {
            containers.order.push_back(job.container.clone());
        }
        containers.tables.insert(job.container, table);
        while containers.order.len() > CONTAINERS {
            if let Some(oldest) = containers.order.pop_front() {
                containers.tables.remove(&oldest);
            }
        }
        drop(containers);
        // Nobody waits any more: fine.
        let _ = job.done.try_send(());
    }
}

/// Reads what has changed below a root directory. A file that is gone leaves the names that were known: a container's
/// last process takes its root with it, and its last events are still to be told. Returns whether the root was there.
fn refresh(table: &mut Table, root: &Path) -> bool {
    let Ok(root) = rustix::fs::open(
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    ) else {
        return false;
    };
    table.fresh_until = Some(Instant::now() + REFRESH);
    let mut names = None;
    for (index, name) in ["etc/passwd", "etc/group"].into_iter().enumerate() {
        let Some((file, stamp)) = open_regular(&root, name) else {
            continue;
        };
        if table.stamps[index] == Some(stamp) {
            continue;
        }
        let Some((mut bytes, cut)) = crate::procfs::read_limited(&file, FILE_LIMIT) else {
            continue;
        };
        if cut {
            // The last line may be half of one.
            let end = bytes.iter().rposition(|b| *b == b'\n').unwrap_or(0);
            bytes.truncate(end);
        }
        table.stamps[index] = Some(stamp);
        let names: &mut Names = names.get_or_insert_with(|| (*table.names).clone());
        if index == 0 {
            names.users = parse_ids(&bytes);
        } else {
            names.groups = parse_ids(&bytes);
        }
    }
    if let Some(names) = names {
        table.names = Arc::new(names);
    }
    true
}

/// Opens a file below a root, and only if it is a regular one: first without opening it (`O_PATH`), for opening a
/// device has effects and opening a FIFO may wait.
fn open_regular(root: &OwnedFd, name: &str) -> Option<(OwnedFd, Stamp)> {
    let path = rustix::fs::openat2(
        root,
        name,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
    .ok()?;
    let stat = rustix::fs::fstat(&path).ok()?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return None;
    }
    let file = rustix::fs::open(
        format!("/proc/self/fd/{}", path.as_raw_fd()),
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()?;
    let stamp = (
        u64::try_from(stat.st_size).unwrap_or(0),
        stat.st_mtime,
        i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
        stat.st_ino,
    );
    Some((file, stamp))
}

/// A panic while a table was held leaves it as it was; there is nothing half-done in it that could hurt.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn text(name: Option<&Arc<str>>) -> Option<&str> {
        name.map(|name| &**name)
    }

    fn root(passwd: &[u8], group: &[u8]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("etc/passwd"), passwd).unwrap();
        fs::write(dir.path().join("etc/group"), group).unwrap();
        dir
    }

    #[test]
    fn parse() {
        let names = Names::parse(
            b"root:x:0:0::/root:/bin/sh\n# c:x:1:1\n+nis::\nbad\n:x:9:9\nw\xffw:x:33:33\ntoor:x:0:0\nbig:x:99999999999:0\n",
            b"root:x:0:\nstaff:x:50:a,b",
        );
        assert_eq!(text(names.user(0)), Some("root"));
        assert_eq!(text(names.user(33)), Some("w\u{fffd}w"));
        assert_eq!((names.user(1), names.user(9)), (None, None));
        assert_eq!(text(names.group(0)), Some("root"));
        assert_eq!(text(names.group(50)), Some("staff"));
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let dir = root(b"a:x:1:1", b"");
        let mut table = Table::default();
        refresh(&mut table, dir.path());
        assert_eq!(text(table.names.user(1)), Some("a"));
        let before = Arc::clone(&table.names);
        refresh(&mut table, dir.path());
        assert!(Arc::ptr_eq(&before, &table.names), "nothing has changed");
        fs::write(dir.path().join("etc/passwd"), b"bb:x:1:1").unwrap();
        refresh(&mut table, dir.path());
        assert_eq!(text(table.names.user(1)), Some("bb"));
        fs::remove_file(dir.path().join("etc/passwd")).unwrap();
        refresh(&mut table, dir.path());
        assert_eq!(
            text(table.names.user(1)),
            Some("bb"),
            "the last known names stay"
        );
    }

    #[test]
    fn odd_files_are_left_alone() {
        let dir = root(b"", b"g:x:1:");
        let passwd = dir.path().join("etc/passwd");
        fs::remove_file(&passwd).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &passwd,
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        let mut table = Table::default();
        refresh(&mut table, dir.path());
        assert_eq!(text(table.names.group(1)), Some("g"));
        fs::remove_file(&passwd).unwrap();
        fs::create_dir(&passwd).unwrap();
        refresh(&mut table, dir.path());
    }

    #[test]
    fn links_stay_below_the_root() {
        let dir = root(b"inside:x:0:0", b"");
        let etc = dir.path().join("etc");
        fs::rename(etc.join("passwd"), etc.join("real")).unwrap();
        std::os::unix::fs::symlink("/etc/real", etc.join("passwd")).unwrap();
        let mut table = Table::default();
        refresh(&mut table, dir.path());
        assert_eq!(text(table.names.user(0)), Some("inside"));
        fs::remove_file(etc.join("passwd")).unwrap();
        std::os::unix::fs::symlink("/proc/self/root/etc/passwd", etc.join("passwd")).unwrap();
        let mut other = Table::default();
        refresh(&mut other, dir.path());
        assert_eq!(
            text(other.names.user(0)),
            None,
            "the host's root is not reached"
        );
    }

    #[test]
    fn a_process_that_has_ended_is_asked_for_by_its_ancestors() {
        let container = Some(Arc::new(atalaya_model::Container {
            id: "c".repeat(64),
            ..atalaya_model::Container::default()
        }));
        let shell = Process {
            pid: std::process::id(),
            container: container.clone(),
            ..Process::default()
        };
        let mut ended = Process {
            pid: u32::MAX,
            container,
            ..Process::default()
        };
        ended.set_parent(Some(Arc::new(shell)));
        let tables = UserTables::default();
        let start = Instant::now();
        while tables.user(0, &ended).is_none() {
            assert!(start.elapsed() < Duration::from_secs(5));
        }
    }

    #[test]
    fn a_container_through_the_worker() {
        let tables = UserTables::default();
        let me = std::process::id();
        let host = tables.names(Scope::Host);
        assert_eq!(text(host.user(0)), Some("root"));
        // This process's root is the host's, which makes it a container like any other.
        let start = Instant::now();
        let names = loop {
            let names = tables.names(Scope::Container("c", &[u32::MAX, me]));
            if names.user(0).is_some() || start.elapsed() > Duration::from_secs(5) {
                break names;
            }
        };
        assert_eq!(names, host);
        assert_eq!(
            *tables.names(Scope::Container("gone", &[u32::MAX])),
            Names::default()
        );
        for index in 0..CONTAINERS * 2 {
            tables.names(Scope::Container(&index.to_string(), &[u32::MAX]));
        }
        assert!(lock(&tables.containers).tables.len() <= CONTAINERS);
    }

    proptest! {
        #[test]
        fn total(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            Names::parse(&bytes, &bytes);
        }
    }
}
