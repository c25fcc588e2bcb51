//! How others attach: `tc filter replace`, and tcx before all others.
#![allow(unsafe_code, unreachable_pub, reason = "libbpf is called")]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use atalaya_network::Interface;
use atalaya_network::tc::Direction;

/// Puts a program at this priority and handle of both sides, whatever was there.
pub fn replace(interface: &Interface, program: BorrowedFd<'_>, priority: u32, handle: u32) {
    for side in Direction::ALL {
        let mut hook = libbpf_sys::bpf_tc_hook {
            sz: size_of::<libbpf_sys::bpf_tc_hook>() as _,
            ifindex: interface.index as i32,
            attach_point: match side {
                Direction::Ingress => libbpf_sys::BPF_TC_INGRESS,
                Direction::Egress => libbpf_sys::BPF_TC_EGRESS,
            },
            ..Default::default()
        };
        let mut options = libbpf_sys::bpf_tc_opts {
            sz: size_of::<libbpf_sys::bpf_tc_opts>() as _,
            prog_fd: program.as_raw_fd(),
            flags: libbpf_sys::BPF_TC_F_REPLACE,
            priority,
            handle,
            ..Default::default()
        };
        // SAFETY: both structs live until the calls are over.
        let result = unsafe {
            libbpf_sys::bpf_tc_hook_create(&raw mut hook);
            libbpf_sys::bpf_tc_attach(&raw const hook, &raw mut options)
        };
        assert_eq!(result, 0, "replacing");
    }
}

/// A link of tcx before all others.
pub fn prepend_tcx(interface: &Interface, side: Direction, program: BorrowedFd<'_>) -> OwnedFd {
    let attach_type = match side {
        Direction::Ingress => libbpf_sys::BPF_TCX_INGRESS,
        Direction::Egress => libbpf_sys::BPF_TCX_EGRESS,
    };
    let options = libbpf_sys::bpf_link_create_opts {
        sz: size_of::<libbpf_sys::bpf_link_create_opts>() as _,
        flags: libbpf_sys::BPF_F_BEFORE,
        ..Default::default()
    };
    // SAFETY: the options live until the call is over; the descriptor is new.
    unsafe {
        let fd = libbpf_sys::bpf_link_create(
            program.as_raw_fd(),
            interface.index as i32,
            attach_type,
            &raw const options,
        );
        assert!(fd >= 0, "a link: {fd}");
        OwnedFd::from_raw_fd(fd)
    }
}
