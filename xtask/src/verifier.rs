//! `cargo xtask verifier`: what each eBPF program costs the kernel's verifier, held against what was reviewed.
//!
//! A kernel has a million instructions of patience, older ones walk more paths than newer ones, and a change that looks
//! small can multiply both: the baseline shows it in review, before a kernel refuses the program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::report::Report;
use crate::util::{cargo, command, output, root, say};
use crate::vm::{self, Job, Suite, Tier};

/// Arguments of `verifier`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write what the kernels say now to the baseline, to be reviewed.
    #[arg(long)]
    update: bool,
    /// Kernels besides this one: 5.10, 6.1, 6.12, backport.
    #[arg(long = "kernel", num_args = 1..)]
    kernels: Vec<String>,
    /// Leave this machine's own kernel out.
    #[arg(long)]
    not_here: bool,
}

/// The kernels of the baseline that machines are made for.
pub(crate) const KERNELS: [&str; 4] = ["5.10", "6.1", "6.12", "backport"];

const HEAD: &str = "\
# What each program costs the verifier: kernel, program, section, instructions processed, peak states, bytes of the deepest stack frame.
# Written by `cargo xtask verifier --update --kernel 5.10 6.1 6.12 backport`; `./dev test` compares. \"refused\": this kernel's verifier does
# not take it, and another program or tier has to do. Programs that a kernel has no hook for are not listed.
";

/// One program on one kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cost {
    Accepted {
        instructions: u64,
        peak: u64,
        stack: u64,
    },
    Refused(String),
}

impl Cost {
    fn text(&self) -> String {
        match self {
            Self::Accepted {
                instructions,
                peak,
                stack,
            } => format!("{instructions} {peak} {stack}"),
            Self::Refused(_) => "refused".to_owned(),
        }
    }

    /// Whether a change from `self` to `other` is one to look at: more than a tenth, and more than compilers differ in.
    fn drifts(&self, other: &Self) -> bool {
        let far = |a: u64, b: u64, least: u64| a.abs_diff(b) > least.max(a / 10);
        match (self, other) {
            (
                Self::Accepted {
                    instructions,
                    peak,
                    stack,
                },
                Self::Accepted {
                    instructions: instructions_now,
                    peak: peak_now,
                    stack: stack_now,
                },
            ) => {
                far(*instructions, *instructions_now, 100)
                    || far(*peak, *peak_now, 20)
                    || far(*stack, *stack_now, 16)
            }
            (Self::Refused(_), Self::Refused(_)) => false,
            _ => true,
        }
    }
}

/// Costs by kernel (`6.12`), then by program and section (`open__entry fentry/do_filp_open`).
pub(crate) type Costs = BTreeMap<String, BTreeMap<String, Cost>>;

/// `6.12.117+deb12-cloud-amd64` → `6.12`.
fn series(release: &str) -> String {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    format!(
        "{}.{}",
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default()
    )
}

fn numbers(words: &[&str]) -> Option<Cost> {
    let [instructions, peak, stack] = words else {
        return None;
    };
    Some(Cost::Accepted {
        instructions: instructions.parse().ok()?,
        peak: peak.parse().ok()?,
        stack: stack.parse().ok()?,
    })
}

/// Reads what the measuring program printed: lines without the word in front. One that did not get to its end gives nothing.
pub(crate) fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Option<Costs> {
    let mut kernel = None;
    let mut programs = BTreeMap::new();
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["kernel", release] => kernel = Some(series(release)),
            ["end"] => return Some(BTreeMap::from([(kernel?, programs)])),
            [_, _, "absent"] => {}
            [program, section, "refused", why @ ..] => {
                programs.insert(format!("{program} {section}"), Cost::Refused(why.join(" ")));
            }
            [program, section, rest @ ..] => {
                if let Some(cost) = numbers(rest) {
                    programs.insert(format!("{program} {section}"), cost);
                }
            }
            _ => {}
        }
    }
    None
}

/// Reads the baseline.
fn parse_baseline(text: &str) -> Result<Costs> {
    let mut costs = Costs::new();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let parsed = match words.as_slice() {
            [kernel, program, section, "refused"] => {
                Some((kernel, program, section, Cost::Refused(String::new())))
            }
            [kernel, program, section, rest @ ..] => {
                numbers(rest).map(|cost| (kernel, program, section, cost))
            }
            _ => None,
        };
        let (kernel, program, section, cost) =
            parsed.with_context(|| format!("line {}: not understood: {line}", number + 1))?;
        costs
            .entry((*kernel).to_owned())
            .or_default()
            .insert(format!("{program} {section}"), cost);
    }
    Ok(costs)
}

