//! `./dev bench`: what the agent costs, measured on this kernel.
//!
//! Rounds with nothing attached and rounds with system-probe and the shipped policy alternate within one run, so that
//! whatever else the machine does hits both alike. A number is the median of all samples of its kind.

mod measure;
mod tools;

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use crate::daemons::{Daemon, Place};
use crate::reap::Watchdog;
use crate::util::{cargo, run, say};
use measure::{Samples, median};
use tools::{Counters, Tools, cpu_time, memory};

/// Arguments of `bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Pairs of rounds, one without and one with system-probe.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Samples of each workload in a round.
    #[arg(long, default_value_t = 5)]
    samples: usize,
    /// Seconds of each storm.
    #[arg(long, default_value_t = 5)]
    storm: u64,
    /// Storms of a minute each.
    #[arg(long)]
    minute: bool,
    /// Only the rule engine, without the kernel: an event decided, policies loaded, with and without the index.
    #[arg(long)]
    rules: bool,
    /// Only the classifiers of packets: a stream and questions of DNS between two namespaces, with and without them.
    #[arg(long)]
    network: bool,
}

/// A workload: its name in the table, the loop and how often, what it works on, and how much dearer it may become.
struct Workload {
    name: &'static str,
    how: &'static str,
    count: u64,
    target: String,
    /// Judge by wall time: the cost is in several processes.
    wall: bool,
    floor: Option<f64>,
}

fn workloads(dir: &Path, tools: &Tools) -> Vec<Workload> {
    let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let new = |name, how, count, target, wall, floor| Workload {
        name,
        how,
        count,
        target,
        wall,
        floor,
    };
    vec![
        new("getpid", "getpid", 300_000, String::new(), false, None),
        new(
            "open+close, no rule can match",
            "open",
            40_000,
            path("plain"),
            false,
            Some(1.25),
        ),
        new(
            "open+close, a rule matches",
            "open",
            20_000,
            path("watched"),
            false,
            None,
        ),
        new(
            "open of a missing file",
            "open",
            40_000,
            path("missing"),
            false,
            None,
        ),
        new(
            "spawn+exec, tiny program (wall)",
            "spawn",
            400,
            tools.tiny.to_string_lossy().into_owned(),
            true,
            Some(1.08),
        ),
        new(
            "spawn+exec, /bin/true (wall)",
            "spawn",
            200,
            "/bin/true".to_owned(),
            true,
            Some(1.08),
        ),
    ]
}

/// What `bench` does.
pub(crate) fn main(args: &Args) -> Result<()> {
    if args.rules {
        return run(cargo().args(["bench", "--package", "atalaya-policy"]));
    }
    if args.network {
        let rounds = args.rounds.to_string();
        let example = ["run", "--package", "atalaya-sensor", "--example", "packets"];
        return run(cargo().args(example).args(["--", "2", &rounds]));
    }
    let place = Place::new("bench")?;
    let mut watchdog = Watchdog::start(&place.dir)?;
    let result = bench(&place, &mut watchdog, args);
    place.remove()?;
    watchdog.dismiss();
    result
}

fn bench(place: &Place, watchdog: &mut Watchdog, args: &Args) -> Result<()> {
    let tools = Tools::build(&place.dir)?;
    let work = place.dir.join("work");
    std::fs::create_dir(&work)?;
    for name in ["plain", "watched"] {
        std::fs::write(work.join(name), "")?;
    }
    std::fs::write(
        place.dir.join("policies/bench.policy"),
        format!(
            "rules:\n  - id: bench_open\n    expression: open.file.path == \"{}\"\n",
            work.join("watched").display()
        ),
    )?;
    let workloads = workloads(&work, &tools);
    let mut samples: Vec<Samples> = workloads.iter().map(|_| Samples::default()).collect();
    let mut start_ms = Vec::new();
    for round in 1..=args.rounds {
        say(format!("round {round} of {}", args.rounds));
        for (workload, samples) in workloads.iter().zip(&mut samples) {
            for _ in 0..args.samples {
                samples.without.push(tools.measure(
                    workload.how,
                    workload.count,
                    &workload.target,
                )?);
            }
        }
        let began = std::time::Instant::now();
        let mut probe = place.start_probe(watchdog)?;
        start_ms.push(began.elapsed().as_secs_f64() * 1e3);
        let mut agent = place.start_agent(watchdog)?;
        std::thread::sleep(Duration::from_millis(500));
        for (workload, samples) in workloads.iter().zip(&mut samples) {
            let before = cpu_time(probe.pid());
            for _ in 0..args.samples {
                samples
                    .with
                    .push(tools.measure(workload.how, workload.count, &workload.target)?);
            }
            // What is still in the rings belongs to this workload.
            std::thread::sleep(Duration::from_millis(150));
            let used = cpu_time(probe.pid()).saturating_sub(before);
            let count = workload.count * args.samples as u64;
            samples.probe_cpu.push(used as f64 / count as f64);
        }
        agent.stop();
        probe.stop();
    }

    println!(
        "\n{:<32} {:>12} {:>12} {:>8} {:>10}  system-probe",
        "median per operation", "without", "with", "ratio", "difference"
    );
    for (workload, samples) in workloads.iter().zip(&samples) {
        row(workload.name, samples, workload.wall, workload.floor);
        if workload.wall {
            row("  the same, CPU time", samples, false, None);
        }
    }
    println!("(CPU time of the caller and its children, where nothing else is said)");
    println!(
        "system-probe is ready after {:.0} ms (median)",
        median(start_ms)
    );

    let seconds = if args.minute { 60 } else { args.storm };
    storms(place, watchdog, &tools, &work, seconds)?;
    println!("(the rule engine alone: ./dev bench --rules)");
    Ok(())
}

