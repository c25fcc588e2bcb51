//! `events …`: the stored events in a terminal. security-agent is asked over its own socket.

pub(crate) mod ask;
mod count;
mod search;
mod show;
mod tail;

use std::process::ExitCode;

use anyhow::{Context, Result};
use atalaya_cli::Style;
use atalaya_cli::ask::runtime;
use atalaya_config::Config;

/// `events …`
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Command {
    /// Find events
    Search(search::Args),
    /// Everything about one event
    Show(show::Args),
    /// The most frequent values of fields
    Facets(count::FacetsArgs),
    /// How many events over time
    Histogram(count::HistogramArgs),
}

impl Command {
    pub(crate) fn run(&self, config: &Config, color: bool) -> Result<ExitCode> {
        let explorer = ask::Explorer::of(config)?;
        let style = Style { color };
        runtime()?.block_on(async {
            match self {
                Self::Search(args) => search::run(&explorer, args, style).await,
                Self::Show(args) => show::run(&explorer, args, style).await,
                Self::Facets(args) => count::facets(&explorer, args, style).await,
                Self::Histogram(args) => count::histogram(&explorer, args, style).await,
            }
        })
    }
}

/// Which events, for all commands.
#[derive(clap::Args, Debug)]
pub(crate) struct Which {
    /// The query: words, field:value, ranges, AND, OR, NOT; see `docs/query.md`. None: all events
    #[arg(value_name = "QUERY")]
    query: Vec<String>,
    /// Not before: how long ago (15m, 2h, 7d), or a time
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Not after
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl Which {
    /// As one text; words that the shell has split are joined again.
    fn query(&self) -> String {
        self.query.join(" ")
    }

    fn parameters(&self) -> Result<Vec<(&'static str, String)>> {
        let mut parameters = vec![("query", self.query())];
        for (name, flag, value) in [
            ("from", "--since", &self.since),
            ("to", "--until", &self.until),
        ] {
            if let Some(text) = value {
                let time = time(text).with_context(|| format!("{flag}: `{text}` is neither a duration (15m, 2h, 7d) nor a time (2026-11-24T10:00)"))?;
                parameters.push((name, time.to_string()));
            }
        }
        Ok(parameters)
    }
}

fn time(text: &str) -> Option<i64> {
    let now = jiff::Timestamp::now().as_millisecond();
    match atalaya_store::parse_duration_ms(text) {
        Some(ago) => now.checked_sub(ago),
        None => atalaya_store::parse_time_ms(text, now),
    }
}
