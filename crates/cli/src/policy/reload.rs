//! `runtime policy reload`.

use std::fmt::Write;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use atalaya_api::{Sanitized, proto, sanitize_json};
use serde_json::json;

use super::{count, errors};
use crate::ask::{answer, connect, out};

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Tell what is different, also where the output is no terminal
    #[arg(long, short = 'v')]
    verbose: bool,
    /// The same as JSON
    #[arg(long)]
    json: bool,
}

/// Lets system-probe read the policy files again. Tells people what is different; scripts, as the reference, nothing.
pub(crate) async fn run(args: &Args, socket: &Path) -> Result<ExitCode> {
    let mut client = connect(socket).await?;
    let reloaded = client
        .commands
        .reload_policies(proto::ReloadPoliciesParams {})
        .await;
    let result = reloaded
        .map_err(|e| answer("unable to reload policies", &e))?
        .into_inner();
    let difference = result.difference.clone().unwrap_or_default();
    if args.json {
        let text = serde_json::to_string_pretty(&json!({
            "diff": difference,
            "rules_loaded": result.rules_loaded,
            "rules_failed": result.rules_failed,
        }))?;
        out(&format!("{}\n", sanitize_json(&text)));
    } else if args.verbose || std::io::stdout().is_terminal() {
        out(&text(&difference, result.rules_loaded));
    }
    warn(&result);
    Ok(ExitCode::SUCCESS)
}

/// What is good is in force; that some is not is worth a word, but no failure of the reload. A file that is no YAML takes all
/// its rules along, and none of them counts as rejected.
fn warn(result: &proto::ReloadPoliciesResultMessage) {
    let errors = errors(&result.policies);
    let first = |error: &String| error.lines().next().unwrap_or_default().to_owned();
    for error in errors.iter().map(first).take(10) {
        eprintln!("Warning: {error}");
    }
    if !errors.is_empty() {
        eprintln!(
            "Warning: {}, {} rules loaded, {} rejected; `security-agent runtime policy check --loaded-policies` \
             tells all",
            count(errors.len(), "error"),
            result.rules_loaded,
            result.rules_failed
        );
    }
}

/// A line for each thing that is different.
fn text(difference: &proto::RuleSetDiff, loaded: u32) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let mut line = |what: &str, name: &str, more: &str| {
        let _ = writeln!(text, "  {what:<17} {}{}", Sanitized(name), Sanitized(more));
    };
    for (what, names) in [
        ("added", &difference.added),
        ("removed", &difference.removed),
        ("macro added", &difference.macros_added),
        ("macro removed", &difference.macros_removed),
        ("macro changed", &difference.macros_changed),
        ("variable added", &difference.variables_added),
        ("variable reset", &difference.variables_dropped),
    ] {
        for name in names {
            line(what, name, "");
        }
    }
    for change in &difference.changed {
        line(
            "changed",
            &change.id,
            &format!(" ({})", change.what.join(", ")),
        );
    }
    for failure in &difference.newly_failing {
        line("fails now", &failure.id, "");
    }
    let head = match text.is_empty() {
        true => "no rule is different",
        false => "different",
    };
    format!(
        "{head}; {} in force\n{text}",
        count(usize::try_from(loaded).unwrap_or(usize::MAX), "rule")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_difference_is_a_line_and_none_is_raw() {
        assert_eq!(
            text(&proto::RuleSetDiff::default(), 1),
            "no rule is different; 1 rule in force\n"
        );
        let difference = proto::RuleSetDiff {
            added: vec!["new".into()],
            changed: vec![proto::RuleChange {
                id: "evil\x1b[2J".into(),
                what: vec!["expression".into(), "tags".into()],
            }],
            variables_dropped: vec!["process.x".into()],
            ..Default::default()
        };
        assert_eq!(
            text(&difference, 2),
            "different; 2 rules in force\n  added             new\n  variable reset    process.x\n  \
             changed           evil\\x1b[2J (expression, tags)\n"
        );
    }
}
