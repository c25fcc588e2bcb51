//! security-agent: the unprivileged half of Atalaya. It takes events from system-probe and stores them, and it is the
//! command line with which people ask the probe.
#![forbid(unsafe_code)]

mod cli;
mod doctor;
mod events;
mod line;
mod policy;
mod privileges;
mod process_cache;
mod record;
mod self_test;
mod start;
mod status;
mod store;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
