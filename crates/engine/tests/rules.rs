//! What rules do beside matching: variables, lines, hashes, limits; and how they are exchanged while events flow.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod bench;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use atalaya_api::{RuntimeControl, proto};
use atalaya_model::capture::{Body, Capture, CaptureKind, Exec, Exit, FileFields, Fork, Header};
use atalaya_resolvers::clock::boot_now_ns;
use serde_json::{Value, json};

use bench::{BASE, Bench, file, header, open, write_rules};

/// Panics unless the schema of the reference's back end accepts all of them.
fn fit_the_schema(events: &[Value]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/reference/backend_linux.schema.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("SKIPPED: {} is not there", path.display());
        return;
    };
    let schema: Value = serde_json::from_str(&text).unwrap();
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .unwrap();
    for event in events.iter().filter(|event| event.get("evt").is_some()) {
        let errors: Vec<String> = validator
            .iter_errors(event)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:?} in {event:#}");
    }
}

fn exec(pid: u32, path: &str, time_ns: u64) -> Capture {
    Capture {
        header: header(pid, time_ns),
        body: Body::Exec(Box::new(Exec {
            file: file(path),
            filename: path.to_owned(),
            args: vec![path.to_owned()],
            // That of the process, not of the image: left out, as the forks here tell it.
            start_time_ns: 0,
            ..Exec::default()
        })),
    }
}

fn fork(parent: u32, child: u32, time_ns: u64) -> Capture {
    Capture {
        header: header(parent, time_ns),
        body: Body::Fork(Fork {
            child_pid: BASE + child,
            parent_pid: BASE + parent,
            start_time_ns: time_ns,
            ..Fork::default()
        }),
    }
}

/// A matched event of a rule by its path.
fn paths(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["file"]["path"].as_str().unwrap())
        .collect()
}

fn with_variables(bench: &Bench) -> proto::Status {
    bench.control().status(&proto::GetStatusParams {
        include_secl_variables: true,
        measure_ms: 0,
    })
}

#[test]
fn rules_see_what_earlier_rules_have_set() {
    let rules = r#"
rules:
  - id: counts
    expression: open.file.path == "/data/a"
    silent: true
    priority: 10
    actions:
      - set: {name: opens, expression: "${opens} + 1", default_value: 0}
      - set: {name: seen, field: open.file.path, append: true}
      - set: {name: hidden, value: "secret", private: true}
      - set: {name: third, value: true}
        filter: ${opens} >= 3
  - id: often
    expression: open.file.path == "/data/a" && ${opens} >= 3 && ${third}
  - id: never
    expression: open.file.path == "/data/b" && ${opens} > 0 && ${hidden} == ""
"#;
    let mut bench = Bench::new(rules, |_, _| {});
    bench.kernel.bash(10);
    for _ in 0..4 {
        bench.kernel.open(10, "/data/a");
        bench.kernel.open(10, "/data/b");
    }
    let often = bench.lines.wait_for("often", 2);
    bench.stop();
    let often = [often, bench.lines.of("often")].concat();
    assert_eq!(often.len(), 4, "the third and the fourth, each seen twice");
    assert_eq!(
        often[0]["evt"]["variables"],
        json!({ "opens": 3, "seen": ["/data/a"], "third": true })
    );
    assert_eq!(often[1]["evt"]["variables"]["opens"], 4);
    assert!(bench.lines.of("never").is_empty());
    assert!(bench.lines.of("counts").is_empty(), "silent");
    fit_the_schema(&bench.lines.all());
}

