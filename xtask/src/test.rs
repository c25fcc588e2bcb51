//! `./dev test`: every check there is, to the end, then one line that counts them.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::matrix::{self, Column};
use crate::report::Report;
use crate::util::{cargo, command, output, say, shown};
use crate::verifier;
use crate::vm::{self, Job, Suite, Tier};

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

/// The machines of `./dev test`. What the kernel has no part in (policies, delivery, commands) runs on the machine's own kernel only, which has the
/// tracepoint tier.
pub(crate) fn machines() -> Vec<Job> {
    ["6.1", "6.12"]
        .map(|series| Job::new(series, Tier::Lsm, Suite::Events).with_verifier())
        .into()
}

/// How long a machine may take.
const MACHINE_TIME: Duration = Duration::from_secs(2700);

/// What `test` does.
pub(crate) fn main(args: &Args) -> Result<()> {
    let began = Instant::now();
    let mut report = Report::default();
    let mut columns = Vec::new();

    tool(
        &mut report,
        "format",
        &["fmt", "--version"],
        &["fmt", "--all", "--check"],
    );
    tool(
        &mut report,
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
    step(&mut report, "generated docs", crate::docs::check);
    step(&mut report, "the explorer's page", crate::page::check);
    tests(
        &mut report,
        "unit tests",
        cargo().args([
            "test",
            "--workspace",
            "--exclude",
            "atalaya-e2e",
            "--exclude",
            "atalaya-evasion",
            "--exclude",
            "atalaya-deploy",
            "--no-fail-fast",
        ]),
    );
    tests(
        &mut report,
        "unit tests of the harnesses",
        cargo().args([
            "test",
            "-p",
            "atalaya-e2e",
            "-p",
            "atalaya-evasion",
            "--lib",
        ]),
    );
    let built = vm::build();
    if let Err(error) = &built {
        report.fail(format!("build of the end-to-end suite: {error:#}"));
    }
    if let Ok(built) = &built {
        step(&mut report, "tests of the shipped rules", || {
            crate::util::run(command(built.program("security-agent")?).args([
                "runtime",
                "policy",
                "test",
                "--coverage",
                "policies/default.test.yaml",
            ]))
        });
        say("verifier costs");
        match built.program("verifier").and_then(verifier::here) {
            Ok(costs) => verifier::check(&mut report, &costs),
            Err(error) => report.fail(format!("verifier: {error:#}")),
        }
        if args.no_e2e {
            report.skip("end-to-end tests (--no-e2e)".into());
        } else {
            // The suite of fixtures needs machines made so.
            for (name, suite) in built.suites.iter().filter(|(name, _)| name != "fixtures") {
                let own = tests(
                    &mut report,
                    name,
                    Command::new(suite).arg("--test-threads=2"),
                );
                if name == "e2e" {
                    columns.push(Column {
                        name: "this kernel".into(),
                        report: own,
                        trouble: None,
                    });
                }
            }
            // On the programs that were just built.
            tests(
                &mut report,
                "installation",
                cargo().args(["test", "-p", "atalaya-deploy"]),
            );
        }
        if args.no_vm {
            report.skip("virtual machines (--no-vm)".into());
        } else {
            columns.extend(virtual_machines(&mut report, machines()));
        }
    }

    finish(&report, &columns, began)
}

/// Prints the matrix and what was counted.
pub(crate) fn finish(report: &Report, columns: &[Column], began: Instant) -> Result<()> {
    say(format!("{:.0} s", began.elapsed().as_secs_f64()));
    print!("{}", matrix::render(columns));
    for test in &report.second_tries {
        println!("SECOND TRY {test}");
    }
    for skip in &report.skips {
        println!("SKIPPED  {skip}");
    }
    for failure in &report.failures {
        println!("FAILED   {failure}");
    }
    let skipped = match report.skipped {
        0 => String::new(),
        count => format!(", {count} skipped"),
    };
    println!(
        "{} passed, {} failed{skipped}",
        report.passed, report.failed
    );
    if report.failed > 0 {
        // The line above says it all.
        std::process::exit(1);
    }
    Ok(())
}

/// Runs a cargo subcommand that may not be installed.
fn tool(report: &mut Report, name: &str, probe: &[&str], arguments: &[&str]) {
    if output(cargo().args(probe)).is_err() {
        report.skip(format!("{name}: cargo {} is not installed", arguments[0]));
        return;
    }
    step(report, name, || crate::util::run(cargo().args(arguments)));
}

fn step(report: &mut Report, name: &str, work: impl FnOnce() -> Result<()>) {
    say(name);
    match work() {
        Ok(()) => report.pass(),
        Err(error) => {
            eprintln!("{error:#}");
            report.fail(name.into());
        }
    }
}

/// Runs test programs, passes their output on, and counts their tests.
fn tests(report: &mut Report, name: &str, command: &mut Command) -> Report {
    say(name);
    let mut own = Report::default();
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
    report.add(&own);
    own
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

/// Runs the end-to-end suite in virtual machines, two at a time: each takes one core.
pub(crate) fn virtual_machines(report: &mut Report, jobs: Vec<Job>) -> Vec<Column> {
    let missing = vm::tools_missing();
    if !missing.is_empty() {
        report.skip(format!(
            "virtual machines: not installed: {}",
            missing.join(", ")
        ));
        return Vec::new();
    }
    let mut payload = vm::Payload::default();
    if let Err(error) = vm::add_suite(&mut payload) {
        report.fail(format!("virtual machines: {error:#}"));
        return Vec::new();
    }
    let columns = vm::run_all(jobs, &payload, 2, MACHINE_TIME);
    for column in &columns {
        report.add(&column.report);
        // A machine that has ended without its costs has failed as a whole.
        if let Some(costs) = verifier::parse(column.report.verifier.iter().map(String::as_str)) {
            verifier::check(report, &costs);
        }
    }
    columns
}
