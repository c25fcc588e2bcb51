//! Arguments, configuration, logging.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use atalaya_config::{Config, Loaded, Problem, Program, Severity, Sources};
use clap::{Args, Parser, Subcommand};

/// The privileged half of Atalaya: sees events through eBPF and decides with rules.
#[derive(Parser)]
#[command(name = "system-probe", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run until stopped (SIGTERM, SIGINT); SIGHUP reads the policies again, and network.enabled
    Run(Run),
    /// Print the version
    Version,
    /// Runtime security commands
    #[command(subcommand)]
    Runtime(Runtime),
}

#[derive(Subcommand)]
enum Runtime {
    /// Packets and who is on their way
    #[command(subcommand)]
    Network(Network),
}

#[derive(Subcommand)]
enum Network {
    /// Look at the classifiers of every interface of every network namespace: whether other vendors' end the chain before ours, and
    /// which classifier_priority is right. Changes nothing; works without a running system-probe. Exits with 1 where a person should
    /// do something
    Doctor {
        /// Configuration file, or a directory with system-probe.yaml and security-agent.yaml. May be given several times; the last
        /// one wins
        #[arg(short = 'c', long, visible_alias = "cfgpath", value_name = "FILE")]
        config: Vec<PathBuf>,
        /// As JSON
        #[arg(long, short = 'j')]
        json: bool,
        /// Also interfaces that have no classifier
        #[arg(long)]
        all: bool,
    },
}

#[derive(Args)]
pub(crate) struct Run {
    /// Configuration file, or a directory with system-probe.yaml and security-agent.yaml. May be given several times;
    /// the last one wins
    #[arg(short = 'c', long, visible_alias = "cfgpath", value_name = "FILE")]
    config: Vec<PathBuf>,
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
    fn load(&self) -> Result<Loaded> {
        let mut sources = sources(&self.config);
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

/// Where the configuration is: these files, or the usual ones.
fn sources(files: &[PathBuf]) -> Sources {
    let mut files = files.iter();
    let mut sources = Sources::standard(Program::SystemProbe, files.next().map(PathBuf::as_path));
    sources.files.extend(files.map(|f| (f.clone(), true)));
    sources
}

/// Runs the command, and prints what went wrong: one line, the chain of causes.
pub(crate) fn run() -> ExitCode {
    match dispatch() {
        Ok(code) => code,
        Err(e) => {
            eprintln!(
                "Error: {}",
                atalaya_api::sanitize(&atalaya_api::chain(e.as_ref()))
            );
            ExitCode::FAILURE
        }
    }
}

fn dispatch() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Version => {
            use std::io::Write;
            let _ = writeln!(
                std::io::stdout(),
                "system-probe {}",
                env!("CARGO_PKG_VERSION")
            );
            Ok(ExitCode::SUCCESS)
        }
        Command::Runtime(Runtime::Network(Network::Doctor { config, json, all })) => {
            let loaded = sources(&config).load()?;
            for problem in &loaded.problems {
                if problem.severity >= Severity::Warning {
                    eprintln!("{}", atalaya_api::sanitize(&problem.to_string()));
                }
            }
            crate::doctor::run(&loaded.config, json, all)
        }
        Command::Run(run) => {
            let loaded = run.load()?;
            init_logging(&loaded.config);
            log_problems(&loaded.problems);
            let again = || run.load().map(|loaded| loaded.config);
            crate::run::run(&loaded.config, run.output.as_deref(), again)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn init_logging(config: &Config) {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .with_env_filter(config.log_level.as_str())
        .init();
}

fn log_problems(problems: &[Problem]) {
    for problem in problems {
        match problem.severity {
            Severity::Note => tracing::info!("{problem}"),
            Severity::Warning => tracing::warn!("{problem}"),
            Severity::Error => tracing::error!("{problem}"),
        }
    }
}