#[test]
fn scopes_and_inheritance() {
    let rules = r#"
rules:
  - id: marks
    expression: open.file.path == "/data/mark"
    actions:
      - set: {name: key, value: "marked", scope: process, inherited: true}
      - set: {name: own, value: 1, scope: process}
      - set: {name: files, field: open.file.name, scope: cgroup, append: true}
      - set: {name: nowhere, value: 1, scope: container}
  - id: child
    expression: exec.file.name == "child" && ${process.key} == "marked"
  - id: reads
    expression: open.file.path == "/data/read" && ${process.key} == "marked"
  - id: owns
    expression: open.file.path == "/data/read" && ${process.own} == 1
"#;
    let mut bench = Bench::new(rules, |_, _| {});
    let now = boot_now_ns();
    let send = |capture| bench.kernel.send(capture);
    send(exec(10, "/bin/bash", now));
    send(exec(20, "/bin/other", now));
    send(open(10, "/data/mark", now + 1));
    send(fork(10, 11, now + 2));
    send(exec(11, "/bin/child", now + 3));
    send(open(11, "/data/read", now + 4));
    send(open(20, "/data/read", now + 5));
    send(open(10, "/data/read", now + 6));
    // The parent ends; its child still is one of a marked process, and another run of the same pid is not.
    send(Capture {
        header: header(10, now + 7),
        body: Body::Exit(Exit::default()),
    });
    send(open(11, "/data/read", now + 8));
    send(exec(10, "/bin/bash", now + 9));
    send(open(10, "/data/read", now + 10));
    assert_eq!(bench.lines.wait_for("reads", 3).len(), 3);
    let status = with_variables(&bench);
    bench.stop();
    let reads = bench.lines.of("reads");
    let pids: Vec<u64> = reads
        .iter()
        .map(|event| event["process"]["pid"].as_u64().unwrap() - u64::from(BASE))
        .collect();
    assert_eq!(pids, [11, 10, 11]);
    assert_eq!(reads[0]["process"]["variables"]["key"], "marked");
    let owns = bench.lines.of("owns");
    assert_eq!(owns.len(), 1);
    assert_eq!(
        owns[0]["process"]["variables"],
        json!({"key": "marked", "own": 1})
    );
    assert_eq!(bench.lines.of("child").len(), 1);
    fit_the_schema(&bench.lines.all());
    let process = &status.scoped_variables["process"].key_values;
    let all: Vec<&str> = process
        .values()
        .flat_map(|list| &list.variables)
        .map(|variable| variable.name.as_str())
        .collect();
    assert_eq!(all, ["process.key"], "what was not inherited is gone");
    assert_eq!(status.details["variables.values"], "1");
}

/// A real file that this program, as the event's process, sees.
fn real(path: &Path) -> FileFields {
    let data = std::fs::symlink_metadata(path).unwrap();
    FileFields {
        inode: data.ino(),
        ..file(path.to_str().unwrap())
    }
}

fn own_header(time_ns: u64) -> Header {
    Header {
        pid: std::process::id(),
        tid: std::process::id(),
        time_ns,
        comm: "test".to_owned(),
        ..Header::default()
    }
}

fn own_open(file: FileFields) -> Capture {
    let mut capture = open(0, &file.path, boot_now_ns());
    capture.header = own_header(capture.header.time_ns);
    if let Body::File(call) = &mut capture.body {
        call.file = file;
    }
    capture
}

const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[test]
fn files_are_hashed() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("abc"), "abc").unwrap();
    std::fs::write(at("swapped"), "evil").unwrap();
    std::fs::write(at("gone"), "evil").unwrap();
    std::fs::write(at("large"), vec![1; 5000]).unwrap();
    let rules = format!(
        r#"
rules:
  - id: hashes
    expression: open.file.path =~ "{0}/*"
    actions:
      - hash: {{field: open.file, max_file_size: 4999}}
  - id: plain
    expression: open.file.path =~ "{0}/*"
  - id: known
    expression: open.file.path =~ "{0}/*" && open.file.hashes == "{ABC}"
  - id: chmod
    expression: chmod.file.path == "/x"
    actions:
      - hash: {{field: chmod.file}}
"#,
        dir.path().display()
    );
    let mut bench = Bench::new(&rules, |_, _| {});
    let files = ["abc", "swapped", "gone", "large"].map(|name| real(&at(name)));
    std::fs::write(at("new"), "good").unwrap();
    std::fs::rename(at("new"), at("swapped")).unwrap();
    std::fs::remove_file(at("gone")).unwrap();
    for file in files {
        bench.kernel.send(own_open(file));
    }
    bench.kernel.bash(10);
    let mut chmod = open(10, "/x", boot_now_ns());
    if let Body::File(call) = &mut chmod.body {
        call.kind = CaptureKind::Chmod;
    }
    bench.kernel.send(chmod);
    let hashed = bench.lines.wait_for("hashes", 4);
    let chmod = bench.lines.wait_for("chmod", 1);
    bench.lines.wait_for("known", 1);
    bench.stop();
    let states: BTreeMap<&str, &str> = hashed
        .iter()
        .map(|event| {
            let state = event["file"]["hash_state"].as_str().unwrap();
            let report = &event["agent"]["rule_actions"][0];
            assert_eq!(
                *report,
                json!({"type": "hash", "path": event["file"]["path"], "state": state})
            );
            (event["file"]["name"].as_str().unwrap(), state)
        })
        .collect();
    assert_eq!(
        states,
        BTreeMap::from([
            ("abc", "Done"),
            ("swapped", "FileChanged"),
            ("gone", "FileNotFound"),
            ("large", "FileTooBig"),
        ])
    );
    let abc = hashed.iter().find(|event| event["file"]["name"] == "abc");
    assert_eq!(
        abc.unwrap()["file"]["hashes"],
        json!(["sha1:a9993e364706816aba3e25717850c26c9cd0d89d", ABC])
    );
    assert_eq!(chmod[0]["file"]["hash_state"], "EventTypeNotConfigured");
    // Rules without the action do not wait, and a rule may ask itself.
    assert_eq!(bench.lines.of("plain").len(), 4);
    let known = bench.lines.of("known");
    assert_eq!(paths(&known), [at("abc").to_str().unwrap()]);
    fit_the_schema(&bench.lines.all());
}

