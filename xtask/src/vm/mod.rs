//! Stock Debian kernels in QEMU: what the machine's own kernel cannot show (fentry, LSM and kprobe programs, other versions).
//!
//! Everything lies under `target/vm`: unpacked kernels, one root image, one initrd a kernel. The first run downloads
//! about 30 MB a kernel and takes two minutes, later ones boot in five to ten seconds.

mod boot;
mod image;
mod job;
mod kernel;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::matrix::{self, Column};
use crate::report::Report;
use crate::util::{say, target_dir};
pub(crate) use boot::Outcome;
pub(crate) use image::{Payload, add_suite, build, tools_missing};
pub(crate) use job::{Fixture, Job, Suite, Tier};

/// Arguments of `vmtest`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Kernels: 5.10, 6.1, 6.12, backport (the newest that Debian has), or all.
    #[arg(long = "kernel", num_args = 1.., default_value = "all")]
    kernels: Vec<String>,
    /// Hooks that the suite uses; auto leaves the choice to the probe.
    #[arg(long = "tier", num_args = 1.., value_enum, default_value = "lsm")]
    tiers: Vec<Tier>,
    /// What is different on the machine; more than one gives one machine each.
    #[arg(long = "fixture", num_args = 1.., value_enum)]
    fixtures: Vec<Fixture>,
    /// Run the tests whose names contain one of these, instead of all.
    #[arg(long = "filter", num_args = 1..)]
    filters: Vec<String>,
    /// Leave out the tests of what no kernel has a part in.
    #[arg(long, conflicts_with = "filters")]
    events: bool,
    /// Machines at a time; each takes one core.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Give up on a virtual machine after this many seconds.
    #[arg(long, default_value_t = 3000)]
    timeout: u64,
    /// Further arguments of the end-to-end suite (`--exact`).
    #[arg(long = "test-arg", allow_hyphen_values = true)]
    test_args: Vec<String>,
    /// A file or directory to copy into the guest's /work, besides the binaries of the project.
    #[arg(long = "copy")]
    copies: Vec<PathBuf>,
    /// Do not build or copy the project's binaries.
    #[arg(long)]
    bare: bool,
    /// A command to run in /work instead of the end-to-end suite.
    #[arg(last = true)]
    command: Vec<String>,
}

/// What `vmtest` does.
pub(crate) fn main(args: &Args) -> Result<()> {
    let jobs = jobs(args)?;
    let mut payload = Payload::default();
    for copy in &args.copies {
        payload.add(copy)?;
    }
    if args.command.is_empty() || !args.bare {
        add_suite(&mut payload)?;
    }
    let columns = run_all(jobs, &payload, args.jobs, Duration::from_secs(args.timeout));
    let mut total = Report::default();
    for column in &columns {
        total.add(&column.report);
    }
    print!("{}", matrix::render(&columns));
    for test in &total.second_tries {
        println!("SECOND TRY {test}");
    }
    for skip in &total.skips {
        println!("SKIPPED  {skip}");
    }
    for failure in &total.failures {
        println!("FAILED   {failure}");
    }
    println!(
        "{} passed, {} failed, {} skipped",
        total.passed, total.failed, total.skipped
    );
    if total.failed > 0 {
        std::process::exit(1);
    }
    Ok(())
}

/// The machines that the arguments ask for: every kernel in every tier with every fixture.
fn jobs(args: &Args) -> Result<Vec<Job>> {
    let all = args.kernels.iter().any(|name| name == "all");
    if let Some(unknown) = args
        .kernels
        .iter()
        .find(|name| *name != "all" && kernel::SERIES.iter().all(|known| known.name != **name))
    {
        let known: Vec<&str> = kernel::SERIES.iter().map(|known| known.name).collect();
        bail!("unknown kernel {unknown:?}: {}, or all", known.join(", "));
    }
    let suite = match (&args.command[..], &args.filters[..]) {
        ([], []) if args.events => Suite::Events,
        ([], []) => Suite::Whole,
        ([], filters) => Suite::Some(filters.to_vec()),
        (command, _) => Suite::Command(command.join(" ")),
    };
    let fixtures: Vec<Option<Fixture>> = if args.fixtures.is_empty() {
        vec![None]
    } else {
        args.fixtures.iter().copied().map(Some).collect()
    };
    let mut jobs = Vec::new();
    for known in &kernel::SERIES {
        if !all && args.kernels.iter().all(|name| name != known.name) {
            continue;
        }
        for &tier in &args.tiers {
            for &fixture in &fixtures {
                jobs.push(Job {
                    series: known.name,
                    tier,
                    fixture,
                    suite: suite.clone(),
                    arguments: args.test_args.clone(),
                    verifier: false,
                });
            }
        }
    }
    Ok(jobs)
}

