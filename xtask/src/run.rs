//! `./dev run`: the whole agent from a checkout, without installing anything.

use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::daemons::{Daemon, Place, programs_left, programs_of};
use crate::reap::Watchdog;
use crate::util::say;

/// Arguments of `run`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Stop after this many seconds instead of on Ctrl-C.
    #[arg(long)]
    seconds: Option<u64>,
    /// A directory of policy files to load besides the shipped policy.
    #[arg(long)]
    policies: Option<std::path::PathBuf>,
}

/// What `run` does.
pub(crate) fn main(args: &Args) -> Result<()> {
    let stop = stop_requests()?;
    let place = Place::new("run")?;
    let mut watchdog = Watchdog::start(&place.dir)?;
    let mounts = mounts();
    let result = live(&place, &mut watchdog, args, &stop);
    place.remove()?;
    watchdog.dismiss();
    let (sockets, programs) = result?;
    let mut left = sockets;
    // Programs are freed a moment after their last descriptor is closed.
    for _ in 0..100 {
        if programs_left(&programs).is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    left.extend(
        programs_left(&programs)
            .into_iter()
            .map(|id| format!("eBPF program {id}")),
    );
    if self::mounts() != mounts {
        left.push("a mount".into());
    }
    if left.is_empty() {
        say("stopped; nothing is left: no process, program, socket, mount or file");
        return Ok(());
    }
    bail!("left behind: {}", left.join(", "))
}

type Programs = std::collections::BTreeSet<String>;

/// Everything between start and stop. Returns what was found left of the processes, and the programs they held.
fn live(
    place: &Place,
    watchdog: &mut Watchdog,
    args: &Args,
    stop: &Receiver<()>,
) -> Result<(Vec<String>, Programs)> {
    if let Some(dir) = &args.policies {
        for entry in
            std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?
        {
            let entry = entry?;
            std::fs::copy(
                entry.path(),
                place.dir.join("policies").join(entry.file_name()),
            )?;
        }
    }
    let mut probe = place.start_probe(watchdog)?;
    for line in probe.log().lines() {
        eprintln!("    {line}");
    }
    let programs = programs_of(probe.pid());
    let mut agent = place.start_agent(watchdog)?;
    say(format!(
        "policies: {d}/policies   reload: {agent} -c {d}/atalaya.yaml runtime policy reload",
        d = place.dir.display(),
        agent = place.agent(&[]).get_program().to_string_lossy(),
    ));
    match explorer(place) {
        Some(url) => say(format!(
            "explorer: {url}   (good for one browser, within ten minutes)"
        )),
        None => say("no explorer: see the log of security-agent"),
    }
    // The events alone go to standard output.
    let self_test = place
        .agent(&["runtime", "self-test"])
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()?;
    if !self_test.success() {
        eprintln!("{}", probe.log().trim());
        bail!("the self-test failed: {self_test}");
    }
    say("live events; Ctrl-C ends");
    let mut tail = Tail::start(&mut place.agent(&["runtime", "events"]), watchdog)?;
    let end = args
        .seconds
        .map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let ended = loop {
        if stop.recv_timeout(Duration::from_millis(200)).is_ok()
            || end.is_some_and(|end| Instant::now() > end)
        {
            break None;
        }
        if probe.ended() {
            break Some(&mut probe);
        }
        if agent.ended() {
            break Some(&mut agent);
        }
        if tail.ended() {
            // As `| head` does: nobody reads any more.
            break None;
        }
    };
    let dead =
        ended.map(|daemon| format!("{} ended by itself:\n{}", daemon.name, daemon.log().trim()));
    drop(tail);
    let mut left = Vec::new();
    for daemon in [&mut agent, &mut probe] {
        if !stopped(daemon) {
            left.push(format!("{} had to be killed", daemon.name));
        }
    }
    let socket = place.dir.join("run/runtime-security.sock");
    if socket.exists() {
        left.push(format!("socket {}", socket.display()));
    }
    match dead {
        Some(dead) => bail!(dead),
        None => Ok((left, programs)),
    }
}

/// The address of the explorer, with its token, once it is there.
fn explorer(place: &Place) -> Option<String> {
    for _ in 0..50 {
        let asked = place
            .agent(&["explorer", "url"])
            .stdin(Stdio::null())
            .output()
            .ok()?;
        if asked.status.success() {
            return Some(String::from_utf8_lossy(&asked.stdout).trim().to_owned());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    None
}

fn stopped(daemon: &mut Daemon) -> bool {
    daemon.ended() || daemon.stop()
}

/// The live tail; ended when dropped.
struct Tail(Child);

impl Tail {
    fn start(command: &mut Command, watchdog: &mut Watchdog) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .context("cannot start the live tail")?;
        watchdog.watch(child.id());
        Ok(Self(child))
    }

    fn ended(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|status| status.is_some())
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A message for each request to stop: Ctrl-C, a closed terminal, kill.
fn stop_requests() -> Result<Receiver<()>> {
    let (send, receive) = channel();
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if send.send(()).is_err() {
                break;
            }
        }
    });
    Ok(receive)
}

fn mounts() -> String {
    std::fs::read_to_string("/proc/self/mounts").unwrap_or_default()
}
