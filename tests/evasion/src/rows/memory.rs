//! Memory that becomes code, and the kernel.

use crate::{ALL, Limit, Row};

const MPROTECT: &str =
    "mprotect.req_protection & VM_EXEC > 0 && mprotect.vm_protection & VM_WRITE > 0 && {me}";

pub(super) const ROWS: &[Row] = &[
    Row {
        id: "anonymous_code",
        attack: "maps memory that can be written and executed",
        expected: "the mmap with both",
        events: &["mmap"],
        rules: &[(
            "mmap",
            "mmap.protection & (PROT_WRITE|PROT_EXEC) == 6 && mmap.flags & MAP_ANONYMOUS > 0 && {me}",
        )],
        check: |seen| seen.simply("mmap", &[("/process/pid", seen.pid())]),
        ..Row::NEW
    },
    Row {
        id: "memfd_code",
        attack: "maps code out of a memfd",
        expected: "the mmap with the memfd's name",
        events: &["mmap"],
        rules: &[(
            "mmap",
            r#"mmap.file.name == "memfd:evasion-code" && mmap.protection & PROT_EXEC > 0"#,
        )],
        check: |seen| seen.simply("mmap", &[("/process/pid", seen.pid())]),
        ..Row::NEW
    },
    Row {
        id: "mprotect_code",
        attack: "writes code into memory, then lets it be executed",
        expected: "the mprotect with what was and what is",
        events: &["mprotect"],
        rules: &[("mprotect", MPROTECT)],
        check: |seen| seen.simply("mprotect", &[("/process/pid", seen.pid())]),
        ..Row::NEW
    },
    Row {
        id: "pkey_mprotect",
        attack: "the same by `pkey_mprotect`",
        expected: "the mprotect with what was and what is",
        events: &["mprotect"],
        rules: &[("mprotect", MPROTECT)],
        check: |seen| seen.simply("mprotect", &[("/process/pid", seen.pid())]),
        ..Row::NEW
    },
    Row {
        id: "read_implies_exec",
        attack: "lets all that can be read be executed (`personality`), maps memory to read and write",
        expected: "an mmap with PROT_EXEC",
        events: &["mmap"],
        rules: &[(
            "mmap",
            "mmap.protection & (PROT_WRITE|PROT_EXEC) == 6 && mmap.flags & MAP_ANONYMOUS > 0 && {me}",
        )],
        check: |seen| seen.simply("mmap", &[("/process/pid", seen.pid())]),
        limits: &[Limit::new(
            ALL,
            "what the call asks for is told; the kernel adds the right to execute afterwards, and `personality` is no event",
        )],
        ..Row::NEW
    },
    Row {
        id: "shm_exec",
        attack: "attaches System V shared memory to write and execute (SHM_EXEC)",
        expected: "an mmap with PROT_EXEC",
        events: &["mmap"],
        rules: &[(
            "mmap",
            "mmap.protection & (PROT_WRITE|PROT_EXEC) == 6 && {me}",
        )],
        check: |seen| seen.simply("mmap", &[("/process/pid", seen.pid())]),
        limits: &[Limit::new(
            ALL,
            "`shmat` is no mmap, and the language has no event for it",
        )],
        ..Row::NEW
    },
    Row {
        id: "bpf_load",
        attack: "loads an eBPF program without a name",
        expected: "the bpf with its command",
        events: &["bpf"],
        rules: &[("bpf", "bpf.cmd == BPF_PROG_LOAD && {me}")],
        check: |seen| seen.simply("bpf", &[("/process/pid", seen.pid())]),
        ..Row::NEW
    },
    Row {
        id: "sysctl_by_dirfd",
        attack: "sets a kernel parameter by `../kernel/hostname`, relative to another directory of /proc/sys",
        expected: "the sysctl with the parameter's name",
        events: &["sysctl"],
        rules: &[(
            "sysctl",
            r#"sysctl.name == "kernel/hostname" && sysctl.action == SYSCTL_WRITE && {me}"#,
        )],
        check: |seen| seen.simply("sysctl", &[("/process/pid", seen.pid())]),
        ..Row::NEW
    },
];
