//! The image for containers, packed once from the programs under test, and a dockerd of the test's own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use atalaya_e2e::{slow, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::tools::{repository, run, target_dir};

/// Runs `cargo xtask dist` on the programs under test and gives the files that it names.
pub fn dist(output: &Path, arguments: &[&str]) -> Vec<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let made = run(Command::new(&cargo).current_dir(repository()).args([
        "build",
        "--quiet",
        "-p",
        "atalaya-entrypoint",
        "-p",
        "xtask",
    ]))
    .and_then(|_| {
        run(Command::new(target_dir().join("debug/xtask"))
            .current_dir(repository())
            .arg("dist")
            .arg("--bin-dir")
            .arg(atalaya_e2e::bin_dir())
            .arg("--output")
            .arg(output)
            .args(arguments))
    });
    let text = made.unwrap_or_else(|why| panic!("cargo xtask dist: {why}"));
    let prefix = output.to_string_lossy().into_owned();
    let files = text.lines().filter(|line| line.starts_with(&prefix));
    files.map(PathBuf::from).collect()
}

/// A dockerd with folders of its own, in mounts of its own; ended when dropped.
pub struct Docker {
    child: Child,
    host: String,
    client: PathBuf,
    dir: PathBuf,
}

impl Docker {
    /// Starts it below a directory. Why it cannot run here is no failure of the test.
    pub fn start(dir: &Path, dockerd: &Path, client: &Path) -> Result<Self, String> {
        let at = |name: &str| dir.join(name).to_string_lossy().into_owned();
        let host = format!("unix://{}", at("d.sock"));
        let log = std::fs::File::create(dir.join("log")).map_err(|error| error.to_string())?;
        let child = Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .arg(dockerd)
            .args(["--data-root", &at("data"), "--exec-root", &at("exec")])
            .args(["-p", &at("pid"), "-H", &host, "--iptables=false"])
            .args(["--ip6tables=false", "--bridge=none"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| error.to_string())?;
        let docker = Self {
            child,
            host,
            client: client.to_owned(),
            dir: dir.to_owned(),
        };
        let ready = wait_for(slow(Duration::from_secs(30)), || {
            docker.run(&["version"]).ok()
        });
        match ready {
            Some(_) => Ok(docker),
            None => Err("dockerd does not answer".into()),
        }
    }

    /// The client, with this daemon.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.client);
        command.args(["-H", &self.host]);
        command
    }

    /// Runs a command of the client.
    pub fn run(&self, arguments: &[&str]) -> Result<String, String> {
        run(self.command().args(arguments))
    }

    /// A command line as a page has it, with this daemon instead of the usual one.
    pub fn shell(&self, line: &str) -> Result<String, String> {
        let docker = format!("{} -H {}", self.client.display(), self.host);
        let script = format!("docker() {{ {docker} \"$@\"; }}\n{line}");
        run(Command::new("sh").args(["-euc", &script]))
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let ids = self.run(&["ps", "-aq"]).unwrap_or_default();
            for id in ids.lines() {
                let log = self.run(&["logs", id]).unwrap_or_else(|why| why);
                eprintln!("--- container {id}:\n{log}");
            }
        }
        // The containers first, else their shims stay.
        for id in self.run(&["ps", "-aq"]).unwrap_or_default().lines() {
            let _ = self.run(&["rm", "-f", "-v", id]);
        }
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let ended = wait_for(Duration::from_secs(15), || {
            self.child.try_wait().ok().flatten()
        });
        if ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten()
        {
            let _ = std::fs::remove_dir(hierarchy.path().join("docker"));
        }
        let _ = std::fs::remove_dir_all(self.dir.join("data"));
    }
}
