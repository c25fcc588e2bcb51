//! The program as people run it, against a server with a fake engine and a real spool.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atalaya_api::{Account, ControlError, RunLock, RuntimeControl, Server, ServerOptions, proto};
use atalaya_spool::{Limits, Spool};
use prost::Message;
use serde_json::Value;

#[derive(Default)]
struct Fake {
    broken: AtomicBool,
    asked: Mutex<Vec<String>>,
}

impl Fake {
    fn broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    fn rows(&self) -> Vec<proto::SelfTestRow> {
        let row = |rule: &str, seen: bool| proto::SelfTestRow {
            rule_id: rule.into(),
            event_type: "open".into(),
            seen,
            latency_ms: 2.5,
            error: if seen {
                String::new()
            } else {
                "timed out after 3 s".into()
            },
        };
        vec![row("rule_a", true), row("rule_b", !self.broken())]
    }
}

impl RuntimeControl for Fake {
    fn status(&self, _: &proto::GetStatusParams) -> proto::Status {
        proto::Status {
            version: "9.8.7".into(),
            healthy: !self.broken(),
            reasons: if self.broken() {
                vec!["no heartbeat\x1b[2J".into()]
            } else {
                Vec::new()
            },
            self_tests: Some(proto::SelfTestsStatus {
                last_timestamp: "2026-11-23T00:00:00Z".into(),
                success: vec!["rule_a".into()],
                tests: self.rows(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn run_self_test(&self) -> proto::SecuritySelfTestResultMessage {
        proto::SecuritySelfTestResultMessage {
            ok: !self.broken(),
            error: if self.broken() {
                "1 of 2 events was not seen".into()
            } else {
                String::new()
            },
            tests: self.rows(),
        }
    }

    fn reload_policies(&self) -> Result<proto::ReloadPoliciesResultMessage, ControlError> {
        if self.broken() {
            return Err(ControlError::Failed("the directory /x is gone".into()));
        }
        Ok(proto::ReloadPoliciesResultMessage::default())
    }

    fn ruleset_report(&self) -> Result<proto::GetRuleSetReportMessage, ControlError> {
        let rule = proto::RuleStatus {
            id: "bad_rule".into(),
            status: if self.broken() { "error" } else { "loaded" }.into(),
            error: if self.broken() {
                "x.policy:3:5: rule `bad_rule` error: no such field".into()
            } else {
                String::new()
            },
            ..Default::default()
        };
        Ok(proto::GetRuleSetReportMessage {
            policies: vec![proto::PolicyStatus {
                name: "default.policy".into(),
                source: "file".into(),
                status: vec![rule],
                ..Default::default()
            }],
            ..Default::default()
        })
    }

    fn dump_process_cache(
        &self,
        params: &proto::DumpProcessCacheParams,
    ) -> Result<proto::SecurityDumpProcessCacheMessage, ControlError> {
        self.asked.lock().unwrap().push(format!("{params:?}"));
        Ok(proto::SecurityDumpProcessCacheMessage {
            content: format!("a {} dump", params.format).into_bytes(),
            ..Default::default()
        })
    }

    fn top(&self, params: &proto::TopParams) -> Result<proto::TopMessage, ControlError> {
        Ok(proto::TopMessage {
            interval_ms: params.duration_ms.into(),
            ..Default::default()
        })
    }

    fn network_doctor(&self) -> Result<proto::NetworkDoctorMessage, ControlError> {
        Ok(proto::NetworkDoctorMessage {
            report: br#"{"trouble":true,"summary":"\u001b[2Jmissed"}"#.to_vec(),
            text: "Network doctor: TROUBLE\n  \x1b[2J'cil_from_lxc'\n".into(),
            trouble: true,
        })
    }

    fn config(&self) -> proto::SecurityConfigMessage {
        proto::SecurityConfigMessage::default()
    }
}

/// A probe without a kernel, and a directory with everything.
struct World {
    dir: tempfile::TempDir,
    fake: Arc<Fake>,
    spool: Option<Spool>,
    server: Option<Server>,
    lock: Option<RunLock>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The agent becomes another user, who must be able to come here.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(dir.path().join("log")).unwrap();
        fs::set_permissions(dir.path().join("log"), fs::Permissions::from_mode(0o777)).unwrap();
        let d = dir.path().display();
        let config = format!(
            "run_path: {d}/run\nhostname: box\ntags: ['env:test']\n\
             explorer: {{enabled: false}}\nsecurity_agent: {{user: nobody, expvar_port: 0, events_file: {d}/log/events.jsonl}}\n\
             runtime_security_config:\n  socket: {d}/run/x.sock\n  policies: {{dir: {d}/policies}}\n"
        );
        fs::write(dir.path().join("atalaya.yaml"), config).unwrap();
        let mut world = Self {
            dir,
            fake: Arc::default(),
            spool: None,
            server: None,
            lock: None,
        };
        world.start_probe();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start_probe(&mut self) {
        let lock = RunLock::acquire(&self.path("run")).unwrap();
        let spool = Spool::open(self.path("spool"), Limits::default()).unwrap();
        let options = ServerOptions {
            settings: None,
            socket: self.path("run/x.sock"),
            agent: Account::find("nobody"),
        };
        let server = Server::start(options, &lock, self.fake.clone(), spool.clone()).unwrap();
        (self.server, self.spool, self.lock) = (Some(server), Some(spool), Some(lock));
    }

    fn stop_probe(&mut self) {
        (self.server, self.spool, self.lock) = (None, None, None);
    }

    fn event(&self, n: u32) {
        let message = proto::SecurityEventMessage {
            rule_id: "my_rule".into(),
            data: format!("{{\"n\":{n},\"evt\":{{\"name\":\"open\"}}}}").into_bytes(),
            tags: vec!["rule_id:my_rule".into()],
            ..Default::default()
        };
        self.spool
            .as_ref()
            .unwrap()
            .append(&message.encode_to_vec());
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_security-agent"));
        command
            .arg("-c")
            .arg(self.path("atalaya.yaml"))
            .args(args)
            .stdin(Stdio::null());
        // What the tests' own environment says shall not count.
        for (name, _) in std::env::vars().filter(|(n, _)| n.starts_with("DD_")) {
            command.env_remove(name);
        }
        command.env("TMPDIR", self.path("log"));
        command
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        outcome(&self.command(args).output().unwrap())
    }

    fn agent(&self) -> Agent {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("agent.log"))
            .unwrap();
        Agent(self.command(&["start"]).stderr(log).spawn().unwrap())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }

    /// The numbers of the stored events, once there are so many.
    fn stored(&self, count: usize) -> Vec<u64> {
        let read = || -> Vec<u64> {
            let text = fs::read_to_string(self.path("log/events.jsonl")).unwrap_or_default();
            let whole = text
                .lines()
                .filter_map(|l| serde_json::from_str::<Value>(l).ok());
            whole.map(|v| v["message"]["n"].as_u64().unwrap()).collect()
        };
        wait(
            || read().len() >= count,
            || format!("{:?}\n{}", read(), self.log()),
        );
        read()
    }
}

/// A running agent, killed at its end.
struct Agent(Child);

impl Agent {
    fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .arg(signal)
            .arg(self.0.id().to_string())
            .status()
            .unwrap();
        assert!(sent.success());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn outcome(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn wait(mut done: impl FnMut() -> bool, state: impl Fn() -> String) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "it did not happen: {}", state());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn root() -> bool {
    let root = Account::own().0 == 0;
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

#[test]
fn version() {
    let world = World::new();
    assert_eq!(
        world.run(&["version"]).1,
        format!("security-agent {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn self_test_says_ok_first_and_then_each_test() {
    let mut world = World::new();
    let (code, out, _) = world.run(&["runtime", "self-test"]);
    assert_eq!(code, 0);
    assert_eq!(
        out,
        "Runtime self test: OK\n  rule_a  open   seen after 2.5 ms\n  rule_b  open   seen after 2.5 ms\n"
    );
    world.fake.broken.store(true, Ordering::Relaxed);
    let (code, out, _) = world.run(&["runtime", "self-test"]);
    assert_eq!(code, 1);
    assert!(
        out.starts_with("Runtime self test: error: 1 of 2 events was not seen\n"),
        "{out}"
    );
    assert!(
        out.contains("rule_b  open   NOT SEEN: timed out after 3 s"),
        "{out}"
    );
    world.stop_probe();
    let (code, out, _) = world.run(&["runtime", "self-test"]);
    assert_eq!((code, out.lines().count()), (1, 1), "{out}");
    assert!(
        out.starts_with("Runtime self test: error: system-probe is not running"),
        "{out}"
    );
}

#[test]
fn status_is_a_page_or_json_and_its_exit_code_is_the_health() {
    let mut world = World::new();
    let (code, out, _) = world.run(&["status"]);
    assert_eq!(code, 0, "{out}");
    assert!(
        out.contains("State: healthy") && out.contains("Version: 9.8.7"),
        "{out}"
    );
    world.fake.broken.store(true, Ordering::Relaxed);
    let (code, out, _) = world.run(&["status"]);
    assert_eq!(code, 1);
    assert!(
        out.contains("State: NOT HEALTHY") && out.contains("- no heartbeat\\x1b[2J"),
        "{out}"
    );
    let (code, out, _) = world.run(&["status", "--json"]);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &json["healthy"], &json["reachable"]),
        (1, &Value::from(false), &Value::from(true))
    );
    assert_eq!(json["self_tests"]["tests"][1]["seen"], false);
    assert!(json["spool"]["next_offset"].is_u64());
    world.stop_probe();
    let (code, out, err) = world.run(&["status"]);
    assert_eq!(
        (code, out.as_str(), err.lines().count()),
        (2, "", 1),
        "{err}"
    );
    let (code, out, _) = world.run(&["status", "--json"]);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["reachable"]), (2, &Value::from(false)));
}

#[test]
fn policy_check_prints_each_error_and_fails() {
    let world = World::new();
    let dir = world.path("policies");
    let (code, _, err) = world.run(&["runtime", "policy", "check"]);
    assert_eq!(code, 1);
    assert!(
        err.starts_with("Error: there is no policy directory"),
        "{err}"
    );
    fs::create_dir(&dir).unwrap();
    let (code, _, err) = world.run(&["runtime", "policy", "check"]);
    assert!(
        code == 0 && err.starts_with("Warning: there are no *.policy files in "),
        "{err}"
    );
    let good = "version: 1.0.0\nrules:\n  - id: good\n    expression: open.file.path == \"/x\"\n";
    fs::write(dir.join("default.policy"), good).unwrap();
    let (code, out, err) = world.run(&["runtime", "policy", "check"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("1 policy, 1 rule loaded"), "{out}");
    let bad = "  - id: bad\n    expression: open.file.pat == \"/x\"\n  - id: worse\n    expression: open.file.path ==\n";
    fs::write(dir.join("default.policy"), format!("{good}{bad}")).unwrap();
    let (code, out, err) = world.run(&[
        "runtime",
        "policy",
        "check",
        "--policies-dir",
        dir.to_str().unwrap(),
    ]);
    assert_eq!(code, 1);
    assert!(
        out.contains("1 rule loaded") && out.contains("2 rejected"),
        "{out}"
    );
    assert!(err.starts_with("Error: 2 errors occurred:\n"), "{err}");
    assert!(
        err.contains("default.policy:6:") && err.contains("default.policy:8:"),
        "{err}"
    );
    let (code, out, _) = world.run(&["runtime", "policy", "check", "--json"]);
    assert_eq!(code, 1);
    assert!(serde_json::from_str::<Value>(&out).unwrap()["policies"].is_array());
}

#[test]
fn loaded_policies_and_reload_ask_the_probe() {
    let mut world = World::new();
    let check = ["runtime", "policy", "check", "--loaded-policies"];
    let (code, out, err) = world.run(&check);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(
        out,
        "default.policy (file): 1 rule loaded, 0 filtered out, 0 rejected\n"
    );
    assert_eq!(
        world.run(&["runtime", "policy", "reload"]),
        (0, String::new(), String::new())
    );
    world.fake.broken.store(true, Ordering::Relaxed);
    let (code, _, err) = world.run(&check);
    assert_eq!(code, 1);
    assert!(
        err.contains("\nx.policy:3:5: rule `bad_rule` error: no such field\n"),
        "{err}"
    );
    let (code, _, err) = world.run(&["runtime", "policy", "reload"]);
    assert_eq!(
        (code, err.as_str()),
        (
            1,
            "Error: unable to reload policies: the directory /x is gone\n"
        )
    );
    world.stop_probe();
    assert_eq!(world.run(&check).0, 1);
}

#[test]
fn a_process_cache_dump_is_a_new_private_file() {
    let world = World::new();
    let (code, out, _) = world.run(&[
        "runtime",
        "process-cache",
        "dump",
        "--format",
        "json",
        "--with-args",
    ]);
    let path = out.trim_end().strip_prefix("Process dump file: ").unwrap();
    assert_eq!(
        (code, fs::metadata(path).unwrap().mode() & 0o777),
        (0, 0o400)
    );
    assert!(path.ends_with(".json"));
    let (_, out, _) = world.run(&["runtime", "process-cache", "dump"]);
    assert!(out.trim_end().ends_with(".dot"), "{out}");
    let asked = world.fake.asked.lock().unwrap().clone();
    assert!(
        asked[0].contains("with_args: true") && asked[1].contains("with_args: false"),
        "{asked:?}"
    );
}

#[test]
fn events_are_json_lines_in_a_pipe_and_a_restart_is_waited_for() {
    let mut world = World::new();
    world.event(1);
    let mut child = world
        .command(&["runtime", "events"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let tail = Agent(child);
    let observers = |world: &World| {
        world
            .run(&["status", "--json"])
            .1
            .contains("\"live_observers\": 1")
    };
    wait(|| observers(&world), String::new);
    world.event(2);
    let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(event["n"], 2);
    world.stop_probe();
    world.start_probe();
    wait(|| observers(&world), String::new);
    world.event(3);
    let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(event["n"], 3);
    // `… | head -1`: nobody reads any more.
    drop(lines);
    let mut tail = tail;
    wait(
        || {
            world.event(4);
            tail.0.try_wait().unwrap().is_some_and(|s| s.success())
        },
        String::new,
    );
}

#[test]
fn every_event_is_stored_once_whoever_is_killed() {
    let mut world = World::new();
    world.event(1);
    let agent = world.agent();
    world.event(2);
    assert_eq!(world.stored(2), [1, 2]);
    drop(agent);
    world.event(3);
    let agent = world.agent();
    assert_eq!(world.stored(3), [1, 2, 3]);
    world.stop_probe();
    world.start_probe();
    world.event(4);
    assert_eq!(world.stored(4), [1, 2, 3, 4]);
    let line = fs::read_to_string(world.path("log/events.jsonl")).unwrap();
    let line: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    assert_eq!(line["ddsource"], "runtime-security-agent");
    assert_eq!(
        (&line["hostname"], &line["ddtags"]),
        (&"box".into(), &"env:test,rule_id:my_rule".into())
    );
    agent.signal("-TERM");
    let mut agent = agent;
    wait(
        || agent.0.try_wait().unwrap().is_some_and(|s| s.success()),
        || world.log(),
    );
}

#[test]
fn under_kills_and_load_nothing_is_lost_or_repeated() {
    let world = World::new();
    let total = 3000u32;
    let mut n = 0;
    for round in 0..12 {
        let agent = world.agent();
        for _ in 0..total / 12 {
            n += 1;
            world.event(n);
            if n % 25 == 0 {
                std::thread::sleep(Duration::from_millis(3 + round));
            }
        }
        // SIGKILL, wherever it happens to be.
        drop(agent);
    }
    let _agent = world.agent();
    let stored = world.stored(total as usize);
    assert_eq!(stored, (1..=u64::from(total)).collect::<Vec<_>>());
}

#[test]
fn the_agent_is_nobody_and_can_do_nothing() {
    if !root() {
        return;
    }
    let world = World::new();
    world.event(1);
    let agent = world.agent();
    world.stored(1);
    let status = fs::read_to_string(format!("/proc/{}/status", agent.0.id())).unwrap();
    let nobody = Account::find("nobody").unwrap();
    let line = |name: &str| {
        status
            .lines()
            .find(|l| l.starts_with(name))
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        line("Uid:").split_whitespace().nth(2).unwrap(),
        nobody.uid.to_string()
    );
    assert_eq!(line("Groups:").trim(), "Groups:");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert!(line(set).ends_with("\t0000000000000000"), "{}", line(set));
    }
    assert_eq!(line("NoNewPrivs:"), "NoNewPrivs:\t1");
    assert_eq!(
        fs::metadata(world.path("log/events.jsonl")).unwrap().uid(),
        nobody.uid
    );
}

#[test]
fn strangers_are_refused_even_with_the_right_group() {
    if !root() {
        return;
    }
    let world = World::new();
    let nobody = Account::find("nobody").unwrap();
    // The program itself may be where strangers cannot come.
    let copy = world.path("agent");
    fs::copy(env!("CARGO_BIN_EXE_security-agent"), &copy).unwrap();
    let run_as = |uid: u32, gid: u32| {
        let mut command = Command::new(&copy);
        command
            .arg("-c")
            .arg(world.path("atalaya.yaml"))
            .args(["runtime", "policy", "reload"]);
        outcome(&command.uid(uid).gid(gid).output().unwrap())
    };
    assert_eq!(
        run_as(nobody.uid, nobody.gid),
        (0, String::new(), String::new())
    );
    let (code, _, err) = run_as(12345, nobody.gid);
    assert_eq!(code, 1);
    assert!(
        err.contains("uid 12345 may not talk to system-probe"),
        "{err}"
    );
    let (code, _, err) = run_as(12345, 12345);
    assert_eq!(code, 1);
    assert!(
        err.contains("no permission to open") && err.lines().count() == 1,
        "{err}"
    );
}

#[test]
fn a_second_agent_or_a_directory_that_refuses_is_one_clear_line() {
    let world = World::new();
    world.event(1);
    let _agent = world.agent();
    world.stored(1);
    let (code, _, err) = world.run(&["start"]);
    assert_eq!(code, 1);
    let last = err.lines().last().unwrap();
    assert!(
        last.starts_with("Error: ") && last.contains("another security-agent writes here"),
        "{err}"
    );
    if root() {
        fs::create_dir(world.path("private")).unwrap();
        let file = world.path("private/events.jsonl");
        let output = world
            .command(&["start"])
            .env("DD_SECURITY_AGENT_EVENTS_FILE", file)
            .output()
            .unwrap();
        let (code, _, err) = outcome(&output);
        let last = err.lines().last().unwrap();
        assert_eq!(code, 1);
        assert!(
            last.contains("cannot store events as user") && last.contains("Permission denied"),
            "{err}"
        );
    }
}

#[test]
fn bad_configuration_is_told_and_only_a_missing_file_is_fatal() {
    let world = World::new();
    let mut text = fs::read_to_string(world.path("atalaya.yaml")).unwrap();
    text.push_str("log_levle: debug\n");
    fs::write(world.path("atalaya.yaml"), text).unwrap();
    let (code, _, err) = world.run(&["status"]);
    assert_eq!(code, 0);
    assert!(
        err.contains(
            "atalaya.yaml:9:1: warning: unknown key `log_levle`; did you mean `log_level`?"
        ),
        "{err}"
    );
    let (code, _, err) = world.run(&["status", "-c", "/nowhere.yaml"]);
    assert_eq!(code, 1);
    assert!(
        err.contains("cannot read the configuration /nowhere.yaml"),
        "{err}"
    );
}

#[test]
fn a_missing_directory_is_made_and_given_to_the_agent() {
    if !root() {
        return;
    }
    let world = World::new();
    let file: &Path = &world.path("new/deep/events.jsonl");
    world.event(1);
    let mut command = world.command(&["start"]);
    let _agent = Agent(
        command
            .env("DD_SECURITY_AGENT_EVENTS_FILE", file)
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    wait(
        || fs::metadata(file).is_ok_and(|m| m.len() > 0),
        String::new,
    );
    let nobody = Account::find("nobody").unwrap();
    assert_eq!(
        fs::metadata(file.parent().unwrap()).unwrap().uid(),
        nobody.uid
    );
}

#[test]
fn the_network_doctors_report_is_shown_harmless_and_trouble_is_the_exit_code() {
    let world = World::new();
    let (code, out, _) = world.run(&["runtime", "network", "doctor"]);
    assert_eq!(code, 1, "{out}");
    assert_eq!(out, "Network doctor: TROUBLE\n  \\x1b[2J'cil_from_lxc'\n");
    let (code, out, _) = world.run(&["runtime", "network", "doctor", "--json"]);
    assert_eq!(code, 1);
    assert!(!out.contains('\x1b'));
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["trouble"], true);
}

#[test]
fn completions_and_man_pages_are_made_from_the_commands() {
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_security-agent"))
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completion", shell]);
        assert!(script.contains("self-test"), "{shell}");
    }
    let dir = tempfile::tempdir().unwrap();
    run(&["reference", "--man", dir.path().to_str().unwrap()]);
    let page = fs::read_to_string(dir.path().join("security-agent-config-set.1")).unwrap();
    assert!(page.contains(".TH security-agent-config-set"), "{page}");
    assert!(
        dir.path()
            .join("security-agent-runtime-policy-download.1")
            .exists()
    );
    // A former name still works, and says what it is called now.
    let former = Command::new(env!("CARGO_BIN_EXE_security-agent"))
        .args(["check-policies", "--help"])
        .output()
        .unwrap();
    let notice = String::from_utf8(former.stderr).unwrap();
    assert_eq!(
        notice,
        "Command \"check-policies\" is deprecated, please use \"runtime policy check\" instead\n"
    );
}
