//! Both programs have given up what they need no more: what the kernel says of the running processes, not what they say themselves.

use std::time::Duration;

use atalaya_e2e::{Agent, Setup, slow, sys, wait_for};

use crate::common::{CWD, int, string};

/// A line of `/proc/PID/status`.
fn status(pid: u32, name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

#[test]
fn sandbox_of_both_programs() {
    let mut probe = Setup::new()
        .rule("seen", r#"open.file.path == "{work}/seen""#)
        .start();
    let mut agent = Agent::start(&probe);
    let path = string(&probe.path("seen"));
    let flags = int(libc::O_CREAT | libc::O_WRONLY);
    sys(libc::SYS_openat, &[CWD, &path, &flags, "i:384"]);
    probe.events.expect_rule("seen");
    let stored = wait_for(slow(Duration::from_secs(10)), || {
        agent.events.of_rule("seen").into_iter().next()
    });
    assert!(stored.is_some(), "nothing stored under the sandbox");
    for pid in [probe.pid(), agent.pid()] {
        assert_eq!(status(pid, "NoNewPrivs"), "1");
        assert_eq!(status(pid, "Seccomp"), "2", "filtered");
    }
    let log = agent.log();
    assert!(
        ["enforced", "partly enforced", "not"]
            .iter()
            .any(|how| log.contains(&format!("Landlock: {how}"))),
        "{log}"
    );
    assert!(log.contains("seccomp: enforced"), "{log}");
    assert_eq!(status(agent.pid(), "CapEff"), "0000000000000000");
    // The capabilities that take over a host: CAP_SYS_MODULE 16, CAP_SYS_RAWIO 17, CAP_SYS_BOOT 22, CAP_SETUID 7, CAP_MKNOD 27.
    let kept = u64::from_str_radix(&status(probe.pid(), "CapEff"), 16).expect("a number");
    assert_eq!(kept & (1 << 16 | 1 << 17 | 1 << 22 | 1 << 7 | 1 << 27), 0);
    assert!(agent.stop());
}
