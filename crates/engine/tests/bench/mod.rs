//! An engine that is fed by a source that stands in for the kernel.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each of the test programs uses a part of it"
)]

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atalaya_api::{RuntimeControl, proto};
use atalaya_engine::{
    ApplyReport, Engine, EngineOptions, EventSource, Interest, Output, SelfTestOptions, Sink,
    SourceError, SourceReport,
};
use atalaya_model::capture::{
    Body, Capture, CaptureKind, Exec, FileCall, FileFields, Header, Loss,
};
use atalaya_resolvers::clock::boot_now_ns;
use atalaya_spool::{Limits, Spool};
use serde_json::Value;

/// Pids that no process of the host has.
pub const BASE: u32 = 1 << 30;

/// What the test sees and decides of the source.
#[derive(Default)]
pub struct Kernel {
    pub sink: Mutex<Option<Sink>>,
    pub interests: Mutex<Vec<Interest>>,
    pub losses: Mutex<Vec<Loss>>,
    pub mute: AtomicBool,
    pub refuse: AtomicBool,
    pub blind_for: Mutex<Option<CaptureKind>>,
}

impl Kernel {
    pub fn send(&self, capture: Capture) {
        if let Some(sink) = &mut *self.sink.lock().unwrap() {
            sink(capture);
        }
    }

    /// A bash with this pid, and the time from which on it may act.
    pub fn bash(&self, pid: u32) {
        let now = boot_now_ns();
        self.send(Capture {
            header: header(pid, now),
            body: Body::Exec(Box::new(Exec {
                file: file("/usr/bin/bash"),
                filename: "/usr/bin/bash".to_owned(),
                args: vec!["bash".to_owned()],
                start_time_ns: now,
                ..Exec::default()
            })),
        });
    }

    pub fn open(&self, pid: u32, path: &str) {
        self.send(open(pid, path, boot_now_ns()));
    }
}

pub fn header(pid: u32, time_ns: u64) -> Header {
    Header {
        pid: BASE + pid,
        tid: BASE + pid,
        time_ns,
        comm: "bash".to_owned(),
        ..Header::default()
    }
}

pub fn file(path: &str) -> FileFields {
    FileFields {
        path: path.to_owned(),
        known: true,
        inode: 5,
        mode: 0o100_644,
        nlink: 1,
        ..FileFields::default()
    }
}

pub fn open(pid: u32, path: &str, time_ns: u64) -> Capture {
    Capture {
        header: header(pid, time_ns),
        body: Body::File(Box::new(FileCall {
            kind: CaptureKind::Open,
            retval: 3,
            file: file(path),
            destination: None,
            flags: 0,
            mode: 0,
            uid: 0,
            gid: 0,
            atime_ns: 0,
            mtime_ns: 0,
            arg_path: path.to_owned(),
            arg_path2: String::new(),
            dirfd: -100,
        })),
    }
}

pub struct Source(Arc<Kernel>);

impl EventSource for Source {
    fn apply(&mut self, interest: &Interest) -> Result<ApplyReport, SourceError> {
        if self.0.refuse.load(Ordering::Relaxed) {
            return Err(SourceError("no".to_owned()));
        }
        self.0.interests.lock().unwrap().push(interest.clone());
        let blind_for = *self.0.blind_for.lock().unwrap();
        Ok(ApplyReport {
            unavailable: blind_for
                .map(|kind| (kind, "no hook".to_owned()))
                .into_iter()
                .collect(),
        })
    }

    fn start(&mut self, sink: Sink) -> Result<(), SourceError> {
        *self.0.sink.lock().unwrap() = Some(sink);
        Ok(())
    }

    fn take_losses(&mut self) -> Vec<Loss> {
        std::mem::take(&mut self.0.losses.lock().unwrap())
    }

    fn heartbeat(&mut self, number: u64) -> Result<(), SourceError> {
        if !self.0.mute.load(Ordering::Relaxed) {
            self.0.send(Capture {
                header: header(0, boot_now_ns()),
                body: Body::Heartbeat(number),
            });
        }
        Ok(())
    }

    fn report(&self) -> SourceReport {
        SourceReport {
            tier: "test".to_owned(),
            ..SourceReport::default()
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        *self.0.sink.lock().unwrap() = None;
    }
}

#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    pub fn all(&self) -> Vec<Value> {
        let bytes = self.0.lock().unwrap().clone();
        String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub fn of(&self, rule_id: &str) -> Vec<Value> {
        self.all()
            .into_iter()
            .filter(|event| event["agent"]["rule_id"] == rule_id)
            .collect()
    }

    pub fn wait_for(&self, rule_id: &str, count: usize) -> Vec<Value> {
        let start = Instant::now();
        loop {
            let found = self.of(rule_id);
            if found.len() >= count {
                return found;
            }
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "no event of {rule_id}; there are {:#?}",
                self.all()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

pub struct Bench {
    pub engine: Option<Engine>,
    pub kernel: Arc<Kernel>,
    pub lines: Lines,
    pub policies: tempfile::TempDir,
    pub spool: Spool,
    _spool_dir: tempfile::TempDir,
}

pub const RULES: &str = r#"
version: "1.2.3"
rules:
  - id: shadow
    description: The shadow file was opened
    expression: open.file.path == "/etc/shadow"
    tags:
      technique: T1003
  - id: ls
    expression: exec.file.name == "ls" && process.parent.file.name == "bash"
"#;

impl Bench {
    pub fn new(rules: &str, change: impl FnOnce(&mut EngineOptions, &Kernel)) -> Self {
        let policies = tempfile::tempdir().unwrap();
        write_rules(policies.path(), rules);
        let spool_dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(spool_dir.path(), Limits::default()).unwrap();
        let lines = Lines::default();
        let kernel = Arc::new(Kernel::default());
        let mut options = EngineOptions {
            policies_dir: policies.path().to_owned(),
            spool: Some(spool.clone()),
            output: Some(Output::to_writer("test", Box::new(lines.clone())).unwrap()),
            hostname: "host".to_owned(),
            replay_snapshot: false,
            self_test: SelfTestOptions {
                first_after: None,
                timeout: Duration::from_millis(200),
                ..SelfTestOptions::default()
            },
            ..EngineOptions::default()
        };
        change(&mut options, &kernel);
        let engine = Engine::start(options, Box::new(Source(Arc::clone(&kernel)))).unwrap();
        Self {
            engine: Some(engine),
            kernel,
            lines,
            policies,
            spool,
            _spool_dir: spool_dir,
        }
    }

    pub fn control(&self) -> impl RuntimeControl + use<> {
        self.engine.as_ref().unwrap().control()
    }

    pub fn status(&self) -> proto::Status {
        self.control().status(&proto::GetStatusParams::default())
    }

    pub fn stop(&mut self) {
        self.engine.take().unwrap().stop();
    }
}

pub fn write_rules(dir: &Path, rules: &str) {
    std::fs::write(dir.join("test.policy"), rules).unwrap();
}
