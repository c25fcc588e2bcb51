//! security-agent under test.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{EventLog, Probe, slow, wait_for};

/// A running security-agent; stopped when dropped.
pub struct Agent {
    child: Option<Child>,
    log: PathBuf,
    /// The events it wrote to its events file.
    pub events: EventLog,
}

impl Agent {
    /// Starts security-agent beside a probe. Its end is not waited for, nor its connection.
    pub fn start(probe: &Probe) -> Self {
        let log = probe.dir().join("security-agent.log");
        let mut agent = Self {
            child: None,
            log,
            events: EventLog::new(&probe.dir().join("log/agent.jsonl")),
        };
        agent.restart(probe);
        agent
    }

    /// Starts it again.
    pub fn restart(&mut self, probe: &Probe) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .expect("a log file");
        let child = probe
            .agent_command(&["start"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("security-agent starts");
        self.child = Some(child);
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running agent").id()
    }

    /// What it wrote to standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to stop and waits for its end.
    pub fn stop(&mut self) -> bool {
        let Some(mut child) = self.child.take() else {
            return true;
        };
        let pid = i32::try_from(child.id()).expect("a pid");
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let status = wait_for(slow(Duration::from_secs(10)), || {
            child.try_wait().ok().flatten()
        });
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        status.is_some_and(|status| status.success())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("--- security-agent's log:\n{}", self.log());
        }
    }
}
