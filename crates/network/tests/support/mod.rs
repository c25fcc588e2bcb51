//! Small classifiers in network namespaces of the test's own.
#![allow(
    dead_code,
    unreachable_pub,
    unsafe_code,
    clippy::unwrap_used,
    reason = "each suite uses a part; programs are loaded and attached by libbpf; a test fails by panic"
)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::process::Command;

use atalaya_network::tc::Direction;
use atalaya_network::{Interface, interfaces};

/// Runs a test on a thread in a network namespace of its own, which goes with the thread. Says so and runs nothing without root.
pub fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread =
        std::thread::spawn(
            || match nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
                Ok(()) => test(),
                Err(error) => eprintln!("SKIPPED: no network namespace of our own: {error}"),
            },
        );
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip` or `tc`.
pub fn run(command: &str) {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap())
        .args(words)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A veth pair; gives its first end.
pub fn veth(name: &str) -> Interface {
    run(&format!(
        "ip link add {name} type veth peer name {name}-peer"
    ));
    interface(name)
}

/// An interface of this namespace by name.
pub fn interface(name: &str) -> Interface {
    interfaces()
        .unwrap()
        .into_iter()
        .find(|interface| interface.name == name)
        .unwrap()
}

/// Packs an instruction.
pub const fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> u64 {
    (code as u64)
        | ((dst as u64) << 8)
        | ((src as u64) << 12)
        | ((off as u16 as u64) << 16)
        | ((imm as u32 as u64) << 32)
}

/// `r0 = verdict; exit`
pub fn returns(verdict: i32) -> Vec<u64> {
    vec![insn(0xb7, 0, 0, 0, verdict), insn(0x95, 0, 0, 0, 0)]
}

/// Loads a classifier.
pub fn load(name: &str, program: &[u64]) -> io::Result<OwnedFd> {
    let name = CString::new(name).unwrap();
    let license = c"GPL";
    // SAFETY: the pointers are to live data of the lengths given.
    let fd = unsafe {
        libbpf_sys::bpf_prog_load(
            libbpf_sys::BPF_PROG_TYPE_SCHED_CLS,
            name.as_ptr(),
            license.as_ptr(),
            program.as_ptr().cast(),
            program.len() as _,
            std::ptr::null_mut(),
        )
    };
    owned(fd)
}

fn owned(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(-fd));
    }
    // SAFETY: the kernel has just made it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches by a tcx link, which is gone when the descriptor is closed. `EINVAL` where the kernel has no tcx.
pub fn attach_tcx(
    interface: &Interface,
    direction: Direction,
    program: BorrowedFd<'_>,
) -> io::Result<OwnedFd> {
    let attach_type = match direction {
        Direction::Ingress => libbpf_sys::BPF_TCX_INGRESS,
        Direction::Egress => libbpf_sys::BPF_TCX_EGRESS,
    };
    // SAFETY: no options.
    owned(unsafe {
        libbpf_sys::bpf_link_create(
            program.as_raw_fd(),
            interface.index as i32,
            attach_type,
            std::ptr::null(),
        )
    })
}

/// Attaches to clsact, which is made where it is missing.
pub fn attach_clsact(
    interface: &Interface,
    direction: Direction,
    program: BorrowedFd<'_>,
    priority: u32,
    handle: u32,
) {
    let hook = libbpf_sys::bpf_tc_hook {
        sz: size_of::<libbpf_sys::bpf_tc_hook>() as _,
        ifindex: interface.index as i32,
        attach_point: match direction {
            Direction::Ingress => libbpf_sys::BPF_TC_INGRESS,
            Direction::Egress => libbpf_sys::BPF_TC_EGRESS,
        },
        ..Default::default()
    };
    let options = libbpf_sys::bpf_tc_opts {
        sz: size_of::<libbpf_sys::bpf_tc_opts>() as _,
        prog_fd: program.as_raw_fd(),
        priority,
        handle,
        ..Default::default()
    };
    let (mut hook, mut options) = (hook, options);
    // SAFETY: both structs live until the calls are over.
    unsafe {
        let made = libbpf_sys::bpf_tc_hook_create(&raw mut hook);
        assert!(
            made == 0 || made == -(nix::Error::EEXIST as i32),
            "clsact: {made}"
        );
        assert_eq!(
            libbpf_sys::bpf_tc_attach(&raw const hook, &raw mut options),
            0
        );
    }
}
