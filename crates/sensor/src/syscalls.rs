//! Which system calls are file calls, and where their arguments are.

use atalaya_model::capture::CaptureKind;

/// Where the arguments are; the numbers are those of `enum shape` in `bpf/syscall.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names of the system calls")]
pub enum Shape {
    Open = 1,
    Creat,
    Openat,
    Openat2,
    OpenByHandle,
    Chmod,
    Fchmod,
    Fchmodat,
    Chown,
    Fchown,
    Fchownat,
    Unlink,
    Unlinkat,
    Rmdir,
    Mkdir,
    Mkdirat,
    Rename,
    Renameat,
    Renameat2,
    Link,
    Linkat,
    Utime,
    Utimes,
    Futimesat,
    Utimensat,
    UtimensatTime64,
}

/// A system call of one table.
#[derive(Debug, Clone, Copy)]
pub struct Syscall {
    /// Its number.
    pub number: u32,
    /// Where its arguments are.
    pub shape: Shape,
    /// The event it makes. `unlinkat` is sent as an unlink and told apart by its flag.
    pub kind: CaptureKind,
}

const fn call(number: u32, shape: Shape, kind: CaptureKind) -> Syscall {
    Syscall {
        number,
        shape,
        kind,
    }
}

/// x86-64, from `arch/x86/entry/syscalls/syscall_64.tbl`.
pub const NATIVE: &[Syscall] = &[
    call(2, Shape::Open, CaptureKind::Open),
    call(85, Shape::Creat, CaptureKind::Open),
    call(257, Shape::Openat, CaptureKind::Open),
    call(304, Shape::OpenByHandle, CaptureKind::Open),
    call(437, Shape::Openat2, CaptureKind::Open),
    call(90, Shape::Chmod, CaptureKind::Chmod),
    call(91, Shape::Fchmod, CaptureKind::Chmod),
    call(268, Shape::Fchmodat, CaptureKind::Chmod),
    call(452, Shape::Fchmodat, CaptureKind::Chmod),
    call(92, Shape::Chown, CaptureKind::Chown),
    call(93, Shape::Fchown, CaptureKind::Chown),
    call(94, Shape::Chown, CaptureKind::Chown),
    call(260, Shape::Fchownat, CaptureKind::Chown),
    call(87, Shape::Unlink, CaptureKind::Unlink),
    call(263, Shape::Unlinkat, CaptureKind::Unlink),
    call(84, Shape::Rmdir, CaptureKind::Rmdir),
    call(83, Shape::Mkdir, CaptureKind::Mkdir),
    call(258, Shape::Mkdirat, CaptureKind::Mkdir),
    call(82, Shape::Rename, CaptureKind::Rename),
    call(264, Shape::Renameat, CaptureKind::Rename),
    call(316, Shape::Renameat2, CaptureKind::Rename),
    call(86, Shape::Link, CaptureKind::Link),
    call(265, Shape::Linkat, CaptureKind::Link),
    call(132, Shape::Utime, CaptureKind::Utimes),
    call(235, Shape::Utimes, CaptureKind::Utimes),
    call(261, Shape::Futimesat, CaptureKind::Utimes),
    call(280, Shape::Utimensat, CaptureKind::Utimes),
];

/// i386, from `arch/x86/entry/syscalls/syscall_32.tbl`: `int 0x80` and 32-bit programs.
pub const COMPAT: &[Syscall] = &[
    call(5, Shape::Open, CaptureKind::Open),
    call(8, Shape::Creat, CaptureKind::Open),
    call(295, Shape::Openat, CaptureKind::Open),
    call(342, Shape::OpenByHandle, CaptureKind::Open),
    call(437, Shape::Openat2, CaptureKind::Open),
    call(15, Shape::Chmod, CaptureKind::Chmod),
    call(94, Shape::Fchmod, CaptureKind::Chmod),
    call(306, Shape::Fchmodat, CaptureKind::Chmod),
    call(452, Shape::Fchmodat, CaptureKind::Chmod),
    call(16, Shape::Chown, CaptureKind::Chown),
    call(95, Shape::Fchown, CaptureKind::Chown),
    call(182, Shape::Chown, CaptureKind::Chown),
    call(198, Shape::Chown, CaptureKind::Chown),
    call(207, Shape::Fchown, CaptureKind::Chown),
    call(212, Shape::Chown, CaptureKind::Chown),
    call(298, Shape::Fchownat, CaptureKind::Chown),
    call(10, Shape::Unlink, CaptureKind::Unlink),
    call(301, Shape::Unlinkat, CaptureKind::Unlink),
    call(40, Shape::Rmdir, CaptureKind::Rmdir),
    call(39, Shape::Mkdir, CaptureKind::Mkdir),
    call(296, Shape::Mkdirat, CaptureKind::Mkdir),
    call(38, Shape::Rename, CaptureKind::Rename),
    call(302, Shape::Renameat, CaptureKind::Rename),
    call(353, Shape::Renameat2, CaptureKind::Rename),
    call(9, Shape::Link, CaptureKind::Link),
    call(303, Shape::Linkat, CaptureKind::Link),
    call(30, Shape::Utime, CaptureKind::Utimes),
    call(271, Shape::Utimes, CaptureKind::Utimes),
    call(299, Shape::Futimesat, CaptureKind::Utimes),
    call(320, Shape::Utimensat, CaptureKind::Utimes),
    call(412, Shape::UtimensatTime64, CaptureKind::Utimes),
];