/// Runs machines, some at a time, and gives what each told, in the order of the jobs.
pub(crate) fn run_all(
    jobs: Vec<Job>,
    payload: &Payload,
    at_once: usize,
    timeout: Duration,
) -> Vec<Column> {
    let kept: Vec<Job> = jobs.clone();
    // Downloads and images first, one after the other; a failure is told by the run.
    for job in &kept {
        let _ = prepare(job);
    }
    let several = kept.len() > 1;
    // Taken from the end: the first job starts first.
    let queue = Mutex::new(jobs.into_iter().enumerate().rev().collect::<Vec<_>>());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_once.clamp(1, kept.len().max(1)) {
            scope.spawn(|| {
                while let Some((number, job)) = queue.lock().ok().and_then(|mut jobs| jobs.pop()) {
                    let column = column(&job, payload, timeout, several);
                    if let Ok(mut done) = done.lock() {
                        done.push((number, column));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, column)| column).collect()
}

/// Runs one machine and reads what it tells.
fn column(job: &Job, payload: &Payload, timeout: Duration, several: bool) -> Column {
    let name = job.name();
    let source = format!("vm {name}");
    say(format!("{source}: {}", job.suite));
    let report = std::cell::RefCell::new(Report::default());
    let outcome = run(job, payload, &job.script(), timeout, &|line| {
        if several {
            println!("[{name}] {line}");
        } else {
            println!("{line}");
        }
        report.borrow_mut().read(&source, line);
    });
    let mut report = report.into_inner();
    let mut trouble = None;
    match outcome {
        Outcome::Exit(0) => {}
        Outcome::Unavailable(why) => {
            trouble = Some(format!("not run: {why}"));
            report.skip(format!("{source}: {why}"));
        }
        outcome => {
            trouble = Some(outcome.to_string());
            if report.failed == 0 {
                report.fail(format!("{source}: {outcome}"));
            }
        }
    }
    Column {
        name,
        report,
        trouble,
    }
}

/// Runs one virtual machine: makes what is missing, boots, retries once when the machine and not the test failed.
pub(crate) fn run(
    job: &Job,
    payload: &Payload,
    script: &str,
    timeout: Duration,
    line: &dyn Fn(&str),
) -> Outcome {
    let began = Instant::now();
    let machine = match prepare(job) {
        Ok(machine) => machine,
        Err(error) => return Outcome::Unavailable(format!("{error:#}")),
    };
    for attempt in 1..=2 {
        let outcome = match machine.boot(job.security_modules(), payload, script, timeout, line) {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Infrastructure(format!("{error:#}")),
        };
        if attempt == 1 && matches!(outcome, Outcome::Infrastructure(_)) {
            say(format!("vm {}: {outcome}; once more", job.name()));
            continue;
        }
        say(format!(
            "vm {} (linux {}): {outcome}, {:.0} s",
            job.name(),
            machine.version,
            began.elapsed().as_secs_f64()
        ));
        return outcome;
    }
    unreachable!("the second attempt returns")
}

/// Everything a boot needs, from the cache or made now.
pub(crate) fn prepare(job: &Job) -> Result<boot::Machine> {
    let missing = tools_missing();
    if !missing.is_empty() {
        bail!("not installed: {}", missing.join(", "));
    }
    let cache = cache()?;
    let kernel = kernel(&cache, job.series)?;
    let root = image::root(&cache)?;
    let initrd = image::initrd(&cache, &kernel)?;
    Ok(boot::Machine {
        module: image::dummy_module(&kernel),
        version: kernel.version,
        vmlinuz: kernel.vmlinuz,
        initrd,
        root,
        scratch: cache,
    })
}

/// A kernel that could not be had is not asked for again: a mirror out of reach takes its time to say no.
fn kernel(cache: &Path, series: &'static str) -> Result<kernel::Kernel> {
    static REFUSED: Mutex<BTreeMap<&'static str, String>> = Mutex::new(BTreeMap::new());
    if let Ok(known) = REFUSED.lock()
        && let Some(why) = known.get(series)
    {
        return Err(anyhow!(why.clone()));
    }
    kernel::get(cache, series).map_err(|error| {
        let why = format!("{error:#}");
        if let Ok(mut known) = REFUSED.lock() {
            known.insert(series, why.clone());
        }
        anyhow!(why)
    })
}

fn cache() -> Result<PathBuf> {
    let dir = target_dir().join("vm");
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    remove_stale(&dir);
    Ok(dir)
}

/// Removes what runs left that were killed: `boot-PID-…` of processes that are no more.
fn remove_stale(cache: &Path) {
    for entry in std::fs::read_dir(cache).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let pid = name
            .strip_prefix("boot-")
            .and_then(|rest| rest.split_once('-'))
            .and_then(|(pid, _)| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Makes a directory or file appear at once: builds it under another name and renames it.
fn made(path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let name = path.file_name().context("no file name")?.to_string_lossy();
    let partial = path.with_file_name(format!(".{name}.partial"));
    let _ = std::fs::remove_dir_all(&partial);
    let _ = std::fs::remove_file(&partial);
    make(&partial)?;
    std::fs::rename(&partial, path).with_context(|| format!("cannot make {}", path.display()))
}
