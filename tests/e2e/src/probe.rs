//! system-probe under test.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::{EventLog, matrix, program, skip, slow, wait_for};

/// How to start a [`Probe`].
pub struct Setup {
    rules: String,
    policies: Vec<(String, String)>,
    config: String,
    agent: String,
    /// Lines below `explorer:`.
    explorer: String,
    /// Environment variables for system-probe.
    pub env: Vec<(String, String)>,
    /// The network namespaces that the probe may attach classifiers in.
    watched: Vec<u32>,
    self_test: bool,
    dir: TempDir,
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

impl Setup {
    /// An empty policy, no self-test at start.
    pub fn new() -> Self {
        // Not in /tmp itself on machines where it is a small tmpfs; never below a directory that others cannot enter,
        // since tests act as other users.
        let dir = tempfile::Builder::new()
            .prefix("atalaya-e2e-")
            .tempdir()
            .expect("a temporary directory");
        for name in ["run", "spool", "log", "policies", "work"] {
            std::fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        let open = std::fs::Permissions::from_mode(0o777);
        for name in ["log", "work"] {
            std::fs::set_permissions(dir.path().join(name), open.clone()).expect("permissions");
        }
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))
            .expect("permissions");
        Self {
            rules: String::new(),
            policies: Vec::new(),
            config: String::new(),
            agent: "  expvar_port: 0\n".to_owned(),
            explorer: "  enabled: false\n".to_owned(),
            env: Vec::new(),
            watched: Vec::new(),
            self_test: false,
            dir,
        }
    }

    /// The directory that tests act in. Rules may name it.
    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// The test's whole directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Adds a rule. `{work}` in the expression stands for the directory that the test acts in.
    pub fn rule(mut self, id: &str, expression: &str) -> Self {
        let expression = expression.replace("{work}", &self.work().to_string_lossy());
        matrix::declare(id, &expression);
        self.rules.push_str(&format!(
            "  - id: {id}\n    description: {id}\n    expression: |-\n      {expression}\n"
        ));
        self
    }

    /// Adds a policy file. `{work}` stands for the directory that the test acts in.
    pub fn policy(mut self, name: &str, text: &str) -> Self {
        let text = text.replace("{work}", &self.work().to_string_lossy());
        self.policies.push((name.into(), text));
        self
    }

    /// Adds lines below `runtime_security_config:`, indented by two.
    pub fn config(mut self, lines: &str) -> Self {
        self.config.push_str(lines);
        self
    }

    /// Replaces the lines below `security_agent:` that say where it listens; nowhere, where this is not called.
    pub fn agent_config(mut self, lines: &str) -> Self {
        self.agent = lines.to_owned();
        self
    }

    /// Lets security-agent run its explorer, on a port of its own, with a place of its own.
    pub fn explorer(mut self) -> Self {
        let d = self.dir.path().display();
        self.explorer = format!(
            "  port: 0\n  dir: {d}/explorer\n  socket: {d}/explorer/explorer.sock\n  min_free_mb: 0\n"
        );
        self
    }

    /// Lets the probe attach classifiers in this network namespace, by the number that `readlink /proc/PID/ns/net` shows.
    pub fn watch(mut self, netns: u32) -> Self {
        self.watched.push(netns);
        self
    }

    /// Lets the self-test run at start.
    pub fn self_test(mut self) -> Self {
        self.self_test = true;
        self
    }

    /// Sets an environment variable of system-probe.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Writes configuration and policies.
    pub fn write(&self) {
        let dir = self.dir.path();
        let d = dir.display();
        // Classifiers go to the network namespaces that a test names, never to the machine's own: number 1 is nobody's.
        let numbers = if self.watched.is_empty() {
            "\"1\"".to_owned()
        } else {
            let numbers = self.watched.iter().map(|netns| format!("\"{netns}\""));
            numbers.collect::<Vec<_>>().join(", ")
        };
        let network = format!("  network:\n    namespaces: [{numbers}]\n");
        let config = if self.config.contains("    namespaces:") {
            self.config.clone()
        } else if self.config.contains("  network:\n") {
            self.config.replacen("  network:\n", &network, 1)
        } else {
            network + &self.config
        };
        let text = format!(
            "log_level: info\n\
             hostname: e2e-host\n\
             run_path: {d}/run\n\
             security_agent:\n  user: nobody\n  events_file: {d}/log/agent.jsonl\n{}\
             explorer:\n{}\
             runtime_security_config:\n  enabled: true\n  socket: {d}/run/runtime-security.sock\n  \
             policies:\n    dir: {d}/policies\n  self_test:\n    enabled: {}\n  \
             spool:\n    dir: {d}/spool\n{config}",
            self.agent, self.explorer, self.self_test
        );
        std::fs::write(dir.join("atalaya.yaml"), text).expect("the configuration");
        let mut own = String::from("version: 1.0.0\nrules:\n");
        own.push_str(&self.rules);
        if self.rules.is_empty() {
            own.push_str(
                "  - id: e2e_unused\n    expression: exec.file.path == \"/nonexistent/e2e\"\n",
            );
        }
        std::fs::write(dir.join("policies/e2e.policy"), own).expect("a policy");
        for (name, text) in &self.policies {
            std::fs::write(dir.join("policies").join(name), text).expect("a policy");
        }
    }

    /// Starts system-probe and waits until it is ready.
    pub fn start(self) -> Probe {
        self.write();
        let mut probe = Probe {
            child: None,
            events: EventLog::new(&self.dir.path().join("events.jsonl")),
            setup: self,
            starts: 0,
        };
        probe.start();
        probe
    }
}

