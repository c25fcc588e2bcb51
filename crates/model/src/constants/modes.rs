//! File types, permission bits, and the flags of file calls.

use super::Group;

/// File mode constants.
pub(crate) const FILE_MODE: Group = Group {
    name: "File mode constants",
    all: &[
        ("S_ISUID", 0o4000),
        ("S_ISGID", 0o2000),
        ("S_ISVTX", 0o1000),
        ("S_IRWXU", 0o700),
        ("S_IRUSR", 0o400),
        ("S_IWUSR", 0o200),
        ("S_IXUSR", 0o100),
        ("S_IRWXG", 0o70),
        ("S_IRGRP", 0o40),
        ("S_IWGRP", 0o20),
        ("S_IXGRP", 0o10),
        ("S_IRWXO", 0o7),
        ("S_IROTH", 0o4),
        ("S_IWOTH", 0o2),
        ("S_IXOTH", 0o1),
    ],
};

/// Inode mode constants.
pub(crate) const INODE_MODE: Group = Group {
    name: "Inode mode constants",
    all: &[
        ("S_IFMT", 0o170000),
        ("S_IFSOCK", 0o140000),
        ("S_IFLNK", 0o120000),
        ("S_IFREG", 0o100000),
        ("S_IFBLK", 0o60000),
        ("S_IFDIR", 0o40000),
        ("S_IFCHR", 0o20000),
        ("S_IFIFO", 0o10000),
        ("S_ISUID", 0o4000),
        ("S_ISGID", 0o2000),
        ("S_ISVTX", 0o1000),
        ("S_IRWXU", 0o700),
        ("S_IRUSR", 0o400),
        ("S_IWUSR", 0o200),
        ("S_IXUSR", 0o100),
        ("S_IRWXG", 0o70),
        ("S_IRGRP", 0o40),
        ("S_IWGRP", 0o20),
        ("S_IXGRP", 0o10),
        ("S_IRWXO", 0o7),
        ("S_IROTH", 0o4),
        ("S_IWOTH", 0o2),
        ("S_IXOTH", 0o1),
    ],
};

/// Unlink flags.
pub(crate) const UNLINK_FLAGS: Group = Group {
    name: "Unlink flags",
    all: &[("AT_REMOVEDIR", 0x200)],
};
