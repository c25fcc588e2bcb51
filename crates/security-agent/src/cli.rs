//! Arguments, and what each command needs before it runs.

use std::process::ExitCode;

use anyhow::Result;
use atalaya_cli::ask::{end, out};
use atalaya_cli::{Global, Own, Runtime, arguments, download, reference, status};
use atalaya_config::{Config, Program};
use clap::{CommandFactory, Parser, Subcommand};

use crate::{events, explorer, flare, start};

/// The unprivileged half of Atalaya: takes events from system-probe and stores them; asks system-probe for its state.
#[derive(Parser)]
#[command(name = "security-agent", version)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Take events from system-probe and store them, until stopped
    Start,
    /// Print the version
    Version,
    /// Tell the state of system-probe; exits with 1 when it is not healthy, with 2 when it cannot be reached
    Status(status::Args),
    /// Settings: what they are and where they came from; check, change and reload them
    Config(atalaya_cli::Config),
    /// Collect what support needs to help, hide the secrets in it, and, once you agree, send it
    Flare(flare::Args),
    /// Search the events that are stored on this node, and count them
    #[command(subcommand)]
    Events(events::Command),
    /// The Log Explorer in a browser
    #[command(subcommand)]
    Explorer(explorer::Command),
    /// Print what makes a shell complete the commands
    #[command(hide = true)]
    Completion(reference::Completion),
    /// Write man pages, or print the reference of all commands
    #[command(hide = true)]
    Reference(reference::Reference),
    /// Runtime security commands
    #[command(subcommand)]
    Runtime(Runtime),
}

/// What `runtime` commands get from this program.
struct Agent;

impl Own for Agent {
    fn program(&self) -> Program {
        Program::SecurityAgent
    }

    /// It has not the capabilities for that.
    fn doctor(&self, _: &Config, _: bool, _: bool) -> Option<Result<ExitCode>> {
        None
    }

    fn download(&self, config: &Config, args: &download::Args) -> Result<ExitCode> {
        crate::download::run(config, args)
    }
}

/// Runs the command, and prints what went wrong: one line, the chain of causes.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse_from(arguments());
    end(dispatch(&cli))
}

fn dispatch(cli: &Cli) -> Result<ExitCode> {
    let global = &cli.global;
    match &cli.command {
        Command::Version => {
            out(&format!("security-agent {}\n", env!("CARGO_PKG_VERSION")));
            Ok(ExitCode::SUCCESS)
        }
        Command::Start => {
            let again = global.clone();
            let read = Box::new(move |runtime: &[(&'static str, String)]| {
                let mut sources = again.sources(Program::SecurityAgent);
                sources.runtime = runtime.to_vec();
                Ok(sources.load()?)
            });
            start::run(global.load(Program::SecurityAgent)?, read)
        }
        Command::Status(args) => status::run(
            &global.config(Program::SecurityAgent)?,
            args,
            global.color(),
        ),
        Command::Config(command) => command.run(global, Program::SecurityAgent),
        Command::Flare(args) => flare::run(global, args),
        Command::Events(command) => {
            command.run(&global.config(Program::SecurityAgent)?, global.color())
        }
        Command::Explorer(command) => command.run(&global.config(Program::SecurityAgent)?),
        Command::Completion(args) => reference::completion(args, Cli::command()),
        Command::Reference(args) => reference::reference(args, Cli::command()),
        Command::Runtime(command) => command.run(global, &Agent),
    }
}
