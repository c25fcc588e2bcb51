//! What memory calls take.

use super::Group;

/// MMap flags.
pub(crate) const MMAP_FLAGS: Group = Group {
    name: "MMap flags",
    all: &[
        ("MAP_FILE", 0x0),
        ("MAP_SHARED", 0x1),
        ("MAP_PRIVATE", 0x2),
        ("MAP_SHARED_VALIDATE", 0x3),
        ("MAP_DROPPABLE", 0x8),
        ("MAP_FIXED", 0x10),
        ("MAP_ANON", 0x20),
        ("MAP_ANONYMOUS", 0x20),
        ("MAP_32BIT", 0x40),
        ("MAP_GROWSDOWN", 0x100),
        ("MAP_DENYWRITE", 0x800),
        ("MAP_EXECUTABLE", 0x1000),
        ("MAP_LOCKED", 0x2000),
        ("MAP_NORESERVE", 0x4000),
        ("MAP_POPULATE", 0x8000),
        ("MAP_NONBLOCK", 0x10000),
        ("MAP_STACK", 0x20000),
        ("MAP_HUGETLB", 0x40000),
        ("MAP_SYNC", 0x80000),
        ("MAP_FIXED_NOREPLACE", 0x100000),
        ("MAP_UNINITIALIZED", 0x4000000),
        ("MAP_HUGE_16KB", 0x38000000),
        ("MAP_HUGE_64KB", 0x40000000),
        ("MAP_HUGE_512KB", 0x4c000000),
        ("MAP_HUGE_1MB", 0x50000000),
        ("MAP_HUGE_2MB", 0x54000000),
        ("MAP_HUGE_8MB", 0x5c000000),
        ("MAP_HUGE_16MB", 0x60000000),
        ("MAP_HUGE_32MB", 0x64000000),
        ("MAP_HUGE_256MB", 0x70000000),
        ("MAP_HUGE_512MB", 0x74000000),
        ("MAP_HUGE_1GB", 0x78000000),
        ("MAP_HUGE_2GB", 0x7c000000),
        ("MAP_HUGE_16GB", 0x88000000),
    ],
};

/// Protection constants.
pub(crate) const PROTECTION: Group = Group {
    name: "Protection constants",
    all: &[
        ("PROT_NONE", 0x0),
        ("PROT_READ", 0x1),
        ("PROT_WRITE", 0x2),
        ("PROT_EXEC", 0x4),
        ("PROT_GROWSDOWN", 0x1000000),
        ("PROT_GROWSUP", 0x2000000),
    ],
};

/// Virtual Memory flags.
pub(crate) const VIRTUAL_MEMORY_FLAGS: Group = Group {
    name: "Virtual Memory flags",
    all: &[
        ("VM_NONE", 0x0),
        ("VM_READ", 0x1),
        ("VM_WRITE", 0x2),
        ("VM_EXEC", 0x4),
        ("VM_SHARED", 0x8),
        ("VM_MAYREAD", 0x10),
        ("VM_MAYWRITE", 0x20),
        ("VM_MAYEXEC", 0x40),
        ("VM_MAYSHARE", 0x80),
        ("VM_GROWSDOWN", 0x100),
        ("VM_UFFD_MISSING", 0x200),
        ("VM_PFNMAP", 0x400),
        ("VM_UFFD_WP", 0x1000),
        ("VM_LOCKED", 0x2000),
        ("VM_IO", 0x4000),
        ("VM_SEQ_READ", 0x8000),
        ("VM_RAND_READ", 0x10000),
        ("VM_DONTCOPY", 0x20000),
        ("VM_DONTEXPAND", 0x40000),
        ("VM_LOCKONFAULT", 0x80000),
        ("VM_ACCOUNT", 0x100000),
        ("VM_NORESERVE", 0x200000),
        ("VM_HUGETLB", 0x400000),
        ("VM_SYNC", 0x800000),
        ("VM_ARCH_1", 0x1000000),
        ("VM_WIPEONFORK", 0x2000000),
        ("VM_DONTDUMP", 0x4000000),
        ("VM_SOFTDIRTY", 0x8000000),
        ("VM_MIXEDMAP", 0x10000000),
        ("VM_HUGEPAGE", 0x20000000),
        ("VM_NOHUGEPAGE", 0x40000000),
        ("VM_MERGEABLE", 0x80000000),
    ],
};

/// Pipe buffer flags.
pub(crate) const PIPE_BUFFER_FLAGS: Group = Group {
    name: "Pipe buffer flags",
    all: &[
        ("PIPE_BUF_FLAG_LRU", 0x1),
        ("PIPE_BUF_FLAG_ATOMIC", 0x2),
        ("PIPE_BUF_FLAG_GIFT", 0x4),
        ("PIPE_BUF_FLAG_PACKET", 0x8),
        ("PIPE_BUF_FLAG_CAN_MERGE", 0x10),
        ("PIPE_BUF_FLAG_WHOLE", 0x20),
        ("PIPE_BUF_FLAG_LOSS", 0x40),
    ],
};
