//! Which system calls are events, and where their arguments are: made of `bpf/syscalls.tbl`.

use atalaya_model::capture::CaptureKind;

/// A system call of one table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Syscall {
    /// Its number.
    pub(crate) number: u32,
    /// Where its arguments are: of `enum shape` of the C side.
    pub(crate) shape: u8,
    /// The event it makes. `unlinkat` is sent as an unlink and told apart by its flag.
    pub(crate) kind: CaptureKind,
}

/// The kinds of calls that socketcall(2) makes, the i386 call that is all calls of sockets in one. It is sent as a connect and told apart
/// by its first argument.
pub(crate) const SOCKET_CALLS: &[CaptureKind] = &[
    CaptureKind::Accept,
    CaptureKind::Bind,
    CaptureKind::Connect,
    CaptureKind::Setsockopt,
    CaptureKind::Socket,
];

impl Syscall {
    pub(crate) fn is_socketcall(&self) -> bool {
        self.kind == CaptureKind::Connect && self.number == 102
    }
}

include!(concat!(env!("OUT_DIR"), "/syscalls.rs"));
