//! `status`: what it says of cost, memory, rates and losses is measured, not made up.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use atalaya_e2e::{Probe, Setup, program, slow, wait_for};
use serde_json::Value;

/// Opens a file again and again while `work` is done; how often is no matter.
pub(crate) fn while_opening<T>(path: &str, work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..20 {
                    let _ = std::fs::File::open(path);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let done = work();
        stop.store(true, Ordering::Relaxed);
        done
    })
}

fn status(probe: &Probe, arguments: &[&str]) -> Value {
    let (_, text, error) = probe.agent(&[&["status", "--json"], arguments].concat());
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}{error}"))
}

fn number(value: &Value, pointer: &str) -> f64 {
    let number = value.pointer(pointer).and_then(Value::as_f64);
    number.unwrap_or_else(|| panic!("no number at {pointer}: {value:#}"))
}

/// The entry of a list whose `key` is `name`.
fn of<'a>(list: &'a Value, key: &str, name: &str) -> &'a Value {
    let mut entries = list.as_array().into_iter().flatten();
    let found = entries.find(|entry| entry[key] == name);
    found.unwrap_or_else(|| panic!("no {key} {name}: {list:#}"))
}

#[test]
fn status_tells_what_programs_rules_and_components_cost() {
    let probe = Setup::new()
        .rule(
            "status_cost",
            "open.file.path == \"{work}/cost\" && open.flags & O_APPEND > 0",
        )
        .start();
    let path = probe.path("cost");
    std::fs::write(&path, "").unwrap();
    let appending = || std::fs::OpenOptions::new().append(true).open(&path);
    // A rule's cost is estimated from samples, one in 64 events.
    let measured = while_opening("/etc/passwd", || {
        wait_for(slow(Duration::from_secs(15)), || {
            for _ in 0..500 {
                appending().unwrap();
            }
            let status = status(&probe, &[]);
            let rule = of(
                &of(&status["policies_status"], "name", "e2e.policy")["status"],
                "id",
                "status_cost",
            )
            .clone();
            (number(&rule, "/evaluation_ns") > 0.0).then_some(rule)
        })
    });
    let rule = measured.expect("the rule's cost is measured");
    let each = number(&rule, "/evaluation_ns") / number(&rule, "/evaluations");
    assert!((1.0..1_000_000.0).contains(&each), "{each} ns: {rule}");
    assert!(number(&rule, "/action_ns") > 0.0, "{rule}");

    let before = status(&probe, &[]);
    assert!(before["cost"].is_null(), "nobody asked: {}", before["cost"]);
    let status = std::thread::scope(|scope| {
        let asked = scope.spawn(|| status(&probe, &["--cost=1"]));
        while !asked.is_finished() {
            appending().unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
        asked.join().unwrap()
    });
    let cost = &status["cost"];
    assert_eq!(cost["error"], "", "{cost}");
    assert!(number(cost, "/interval_ms") >= 1000.0, "{cost}");
    let programs = cost["programs"].as_array().unwrap();
    let of_opens = programs.iter().find(|program| {
        let types = program["event_types"].as_array().unwrap();
        types.iter().any(|kind| kind == "open")
    });
    let of_opens = of_opens.unwrap_or_else(|| panic!("no program of open events ran: {cost}"));
    assert!(number(of_opens, "/runs") > 10.0, "{of_opens}");
    assert!(number(of_opens, "/run_time_ns") > 0.0, "{of_opens}");

    let opens = of(&status["event_types"], "event_type", "open");
    assert!(number(opens, "/cost_ns") > 0.0, "{opens}");
    assert!(number(opens, "/rate_per_second") > 1.0, "{opens}");

    let memory = &status["memory"];
    let variables = of(memory, "component", "variables");
    assert_eq!(number(variables, "/budget_bytes"), f64::from(16 << 20));
    assert!(
        number(of(memory, "component", "ring buffers"), "/bytes") > 1e6,
        "{memory}"
    );
    let resident = number(of(memory, "component", "resident"), "/bytes");
    let apart = (resident - number(&status, "/rss_bytes")).abs();
    assert!(apart < 64e6, "{resident} and {}", status["rss_bytes"]);
    let vital = of(&status["sensor"]["rings"], "name", "vital");
    assert!(
        number(vital, "/high_water_bytes") >= number(vital, "/waiting_bytes"),
        "{vital}"
    );

    // And the page.
    let (_, page, _) = probe.agent(&["status", "--cost=1"]);
    for part in ["Cost\n", "% core", "status_cost", "Memory\n", "ring bulk: "] {
        assert!(page.contains(part), "{part}:\n{page}");
    }
}

#[test]
fn system_probe_has_status_too() {
    let mut probe = Setup::new().start();
    let own = |probe: &Probe| {
        Command::new(program("system-probe"))
            .arg("-c")
            .arg(probe.config())
            .args(["status", "--json"])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let pid = probe.pid();
    let healthy = wait_for(slow(Duration::from_secs(10)), || {
        let output = own(&probe);
        output.status.success().then_some(output)
    });
    let output = healthy.expect("it is healthy");
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["pid"], pid, "{status}");
    probe.stop();
    let output = own(&probe);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["reachable"], false, "{status}");
}

/// What is always counted needs no waiting.
#[test]
fn costs_are_there_at_once_where_they_are_always_counted() {
    let probe = Setup::new()
        .config("  bpf_stats:\n    enabled: true\n")
        .start();
    let seen = wait_for(slow(Duration::from_secs(10)), || {
        let _ = Command::new("true").status();
        let status = status(&probe, &[]);
        let programs = status["cost"]["programs"].as_array()?.len();
        (programs > 0).then_some(programs)
    });
    assert!(seen.is_some(), "{}", status(&probe, &[])["cost"]);
}
