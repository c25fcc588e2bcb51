//! Makes the kernel refuse ring buffers, as those before 5.8 do, until the machine is restarted: an LSM program on bpf(2)
//! answers EINVAL to `BPF_MAP_CREATE` of `BPF_MAP_TYPE_RINGBUF`. A fixture of `cargo xtask vmtest`; no machine that is in
//! use wants it.
#![allow(
    unsafe_code,
    reason = "the program is built of single instructions and loaded by libbpf's lowest level"
)]

use std::io::Error;

use libbpf_sys::{
    BPF_LSM_MAC, BPF_PROG_TYPE_LSM, bpf_insn, bpf_obj_pin, bpf_prog_load, bpf_prog_load_opts,
    bpf_raw_tracepoint_open, libbpf_find_vmlinux_btf_id,
};

const PIN: &std::ffi::CStr = c"/sys/fs/bpf/refuse_ringbuf";

/// `code`, destination and source register, offset, immediate: `struct bpf_insn`.
fn instruction(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> bpf_insn {
    let mut instruction = bpf_insn {
        code,
        off,
        imm,
        ..bpf_insn::default()
    };
    instruction.set_dst_reg(dst);
    instruction.set_src_reg(src);
    instruction
}

fn program() -> [bpf_insn; 13] {
    let i = instruction;
    [
        i(0x79, 2, 1, 0, 0),   // r2 = the command
        i(0x56, 2, 0, 9, 0),   // not BPF_MAP_CREATE: out
        i(0x79, 3, 1, 8, 0),   // r3 = the kernel's copy of the attributes
        i(0xbf, 1, 10, 0, 0),  // r1 = r10
        i(0x07, 1, 0, 0, -8),  // r1 -= 8
        i(0xb7, 2, 0, 0, 4),   // r2 = 4
        i(0x85, 0, 0, 0, 113), // bpf_probe_read_kernel: the first field, the map's type
        i(0x61, 1, 10, -8, 0), // r1 = it
        i(0x56, 1, 0, 2, 27),  // not BPF_MAP_TYPE_RINGBUF: past the next two
        i(0xb7, 0, 0, 0, -libc::EINVAL),
        i(0x95, 0, 0, 0, 0),
        i(0xb7, 0, 0, 0, 0), // out: r0 = 0
        i(0x95, 0, 0, 0, 0),
    ]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // SAFETY: the name is a C string.
    let hook = unsafe { libbpf_find_vmlinux_btf_id(c"bpf".as_ptr(), BPF_LSM_MAC) };
    let hook = u32::try_from(hook).map_err(|_| "the kernel's BTF has no LSM hook `bpf`")?;
    let mut log = vec![0u8; 1 << 16];
    let mut options = bpf_prog_load_opts {
        sz: size_of::<bpf_prog_load_opts>() as libbpf_sys::size_t,
        expected_attach_type: BPF_LSM_MAC,
        attach_btf_id: hook,
        log_level: 1,
        log_size: log.len() as u32,
        log_buf: log.as_mut_ptr().cast(),
        ..bpf_prog_load_opts::default()
    };
    let program = program();
    // SAFETY: name and license are C strings, the instructions are as many as told, and the log outlives the call.
    let loaded = unsafe {
        bpf_prog_load(
            BPF_PROG_TYPE_LSM,
            c"refuse_ringbuf".as_ptr(),
            c"GPL".as_ptr(),
            program.as_ptr(),
            program.len() as libbpf_sys::size_t,
            &raw mut options,
        )
    };
    if loaded < 0 {
        let error = Error::last_os_error();
        return Err(format!("not loaded: {error}\n{}", String::from_utf8_lossy(&log)).into());
    }
    // SAFETY: a program's descriptor and no name, as LSM programs are attached.
    let link = unsafe { bpf_raw_tracepoint_open(std::ptr::null(), loaded) };
    if link < 0 {
        return Err(format!("not attached: {}", Error::last_os_error()).into());
    }
    // Pinned, it outlives this process.
    // SAFETY: the path is a C string.
    if unsafe { bpf_obj_pin(link, PIN.as_ptr()) } < 0 {
        return Err(format!("not pinned: {}", Error::last_os_error()).into());
    }
    Ok(())
}