fn render_baseline(costs: &Costs) -> String {
    let mut text = HEAD.to_owned();
    let mut kernels: Vec<(&String, &BTreeMap<String, Cost>)> = costs.iter().collect();
    kernels.sort_by_key(|(kernel, _)| {
        let number = |part: Option<&str>| part.and_then(|n| n.parse::<u32>().ok());
        let mut parts = kernel.split('.');
        (number(parts.next()), number(parts.next()))
    });
    for (kernel, programs) in kernels {
        for (program, cost) in programs {
            text.push_str(&format!("{kernel} {program} {}\n", cost.text()));
        }
    }
    text
}

/// What is different, one line each, for the kernels that were measured. `None` where the baseline knows nothing of a kernel.
fn differences(baseline: &Costs, now: &Costs) -> BTreeMap<String, Option<Vec<String>>> {
    let mut all = BTreeMap::new();
    for (kernel, programs) in now {
        let Some(known) = baseline.get(kernel) else {
            all.insert(kernel.clone(), None);
            continue;
        };
        let mut lines = Vec::new();
        for (program, cost) in programs {
            match known.get(program) {
                None => lines.push(format!("+ {kernel} {program} {}", shown(cost))),
                Some(before) if before.drifts(cost) => {
                    lines.push(format!("- {kernel} {program} {}", before.text()));
                    lines.push(format!("+ {kernel} {program} {}", shown(cost)));
                }
                Some(_) => {}
            }
        }
        for (program, cost) in known {
            if !programs.contains_key(program) {
                lines.push(format!("- {kernel} {program} {}", cost.text()));
            }
        }
        all.insert(kernel.clone(), Some(lines));
    }
    all
}

fn shown(cost: &Cost) -> String {
    match cost {
        Cost::Refused(why) => format!("refused: {why}"),
        accepted => accepted.text(),
    }
}

fn baseline_path() -> PathBuf {
    root().join("crates/sensor/verifier-baseline.txt")
}

fn baseline() -> Result<Costs> {
    let path = baseline_path();
    if !path.exists() {
        return Ok(Costs::new());
    }
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    parse_baseline(&text).with_context(|| path.display().to_string())
}

/// Holds what was measured against the baseline: a passed check for each kernel, or a failed one with its diff, or a skip.
pub(crate) fn check(report: &mut Report, now: &Costs) {
    let baseline = match baseline() {
        Ok(baseline) => baseline,
        Err(error) => return report.fail(format!("verifier: {error:#}")),
    };
    for (kernel, lines) in differences(&baseline, now) {
        match lines {
            None => report.skip(format!("verifier: the baseline has no kernel {kernel}")),
            Some(lines) if lines.is_empty() => report.pass(),
            Some(lines) => {
                println!(
                    "verifier: linux {kernel} against {}:",
                    baseline_path().display()
                );
                for line in &lines {
                    println!("{line}");
                }
                report.fail(format!(
                    "verifier: {} lines differ on linux {kernel}: review, then `cargo xtask verifier --update --kernel …`",
                    lines.len()
                ));
            }
        }
    }
}

/// Measures on this machine's own kernel.
pub(crate) fn here(measuring: &Path) -> Result<Costs> {
    let said = output(&mut command(measuring))?;
    let lines = said
        .lines()
        .filter_map(|line| line.strip_prefix("VERIFIER: "));
    parse(lines).context("the measuring program did not get to its end")
}

/// What `verifier` does.
pub(crate) fn main(args: &Args) -> Result<()> {
    if let Some(unknown) = args
        .kernels
        .iter()
        .find(|name| !KERNELS.contains(&name.as_str()))
    {
        bail!("unknown kernel {unknown:?}: {}", KERNELS.join(", "));
    }
    say("building the measuring program");
    let measuring = build()?;
    let mut report = Report::default();
    let mut now = Costs::new();
    if !args.not_here {
        now.append(&mut here(&measuring)?);
    }
    let jobs: Vec<Job> = KERNELS
        .into_iter()
        .filter(|kernel| args.kernels.iter().any(|name| name == kernel))
        .map(|kernel| Job::new(kernel, Tier::Auto, Suite::Command("bin/verifier".into())))
        .collect();
    if !jobs.is_empty() {
        let mut payload = vm::Payload::default();
        payload.add_as(&measuring, "bin/verifier");
        for column in vm::run_all(jobs, &payload, 2, Duration::from_secs(3000)) {
            report.add(&column.report);
            match parse(column.report.verifier.iter().map(String::as_str)) {
                Some(mut costs) => now.append(&mut costs),
                None if column.report.skipped > 0 => {}
                None => report.fail(format!("vm {}: nothing was measured", column.name)),
            }
        }
    }
    if args.update && report.failed == 0 {
        let mut costs = baseline()?;
        for (kernel, lines) in differences(&costs, &now) {
            match lines {
                None => println!("linux {kernel}: new"),
                Some(lines) => lines.iter().for_each(|line| println!("{line}")),
            }
        }
        costs.extend(now);
        std::fs::write(baseline_path(), render_baseline(&costs))?;
        return Ok(());
    }
    check(&mut report, &now);
    for line in report.skips.iter().chain(&report.failures) {
        println!("{line}");
    }
    println!(
        "{} kernels as reviewed, {} not, {} skipped",
        report.passed, report.failed, report.skipped
    );
    if report.failed > 0 {
        std::process::exit(1);
    }
    Ok(())
}

