//! `runtime …`: the tree of commands that both programs have.

use std::process::ExitCode;

use anyhow::Result;
use atalaya_config::{Config, Program};
use clap::Subcommand;

use crate::ask::{patiently, runtime};
use crate::live::{tail, top, tree, why};
use crate::{Global, doctor, dumps, events, policy, process_cache, replay, self_test};

/// Runtime security commands.
#[derive(Subcommand, Debug)]
pub enum Runtime {
    /// Let system-probe prove that it sees events
    SelfTest,
    /// Policies
    #[command(subcommand)]
    Policy(policy::Policy),
    /// The process tree
    #[command(subcommand)]
    ProcessCache(process_cache::ProcessCache),
    /// Network namespaces
    #[command(subcommand)]
    NetworkNamespace(dumps::NetworkNamespace),
    /// What the kernel filters
    #[command(subcommand)]
    Discarders(dumps::Discarders),
    /// Packets and who is on their way
    #[command(subcommand)]
    Network(doctor::Network),
    /// Show events as they come
    Events(events::Args),
    /// Show who causes events and cost, page after page
    Top(top::Args),
    /// Show events as they come, each below the process that did it
    Tail(tail::Args),
    /// Show a process with its ancestors and descendants
    Tree(tree::Args),
    /// Tell why an event is one: what matched, with the values, and who did it
    Why(why::Args),
    /// Try policies on recorded events: how often each rule would have matched, and on what
    Replay(replay::Args),
}

/// What only one of the programs can do.
pub trait Own {
    /// Which program it is.
    fn program(&self) -> Program;

    /// `runtime network doctor` without a running system-probe; `None`: system-probe is asked.
    ///
    /// # Errors
    /// The report cannot be made.
    fn doctor(&self, config: &Config, json: bool, all: bool) -> Option<Result<ExitCode>>;

    /// `runtime policy download`.
    ///
    /// # Errors
    /// What the person at the terminal reads.
    fn download(&self, config: &Config, args: &policy::download::Args) -> Result<ExitCode>;
}

impl Runtime {
    /// Runs the command.
    ///
    /// # Errors
    /// What the person at the terminal reads.
    pub fn run(&self, global: &Global, own: &dyn Own) -> Result<ExitCode> {
        let config = global.config(own.program())?;
        if let Self::Network(doctor::Network::Doctor(args)) = self
            && let Some(done) = own.doctor(&config, args.json, args.all)
        {
            return done;
        }
        if let Self::Policy(policy::Policy::Download(args)) = self {
            return own.download(&config, args);
        }
        runtime()?.block_on(self.ask(&config, global.color()))
    }

    /// The commands that talk to system-probe.
    async fn ask(&self, config: &Config, color: bool) -> Result<ExitCode> {
        let socket = &config.socket;
        match self {
            Self::Policy(command) => command.run(config).await,
            Self::Events(args) => events::run(socket, args, color).await,
            Self::Top(args) => top::run(socket, args, color).await,
            Self::Tail(args) => tail::run(socket, args, color).await,
            Self::Tree(args) => patiently(tree::run(socket, args, color)).await,
            Self::Why(args) => why::run(args, config, color),
            Self::Replay(args) => replay::run(args, config, color),
            Self::SelfTest => self_test::command(config).await,
            Self::Network(doctor::Network::Doctor(args)) => {
                patiently(doctor::run(socket, args.json)).await
            }
            Self::NetworkNamespace(dumps::NetworkNamespace::Dump(args)) => {
                patiently(dumps::namespaces(socket, args)).await
            }
            Self::Discarders(dumps::Discarders::Dump) => patiently(dumps::discarders(socket)).await,
            Self::ProcessCache(process_cache::ProcessCache::Dump(args)) => {
                patiently(process_cache::dump(socket, args)).await
            }
        }
    }
}
