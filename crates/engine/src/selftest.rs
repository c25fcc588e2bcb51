//! The self-test: real commands touch a real file, and each rule's event must come out at the output end.
//!
//! The commands are children, since the agent's own doings are not captured. A test counts only when the event that
//! arrives was caused by the very child that was started for it.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use atalaya_model::json::{CustomEvent, SelfTest as SelfTestEvent, TestResult};
use atalaya_policy::InternalPolicy;
use crossbeam_channel::{Receiver, Sender, bounded, select};

use crate::emit::epoch_now_ns;
use crate::options::SelfTestOptions;
use crate::rules::internal_policy;

/// The policy's name.
pub(crate) const POLICY: &str = "datadog-agent-cws-self-test-policy";
/// Where its rules say they are from.
pub(crate) const SOURCE: &str = "self-test";

/// Rule id and event type of each test, in the order they run.
const TESTS: [(&str, &str); 3] = [
    ("datadog_agent_cws_self_test_rule_open", "open"),
    ("datadog_agent_cws_self_test_rule_chmod", "chmod"),
    ("datadog_agent_cws_self_test_rule_chown", "chown"),
];

/// One test of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct TestRow {
    /// The rule that should have matched.
    pub rule_id: &'static str,
    /// Its event type.
    pub event_type: &'static str,
    /// From the start of the command to the event at the output end; `None` when it did not come.
    pub latency: Option<Duration>,
    /// Why it did not come, as far as known.
    pub error: String,
}

/// How a run went.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// When it ended (ns since the epoch).
    pub at_ns: u64,
    /// A row a test.
    pub rows: Vec<TestRow>,
    /// Why there was no run; empty when there was one.
    pub error: String,
}

impl Outcome {
    /// Every event was seen.
    pub fn passed(&self) -> bool {
        self.error.is_empty()
            && self.rows.len() == TESTS.len()
            && self.rows.iter().all(|row| row.latency.is_some())
    }

    /// What went wrong, in one line; empty when nothing did.
    pub fn reason(&self) -> String {
        if !self.error.is_empty() {
            return self.error.clone();
        }
        let failed: Vec<String> = self
            .rows
            .iter()
            .filter(|row| row.latency.is_none())
            .map(|row| format!("{}: {}", row.event_type, row.error))
            .collect();
        failed.join("; ")
    }

    /// As an event.
    pub(crate) fn event(&self) -> CustomEvent {
        let ids = |passed: bool| {
            self.rows
                .iter()
                .filter(|row| row.latency.is_some() == passed)
                .map(|row| row.rule_id.to_owned())
                .collect()
        };
        CustomEvent::SelfTest(SelfTestEvent {
            success: ids(true),
            fails: ids(false),
            tests: self
                .rows
                .iter()
                .map(|row| TestResult {
                    rule_id: row.rule_id.to_owned(),
                    passed: row.latency.is_some(),
                    reason: row.error.clone(),
                    duration_ms: row.latency.map_or(0, |took| {
                        u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
                    }),
                })
                .collect(),
        })
    }
}

#[derive(Debug)]
struct Seen {
    rule_id: String,
    pid: u32,
    at: Instant,
}

/// The self-test and its last result.
#[derive(Debug)]
pub(crate) struct SelfTest {
    pub(crate) options: SelfTestOptions,
    dir: Result<PrivateDir, String>,
    running: AtomicBool,
    waiting: Mutex<Option<Sender<Seen>>>,
    last: Mutex<Option<Outcome>>,
}

impl SelfTest {
    /// Makes the private directory. Without one every run fails, and says why.
    pub(crate) fn new(options: SelfTestOptions) -> Self {
        let dir = if options.enabled {
            PrivateDir::new(options.parent_dir.as_deref())
                .map_err(|error| format!("cannot make the self-test's directory: {error}"))
        } else {
            Err("self-tests are disabled (runtime_security_config.self_test.enabled)".to_owned())
        };
        Self {
            options,
            dir,
            running: AtomicBool::new(false),
            waiting: Mutex::new(None),
            last: Mutex::new(None),
        }
    }

