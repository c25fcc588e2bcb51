//! `runtime events`: events as they come.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use atalaya_api::proto::{GetEventStreamParams, SecurityEventMessage};
use atalaya_api::{Client, sanitize_json};
use tonic::Streaming;

use crate::ask::{answer, connect};
use crate::line::{Style, render};

/// Arguments of `runtime events`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// As JSON lines, also on a terminal
    #[arg(long)]
    json: bool,
}

/// Shows events until interrupted, or until nobody reads them any more. A probe that restarts is waited for.
pub(crate) async fn run(socket: &Path, args: &Args, color: bool) -> Result<ExitCode> {
    let terminal = io::stdout().is_terminal();
    let form = if args.json || !terminal {
        Form::Json { terminal }
    } else {
        Form::Line(Style { color })
    };
    follow(socket, |message| show(message, form)).await
}

/// Gives each event to `show` as it comes, until nobody reads what it prints any more. A probe that restarts is waited for.
pub(crate) async fn follow(
    socket: &Path,
    mut show: impl FnMut(&SecurityEventMessage) -> io::Result<()>,
) -> Result<ExitCode> {
    // The first time a probe that is not there is an error; later it is one that restarts.
    let mut client = connect(socket).await?;
    let mut opened = open(&mut client).await?;
    loop {
        while let Ok(Some(message)) = opened.message().await {
            if message.missed > 0 {
                eprintln!(
                    "({} events were missed: this reader is too slow)",
                    message.missed
                );
            }
            match show(&message) {
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
                result => result?,
            }
        }
        eprintln!("(system-probe went away; waiting for it)");
        opened = loop {
            client = Client::connect_patiently(socket, |_, _| {}).await;
            match open(&mut client).await {
                Ok(stream) => break stream,
                // It was still the one that goes away.
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        };
        eprintln!("(connected again)");
    }
}

async fn open(client: &mut Client) -> Result<Streaming<SecurityEventMessage>> {
    let params = GetEventStreamParams {
        consumer: String::new(),
        live: true,
    };
    let opened = client.events.get_event_stream(params).await;
    Ok(opened
        .map_err(|e| answer("cannot get events", &e))?
        .into_inner())
}

#[derive(Clone, Copy)]
enum Form {
    Json { terminal: bool },
    Line(Style),
}

fn show(message: &SecurityEventMessage, form: Form) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match form {
        Form::Line(style) => writeln!(out, "{}", render(message, style))?,
        Form::Json { terminal: false } => {
            out.write_all(&message.data)?;
            out.write_all(b"\n")?;
        }
        Form::Json { terminal: true } => writeln!(
            out,
            "{}",
            sanitize_json(&String::from_utf8_lossy(&message.data))
        )?,
    }
    out.flush()
}
