//! One process as `/proc` tells it: readers with size limits over parsers that take any bytes.
//!
//! A process's directory is opened once and its files are opened below that descriptor, so that all of them are of
//! the same process: when it dies meanwhile the reads fail, and never answer for the next owner of the pid.

use std::os::fd::OwnedFd;

use atalaya_model::capture::{Credentials, FileFields, Namespaces};
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};

/// `PF_FORKNOEXEC`: forked, and no exec since.
const PF_FORKNOEXEC: u64 = 0x40;
/// `PF_KTHREAD`.
const PF_KTHREAD: u64 = 0x0020_0000;

/// Most bytes that are kept of a command line or an environment. What the sensor captures has the same order.
pub const STRINGS_LIMIT: usize = 64 * 1024;
/// Most bytes that are read of any other file of a process.
const FILE_LIMIT: usize = 64 * 1024;

/// A process as `/proc` tells it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProcEntry {
    /// Thread group id.
    pub pid: u32,
    /// The parent's.
    pub ppid: u32,
    /// The pid in the innermost pid namespace.
    pub ns_pid: u32,
    /// Session id.
    pub sid: u32,
    /// Controlling terminal as the kernel names it (`pts0`), or empty.
    pub tty: String,
    /// Start (boot time, ns), as precise as a clock tick or, with `start_low`, to the nanosecond.
    pub start_time_ns: u64,
    /// The lower half of the exact start; 0 where that is not known.
    pub start_low: u32,
    /// A kernel thread.
    pub is_kthread: bool,
    /// Forked and not exec'd since.
    pub is_fork: bool,
    /// The comm.
    pub comm: String,
    /// Credentials.
    pub creds: Credentials,
    /// The executable.
    pub exe: FileFields,
    /// Arguments, `argv[0]` included.
    pub args: Vec<String>,
    /// Arguments are missing.
    pub args_truncated: bool,
    /// `NAME=value`.
    pub envs: Vec<String>,
    /// Variables are missing.
    pub envs_truncated: bool,
    /// Namespaces.
    pub namespaces: Namespaces,
    /// The cgroup's path: the one that says most.
    pub cgroup_path: String,
    /// The path in the default hierarchy (v2); empty when that is not mounted.
    pub cgroup_v2_path: String,
    /// The cgroup's number in the default hierarchy; 0 where only the path is known.
    pub cgroup_id: u64,
    /// The session of the audit system; `u32::MAX` for none.
    pub session: u32,
    /// When it was read (boot time, ns).
    pub read_at_ns: u64,
}

/// Arguments and environment of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Strings {
    pub(crate) args: Vec<String>,
    pub(crate) args_truncated: bool,
    pub(crate) envs: Vec<String>,
    pub(crate) envs_truncated: bool,
}

impl ProcEntry {
    pub(crate) fn take_strings(&mut self, strings: Strings) {
        self.args = strings.args;
        self.args_truncated = strings.args_truncated;
        self.envs = strings.envs;
        self.envs_truncated = strings.envs_truncated;
    }
}

/// What `stat` says that nothing else does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stat {
    /// The comm.
    pub comm: String,
    /// The parent.
    pub ppid: u32,
    /// The session.
    pub sid: u32,
    /// Device number of the controlling terminal, 0 for none.
    pub tty: u32,
    /// `PF_*` flags.
    pub flags: u64,
    /// Clock ticks since boot.
    pub start_ticks: u64,
}

