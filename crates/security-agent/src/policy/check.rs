//! `runtime policy check`: policy files as system-probe would load them on this host.

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::Result;
use atalaya_api::{Sanitized, sanitize_json};
use atalaya_config::Config;
use atalaya_policy::{LoadReport, RuleSet};

use super::load::Files;
use super::{lines, verdict};
use crate::cli::out;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    files: Files,
    /// Ask system-probe what it has loaded
    #[arg(long, conflicts_with_all = ["paths", "policies_dir"])]
    pub(super) loaded_policies: bool,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Checks policy files.
pub(crate) fn run(args: &Args, config: &Config) -> Result<ExitCode> {
    let loaded = args.files.load(config)?;
    let (rules, report) = (&loaded.rules, &loaded.report);
    if args.json {
        let text = serde_json::to_string_pretty(report)?;
        out(&format!("{}\n", sanitize_json(&text)));
    } else {
        out(&summary(&loaded.from, rules, report));
    }
    let errors: Vec<_> = report.all_errors().map(|e| lines(&e.render())).collect();
    if report.policies.is_empty() && errors.is_empty() {
        eprintln!(
            "Warning: there are no *.policy files in {}: no rule, no event",
            Sanitized(&loaded.from)
        );
    }
    Ok(verdict(&errors))
}

fn summary(from: &str, rules: &RuleSet, report: &LoadReport) -> String {
    let counts = report.counts();
    let mut text = format!(
        "{}: {} policies, {} rules loaded, {} filtered out, {} rejected\n",
        Sanitized(from),
        report.policies.len(),
        counts.loaded,
        counts.filtered,
        counts.rejected
    );
    for event_type in rules.event_types() {
        let approvers = rules.approvers(event_type);
        let mode = if approvers.all {
            let some: Vec<_> = approvers
                .all_because
                .iter()
                .take(3)
                .map(|id| Sanitized(id).to_string())
                .collect();
            let more = approvers.all_because.len().saturating_sub(some.len());
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            format!(
                "every event reaches the rules, because of {}{more}",
                some.join(", ")
            )
        } else {
            let values =
                approvers.basenames.len() + approvers.paths.len() + approvers.directories.len();
            format!(
                "the kernel passes {values} names and paths, flags {:#x}",
                approvers.flags
            )
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  {:<8} {:>4} rules; {mode}",
            event_type,
            rules.rules_for(event_type).count()
        );
    }
    text
}
