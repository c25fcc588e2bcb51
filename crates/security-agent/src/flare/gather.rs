//! Collects: what both programs say of themselves, and what this command can read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use atalaya_api::{Client, Sanitized, proto};
use atalaya_cli::ask::{out, runtime};
use atalaya_cli::status;
use atalaya_collect::read::{self, End};
use atalaya_collect::{Part, Plan, config as configuration, host, logs, process};
use atalaya_config::Config;
use atalaya_flare::{Archive, ArchiveError};
use atalaya_scrub::Scrubber;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::dialog::Colour;

/// How long system-probe may take for its part, and for one piece of it.
const PROBE_TOTAL: Duration = Duration::from_secs(150);
const PROBE_PIECE: Duration = Duration::from_secs(45);
/// How long this command's own part may take.
const OWN_TOTAL: Duration = Duration::from_secs(120);
/// The largest file that is taken from system-probe.
const MAX_FILE: usize = 64 << 20;
/// Of so many of the last events it is told what they were.
const EVENTS: usize = 1000;

/// Puts everything into the archive. Only what is wrong with the archive itself is an error.
pub(crate) fn everything(
    archive: &mut Archive,
    config: &Config,
    files: &[PathBuf],
    local: bool,
    colour: Colour,
) -> Result<()> {
    let from_probe = if local {
        archive.add("local", b"")?;
        archive.note(
            "flare",
            "made without asking the running programs (--local)",
        );
        false
    } else {
        let asking = "Asking system-probe and security-agent to build the flare archive.";
        out(&format!("{}\n", colour.step(asking)));
        programs(archive, config, colour)?
    };
    let mut written = Ok(());
    own_plan(config, files, !from_probe).run(None, OWN_TOTAL, |part| {
        written = put(archive, part);
        written.is_ok()
    });
    Ok(written?)
}

/// Asks both programs. Returns whether all of system-probe's part came.
fn programs(archive: &mut Archive, config: &Config, colour: Colour) -> Result<bool> {
    runtime()?.block_on(async {
        let told = status::tell(config).await;
        archive.add("security-agent-status.log", told.page.as_bytes())?;
        match told.agent {
            Ok(agent) => archive.add("security-agent/status.json", agent.as_bytes())?,
            Err(error) => {
                archive.note("security-agent", &error);
                let plain = format!("security-agent does not answer ({error}): what it knows of itself will be missing.");
                out(&format!("{}\n", colour.warning(&atalaya_api::sanitize(&plain))));
            }
        }
        let failed = match told.probe_error {
            Some(error) => Some(error),
            None => match probe(archive, config).await {
                Ok(()) => None,
                Err(Trouble::Archive(error)) => return Err(error.into()),
                Err(Trouble::Probe(error)) => Some(error),
            },
        };
        if let Some(error) = &failed {
            archive.note("system-probe", error);
            out(&format!("The agent was unable to make a full flare: {}.\n", Sanitized(error.trim_end_matches('.'))));
            let local = "Initiating flare locally, some logs will be missing.";
            out(&format!("{}\n", colour.warning(local)));
            archive.add("local", b"")?;
        }
        Ok(failed.is_none())
    })
}

enum Trouble {
    Probe(String),
    Archive(ArchiveError),
}

