//! The two programs, started in a directory of their own: used by `run` and `bench`.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::reap::Watchdog;
use crate::util::{cargo, root, run, say, target_dir};

/// Where everything of one run lies.
pub(crate) struct Place {
    /// The directory, removed at the end.
    pub(crate) dir: PathBuf,
    bin: PathBuf,
}

impl Place {
    /// Builds release binaries and makes an empty directory with configuration and the shipped policy.
    pub(crate) fn new(kind: &str) -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            bail!("needs root: eBPF programs are loaded");
        }
        say("building system-probe and security-agent (release)");
        run(cargo().args([
            "build",
            "--release",
            "-p",
            "system-probe",
            "-p",
            "security-agent",
        ]))?;
        let dir = tempfile::Builder::new()
            .prefix(&format!("atalaya-{kind}-"))
            .tempdir()?
            .keep();
        let place = Self {
            dir,
            bin: target_dir().join("release"),
        };
        place.fill()?;
        Ok(place)
    }

    fn fill(&self) -> Result<()> {
        let dir = &self.dir;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?;
        for name in ["run", "spool", "log", "policies"] {
            std::fs::create_dir(dir.join(name))?;
        }
        if let Some(nobody) = nix::unistd::User::from_name("nobody")? {
            nix::unistd::chown(&dir.join("log"), Some(nobody.uid), Some(nobody.gid))?;
        }
        for entry in std::fs::read_dir(root().join("policies"))? {
            let entry = entry?;
            std::fs::copy(entry.path(), dir.join("policies").join(entry.file_name()))?;
        }
        let d = dir.display();
        let config = format!(
            "run_path: {d}/run\n\
             security_agent:\n  user: nobody\n  events_file: {d}/log/events.jsonl\n\
             explorer:\n  port: 0\n  dir: {d}/explorer\n  socket: {d}/explorer/explorer.sock\n  min_free_mb: 0\n\
             runtime_security_config:\n  socket: {d}/run/runtime-security.sock\n  \
             policies:\n    dir: {d}/policies\n  spool:\n    dir: {d}/spool\n"
        );
        std::fs::write(self.config(), config)?;
        Ok(())
    }

    /// The configuration of both programs.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir.join("atalaya.yaml")
    }

    /// A command of security-agent.
    pub(crate) fn agent(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.bin.join("security-agent"));
        command.arg("-c").arg(self.config()).args(arguments);
        command
    }

    /// Starts system-probe and waits until it is ready.
    pub(crate) fn start_probe(&self, watchdog: &mut Watchdog) -> Result<Daemon> {
        let mut command = Command::new(self.bin.join("system-probe"));
        command.arg("run").arg("-c").arg(self.config());
        let mut daemon = self.start("system-probe", &mut command, watchdog)?;
        let end = Instant::now() + Duration::from_secs(30);
        while !daemon.log().contains("system-probe is ready") {
            if let Some(status) = daemon.child.try_wait()? {
                bail!("system-probe ended ({status}):\n{}", daemon.log().trim());
            }
            if Instant::now() > end {
                let log = daemon.log();
                daemon.stop();
                bail!("system-probe is not ready after 30 s:\n{}", log.trim());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(daemon)
    }

    /// Starts security-agent.
    pub(crate) fn start_agent(&self, watchdog: &mut Watchdog) -> Result<Daemon> {
        self.start("security-agent", &mut self.agent(&["start"]), watchdog)
    }

    fn start(
        &self,
        name: &'static str,
        command: &mut Command,
        watchdog: &mut Watchdog,
    ) -> Result<Daemon> {
        let log = self.dir.join(format!("{name}.log"));
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            // Ctrl-C in a terminal reaches the whole group; the daemons are stopped in order instead.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        watchdog.watch(child.id());
        Ok(Daemon { name, child, log })
    }

    /// Removes the directory.
    pub(crate) fn remove(&self) -> Result<()> {
        std::fs::remove_dir_all(&self.dir)
            .with_context(|| format!("cannot remove {}", self.dir.display()))
    }
}

/// A running program.
pub(crate) struct Daemon {
    pub(crate) name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard error.
    pub(crate) fn log(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Whether it has ended by itself.
    pub(crate) fn ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Stops it: asks, waits five seconds, insists. Says whether asking was enough.
    pub(crate) fn stop(&mut self) -> bool {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        false
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.ended() {
            self.stop();
        }
    }
}

/// The eBPF programs that a process holds.
pub(crate) fn programs_of(pid: u32) -> BTreeSet<String> {
    program_ids(&Path::new("/proc").join(pid.to_string()))
}

/// Those of these programs that some process still holds. A program that nobody holds, that is attached by no link that
/// anybody holds, and that is not pinned, is gone.
pub(crate) fn programs_left(programs: &BTreeSet<String>) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return BTreeSet::new();
    };
    entries
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with(|c: char| c.is_ascii_digit())
        })
        .flat_map(|entry| program_ids(&entry.path()))
        .filter(|id| programs.contains(id))
        .collect()
}

fn program_ids(process: &Path) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(process.join("fdinfo")) else {
        return BTreeSet::new();
    };
    entries
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
        .filter_map(|text| {
            let id = text
                .lines()
                .find_map(|line| line.strip_prefix("prog_id:"))?;
            Some(id.trim().to_owned())
        })
        .collect()
}
