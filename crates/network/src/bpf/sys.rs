//! The calls of libbpf, one function each: all unsafe code of this crate is here.
#![allow(
    unsafe_code,
    reason = "bpf(2) has no safe wrapper for what is asked here; each block says why it holds"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::answer;
use crate::tc::Direction;

/// How often a list is asked for that grows meanwhile.
const ATTEMPTS: usize = 8;

/// `BPF_PROG_GET_FD_BY_ID`
pub(super) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes a number, and gives a descriptor or an error.
    let fd = answer(unsafe { libbpf_sys::bpf_prog_get_fd_by_id(id) })?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `BPF_OBJ_GET_INFO_BY_FD` of a program, without its arrays.
pub(super) fn program_info(program: BorrowedFd<'_>) -> io::Result<libbpf_sys::bpf_prog_info> {
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut length = size_of_val(&info) as u32;
    // SAFETY: `info` is a whole struct of `length` bytes, zeroed, so that no array is asked for.
    answer(unsafe {
        libbpf_sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &raw mut info, &raw mut length)
    })?;
    Ok(info)
}

/// `BPF_PROG_QUERY` of tcx.
pub(super) fn tcx_programs(
    interface: u32,
    direction: Direction,
) -> io::Result<Vec<(u32, Option<u32>)>> {
    let attach_type = match direction {
        Direction::Ingress => libbpf_sys::BPF_TCX_INGRESS,
        Direction::Egress => libbpf_sys::BPF_TCX_EGRESS,
    };
    let mut room = 16usize;
    for _ in 0..ATTEMPTS {
        let mut programs = vec![0u32; room];
        let mut links = vec![0u32; room];
        let mut options = libbpf_sys::bpf_prog_query_opts {
            sz: size_of::<libbpf_sys::bpf_prog_query_opts>() as _,
            prog_ids: programs.as_mut_ptr(),
            link_ids: links.as_mut_ptr(),
            ..Default::default()
        };
        options.__bindgen_anon_1.prog_cnt = room as u32;
        // SAFETY: both arrays have as many elements as `prog_cnt` says and live until the call is over.
        let result = answer(unsafe {
            libbpf_sys::bpf_prog_query_opts(interface as i32, attach_type, &raw mut options)
        });
        // SAFETY: both members of the union are the same number.
        let count = unsafe { options.__bindgen_anon_1.prog_cnt } as usize;
        match result {
            Ok(_) => {
                let link = |id: u32| (id != 0).then_some(id);
                let links = links.into_iter().map(link);
                return Ok(programs.into_iter().zip(links).take(count).collect());
            }
            // The kernel tells how many there are.
            Err(error) if error.raw_os_error() == Some(nix::Error::ENOSPC as i32) => {
                room = count.max(room) * 2;
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from_raw_os_error(nix::Error::ENOSPC as i32))
}
