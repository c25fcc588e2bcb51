//! io_uring with the raw system calls: a ring, one entry, one completion.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::place::{Done, Step, Stop};
use crate::raw::{sys, sys_fd};

pub(crate) const CONNECT: u8 = 16;
pub(crate) const OPENAT: u8 = 18;
pub(crate) const RENAMEAT: u8 = 35;
pub(crate) const UNLINKAT: u8 = 36;
/// A flag of an entry: let a kernel worker do it.
pub(crate) const ASYNC: u8 = 1 << 4;
/// A flag of a ring: a kernel thread takes the entries, no system call.
pub(crate) const SETUP_SQPOLL: u32 = 1 << 1;

const ENTER_GETEVENTS: u32 = 1;
const ENTER_SQ_WAKEUP: u32 = 2;
const REGISTER_FILES: u32 = 2;
const REGISTER_PERSONALITY: u32 = 9;
const OFF_CQ_RING: i64 = 0x0800_0000;
const OFF_SQES: i64 = 0x1000_0000;

/// `struct io_uring_params` (uapi/linux/io_uring.h).
#[repr(C)]
#[derive(Default)]
struct Params {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    sq_thread_cpu: u32,
    sq_thread_idle: u32,
    features: u32,
    wq_fd: u32,
    resv: [u32; 3],
    sq_off: Offsets,
    cq_off: Offsets,
}

/// Both structs of offsets have this shape; the names are those of the submission ring, then those of the completion ring.
#[repr(C)]
#[derive(Default)]
struct Offsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    flags_or_overflow: u32,
    dropped_or_cqes: u32,
    array_or_flags: u32,
    resv1: u32,
    user_addr: u64,
}

/// `struct io_uring_sqe`, the parts that are used.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Entry {
    pub(crate) opcode: u8,
    pub(crate) flags: u8,
    pub(crate) ioprio: u16,
    pub(crate) fd: i32,
    pub(crate) off: u64,
    pub(crate) addr: u64,
    pub(crate) len: u32,
    pub(crate) op_flags: u32,
    pub(crate) user_data: u64,
    pub(crate) buf_index: u16,
    pub(crate) personality: u16,
    /// Place in the table of registered files that an opened one goes to, from 1.
    pub(crate) file_slot: u32,
    pub(crate) rest: [u64; 2],
}

/// A ring.
pub(crate) struct Ring {
    fd: OwnedFd,
    polled: bool,
    sq: *mut u8,
    cq: *mut u8,
    entries: *mut u8,
    sq_off: Offsets,
    cq_off: Offsets,
}

impl Ring {
    pub(crate) fn new(flags: u32) -> Result<Self, Stop> {
        let mut params = Params {
            flags,
            sq_thread_idle: 1000,
            ..Params::default()
        };
        let fd = sys_fd!(SYS_io_uring_setup, 4, &raw mut params).or_absent("io_uring")?;
        let entries = params.sq_entries as usize;
        let sq = map(&fd, 0, params.sq_off.array_or_flags as usize + 4 * entries)?;
        let cq = map(
            &fd,
            OFF_CQ_RING,
            params.cq_off.dropped_or_cqes as usize + 16 * params.cq_entries as usize,
        )?;
        let entries = map(&fd, OFF_SQES, entries * size_of::<Entry>())?;
        Ok(Self {
            fd,
            polled: flags & SETUP_SQPOLL != 0,
            sq,
            cq,
            entries,
            sq_off: params.sq_off,
            cq_off: params.cq_off,
        })
    }

    /// A table of registered files with nothing in it.
    pub(crate) fn register_empty_files(&self, count: usize) -> Done {
        let none = vec![-1_i32; count];
        sys!(
            SYS_io_uring_register,
            &self.fd,
            REGISTER_FILES,
            none.as_ptr(),
            none.len()
        )
        .or_absent("registered files")?;
        Ok(())
    }

    /// The present credentials, for later entries.
    pub(crate) fn register_personality(&self) -> Result<u16, Stop> {
        let id = sys!(SYS_io_uring_register, &self.fd, REGISTER_PERSONALITY, 0, 0)
            .or_absent("a personality")?;
        Ok(id as u16)
    }

    /// The first entry of a new ring, and its completion.
    pub(crate) fn one(&mut self, entry: Entry) -> io::Result<i32> {
        // SAFETY: offsets that the kernel gave, in mappings of the size that it wants; the tail is ours alone to write, and the release
        // makes the entry visible before it.
        unsafe {
            self.entries.cast::<Entry>().write_volatile(entry);
            self.sq
                .add(self.sq_off.array_or_flags as usize)
                .cast::<u32>()
                .write_volatile(0);
            (*self.sq.add(self.sq_off.tail as usize).cast::<AtomicU32>())
                .store(1, Ordering::Release);
        }
        let wake = if self.polled { ENTER_SQ_WAKEUP } else { 0 };
        sys!(
            SYS_io_uring_enter,
            &self.fd,
            1,
            1,
            ENTER_GETEVENTS | wake,
            0,
            0
        )?;
        // SAFETY: as above; the call returned because a completion is there, at the head, which is 0 in a new ring.
        let result = unsafe {
            (*self.cq.add(self.cq_off.tail as usize).cast::<AtomicU32>()).load(Ordering::Acquire);
            // struct io_uring_cqe: user data, result
            self.cq
                .add(self.cq_off.dropped_or_cqes as usize + 8)
                .cast::<i32>()
                .read_volatile()
        };
        if result < 0 {
            return Err(io::Error::from_raw_os_error(-result));
        }
        Ok(result)
    }
}

fn map(ring: &OwnedFd, offset: i64, size: usize) -> Result<*mut u8, Stop> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
    let address = sys!(
        SYS_mmap,
        0,
        size,
        protection,
        flags,
        ring.as_raw_fd(),
        offset
    )
    .step("the ring")?;
    Ok(address as *mut u8)
}
