//! `events search`.

use std::process::ExitCode;

use anyhow::Result;
use atalaya_api::proto::SecurityEventMessage;
use atalaya_api::{Sanitized, sanitize_json};
use atalaya_cli::ask::out;
use atalaya_cli::{Style, render};
use serde_json::Value;

use super::Which;
use super::ask::Explorer;
use super::tail;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  events search shadow --since 1h
  events search 'type:open path:/etc/* -user:root' --limit 20
  events search 'rule_id:(my_rule OR other_rule) pid:>1000' --json | jq .message.process.executable.path
  events search 'secl(\"open.file.path =~ \\\"/etc/**\\\" && process.uid != 0\")'
  events search status:warn --follow")]
pub(crate) struct Args {
    #[command(flatten)]
    which: Which,
    /// At most so many
    #[arg(long, short = 'l', value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    limit: u64,
    /// The oldest first
    #[arg(long)]
    oldest_first: bool,
    /// The events as JSON lines
    #[arg(long, short)]
    json: bool,
    /// And then what comes, until interrupted
    #[arg(long, short, conflicts_with_all = ["oldest_first", "until"])]
    follow: bool,
}

/// How many are asked for at once.
const PAGE: u64 = 500;

pub(super) async fn run(explorer: &Explorer, args: &Args, style: Style) -> Result<ExitCode> {
    let parameters = args.which.parameters()?;
    let mut left = args.limit;
    let mut cursor = None::<String>;
    let mut events: Vec<Value> = Vec::new();
    let (mut total, mut exact) = (0, true);
    while left > 0 {
        let mut asked = parameters.clone();
        asked.push(("limit", left.min(PAGE).to_string()));
        asked.push((
            "order",
            if args.oldest_first {
                "oldest"
            } else {
                "newest"
            }
            .to_owned(),
        ));
        asked.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page = explorer.get("/events", &asked).await?;
        let found = page["events"].as_array().cloned().unwrap_or_default();
        if events.is_empty() {
            total = page["total"].as_u64().unwrap_or(0);
            exact = page["total_exact"] == true;
        }
        left = left.saturating_sub(found.len() as u64);
        events.extend(found);
        match page["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    // As in a log: the newest at the end, where the prompt is.
    if !args.oldest_first {
        events.reverse();
    }
    for event in &events {
        out(&line(event, args.json, style));
    }
    let shown = events.len() as u64;
    if !args.json && (total > shown || shown == 0) {
        let more = if exact { "" } else { "at least " };
        eprintln!("({shown} of {more}{total} events)");
    }
    if args.follow {
        tail::follow(explorer, &args.which.query(), |event| {
            out(&line(event, args.json, style));
            Ok(())
        })
        .await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// An event as a line.
pub(super) fn line(event: &Value, json: bool, style: Style) -> String {
    let document = &event["document"];
    if json {
        let mut document = document.clone();
        document["id"] = event["id"].clone();
        return format!("{}\n", sanitize_json(&document.to_string()));
    }
    let id = event["id"].as_str().unwrap_or_default();
    let rule = document["message"]["agent"]["rule_id"]
        .as_str()
        .unwrap_or_default();
    let message = SecurityEventMessage {
        rule_id: rule.to_owned(),
        data: document["message"].to_string().into_bytes(),
        ..SecurityEventMessage::default()
    };
    let date = document["message"]["date"].as_str().unwrap_or_default();
    // The day, which the line of a live event does not need.
    let day: String = date.chars().take(10).collect();
    format!(
        "{} {}  {}\n",
        Sanitized(&day),
        render(&message, style),
        style.paint("2", &format!("#{}", Sanitized(id)))
    )
}
