//! `status`: everything about the probe's state on a page.

mod costs;
pub(crate) mod numbers;
mod page;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use atalaya_api::proto::{GetStatusParams, Status};
use atalaya_api::{Client, Sanitized, sanitize_json};
use atalaya_config::Config;

use crate::agent;
use crate::ask::{out, runtime};
use crate::line::Style;

/// Arguments of `status`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  status
  status --cost=2        with what each eBPF program costs, measured for two seconds
  status --json          everything, for programs")]
pub struct Args {
    /// As JSON
    #[arg(long, short = 'j')]
    json: bool,
    /// Measure for so many seconds what each eBPF program costs; 2 where no number is given
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u32).range(1..=10)
    )]
    cost: Option<u32>,
}

/// Exit code when the probe cannot be asked.
const UNREACHABLE: u8 = 2;

/// Prints the state. 0: healthy, 1: not, 2: cannot be reached.
///
/// # Errors
/// What was answered cannot be printed.
pub fn run(config: &Config, args: &Args, color: bool) -> Result<ExitCode> {
    runtime()?.block_on(show(config, args, color))
}

async fn show(config: &Config, args: &Args, color: bool) -> Result<ExitCode> {
    let json = args.json;
    let measure_ms = args.cost.unwrap_or(0) * 1000;
    // Together: either may have to be waited for.
    let (status, agent) = tokio::join!(ask(config, measure_ms), agent::status(config));
    let agent = agent
        .unwrap_or_else(|error| serde_json::json!({"error": atalaya_api::chain(error.as_ref())}));
    let status = match status {
        Ok(status) => status,
        Err(e) => {
            let error = atalaya_api::chain(e.as_ref());
            if json {
                let text = serde_json::json!({"healthy": false, "reachable": false, "reasons": [error], "agent": agent});
                out(&format!("{}\n", sanitize_json(&text.to_string())));
            } else {
                eprintln!("Error: {}", Sanitized(&error));
                if agent["error"].is_null() {
                    out(&page::agent(&agent, Style { color }));
                }
            }
            return Ok(UNREACHABLE.into());
        }
    };
    if json {
        let mut value = serde_json::to_value(&status)?;
        if let Some(object) = value.as_object_mut() {
            object.insert("reachable".into(), true.into());
            object.insert("agent".into(), agent.clone());
        }
        let text = serde_json::to_string_pretty(&value)?;
        out(&format!("{}\n", sanitize_json(&text)));
    } else {
        out(&page::page(&status, Style { color }));
        out(&format!("\n{}", page::agent(&agent, Style { color })));
    }
    // That it does not run, or cannot be asked, is told, and is no fault of system-probe's.
    Ok(if status.healthy && agent["healthy"] != false {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// For a flare: the page without colours, of what answered, and what security-agent says of itself; or why one of them does not answer.
pub struct Told {
    /// The page.
    pub page: String,
    /// Why system-probe has not answered.
    pub probe_error: Option<String>,
    /// What security-agent has answered, as JSON, or why it has not.
    pub agent: Result<String, String>,
}

/// Asks both programs, each for a bounded time.
pub async fn tell(config: &Config) -> Told {
    let (status, agent) = tokio::join!(ask(config, 0), agent::status(config));
    let agent = agent.map_err(|error| atalaya_api::chain(error.as_ref()));
    let value = match &agent {
        Ok(value) => value.clone(),
        Err(error) => serde_json::json!({ "error": error }),
    };
    let own = page::agent(&value, Style { color: false });
    let (page, probe_error) = match status {
        Ok(status) => (page::page(&status, Style { color: false }), None),
        Err(error) => {
            let error = atalaya_api::chain(error.as_ref());
            (format!("system-probe: {error}\n"), Some(error))
        }
    };
    Told {
        page: format!("{page}\n{own}"),
        probe_error,
        agent: agent.map(|value| format!("{value:#}\n")),
    }
}

/// Asks system-probe. It may take ten seconds longer than what it is asked to measure.
async fn ask(config: &Config, measure_ms: u32) -> Result<Status> {
    let mut client = Client::connect(&config.socket).await?;
    let params = GetStatusParams {
        include_secl_variables: true,
        measure_ms,
    };
    let patience = Duration::from_secs(10) + Duration::from_millis(measure_ms.into());
    let asked = tokio::time::timeout(patience, client.commands.get_status(params));
    let answered = asked.await.with_context(|| {
        format!(
            "system-probe does not answer within {} s",
            patience.as_secs()
        )
    })?;
    Ok(answered
        .map_err(|s| anyhow::anyhow!("{}", s.message()))?
        .into_inner())
}
