//! Commands of security-agent that need a running probe.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use atalaya_e2e::{Setup, event_time, sys, text, wait_for};
use serde_json::Value;

use crate::common::{CWD, int, string};

#[test]
fn status_in_both_forms() {
    let probe = Setup::new()
        .rule("open", r#"open.file.path == "{work}/file""#)
        .start();
    let (good, out, error) = probe.agent(&["status"]);
    assert!(good, "{out}{error}");
    assert!(!out.trim().is_empty());
    let (good, out, error) = probe.agent(&["status", "--json"]);
    assert!(good, "{out}{error}");
    let status: Value = serde_json::from_str(&out).unwrap();
    assert!(status.is_object(), "{status:#}");
}

#[test]
fn the_process_cache_is_dumped() {
    let probe = Setup::new().start();
    let own = std::process::id();
    let (good, out, error) = probe.agent(&[
        "runtime",
        "process-cache",
        "dump",
        "--format",
        "json",
        "--with-args",
    ]);
    assert!(good, "{out}{error}");
    let path = out
        .lines()
        .find_map(|line| line.strip_prefix("Process dump file: "))
        .unwrap_or_else(|| panic!("no file named: {out}"));
    let dump = std::fs::read_to_string(path.trim()).unwrap();
    std::fs::remove_file(path.trim()).unwrap();
    let value: Value = serde_json::from_str(&dump).unwrap();
    assert!(!value.is_null());
    assert!(dump.contains(&own.to_string()), "the dump has this process");
}

#[test]
fn live_events_are_json_lines_when_piped() {
    let probe = Setup::new()
        .rule(
            "live",
            r#"open.file.path =~ "{work}/live*" && open.flags & O_CREAT > 0"#,
        )
        .start();
    let mut child = probe
        .agent_command(&["runtime", "events"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    let mut number = 0;
    let found = wait_for(event_time(), || {
        // The tail may not be connected yet: events from before it are not its business.
        number += 1;
        if number % 10 == 1 {
            let path = string(&probe.path(&format!("live{number}")));
            sys(
                libc::SYS_openat,
                &[CWD, &path, &int(libc::O_CREAT), "i:384"],
            );
        }
        let line = receive.try_recv().ok()?;
        let event: Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        (text(&event, "/agent/rule_id") == "live").then_some(())
    });
    let _ = child.kill();
    let _ = child.wait();
    assert!(found.is_some());
}