    /// The policy with the three rules; `None` when there is nothing to test with.
    pub(crate) fn policy(&self) -> Option<InternalPolicy> {
        let path = self.dir.as_ref().ok()?.file();
        // The characters that mean something inside a quoted string of a rule.
        let path = path.to_str()?.replace('\\', "\\\\").replace('"', "\\\"");
        let rule = |index: usize, expression: String, description| {
            let (id, _): (&str, &str) = TESTS[index];
            (id, expression, description, false)
        };
        Some(internal_policy(
            POLICY,
            SOURCE,
            &[
                rule(
                    0,
                    format!("open.file.path == \"{path}\" && open.flags & O_CREAT > 0"),
                    "Self-test: a file was created",
                ),
                rule(
                    1,
                    format!("chmod.file.path == \"{path}\""),
                    "Self-test: a file's mode was changed",
                ),
                rule(
                    2,
                    format!("chown.file.path == \"{path}\""),
                    "Self-test: a file's owner was changed",
                ),
            ],
        ))
    }

    /// An event of one of the three rules has gone out.
    pub(crate) fn seen(&self, rule_id: &str, pid: u32) {
        if let Some(waiting) = &*lock(&self.waiting) {
            // Nobody waits for more than a few: a full channel has what it needs.
            let _ = waiting.try_send(Seen {
                rule_id: rule_id.to_owned(),
                pid,
                at: Instant::now(),
            });
        }
    }

    /// Why there will be no run, if so.
    pub(crate) fn impossible(&self) -> Option<&str> {
        self.dir.as_ref().err().map(String::as_str)
    }

    pub(crate) fn last(&self) -> Option<Outcome> {
        lock(&self.last).clone()
    }

    /// Runs all tests, one after the other. An error says why there was no run.
    pub(crate) fn run(&self, stop: &Receiver<()>) -> Result<Outcome, String> {
        let dir = self.dir.as_ref().map_err(Clone::clone)?;
        if self.running.swap(true, Ordering::AcqRel) {
            return Err("a self test is already running".to_owned());
        }
        // Whatever happens below, the next run must be possible.
        let _running = Reset(&self.running);
        let mut outcome = Outcome::default();
        match dir.prepare() {
            Err(error) => {
                outcome.error = format!("cannot use the self-test's directory: {error}");
            }
            Ok(()) => {
                let (seen, events) = bounded(64);
                *lock(&self.waiting) = Some(seen);
                for (index, (rule_id, event_type)) in TESTS.into_iter().enumerate() {
                    let result = self.test(index, rule_id, &dir.file(), &events, stop);
                    let (latency, error) = match result {
                        Ok(latency) => (Some(latency), String::new()),
                        Err(error) => (None, error),
                    };
                    outcome.rows.push(TestRow {
                        rule_id,
                        event_type,
                        latency,
                        error,
                    });
                }
                *lock(&self.waiting) = None;
                // It is only there to be touched; that it stays does no harm.
                let _ = fs::remove_file(dir.file());
            }
        }
        outcome.at_ns = epoch_now_ns();
        *lock(&self.last) = Some(outcome.clone());
        Ok(outcome)
    }

    fn test(
        &self,
        index: usize,
        rule_id: &str,
        file: &Path,
        events: &Receiver<Seen>,
        stop: &Receiver<()>,
    ) -> Result<Duration, String> {
        let (program, arguments): (&str, &[&str]) = match index {
            0 => ("touch", &[]),
            1 => ("chmod", &["777"]),
            _ => ("chown", &[&rustix::process::getuid().as_raw().to_string()]),
        };
        let started = Instant::now();
        let deadline = started + self.options.timeout;
        let mut child = Command::new(find(program)?)
            .args(arguments)
            .arg(file)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot run `{program}`: {error}"))?;
        let pid = child.id();
        let status = wait(&mut child, deadline).ok_or_else(|| {
            format!(
                "`{program}` did not end within {} s",
                self.options.timeout.as_secs()
            )
        })?;
        if !status.success() {
            return Err(format!("`{program}` failed: {status}"));
        }
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            select! {
                recv(events) -> seen => match seen {
                    Ok(seen) if seen.rule_id == rule_id && seen.pid == pid => {
                        return Ok(seen.at.saturating_duration_since(started));
                    }
                    // A late one of an earlier test, or of somebody else who can reach the file.
                    Ok(_) => {}
                    Err(_) => return Err("the engine is stopping".to_owned()),
                },
                recv(stop) -> _ => return Err("the engine is stopping".to_owned()),
                default(left) => {
                    return Err(format!(
                        "`{program}` ran, but its event was not seen within {:.1} s",
                        self.options.timeout.as_secs_f64()
                    ));
                }
            }
        }
    }
}

