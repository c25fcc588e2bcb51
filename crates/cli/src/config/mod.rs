//! `config …`: what is configured, where it came from, whether it is right, and changing it while the programs run.

mod change;
mod check;
mod list;

use std::process::ExitCode;

use anyhow::Result;
use atalaya_config::Program;
use clap::Subcommand;

use crate::Global;
use crate::ask::{patiently, runtime};

/// `config …`
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Config {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: list::Args,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Show the settings, and where each came from; so does `config` alone
    List(list::Args),
    /// Show the settings that can be changed while the programs run
    #[command(
        after_help = "Examples:\n  security-agent config list-runtime\n  security-agent config list-runtime --json"
    )]
    ListRuntime {
        /// As JSON
        #[arg(long, short = 'j')]
        json: bool,
    },
    /// Show one setting: its value, every place that has set it, what it does
    Get(list::Get),
    /// Change a setting of the running programs, until they are restarted
    Set(change::Set),
    /// Take back what `config set` has changed
    Unset(change::Unset),
    /// Check configuration files; exits with 1 when something has no effect, or another one than was meant
    Check(check::Args),
    /// Let the running programs read their configuration and the policies again
    Reload(change::Reload),
}

impl Config {
    /// Runs the command.
    ///
    /// # Errors
    /// What the person at the terminal reads.
    pub fn run(&self, global: &Global, program: Program) -> Result<ExitCode> {
        let Some(command) = &self.command else {
            return list::run(&self.list, global, program);
        };
        match command {
            Command::List(args) => list::run(args, global, program),
            Command::ListRuntime { json } => list::runtime_settings(*json),
            Command::Get(args) => list::get(args, global, program),
            Command::Check(args) => check::run(args, global, program),
            Command::Set(args) => {
                let socket = global.config(program)?.socket;
                runtime()?.block_on(patiently(change::set(args, &socket)))
            }
            Command::Unset(args) => {
                let socket = global.config(program)?.socket;
                runtime()?.block_on(patiently(change::unset(args, &socket)))
            }
            Command::Reload(args) => {
                let socket = global.config(program)?.socket;
                runtime()?.block_on(patiently(change::reload(args, &socket)))
            }
        }
    }
}