fn build() -> Result<PathBuf> {
    let messages = output(cargo().args([
        "build",
        "--message-format=json",
        "-p",
        "atalaya-sensor",
        "--example",
        "verifier",
    ]))?;
    let executable = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from));
    executable.context("cargo built no measuring program")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::{Cost, differences, parse, parse_baseline, render_baseline, series};

    const SAID: [&str; 7] = [
        "kernel 6.12.117+deb12-cloud-amd64",
        "exec tp_btf/sched_process_exec 2707 212 112",
        "open__entry fentry/do_filp_open 900 50 64",
        "mmap__fexit fexit/vm_mmap absent",
        "chown__loop lsm/path_chown refused unknown func bpf_loop#181",
        "prctl__exit tp_btf/sys_exit 1049 91 64",
        "end",
    ];

    #[test]
    fn kernels_are_known_by_their_series() {
        for (release, name) in [
            ("6.12.117+deb12-cloud-amd64", "6.12"),
            ("5.10.0-46-cloud-amd64", "5.10"),
            ("6.18.44-fc-v657", "6.18"),
            ("7.3-rc1", "7.3"),
        ] {
            assert_eq!(series(release), name);
        }
    }

    #[test]
    fn what_was_said_is_written_and_read_again() {
        let costs = parse(SAID).unwrap();
        assert_eq!(costs["6.12"].len(), 4);
        let text = render_baseline(&costs);
        assert!(
            text.contains("\n6.12 chown__loop lsm/path_chown refused\n"),
            "{text}"
        );
        let again = parse_baseline(&text).unwrap();
        assert_eq!(render_baseline(&again), text);
        assert_eq!(differences(&again, &costs)["6.12"], Some(Vec::new()));
    }

    #[test]
    fn a_run_that_was_cut_short_is_none() {
        assert!(parse(SAID[..6].iter().copied()).is_none());
        assert!(parse(["end"]).is_none());
    }

    #[test]
    fn a_tenth_more_is_told_and_so_is_what_is_new_or_gone() {
        let before = parse(SAID).unwrap();
        let mut lines = SAID;
        lines[1] = "exec tp_btf/sched_process_exec 2960 212 112";
        lines[2] = "open__entry fentry/do_filp_open 1001 50 64";
        lines[4] = "chown__new lsm/path_chown 10 1 8";
        let now = parse(lines).unwrap();
        let told = differences(&before, &now)["6.12"].clone().unwrap();
        assert_eq!(
            told,
            [
                "+ 6.12 chown__new lsm/path_chown 10 1 8",
                "- 6.12 open__entry fentry/do_filp_open 900 50 64",
                "+ 6.12 open__entry fentry/do_filp_open 1001 50 64",
                "- 6.12 chown__loop lsm/path_chown refused",
            ]
        );
    }

    #[test]
    fn a_kernel_that_was_never_reviewed_is_not_compared() {
        let now = parse(SAID).unwrap();
        assert_eq!(differences(&super::Costs::new(), &now)["6.12"], None);
    }

    #[test]
    fn a_program_that_a_kernel_refuses_now_is_told() {
        let accepted = Cost::Accepted {
            instructions: 10,
            peak: 1,
            stack: 8,
        };
        assert!(accepted.drifts(&Cost::Refused("why".into())));
        assert!(!Cost::Refused("a".into()).drifts(&Cost::Refused("b".into())));
    }

    #[test]
    fn the_baseline_in_the_repository_is_understood() {
        super::baseline().unwrap();
    }

    #[test]
    fn a_baseline_that_is_not_understood_names_the_line() {
        let error = parse_baseline("# head\n6.1 exec tp_btf/x 1 2\n").unwrap_err();
        assert!(error.to_string().starts_with("line 2:"), "{error}");
    }
}
