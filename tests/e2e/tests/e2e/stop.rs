//! A clean stop leaves nothing behind.

use std::collections::BTreeSet;
use std::time::Duration;

use atalaya_e2e::{Agent, Setup, slow, sys, wait_for};

/// The eBPF programs that a process holds, by descriptor.
fn programs_of(pid: u32) -> BTreeSet<u32> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
        return BTreeSet::new();
    };
    entries
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok())
        .filter_map(|text| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("prog_id:"))?;
            line.trim().parse().ok()
        })
        .collect()
}

/// Whether the kernel still has a program (`BPF_PROG_GET_FD_BY_ID`).
fn alive(program: u32) -> bool {
    sys(
        libc::SYS_bpf,
        &["i:13", &format!("l:{program},0,0,0"), "i:24"],
    )
    .result()
        >= 0
}

fn mounts() -> String {
    std::fs::read_to_string("/proc/1/mounts").unwrap()
}

#[test]
fn nothing_is_left() {
    let before = mounts();
    let mut probe = Setup::new()
        .rule("open", r#"open.file.path == "{work}/file""#)
        .start();
    let mut agent = Agent::start(&probe);
    // Before it has begun, it does not know yet what SIGTERM means.
    let begun = wait_for(slow(Duration::from_secs(10)), || {
        agent.log().contains("connected").then_some(())
    });
    assert!(begun.is_some(), "security-agent connects: {}", agent.log());
    let programs = programs_of(probe.pid());
    assert!(!programs.is_empty(), "a running probe holds programs");
    assert!(programs.iter().any(|program| alive(*program)));

    assert!(
        agent.stop(),
        "security-agent stops on SIGTERM: {}",
        agent.log()
    );
    let status = probe.stop().expect("system-probe stops on SIGTERM");
    assert!(status.success(), "{status}: {}", probe.log());
    assert!(!probe.socket().exists(), "the socket is removed");
    let gone = wait_for(slow(Duration::from_secs(5)), || {
        programs
            .iter()
            .all(|program| !alive(*program))
            .then_some(())
    });
    assert!(gone.is_some(), "programs outlive the probe");
    // Other tests mount nothing outside namespaces of their own.
    assert_eq!(mounts(), before, "mounts changed");
}

#[test]
fn a_crash_leaves_no_program_attached() {
    let mut probe = Setup::new()
        .rule("open", r#"open.file.path == "{work}/file""#)
        .start();
    let programs = programs_of(probe.pid());
    probe.kill();
    let gone = wait_for(slow(Duration::from_secs(5)), || {
        programs
            .iter()
            .all(|program| !alive(*program))
            .then_some(())
    });
    assert!(gone.is_some(), "programs outlive the probe");
}
