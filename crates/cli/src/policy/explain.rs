//! `runtime policy explain`: where a rule is decided, and what it costs.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use atalaya_api::{Client, Sanitized, proto, sanitize_json};
use atalaya_config::Config;
use atalaya_policy::{Explanation, Rule, RuleReport};
use serde::Serialize;

use super::eval::find;
use super::load::{Files, LoadedFiles};
use super::typical::{Measured, measure};
use super::{count, lines, plain};
use crate::ask::out;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// The rule's id
    #[arg(value_name = "RULE")]
    rule: String,
    #[command(flatten)]
    files: Files,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// All that is known of a rule. A rule on `fim.write` is several, one an event type.
#[derive(Serialize)]
struct Explained<'a> {
    id: &'a str,
    file: &'a str,
    line: usize,
    description: &'a str,
    parts: Vec<Part<'a>>,
    /// What this build cannot see or do of it.
    unavailable: &'a [String],
    not_executed: &'a [&'static str],
    /// What system-probe counted, where it runs and has this rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<Live>,
}

/// The rule for one event type.
#[derive(Serialize)]
struct Part<'a> {
    #[serde(flatten)]
    decided: Explanation,
    expression: &'a str,
    measured: Option<Measured>,
    fields: Vec<&'a str>,
    actions: Vec<&'a str>,
    limit: String,
    silent: bool,
}

#[derive(Serialize)]
struct Live {
    matches: u64,
    rate_limited: u64,
}

/// Explains a rule.
pub(crate) async fn run(args: &Args, config: &Config) -> Result<ExitCode> {
    let loaded = args.files.load(config, Vec::new())?;
    let live = live(&config.socket, &args.rule).await;
    let explained = explain(&loaded, &args.rule, live, config)?;
    if args.json {
        let text = serde_json::to_string_pretty(&explained)?;
        out(&format!("{}\n", sanitize_json(&text)));
    } else {
        out(&format!("{}\n", lines(&text(&explained))));
    }
    Ok(ExitCode::SUCCESS)
}

fn explain<'a>(
    loaded: &'a LoadedFiles,
    id: &'a str,
    live: Option<Live>,
    config: &Config,
) -> Result<Explained<'a>> {
    let rules: Vec<_> = find(&loaded.rules, id).collect();
    let Some(first) = rules.first() else {
        bail!("{}", loaded.missing(id));
    };
    let mut reports = loaded.report.policies.iter().flat_map(|policy| {
        let file = policy.path.as_deref().unwrap_or(&policy.name);
        policy.rules.iter().map(move |rule| (file, rule))
    });
    let found: Option<(&str, &RuleReport)> = reports.find(|(_, rule)| rule.id == id);
    Ok(Explained {
        id,
        file: found.map_or(&first.policy.name, |(file, _)| file),
        line: found.map_or(0, |(_, report)| report.line),
        description: &first.description,
        parts: rules
            .iter()
            .filter_map(|rule| part(loaded, rule, config))
            .collect(),
        unavailable: found.map_or(&[], |(_, report)| &report.unavailable),
        not_executed: found.map_or(&[], |(_, report)| &report.not_executed),
        live,
    })
}

fn part<'a>(loaded: &'a LoadedFiles, rule: &'a Rule, config: &Config) -> Option<Part<'a>> {
    let program = rule.program();
    Some(Part {
        decided: loaded.rules.explain(&rule.id)?,
        expression: &rule.expression,
        measured: measure(&loaded.rules, rule),
        fields: program.fields().iter().map(|field| &*field.name).collect(),
        actions: rule.actions.iter().map(|a| a.source.as_str()).collect(),
        limit: limit(rule, config),
        silent: rule.silent,
    })
}

fn limit(rule: &Rule, config: &Config) -> String {
    let each = match rule.limiter_token.as_slice() {
        [] => String::new(),
        fields => format!(", for each {}", fields.join(" and ")),
    };
    match rule.every {
        Some(period) => format!("1 event in {period:?}{each}"),
        None => format!(
            "{} at once, then {} a second{each}",
            count(
                usize::try_from(config.event_server_burst.max(1)).unwrap_or(usize::MAX),
                "event"
            ),
            config.event_server_rate.max(1)
        ),
    }
}

