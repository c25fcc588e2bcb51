//! Harness of the end-to-end tests: starts the built programs in a directory of their own, drives the kernel through
//! the helper program, and waits for events.
//!
//! The tests need root, eBPF, and the built programs. The programs are looked for in `ATALAYA_BIN_DIR`, else in the
//! target directory that the test executable lies in (`./dev test` builds them first). Other variables:
//! * `ATALAYA_E2E_SLOW`: multiplies every timeout (emulated machines);
//! * `ATALAYA_SCHEMA`: the JSON schema that events must obey; without it events are not validated;
//! * `ATALAYA_POLICIES`: the directory of the shipped policy.
//!
//! **The matrix of events, kernels and tiers** fills itself: a test that declares its rules with [`Setup::rule`] and waits
//! with [`EventLog::expect`] or [`EventLog::expect_rule`] tells which event types it has seen (lines `SEEN: TEST: TYPE`);
//! `cargo xtask vmtest` says yes for a type that a passing test has seen, and failed for the one that a failing test was
//! about. A test of an event that some kernel or tier cannot have asks [`Probe::sees`] first and returns when that is false:
//! the reason is the probe's own, and is in the summary.
//!
//! Each [`Probe`] has its own socket, run directory, spool and policy, so that tests run side by side; rules name only
//! paths below the test's own directory.

mod agent;
mod events;
mod helper;
mod matrix;
mod paths;
mod probe;
mod receiver;
mod schema;

use std::time::Duration;

pub use agent::Agent;
pub use events::{EventLog, at, has_args, text};
pub use helper::{Helper, run_as, sys};
pub use matrix::tell_event;
pub use paths::{bin_dir, copy_executable, policies_dir, program};
pub use probe::{Probe, Setup};
pub use receiver::{Part, Receiver, Reply, Request};
pub use schema::{SchemaError, validate, validator_available};

/// Multiplies a time by what this machine needs.
pub fn slow(time: Duration) -> Duration {
    let factor = std::env::var("ATALAYA_E2E_SLOW")
        .ok()
        .and_then(|text| text.parse::<u32>().ok())
        .unwrap_or(1);
    time * factor.max(1)
}

/// How long an event may take from the system call to the output.
pub fn event_time() -> Duration {
    slow(Duration::from_secs(8))
}

/// Whether the kernel is of a release before this one.
pub fn kernel_before(major: u32, minor: u32) -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release
        .split(['.', '-'])
        .map(|number| number.trim().parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (major, minor)
}

/// Says that the running test cannot test here. The line goes past libtest's capture, so that the summary of
/// `./dev test` can count it.
pub fn skip(why: &str) {
    use std::io::Write;
    let thread = std::thread::current();
    let line = format!("SKIPPED: {}: {why}\n", thread.name().unwrap_or("?"));
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Polls until the condition gives a value or the time is over.
pub fn wait_for<T>(time: Duration, mut poll: impl FnMut() -> Option<T>) -> Option<T> {
    let end = std::time::Instant::now() + time;
    loop {
        if let Some(value) = poll() {
            return Some(value);
        }
        if std::time::Instant::now() > end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(15));
    }
}
