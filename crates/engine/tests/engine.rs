//! The engine from captures to JSON, fed by a source that stands in for the kernel.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod bench;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use atalaya_api::{RuntimeControl, proto};
use atalaya_engine::HeartbeatOptions;
use atalaya_model::capture::{Body, Capture, CaptureKind, Exec, Fork, Loss};
use atalaya_resolvers::clock::boot_now_ns;
use atalaya_spool::Next;
use prost::Message;
use serde_json::Value;

use bench::{BASE, Bench, RULES, file, header, open, write_rules};

#[test]
fn an_open_becomes_a_line_and_a_record() {
    let mut bench = Bench::new(RULES, |_, _| {});
    bench.kernel.bash(10);
    bench.kernel.open(10, "/etc/passwd");
    bench.kernel.open(10, "/etc/shadow");
    let events = bench.lines.wait_for("shadow", 1);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["title"], "The shadow file was opened");
    assert_eq!(events[0]["file"]["path"], "/etc/shadow");
    assert_eq!(events[0]["process"]["executable"]["path"], "/usr/bin/bash");
    assert_eq!(events[0]["agent"]["policy_version"], "1.2.3");

    let mut reader = bench.spool.reader("test").unwrap();
    let message = loop {
        match reader.next(Duration::from_secs(5)) {
            Next::Record(record) => {
                let message = proto::SecurityEventMessage::decode(&record.data[..]).unwrap();
                if message.rule_id == "shadow" {
                    break message;
                }
            }
            _ => panic!("the record is missing"),
        }
    };
    let data: Value = serde_json::from_slice(&message.data).unwrap();
    assert_eq!(data, events[0]);
    assert_eq!(message.track, "secruntime");
    assert!(message.tags.contains(&"technique:T1003".to_owned()));
    assert!(message.tags.contains(&"type:open".to_owned()));
    assert_eq!(message.service, "runtime-security-agent");

    let status = bench.status();
    let open = status
        .event_types
        .iter()
        .find(|kind| kind.event_type == "open")
        .unwrap();
    assert_eq!((open.received, open.matched, open.sent), (2, 1, 1));
    let policy = &status.policies_status[0];
    assert_eq!(
        (policy.name.as_str(), policy.version.as_str()),
        ("test.policy", "1.2.3")
    );
    assert_eq!(policy.status[0].matches, 1);
    assert_eq!((status.rules_loaded, status.rules_failed), (2, 0));
    bench.stop();
}

