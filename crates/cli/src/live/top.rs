//! `runtime top`: who causes events and cost, now.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use atalaya_api::proto::{TopMessage, TopParams, TopProcess};
use atalaya_api::{Sanitized, sanitize_json};
use clap::ValueEnum;
use tokio::time::timeout;

use crate::ask::{answer, connect};
use crate::line::{BOLD, DIM, RED, Style};
use crate::status::numbers::{count, each, of_a_core};

/// Arguments of `runtime top`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  runtime top
  runtime top --by container --interval 5
  runtime top --count 1 --json

Counted are the events that system-probe takes from the kernel: what no rule can match is rejected there and is nobody's. \
Costs are estimated from samples; time of programs is counted by the kernel.")]
pub struct Args {
    /// What a line is
    #[arg(long, value_enum, default_value_t = By::Process)]
    by: By,
    /// Seconds between two pages
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=10))]
    interval: u32,
    /// End after so many pages; 1 where the output is no terminal
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
    /// Lines of each list
    #[arg(long, value_name = "NUMBER", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// As JSON, one object a line for each page
    #[arg(long, short)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    Process,
    Program,
    Container,
    User,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Program => "program",
            Self::Container => "container",
            Self::User => "user",
        }
    }
}

/// Clears the terminal from its first place on.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Shows page after page until interrupted.
pub(crate) async fn run(socket: &Path, args: &Args, color: bool) -> Result<ExitCode> {
    let terminal = io::stdout().is_terminal();
    let pages = args.count.unwrap_or(if terminal { u64::MAX } else { 1 });
    let mut client = connect(socket).await?;
    let params = TopParams {
        duration_ms: args.interval * 1000,
        limit: args.limit,
        by: args.by.name().to_owned(),
    };
    let patience = Duration::from_secs(u64::from(args.interval) + 10);
    for number in 0..pages {
        let asked = timeout(patience, client.commands.top(params.clone())).await;
        let top = asked
            .with_context(|| {
                format!(
                    "system-probe does not answer within {} s",
                    patience.as_secs()
                )
            })?
            .map_err(|status| answer("cannot watch", &status))?
            .into_inner();
        let text = if args.json {
            format!("{}\n", sanitize_json(&serde_json::to_string(&top)?))
        } else {
            let clear = match (terminal && pages > 1, number) {
                (true, _) => CLEAR,
                (false, 0) => "",
                (false, _) => "\n",
            };
            let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
            let page = page(&top, args.by, limit, Style { color });
            format!("{clear}{page}")
        };
        let mut out = io::stdout().lock();
        // That nobody reads it any more is no error.
        if out
            .write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .is_err()
        {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

// Writing to a String cannot fail, so results are dropped.
fn page(top: &TopMessage, by: By, limit: usize, style: Style) -> String {
    let mut text = String::new();
    let seconds = top.interval_ms.max(1) as f64 / 1000.0;
    let rate = |events: u64| events as f64 / seconds;
    let cost = top.cost.clone().unwrap_or_default();
    let programs: u64 = cost.programs.iter().map(|p| p.run_time_ns).sum();
    let _ = writeln!(
        text,
        "{:.1} events/s over {seconds:.1} s   system-probe {} of a core, eBPF programs {}",
        rate(top.events),
        of_a_core(cost.own_ns, cost.interval_ms),
        if cost.error.is_empty() {
            of_a_core(programs, cost.interval_ms)
        } else {
            "not counted".to_owned()
        }
    );
    if !cost.error.is_empty() {
        let error = Sanitized(&cost.error).to_string();
        let _ = writeln!(text, "{}", style.paint(RED, &error));
    }
    let title = |text: &mut String, title: &str| {
        let _ = writeln!(text, "\n{}", style.paint(BOLD, title));
    };
    title(
        &mut text,
        &format!(
            "{:>10} {:>8} {:>8}  {:<34} TYPES",
            "EVENTS/s",
            "% CORE",
            "PID",
            by.name().to_uppercase()
        ),
    );
    for row in &top.processes {
        let pid = match row.processes {
            0 | 1 => row.pid.to_string(),
            many => format!("{many} pids"),
        };
        let types: Vec<String> = row
            .types
            .iter()
            .take(4)
            .map(|kind| format!("{} {}", Sanitized(&kind.event_type), kind.count))
            .collect();
        let _ = writeln!(
            text,
            "{:>10.1} {:>8} {pid:>8}  {:<34} {}",
            rate(row.events),
            of_a_core(row.cost_ns, top.interval_ms).trim_end_matches(" %"),
            who(row, by),
            types.join(", ")
        );
    }
    if top.other_events > 0 {
        let others = format!("{:>10.1} of others", rate(top.other_events));
        let _ = writeln!(text, "{}", style.paint(DIM, &others));
    }
    title(
        &mut text,
        &format!(
            "{:>10} {:>8} {:>9} {:>9}  {:<34} LOST",
            "EVENTS/s", "% CORE", "EACH", "PROGRAMS", "EVENT TYPE"
        ),
    );
    for row in &top.event_types {
        let _ = writeln!(
            text,
            "{:>10.1} {:>8} {:>9} {:>9}  {:<34} {}",
            rate(row.events),
            of_a_core(row.cost_ns, top.interval_ms).trim_end_matches(" %"),
            each(row.cost_ns, row.events),
            of_a_core(row.program_ns, top.interval_ms),
            Sanitized(&row.event_type).to_string(),
            row.lost
        );
    }
    if !cost.programs.is_empty() {
        let head = format!("{:>10} {:>8} {:>9}  PROGRAM", "RUNS/s", "% CORE", "EACH");
        title(&mut text, &head);
    }
    for row in cost.programs.iter().take(limit) {
        let _ = writeln!(
            text,
            "{:>10.1} {:>8} {:>9}  {}",
            rate(row.runs),
            of_a_core(row.run_time_ns, cost.interval_ms).trim_end_matches(" %"),
            each(row.run_time_ns, row.runs),
            Sanitized(&row.name)
        );
    }
    title(
        &mut text,
        &format!(
            "{:>10} {:>8} {:>9} {:>9}  RULE",
            "EVALUATED", "% CORE", "EACH", "MATCHED"
        ),
    );
    for row in &top.rules {
        let _ = writeln!(
            text,
            "{:>10} {:>8} {:>9} {:>9}  {}",
            count(row.evaluations),
            of_a_core(row.cost_ns, top.interval_ms).trim_end_matches(" %"),
            each(row.cost_ns, row.evaluations),
            count(row.matches),
            Sanitized(&row.id)
        );
    }
    text
}

/// What a line stands for.
fn who(row: &TopProcess, by: By) -> String {
    let container: String = row.container_id.chars().take(12).collect();
    let text = match by {
        By::Container if container.is_empty() => "(the host)".to_owned(),
        By::Container => container,
        By::User if row.uid == u32::MAX => "(not known)".to_owned(),
        By::User => format!("uid {}", row.uid),
        By::Process | By::Program => {
            let name = match (row.comm.as_str(), row.path.as_str()) {
                ("", "") => "(not known)",
                ("", path) => path,
                (comm, _) if matches!(by, By::Process) => comm,
                (_, path) => path,
            };
            let ended = if row.ended && row.processes <= 1 {
                " (ended)"
            } else {
                ""
            };
            let place = if container.is_empty() {
                String::new()
            } else {
                format!(" in {container}")
            };
            format!("{name}{place}{ended}")
        }
    };
    Sanitized(&text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use atalaya_api::proto;

    #[test]
    fn a_page_of_top() {
        let top = TopMessage {
            interval_ms: 2000,
            events: 300,
            other_events: 20,
            processes: vec![TopProcess {
                pid: 77,
                processes: 1,
                comm: "fi\x1b[2Jnd".into(),
                events: 280,
                cost_ns: 20_000_000,
                types: vec![proto::EventCount {
                    event_type: "open".into(),
                    count: 280,
                }],
                ..Default::default()
            }],
            event_types: vec![proto::TopEventType {
                event_type: "open".into(),
                events: 300,
                cost_ns: 300_000,
                program_ns: 2_000_000,
                lost: 3,
            }],
            rules: vec![proto::TopRule {
                id: "my_rule".into(),
                evaluations: 64,
                matches: 2,
                cost_ns: 6400,
            }],
            cost: Some(proto::CostStatus {
                interval_ms: 2000,
                own_ns: 40_000_000,
                error: "not permitted".into(),
                programs: vec![proto::ProgramCost {
                    name: "sys_exit".into(),
                    runs: 20_000,
                    run_time_ns: 2_000_000,
                    event_types: Vec::new(),
                }],
            }),
        };
        let text = page(&top, By::Process, 5, Style { color: false });
        let squeezed = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "150.0 events/s over 2.0 s system-probe 2.00 % of a core, eBPF programs not counted",
            "not permitted",
            "140.0 1.00 77 fi\\x1b[2Jnd open 280",
            "10.0 of others",
            "150.0 0.01 1.0 µs 0.10 % open 3",
            "64 0.00 100 ns 2 my_rule",
            "10000.0 0.10 100 ns sys_exit",
        ] {
            assert!(squeezed.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains(|c| c != '\n' && atalaya_api::is_dangerous(c)));
    }
}
