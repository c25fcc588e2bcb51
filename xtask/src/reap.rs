//! Clean-up that works even when the command is killed outright: a watchdog process waits on a pipe. When the pipe closes
//! without the word that all is done, it ends the programs and removes their directory.
//!
//! A death signal (`PR_SET_PDEATHSIG`) would not do: the kernel forgets it when security-agent changes its user.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Arguments of the hidden command `reap`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The directory to remove.
    dir: PathBuf,
}

/// The near end of the pipe.
pub(crate) struct Watchdog {
    child: Child,
}

impl Watchdog {
    /// Starts the watchdog process.
    pub(crate) fn start(dir: &Path) -> Result<Self> {
        let child = Command::new(std::env::current_exe()?)
            .arg("reap")
            .arg(dir)
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot start the watchdog")?;
        Ok(Self { child })
    }

    /// A process to end when we die.
    pub(crate) fn watch(&mut self, pid: u32) {
        self.tell(&format!("{pid} {}", start_time(pid).unwrap_or_default()));
    }

    /// All is cleaned up: the watchdog has nothing to do.
    pub(crate) fn dismiss(mut self) {
        self.tell("done");
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }

    fn tell(&mut self, line: &str) {
        if let Some(pipe) = &mut self.child.stdin {
            let _ = writeln!(pipe, "{line}");
        }
    }
}

/// What `reap` does.
pub(crate) fn main(args: &Args) -> Result<()> {
    let mut watched = Vec::new();
    for line in BufReader::new(std::io::stdin()).lines() {
        let line = line?;
        if line == "done" {
            return Ok(());
        }
        if let Some((pid, time)) = line.split_once(' ') {
            watched.push((pid.parse::<u32>()?, time.to_owned()));
        }
    }
    // Last started, first stopped: security-agent before system-probe.
    for (pid, time) in watched.iter().rev() {
        end(*pid, time);
    }
    // system-probe removes its own files at its end; wait for nothing else.
    let _ = std::fs::remove_dir_all(&args.dir);
    Ok(())
}

/// Ends a process, if it is still the one that was meant.
fn end(pid: u32, time: &str) {
    let Ok(number) = i32::try_from(pid) else {
        return;
    };
    for (signal, tries) in [(Signal::SIGTERM, 250), (Signal::SIGKILL, 50)] {
        for attempt in 0..tries {
            if start_time(pid).as_deref() != Some(time) {
                return;
            }
            if attempt == 0 {
                let _ = kill(Pid::from_raw(number), signal);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// When a process was started, in clock ticks: with the id, its identity. `None` for one that has ended.
fn start_time(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}
