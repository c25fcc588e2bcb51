//! Attacks on the agent itself, made for real: each is told, with who made it, and what can be put right is.

use std::time::Duration;

use atalaya_e2e::{Agent, EventLog, Helper, Probe, Setup, at, slow, sys, text, wait_for};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::common::{CWD, int, string};

const PTRACE_SEIZE: i64 = 0x4206;

/// Looks often, so that the tests are quick.
fn setup() -> Setup {
    Setup::new()
        .rule("open", r#"open.file.path == "{work}/seen""#)
        .config("  self_protection:\n    period: 1s\n")
}

fn told(events: &mut EventLog, kind: &str, target: &str) -> Value {
    events.expect("self_protection", |event| {
        text(event, "/kind") == kind && text(event, "/target") == target
    })
}

/// The executable of who did it.
fn by(event: &Value) -> &str {
    let last = at(event, "/by").as_array().and_then(|by| by.last());
    last.map(|by| text(by, "/path")).unwrap_or_default()
}

fn opens(probe: &Probe) {
    let path = string(&probe.path("seen"));
    let flags = int(libc::O_CREAT | libc::O_WRONLY);
    sys(libc::SYS_openat, &[CWD, &path, &flags, "i:384"]);
}

fn of_kind(events: &mut EventLog, kind: &str) -> usize {
    let all = events.of_rule("self_protection");
    all.iter()
        .filter(|event| text(event, "/kind") == kind)
        .count()
}

/// Waits until the probe knows that security-agent is connected.
fn connected(probe: &Probe, agent: &Agent) {
    let name = format!("self_protection.security-agent.{}", agent.pid());
    let known = wait_for(slow(Duration::from_secs(10)), || {
        probe.status().to_string().contains(&name).then_some(())
    });
    assert!(known.is_some(), "{name} is not in the status");
}

#[test]
fn self_protection_ptrace() {
    let mut probe = setup().start();
    let mut agent = Agent::start(&probe);
    connected(&probe, &agent);
    for (pid, target) in [
        (probe.pid(), "system-probe"),
        (agent.pid(), "security-agent"),
    ] {
        let pid = i32::try_from(pid).unwrap();
        let helper = sys(
            libc::SYS_ptrace,
            &[&format!("i:{PTRACE_SEIZE}"), &int(pid), "i:0", "i:0"],
        );
        assert_eq!(helper.result(), 0);
        let event = told(&mut probe.events, "ptrace", target);
        assert!(by(&event).ends_with("e2e-helper"), "{event:#}");
    }
    let status = probe.status().to_string();
    assert!(
        status.contains("security-agent was attached to by ptrace"),
        "{status}"
    );
    assert!(agent.stop());
}

#[test]
fn self_protection_signals() {
    let mut probe = setup().start();
    let mut agent = Agent::start(&probe);
    connected(&probe, &agent);
    let pid = i32::try_from(probe.pid()).unwrap();
    // While it is stopped it sees nothing; what was done meanwhile waits in the rings.
    sys(libc::SYS_kill, &[&int(pid), &int(libc::SIGSTOP)]);
    opens(&probe);
    sys(libc::SYS_kill, &[&int(pid), &int(libc::SIGCONT)]);
    let event = told(&mut probe.events, "signal", "system-probe");
    assert!(text(&event, "/summary").contains("SIGSTOP"), "{event:#}");
    assert!(by(&event).ends_with("e2e-helper"), "{event:#}");
    probe.events.expect_rule("open");
    sys(
        libc::SYS_kill,
        &[
            &int(i32::try_from(agent.pid()).unwrap()),
            &int(libc::SIGKILL),
        ],
    );
    let event = told(&mut probe.events, "signal", "security-agent");
    assert!(text(&event, "/summary").contains("SIGKILL"), "{event:#}");
    agent.kill();
    // Nobody is left who could tell of this one but the next.
    probe.kill();
    probe.start();
    let event = told(&mut probe.events, "unclean_end", "system-probe");
    assert!(
        text(&event, "/summary").contains(&pid.to_string()),
        "{event:#}"
    );
    // One that was asked to stop leaves no such mark, and who asked is told.
    probe.signal(Signal::SIGTERM);
    assert!(
        probe
            .wait(slow(Duration::from_secs(10)))
            .is_some_and(|status| status.success())
    );
    let before = of_kind(&mut probe.events, "unclean_end");
    probe.start();
    opens(&probe);
    probe.events.expect_rule("open");
    assert_eq!(of_kind(&mut probe.events, "unclean_end"), before);
}

#[test]
fn self_protection_maps() {
    let mut probe = setup().start();
    opens(&probe);
    probe.events.expect_rule("open");
    let pid = probe.pid().to_string();
    let helper = Helper::run(&["wreck-map", &pid, "filters"]);
    assert!(helper.result() > 10, "{}", helper.result());
    let event = told(&mut probe.events, "sensor_tampered", "system-probe");
    assert!(
        text(&event, "/summary").contains("map filters"),
        "{event:#}"
    );
    assert_eq!(at(&event, "/repaired"), &Value::Bool(true), "{event:#}");
    assert!(by(&event).ends_with("e2e-helper"), "{event:#}");
    told(&mut probe.events, "maps_opened", "system-probe");
    // It sees again.
    let seen = probe.events.of_rule("open").len();
    opens(&probe);
    let more = wait_for(slow(Duration::from_secs(5)), || {
        (probe.events.of_rule("open").len() > seen).then_some(())
    });
    assert!(more.is_some(), "blind after the repair");
    // Put right once, it stays so: nothing is found a second time.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(of_kind(&mut probe.events, "sensor_tampered"), 1);
}

#[test]
fn self_protection_links() {
    let mut probe = setup()
        .rule("sysctl", r#"sysctl.name == "kernel/hostname""#)
        .start();
    if !probe.sees("sysctl") {
        return;
    }
    let helper = Helper::run(&["detach-links", &probe.pid().to_string()]);
    assert_eq!(helper.result(), 1, "the program of the cgroup");
    let event = told(&mut probe.events, "sensor_tampered", "system-probe");
    assert!(
        text(&event, "/summary").contains("detached: sysctl"),
        "{event:#}"
    );
    assert_eq!(at(&event, "/repaired"), &Value::Bool(true), "{event:#}");
    assert!(by(&event).ends_with("e2e-helper"), "{event:#}");
    let helper = Helper::run(&["detach-links", &probe.pid().to_string()]);
    assert_eq!(helper.result(), 1, "it was attached again");
}

#[test]
fn self_protection_files() {
    let mut probe = setup().start();
    let told_at_once = probe.status().to_string().contains("at once, in");
    let config = probe.config();
    let flags = int(libc::O_WRONLY | libc::O_TRUNC);
    sys(
        libc::SYS_openat,
        &[CWD, &string(&config.to_string_lossy()), &flags, "i:0"],
    );
    let event = told(&mut probe.events, "file_changed", "system-probe");
    assert!(
        text(&event, "/summary").contains("atalaya.yaml was written to"),
        "{event:#}"
    );
    // Some file systems tell of no changes by fanotify.
    if told_at_once {
        assert!(by(&event).ends_with("e2e-helper"), "{event:#}");
    } else {
        eprintln!("SKIPPED: who changed it, because there is no fanotify here");
    }
    let policy = probe.dir().join("policies/e2e.policy");
    sys(
        libc::SYS_unlinkat,
        &[CWD, &string(&policy.to_string_lossy()), "i:0"],
    );
    probe.events.expect("self_protection", |event| {
        text(event, "/summary").ends_with("e2e.policy was removed")
    });
}

/// What the agent does itself, and what a host does all day, is no attack.
#[test]
fn self_protection_is_quiet() {
    let mut probe = setup().self_test().start();
    let mut agent = Agent::start(&probe);
    connected(&probe, &agent);
    opens(&probe);
    probe.events.expect_rule("open");
    let (done, _, err) = probe.agent(&["runtime", "policy", "reload"]);
    assert!(done, "{err}");
    let killed = std::process::Command::new("/bin/sh")
        .args(["-c", "kill -TERM $$"])
        .status();
    assert!(killed.is_ok());
    std::thread::sleep(Duration::from_millis(2500));
    assert!(agent.stop());
    let told = probe.events.of_rule("self_protection");
    // Stopping security-agent is a signal like any other.
    let others: Vec<&Value> = told
        .iter()
        .filter(|event| text(event, "/kind") != "signal")
        .collect();
    assert!(others.is_empty(), "{others:#?}");
    let on_probe = told
        .iter()
        .filter(|event| text(event, "/target") == "system-probe");
    assert_eq!(on_probe.count(), 0, "{told:#?}");
}