#[test]
fn lineage_and_snapshot() {
    let rules = format!(
        "{RULES}  - id: old\n    expression: exec.file.path != \"\" && event.source == \"snapshot\" && process.pid == {}\n",
        std::process::id()
    );
    let mut bench = Bench::new(&rules, |options, _| options.replay_snapshot = true);
    let old = bench.lines.wait_for("old", 1);
    assert_eq!(old[0]["process"]["pid"], std::process::id());
    bench.kernel.bash(10);
    let now = boot_now_ns();
    bench.kernel.send(Capture {
        header: header(10, now),
        body: Body::Fork(Fork {
            child_pid: BASE + 11,
            parent_pid: BASE + 10,
            start_time_ns: now,
            ..Fork::default()
        }),
    });
    bench.kernel.send(Capture {
        header: header(11, now + 10),
        body: Body::Exec(Box::new(Exec {
            file: file("/usr/bin/ls"),
            filename: "/usr/bin/ls".to_owned(),
            start_time_ns: now,
            ..Exec::default()
        })),
    });
    let events = bench.lines.wait_for("ls", 1);
    assert_eq!(
        events[0]["process"]["parent"]["executable"]["path"],
        "/usr/bin/bash"
    );
    let dump = bench
        .control()
        .dump_process_cache(&proto::DumpProcessCacheParams {
            format: "json".to_owned(),
            with_args: true,
            pid: 0,
        })
        .unwrap();
    let dump: Value = serde_json::from_slice(&dump.content).unwrap();
    let ls = dump["processes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|process| process["pid"] == BASE + 11)
        .unwrap();
    assert_eq!(ls["lineage"][0]["pid"], BASE + 10);
    bench.stop();
}

#[test]
fn events_come_out_in_the_order_of_time() {
    let rules = format!("{RULES}  - id: any\n    expression: exec.file.path != \"\"\n");
    let mut bench = Bench::new(&rules, |_, _| {});
    let now = boot_now_ns();
    for round in 0..10 {
        let time = now + round * 1000;
        bench.kernel.send(Capture {
            header: header(20, time),
            body: Body::Exec(Box::new(Exec {
                file: file(&format!("/bin/{round}")),
                start_time_ns: now,
                ..Exec::default()
            })),
        });
        bench.kernel.send(open(20, "/etc/shadow", time + 500));
    }
    // One of a process that nobody knows is told nevertheless, and says what it does not know.
    bench.kernel.send(open(21, "/etc/shadow", now + 20_000));
    bench.stop();
    let mut events = bench.lines.all();
    events.retain(|event| event.get("process").is_some());
    assert_eq!(events.len(), 21);
    for (at, event) in events[..20].iter().enumerate() {
        let path = format!("/bin/{}", at / 2);
        assert_eq!(event["process"]["executable"]["path"], path.as_str());
        assert_eq!(event["evt"]["name"], ["exec", "open"][at % 2]);
    }
    assert_eq!(events[20]["process"]["comm"], "bash");
    assert_eq!(events[20]["process"]["pid"], BASE + 21);
}

#[test]
fn the_sensor_is_told_what_the_rules_need() {
    let bench = Bench::new(RULES, |_, _| {});
    let first = bench.kernel.interests.lock().unwrap()[0].clone();
    let open = &first.approvers[&CaptureKind::Open];
    assert!(!open.all);
    assert!(
        open.paths.contains(&("/etc/shadow".to_owned(), 0)),
        "{open:?}"
    );
    // The self-test's two others.
    assert!(first.approvers.contains_key(&CaptureKind::Chown));
    assert!(!first.approvers.contains_key(&CaptureKind::Exec));
    assert!(!first.approvers.contains_key(&CaptureKind::Heartbeat));

    write_rules(
        bench.policies.path(),
        "rules:\n  - id: gone\n    expression: unlink.file.name == \"x\"\n  - id: bad\n    expression: open.file.pathh == \"x\"\n",
    );
    let result = bench.control().reload_policies().unwrap();
    assert_eq!((result.rules_loaded, result.rules_failed), (1, 1));
    let second = bench.kernel.interests.lock().unwrap()[1].clone();
    assert!(second.approvers.contains_key(&CaptureKind::Unlink));
    let loaded = bench.lines.wait_for("ruleset_loaded", 2);
    let rules = loaded[1]["policies"][0]["rules"].as_array().unwrap();
    assert_eq!(
        (&rules[0]["status"], &rules[1]["status"]),
        (&"loaded".into(), &"error".into())
    );

    // The old rule is gone.
    bench.kernel.bash(10);
    bench.kernel.open(10, "/etc/shadow");
    // A sensor that refuses leaves what is in force.
    bench.kernel.refuse.store(true, Ordering::Relaxed);
    write_rules(bench.policies.path(), RULES);
    let error = bench.control().reload_policies().unwrap_err();
    assert_eq!(error.to_string(), "the sensor: no; the former rules stay");
    let report = bench.control().ruleset_report().unwrap();
    assert_eq!(report.policies[0].status[0].id, "gone");
    std::thread::sleep(Duration::from_millis(50));
    assert!(bench.lines.of("shadow").is_empty());
}

#[test]
fn a_reload_without_its_directory_keeps_the_rules_and_a_broken_file_is_told() {
    let bench = Bench::new(RULES, |_, _| ());
    let moved = bench.policies.path().with_extension("away");
    std::fs::rename(bench.policies.path(), &moved).unwrap();
    let refused = bench.control().reload_policies().unwrap_err().to_string();
    assert!(refused.contains("the former rules stay"), "{refused}");
    assert_eq!(bench.status().rules_loaded, 2);
    std::fs::rename(&moved, bench.policies.path()).unwrap();
    // A file that is no policy any more keeps its rules.
    write_rules(bench.policies.path(), "rules: [");
    let answer = bench.control().reload_policies().unwrap();
    assert_eq!(answer.rules_loaded, 2);
    let failing = &answer.difference.unwrap().newly_failing[0];
    assert_eq!(failing.id, "test.policy");
    assert!(failing.errors[0].contains("test.policy:1:8: invalid YAML"));
    let policy = bench.policies.path().join("test.policy");
    for (broken, why) in [
        (
            Some("rules: [{id: a, expression: open.file.pth == \"\"}]"),
            "not one rule could be loaded",
        ),
        (None, "not one rule is left"),
    ] {
        match broken {
            Some(text) => write_rules(bench.policies.path(), text),
            None => std::fs::remove_file(&policy).unwrap(),
        }
        let refused = bench.control().reload_policies().unwrap_err().to_string();
        assert!(
            refused.contains(why) && refused.ends_with("; the former rules stay"),
            "{refused}"
        );
        let status = bench.status();
        assert_eq!(status.rules_loaded, 2);
        let warnings = status.environment.unwrap().warnings;
        let part = "the last reload of the policies failed";
        assert!(
            warnings.iter().any(|w| w.contains(part) && w.contains(why)),
            "{warnings:?}"
        );
    }
    // Rules that are all switched off are meant so.
    write_rules(
        bench.policies.path(),
        "rules: [{id: a, expression: open.file.path == \"/x\", disabled: true}]",
    );
    bench.control().reload_policies().unwrap();
    let warnings = bench.status().environment.unwrap().warnings;
    assert!(
        warnings.iter().any(|w| w.contains("no rule is loaded")),
        "{warnings:?}"
    );
    assert!(!warnings.iter().any(|w| w.contains("last reload")));
}

#[test]
fn an_engine_may_start_with_a_broken_file_and_tells() {
    let bench = Bench::new("rules: [", |_, _| ());
    let warnings = bench.status().environment.unwrap().warnings;
    for part in ["test.policy:1:8: invalid YAML", "no rule is loaded"] {
        assert!(warnings.iter().any(|w| w.contains(part)), "{warnings:?}");
    }
}

#[test]
fn a_rejected_rule_is_told_with_its_line_and_a_caret() {
    let bench = Bench::new(
        "rules:\n  - {id: a, expression: open.file.pth == \"/x\"}\n",
        |_, _| (),
    );
    let policies = bench.control().ruleset_report().unwrap().policies;
    let error = &policies[0].status[0].error;
    assert!(
        error.contains("^^^") && error.contains("did you mean `open.file.path`"),
        "{error}"
    );
}

#[test]
fn rules_that_cannot_match_are_named() {
    let bench = Bench::new(RULES, |_, kernel| {
        *kernel.blind_for.lock().unwrap() = Some(CaptureKind::Open);
    });
    let status = bench.status();
    assert_eq!(
        status.policies_status[0].status[0].unavailable,
        ["open events cannot be seen on this host: no hook"]
    );
    let warnings = status.environment.unwrap().warnings;
    assert!(
        warnings.iter().any(|line| line.contains("reduced mode")
            && line.contains("no hook")
            && line.contains("shadow")),
        "{warnings:?}"
    );
}

#[test]
fn the_heartbeat_goes_the_whole_way() {
    let bench = Bench::new(RULES, |options, _| {
        options.heartbeat = HeartbeatOptions {
            period: Duration::from_millis(20),
            misses: 3,
            announce_early: Duration::from_millis(100),
            announce_early_count: 2,
            announce_late: Duration::from_secs(600),
        };
    });
    let beats = bench.lines.wait_for("heartbeat", 3);
    assert_eq!(beats[0]["policies"][0]["name"], "test.policy");
    let status = bench.status();
    assert!(status.healthy, "{:?}", status.reasons);
    assert!(status.heartbeat.unwrap().last.is_some());
    bench.kernel.mute.store(true, Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(300));
    let status = bench.status();
    assert!(!status.healthy);
    assert!(
        status.reasons[0].contains("no heartbeat"),
        "{:?}",
        status.reasons
    );
    bench.kernel.mute.store(false, Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(100));
    assert!(bench.status().healthy);
    // It is the agent's own affair, not an event of a rule.
    assert!(bench.lines.of("atalaya_heartbeat").is_empty());
}

#[test]
fn losses_become_an_event() {
    let bench = Bench::new(RULES, |options, kernel| {
        options.heartbeat.period = Duration::from_millis(20);
        kernel.losses.lock().unwrap().extend([
            Loss {
                kind: CaptureKind::Open,
                cgroup_id: 9,
                count: 3,
            },
            Loss {
                kind: CaptureKind::Exec,
                cgroup_id: 9,
                count: 1,
            },
        ]);
    });
    let lost = bench.lines.wait_for("lost_events", 2);
    let bulk = lost.iter().find(|event| event["map"] == "bulk").unwrap();
    assert_eq!(bulk["per_event"]["open"], 3);
    assert_eq!(bulk["per_cgroup"][0]["cgroup_id"], 9);
    let status = bench.status();
    let exec = status
        .event_types
        .iter()
        .find(|kind| kind.event_type == "exec")
        .unwrap();
    assert_eq!(exec.lost, 1);
}

#[test]
fn a_rule_that_matches_too_often_is_held_back() {
    let bench = Bench::new(RULES, |_, _| {});
    bench.kernel.bash(10);
    let now = boot_now_ns();
    for _ in 0..200 {
        bench.kernel.send(open(10, "/etc/shadow", now));
    }
    let start = Instant::now();
    let open = loop {
        let open = bench
            .status()
            .event_types
            .into_iter()
            .find(|kind| kind.event_type == "open")
            .unwrap();
        if open.matched == 200 || start.elapsed() > Duration::from_secs(5) {
            break open;
        }
    };
    assert_eq!((open.matched, open.sent, open.rate_limited), (200, 40, 160));
    assert_eq!(bench.lines.wait_for("shadow", 40).len(), 40);
}

#[test]
fn a_storm_of_opens_does_not_cost_the_process_tree() {
    let mut bench = Bench::new(RULES, |options, _| options.queues.bulk = 64);
    bench.kernel.bash(1);
    let now = boot_now_ns();
    let child = |pid: u32| Capture {
        header: header(1, now),
        body: Body::Fork(Fork {
            child_pid: BASE + pid,
            parent_pid: BASE + 1,
            start_time_ns: now,
            ..Fork::default()
        }),
    };
    for pid in 100..5000 {
        bench.kernel.send(child(pid));
        for _ in 0..10 {
            bench.kernel.send(open(1, "/tmp/x", now));
        }
    }
    let control = bench.control();
    bench.stop();
    let dump = control
        .dump_process_cache(&proto::DumpProcessCacheParams {
            format: "json".to_owned(),
            with_args: false,
            pid: 0,
        })
        .unwrap();
    let dump: Value = serde_json::from_slice(&dump.content).unwrap();
    let children = dump["processes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|process| process["ppid"] == BASE + 1)
        .count();
    assert_eq!(children, 4900);
    let status = control.status(&proto::GetStatusParams::default());
    let open = status
        .event_types
        .iter()
        .find(|kind| kind.event_type == "open")
        .unwrap();
    assert_eq!(
        open.received + open.lost,
        49_000,
        "each is processed or counted"
    );
}

#[test]
fn a_self_test_without_events_fails_and_is_told() {
    let bench = Bench::new(RULES, |_, _| {});
    let result = bench.control().run_self_test();
    assert!(!result.ok);
    assert!(
        result
            .error
            .starts_with("open: `touch` ran, but its event was not seen"),
        "{}",
        result.error
    );
    assert_eq!(result.tests.len(), 3);
    let told = bench.lines.wait_for("self_test", 1);
    assert_eq!(told[0]["fails"].as_array().unwrap().len(), 3);
    let status = bench.status();
    assert!(
        status
            .reasons
            .iter()
            .any(|line| line.contains("self-test failed"))
    );
    assert_eq!(status.self_tests.unwrap().fails.len(), 3);
    assert!(
        status
            .policies_status
            .iter()
            .any(|policy| policy.name == "datadog-agent-cws-self-test-policy"
                && policy.source == "self-test"
                && policy.status.len() == 3)
    );
}

#[test]
fn stopping_leaves_nothing_running() {
    let mut bench = Bench::new(RULES, |_, _| {});
    bench.kernel.bash(10);
    bench.kernel.open(10, "/etc/shadow");
    let control = bench.control();
    bench.stop();
    assert_eq!(
        bench.lines.of("shadow").len(),
        1,
        "what was delivered is worked off"
    );
    assert!(bench.kernel.sink.lock().unwrap().is_none());
    assert_eq!(Arc::strong_count(&bench.kernel), 1);
    let status = control.status(&proto::GetStatusParams::default());
    assert_eq!(status.reasons[0], "the engine is stopped");
    assert!(control.reload_policies().is_err());
}
