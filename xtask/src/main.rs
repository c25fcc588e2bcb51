//! The developer's commands: `cargo xtask COMMAND`, or `./dev COMMAND`, which installs what is missing first.
#![forbid(unsafe_code)]

mod bench;
mod daemons;
mod dist;
mod docs;
mod fuzz;
mod matrix;
mod page;
mod reap;
mod report;
mod run;
mod test;
mod test_all;
mod util;
mod verifier;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer commands of Atalaya.
#[derive(Parser)]
#[command(name = "xtask", bin_name = "./dev")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build, start both programs with the shipped policy, and show live events until Ctrl-C.
    Run(run::Args),
    /// Run every check and test; the last line counts them.
    Test(test::Args),
    /// Run what `test` leaves out: all kernels in all tiers, and machines on which something is missing.
    TestAll(test_all::Args),
    /// Run the end-to-end tests, or a command, on stock Debian kernels in QEMU.
    Vmtest(vm::Args),
    /// Compare what each eBPF program costs the kernel's verifier with what was reviewed.
    Verifier(verifier::Args),
    /// Measure what the agent costs on this kernel.
    Bench(bench::Args),
    /// Fuzz the parsers of hostile input for a bounded time.
    Fuzz(fuzz::Args),
    /// Make the packages (.deb, .rpm) and the image for containers.
    Dist(dist::Args),
    /// Write the generated reference pages anew.
    Docs(docs::Args),
    /// Build the explorer's page anew, after a change of its sources.
    Page(page::Args),
    /// Clean up after a command that was killed (started by the commands themselves).
    #[command(hide = true)]
    Reap(reap::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::main(&args),
        Command::Test(args) => test::main(&args),
        Command::TestAll(args) => test_all::main(&args),
        Command::Vmtest(args) => vm::main(&args),
        Command::Fuzz(args) => fuzz::main(&args),
        Command::Verifier(args) => verifier::main(&args),
        Command::Bench(args) => bench::main(&args),
        Command::Dist(args) => dist::main(&args),
        Command::Docs(args) => docs::main(&args),
        Command::Page(args) => page::main(&args),
        Command::Reap(args) => reap::main(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
