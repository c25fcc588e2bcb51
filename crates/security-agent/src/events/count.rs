//! `events facets` and `events histogram`.

use std::process::ExitCode;

use anyhow::Result;
use atalaya_api::{Sanitized, sanitize_json};
use atalaya_cli::Style;
use atalaya_cli::ask::out;
use serde_json::Value;

use super::Which;
use super::ask::Explorer;

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  events facets --since 1d
  events facets 'type:exec -user:root' --field exe --field rule_id --size 20")]
pub(crate) struct FacetsArgs {
    #[command(flatten)]
    which: Which,
    /// A field; may be given several times. None: those that are shown in the explorer
    #[arg(long, short, value_name = "FIELD")]
    field: Vec<String>,
    /// So many values of each
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    size: u16,
    /// As JSON
    #[arg(long, short)]
    json: bool,
}

#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  events histogram --since 1h
  events histogram rule_id:my_rule --since 7d --buckets 40")]
pub(crate) struct HistogramArgs {
    #[command(flatten)]
    which: Which,
    /// About so many rows
    #[arg(long, value_name = "NUMBER", default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=500))]
    buckets: u16,
    /// As JSON
    #[arg(long, short)]
    json: bool,
}

/// How wide a bar is.
const BAR: usize = 40;

fn bar(count: u64, most: u64) -> String {
    let eighths = usize::try_from(count.saturating_mul(BAR as u64 * 8) / most.max(1)).unwrap_or(0);
    // Something is never nothing.
    let eighths = eighths.max(usize::from(count > 0));
    let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    format!("{}{part}", "█".repeat(eighths / 8))
}

fn incomplete(answer: &Value) {
    if answer["complete"] == false {
        eprintln!("(not everything was counted: it took too long)");
    }
}

pub(super) async fn facets(
    explorer: &Explorer,
    args: &FacetsArgs,
    style: Style,
) -> Result<ExitCode> {
    let mut asked = args.which.parameters()?;
    asked.push(("fields", args.field.join(",")));
    asked.push(("size", args.size.to_string()));
    let answer = explorer.get("/facets", &asked).await?;
    if args.json {
        out(&format!(
            "{}\n",
            sanitize_json(&serde_json::to_string_pretty(&answer)?)
        ));
        return Ok(ExitCode::SUCCESS);
    }
    for facet in answer["facets"].as_array().into_iter().flatten() {
        let values = facet["values"].as_array().cloned().unwrap_or_default();
        // What nothing has is not worth a line, unless it was asked for.
        if values.is_empty() && args.field.is_empty() {
            continue;
        }
        let title = format!(
            "{} ({})",
            Sanitized(facet["title"].as_str().unwrap_or_default()),
            Sanitized(facet["field"].as_str().unwrap_or_default())
        );
        out(&format!("{}\n", style.paint("1", &title)));
        let most = values
            .iter()
            .filter_map(|value| value["count"].as_u64())
            .max()
            .unwrap_or(1);
        for value in &values {
            let count = value["count"].as_u64().unwrap_or(0);
            let name = Sanitized(value["value"].as_str().unwrap_or_default()).to_string();
            out(&format!(
                "  {count:>9}  {:<BAR$}  {name}\n",
                bar(count, most)
            ));
        }
        if let Some(other) = facet["other"].as_u64().filter(|other| *other > 0) {
            out(&format!(
                "  {other:>9}  {:<BAR$}  {}\n",
                "",
                style.paint("2", "others")
            ));
        }
    }
    incomplete(&answer);
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn histogram(
    explorer: &Explorer,
    args: &HistogramArgs,
    style: Style,
) -> Result<ExitCode> {
    let mut asked = args.which.parameters()?;
    asked.push(("buckets", args.buckets.to_string()));
    let answer = explorer.get("/timeline", &asked).await?;
    if args.json {
        out(&format!(
            "{}\n",
            sanitize_json(&serde_json::to_string_pretty(&answer)?)
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let buckets = answer["buckets"].as_array().cloned().unwrap_or_default();
    let count = |bucket: &Value| bucket["count"].as_u64().unwrap_or(0);
    let most = buckets.iter().map(count).max().unwrap_or(1);
    for bucket in &buckets {
        let at = bucket["at"]
            .as_i64()
            .and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
        let at = at
            .map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
            .unwrap_or_default();
        let serious: u64 = ["warn", "error"]
            .iter()
            .filter_map(|status| bucket["by_status"][status].as_u64())
            .sum();
        let note = if serious > 0 {
            style.paint("33", &format!("  {serious} warn or error"))
        } else {
            String::new()
        };
        out(&format!(
            "{}  {:>9}  {}{note}\n",
            style.paint("2", &at),
            count(bucket),
            bar(count(bucket), most)
        ));
    }
    incomplete(&answer);
    Ok(ExitCode::SUCCESS)
}