/// One line of the table.
fn row(name: &str, samples: &Samples, wall: bool, floor: Option<f64>) {
    let pick = |sample: &measure::Sample| if wall { sample.wall } else { sample.cpu };
    let without = median(samples.without.iter().map(pick));
    let with = median(samples.with.iter().map(pick));
    let ratio = with / without;
    let verdict = match floor {
        Some(floor) if ratio > floor => format!("  over the floor of {floor:.2}"),
        Some(floor) => format!("  floor {floor:.2} kept"),
        None => String::new(),
    };
    println!(
        "{name:<32} {without:>9.0} ns {with:>9.0} ns {ratio:>8.3} {:>+7.0} ns  {:>6.0} ns CPU{verdict}",
        with - without,
        median(samples.probe_cpu.iter().copied()),
    );
}

/// Two processes at once do one thing for a while; what counts is that nothing is lost.
fn storms(
    place: &Place,
    watchdog: &mut Watchdog,
    tools: &Tools,
    work: &Path,
    seconds: u64,
) -> Result<()> {
    let mut probe = place.start_probe(watchdog)?;
    let mut agent = place.start_agent(watchdog)?;
    std::thread::sleep(Duration::from_millis(500));
    let idle = (memory(probe.pid()), memory(agent.pid()));
    println!("\nstorms of {seconds} s, two processes each:");
    let storms = [
        (
            "exec",
            "spawn-for",
            tools.tiny.to_string_lossy().into_owned(),
        ),
        (
            "open, a rule matches",
            "open-for",
            work.join("watched").to_string_lossy().into_owned(),
        ),
        (
            "open, no rule can match",
            "open-for",
            work.join("plain").to_string_lossy().into_owned(),
        ),
    ];
    for (name, how, target) in storms {
        let before = Counters::read(place);
        let cpu = cpu_time(probe.pid());
        let done = tools.storm(how, seconds, &target)?;
        std::thread::sleep(Duration::from_millis(1000));
        let cpu = cpu_time(probe.pid()).saturating_sub(cpu) as f64 / 1e9;
        let lost = match (before, Counters::read(place)) {
            (Some(before), Some(after)) => format!(
                "{} received, {} lost",
                after.received.saturating_sub(before.received),
                after.lost.saturating_sub(before.lost)
            ),
            _ => "counters unknown: no status".to_owned(),
        };
        println!(
            "{name:<26} {done:>9} operations, {:>7.0}/s; {lost}; system-probe {:.2} s CPU",
            done as f64 / seconds as f64,
            cpu
        );
    }
    print_memory("idle", idle);
    print_memory(
        "after the storms",
        (memory(probe.pid()), memory(agent.pid())),
    );
    for daemon in [&mut agent, &mut probe] {
        stop(daemon);
    }
    Ok(())
}

fn stop(daemon: &mut Daemon) {
    if !daemon.stop() {
        println!("{} did not stop when asked", daemon.name);
    }
}

fn print_memory(when: &str, (probe, agent): (tools::Memory, tools::Memory)) {
    println!(
        "memory {when}: system-probe RSS {:.1} MB, PSS {:.1} MB; security-agent RSS {:.1} MB, PSS {:.1} MB",
        probe.rss, probe.pss, agent.rss, agent.pss
    );
}
