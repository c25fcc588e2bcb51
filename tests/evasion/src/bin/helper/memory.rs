//! Memory that becomes code, and the kernel.

use std::io::Write;

use crate::Arm;
use crate::place::{Done, Place, Step};
use crate::raw::{sys, sys_fd};

pub(crate) const ARMS: &[(&str, Arm)] = &[
    ("anonymous_code", anonymous_code),
    ("mprotect_code", mprotect_code),
    ("pkey_mprotect", pkey_mprotect),
    ("memfd_code", memfd_code),
    ("read_implies_exec", read_implies_exec),
    ("shm_exec", shm_exec),
    ("bpf_load", bpf_load),
    ("sysctl_by_dirfd", sysctl_by_dirfd),
];

const READ: i32 = libc::PROT_READ;
const WRITE: i32 = libc::PROT_WRITE;
const EXEC: i32 = libc::PROT_EXEC;
const ANONYMOUS: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

fn map(protection: i32) -> Result<i64, crate::place::Stop> {
    sys!(SYS_mmap, 0, 4096, protection, ANONYMOUS, -1, 0).step("mmap")
}

fn anonymous_code(_: &Place) -> Done {
    map(READ | WRITE | EXEC)?;
    Ok(())
}

fn mprotect_code(_: &Place) -> Done {
    let address = map(READ | WRITE)?;
    sys!(SYS_mprotect, address, 4096, READ | EXEC).step("mprotect")?;
    Ok(())
}

fn pkey_mprotect(_: &Place) -> Done {
    let address = map(READ | WRITE)?;
    sys!(SYS_pkey_mprotect, address, 4096, READ | EXEC, -1).or_absent("pkey_mprotect")?;
    Ok(())
}

fn memfd_code(_: &Place) -> Done {
    let fd = sys_fd!(SYS_memfd_create, c"evasion-code", 0).or_absent("memfd_create")?;
    let mut file = std::fs::File::from(fd);
    file.write_all(&[0xc3; 4096]).step("the code")?;
    sys!(SYS_mmap, 0, 4096, READ | EXEC, libc::MAP_PRIVATE, &file, 0).step("mmap")?;
    Ok(())
}

fn read_implies_exec(_: &Place) -> Done {
    const READ_IMPLIES_EXEC: i32 = 0x040_0000;
    sys!(SYS_personality, READ_IMPLIES_EXEC).step("personality")?;
    map(READ | WRITE)?;
    Ok(())
}

fn shm_exec(_: &Place) -> Done {
    let id =
        sys!(SYS_shmget, libc::IPC_PRIVATE, 4096, libc::IPC_CREAT | 0o700).or_absent("shmget")?;
    let attached = sys!(SYS_shmat, id, 0, libc::SHM_EXEC).step("shmat");
    sys!(SYS_shmctl, id, libc::IPC_RMID, 0).step("shmctl")?;
    attached?;
    Ok(())
}

fn bpf_load(_: &Place) -> Done {
    const PROG_LOAD: i32 = 5;
    const SOCKET_FILTER: u32 = 1;
    // mov r0, 0; exit
    let code: [u64; 2] = [0xb7, 0x95];
    let (license, mut attributes) = (c"GPL", [0_u64; 16]);
    attributes[0] = u64::from(SOCKET_FILTER) | 2 << 32;
    attributes[1] = code.as_ptr() as u64;
    attributes[2] = license.as_ptr() as u64;
    sys_fd!(
        SYS_bpf,
        PROG_LOAD,
        attributes.as_ptr(),
        size_of_val(&attributes)
    )
    .or_absent("BPF_PROG_LOAD")?;
    Ok(())
}

/// In a UTS namespace of its own, so that the name is nobody else's.
fn sysctl_by_dirfd(_: &Place) -> Done {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUTS).or_absent("a UTS namespace")?;
    let dir = crate::place::read("/proc/sys/net")?;
    let fd = sys_fd!(SYS_openat, &dir, c"../kernel/hostname", libc::O_WRONLY)
        .or_absent("the parameter")?;
    std::fs::File::from(fd)
        .write_all(b"evasion")
        .or_absent("the write")?;
    Ok(())
}
