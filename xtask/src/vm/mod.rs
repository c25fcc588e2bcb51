//! Stock Debian kernels in QEMU: what the machine's own kernel cannot show (fentry and LSM programs, other versions).
//!
//! Everything lies under `target/vm`: unpacked kernels, one root image, one initrd a kernel. The first run downloads
//! about 60 MB and takes two minutes, later ones boot in five to ten seconds.

mod boot;
mod image;
mod kernel;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::util::{say, target_dir};
pub(crate) use boot::Outcome;
pub(crate) use image::{Payload, add_suite, build, suite_script, tools_missing};

/// Arguments of `vmtest`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The kernel: 6.1, 6.12, or all.
    #[arg(long, default_value = "all")]
    kernel: String,
    /// Whether `bpf` is in the kernel's list of security modules.
    #[arg(long, value_enum, default_value = "with-bpf")]
    lsm: Lsm,
    /// Give up on a virtual machine after this many seconds.
    #[arg(long, default_value_t = 1500)]
    timeout: u64,
    /// Which hooks the suite uses: lsm (LSM or fentry), or tracepoint.
    #[arg(long, default_value = "lsm")]
    tier: String,
    /// Arguments of the end-to-end suite (a filter, `--exact`); ignored with a command.
    #[arg(long = "test-arg")]
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

/// The guest's list of security modules.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lsm {
    /// LSM programs work.
    WithBpf,
    /// LSM programs load but never run: fentry has to do.
    WithoutBpf,
    /// One run each.
    Both,
}

/// One virtual machine to run.
pub(crate) struct Job {
    /// The kernel's series, `6.1`.
    pub(crate) series: &'static str,
    /// Whether `bpf` is in the list of security modules.
    pub(crate) bpf_lsm: bool,
    /// Which hooks the suite uses.
    pub(crate) tier: String,
}

impl Job {
    /// `6.1 lsm`, `6.12 fentry`, `6.12 tracepoint`.
    pub(crate) fn name(&self) -> String {
        let hooks = match (self.tier.as_str(), self.bpf_lsm) {
            ("lsm", true) => "lsm",
            ("lsm", false) => "fentry",
            (other, _) => other,
        };
        format!("{} {hooks}", self.series)
    }
}

/// What `vmtest` does.
pub(crate) fn main(args: &Args) -> Result<()> {
    let jobs = jobs(&args.kernel, args.lsm, &args.tier)?;
    let mut payload = Payload::default();
    for copy in &args.copies {
        payload.add(copy)?;
    }
    let script = if args.command.is_empty() {
        add_suite(&mut payload)?;
        suite_script(&args.tier, &args.test_args)
    } else {
        if !args.bare {
            add_suite(&mut payload)?;
        }
        args.command.join(" ")
    };
    let mut bad = Vec::new();
    for job in jobs {
        match run(
            &job,
            &payload,
            &script,
            Duration::from_secs(args.timeout),
            &|line| {
                println!("{line}");
            },
        ) {
            Outcome::Exit(0) => {}
            outcome => bad.push(format!("{}: {outcome}", job.name())),
        }
    }
    if bad.is_empty() {
        return Ok(());
    }
    bail!("{}", bad.join("; "))
}

/// The runs that the two arguments ask for.
fn jobs(series: &str, lsm: Lsm, tier: &str) -> Result<Vec<Job>> {
    let mut jobs = Vec::new();
    for known in kernel::SERIES {
        if series != "all" && series != known.name {
            continue;
        }
        for bpf_lsm in [true, false] {
            if lsm == Lsm::Both || bpf_lsm == (lsm == Lsm::WithBpf) {
                jobs.push(Job {
                    series: known.name,
                    bpf_lsm,
                    tier: tier.to_owned(),
                });
            }
        }
    }
    if jobs.is_empty() {
        bail!("unknown kernel {series:?}: 6.1, 6.12, or all");
    }
    Ok(jobs)
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
        let outcome = match machine.boot(job.bpf_lsm, payload, script, timeout, line) {
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
    let kernel = kernel::get(&cache, job.series)?;
    let root = image::root(&cache)?;
    let initrd = image::initrd(&cache, &kernel)?;
    Ok(boot::Machine {
        version: kernel.version,
        vmlinuz: kernel.vmlinuz,
        initrd,
        root,
        scratch: cache,
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