/// Parses `/proc/<pid>/stat`. `None` when it is not one.
pub fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    // The comm may hold anything, parentheses and line feeds too: it ends at the last closing one.
    let open = bytes.iter().position(|b| *b == b'(')?;
    let close = bytes.iter().rposition(|b| *b == b')')?;
    let comm = bytes.get(open + 1..close)?;
    let rest = std::str::from_utf8(bytes.get(close + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    // Fields are counted from 1 in proc(5); `rest` begins with the third, the state.
    let ppid = fields.nth(1)?.parse().ok()?;
    let sid = fields.nth(1)?.parse::<i64>().ok()?;
    let tty = fields.next()?.parse::<i64>().ok()?;
    let flags = fields.nth(1)?.parse().ok()?;
    let start_ticks = fields.nth(12)?.parse().ok()?;
    Some(Stat {
        comm: String::from_utf8_lossy(comm).into_owned(),
        ppid,
        sid: u32::try_from(sid).unwrap_or(0),
        tty: tty as u32,
        flags,
        start_ticks,
    })
}

/// Fills in what `/proc/<pid>/status` says of credentials; returns the pid in the innermost pid namespace.
pub fn parse_status(bytes: &[u8], creds: &mut Credentials) -> Option<u32> {
    let mut ns_pid = None;
    for line in bytes.split(|b| *b == b'\n') {
        let Some(colon) = line.iter().position(|b| *b == b':') else {
            continue;
        };
        let (key, value) = (&line[..colon], &line[colon + 1..]);
        let Ok(value) = std::str::from_utf8(value) else {
            continue;
        };
        let mut words = value.split_ascii_whitespace();
        match key {
            b"Uid" | b"Gid" => {
                // real, effective, saved, file system
                let ids: Vec<u32> = words.map_while(|w| w.parse().ok()).collect();
                if let [real, effective, _, fs] = ids[..] {
                    if key == b"Uid" {
                        (creds.uid, creds.euid, creds.fsuid) = (real, effective, fs);
                    } else {
                        (creds.gid, creds.egid, creds.fsgid) = (real, effective, fs);
                    }
                }
            }
            b"CapEff" | b"CapPrm" => {
                if let Some(caps) = words.next().and_then(|w| u64::from_str_radix(w, 16).ok()) {
                    if key == b"CapEff" {
                        creds.cap_effective = caps;
                    } else {
                        creds.cap_permitted = caps;
                    }
                }
            }
            b"NSpid" => ns_pid = words.next_back().and_then(|w| w.parse().ok()),
            _ => {}
        }
    }
    ns_pid
}

/// Splits a command line or an environment at its NUL bytes. Trailing NULs are no strings; those between are.
pub fn parse_strings(bytes: &[u8]) -> Vec<String> {
    let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    if end == 0 {
        return Vec::new();
    }
    bytes[..end]
        .split(|b| *b == 0)
        .map(|s| String::from_utf8_lossy(s).into_owned())
        .collect()
}

/// The inode number in the link of a namespace (`mnt:[4026531832]`); 0 when it is not one.
pub fn parse_ns_link(bytes: &[u8]) -> u32 {
    std::str::from_utf8(bytes)
        .ok()
        .and_then(|s| s.strip_suffix(']')?.split_once(":[")?.1.parse().ok())
        .unwrap_or(0)
}

/// The kernel's name of a terminal, by the device number of `stat`.
pub fn tty_name(device: u32) -> String {
    // new_encode_dev: minor 0-7, major 8-19, minor 20-31
    let major = (device >> 8) & 0xfff;
    let minor = (device & 0xff) | ((device >> 12) & 0xfff00);
    match major {
        0 => String::new(),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        5 if minor == 1 => "console".to_owned(),
        136..=143 => format!("pts{}", (major - 136) * (1 << 20) + minor),
        204 if (64..80).contains(&minor) => format!("ttyAMA{}", minor - 64),
        229 => format!("hvc{minor}"),
        _ => format!("tty{major}:{minor}"),
    }
}

/// Clock ticks a second (`USER_HZ`).
pub fn clock_ticks() -> u64 {
    rustix::param::clock_ticks_per_second().max(1)
}

fn open_dir(pid: u32) -> Option<OwnedFd> {
    rustix::fs::open(
        atalaya_host::paths::process(pid, ""),
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()
}

/// The directory of the process with this pid that began at this time.
pub(crate) fn open_process(pid: u32, start_time_ns: u64) -> Option<OwnedFd> {
    let dir = open_dir(pid)?;
    let (stat, _) = read_at(&dir, "stat", FILE_LIMIT)?;
    let began = ticks_to_ns(parse_stat(&stat)?.start_ticks);
    (began.abs_diff(start_time_ns) <= 1_000_000_000 / clock_ticks()).then_some(dir)
}

/// Arguments and environment. Reads the process's memory, which can take for ever; see [`crate::strings`].
pub(crate) fn read_strings(dir: &OwnedFd) -> Strings {
    let mut strings = Strings::default();
    if let Some((bytes, cut)) = read_at(dir, "cmdline", STRINGS_LIMIT) {
        strings.args = parse_strings(&bytes);
        strings.args_truncated = cut;
    }
    if let Some((bytes, cut)) = read_at(dir, "environ", STRINGS_LIMIT) {
        strings.envs = parse_strings(&bytes);
        strings.envs_truncated = cut;
    }
    strings
}

/// Reads one process, its memory included. `None` when it is gone (or never was).
pub fn read_process(pid: u32) -> Option<ProcEntry> {
    let mut entry = read_task(pid)?;
    if !entry.is_kthread
        && let Some(dir) = open_process(pid, entry.start_time_ns)
    {
        entry.take_strings(read_strings(&dir));
    }
    Some(entry)
}

/// Reads what the kernel itself knows of a process. `None` when it is gone (or never was).
pub(crate) fn read_task(pid: u32) -> Option<ProcEntry> {
    let dir = open_dir(pid)?;
    let (stat, _) = read_at(&dir, "stat", FILE_LIMIT)?;
    let stat = parse_stat(&stat)?;
    let mut entry = ProcEntry {
        pid,
        ppid: stat.ppid,
        ns_pid: pid,
        sid: stat.sid,
        tty: tty_name(stat.tty),
        start_time_ns: ticks_to_ns(stat.start_ticks),
        is_kthread: stat.flags & PF_KTHREAD != 0,
        is_fork: stat.flags & PF_FORKNOEXEC != 0 && stat.flags & PF_KTHREAD == 0,
        comm: stat.comm,
        read_at_ns: crate::clock::boot_now_ns(),
        ..ProcEntry::default()
    };
    entry.creds.auid = u32::MAX;
    entry.session = u32::MAX;
    if let Some((session, _)) = read_at(&dir, "sessionid", 32) {
        entry.session = std::str::from_utf8(&session)
            .ok()
            .and_then(|s| s.trim().parse().ok())
            .unwrap_or(u32::MAX);
    }
    if let Some((status, _)) = read_at(&dir, "status", FILE_LIMIT)
        && let Some(ns_pid) = parse_status(&status, &mut entry.creds)
    {
        entry.ns_pid = ns_pid;
    }
    if let Some((loginuid, _)) = read_at(&dir, "loginuid", 32) {
        entry.creds.auid = std::str::from_utf8(&loginuid)
            .ok()
            .and_then(|s| s.trim().parse().ok())
            .unwrap_or(u32::MAX);
    }
    if let Some((cgroup, _)) = read_at(&dir, "cgroup", FILE_LIMIT) {
        entry.cgroup_path = crate::cgroup::from_proc(&cgroup);
        entry.cgroup_v2_path = crate::cgroup::unified_path(&cgroup);
    }
    entry.namespaces = read_namespaces(&dir);
    if !entry.is_kthread {
        entry.exe = read_exe(&dir);
    }
    Some(entry)
}

/// Whether there is a process with this pid.
pub(crate) fn exists(pid: u32) -> bool {
    open_dir(pid).is_some()
}

/// The pids in `/proc`.
pub fn pids() -> Vec<u32> {
    let Ok(dir) = std::fs::read_dir(&atalaya_host::paths::host().proc) else {
        return Vec::new();
    };
    dir.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// The types of the file systems a process sees, by mount id: from `/proc/<pid>/mountinfo`.
pub fn read_filesystems(pid: u32) -> Vec<(u32, String)> {
    // A host with thousands of containers has a few megabytes of them.
    const LIMIT: usize = 8 << 20;
    let Some(dir) = open_dir(pid) else {
        return Vec::new();
    };
    read_at(&dir, "mountinfo", LIMIT).map_or_else(Vec::new, |(bytes, _)| parse_mountinfo(&bytes))
}

/// Mount ids and file system types of a `mountinfo` file. Lines that make no sense are skipped.
pub fn parse_mountinfo(bytes: &[u8]) -> Vec<(u32, String)> {
    bytes
        .split(|b| *b == b'\n')
        .filter_map(|line| {
            let line = String::from_utf8_lossy(line);
            let id = line.split(' ').next()?.parse().ok()?;
            // Optional fields end with a single dash; paths cannot hold a blank (written \040).
            let (_, tail) = line.split_once(" - ")?;
            let filesystem = tail.split(' ').next()?;
            (!filesystem.is_empty()).then(|| (id, filesystem.to_owned()))
        })
        .collect()
}

fn ticks_to_ns(ticks: u64) -> u64 {
    let ns = u128::from(ticks) * 1_000_000_000 / u128::from(clock_ticks());
    u64::try_from(ns).unwrap_or(u64::MAX)
}

fn read_namespaces(dir: &OwnedFd) -> Namespaces {
    let inode = |name: &str| {
        rustix::fs::readlinkat(dir, format!("ns/{name}"), Vec::new())
            .map_or(0, |link| parse_ns_link(link.as_bytes()))
    };
    Namespaces {
        mnt: inode("mnt"),
        net: inode("net"),
        pid: inode("pid"),
        user: inode("user"),
        uts: inode("uts"),
        ipc: inode("ipc"),
        cgroup: inode("cgroup"),
    }
}

fn read_exe(dir: &OwnedFd) -> FileFields {
    let mut file = FileFields::default();
    let Ok(link) = rustix::fs::readlinkat(dir, "exe", Vec::new()) else {
        return file;
    };
    let link = String::from_utf8_lossy(link.as_bytes());
    let stripped = link.strip_suffix(" (deleted)");
    // DONT_SYNC: a network or FUSE file system need not be asked, and so cannot make us wait.
    if let Ok(found) = rustix::fs::statx(
        dir,
        "exe",
        AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT,
        StatxFlags::BASIC_STATS | StatxFlags::MNT_ID,
    ) {
        file.known = true;
        file.inode = found.stx_ino;
        file.dev = rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor);
        file.mount_id = if found.stx_mask & StatxFlags::MNT_ID.bits() != 0 {
            u32::try_from(found.stx_mnt_id).unwrap_or(0)
        } else {
            0
        };
        file.mode = found.stx_mode;
        file.uid = found.stx_uid;
        file.gid = found.stx_gid;
        file.nlink = found.stx_nlink;
        file.mtime_ns = timestamp_ns(found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec);
        file.ctime_ns = timestamp_ns(found.stx_ctime.tv_sec, found.stx_ctime.tv_nsec);
        file.deleted = found.stx_nlink == 0;
    }
    // The mark is about the name: the inode may live on under another. A name that really ends so loses its end.
    file.path = match stripped {
        Some(path) => path.to_owned(),
        None => link.into_owned(),
    };
    file
}

fn timestamp_ns(seconds: i64, nanoseconds: u32) -> u64 {
    u64::try_from(seconds)
        .unwrap_or(0)
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::from(nanoseconds))
}

/// Reads at most `limit` bytes; the flag says that there was more.
fn read_at(dir: &OwnedFd, name: &str, limit: usize) -> Option<(Vec<u8>, bool)> {
    let file = rustix::fs::openat(
        dir,
        name,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
    )
    .ok()?;
    read_limited(&file, limit)
}

pub(crate) fn read_limited(file: &OwnedFd, limit: usize) -> Option<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    let mut chunk = [0_u8; 8192];
    loop {
        match rustix::io::read(file, &mut chunk) {
            Ok(0) => return Some((bytes, false)),
            Ok(n) => {
                bytes.extend_from_slice(&chunk[..n]);
                if bytes.len() > limit {
                    bytes.truncate(limit);
                    return Some((bytes, true));
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stat_with_a_hostile_comm() {
        let line = b"42 (a) R 1 (b\n) S 7 42 41 34817 -1 4194304 96 0 0 0 0 0 0 0 20 0 1 0 87923 3133440 382";
        let stat = parse_stat(line).unwrap();
        assert_eq!(stat.comm, "a) R 1 (b\n");
        assert_eq!((stat.ppid, stat.sid), (7, 41));
        assert_eq!(tty_name(stat.tty), "pts1");
        assert_eq!((stat.flags, stat.start_ticks), (4_194_304, 87923));
        assert_eq!(parse_stat(b""), None);
        assert_eq!(parse_stat(b")("), None);
        assert_eq!(parse_stat(b"1 (x) S 1"), None);
    }

    #[test]
    fn status() {
        let text = b"Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nNSpid:\t900\t12\t1\nCapPrm:\t00000000000000ff\nCapEff:\t1\nUid: x\n";
        let mut creds = Credentials::default();
        assert_eq!(parse_status(text, &mut creds), Some(1));
        assert_eq!((creds.uid, creds.euid, creds.fsuid), (1, 2, 4));
        assert_eq!((creds.gid, creds.egid, creds.fsgid), (5, 6, 8));
        assert_eq!((creds.cap_permitted, creds.cap_effective), (255, 1));
    }

    #[test]
    fn strings() {
        assert_eq!(parse_strings(b""), Vec::<String>::new());
        assert_eq!(parse_strings(b"\0\0\0"), Vec::<String>::new());
        assert_eq!(parse_strings(b"a\0\0b c\0"), ["a", "", "b c"]);
        assert_eq!(parse_strings(b"a\0\xff"), ["a", "\u{fffd}"]);
    }

    #[test]
    fn links_and_terminals() {
        assert_eq!(parse_ns_link(b"mnt:[4026531832]"), 4_026_531_832);
        assert_eq!(parse_ns_link(b"mnt:[]"), 0);
        assert_eq!(parse_ns_link(b"mnt"), 0);
        assert_eq!(tty_name(0), "");
        assert_eq!(tty_name(4 << 8 | 1), "tty1");
        assert_eq!(tty_name(4 << 8 | 65), "ttyS1");
        assert_eq!(tty_name(5 << 8 | 1), "console");
    }

    #[test]
    fn mountinfo() {
        let text = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\nx\n37 35 0:5 / /proc rw - proc proc rw\n38 1 0:1 / / rw";
        assert_eq!(
            parse_mountinfo(text),
            [(36, "ext3".to_owned()), (37, "proc".to_owned())]
        );
    }

    #[test]
    fn this_process() {
        let me = read_process(std::process::id()).unwrap();
        assert_eq!(me.pid, std::process::id());
        assert_eq!(me.ppid, std::os::unix::process::parent_id());
        assert_eq!(me.args, std::env::args().collect::<Vec<_>>());
        assert_eq!(
            me.exe.path,
            std::env::current_exe().unwrap().to_str().unwrap()
        );
        assert!(me.exe.known && !me.exe.deleted && me.exe.inode != 0);
        assert!(me.start_time_ns > 0 && !me.is_kthread && !me.is_fork);
        assert!(me.namespaces.mnt != 0 && me.namespaces.pid != 0);
        assert!(pids().contains(&me.pid));
        assert!(
            read_filesystems(me.pid)
                .iter()
                .any(|(id, _)| *id == me.exe.mount_id)
        );
        assert_eq!(read_process(u32::MAX), None);
    }

    proptest! {
        #[test]
        fn total(bytes in proptest::collection::vec(any::<u8>(), 0..300), device: u32) {
            parse_stat(&bytes);
            parse_status(&bytes, &mut Credentials::default());
            parse_strings(&bytes);
            parse_ns_link(&bytes);
            parse_mountinfo(&bytes);
            tty_name(device);
        }
    }
}
