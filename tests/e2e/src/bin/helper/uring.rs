//! One operation through io_uring, with the raw system calls: set up a ring, submit one entry, read one completion.

use crate::arguments::Arguments;

/// Offsets of `struct io_uring_params`, which `io_uring_setup` fills (uapi/linux/io_uring.h).
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
    sq_off: SqOffsets,
    cq_off: CqOffsets,
}

#[repr(C)]
#[derive(Default)]
struct SqOffsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    flags: u32,
    dropped: u32,
    array: u32,
    resv1: u32,
    user_addr: u64,
}

#[repr(C)]
#[derive(Default)]
struct CqOffsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    overflow: u32,
    cqes: u32,
    flags: u32,
    resv1: u32,
    user_addr: u64,
}

/// `struct io_uring_sqe`, the parts that path operations use.
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
    pub(crate) rest: [u64; 3],
}

#[repr(C)]
struct Completion {
    user_data: u64,
    res: i32,
    flags: u32,
}

const OFF_SQ_RING: i64 = 0;
const OFF_CQ_RING: i64 = 0x0800_0000;
const OFF_SQES: i64 = 0x1000_0000;
const ENTER_GETEVENTS: i64 = 1;
pub(crate) const SQE_ASYNC: u8 = 1 << 4;

/// One operation; arguments are fd, addr, off, len, flags, addr3.
pub(crate) fn call(opcode: i64, arguments: &Arguments, async_worker: bool) -> i64 {
    let [fd, addr, off, len, op_flags, addr3] = arguments.values;
    submit(Entry {
        opcode: u8::try_from(opcode).expect("an opcode"),
        flags: if async_worker { SQE_ASYNC } else { 0 },
        fd: fd as i32,
        off: off as u64,
        addr: addr as u64,
        len: len as u32,
        op_flags: op_flags as u32,
        rest: [0, addr3 as u64, 0],
        ..Entry::default()
    })
}

/// Submits one entry to a new ring and waits for its completion.
pub(crate) fn submit(entry: Entry) -> i64 {
    let mut params = Params::default();
    // SAFETY: `params` is what the call expects and outlives it.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 4, &mut params) };
    if ring < 0 {
        return -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap_or(0));
    }
    let sq = map(
        ring,
        OFF_SQ_RING,
        params.sq_off.array as usize + 4 * params.sq_entries as usize,
    );
    let cq_size =
        params.cq_off.cqes as usize + params.cq_entries as usize * size_of::<Completion>();
    let cq = map(ring, OFF_CQ_RING, cq_size);
    let entries = map(
        ring,
        OFF_SQES,
        params.sq_entries as usize * size_of::<Entry>(),
    );
    let entry = Entry {
        user_data: 1,
        ..entry
    };
    // SAFETY: the first entry of a ring of four; index 0 of the array names it; the tail is ours alone to write, and
    // the kernel reads it only in the system call below.
    unsafe {
        entries.cast::<Entry>().write_volatile(entry);
        sq.add(params.sq_off.array as usize)
            .cast::<u32>()
            .write_volatile(0);
        sq.add(params.sq_off.tail as usize)
            .cast::<u32>()
            .write_volatile(1);
    }
    // SAFETY: submits one entry and waits for one completion; the caller keeps what the entry points to.
    let submitted = unsafe {
        libc::syscall(
            libc::SYS_io_uring_enter,
            ring,
            1_i64,
            1_i64,
            ENTER_GETEVENTS,
            0_i64,
            0_i64,
        )
    };
    if submitted < 0 {
        return -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap_or(0));
    }
    // SAFETY: the call above returned after one completion was written at the head, which is 0 in a new ring.
    let completion = unsafe {
        cq.add(params.cq_off.cqes as usize)
            .cast::<Completion>()
            .read_volatile()
    };
    i64::from(completion.res)
}

fn map(ring: i64, offset: i64, size: usize) -> *mut u8 {
    // SAFETY: a shared mapping of the ring's own memory, checked below.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_POPULATE,
            i32::try_from(ring).expect("a descriptor"),
            offset,
        )
    };
    assert!(address != libc::MAP_FAILED, "the ring cannot be mapped");
    address.cast()
}
