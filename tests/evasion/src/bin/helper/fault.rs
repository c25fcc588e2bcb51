//! Memory that changes while the kernel reads it, without a race: the text lies across two pages, and the second one is not there. The
//! kernel has read the first part when it faults, and waits for a thread of ours (userfaultfd), which changes that part and only then
//! gives the second page. The kernel goes on with what it has read; whoever looks later sees something else.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::place::{Done, Step, Stop};
use crate::raw::{sys, sys_fd};

pub(crate) const PAGE: usize = 4096;

const UFFD_API: u64 = 0xaa;
const REGISTER_MISSING: u64 = 1;
// _IOWR(0xaa, …) of uapi/linux/userfaultfd.h
const UFFDIO_API: u64 = 0xc018_aa3f;
const UFFDIO_REGISTER: u64 = 0xc020_aa00;
const UFFDIO_COPY: u64 = 0xc028_aa03;

/// A text that changes when the kernel has read its first part.
pub(crate) struct Trap {
    address: *const u8,
    sprung: Arc<AtomicBool>,
}

impl Trap {
    /// `text` with the first `split` bytes on the first page. When these are read, the byte at `at` becomes `other`. The kernel reads eight bytes
    /// at a time, and again those that it could not read at once: `at` must be as far before the split.
    pub(crate) fn new(text: &[u8], split: usize, (at, other): (usize, u8)) -> Result<Self, Stop> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let base = sys!(SYS_mmap, 0, 2 * PAGE, protection, flags, -1, 0).step("mmap")? as usize;
        let uffd = sys_fd!(SYS_userfaultfd, libc::O_CLOEXEC).or_absent("userfaultfd")?;
        let api = [UFFD_API, 0, 0];
        sys!(SYS_ioctl, &uffd, UFFDIO_API, api.as_ptr()).or_absent("userfaultfd")?;
        let range = [(base + PAGE) as u64, PAGE as u64, REGISTER_MISSING, 0];
        sys!(SYS_ioctl, &uffd, UFFDIO_REGISTER, range.as_ptr()).or_absent("userfaultfd")?;
        let start = base + PAGE - split;
        // SAFETY: the end of the first page, which is ours and writable.
        unsafe { (start as *mut u8).copy_from_nonoverlapping(text.as_ptr(), split) }
        let mut second = vec![0_u8; PAGE];
        second[..text.len() - split].copy_from_slice(&text[split..]);
        let change = (start + at, other);
        let sprung = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&sprung);
        // Not joined: an exec ends it, and else the program's end does.
        std::thread::spawn(move || serve(&uffd, base, change, &second, &told));
        Ok(Self {
            address: start as *const u8,
            sprung,
        })
    }

    pub(crate) fn address(&self) -> *const u8 {
        self.address
    }

    /// Fails if the kernel has not fallen for it.
    pub(crate) fn sprung(&self) -> Done {
        if self.sprung.load(Ordering::Acquire) {
            return Ok(());
        }
        Err("the kernel did not wait for the second page".into())
    }
}

fn serve(
    uffd: &OwnedFd,
    base: usize,
    (at, other): (usize, u8),
    second: &[u8],
    sprung: &AtomicBool,
) {
    let mut message = [0_u64; 4];
    if sys!(SYS_read, uffd, message.as_mut_ptr(), size_of_val(&message)).is_err() {
        return;
    }
    // SAFETY: a byte of the first page.
    unsafe { (at as *mut u8).write_volatile(other) }
    sprung.store(true, Ordering::Release);
    let copy = [
        (base + PAGE) as u64,
        second.as_ptr() as u64,
        PAGE as u64,
        0,
        0,
    ];
    let _ = sys!(SYS_ioctl, uffd, UFFDIO_COPY, copy.as_ptr());
}