struct Reset<'a>(&'a AtomicBool);

impl Drop for Reset<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Finds a command where the system keeps its own: what the environment says is not trusted.
fn find(program: &str) -> Result<PathBuf, String> {
    ["/usr/bin", "/bin", "/usr/sbin", "/sbin"]
        .into_iter()
        .map(|dir| Path::new(dir).join(program))
        .find(|path| path.exists())
        .ok_or_else(|| format!("there is no `{program}` on this host"))
}

fn wait(child: &mut Child, deadline: Instant) -> Option<std::process::ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_micros(200));
            }
            Ok(None) | Err(_) => {
                // It must not stay behind.
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

const PREFIX: &str = "datadog_agent_cws_self_test";
const FILE: &str = "datadog_agent_cws_target_file";

/// Removes what agents that were killed have left: their directories have their pid in the name.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split_once('_'))
            .and_then(|(pid, _)| pid.parse::<u32>().ok());
        let is_left = pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
        if is_left && is_own_dir(&entry.path()).unwrap_or(false) {
            let _ = fs::remove_file(entry.path().join(FILE));
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Whether this is a directory of this user's that nobody else can enter.
fn is_own_dir(path: &Path) -> io::Result<bool> {
    let found = rustix::fs::lstat(path)?;
    Ok(
        rustix::fs::FileType::from_raw_mode(found.st_mode) == rustix::fs::FileType::Directory
            && found.st_mode & 0o777 == 0o700
            && found.st_uid == rustix::process::geteuid().as_raw(),
    )
}

/// A directory that only this user can enter, removed at the end.
#[derive(Debug)]
struct PrivateDir {
    path: PathBuf,
}

impl PrivateDir {
    fn new(parent: Option<&Path>) -> io::Result<Self> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        // Rules compare with the path that the kernel walks, which has no symbolic links.
        let parent = parent.canonicalize()?;
        sweep(&parent);
        let dir = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{}_", std::process::id()))
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .tempdir_in(parent)?;
        Ok(Self { path: dir.keep() })
    }

    fn file(&self) -> PathBuf {
        self.path.join(FILE)
    }

    /// The rules name the path, so it is made again where a cleaner has taken it, and refused where it is not ours.
    fn prepare(&self) -> io::Result<()> {
        match fs::DirBuilder::new().mode(0o700).create(&self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !is_own_dir(&self.path)? {
                    return Err(io::Error::other(format!(
                        "{} was exchanged for something else",
                        self.path.display()
                    )));
                }
            }
            Err(error) => return Err(error),
        }
        match fs::remove_file(self.file()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        // Not recursively: there is one file, and a tree that somebody else built is left for them.
        let _ = fs::remove_file(self.file());
        let _ = fs::remove_dir(&self.path);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    fn options(parent: &Path, timeout: Duration) -> SelfTestOptions {
        SelfTestOptions {
            timeout,
            parent_dir: Some(parent.to_owned()),
            ..SelfTestOptions::default()
        }
    }

    #[test]
    fn silence_fails_and_says_so() {
        let parent = tempfile::tempdir().unwrap();
        let test = SelfTest::new(options(parent.path(), Duration::from_millis(300)));
        let dir = test.dir.as_ref().unwrap().path.clone();
        assert_eq!(
            fs::metadata(&dir).unwrap().permissions().mode() & 0o777,
            0o700
        );
        let (_keep, stop) = bounded(0);
        let outcome = test.run(&stop).unwrap();
        assert!(!outcome.passed());
        assert_eq!(outcome.rows.len(), 3);
        assert!(
            outcome
                .reason()
                .starts_with("open: `touch` ran, but its event was not seen"),
            "{}",
            outcome.reason()
        );
        assert_eq!(test.last(), Some(outcome));
        drop(test);
        assert!(!dir.exists(), "nothing is left behind");
    }

    #[test]
    fn only_the_right_events_count() {
        let parent = tempfile::tempdir().unwrap();
        let test = Arc::new(SelfTest::new(options(
            parent.path(),
            Duration::from_millis(300),
        )));
        let (_keep, stop) = bounded(0);
        let runner = {
            let test = Arc::clone(&test);
            std::thread::spawn(move || test.run(&stop).unwrap())
        };
        // Another process's events under the right ids.
        while !runner.is_finished() {
            for (rule_id, _) in TESTS {
                test.seen(rule_id, 1);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(!runner.join().unwrap().passed());
    }

    #[test]
    fn one_at_a_time_and_stopped_early() {
        let parent = tempfile::tempdir().unwrap();
        let test = Arc::new(SelfTest::new(options(
            parent.path(),
            Duration::from_secs(60),
        )));
        let (keep, stop) = bounded(0);
        let runner = {
            let (test, stop) = (Arc::clone(&test), stop.clone());
            std::thread::spawn(move || test.run(&stop).unwrap())
        };
        while !test.running.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        assert_eq!(
            test.run(&stop).unwrap_err(),
            "a self test is already running"
        );
        drop(keep);
        assert!(!runner.join().unwrap().passed());
        assert!(!test.running.load(Ordering::Acquire));
    }

    #[test]
    fn disabled_or_without_a_place() {
        let disabled = SelfTest::new(SelfTestOptions {
            enabled: false,
            ..SelfTestOptions::default()
        });
        let (_keep, stop) = bounded(0);
        assert!(
            disabled
                .run(&stop)
                .unwrap_err()
                .contains("self_test.enabled")
        );
        assert!(disabled.policy().is_none());
        let nowhere = SelfTest::new(options(Path::new("/no/such"), Duration::ZERO));
        assert!(nowhere.run(&stop).unwrap_err().contains("No such file"));
    }

    #[test]
    fn an_exchanged_directory_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let test = SelfTest::new(options(parent.path(), Duration::ZERO));
        let dir = test.dir.as_ref().unwrap();
        fs::remove_dir(&dir.path).unwrap();
        dir.prepare().unwrap();
        fs::remove_dir(&dir.path).unwrap();
        std::os::unix::fs::symlink("/etc", &dir.path).unwrap();
        let (_keep, stop) = bounded(0);
        let outcome = test.run(&stop).unwrap();
        assert!(outcome.error.contains("exchanged"), "{}", outcome.error);
        fs::remove_file(&dir.path).unwrap();
    }

    #[test]
    fn what_killed_agents_left_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let dir = |pid: u32| parent.path().join(format!("{PREFIX}{pid}_abc"));
        for pid in [u32::MAX, std::process::id()] {
            fs::DirBuilder::new().mode(0o700).create(dir(pid)).unwrap();
            fs::write(dir(pid).join(FILE), b"").unwrap();
        }
        let _test = SelfTest::new(options(parent.path(), Duration::ZERO));
        assert!(!dir(u32::MAX).exists());
        assert!(dir(std::process::id()).exists(), "its agent lives");
    }

    #[test]
    fn the_policy_names_the_file() {
        let parent = tempfile::tempdir().unwrap();
        let test = SelfTest::new(options(parent.path(), Duration::ZERO));
        let policy = test.policy().unwrap();
        let content: serde_json::Value = serde_json::from_str(&policy.content).unwrap();
        let expression = content["rules"][1]["expression"].as_str().unwrap();
        let path = test.dir.as_ref().unwrap().file();
        assert_eq!(
            expression,
            format!("chmod.file.path == \"{}\"", path.display())
        );
    }
}
