//! `runtime policy check`: policy files as system-probe would load them on this host.

use std::process::ExitCode;

use anyhow::Result;
use atalaya_api::{Sanitized, sanitize_json};
use atalaya_config::Config;
use atalaya_policy::Lint;

use super::load::Files;
use super::{count, lines, report, verdict};
use crate::ask::out;

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    files: Files,
    /// Ask system-probe what it has loaded
    #[arg(long, conflicts_with_all = ["paths", "policies_dir", "no_lint", "strict"])]
    pub(super) loaded_policies: bool,
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
    /// List every rule that was left out, that is not available here, and that keeps the kernel from filtering
    #[arg(long, short = 'v')]
    pub(super) verbose: bool,
    /// Without remarks on what is no error but likely no intention either
    #[arg(long, conflicts_with = "strict")]
    no_lint: bool,
    /// Remarks count as errors
    #[arg(long)]
    strict: bool,
}

/// Checks policy files. Fails when there are errors; with `--strict` also when there are remarks.
pub(crate) fn run(args: &Args, config: &Config) -> Result<ExitCode> {
    let mut loaded = args.files.load(config, Vec::new())?;
    if args.no_lint {
        loaded.report.lints.clear();
    }
    if args.json {
        let value = report::json(&loaded)?;
        let text = serde_json::to_string_pretty(&value)?;
        out(&format!("{}\n", sanitize_json(&text)));
    } else {
        out(&report::text(&loaded, args.verbose));
        lints(&loaded.report.lints, args.verbose);
    }
    let report = &loaded.report;
    let errors: Vec<_> = report.all_errors().map(|e| lines(&e.render())).collect();
    if report.policies.is_empty() && errors.is_empty() {
        eprintln!(
            "Warning: there are no *.policy files in {}: no rule, no event",
            Sanitized(&loaded.from)
        );
    }
    let code = verdict(&errors);
    if args.strict && errors.is_empty() && !report.lints.is_empty() {
        eprintln!("Error: {} (--strict)", count(report.lints.len(), "warning"));
        return Ok(ExitCode::FAILURE);
    }
    Ok(code)
}

/// So many remarks are shown where not all are asked for.
const SOME: usize = 10;

fn lints(lints: &[Lint], all: bool) {
    let shown = if all { lints.len() } else { SOME };
    for lint in lints.iter().take(shown) {
        eprintln!("Warning: {}\n", lines(&lint.render()));
    }
    let more = lints.len().saturating_sub(shown);
    if more > 0 {
        eprintln!("({}: --verbose shows all)\n", count(more, "more warning"));
    }
}
