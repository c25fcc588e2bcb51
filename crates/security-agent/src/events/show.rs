//! `events show`.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use atalaya_api::{Sanitized, sanitize_json};
use atalaya_cli::Style;
use atalaya_cli::ask::out;
use serde_json::Value;

use super::ask::Explorer;
use super::search::line;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  events show 1f2e3d4c-1234
  events show 1234 --context")]
pub(crate) struct Args {
    /// The event's id, as `events search` shows it behind `#`; its number alone means that of the newest spool
    #[arg(value_name = "ID")]
    id: String,
    /// What happened in the seconds before, around the same process
    #[arg(long)]
    context: bool,
    /// As JSON
    #[arg(long, short)]
    json: bool,
}

pub(super) async fn run(explorer: &Explorer, args: &Args, style: Style) -> Result<ExitCode> {
    let plain = args
        .id
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '-');
    ensure!(
        plain && !args.id.is_empty(),
        "`{}` is no id of an event",
        Sanitized(&args.id)
    );
    // By its number alone.
    let id = if args.id.contains('-') {
        args.id.clone()
    } else {
        format!("-{}", args.id)
    };
    let mut event = explorer.get(&format!("/events/{id}"), &[]).await?;
    let context = match args.context {
        true => Some(explorer.get(&format!("/events/{id}/context"), &[]).await?),
        false => None,
    };
    if args.json {
        if let Some(context) = context {
            event["context"] = context;
        }
        out(&format!(
            "{}\n",
            sanitize_json(&serde_json::to_string_pretty(&event)?)
        ));
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(context) = &context {
        out(&before(context, style));
    }
    out(&line(&event, false, style));
    if !args.context {
        let text = serde_json::to_string_pretty(&event["document"]["message"])?;
        out(&format!("{}\n", sanitize_json(&text)));
    }
    Ok(ExitCode::SUCCESS)
}

/// What was before it, a line each.
fn before(context: &Value, style: Style) -> String {
    if context["available"] != true {
        return "(nothing is known of what was before it)\n".to_owned();
    }
    let mut text = String::new();
    for one in context["events"].as_array().into_iter().flatten() {
        let word = |key: &str| Sanitized(one[key].as_str().unwrap_or_default()).to_string();
        let at = one["timestamp"]
            .as_i64()
            .and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
        let at = at
            .map(|at| at.strftime("%H:%M:%S%.3f").to_string())
            .unwrap_or_default();
        let summary = match word("summary") {
            empty if empty.is_empty() => word("path"),
            summary => summary,
        };
        text.push_str(&format!(
            "{}  {:<8} {}({})  {summary}  {}\n",
            style.paint("2", &at),
            word("event_type"),
            word("comm"),
            one["pid"],
            style.paint("2", &word("relation"))
        ));
    }
    if context["truncated"] == true {
        text.push_str("(there was more)\n");
    }
    text
}
