//! `config`, `config list`, `config get`: values and where they came from.

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::{Result, bail};
use atalaya_api::{Sanitized, proto, sanitize_json};
use atalaya_config::{ACCEPTED, Effect, KEYS, Loaded, Program};
use atalaya_scrub::Scrubber;
use serde::Serialize;

use crate::Global;
use crate::ask::{answer, connect, out, patiently, runtime};

/// Arguments of `config list`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  security-agent config\n  security-agent config list --changed\n  security-agent config list event_monitoring_config.network\n  \
                  system-probe config list --running --json\n\nA flag wins over a DD_… variable, a variable over a file, a file over the default.\nSecrets are never shown."
)]
pub(super) struct Args {
    /// Only settings whose names begin so
    #[arg(value_name = "PREFIX", default_value = "", hide_default_value = true)]
    prefix: String,
    /// Only settings that somebody has set
    #[arg(long)]
    changed: bool,
    /// What the running system-probe uses, its own flags and variables included, and not what the files here say
    #[arg(long)]
    running: bool,
    /// As JSON
    #[arg(long, short = 'j')]
    json: bool,
}

/// Arguments of `config get`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  security-agent config get log_level\n  system-probe config get runtime_security_config.policies.dir"
)]
pub(super) struct Get {
    /// The setting's name
    #[arg(value_name = "KEY")]
    key: String,
}

/// One setting, to be shown.
#[derive(Debug, Serialize)]
struct Row {
    key: String,
    value: String,
    origin: String,
    default: String,
    /// A change is in force without a restart.
    live: bool,
    /// What it will be after a restart.
    #[serde(skip_serializing_if = "String::is_empty")]
    pending: String,
}

pub(super) fn run(args: &Args, global: &Global, program: Program) -> Result<ExitCode> {
    let mut rows = if args.running {
        let socket = global.config(program)?.socket;
        runtime()?.block_on(patiently(asked(&socket)))?
    } else {
        let loaded = global.load_and_tell(program)?;
        local(&loaded)
    };
    rows.retain(|row| row.key.starts_with(&args.prefix));
    if rows.is_empty() {
        bail!("no setting begins with `{}`", args.prefix);
    }
    rows.retain(|row| !args.changed || row.origin != "default");
    let scrubber = Scrubber::default();
    for row in &mut rows {
        row.value = scrubber.scrub(&row.value).trim_end().to_owned();
        row.pending = scrubber.scrub(&row.pending).trim_end().to_owned();
    }
    if args.json {
        let text = serde_json::to_string_pretty(&rows)?;
        out(&format!("{}\n", sanitize_json(&text)));
    } else {
        out(&table(&rows));
    }
    Ok(ExitCode::SUCCESS)
}

fn local(loaded: &Loaded) -> Vec<Row> {
    let row = |key: &atalaya_config::Key| Row {
        key: key.name.to_owned(),
        value: key.value(&loaded.config),
        origin: loaded.origin(key).to_string(),
        default: key.default(),
        live: key.effect == Effect::Live,
        pending: String::new(),
    };
    KEYS.iter().map(row).collect()
}

async fn asked(socket: &std::path::Path) -> Result<Vec<Row>> {
    let mut client = connect(socket).await?;
    let settings = client
        .commands
        .get_settings(proto::GetSettingsParams {})
        .await;
    let settings = settings
        .map_err(|e| answer("cannot get the settings", &e))?
        .into_inner();
    for problem in &settings.problems {
        eprintln!("{}", Sanitized(problem));
    }
    let row = |setting: proto::SettingMessage| Row {
        key: setting.key,
        value: setting.value,
        origin: setting.origin,
        default: setting.default,
        live: setting.live,
        pending: setting.pending,
    };
    Ok(settings.settings.into_iter().map(row).collect())
}

fn table(rows: &[Row]) -> String {
    let width = |text: fn(&Row) -> &str, most: usize| {
        rows.iter()
            .map(|row| text(row).chars().count())
            .filter(|width| *width <= most)
            .max()
            .unwrap_or(0)
    };
    let (keys, values) = (width(|row| &row.key, 80), width(|row| &row.value, 40));
    let mut text = String::new();
    for row in rows {
        let pending = match row.pending.as_str() {
            "" => String::new(),
            pending => format!("  (after a restart: {})", Sanitized(pending)),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<keys$}  {:<values$}  {}{pending}",
            row.key,
            Sanitized(&row.value).to_string(),
            Sanitized(&row.origin)
        );
    }
    text
}

pub(super) fn runtime_settings(json: bool) -> Result<ExitCode> {
    let live: Vec<_> = KEYS.iter().filter(|k| k.effect == Effect::Live).collect();
    if json {
        let names: Vec<_> = live.iter().map(|key| key.name).collect();
        out(&format!("{}\n", serde_json::to_string_pretty(&names)?));
        return Ok(ExitCode::SUCCESS);
    }
    let width = live.iter().map(|key| key.name.len()).max().unwrap_or(0);
    for key in live {
        let first = key.doc.trim().lines().next().unwrap_or_default();
        out(&format!("{:<width$}  {first}\n", key.name));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn get(args: &Get, global: &Global, program: Program) -> Result<ExitCode> {
    let name = args.key.to_ascii_lowercase();
    let Some(key) = atalaya_config::key(&name) else {
        if let Some(accepted) = ACCEPTED.iter().find(|key| key.name == name) {
            bail!("`{name}` is accepted and has no effect: {}", accepted.why);
        }
        bail!(
            "there is no setting `{}`; `config list` shows all",
            args.key
        );
    };
    let loaded = global.load_and_tell(program)?;
    let scrubber = Scrubber::default();
    let shown = |value: &str| Sanitized(scrubber.scrub(value).trim_end()).to_string();
    let mut text = format!("{}: {}\n", key.name, shown(&key.value(&loaded.config)));
    let set: Vec<_> = loaded
        .set
        .iter()
        .filter(|set| set.key == key.name)
        .collect();
    let _ = writeln!(text, "  default: {}", key.default());
    for (at, one) in set.iter().enumerate() {
        let wins = if at + 1 == set.len() {
            ""
        } else {
            " (overridden)"
        };
        let origin = Sanitized(&one.origin.to_string()).to_string();
        let _ = writeln!(text, "  {origin}: {}{wins}", shown(&one.value));
    }
    let _ = writeln!(
        text,
        "  takes {}; a change takes effect {}\n",
        key.expected,
        key.effect.text()
    );
    for line in key.doc.lines() {
        let _ = writeln!(text, "  {}", line.trim());
    }
    out(&text);
    Ok(ExitCode::SUCCESS)
}