#[test]
fn a_file_system_that_never_answers_costs_the_hash_and_nothing_else() {
    let rules =
        "rules: [{id: hashes, expression: open.file.path =~ \"/**\", actions: [{hash: {}}]}]";
    let mut bench = Bench::new(rules, |options, _| {
        // As if each file took for ever: none may be read at all.
        options.hash.as_mut().unwrap().max_rate = 0;
    });
    for number in 0..1000 {
        // Gone by now; and one that only the caller has named, which nobody can hold against what is there.
        bench.kernel.send(own_open(FileFields {
            inode: 7 * (number % 2),
            ..file("/etc/passwd-that-is-gone")
        }));
        bench.kernel.send(own_open(real(Path::new("/etc/passwd"))));
    }
    let begun = Instant::now();
    bench.stop();
    assert!(begun.elapsed() < Duration::from_secs(5));
    let events = bench.lines.of("hashes");
    assert_eq!(events.len(), 40, "as many as the rule may send");
    let states: std::collections::BTreeSet<&str> = events
        .iter()
        .map(|event| event["file"]["hash_state"].as_str().unwrap())
        .collect();
    assert_eq!(
        states.into_iter().collect::<Vec<_>>(),
        [
            "FileNotFound",
            "HashWasRateLimited",
            "PathnameResolutionError"
        ]
    );
}

/// Rules that differ in what is of no account for `all`.
fn generation(number: usize) -> String {
    format!(
        r#"
rules:
  - id: all
    expression: open.file.path =~ "/stream/**"
    limiter_token: [open.file.path]
    actions:
      - set: {{name: opens, expression: "${{opens}} + 1", default_value: 0}}
      - set: {{name: dropped_{0}, value: true}}
  - id: other_{0}
    expression: unlink.file.path == "/{0}"
  - id: changing
    expression: unlink.file.path == "/changing/{0}"
"#,
        number % 3
    )
}