/// What system-probe counted. That it does not run is no error.
async fn live(socket: &Path, id: &str) -> Option<Live> {
    let asked = async {
        let mut client = Client::connect(socket).await.ok()?;
        let params = proto::GetRuleSetReportParams {};
        let report = client.commands.get_rule_set_report(params).await.ok()?;
        let policies = report.into_inner().policies;
        let rules = policies.into_iter().flat_map(|policy| policy.status);
        let mut rules = rules.filter(|rule| rule.id == id).peekable();
        rules.peek()?;
        Some(rules.fold(
            Live {
                matches: 0,
                rate_limited: 0,
            },
            |sum, rule| Live {
                matches: sum.matches + rule.matches,
                rate_limited: sum.rate_limited + rule.rate_limited,
            },
        ))
    };
    tokio::time::timeout(Duration::from_secs(2), asked)
        .await
        .ok()?
}

// Writing to a String cannot fail, so results are dropped.

fn text(explained: &Explained<'_>) -> String {
    let mut text = format!(
        "{} ({}:{})\n",
        Sanitized(explained.id),
        Sanitized(explained.file),
        explained.line
    );
    if !explained.description.is_empty() {
        let _ = writeln!(text, "  {}", Sanitized(explained.description));
    }
    for part in &explained.parts {
        part_text(&mut text, part);
    }
    list(
        &mut text,
        "Not available here",
        explained.unavailable.iter().map(String::as_str),
    );
    list(
        &mut text,
        "Not executed by this build",
        explained.not_executed.iter().copied(),
    );
    match &explained.live {
        Some(live) => {
            let _ = writeln!(
                text,
                "\nIn system-probe: matched {} times, {} of them kept back by its rate limit",
                live.matches, live.rate_limited
            );
        }
        None => {
            text.push_str("\nsystem-probe does not run, or has no such rule: nothing was counted\n")
        }
    }
    text
}

fn part_text(text: &mut String, part: &Part<'_>) {
    let decided = &part.decided;
    let _ = writeln!(text, "\nFor {} events", decided.event_type);
    for line in part.expression.lines() {
        let _ = writeln!(text, "  | {line}");
    }
    text.push_str("  In the kernel\n");
    for line in kernel(decided) {
        let _ = writeln!(text, "    {}", plain(&line));
    }
    text.push_str("  In the index of rules\n");
    for line in index(decided) {
        let _ = writeln!(text, "    {}", plain(&line));
    }
    text.push_str("  Then, in this order\n");
    for term in &decided.terms {
        let each = if term.each { ", for each element" } else { "" };
        let _ = writeln!(
            text,
            "    {}  (weight {}, about {} ns{each})",
            plain(&term.text),
            term.weight,
            term.estimated_ns
        );
    }
    let _ = write!(
        text,
        "  Cost: weight {}, estimated {} ns",
        decided.weight, decided.estimated_ns
    );
    if let Some(cost) = &part.measured {
        let _ = write!(
            text,
            "; measured {:.0} ns alone, {:.0} ns for an event with all rules of its type (median of {} typical \
             events, {} of which matched)",
            cost.rule_ns, cost.event_ns, cost.events, cost.matched
        );
    }
    let _ = writeln!(text, "\n  Reads: {}", Sanitized(&part.fields.join(", ")));
    let limit = match part.silent {
        true => "nothing (silent)",
        false => &part.limit,
    };
    let _ = writeln!(text, "  Sends: {}", Sanitized(limit));
    for action in &part.actions {
        let _ = writeln!(text, "  Action: {}", plain(action));
    }
}

fn kernel(decided: &Explanation) -> Vec<String> {
    let is_life = matches!(&*decided.event_type, "exec" | "exit" | "fork");
    match (&decided.kernel, &decided.accept_all_because) {
        (None, _) if is_life => vec!["every event passes: the process tree is made of them".into()],
        (None, Some(part)) => vec![format!("every event passes, because of {part}")],
        (None, None) => vec!["every event passes".into()],
        (Some(all), _) if all.is_empty() => vec!["no event passes: the rule never matches".into()],
        (Some(all), _) => {
            let mut lines = vec!["events pass with one of".to_owned()];
            lines.extend(all.iter().map(|condition| format!("  {condition}")));
            lines
        }
    }
}

fn index(decided: &Explanation) -> Vec<String> {
    match &decided.index {
        None => vec!["evaluated for every event that passes".into()],
        Some(keys) => keys
            .iter()
            .map(|key| format!("only where {} is {}", key.field, key.values.join(" or ")))
            .collect(),
    }
}

fn list<'a>(text: &mut String, title: &str, items: impl Iterator<Item = &'a str>) {
    let items: Vec<_> = items.collect();
    if items.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{title}");
    for item in items {
        let _ = writeln!(text, "  - {}", Sanitized(item));
    }
}
