//! Opening a file that somebody else has named.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, StatxFlags, StatxTimestamp};
use rustix::io::Errno;

use super::cache::Identity;
use super::{HashRequest, HashState};

/// `statfs` says this of an overlay, whose inode numbers are not always those that its kernel objects have.
const OVERLAY: u64 = 0x794c_7630;

/// How much is read at once.
const BLOCK: usize = 64 << 10;

/// A regular file that is the event's, not yet opened for reading.
pub(super) struct Opened {
    file: OwnedFd,
    pub(super) identity: Identity,
}

impl Opened {
    /// Looks the file up in the root of the first of the processes that exists. The descriptor is one that refers only:
    /// nothing happens to a pipe or a device.
    pub(super) fn find(request: &HashRequest) -> Result<Self, HashState> {
        if !request.path.starts_with('/') {
            return Err(HashState::PathnameResolutionError);
        }
        let refers = OFlags::PATH | OFlags::CLOEXEC;
        let root = request
            .pids
            .iter()
            .find_map(|pid| {
                let root = atalaya_host::paths::process(*pid, "root");
                rustix::fs::openat(CWD, root, refers, Mode::empty()).ok()
            })
            .ok_or(HashState::FileNotFound)?;
        let file = rustix::fs::openat2(
            &root,
            &request.path,
            refers | OFlags::NOFOLLOW,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
        .map_err(|error| match error {
            Errno::NOENT | Errno::NOTDIR => HashState::FileNotFound,
            _ => HashState::FileOpenError,
        })?;
        let (identity, kind) = identify(&file)?;
        if kind != FileType::RegularFile {
            return Err(HashState::FileOpenError);
        }
        if request.inode != 0 && request.inode != identity.inode {
            // An overlay may have two numbers for one file; then the time of its last change must be the event's.
            let same = is_overlay(&file) && request.modified_ns == identity.modified_ns;
            if !same {
                return Err(HashState::FileChanged);
            }
        }
        Ok(Self { file, identity })
    }

    /// Reads the file to its end. Returns what the file is known by afterwards.
    pub(super) fn read(
        &self,
        limit: u64,
        deadline: Option<Instant>,
        mut each: impl FnMut(&[u8]),
    ) -> Result<Identity, HashState> {
        // The same file again, for reading. Not to wait: somebody may hold a lease on it.
        let file = rustix::fs::openat(
            CWD,
            format!("/proc/self/fd/{}", self.file.as_raw_fd()),
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|_| HashState::FileOpenError)?;
        let mut block = vec![0; BLOCK];
        let mut total = 0;
        loop {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(HashState::HashTimedOut);
            }
            let count = match rustix::io::read(&file, &mut block) {
                Ok(count) => count,
                Err(Errno::INTR) => continue,
                Err(_) => return Err(HashState::HashFailed),
            };
            if count == 0 {
                break;
            }
            total += count as u64;
            if total > limit {
                return Err(HashState::FileTooBig);
            }
            each(&block[..count]);
        }
        Ok(identify(&file)?.0)
    }
}

fn identify(file: &OwnedFd) -> Result<(Identity, FileType), HashState> {
    let stat = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
        .map_err(|_| HashState::FileOpenError)?;
    let identity = Identity {
        dev: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
        inode: stat.stx_ino,
        size: stat.stx_size,
        modified_ns: epoch_ns(stat.stx_mtime),
        changed_ns: epoch_ns(stat.stx_ctime),
    };
    Ok((identity, FileType::from_raw_mode(stat.stx_mode.into())))
}

fn is_overlay(file: &OwnedFd) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|stat| u64::try_from(stat.f_type) == Ok(OVERLAY))
}

fn epoch_ns(time: StatxTimestamp) -> u64 {
    u64::try_from(time.tv_sec)
        .unwrap_or(0)
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec.into())
}
