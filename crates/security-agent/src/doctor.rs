//! `runtime network doctor`: system-probe looks at the classifiers of the host, and this shows what it found.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use atalaya_api::{Sanitized, proto, sanitize_json};

use crate::cli::{answer, connect, out};

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
