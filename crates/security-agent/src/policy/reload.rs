//! `runtime policy reload`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use atalaya_api::proto;

use super::errors;
use crate::cli::{answer, connect};

#[derive(clap::Args)]
pub(crate) struct Args {}

/// Lets system-probe read the policy files again. Silent on success.
pub(crate) async fn run(_args: &Args, socket: &Path) -> Result<ExitCode> {
    let mut client = connect(socket).await?;
    let reloaded = client
        .commands
        .reload_policies(proto::ReloadPoliciesParams {})
        .await;
    let result = reloaded
        .map_err(|e| answer("unable to reload policies", &e))?
        .into_inner();
    // What is good is in force; that some is not is worth a word, but no failure of the reload. A file that is no YAML
    // takes all its rules along, and none of them counts as rejected.
    let errors = errors(&result.policies);
    let first = |error: &String| error.lines().next().unwrap_or_default().to_owned();
    for error in errors.iter().map(first).take(10) {
        eprintln!("Warning: {error}");
    }
    if !errors.is_empty() {
        eprintln!(
            "Warning: {} errors, {} rules loaded, {} rejected; `security-agent runtime policy check --loaded-policies` \
             tells all",
            errors.len(),
            result.rules_loaded,
            result.rules_failed
        );
    }
    Ok(ExitCode::SUCCESS)
}
