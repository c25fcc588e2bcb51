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

include!(concat!(env!("OUT_DIR"), "/syscalls.rs"));
