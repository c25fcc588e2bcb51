//! Arguments, configuration, logging.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use atalaya_cli::ask::{end, out};
use atalaya_cli::{Global, Own, Runtime, arguments, download, logging, reference, status};
use atalaya_config::{Config, Loaded, Program};
use clap::{Args, CommandFactory, Parser, Subcommand};

/// The privileged half of Atalaya: sees events through eBPF and decides with rules.
#[derive(Parser)]
#[command(name = "system-probe", version)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run until stopped (SIGTERM, SIGINT); SIGHUP reads the policies again, and network.enabled
    Run(Run),
    /// Print the version
    Version,
    /// Tell the state of the running system-probe; exits with 1 when it is not healthy, with 2 when it cannot be reached
    Status(status::Args),
    /// Settings: what they are and where they came from; check, change and reload them
    Config(atalaya_cli::Config),
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

#[derive(Args, Clone)]
pub(crate) struct Run {
    /// Directory of the policy files (runtime_security_config.policies.dir)
    #[arg(long, value_name = "DIR")]
    policies_dir: Option<PathBuf>,
    /// Write events as JSON lines to this file as well; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// off, error, warn, info, debug or trace (log_level)
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

impl Run {
    fn load(&self, global: &Global, runtime: &[(&'static str, String)]) -> Result<Loaded> {
        let mut sources = global.sources(Program::SystemProbe);
        sources.runtime = runtime.to_vec();
        if let Some(dir) = &self.policies_dir {
            // Relative to where the command was given, unlike in a file.
            let dir = std::path::absolute(dir)?;
            sources.flags.push((
                "runtime_security_config.policies.dir",
                dir.display().to_string(),
            ));
        }
        if let Some(level) = &self.log_level {
            sources.flags.push(("log_level", level.clone()));
        }
        Ok(sources.load()?)
    }
}

/// What `runtime` commands get from this program.
struct Probe;

impl Own for Probe {
    fn program(&self) -> Program {
        Program::SystemProbe
    }

    fn doctor(&self, config: &Config, json: bool, all: bool) -> Option<Result<ExitCode>> {
        Some(crate::doctor::run(config, json, all))
    }

    /// It opens no connection to another machine, not even when a person asks.
    fn download(&self, _: &Config, _: &download::Args) -> Result<ExitCode> {
        bail!("system-probe opens no connections; use `security-agent runtime policy download`")
    }
}

/// Runs the command, and prints what went wrong: one line, the chain of causes.
pub(crate) fn run() -> ExitCode {
    end(dispatch(&Cli::parse_from(arguments())))
}

fn dispatch(cli: &Cli) -> Result<ExitCode> {
    let global = &cli.global;
    match &cli.command {
        Command::Version => {
            out(&format!("system-probe {}\n", env!("CARGO_PKG_VERSION")));
            Ok(ExitCode::SUCCESS)
        }
        Command::Status(args) => {
            status::run(&global.config(Program::SystemProbe)?, args, global.color())
        }
        Command::Config(command) => command.run(global, Program::SystemProbe),
        Command::Completion(args) => reference::completion(args, Cli::command()),
        Command::Reference(args) => reference::reference(args, Cli::command()),
        Command::Runtime(command) => command.run(global, &Probe),
        Command::Run(run) => {
            let loaded = run.load(global, &[])?;
            let log = logging::init(loaded.config.log_level);
            logging::problems(&loaded.problems);
            let (again, global) = (run.clone(), global.clone());
            let read = Box::new(move |runtime: &[_]| again.load(&global, runtime));
            crate::run::run(loaded, run.output.as_deref(), log, read)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
