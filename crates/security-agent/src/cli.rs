//! Arguments, and what each command needs before it runs.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use atalaya_api::Client;
use atalaya_config::{Config, Loaded, Program, Severity, Sources};
use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio::time::timeout;

use crate::{doctor, events, policy, process_cache, self_test, start, status};

/// The unprivileged half of Atalaya: takes events from system-probe and stores them; asks system-probe for its state.
#[derive(Parser)]
#[command(name = "security-agent", version)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
pub(crate) struct Global {
    /// Configuration file, or a directory with security-agent.yaml and system-probe.yaml. May be given several times;
    /// the last one wins
    #[arg(
        short = 'c',
        long = "cfgpath",
        visible_alias = "config",
        value_name = "FILE",
        global = true
    )]
    config: Vec<PathBuf>,
    /// Another configuration file, that of system-probe
    #[arg(long, value_name = "FILE", global = true)]
    sysprobe_config: Option<PathBuf>,
    /// No colours
    #[arg(short = 'n', long, global = true)]
    no_color: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Take events from system-probe and store them, until stopped
    Start,
    /// Print the version
    Version,
    /// Tell the state of system-probe; exits with 1 when it is not healthy, with 2 when it cannot be reached
    Status {
        /// As JSON
        #[arg(long, short = 'j')]
        json: bool,
    },
    /// Runtime security commands
    #[command(subcommand)]
    Runtime(Runtime),
}

#[derive(Subcommand)]
enum Runtime {
    /// Let system-probe prove that it sees events
    SelfTest,
    /// Policies
    #[command(subcommand)]
    Policy(policy::Policy),
    /// The process tree
    #[command(subcommand)]
    ProcessCache(ProcessCache),
    /// Packets and who is on their way
    #[command(subcommand)]
    Network(Network),
    /// Show events as they come
    Events {
        /// As JSON lines, also on a terminal
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum Network {
    /// Let system-probe look at the classifiers of every interface: whether other vendors' end the chain before ours, and which
    /// classifier_priority is right; exits with 1 where a person should do something, with 2 when system-probe cannot be asked
    Doctor {
        /// As JSON
        #[arg(long, short = 'j')]
        json: bool,
    },
}

#[derive(Subcommand)]
enum ProcessCache {
    /// Write the process tree to a file
    Dump {
        /// Form of the file
        #[arg(long, value_enum, default_value_t = DumpFormat::Dot)]
        format: DumpFormat,
        /// With the arguments of each process
        #[arg(long)]
        with_args: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum DumpFormat {
    Dot,
    Json,
}

impl Global {
    /// Reads the configuration. Problems go to stderr, unless the caller logs them.
    fn load(&self, print_problems: bool) -> Result<Loaded> {
        let mut files = self.config.iter();
        let mut sources =
            Sources::standard(Program::SecurityAgent, files.next().map(PathBuf::as_path));
        sources.files.extend(files.map(|f| (f.clone(), true)));
        if let Some(file) = &self.sysprobe_config {
            sources.files.insert(0, (file.clone(), true));
        }
        let loaded = sources.load()?;
        if print_problems {
            let problems = loaded.problems.iter();
            for problem in problems.filter(|p| p.severity >= Severity::Warning) {
                eprintln!("{}", atalaya_api::sanitize(&problem.to_string()));
            }
        }
        Ok(loaded)
    }

    fn config(&self) -> Result<Config> {
        Ok(self.load(true)?.config)
    }

    /// Whether to print colours.
    fn color(&self) -> bool {
        !self.no_color
            && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
            && std::io::stdout().is_terminal()
    }
}

/// Runs the command, and prints what went wrong: one line, the chain of causes.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(&cli) {
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

fn dispatch(cli: &Cli) -> Result<ExitCode> {
    let global = &cli.global;
    match &cli.command {
        Command::Version => {
            out(&format!("security-agent {}\n", env!("CARGO_PKG_VERSION")));
            Ok(ExitCode::SUCCESS)
        }
        Command::Start => start::run(global.load(false)?),
        Command::Status { json } => {
            let config = global.config()?;
            runtime()?.block_on(status::run(&config, *json, global.color()))
        }
        Command::Runtime(command) => {
            let config = global.config()?;
            runtime()?.block_on(ask(command, &config, global.color()))
        }
    }
}

/// The commands that talk to system-probe.
async fn ask(command: &Runtime, config: &Config, color: bool) -> Result<ExitCode> {
    let socket = &config.socket;
    match command {
        Runtime::Policy(command) => command.run(config).await,
        Runtime::Events { json } => events::run(socket, *json, color).await,
        Runtime::SelfTest => {
            // It waits for three events, at worst one after the other.
            let time = config.self_test_timeout.get() * 3 + Duration::from_secs(10);
            match timeout(time, self_test::run(socket)).await {
                Ok(result) => result,
                Err(_) => Ok(self_test::no_answer(time)),
            }
        }
        Runtime::Network(Network::Doctor { json }) => patiently(doctor::run(socket, *json)).await,
        Runtime::ProcessCache(ProcessCache::Dump { format, with_args }) => {
            patiently(process_cache::dump(socket, *format, *with_args)).await
        }
    }
}

/// How long system-probe may take to answer a command that is not known to take long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Does what asks system-probe. One that is stopped, or hangs, is an error, not a wait for ever.
pub(crate) async fn patiently<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let late = || {
        format!(
            "system-probe does not answer within {} s",
            PATIENCE.as_secs()
        )
    };
    timeout(PATIENCE, work).await.with_context(late)?
}

/// Prints to stdout. That nobody reads it any more (`| head`) is no error.
pub(crate) fn out(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// One thread is enough for a client.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")
}

/// Connects, or says how to mend it.
pub(crate) async fn connect(socket: &std::path::Path) -> Result<Client> {
    Ok(Client::connect(socket).await?)
}

/// The error a server answered with, without gRPC's own words.
pub(crate) fn answer(what: &str, status: &tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{what}: {}", status.message())
}
