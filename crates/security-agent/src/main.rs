//! security-agent: the unprivileged half of Atalaya. It takes events from system-probe and stores them, and it is the
//! command line with which people ask the probe.
#![forbid(unsafe_code)]

mod cli;
mod download;
mod events;
mod explorer;
mod flare;
mod http;
mod privileges;
mod record;
mod reload;
mod sandbox;
mod start;
mod state;
mod store;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
