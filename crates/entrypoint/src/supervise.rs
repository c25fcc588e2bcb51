//! A few programs, kept running.

use std::ffi::c_int;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The pause before a program is started again: doubled each time, up to the longest; from the beginning once it has run so long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// So often in a row a vital program may fail.
const FAILURES: u32 = 5;
/// How long the programs may take to stop: less than the ten seconds that docker gives.
const PATIENCE: Duration = Duration::from_secs(8);

/// A program that is kept running.
#[derive(Debug)]
pub(crate) struct Program {
    name: String,
    path: PathBuf,
    arguments: Vec<String>,
    vital: bool,
    state: State,
    failures: u32,
}

#[derive(Debug)]
enum State {
    Due(Instant),
    Running(Child, Instant),
    Done,
}

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// It had nothing to do, or was asked to stop.
    Well,
    Failed,
    /// It has failed too often, with this exit status.
    GaveUp(u8),
}

impl Program {
    pub(crate) fn new(name: &str, dir: &Path, arguments: &[&str], vital: bool) -> Self {
        Self {
            name: name.to_owned(),
            path: dir.join(name),
            arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
            vital,
            state: State::Due(Instant::now()),
            failures: 0,
        }
    }

    fn start_if_due(&mut self, now: Instant) {
        if !matches!(self.state, State::Due(at) if at <= now) {
            return;
        }
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).stdin(Stdio::null());
        match command.spawn() {
            Ok(child) => self.state = State::Running(child, now),
            Err(error) => {
                eprintln!("entrypoint: cannot start {}: {error}", self.path.display());
                self.failures += 1;
                self.state = State::Due(now + self.pause());
            }
        }
    }

    fn pause(&self) -> Duration {
        let doubled = FIRST_PAUSE * 2_u32.saturating_pow(self.failures.saturating_sub(1).min(10));
        doubled.min(LONGEST_PAUSE)
    }

    /// Looks whether it has ended, and when it is to be started again.
    fn look(&mut self, now: Instant) -> Option<Ended> {
        let State::Running(child, since) = &mut self.state else {
            return None;
        };
        let status = child.try_wait().ok().flatten()?;
        if now.duration_since(*since) > LONGEST_PAUSE {
            self.failures = 0;
        }
        if status.success() {
            eprintln!("entrypoint: {} has ended", self.name);
            self.state = State::Done;
            return Some(Ended::Well);
        }
        self.failures += 1;
        if self.vital && self.failures >= FAILURES {
            eprintln!(
                "entrypoint: {} failed {FAILURES} times in a row ({status}): the container ends",
                self.name
            );
            self.state = State::Done;
            return Some(Ended::GaveUp(code(status)));
        }
        let pause = self.pause();
        eprintln!(
            "entrypoint: {} failed ({status}): it is started again in {} s",
            self.name,
            pause.as_secs()
        );
        self.state = State::Due(now + pause);
        Some(Ended::Failed)
    }

    fn signal(&self, signal: Signal) {
        if let State::Running(child, _) = &self.state
            && let Ok(pid) = i32::try_from(child.id())
        {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.filter(|code| *code != 0).unwrap_or(1)
}

/// Keeps programs running until it is asked to stop.
pub(crate) struct Supervisor {
    programs: Vec<Program>,
    signals: Receiver<c_int>,
}

impl Supervisor {
    pub(crate) fn new(programs: Vec<Program>) -> io::Result<Self> {
        let mut caught = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGCHLD])?;
        let (send, signals) = channel();
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                for signal in caught.forever() {
                    if send.send(signal).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self { programs, signals })
    }

    /// Returns the exit status of the container.
    pub(crate) fn run(mut self) -> u8 {
        loop {
            let now = Instant::now();
            for program in &mut self.programs {
                program.start_if_due(now);
                if let Some(Ended::GaveUp(code)) = program.look(now) {
                    self.stop();
                    return code;
                }
            }
            let all_done = |p: &Program| matches!(p.state, State::Done);
            if self.programs.iter().all(all_done) {
                return 0;
            }
            match self.signals.recv_timeout(self.until_next(now)) {
                Ok(SIGTERM | SIGINT) => {
                    self.stop();
                    return 0;
                }
                Ok(SIGHUP) => {
                    for program in &self.programs {
                        program.signal(Signal::SIGHUP);
                    }
                }
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.stop();
                    return 1;
                }
            }
        }
    }

    /// How long nothing is to be done, unless a signal comes.
    fn until_next(&self, now: Instant) -> Duration {
        let due = self
            .programs
            .iter()
            .filter_map(|program| match program.state {
                State::Due(at) => Some(at.saturating_duration_since(now)),
                _ => None,
            });
        due.min().unwrap_or(LONGEST_PAUSE)
    }

    /// The first first: what it has still seen goes to the others, or waits on disk.
    fn stop(&mut self) {
        let end = Instant::now() + PATIENCE;
        for program in &mut self.programs {
            program.signal(Signal::SIGTERM);
            if let State::Running(child, _) = &mut program.state {
                while Instant::now() < end && !matches!(child.try_wait(), Ok(Some(_))) {
                    std::thread::sleep(Duration::from_millis(10));
                }
                if !matches!(child.try_wait(), Ok(Some(_))) {
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn shell(script: &str, vital: bool) -> Program {
        let mut program = Program::new("sh", Path::new("/bin"), &["-c", script], vital);
        program.start_if_due(Instant::now());
        program
    }

    fn ended(program: &mut Program) -> Ended {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(ended) = program.look(Instant::now()) {
                return ended;
            }
            assert!(Instant::now() < end, "{program:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn one_that_has_nothing_to_do_is_left_alone() {
        let mut program = shell("exit 0", true);
        assert_eq!(ended(&mut program), Ended::Well);
        assert!(matches!(program.state, State::Done));
    }

    #[test]
    fn one_that_fails_is_started_again_later_and_later() {
        let mut program = shell("exit 3", false);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert_eq!(ended(&mut program), Ended::Failed);
            pauses.push(program.pause().as_secs());
            program.state = State::Due(Instant::now());
            program.start_if_due(Instant::now());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
    }

    #[test]
    fn a_vital_one_may_not_fail_for_ever() {
        let mut program = shell("exit 3", true);
        for _ in 1..FAILURES {
            assert_eq!(ended(&mut program), Ended::Failed);
            program.state = State::Due(Instant::now());
            program.start_if_due(Instant::now());
        }
        assert_eq!(ended(&mut program), Ended::GaveUp(3));
    }

    #[test]
    fn one_that_cannot_be_started_is_tried_again() {
        let mut program = Program::new("no-such-program", Path::new("/nonexistent"), &[], false);
        program.start_if_due(Instant::now());
        assert!(matches!(program.state, State::Due(at) if at > Instant::now()));
    }
}
