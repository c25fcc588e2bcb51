//! `config set`, `config unset`, `config reload`: changing the programs that run.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use atalaya_api::{Sanitized, proto};

use crate::ask::{answer, connect, out};

/// Arguments of `config set`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  security-agent config set log_level debug\n  security-agent config set runtime_security_config.event_server.rate 50\n\n\
                  system-probe and the security-agent that is connected to it follow at once. Files are not changed."
)]
pub(super) struct Set {
    /// The setting's name; `config list-runtime` shows those that can be set
    #[arg(value_name = "KEY")]
    key: String,
    /// Its value, as in an environment variable
    #[arg(value_name = "VALUE")]
    value: String,
}

/// Arguments of `config unset`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  security-agent config unset log_level")]
pub(super) struct Unset {
    /// The setting's name
    #[arg(value_name = "KEY")]
    key: String,
}

/// Arguments of `config reload`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  security-agent config reload\n\nSIGHUP to one of the programs does the same for that one. A file with an error changes nothing."
)]
pub(super) struct Reload {}

pub(super) async fn set(args: &Set, socket: &Path) -> Result<ExitCode> {
    change(socket, &args.key, &args.value, false).await
}

pub(super) async fn unset(args: &Unset, socket: &Path) -> Result<ExitCode> {
    change(socket, &args.key, "", true).await
}

async fn change(socket: &Path, key: &str, value: &str, unset: bool) -> Result<ExitCode> {
    let mut client = connect(socket).await?;
    let params = proto::SetSettingParams {
        key: key.to_ascii_lowercase(),
        value: value.to_owned(),
        unset,
    };
    let done = client.commands.set_setting(params).await;
    tell(
        &done
            .map_err(|e| answer("the setting was not changed", &e))?
            .into_inner(),
    );
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn reload(_: &Reload, socket: &Path) -> Result<ExitCode> {
    let mut client = connect(socket).await?;
    let done = client
        .commands
        .reload_config(proto::ReloadConfigParams {})
        .await;
    tell(
        &done
            .map_err(|e| answer("the configuration was not read again", &e))?
            .into_inner(),
    );
    Ok(ExitCode::SUCCESS)
}

fn tell(done: &proto::ReloadConfigMessage) {
    for problem in &done.problems {
        eprintln!("{}", Sanitized(problem));
    }
    out(&text(done));
}

/// What has changed, a line each, and who follows.
fn text(done: &proto::ReloadConfigMessage) -> String {
    let mut text = String::new();
    for change in &done.changes {
        let (key, before, after) = (
            Sanitized(&change.key),
            Sanitized(&change.before),
            Sanitized(&change.after),
        );
        text += &if change.in_force {
            format!("{key}: {after} (was {before})\n")
        } else {
            format!("{key}: {after} after a restart of system-probe (until then {before})\n")
        };
    }
    if done.changes.is_empty() {
        text += "system-probe: no setting is different\n";
    }
    text += &format!(
        "policies: {} rules loaded, {} rejected\n",
        done.rules_loaded, done.rules_failed
    );
    text += &match done.told {
        0 => "security-agent: none is connected\n".to_owned(),
        1 => "security-agent: was told to do the same; its log tells what came of it\n".to_owned(),
        many => format!(
            "security-agent: {many} were told to do the same; their logs tell what came of it\n"
        ),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_force_and_what_waits_are_told_apart() {
        let change = |key: &str, in_force| proto::SettingChange {
            key: key.into(),
            before: "1".into(),
            after: "2\x1b[2J".into(),
            in_force,
        };
        let done = proto::ReloadConfigMessage {
            changes: vec![change("a", true), change("b", false)],
            rules_loaded: 3,
            ..Default::default()
        };
        assert_eq!(
            text(&done),
            "a: 2\\x1b[2J (was 1)\nb: 2\\x1b[2J after a restart of system-probe (until then 1)\n\
             policies: 3 rules loaded, 0 rejected\nsecurity-agent: none is connected\n"
        );
    }
}
