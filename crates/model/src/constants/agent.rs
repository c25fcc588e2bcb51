//! What the agent itself numbers: contents of files, kinds of sessions. 0 is "unknown" or "nothing" in each group.

use super::Group;

/// Whether a program is one of 32 or 64 bits.
pub(crate) const ABI: Group = Group {
    name: "ABI",
    all: &[("UNKNOWN_ABI", 0), ("BIT32", 1), ("BIT64", 2)],
};

/// The processor a program was built for.
pub(crate) const ARCHITECTURE: Group = Group {
    name: "Architecture",
    all: &[
        ("UNKNOWN_ARCHITECTURE", 0),
        ("X86", 1),
        ("X86_64", 2),
        ("ARM", 3),
        ("ARM64", 4),
    ],
};

/// How content is compressed.
pub(crate) const COMPRESSION_TYPE: Group = Group {
    name: "CompressionType",
    all: &[
        ("NONE", 0),
        ("GZIP", 1),
        ("ZIP", 2),
        ("ZSTD", 3),
        ("7Z", 4),
        ("BZIP2", 5),
        ("XZ", 6),
    ],
};

/// What content a file has.
pub(crate) const FILE_TYPE: Group = Group {
    name: "FileType",
    all: &[
        ("EMPTY", 0),
        ("SHELL_SCRIPT", 1),
        ("TEXT", 2),
        ("COMPRESSED", 3),
        ("ENCRYPTED", 4),
        ("BINARY", 5),
        ("LINUX_EXECUTABLE", 6),
        ("WINDOWS_EXECUTABLE", 7),
        ("MACOS_EXECUTABLE", 8),
        ("FILE_LESS", 9),
    ],
};

/// How a program finds its libraries.
pub(crate) const LINKAGE_TYPE: Group = Group {
    name: "LinkageType",
    all: &[("NONE", 0), ("STATIC", 1), ("DYNAMIC", 2)],
};

/// How the client of an SSH session proved who it is.
pub(crate) const SSH_AUTH_METHOD: Group = Group {
    name: "SSHAuthMethod",
    all: &[("unknown", 0), ("password", 1), ("public_key", 2)],
};

/// How a user came.
pub(crate) const USER_SESSION_TYPES: Group = Group {
    name: "UserSessionTypes",
    all: &[("unknown", 0), ("k8s", 1), ("ssh", 2)],
};

/// What was done with a kernel parameter.
pub(crate) const SYSCTL_ACTIONS: Group = Group {
    name: "SysCtl Actions",
    all: &[("SYSCTL_READ", 1), ("SYSCTL_WRITE", 2)],
};