/// A running system-probe; stopped, and its directory removed, when dropped.
pub struct Probe {
    child: Option<Child>,
    /// The events it wrote to its output file.
    pub events: EventLog,
    setup: Setup,
    starts: usize,
}

impl Probe {
    /// The command line of this probe.
    pub fn command(&self) -> Command {
        let dir = self.dir();
        let mut command = Command::new(program("system-probe"));
        command
            .arg("run")
            .arg("-c")
            .arg(self.config())
            .arg("--policies-dir")
            .arg(dir.join("policies"))
            .arg("--output")
            .arg(dir.join("events.jsonl"))
            .envs(self.setup.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    /// Starts it (again) and waits until it is ready.
    pub fn start(&mut self) {
        assert!(
            nix::unistd::geteuid().is_root(),
            "the end-to-end tests need root"
        );
        self.starts += 1;
        let log = self.log_path();
        let child = self
            .command()
            .stderr(File::create(&log).expect("a log file"))
            .spawn()
            .expect("system-probe starts");
        self.child = Some(child);
        let ready = wait_for(slow(Duration::from_secs(20)), || {
            let exited = self.child.as_mut()?.try_wait().ok()?.is_some();
            let ready = self.log().contains("system-probe is ready");
            (ready || exited).then_some(ready)
        });
        assert!(
            ready == Some(true),
            "system-probe did not become ready:\n{}",
            self.log()
        );
    }

    fn log_path(&self) -> PathBuf {
        self.dir().join(format!("system-probe-{}.log", self.starts))
    }

    /// What the present run wrote to standard error.
    pub fn log(&self) -> String {
        std::fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The test's whole directory.
    pub fn dir(&self) -> &Path {
        self.setup.dir()
    }

    /// The directory that tests act in.
    pub fn work(&self) -> PathBuf {
        self.setup.work()
    }

    /// A path in the directory that tests act in.
    pub fn path(&self, name: &str) -> String {
        self.work().join(name).to_string_lossy().into_owned()
    }

    /// Writes a policy file anew. `{work}` stands for the directory that the test acts in.
    pub fn write_policy(&self, name: &str, text: &str) {
        let text = text.replace("{work}", &self.work().to_string_lossy());
        std::fs::write(self.dir().join("policies").join(name), text).expect("a policy");
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.dir().join("atalaya.yaml")
    }

    /// The socket.
    pub fn socket(&self) -> PathBuf {
        self.dir().join("run/runtime-security.sock")
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running probe").id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("a pid");
        let _ = kill(Pid::from_raw(pid), signal);
    }

    /// Asks it to stop and waits for its end.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        self.signal(Signal::SIGTERM);
        let status = self.wait(slow(Duration::from_secs(10)));
        if status.is_none() {
            self.kill();
        } else {
            self.child = None;
        }
        status
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Waits for its end.
    pub fn wait(&mut self, time: Duration) -> Option<ExitStatus> {
        let child = self.child.as_mut()?;
        wait_for(time, || child.try_wait().ok().flatten())
    }

    /// Whether the probe sees the attributes that a file had before a chmod or chown; the tracepoint tier sees those after it.
    pub fn sees_former_attributes(&self) -> bool {
        let (_, status, _) = self.agent(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status).expect("status is JSON");
        status["sensor"]["tier"]
            .as_str()
            .expect("status tells the tier")
            != "tracepoint"
    }

    /// What `security-agent status --json` says, once it is healthy: under a storm on a busy machine it may be late with its heartbeat for a moment.
    pub fn status(&self) -> serde_json::Value {
        let mut last = (String::new(), String::new());
        let good = wait_for(slow(Duration::from_secs(10)), || {
            let (good, status, error) = self.agent(&["status", "--json"]);
            last = (status, error);
            good.then_some(())
        });
        let (status, error) = last;
        assert!(good.is_some(), "{status}{error}");
        serde_json::from_str(&status).expect("status is JSON")
    }

    /// Why the rule's event type cannot be seen on this kernel and in this tier; `None` when it can.
    pub fn unavailable(&self, rule: &str) -> Option<String> {
        let status = self.status();
        let policies = &status["policies_status"];
        let mut rules = policies
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|policy| policy["status"].as_array().into_iter().flatten());
        let found = rules
            .find(|status| status["id"] == rule)
            .unwrap_or_else(|| panic!("status has no rule {rule}: {policies}"));
        found["unavailable"]
            .as_array()?
            .iter()
            .filter_map(|why| why.as_str())
            .find(|why| {
                why.contains("cannot be seen on this host")
                    || why.starts_with("event not available here")
            })
            .map(str::to_owned)
    }

    /// Whether the rule's events can be seen here. Else says loudly that the test is skipped, and why; the test returns.
    pub fn sees(&self, rule: &str) -> bool {
        let why = self.unavailable(rule);
        if let Some(why) = &why {
            skip(why);
        }
        why.is_none()
    }

    /// security-agent with this probe's configuration.
    pub fn agent_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program("security-agent"));
        command
            .arg("-c")
            .arg(self.config())
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs security-agent's command line: exit success, standard output, standard error.
    pub fn agent(&self, arguments: &[&str]) -> (bool, String, String) {
        let output = self
            .agent_command(arguments)
            .output()
            .expect("security-agent runs");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.stop();
        }
        if std::thread::panicking() {
            eprintln!("--- system-probe's log:\n{}", self.log());
        }
    }
}
