//! The flags of open. Four of them differ between architectures.

use super::Group;

#[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
mod arch {
    pub(super) const O_DIRECTORY: i64 = 0o4_0000;
    pub(super) const O_NOFOLLOW: i64 = 0o10_0000;
    pub(super) const O_DIRECT: i64 = 0o20_0000;
    pub(super) const O_LARGEFILE: i64 = 0o40_0000;
}
#[cfg(not(any(target_arch = "aarch64", target_arch = "arm")))]
mod arch {
    pub(super) const O_DIRECT: i64 = 0o4_0000;
    pub(super) const O_LARGEFILE: i64 = 0o10_0000;
    pub(super) const O_DIRECTORY: i64 = 0o20_0000;
    pub(super) const O_NOFOLLOW: i64 = 0o40_0000;
}
use arch::{O_DIRECT, O_DIRECTORY, O_LARGEFILE, O_NOFOLLOW};

const O_ACCMODE: i64 = 3;
const O_DSYNC: i64 = 0o1_0000;
const O_SYNC: i64 = 0o401_0000;
const O_TMPFILE: i64 = 0o2000_0000 | O_DIRECTORY;

/// Open flags.
pub(crate) const OPEN_FLAGS: Group = Group {
    name: "Open flags",
    all: &[
        ("O_RDONLY", 0),
        ("O_WRONLY", 1),
        ("O_RDWR", 2),
        ("O_ACCMODE", O_ACCMODE),
        ("O_CREAT", 0o100),
        ("O_EXCL", 0o200),
        ("O_NOCTTY", 0o400),
        ("O_TRUNC", 0o1000),
        ("O_APPEND", 0o2000),
        ("O_NONBLOCK", 0o4000),
        ("O_NDELAY", 0o4000),
        ("O_DSYNC", O_DSYNC),
        ("O_ASYNC", 0o2_0000),
        ("O_DIRECT", O_DIRECT),
        ("O_DIRECTORY", O_DIRECTORY),
        ("O_NOFOLLOW", O_NOFOLLOW),
        ("O_NOATIME", 0o100_0000),
        ("O_CLOEXEC", 0o200_0000),
        ("O_SYNC", O_SYNC),
        ("O_FSYNC", O_SYNC),
        ("O_RSYNC", O_SYNC),
        ("O_PATH", 0o1000_0000),
        ("O_TMPFILE", O_TMPFILE),
    ],
};

/// What is in a flags argument, most significant names first where one contains another.
const NAMES: &[(&str, i64)] = &[
    ("O_CREAT", 0o100),
    ("O_EXCL", 0o200),
    ("O_NOCTTY", 0o400),
    ("O_TRUNC", 0o1000),
    ("O_APPEND", 0o2000),
    ("O_NONBLOCK", 0o4000),
    ("O_SYNC", O_SYNC),
    ("O_DSYNC", O_DSYNC),
    ("O_ASYNC", 0o2_0000),
    ("O_DIRECT", O_DIRECT),
    ("O_LARGEFILE", O_LARGEFILE),
    ("O_TMPFILE", O_TMPFILE),
    ("O_DIRECTORY", O_DIRECTORY),
    ("O_NOFOLLOW", O_NOFOLLOW),
    ("O_NOATIME", 0o100_0000),
    ("O_CLOEXEC", 0o200_0000),
    ("O_PATH", 0o1000_0000),
];

/// The names of the flags that are set, the access mode first; bits without a name as one hexadecimal number.
pub fn open_flag_names(flags: u32) -> Vec<String> {
    let flags = i64::from(flags);
    let access = match flags & O_ACCMODE {
        0 => "O_RDONLY",
        1 => "O_WRONLY",
        2 => "O_RDWR",
        // Linux's own: permission to read and write is checked, neither is given.
        _ => "O_ACCMODE",
    };
    let mut names = super::bit_names(flags & !O_ACCMODE, NAMES);
    names.insert(0, access.to_owned());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_flags() {
        assert_eq!(open_flag_names(0), ["O_RDONLY"]);
        assert_eq!(open_flag_names(0o1101), ["O_WRONLY", "O_CREAT", "O_TRUNC"]);
        assert_eq!(open_flag_names(0o401_0002), ["O_RDWR", "O_SYNC"]);
        assert_eq!(open_flag_names(0x8000_0003), ["O_ACCMODE", "0x80000000"]);
    }
}
