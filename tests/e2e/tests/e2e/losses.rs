//! What does not fit is counted and told.

use std::time::Duration;

use atalaya_e2e::{Helper, Setup, at, skip, slow, text};

use crate::common::make_file;

#[test]
fn a_full_ring_is_reported_by_event_type() {
    let mut probe = Setup::new()
        .rule("storm", r#"open.file.path == "{work}/file""#)
        .config("  event_stream:\n    buffer_size: 16384\n")
        .start();
    make_file(&probe.path("file"), 0o600);
    // The reader cannot keep up with this in 16 KiB.
    Helper::run(&["storm-open", &probe.path("file"), "300000"]);
    let lost = probe.events.find(slow(Duration::from_secs(15)), |event| {
        text(event, "/agent/rule_id") == "lost_events"
    });
    let Some(event) = lost else {
        let (_, status, _) = probe.agent(&["status"]);
        assert!(
            !status
                .lines()
                .any(|line| line.contains("Ring bulk") && !line.contains(" 0 lost")),
            "lost and not told:\n{status}"
        );
        skip("nothing was lost in a ring of 16 KiB");
        return;
    };
    assert!(event.to_string().contains("open"), "{event:#}");
    assert!(at(&event, "/date").is_string(), "{event:#}");
    // The vital ring is another one: the end of the storm is seen.
    let (good, out, error) = probe.agent(&["status"]);
    assert!(out.contains("Ring vital") || !good, "{out}{error}");
    // And it stays in the ledger, by cgroup.
    let status = probe.status();
    let lost = status["losses"].as_array().into_iter().flatten();
    let opens: u64 = lost
        .filter(|line| line["event_type"] == "open" && line["cgroup_id"].as_u64() > Some(0))
        .filter_map(|line| line["count"].as_u64())
        .sum();
    assert!(opens > 0, "{}", status["losses"]);
}

#[test]
fn a_storm_of_programs_loses_nothing() {
    let mut probe = Setup::new()
        .rule(
            "last",
            r#"exec.file.path == "{work}/tiny" && exec.argv in ["last"]"#,
        )
        .start();
    let program = probe.path("tiny");
    crate::common::tiny_program(program.as_ref());
    let run = Helper::run(&["storm-exec", &program, "2000"]);
    assert_eq!(run.result(), 2000);
    assert!(
        std::process::Command::new(&program)
            .arg("last")
            .status()
            .unwrap()
            .success()
    );
    let event = probe.events.expect_rule("last");
    assert_eq!(
        text(&event, "/process/executable/path"),
        program,
        "{event:#}"
    );
    let lost = probe.events.of_rule("lost_events");
    assert!(lost.is_empty(), "{lost:#?}");
}
