//! Capabilities, signals, and what process calls take.

use super::Group;

/// Kernel Capability constants.
pub(crate) const KERNEL_CAPABILITY: Group = Group {
    name: "Kernel Capability constants",
    all: &[
        ("CAP_CHOWN", 1 << 0),
        ("CAP_DAC_OVERRIDE", 1 << 1),
        ("CAP_DAC_READ_SEARCH", 1 << 2),
        ("CAP_FOWNER", 1 << 3),
        ("CAP_FSETID", 1 << 4),
        ("CAP_KILL", 1 << 5),
        ("CAP_SETGID", 1 << 6),
        ("CAP_SETUID", 1 << 7),
        ("CAP_SETPCAP", 1 << 8),
        ("CAP_LINUX_IMMUTABLE", 1 << 9),
        ("CAP_NET_BIND_SERVICE", 1 << 10),
        ("CAP_NET_BROADCAST", 1 << 11),
        ("CAP_NET_ADMIN", 1 << 12),
        ("CAP_NET_RAW", 1 << 13),
        ("CAP_IPC_LOCK", 1 << 14),
        ("CAP_IPC_OWNER", 1 << 15),
        ("CAP_SYS_MODULE", 1 << 16),
        ("CAP_SYS_RAWIO", 1 << 17),
        ("CAP_SYS_CHROOT", 1 << 18),
        ("CAP_SYS_PTRACE", 1 << 19),
        ("CAP_SYS_PACCT", 1 << 20),
        ("CAP_SYS_ADMIN", 1 << 21),
        ("CAP_SYS_BOOT", 1 << 22),
        ("CAP_SYS_NICE", 1 << 23),
        ("CAP_SYS_RESOURCE", 1 << 24),
        ("CAP_SYS_TIME", 1 << 25),
        ("CAP_SYS_TTY_CONFIG", 1 << 26),
        ("CAP_MKNOD", 1 << 27),
        ("CAP_LEASE", 1 << 28),
        ("CAP_AUDIT_WRITE", 1 << 29),
        ("CAP_AUDIT_CONTROL", 1 << 30),
        ("CAP_SETFCAP", 1 << 31),
        ("CAP_MAC_OVERRIDE", 1 << 32),
        ("CAP_MAC_ADMIN", 1 << 33),
        ("CAP_SYSLOG", 1 << 34),
        ("CAP_WAKE_ALARM", 1 << 35),
        ("CAP_BLOCK_SUSPEND", 1 << 36),
        ("CAP_AUDIT_READ", 1 << 37),
        ("CAP_PERFMON", 1 << 38),
        ("CAP_BPF", 1 << 39),
        ("CAP_CHECKPOINT_RESTORE", 1 << 40),
    ],
};

/// Signal constants.
pub(crate) const SIGNAL: Group = Group {
    name: "Signal constants",
    all: &[
        ("SIGHUP", 1),
        ("SIGINT", 2),
        ("SIGQUIT", 3),
        ("SIGILL", 4),
        ("SIGTRAP", 5),
        ("SIGABRT", 6),
        ("SIGIOT", 6),
        ("SIGBUS", 7),
        ("SIGFPE", 8),
        ("SIGKILL", 9),
        ("SIGUSR1", 10),
        ("SIGSEGV", 11),
        ("SIGUSR2", 12),
        ("SIGPIPE", 13),
        ("SIGALRM", 14),
        ("SIGTERM", 15),
        ("SIGSTKFLT", 16),
        ("SIGCHLD", 17),
        ("SIGCONT", 18),
        ("SIGSTOP", 19),
        ("SIGTSTP", 20),
        ("SIGTTIN", 21),
        ("SIGTTOU", 22),
        ("SIGURG", 23),
        ("SIGXCPU", 24),
        ("SIGXFSZ", 25),
        ("SIGVTALRM", 26),
        ("SIGPROF", 27),
        ("SIGWINCH", 28),
        ("SIGIO", 29),
        ("SIGPOLL", 29),
        ("SIGPWR", 30),
        ("SIGSYS", 31),
    ],
};

/// Exit causes.
pub(crate) const EXIT_CAUSES: Group = Group {
    name: "Exit causes",
    all: &[("EXITED", 0), ("COREDUMPED", 1), ("SIGNALED", 2)],
};

/// Login users.
pub(crate) const LOGIN_USERS: Group = Group {
    name: "Login users",
    all: &[("AUDIT_AUID_UNSET", 0xffffffff)],
};

/// Clone flags.
pub(crate) const CLONE_FLAGS: Group = Group {
    name: "Clone flags",
    all: &[
        ("CLONE_NEWTIME", 0x80),
        ("CLONE_FS", 0x200),
        ("CLONE_FILES", 0x400),
        ("CLONE_THREAD", 0x10000),
        ("CLONE_NEWNS", 0x20000),
        ("CLONE_SYSVSEM", 0x40000),
        ("CLONE_NEWCGROUP", 0x2000000),
        ("CLONE_NEWUTS", 0x4000000),
        ("CLONE_NEWIPC", 0x8000000),
        ("CLONE_NEWUSER", 0x10000000),
        ("CLONE_NEWPID", 0x20000000),
        ("CLONE_NEWNET", 0x40000000),
    ],
};

/// Resource limit types.
pub(crate) const RESOURCE_LIMIT_TYPES: Group = Group {
    name: "Resource limit types",
    all: &[
        ("RLIMIT_CPU", 0),
        ("RLIMIT_FSIZE", 1),
        ("RLIMIT_DATA", 2),
        ("RLIMIT_STACK", 3),
        ("RLIMIT_CORE", 4),
        ("RLIMIT_RSS", 5),
        ("RLIMIT_NPROC", 6),
        ("RLIMIT_NOFILE", 7),
        ("RLIMIT_MEMLOCK", 8),
        ("RLIMIT_AS", 9),
        ("RLIMIT_LOCKS", 10),
        ("RLIMIT_SIGPENDING", 11),
        ("RLIMIT_MSGQUEUE", 12),
        ("RLIMIT_NICE", 13),
        ("RLIMIT_RTPRIO", 14),
        ("RLIMIT_RTTIME", 15),
    ],
};