#[test]
fn reloads_lose_nothing_and_double_nothing() {
    const EVENTS: usize = 20_000;
    let mut bench = Bench::new(&generation(0), |options, _| {
        // Reloads shall not lose any; a storm may.
        options.queues.bulk = 2 * EVENTS;
        options.queues.bytes = 1 << 30;
    });
    bench.kernel.bash(10);
    let is_sending = AtomicBool::new(true);
    let reloads = std::thread::scope(|scope| {
        let reloader = scope.spawn(|| {
            let mut count = 0;
            while is_sending.load(Ordering::Relaxed) {
                count += 1;
                write_rules(bench.policies.path(), &generation(count));
                let answer = bench.control().reload_policies().unwrap();
                let diff = answer.difference.unwrap();
                let (new, old) = (count % 3, (count - 1) % 3);
                assert_eq!(diff.added, [format!("other_{new}")]);
                assert_eq!(diff.removed, [format!("other_{old}")]);
                assert_eq!(diff.changed.len(), 2);
                assert_eq!(diff.changed[1].id, "changing");
                assert_eq!(diff.changed[1].what, ["expression"]);
                assert_eq!(diff.variables_kept, ["opens"]);
                assert_eq!(diff.variables_dropped, [format!("dropped_{old}")]);
            }
            count
        });
        for number in 0..EVENTS {
            bench.kernel.open(10, &format!("/stream/{number}"));
            if number % 100 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        is_sending.store(false, Ordering::Relaxed);
        reloader.join().unwrap()
    });
    assert!(reloads >= 3, "{reloads} reloads");
    let control = bench.control();
    bench.stop();
    // Lines that a slow reader misses are counted; the counters are exact in any case.
    let status = control.status(&proto::GetStatusParams {
        include_secl_variables: true,
        measure_ms: 0,
    });
    let opens = status
        .event_types
        .iter()
        .find(|kind| kind.event_type == "open");
    let opens = opens.unwrap();
    assert_eq!((opens.received, opens.lost), (EVENTS as u64, 0));
    assert_eq!(opens.matched, EVENTS as u64);
    // The action of `all` has changed each time, but neither what it matches nor its limit.
    let all = &status.policies_status[0].status[0];
    assert_eq!((all.id.as_str(), all.matches), ("all", EVENTS as u64));
    let value = status.global_variables.iter().find(|v| v.name == "opens");
    assert_eq!(value.unwrap().value, EVENTS.to_string());
    assert_eq!(all.rate_limited, 0);
    let mut seen = paths(&bench.lines.of("all"))
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), count, "an event came out twice");
    // Each reload first widens what the kernel sends, then narrows it.
    let interests = bench.kernel.interests.lock().unwrap();
    assert_eq!(interests.len(), 1 + 2 * reloads);
    let unlinks = |at: usize| {
        let interest: &atalaya_engine::Interest = &interests[at];
        let paths = interest.approvers[&CaptureKind::Unlink].paths.iter();
        paths.map(|(path, _)| path.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(unlinks(0), ["/0", "/changing/0"]);
    assert_eq!(unlinks(1), ["/0", "/1", "/changing/0", "/changing/1"]);
    assert_eq!(unlinks(2), ["/1", "/changing/1"]);
}

#[test]
fn limits_and_counters_go_on_after_a_reload() {
    let rules = |other: &str, every: &str| {
        format!(
            r#"
rules:
  - id: once
    expression: open.file.path == "/a"
    every: 1h
  - id: each
    expression: open.file.path =~ "/each/*"
    every: 1h
    limiter_token: [open.file.path]
  - id: other
    expression: open.file.path == "/{other}"
    every: {every}
"#
        )
    };
    let mut bench = Bench::new(&rules("a", "1h"), |_, _| {});
    bench.kernel.bash(10);
    let touch = |bench: &Bench| {
        for path in ["/a", "/a", "/each/1", "/each/2", "/each/1", "/b"] {
            bench.kernel.open(10, path);
        }
    };
    touch(&bench);
    bench.lines.wait_for("each", 2);
    bench.lines.wait_for("other", 1);
    write_rules(bench.policies.path(), &rules("b", "2h"));
    let answer = bench.control().reload_policies().unwrap();
    assert_eq!(answer.difference.unwrap().unchanged, 2);
    touch(&bench);
    bench.lines.wait_for("other", 2);
    let control = bench.control();
    bench.stop();
    let count = |rule: &str| bench.lines.of(rule).len();
    assert_eq!((count("once"), count("each"), count("other")), (1, 2, 2));
    let status = control.status(&proto::GetStatusParams::default());
    let counted: Vec<(&str, u64, u64)> = status.policies_status[0]
        .status
        .iter()
        .map(|rule| (rule.id.as_str(), rule.matches, rule.rate_limited))
        .collect();
    assert_eq!(
        counted,
        [("once", 4, 3), ("each", 6, 4), ("other", 1, 0)],
        "the changed rule begins anew"
    );
}

#[test]
fn a_changed_directory_is_read_again() {
    let rules =
        |path: &str| format!("rules: [{{id: r, expression: open.file.path == \"{path}\"}}]");
    let mut bench = Bench::new(&rules("/a"), |options, _| {
        options.watch_policies = Some(Duration::from_millis(100));
    });
    bench.kernel.bash(10);
    std::thread::sleep(Duration::from_millis(150));
    // Several changes in a row are one.
    for path in ["/b", "/c", "/d"] {
        write_rules(bench.policies.path(), &rules(path));
    }
    let loaded = bench.lines.wait_for("ruleset_loaded", 2);
    assert_eq!(
        loaded[1]["difference"]["changed"],
        json!([{"id": "r", "what": ["expression"]}])
    );
    for path in ["/a", "/b", "/c", "/d"] {
        bench.kernel.open(10, path);
    }
    // What is broken changes nothing.
    write_rules(
        bench.policies.path(),
        "rules: [{id: r, expression: nothing}]",
    );
    let begun = Instant::now();
    while !bench
        .status()
        .environment
        .unwrap()
        .warnings
        .iter()
        .any(|warning| warning.contains("the last reload of the policies failed"))
    {
        assert!(begun.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(10));
    }
    bench.kernel.open(10, "/d");
    let events = bench.lines.wait_for("r", 2);
    assert_eq!(paths(&events), ["/d", "/d"]);
    // What somebody has said already is not found out again.
    let before = bench.lines.of("ruleset_loaded").len();
    write_rules(bench.policies.path(), &rules("/e"));
    bench.control().reload_policies().unwrap();
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(bench.lines.of("ruleset_loaded").len(), before + 1);
    bench.stop();
}

#[test]
fn groups_and_rules_about_all_writes_keep_the_users_ids() {
    let rules = r#"
rules:
  - id: write
    expression: fim.write.file.path == "/data/x"
  - id: mine
    group_id: ours
    expression: open.file.path == "/data/y"
  - id: quiet
    expression: open.file.path == "/data/y"
    silent: true
"#;
    let mut bench = Bench::new(rules, |_, _| {});
    bench.kernel.bash(10);
    let mut rename = open(10, "/data/x", boot_now_ns());
    if let Body::File(call) = &mut rename.body {
        call.kind = CaptureKind::Unlink;
    }
    bench.kernel.send(rename);
    bench.kernel.open(10, "/data/y");
    bench.lines.wait_for("write", 1);
    bench.lines.wait_for("ours", 1);
    let status = bench.status();
    bench.stop();
    let rules = &status.policies_status[0].status;
    let counted: Vec<(&str, u64)> = rules.iter().map(|r| (r.id.as_str(), r.matches)).collect();
    assert_eq!(counted, [("write", 1), ("mine", 1), ("quiet", 1)]);
    assert_eq!(
        bench
            .lines
            .all()
            .iter()
            .filter(|e| e.get("evt").is_some())
            .count(),
        2
    );
    fit_the_schema(&bench.lines.all());
}

#[test]
fn what_cannot_be_seen_or_done_here_is_told() {
    let rules = r#"
rules:
  - id: kills
    expression: open.file.path == "/x"
    actions:
      - kill: {signal: SIGKILL}
  - id: later
    expression: ondemand.name == "vfs_open"
  - id: off
    expression: open.file.path == "/x"
    disabled: true
  - id: old
    expression: open.file.path == "/x"
    agent_version: "< 7.0"
"#;
    let mut bench = Bench::new(rules, |_, _| {});
    let loaded = bench.lines.wait_for("ruleset_loaded", 1);
    bench.stop();
    let rules: BTreeMap<&str, &Value> = loaded[0]["policies"][0]["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| (rule["id"].as_str().unwrap(), rule))
        .collect();
    assert_eq!(rules["kills"]["status"], "loaded");
    assert_eq!(
        rules["kills"]["unavailable"][0],
        "action `kill` not executed by this build"
    );
    assert_eq!(rules["kills"]["actions"][0]["type"], "kill");
    assert_eq!(rules["later"]["status"], "loaded");
    assert!(
        rules["later"]["unavailable"][0]
            .as_str()
            .unwrap()
            .contains("event not available here"),
        "{}",
        rules["later"]
    );
    assert_eq!(rules["off"]["filter_type"], "disabled");
    assert_eq!(rules["old"]["status"], "filtered");
    assert_eq!(rules["old"]["filter_type"], "agent_version");
    assert_eq!(loaded[0].get("difference"), None);
}
