//! Calls on memory that takes more than one call to make.

use std::os::fd::AsRawFd;

use crate::arguments::{Arguments, fresh_memory};
use crate::system_call;

const PAGE: i64 = 4096;

fn protect(address: i64, length: i64, protection: i32) -> i64 {
    let mut arguments = Arguments::parse(&[]);
    arguments.values[..3].copy_from_slice(&[address, length, protection.into()]);
    system_call(libc::SYS_mprotect, &arguments)
}

/// Makes a segment to read and one to write, side by side, read-only by one call.
pub(crate) fn protect_two() -> i64 {
    let address = fresh_memory("1", 0);
    let write = libc::PROT_READ | libc::PROT_WRITE;
    assert_eq!(protect(address + 2 * PAGE, 2 * PAGE, write), 0);
    protect(address, 4 * PAGE, libc::PROT_READ)
}

/// Asks to write to shared memory of a file that is open for reading.
pub(crate) fn protect_file(path: &str) -> i64 {
    let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let (read, write) = (libc::PROT_READ, libc::PROT_READ | libc::PROT_WRITE);
    // SAFETY: fresh memory that nothing else knows of.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            PAGE as usize,
            read,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    assert!(address != libc::MAP_FAILED, "no memory");
    protect(address as i64, PAGE, write)
}
