//! `runtime replay`: policies tried on recorded events, before they are put in force.
//!
//! Recorded is only what some rule matched, and an event tells less than the rule saw. So a match here is one, and no match proves
//! little; the report says so.

mod event;
mod feed;
mod page;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use atalaya_api::sanitize_json;
use atalaya_config::Config;
use atalaya_policy::{DEFAULT_BURST, LoadError, RateLimiter};

use crate::ask::out;
use crate::line::Style;
use crate::policy::{LoadedFiles, count, lines, load, verdict};
use crate::records::stored_files;
use feed::{Range, Source};
use tally::Replay;

/// Arguments of `runtime replay`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  runtime replay --policy new.policy
  runtime replay --policy policies/ --since 24h
  runtime replay --policy new.policy --file events.jsonl --json

Recorded is only what some rule matched: that a rule matches nothing here does not show that it never would.")]
pub struct Args {
    /// Policy files, and directories of `*.policy` files [default: runtime_security_config.policies.dir]
    #[arg(long, value_name = "FILE|DIR", num_args = 1..)]
    policy: Vec<PathBuf>,
    /// Only events from then on: so long ago (`2h`), or a time (`2026-11-24T10:00:00Z`)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only events until then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// A file of events, one JSON object a line; `-` is standard input [default: security_agent.events_file and its older ones]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// So many events are shown of each rule, the newest ones
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(0..=1000))]
    limit: u16,
}

/// What is told.
struct Report<'a> {
    loaded: &'a LoadedFiles,
    replay: &'a Replay<'a>,
    read: Vec<PathBuf>,
    skipped: Vec<PathBuf>,
    errors: Vec<String>,
    took: Duration,
}

/// Tries the policies. Fails when there are errors in them; what is in order was tried nevertheless.
pub(crate) fn run(args: &Args, config: &Config, color: bool) -> Result<ExitCode> {
    let now = jiff::Timestamp::now();
    let range = Range {
        since: moment("--since", args.since.as_deref(), now)?,
        until: moment("--until", args.until.as_deref(), now)?,
    };
    if let (Some(since), Some(until)) = (range.since, range.until) {
        ensure!(since <= until, "--since is after --until");
    }
    let loaded = match args.policy.as_slice() {
        [] => load(Some(&config.policies_dir), &[], config, Vec::new())?,
        named => load(None, named, config, Vec::new())?,
    };
    let errors = loaded.report.all_errors().map(LoadError::render);
    let errors: Vec<String> = errors.map(|error| lines(&error)).collect();
    if loaded.rules.rules().is_empty() {
        if errors.is_empty() {
            anyhow::bail!("there is no rule in force in {}", loaded.from);
        }
        return Ok(verdict(&errors));
    }
    let began = Instant::now();
    let files = match &args.file {
        Some(file) => vec![file.clone()],
        None => stored_files(config),
    };
    let hint = "events are recorded by security-agent (security_agent.events_file); --file names another file";
    let source = Source::open(&files, range).context(hint)?;
    let (read, skipped) = (source.read.clone(), source.skipped.clone());
    let types: HashSet<&str> = loaded.rules.event_types().collect();
    let mut replay = Replay::new(&loaded.rules, limiter(config), args.limit.into());
    feed::in_order(
        source,
        |batch| event::parse(batch, range, &types),
        |chunk| replay.take(chunk),
    )?;
    let report = Report {
        loaded: &loaded,
        replay: &replay,
        read,
        skipped,
        errors,
        took: began.elapsed(),
    };
    if args.json {
        let text = serde_json::to_string_pretty(&report.json())?;
        out(&format!("{}\n", sanitize_json(&text)));
    } else {
        out(&report.text(Style { color }));
    }
    Ok(verdict(&report.errors))
}

/// That of rules without one of their own, as system-probe has it.
fn limiter(config: &Config) -> RateLimiter {
    let rate = u32::try_from(config.event_server_rate.max(1)).unwrap_or(u32::MAX);
    let burst = u32::try_from(config.event_server_burst.max(1)).unwrap_or(DEFAULT_BURST);
    RateLimiter::with_limit(Duration::from_secs(1) / rate, burst)
}

/// A point in time, in milliseconds since 1970: so long before now, or as RFC 3339 has it.
fn moment(flag: &str, text: Option<&str>, now: jiff::Timestamp) -> Result<Option<i64>> {
    let Some(text) = text else { return Ok(None) };
    let now = now.as_millisecond();
    let ago = atalaya_config::duration(text).and_then(|ago| i64::try_from(ago.as_millis()).ok());
    let at = match ago {
        Some(ago) => Some(now.saturating_sub(ago)),
        None if text == "now" => Some(now),
        None => text
            .parse()
            .ok()
            .map(|at: jiff::Timestamp| at.as_millisecond()),
    };
    at.map(Some).with_context(|| {
        format!("{flag}: `{text}` is neither how long ago, such as 30m or 2h, nor a time such as 2026-11-24T10:00:00Z")
    })
}

/// `1 event`, `2 events`.
fn number(number: u64, thing: &str) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), thing)
}
