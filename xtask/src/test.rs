//! `./dev test`: every check there is, to the end, then one line that counts them.

use std::cell::RefCell;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::util::{cargo, command, output, say, shown};
use crate::vm::{self, Job, Outcome};

/// Arguments of `test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave out the virtual machines.
    #[arg(long)]
    no_vm: bool,
    /// Leave out the end-to-end tests on this kernel.
    #[arg(long)]
    no_e2e: bool,
}

/// The machines that the suite runs on: kernel, whether `bpf` is in its list of security modules, and the tier of hooks.
/// The tracepoint tier has the machine's own kernel besides.
const MACHINES: [(&str, bool, &str); 3] = [
    ("6.1", true, "lsm"),
    ("6.12", false, "lsm"),
    ("6.12", true, "lsm"),
];

/// What happened so far.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
    /// Tests that said that they were skipped, and that libtest will count as passed at the end of the run.
    told_as_passed: usize,
    failures: Vec<String>,
    skips: Vec<String>,
}

impl Tally {
    fn pass(&mut self) {
        self.passed += 1;
    }

    fn fail(&mut self, what: String) {
        self.failed += 1;
        self.failures.push(what);
    }

    fn skip(&mut self, what: String) {
        self.skipped += 1;
        self.skips.push(what);
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.failures.extend(other.failures);
        self.skips.extend(other.skips);
    }

    /// Reads one line of a test program's output.
    fn read(&mut self, source: &str, line: &str) {
        if let Some(what) = line.trim_start().strip_prefix("SKIPPED: ") {
            // A test that found itself unable to run; libtest counts it as passed.
            self.skip(format!("{source}: {what}"));
            self.told_as_passed += 1;
        } else if let Some(counts) = line.trim_start().strip_prefix("test result: ") {
            let passed = count(counts, "passed");
            self.passed += passed.saturating_sub(std::mem::take(&mut self.told_as_passed));
            self.failed += count(counts, "failed");
        } else if let Some(name) = named_test(line, "FAILED") {
            self.failures.push(format!("{source}: {name}"));
        } else if let Some(name) = named_test(line, "ignored") {
            self.skip(format!("{source}: {name}: marked to be ignored"));
        }
    }
}

/// The number before a word: `3 passed; 1 failed;`.
fn count(counts: &str, word: &str) -> usize {
    counts
        .split([';', '.'])
        .filter_map(|part| part.trim().strip_suffix(word))
        .find_map(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

/// The test that a line of libtest tells to have ended so.
fn named_test<'a>(line: &'a str, end: &str) -> Option<&'a str> {
    let (name, how) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    // An ignored test may tell why: `ignored, needs a network`.
    how.starts_with(end).then_some(name)
}

/// What `test` does.
pub(crate) fn main(args: &Args) -> Result<()> {
    let began = Instant::now();
    let mut tally = Tally::default();

    tool(
        &mut tally,
        "format",
        &["fmt", "--version"],
        &["fmt", "--all", "--check"],
    );
    tool(
        &mut tally,
        "clippy",
        &["clippy", "--version"],
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ],
    );
    step(&mut tally, "generated docs", crate::docs::check);
    tests(
        &mut tally,
        "unit tests",
        cargo().args([
            "test",
            "--workspace",
            "--exclude",
            "atalaya-e2e",
            "--no-fail-fast",
        ]),
    );
    let built = vm::build();
    if let Err(error) = &built {
        tally.fail(format!("build of the end-to-end suite: {error:#}"));
    }
    if let Ok(built) = &built {
        step(&mut tally, "tests of the shipped rules", || {
            crate::util::run(command(built.program("security-agent")?).args([
                "runtime",
                "policy",
                "test",
                "--coverage",
                "policies/default.test.yaml",
            ]))
        });
        if args.no_e2e {
            tally.skip("end-to-end tests (--no-e2e)".into());
        } else {
            for suite in &built.suites {
                let name = suite.file_name().unwrap_or_default().to_string_lossy();
                let name = name.rsplit_once('-').map_or(&*name, |(name, _)| name);
                tests(
                    &mut tally,
                    name,
                    Command::new(suite).arg("--test-threads=2"),
                );
            }
        }
        if args.no_vm {
            tally.skip("virtual machines (--no-vm)".into());
        } else {
            machines(&mut tally);
        }
    }

    say(format!("{:.0} s", began.elapsed().as_secs_f64()));
    for skip in &tally.skips {
        println!("SKIPPED  {skip}");
    }
    for failure in &tally.failures {
        println!("FAILED   {failure}");
    }
    let skipped = match tally.skipped {
        0 => String::new(),
        count => format!(", {count} skipped"),
    };
    println!("{} passed, {} failed{skipped}", tally.passed, tally.failed);
    if tally.failed > 0 {
        // The line above says it all.
        std::process::exit(1);
    }
    Ok(())
}

