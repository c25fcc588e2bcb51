//! What `status` and `runtime top` say of cost, losses and who causes events.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(dead_code, reason = "not every test uses all of the bench")]

mod bench;

use std::time::{Duration, Instant};

use atalaya_api::{ControlError, RuntimeControl, proto};
use atalaya_model::capture::{CaptureKind, Loss};

use bench::{BASE, Bench, RULES};

fn params(by: &str) -> proto::TopParams {
    proto::TopParams {
        duration_ms: 600,
        limit: 10,
        by: by.to_owned(),
    }
}

/// What `top` says while two processes open files, one ten times as many as the other.
fn top(bench: &Bench, by: &str) -> proto::TopMessage {
    let control = bench.control();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| control.top(&params(by)).unwrap());
        while !asked.is_finished() {
            for round in 0..10 {
                bench.kernel.open(10, "/etc/shadow");
                if round == 0 {
                    bench.kernel.open(11, "/etc/passwd");
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        asked.join().unwrap()
    })
}

#[test]
fn top_counts_by_process_and_costs_are_measured() {
    let mut bench = Bench::new(RULES, |_, _| {});
    bench.kernel.bash(10);
    bench.kernel.bash(11);
    let by_process = top(&bench, "");
    let [first, second] = by_process.processes.as_slice() else {
        panic!("{by_process:#?}");
    };
    assert_eq!([first.pid, second.pid], [BASE + 10, BASE + 11]);
    assert_eq!(first.path, "/usr/bin/bash");
    assert_eq!(first.types[0].event_type, "open");
    let times = first.events as f64 / second.events as f64;
    assert!((5.0..20.0).contains(&times), "{times}");
    assert_eq!(by_process.events, first.events + second.events);
    assert_eq!(by_process.other_events, 0);
    let rule = &by_process.rules[0];
    assert_eq!(rule.id, "shadow", "{:#?}", by_process.rules);
    assert!(rule.matches > 0 && rule.cost_ns > 0, "{rule:?}");
    // This source has no programs whose time could be counted.
    let cost = by_process.cost.as_ref().unwrap();
    assert_eq!(cost.error, "there are no programs here");

    let by_program = top(&bench, "program");
    let [row] = by_program.processes.as_slice() else {
        panic!("{by_program:#?}");
    };
    assert_eq!((row.processes, row.pid), (2, 0));
    assert_eq!(row.path, "/usr/bin/bash");
    assert!(matches!(
        bench.control().top(&params("colour")),
        Err(ControlError::Invalid(_))
    ));

    let status = bench.status();
    let opens = status.event_types.iter().find(|k| k.event_type == "open");
    let opens = opens.unwrap();
    assert!(
        opens.cost_ns > 0 && opens.rate_per_second > 1.0,
        "{opens:?}"
    );
    let mut rules = status.policies_status.iter().flat_map(|p| &p.status);
    let rule = rules.find(|rule| rule.id == "shadow").unwrap();
    assert!(rule.evaluations >= 64, "{rule:?}");
    assert!(rule.evaluation_ns > 0 && rule.action_ns > 0, "{rule:?}");
    bench.stop();
}

/// Who stops the engine does not wait for who looks.
#[test]
fn top_ends_with_the_engine() {
    let mut bench = Bench::new(RULES, |_, _| {});
    let control = bench.control();
    let asked = std::thread::spawn(move || {
        control.top(&proto::TopParams {
            duration_ms: 10_000,
            ..proto::TopParams::default()
        })
    });
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    bench.stop();
    assert!(asked.join().unwrap().is_err());
    assert!(begun.elapsed() < Duration::from_secs(5), "{begun:?}");
}

#[test]
fn losses_stay_in_the_ledger() {
    let mut bench = Bench::new(RULES, |_, kernel| {
        kernel.losses.lock().unwrap().push(Loss {
            kind: CaptureKind::Open,
            cgroup_id: 77,
            count: 5,
        });
    });
    let begun = Instant::now();
    let losses = loop {
        let losses = bench.status().losses;
        if !losses.is_empty() {
            break losses;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "no losses");
        std::thread::sleep(Duration::from_millis(50));
    };
    let line = &losses[0];
    assert_eq!(
        (line.event_type.as_str(), line.cgroup_id, line.count),
        ("open", 77, 5)
    );
    bench.stop();
}
