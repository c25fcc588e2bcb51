//! From system-probe to security-agent, whatever ends on the way.

use std::collections::BTreeSet;
use std::time::Duration;

use atalaya_e2e::{Agent, EventLog, Probe, Setup, event_time, slow, sys, text, wait_for};

use crate::common::{CWD, int, string};

fn setup() -> Setup {
    // Each rule has a budget of events a second; the tests stay within its burst.
    Setup::new().rule(
        "numbered",
        r#"open.file.path =~ "{work}/n*" && open.flags & O_CREAT > 0"#,
    )
}

fn touch(probe: &Probe, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let path = string(&probe.path(&format!("n{number}")));
        sys(
            libc::SYS_openat,
            &[CWD, &path, &int(libc::O_CREAT | libc::O_WRONLY), "i:384"],
        );
    }
}

fn numbers(events: &mut EventLog) -> BTreeSet<u32> {
    events
        .of_rule("numbered")
        .iter()
        .filter_map(|event| text(event, "/file/name").strip_prefix('n')?.parse().ok())
        .collect()
}

fn wait_numbers(events: &mut EventLog, wanted: std::ops::Range<u32>) {
    let wanted: BTreeSet<u32> = wanted.collect();
    let all = wait_for(event_time() * 2, || {
        wanted.is_subset(&numbers(events)).then_some(())
    });
    assert!(
        all.is_some(),
        "wanted {wanted:?}, came {:?}",
        numbers(events)
    );
}

#[test]
fn events_reach_the_agent() {
    let mut probe = setup().start();
    let mut agent = Agent::start(&probe);
    touch(&probe, 0..5);
    wait_numbers(&mut agent.events, 0..5);
    // Both wrote the same.
    wait_numbers(&mut probe.events, 0..5);
    assert!(agent.stop());
}

#[test]
fn events_wait_for_an_agent_that_starts_later() {
    let mut probe = setup().start();
    touch(&probe, 0..5);
    wait_numbers(&mut probe.events, 0..5);
    let mut agent = Agent::start(&probe);
    wait_numbers(&mut agent.events, 0..5);
}

#[test]
fn a_killed_agent_misses_nothing() {
    let mut probe = setup().start();
    let mut agent = Agent::start(&probe);
    touch(&probe, 0..4);
    wait_numbers(&mut agent.events, 0..4);
    agent.kill();
    touch(&probe, 4..12);
    wait_numbers(&mut probe.events, 0..12);
    agent.restart(&probe);
    wait_numbers(&mut agent.events, 0..12);
    touch(&probe, 12..14);
    wait_numbers(&mut agent.events, 0..14);
}

#[test]
fn a_killed_probe_loses_nothing_that_it_had_seen() {
    let mut probe = setup().start();
    touch(&probe, 0..8);
    wait_numbers(&mut probe.events, 0..8);
    probe.kill();
    probe.start();
    let mut agent = Agent::start(&probe);
    wait_numbers(&mut agent.events, 0..8);
    touch(&probe, 8..10);
    wait_numbers(&mut agent.events, 0..10);
}

#[test]
fn an_agent_reconnects_to_a_restarted_probe() {
    let mut probe = setup().start();
    let mut agent = Agent::start(&probe);
    touch(&probe, 0..3);
    wait_numbers(&mut agent.events, 0..3);
    probe.kill();
    std::thread::sleep(slow(Duration::from_millis(300)));
    probe.start();
    touch(&probe, 3..6);
    wait_numbers(&mut agent.events, 0..6);
}

#[test]
fn the_agent_is_not_root_once_started() {
    let probe = setup().start();
    let mut agent = Agent::start(&probe);
    touch(&probe, 0..1);
    wait_numbers(&mut agent.events, 0..1);
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let line = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace()
            .skip(1)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    for name in ["Uid:", "Gid:"] {
        assert!(line(name).iter().all(|id| id != "0"), "{status}");
    }
    assert!(line("Groups:").iter().all(|id| id != "0"), "{status}");
    for set in ["CapEff:", "CapPrm:", "CapAmb:"] {
        assert!(
            line(set)
                .iter()
                .all(|bits| bits.chars().all(|bit| bit == '0')),
            "{status}"
        );
    }
}
