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
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
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

/// Loads a classifier, and says what the verifier said against it.
pub fn load_logged(program: &[u64]) -> Result<OwnedFd, String> {
    let mut log = vec![0u8; 1 << 20];
    let mut options = libbpf_sys::bpf_prog_load_opts {
        sz: size_of::<libbpf_sys::bpf_prog_load_opts>() as _,
        log_level: 1,
        log_size: log.len() as u32,
        log_buf: log.as_mut_ptr().cast(),
        ..Default::default()
    };
    // SAFETY: the pointers are to live data of the lengths given.
    let fd = unsafe {
        libbpf_sys::bpf_prog_load(
            libbpf_sys::BPF_PROG_TYPE_SCHED_CLS,
            c"random".as_ptr(),
            c"GPL".as_ptr(),
            program.as_ptr().cast(),
            program.len() as _,
            &raw mut options,
        )
    };
    owned(fd).map_err(|error| {
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(0);
        format!(
            "{error}: {}",
            String::from_utf8_lossy(&log[end.saturating_sub(800)..end])
        )
    })
}

/// An array of one element, with its contents; frozen and read-only, or not.
pub fn array(contents: &[u8], constant: bool) -> OwnedFd {
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as _,
        map_flags: if constant {
            libbpf_sys::BPF_F_RDONLY_PROG
        } else {
            0
        },
        ..Default::default()
    };
    // SAFETY: the pointers are to live data of the lengths given.
    unsafe {
        let map = owned(libbpf_sys::bpf_map_create(
            libbpf_sys::BPF_MAP_TYPE_ARRAY,
            c"contents".as_ptr(),
            4,
            contents.len() as u32,
            1,
            &raw const options,
        ))
        .unwrap();
        let key = 0u32;
        let updated = libbpf_sys::bpf_map_update_elem(
            map.as_raw_fd(),
            (&raw const key).cast(),
            contents.as_ptr().cast(),
            0,
        );
        assert_eq!(updated, 0);
        if constant {
            assert_eq!(libbpf_sys::bpf_map_freeze(map.as_raw_fd()), 0);
        }
        map
    }
}

/// An array of programs with these.
pub fn program_array(programs: &[BorrowedFd<'_>]) -> OwnedFd {
    // SAFETY: the pointers are to live data of the lengths given.
    unsafe {
        let map = owned(libbpf_sys::bpf_map_create(
            libbpf_sys::BPF_MAP_TYPE_PROG_ARRAY,
            c"calls".as_ptr(),
            4,
            4,
            8,
            std::ptr::null(),
        ))
        .unwrap();
        for (key, program) in programs.iter().enumerate() {
            let (key, value) = (key as u32, program.as_raw_fd());
            let updated = libbpf_sys::bpf_map_update_elem(
                map.as_raw_fd(),
                (&raw const key).cast(),
                (&raw const value).cast(),
                0,
            );
            assert_eq!(updated, 0);
        }
        map
    }
}

/// Runs a classifier on a packet with a mark; gives what it returned.
pub fn test_run(program: BorrowedFd<'_>, packet: &[u8], mark: u32) -> u32 {
    let mut context = [0u32; 48];
    context[2] = mark;
    let mut options = libbpf_sys::bpf_test_run_opts {
        sz: size_of::<libbpf_sys::bpf_test_run_opts>() as _,
        data_in: packet.as_ptr().cast(),
        data_size_in: packet.len() as u32,
        ctx_in: context.as_ptr().cast(),
        ctx_size_in: size_of_val(&context) as u32,
        repeat: 1,
        ..Default::default()
    };
    // SAFETY: the pointers are to live data of the lengths given.
    let result =
        unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut options) };
    assert_eq!(result, 0, "{}", io::Error::from_raw_os_error(-result));
    options.retval
}

/// The number of a loaded program.
pub fn id(program: &impl AsFd) -> u32 {
    atalaya_network::bpf::info(program.as_fd()).unwrap().id
}
