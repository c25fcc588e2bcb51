//! Giving up root for good.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use atalaya_api::Account;
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use rustix::fs::OFlags;
use rustix::thread::{CapabilitySet, CapabilitySets};

/// Makes the directory of a file where it is missing, and gives it to the user; gives the user files that are there
/// already. For root only: others can give nothing away.
pub(crate) fn prepare(file: &Path, files: &[PathBuf], user: &Account) -> Result<()> {
    let dir = file
        .parent()
        .filter(|d| !d.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if !dir.exists() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(dir)
            .with_context(|| format!("cannot create {}", dir.display()))?;
        chown(dir, Some(user.uid), Some(user.gid))
            .with_context(|| format!("cannot give away {}", dir.display()))?;
    }
    for path in files {
        give_away(path, user).with_context(|| format!("cannot give away {}", path.display()))?;
    }
    Ok(())
}

/// Makes a directory that is all of the user's where it is missing, and gives the user it and what is in it: another user may have been
/// configured before. For root only.
pub(crate) fn prepare_directory(dir: &Path, user: &Account) -> Result<()> {
    if !dir.exists() {
        let create = |dir: &Path, mode| {
            let made = std::fs::DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(dir);
            made.with_context(|| format!("cannot create {}", dir.display()))
        };
        // The user must be able to get there.
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            create(parent, 0o711)?;
        }
        create(dir, 0o750)?;
    }
    let owner = std::fs::metadata(dir)?.uid();
    if owner == user.uid {
        return Ok(());
    }
    give_tree(dir, user, 3).with_context(|| format!("cannot give away {}", dir.display()))
}

/// Directories and plain files with one name, as deep as the index goes.
fn give_tree(dir: &Path, user: &Account, depth: usize) -> std::io::Result<()> {
    let flags = (OFlags::NOFOLLOW | OFlags::DIRECTORY).bits() as i32;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(dir)?;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_file() {
            give_away(&entry.path(), user)?;
        } else if kind.is_dir() && depth > 0 {
            give_tree(&entry.path(), user, depth - 1)?;
        }
    }
    fchown(&opened, Some(user.uid), Some(user.gid))
}

/// Only a plain file with one name: whoever may write in this directory could put a link to another file there.
fn give_away(path: &Path, user: &Account) -> std::io::Result<()> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => {
            let metadata = file.metadata()?;
            if metadata.is_file() && metadata.nlink() == 1 {
                fchown(&file, Some(user.uid), Some(user.gid))?;
            }
            Ok(())
        }
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// Becomes the user, without any capability and without a way to get one, and makes sure of it. Must be called while
/// there is one thread only: capabilities belong to threads.
pub(crate) fn drop_to(user: &Account) -> Result<()> {
    if Uid::effective().is_root() {
        for capability in all_capabilities() {
            rustix::thread::remove_capability_from_bounding_set(capability)
                .context("cannot drop a capability from the bounding set")?;
        }
        setgroups(&[]).context("cannot drop supplementary groups")?;
        setgid(Gid::from_raw(user.gid)).context("cannot change the group")?;
        setuid(Uid::from_raw(user.uid)).context("cannot change the user")?;
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none).context("cannot drop capabilities")?;
    rustix::thread::set_no_new_privs(true).context("cannot set no_new_privs")?;
    verify(user)
}

/// Every capability that this kernel has, also those this program does not know the name of.
fn all_capabilities() -> impl Iterator<Item = CapabilitySet> {
    let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap");
    let last: u32 = last.ok().and_then(|t| t.trim().parse().ok()).unwrap_or(40);
    (0..=last.min(63)).map(|n| CapabilitySet::from_bits_retain(1 << n))
}

/// Believes the kernel, not the calls above.
fn verify(user: &Account) -> Result<()> {
    let status =
        std::fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    check(&status, user)
}

fn check(status: &str, user: &Account) -> Result<()> {
    let field = |name: &str| -> Result<Vec<&str>> {
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        Ok(line
            .with_context(|| format!("no {name} in /proc/self/status"))?
            .split_whitespace()
            .collect())
    };
    for (name, wanted) in [("Uid", user.uid), ("Gid", user.gid)] {
        let wanted = wanted.to_string();
        ensure!(
            field(name)?.iter().all(|id| *id == wanted),
            "{name} is not {wanted} everywhere"
        );
    }
    for name in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        if let Some(set) = field(name)?
            .iter()
            .find(|set| set.bytes().any(|b| b != b'0'))
        {
            bail!("{name} is still {set}");
        }
    }
    ensure!(field("NoNewPrivs")? == ["1"], "NoNewPrivs is not set");
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    const GOOD: &str = "Name:\tx\nUid:\t65534\t65534\t65534\t65534\nGid:\t65534\t65534\t65534\t65534\nGroups:\t\n\
        CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n\
        CapAmb:\t0000000000000000\nNoNewPrivs:\t1\n";

    #[test]
    fn what_is_left_is_seen() {
        let user = Account {
            name: "nobody".into(),
            uid: 65534,
            gid: 65534,
        };
        check(GOOD, &user).unwrap();
        for (from, to) in [
            ("Uid:\t65534", "Uid:\t0"),
            (
                "Gid:\t65534\t65534\t65534\t65534",
                "Gid:\t65534\t65534\t65534\t0",
            ),
            ("CapEff:\t0000000000000000", "CapEff:\t0000000000000001"),
            ("CapPrm:\t0000000000000000", "CapPrm:\t000001ffffffffff"),
            ("NoNewPrivs:\t1", "NoNewPrivs:\t0"),
            ("CapAmb", "Other"),
        ] {
            assert!(check(&GOOD.replace(from, to), &user).is_err(), "{to}");
        }
    }
}
