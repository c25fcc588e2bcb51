//! tcx links: our programs on kernels from 6.6 on.
//!
//! A link belongs to whoever holds it: nobody replaces it by attaching something else, and it ends with the process. It follows its
//! interface, also into another namespace, and keeps neither alive.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::Direction;
use crate::{Error, bpf};

/// A program on one side of an interface. Dropping it detaches.
#[derive(Debug)]
pub struct TcxLink {
    fd: OwnedFd,
    id: u32,
}

impl TcxLink {
    /// Attaches before all others, so that nothing which ends the chain hides traffic from a program that only looks. The interface is
    /// one of the calling thread's namespace. EEXIST: the program is there already.
    pub fn attach(
        program: BorrowedFd<'_>,
        index: u32,
        direction: Direction,
    ) -> Result<Self, Error> {
        let what = || format!("attaching to the {direction} of interface {index}");
        let mut options = libbpf_sys::bpf_link_create_opts {
            sz: size_of::<libbpf_sys::bpf_link_create_opts>() as _,
            flags: libbpf_sys::BPF_F_BEFORE,
            ..Default::default()
        };
        let target = i32::try_from(index).unwrap_or(-1);
        // SAFETY: the options are a live struct of the size that it says; the call reads it and keeps nothing.
        #[allow(unsafe_code, reason = "bpf(2) has no safe wrapper")]
        let fd = unsafe {
            libbpf_sys::bpf_link_create(
                program.as_raw_fd(),
                target,
                attach_type(direction),
                &raw mut options,
            )
        };
        let fd = owned(fd).map_err(|source| Error::Bpf {
            what: what(),
            source,
        })?;
        let id = info(&fd)
            .map_err(|source| Error::Bpf {
                what: what(),
                source,
            })?
            .id;
        Ok(Self { fd, id })
    }

    /// The kernel's number of the link.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The index that its interface has where it is now; `None` when it is gone, or somebody forced the link off.
    pub fn interface(&self) -> Option<u32> {
        let info = info(&self.fd).ok()?;
        // SAFETY: every member of the union is plain numbers, and the kernel zeroes what it does not fill.
        #[allow(unsafe_code, reason = "the kernel's struct is a union")]
        let index = unsafe { info.__bindgen_anon_1.tcx.ifindex };
        (index != 0).then_some(index)
    }

    /// Puts another program into its place; no packet passes between the two unseen.
    pub fn replace(&self, program: BorrowedFd<'_>) -> Result<(), Error> {
        // SAFETY: no options are given; the call only reads the two descriptors, which live as long as it.
        #[allow(unsafe_code, reason = "bpf(2) has no safe wrapper")]
        let result = unsafe {
            libbpf_sys::bpf_link_update(self.fd.as_raw_fd(), program.as_raw_fd(), std::ptr::null())
        };
        check(result).map(drop).map_err(|source| Error::Bpf {
            what: format!("changing the program of link {}", self.id),
            source,
        })
    }
}

/// What identifies a loaded program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProgramId {
    /// The kernel's number. It is given again only after all others.
    pub id: u32,
    /// The kernel's digest of its instructions.
    pub tag: [u8; 8],
}

impl ProgramId {
    /// Of an open program.
    pub fn of(program: BorrowedFd<'_>) -> Result<Self, Error> {
        let info = bpf::info(program)?;
        Ok(Self {
            id: info.id,
            tag: info.tag,
        })
    }

    /// Of the program that has this number now. Needs CAP_SYS_ADMIN.
    pub fn of_number(id: u32) -> Result<Self, Error> {
        Self::of(bpf::Program::open(id)?.as_fd())
    }
}

/// Whether this kernel has tcx. Asked, not concluded from its version.
pub fn has_tcx() -> bool {
    // EINVAL: it knows no such place. There may be no interface 1; that is another error.
    match bpf::tcx_programs(1, Direction::Ingress) {
        Ok(_) => true,
        Err(error) => error.is_gone(),
    }
}

fn attach_type(direction: Direction) -> libbpf_sys::bpf_attach_type {
    match direction {
        Direction::Ingress => libbpf_sys::BPF_TCX_INGRESS,
        Direction::Egress => libbpf_sys::BPF_TCX_EGRESS,
    }
}

fn info(link: &OwnedFd) -> io::Result<libbpf_sys::bpf_link_info> {
    let mut info = libbpf_sys::bpf_link_info::default();
    let mut length = size_of::<libbpf_sys::bpf_link_info>() as u32;
    // SAFETY: `info` is a live struct of the given length, zeroed, so that it has no addresses for the kernel to write to.
    #[allow(unsafe_code, reason = "bpf(2) has no safe wrapper")]
    let result = unsafe {
        libbpf_sys::bpf_link_get_info_by_fd(link.as_raw_fd(), &raw mut info, &raw mut length)
    };
    check(result).map(|_| info)
}

/// libbpf gives errors as negative numbers.
fn check(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::from_raw_os_error(result.wrapping_neg()))
    } else {
        Ok(result)
    }
}

fn owned(fd: i32) -> io::Result<OwnedFd> {
    let fd = check(fd)?;
    // SAFETY: a new descriptor that the kernel has just given to this process, and nobody else has.
    #[allow(unsafe_code, reason = "bpf(2) has no safe wrapper")]
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