impl From<ArchiveError> for Trouble {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

/// Takes system-probe's part.
async fn probe(archive: &mut Archive, config: &Config) -> Result<(), Trouble> {
    let late = |_| Trouble::Probe("system-probe takes too long".to_owned());
    let end = Instant::now() + PROBE_TOTAL;
    let client = Client::connect(&config.socket).await;
    let mut client = client.map_err(|e| Trouble::Probe(atalaya_api::chain(&e)))?;
    let asked = client.commands.get_flare(proto::GetFlareParams {});
    let asked = timeout_at(end.min(Instant::now() + PROBE_PIECE), asked)
        .await
        .map_err(late)?;
    let said = |status: tonic::Status| Trouble::Probe(status.message().to_owned());
    let mut stream = asked.map_err(said)?.into_inner();
    let mut content = Vec::new();
    let mut cut = false;
    loop {
        let next = timeout_at(end.min(Instant::now() + PROBE_PIECE), stream.message());
        let Some(message) = next.await.map_err(late)?.map_err(said)? else {
            return Ok(());
        };
        if !message.name.is_empty() {
            cut |= content.len() + message.content.len() > MAX_FILE;
            if !cut {
                content.extend_from_slice(&message.content);
            }
            if !message.more {
                if std::mem::take(&mut cut) {
                    archive.note(
                        "system-probe",
                        &format!("{} was too large and is cut", message.name),
                    );
                }
                archive.add(&message.name, &std::mem::take(&mut content))?;
            }
        } else if !message.error.is_empty() {
            archive.note(
                &format!("system-probe: {}", message.collector),
                &message.error,
            );
        } else {
            archive.note(
                &format!("system-probe: {}", message.collector),
                &format!("done in {:.0} ms", message.done_ms),
            );
        }
    }
}

/// What this command reads itself. What the archive has already stays as it is.
fn own_plan(config: &Config, files: &[PathBuf], everything: bool) -> Plan {
    let mut plan = Plan::default();
    configuration::plan(&mut plan, "security-agent", config, files);
    plan.add("environment", |sink| {
        let variables = std::env::vars_os()
            .map(|(n, v)| (n.to_string_lossy().into(), v.to_string_lossy().into()));
        sink.file(
            "envvars.log",
            configuration::environment(&Scrubber::default(), variables),
        );
        Ok(())
    });
    let mut dirs = vec![PathBuf::from("/var/log/atalaya")];
    dirs.extend(config.events_file.parent().map(PathBuf::from));
    dirs.dedup();
    logs::plan(&mut plan, dirs, config.events_file.clone());
    let events = config.events_file.clone();
    plan.add("last events", move |sink| {
        let text = read::file(&events, 4 << 20, End::Last)?;
        sink.file(
            "events-metadata.json",
            metadata(&String::from_utf8_lossy(&text)),
        );
        Ok(())
    });
    for (name, dir) in [
        ("security-agent", "security-agent"),
        ("system-probe", "system-probe"),
    ] {
        let found = process::find(name)
            .into_iter()
            .find(|pid| *pid != std::process::id());
        match found {
            Some(pid) => process::plan(&mut plan, dir, pid),
            None => plan.add("process", move |_| {
                Err(format!("no process {name} can be seen"))
            }),
        }
    }
    host::plan(&mut plan, everything);
    plan
}

fn put(archive: &mut Archive, part: Part) -> Result<(), ArchiveError> {
    match part {
        Part::File(file) => archive.add(&file.name, &file.content),
        Part::Error(collector, error) => {
            archive.note(&collector, &error);
            Ok(())
        }
        Part::Done(collector, time) => {
            archive.note(&collector, &format!("done in {} ms", time.as_millis()));
            Ok(())
        }
    }
}

/// Of the last events when, which rule, which type and how large; nothing of what was observed.
fn metadata(lines: &str) -> String {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut last = Vec::new();
    let mut broken = 0u64;
    for line in lines.lines().filter(|line| line.starts_with('{')) {
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            broken += 1;
            continue;
        };
        let rule = event["message"]["agent"]["rule_id"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        *counts.entry(rule.clone()).or_default() += 1;
        last.push(json!({
            "timestamp": event["timestamp"],
            "status": event["status"],
            "rule_id": rule,
            "type": event["message"]["evt"]["name"],
            "bytes": line.len(),
        }));
    }
    let from = last.len().saturating_sub(EVENTS);
    let text =
        json!({ "events_by_rule": counts, "broken_lines": broken, "last": last.split_off(from) });
    format!("{text:#}\n")
}

#[cfg(test)]
mod tests {
    use super::metadata;

    #[test]
    fn metadata_tells_nothing_of_what_was_observed() {
        let line = r#"{"timestamp":5,"status":"info","message":{"agent":{"rule_id":"r1"},"evt":{"name":"open"},"file":{"path":"/home/bob/private"}}}"#;
        let text = metadata(&format!(
            "[the first 9 bytes are left out]\n{line}\n{line}\n{{broken\n"
        ));
        assert!(!text.contains("private"), "{text}");
        for part in [
            "\"r1\": 2",
            "\"broken_lines\": 1",
            "\"type\": \"open\"",
            "\"timestamp\": 5",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