/// Runs a cargo subcommand that may not be installed.
fn tool(tally: &mut Tally, name: &str, probe: &[&str], arguments: &[&str]) {
    if output(cargo().args(probe)).is_err() {
        tally.skip(format!("{name}: cargo {} is not installed", arguments[0]));
        return;
    }
    step(tally, name, || crate::util::run(cargo().args(arguments)));
}

fn step(tally: &mut Tally, name: &str, work: impl FnOnce() -> Result<()>) {
    say(name);
    match work() {
        Ok(()) => tally.pass(),
        Err(error) => {
            eprintln!("{error:#}");
            tally.fail(name.into());
        }
    }
}

/// Runs test programs, passes their output on, and counts their tests.
fn tests(tally: &mut Tally, name: &str, command: &mut Command) {
    say(name);
    let mut own = Tally::default();
    let result = stream(command, |line| {
        println!("{line}");
        own.read(name, line);
    });
    if let Err(error) = result {
        eprintln!("{error:#}");
        // A failed build, or a program that died, has no "test result" line to count.
        if own.failed == 0 {
            own.fail(format!("{name}: {error:#}"));
        }
    }
    tally.add(own);
}

/// Runs a command and hands on each line of its output and errors, in the order they were written.
fn stream(command: &mut Command, mut line: impl FnMut(&str)) -> Result<()> {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "exec \"$@\" 2>&1", "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(crate::util::root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = shell.spawn().context("cannot start sh")?;
    let mut reader = BufReader::new(child.stdout.take().context("no output")?);
    let mut text = Vec::new();
    while reader.read_until(b'\n', &mut text)? > 0 {
        line(String::from_utf8_lossy(&text).trim_end());
        text.clear();
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{} failed: {status}", shown(command));
    }
    Ok(())
}

/// Runs the end-to-end suite in the virtual machines, two at a time: each takes one core.
fn machines(tally: &mut Tally) {
    let mut payload = vm::Payload::default();
    let missing = vm::tools_missing();
    if !missing.is_empty() {
        tally.skip(format!(
            "virtual machines: not installed: {}",
            missing.join(", ")
        ));
        return;
    }
    if let Err(error) = vm::add_suite(&mut payload) {
        tally.fail(format!("virtual machines: {error:#}"));
        return;
    }
    // Downloads and images first, one after the other; a failure is told by the run.
    let queue = Mutex::new(
        MACHINES
            .iter()
            .map(|&(series, bpf_lsm, tier)| Job {
                series,
                bpf_lsm,
                tier: tier.to_owned(),
            })
            .collect::<Vec<_>>(),
    );
    for job in queue.lock().iter().flat_map(|jobs| jobs.iter()) {
        let _ = vm::prepare(job);
    }
    let total = Mutex::new(tally);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(job) = queue.lock().ok().and_then(|mut jobs| jobs.pop()) {
                    let one = machine(&job, &payload);
                    if let Ok(mut total) = total.lock() {
                        total.add(one);
                    }
                }
            });
        }
    });
}

fn machine(job: &Job, payload: &vm::Payload) -> Tally {
    let source = format!("vm {}", job.name());
    let own = RefCell::new(Tally::default());
    say(format!("{source}: end-to-end tests"));
    let outcome = vm::run(
        job,
        payload,
        &vm::suite_script(&job.tier, &[]),
        Duration::from_secs(1200),
        &|line| {
            println!("[{}] {line}", job.name());
            own.borrow_mut().read(&source, line);
        },
    );
    let mut own = own.into_inner();
    match outcome {
        Outcome::Exit(0) => {}
        Outcome::Unavailable(why) => own.skip(format!("{source}: {why}")),
        outcome if own.failed == 0 => own.fail(format!("{source}: {outcome}")),
        _ => {}
    }
    own
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn reads_what_libtest_prints() {
        let mut tally = Tally::default();
        for line in [
            "running 4 tests",
            "test a::good ... ok",
            "SKIPPED: a::cannot: no cgroup",
            "test a::cannot ... ok",
            "test a::bad ... FAILED",
            "test a::later ... ignored, needs a network",
            "test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s",
        ] {
            tally.read("unit", line);
        }
        assert_eq!((tally.passed, tally.failed, tally.skipped), (1, 1, 2));
        assert_eq!(tally.failures, ["unit: a::bad"]);
    }

    #[test]
    fn a_skip_before_the_count_is_subtracted_from_it() {
        let mut tally = Tally::default();
        tally.read("unit", "SKIPPED: only: no root");
        tally.read("unit", "test result: ok. 1 passed; 0 failed; 0 ignored;");
        assert_eq!((tally.passed, tally.skipped), (0, 1));
    }
}
