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

/// `BPF_ENABLE_STATS` of run times.
pub(super) fn count_run_time() -> io::Result<OwnedFd> {
    // SAFETY: takes a number, and gives a descriptor or an error.
    let fd = answer(unsafe { libbpf_sys::bpf_enable_stats(libbpf_sys::BPF_STATS_RUN_TIME) })?;
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

/// `BPF_MAP_GET_FD_BY_ID`
pub(super) fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes a number, and gives a descriptor or an error.
    let fd = answer(unsafe { libbpf_sys::bpf_map_get_fd_by_id(id) })?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `BPF_OBJ_GET_INFO_BY_FD` of a map.
pub(super) fn map_info(map: BorrowedFd<'_>) -> io::Result<libbpf_sys::bpf_map_info> {
    let mut info = libbpf_sys::bpf_map_info::default();
    let mut length = size_of_val(&info) as u32;
    // SAFETY: `info` is a whole struct of `length` bytes, zeroed.
    answer(unsafe {
        libbpf_sys::bpf_map_get_info_by_fd(map.as_raw_fd(), &raw mut info, &raw mut length)
    })?;
    Ok(info)
}

/// `BPF_MAP_LOOKUP_ELEM` of a map whose keys have four bytes; `size` is what the kernel says that a value has.
pub(super) fn map_lookup(map: BorrowedFd<'_>, key: u32, size: usize) -> io::Result<Vec<u8>> {
    let mut value = vec![0u8; size];
    // SAFETY: the key has four bytes, and the value as many as the kernel copies out.
    answer(unsafe {
        libbpf_sys::bpf_map_lookup_elem(
            map.as_raw_fd(),
            (&raw const key).cast(),
            value.as_mut_ptr().cast(),
        )
    })?;
    Ok(value)
}

/// What a program consists of: its translated instructions, the maps that it uses, and the records that tell where its functions begin.
pub(super) struct Code {
    pub(super) instructions: Vec<u8>,
    pub(super) maps: Vec<u32>,
    pub(super) functions: Vec<u8>,
    pub(super) function_size: usize,
}

/// `BPF_OBJ_GET_INFO_BY_FD` of a program, with its arrays.
pub(super) fn program_code(program: BorrowedFd<'_>) -> io::Result<Code> {
    let sizes = program_info(program)?;
    let function_size = sizes.func_info_rec_size as usize;
    let mut code = Code {
        instructions: vec![0; sizes.xlated_prog_len as usize],
        maps: vec![0; sizes.nr_map_ids as usize],
        functions: vec![0; sizes.nr_func_info as usize * function_size],
        function_size,
    };
    let mut info = libbpf_sys::bpf_prog_info {
        xlated_prog_len: sizes.xlated_prog_len,
        xlated_prog_insns: code.instructions.as_mut_ptr() as u64,
        nr_map_ids: sizes.nr_map_ids,
        map_ids: code.maps.as_mut_ptr() as u64,
        nr_func_info: sizes.nr_func_info,
        func_info_rec_size: sizes.func_info_rec_size,
        func_info: code.functions.as_mut_ptr() as u64,
        ..Default::default()
    };
    let mut length = size_of_val(&info) as u32;
    // SAFETY: each array has as many bytes as the number before it says, which are those of the same loaded program: they never change.
    answer(unsafe {
        libbpf_sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &raw mut info, &raw mut length)
    })?;
    // The kernel gives no instructions to who may not see them.
    if info.xlated_prog_insns == 0 {
        return Err(io::Error::from_raw_os_error(nix::Error::EPERM as i32));
    }
    Ok(code)
}

/// The next link's number after `id`; None at the end.
pub(super) fn next_link(id: u32) -> io::Result<Option<u32>> {
    let mut next = 0;
    // SAFETY: `next` is a number that the call writes.
    match answer(unsafe { libbpf_sys::bpf_link_get_next_id(id, &raw mut next) }) {
        Ok(_) => Ok(Some(next)),
        Err(error) if error.raw_os_error() == Some(nix::Error::ENOENT as i32) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a link of the tracing kind is: the number of its program, and of what it is attached to; None of other kinds.
pub(super) fn tracing_link(id: u32) -> io::Result<Option<(u32, u32)>> {
    // SAFETY: takes a number, and gives a descriptor or an error.
    let fd = answer(unsafe { libbpf_sys::bpf_link_get_fd_by_id(id) })?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    let link = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut info = libbpf_sys::bpf_link_info::default();
    let mut length = size_of_val(&info) as u32;
    // SAFETY: `info` is a whole struct of `length` bytes, zeroed, so that no text is asked for.
    answer(unsafe {
        libbpf_sys::bpf_link_get_info_by_fd(link.as_raw_fd(), &raw mut info, &raw mut length)
    })?;
    if info.type_ != libbpf_sys::BPF_LINK_TYPE_TRACING {
        return Ok(None);
    }
    // SAFETY: a link of this kind has this member.
    let target = unsafe { info.__bindgen_anon_1.tracing.target_obj_id };
    Ok(Some((info.prog_id, target)))
}

/// `BPF_OBJ_GET`: what is pinned at a path.
pub(super) fn pinned(path: &std::ffi::CStr) -> io::Result<OwnedFd> {
    // SAFETY: the path ends with a zero byte and lives until the call is over.
    let fd = answer(unsafe { libbpf_sys::bpf_obj_get(path.as_ptr()) })?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
