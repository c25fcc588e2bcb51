//! `runtime network doctor`: system-probe looks at the classifiers of the host, and this shows what it found.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use atalaya_api::{Sanitized, proto, sanitize_json};

use crate::ask::{answer, connect, out};

/// `runtime network …`
#[derive(clap::Subcommand, Debug)]
pub enum Network {
    /// Look at the classifiers of every interface of every network namespace: whether other vendors' end the chain before ours, and
    /// which classifier_priority is right; exits with 1 where a person should do something, with 2 when system-probe cannot be asked.
    /// Changes nothing. `system-probe runtime network doctor` works without a running system-probe
    Doctor(Args),
}

/// Arguments of `runtime network doctor`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// As JSON
    #[arg(long, short = 'j')]
    pub(crate) json: bool,
    /// Also interfaces that have no classifier (system-probe only)
    #[arg(long)]
    pub(crate) all: bool,
}

/// Exit code when system-probe cannot be asked.
const UNREACHABLE: u8 = 2;

/// Prints the report. 0: well; 1: a person should do something; 2: system-probe cannot be asked.
pub(crate) async fn run(socket: &Path, json: bool) -> Result<ExitCode> {
    match ask(socket).await {
        Ok(found) => show(&found, json),
        Err(error) => {
            eprintln!(
                "Error: {}\nHint: `system-probe runtime network doctor` looks itself, also while no system-probe is running",
                Sanitized(&atalaya_api::chain(error.as_ref()))
            );
            Ok(UNREACHABLE.into())
        }
    }
}

async fn ask(socket: &Path) -> Result<proto::NetworkDoctorMessage> {
    let mut client = connect(socket).await?;
    let asked = client
        .commands
        .network_doctor(proto::NetworkDoctorParams {});
    Ok(asked
        .await
        .map_err(|e| answer("cannot look at the classifiers", &e))?
        .into_inner())
}

fn show(found: &proto::NetworkDoctorMessage, json: bool) -> Result<ExitCode> {
    if json {
        let report: serde_json::Value =
            serde_json::from_slice(&found.report).context("the report is no JSON")?;
        let text = serde_json::to_string_pretty(&report)?;
        out(&format!("{}\n", sanitize_json(&text)));
    } else {
        for line in found.text.lines() {
            out(&format!("{}\n", Sanitized(line)));
        }
    }
    Ok(if found.trouble {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
