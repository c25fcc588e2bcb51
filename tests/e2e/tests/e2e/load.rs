//! Under load: nothing vital is lost, what is lost is counted to the last one, and who floods pays for it himself.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use atalaya_e2e::{Helper, Probe, Setup, at, skip, slow, text, wait_for};
use serde_json::Value;

use crate::common::{cgroup2, make_file, remove_group, tiny_program};

/// A smaller load where each program takes milliseconds to run.
fn load(full: i64) -> i64 {
    match std::env::var_os("ATALAYA_E2E_SLOW") {
        Some(_) => full / 20,
        None => full,
    }
}

fn counters(probe: &Probe, event_type: &str) -> Value {
    let status = probe.status();
    let all = status["event_types"].as_array().cloned();
    let mut all = all.into_iter().flatten();
    all.find(|counters| counters["event_type"] == event_type)
        .unwrap_or_else(|| panic!("no counters of {event_type}: {status:#}"))
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or(0)
}

fn vital_losses(probe: &Probe) -> u64 {
    let status = probe.status();
    let rings = status["sensor"]["rings"].as_array();
    let vital = rings
        .into_iter()
        .flatten()
        .find(|ring| ring["name"] == "vital")
        .unwrap_or_else(|| panic!("status has no vital ring: {status:#}"));
    number(vital, "lost")
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let words = line.into_iter().flat_map(str::split_whitespace);
    words
        .into_iter()
        .find_map(|word| word.parse().ok())
        .unwrap()
}

/// Nobody else on the machine calls this, so that every one of these events is ours.
const PR_SET_TIMERSLACK: i64 = 29;

#[test]
fn what_was_seen_and_what_was_lost_make_what_was_done() {
    let probe = Setup::new()
        .rule("storm", "prctl.option == PR_SET_TIMERSLACK")
        .config("  event_stream:\n    buffer_size: 65536\n")
        .start();
    let count = load(400_000).to_string();
    let made = Helper::run(&["storm-prctl", &PR_SET_TIMERSLACK.to_string(), &count]);
    let made = u64::try_from(made.result()).unwrap();
    let told = || {
        let prctl = counters(&probe, "prctl");
        number(&prctl, "received") + number(&prctl, "lost")
    };
    // The last are on their way; more than was done would be as wrong as less.
    wait_for(slow(Duration::from_secs(20)), || {
        (told() >= made).then_some(())
    });
    let prctl = counters(&probe, "prctl");
    assert_eq!(told(), made, "{prctl:#}");
    if number(&prctl, "lost") == 0 {
        skip("nothing was lost in a ring of 64 KiB");
    }
}

#[test]
fn short_lived_processes_by_the_hundred_thousand_lose_nothing_vital() {
    let mut probe = Setup::new()
        .rule("last", r#"exec.file.path == "{work}/tiny""#)
        .start();
    let program = probe.path("tiny");
    tiny_program(program.as_ref());
    let before = resident_kib(probe.pid());
    let count = load(100_000);
    let run = Helper::run(&["storm-fork", &count.to_string()]);
    assert_eq!(run.result(), count);
    let run = Helper::run(&["fork-tree", "10", &program]);
    assert_eq!(run.result(), 0);
    for _ in 0..1024 {
        probe.events.expect_rule("last");
        if probe.events.of_rule("last").len() >= 40 {
            break;
        }
    }
    assert_eq!(vital_losses(&probe), 0);
    let lost = probe.events.of_rule("lost_events");
    assert!(lost.is_empty(), "{lost:#?}");
    let after = resident_kib(probe.pid());
    assert!(
        after < before + 64 * 1024,
        "{before} KiB before, {after} KiB after"
    );
}

#[test]
fn each_program_of_a_storm_is_told_once_with_its_parent() {
    let mut probe = Setup::new()
        .rule("storm", r#"exec.file.path == "{work}/tiny""#)
        .config("  event_server:\n    burst: 100000\n    rate: 100000\n")
        .start();
    let program = probe.path("tiny");
    tiny_program(program.as_ref());
    let count = load(1000);
    let run = Helper::run(&["storm-exec", &program, &count.to_string()]);
    assert_eq!(run.result(), count);
    let wanted = usize::try_from(count).unwrap();
    wait_for(slow(Duration::from_secs(20)), || {
        std::thread::sleep(Duration::from_millis(200));
        (number(&counters(&probe, "exec"), "sent") >= wanted as u64).then_some(())
    });
    std::thread::sleep(slow(Duration::from_millis(500)));
    probe.events.read();
    let events = probe.events.of_rule("storm");
    assert_eq!(events.len(), wanted, "{:#}", counters(&probe, "exec"));
    let arguments: BTreeSet<String> = events
        .iter()
        .map(|event| at(event, "/process/args").to_string())
        .collect();
    assert_eq!(arguments.len(), wanted, "some came twice");
    for event in &events {
        assert_eq!(at(event, "/process/ppid"), run.pid, "{event:#}");
        assert_eq!(at(event, "/process/parent/pid"), run.pid, "{event:#}");
    }
    assert_eq!(vital_losses(&probe), 0);
}

#[test]
fn a_flood_in_one_cgroup_leaves_another_its_events() {
    let Some(root) = cgroup2() else {
        skip("no v2 cgroups here");
        return;
    };
    let mut probe = Setup::new()
        .rule("flood", r#"open.file.path == "{work}/flood""#)
        .rule("quiet", r#"open.file.path == ~"{work}/quiet-*""#)
        .config("  event_stream:\n    buffer_size: 65536\n")
        .start();
    make_file(&probe.path("flood"), 0o600);
    let groups =
        ["flood", "quiet"].map(|name| root.join(format!("atalaya-e2e-{name}-{}", probe.pid())));
    if groups
        .iter()
        .any(|group| std::fs::create_dir(group).is_err())
    {
        skip("cgroups cannot be made here");
        return;
    }
    let in_group = |group: &std::path::Path, words: &[&str]| {
        let mut command = Command::new("sh");
        let script = "echo $$ > \"$0/cgroup.procs\"; exec \"$@\"";
        command.args(["-ec", script]).arg(group).args(words);
        command.stdout(Stdio::null());
        command
    };
    let helper = Helper::path();
    let helper = helper.to_str().unwrap();
    let flood = probe.path("flood");
    let mut floods: Vec<_> = (0..2)
        .map(|_| {
            in_group(&groups[0], &[helper, "storm-open", &flood, "100000000"])
                .spawn()
                .unwrap()
        })
        .collect();
    std::thread::sleep(slow(Duration::from_millis(500)));
    let script = format!(
        "for i in $(seq 20); do : > '{}/quiet-'$i; sleep 0.02; done",
        probe.work().display()
    );
    let quiet = in_group(&groups[1], &["sh", "-ec", &script])
        .status()
        .unwrap();
    assert!(quiet.success());
    for flood in &mut floods {
        let _ = flood.kill();
        let _ = flood.wait();
    }
    let mut seen = BTreeSet::new();
    wait_for(slow(Duration::from_secs(15)), || {
        probe.events.read();
        let events = probe.events.of_rule("quiet");
        seen = events
            .iter()
            .map(|event| text(event, "/file/path").to_owned())
            .collect();
        (seen.len() == 20).then_some(())
    });
    groups.iter().for_each(|group| remove_group(group));
    let lost = number(&counters(&probe, "open"), "lost");
    assert_eq!(
        seen.len(),
        20,
        "of 20; {lost} of the flood were lost: {seen:?}"
    );
    if lost == 0 {
        skip("the flood was not one: nothing of it was lost");
    }
}
