//! One boot: QEMU's command line, its output, its end.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::image::{Payload, unpack_module};

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The command ran and exited so.
    Exit(i32),
    /// The machine ended, or never started, without a result.
    Infrastructure(String),
    /// The command did not end in time.
    TimedOut,
    /// No kernel, image or QEMU could be had.
    Unavailable(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(0) => write!(formatter, "ok"),
            Self::Exit(code) => write!(formatter, "exit status {code}"),
            Self::Infrastructure(what) => write!(formatter, "the virtual machine failed: {what}"),
            Self::TimedOut => write!(formatter, "timed out"),
            Self::Unavailable(what) => write!(formatter, "not run: {what}"),
        }
    }
}

/// Everything a boot needs.
pub(crate) struct Machine {
    pub(crate) version: String,
    pub(crate) vmlinuz: PathBuf,
    pub(crate) initrd: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) scratch: PathBuf,
    /// A module that tests load.
    pub(crate) module: Option<PathBuf>,
}

impl Machine {
    /// Boots, runs the script in the payload, and hands each line of its output to `line`.
    pub(crate) fn boot(
        &self,
        security_modules: &str,
        payload: &Payload,
        script: &str,
        timeout: Duration,
        line: &dyn Fn(&str),
    ) -> Result<Outcome> {
        let scratch = tempfile::Builder::new()
            .prefix(&format!("boot-{}-", std::process::id()))
            .tempdir_in(&self.scratch)?;
        let tar = scratch.path().join("payload.tar");
        let console = scratch.path().join("console.log");
        let mut payload = payload.clone();
        if let Some(module) = &self.module {
            let unpacked = scratch.path().join("dummy.ko");
            unpack_module(module, &unpacked)?;
            payload.add_as(&unpacked, "modules/dummy.ko");
        }
        payload.write(&tar, script)?;
        let mut child = self
            .qemu(security_modules, &tar, &console)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start qemu-system-x86_64")?;
        let stdout = child.stdout.take().context("qemu has no output")?;
        let (send, receive) = channel();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            let mut text = Vec::new();
            while reader
                .read_until(b'\n', &mut text)
                .is_ok_and(|count| count > 0)
            {
                let line = String::from_utf8_lossy(&text).trim_end().to_owned();
                text.clear();
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        let end = Instant::now() + timeout;
        let mut exit = None;
        let mut timed_out = false;
        loop {
            match receive.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(text) => match text.strip_prefix("VMT_EXIT=") {
                    Some(code) => exit = code.trim().parse::<i32>().ok(),
                    None => line(&text),
                },
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    timed_out = true;
                    break;
                }
            }
        }
        if timed_out {
            let _ = child.kill();
        }
        let status = child.wait()?;
        if let Some(code) = exit {
            return Ok(Outcome::Exit(code));
        }
        let tail = console_tail(&console);
        if timed_out {
            eprintln!("{tail}");
            return Ok(Outcome::TimedOut);
        }
        Ok(Outcome::Infrastructure(format!(
            "qemu ended ({status}) without a result; the console's last lines:\n{tail}"
        )))
    }

    fn qemu(&self, lsm: &str, tar: &Path, console: &Path) -> Command {
        // Without norandmaps QEMU 7.2 translates every program anew; thread=single beats multi for exec-heavy work and
        // leaves the other core to another machine; the guest sees two processors all the same.
        let append = format!(
            "console=ttyS0 quiet panic=-1 norandmaps mitigations=off rcupdate.rcu_expedited=1 no5lvl lsm={lsm}"
        );
        // setpriv: a machine must not outlive us, whatever ends us.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"])
            .args([
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-no-reboot",
            ])
            // KVM may be present and yet unable to run these kernels, so it is never tried.
            .args([
                "-machine",
                "q35",
                "-accel",
                "tcg,thread=single",
                "-cpu",
                "max",
            ])
            .args(["-smp", "2", "-m", "1536"])
            .arg("-kernel")
            .arg(&self.vmlinuz)
            .arg("-initrd")
            .arg(&self.initrd)
            .args(["-append", &append])
            .args(drive("root", &self.root, true))
            .args(drive("payload", tar, false))
            // Not chardev stdio: an input at its end makes the guest see a closed port, and block.
            .args([
                "-device",
                "virtio-serial-pci",
                "-chardev",
                "file,id=out,path=/dev/stdout",
            ])
            .args(["-device", "virtserialport,chardev=out,name=out"])
            .args(["-object", "rng-random,id=rng0,filename=/dev/urandom"])
            .args(["-device", "virtio-rng-pci,rng=rng0"])
            .arg("-serial")
            .arg(format!("file:{}", console.display()));
        command
    }
}

fn drive(id: &str, path: &Path, snapshot: bool) -> [String; 4] {
    let mode = if snapshot {
        "snapshot=on"
    } else {
        "readonly=on"
    };
    [
        "-drive".into(),
        format!(
            "file={},if=none,id={id},format=raw,{mode},cache=unsafe",
            path.display()
        ),
        "-device".into(),
        format!("virtio-blk-pci,drive={id}"),
    ]
}

fn console_tail(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}
