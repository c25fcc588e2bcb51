//! system-probe: the privileged half of Atalaya. It sees events through eBPF, decides with rules, and serves the
//! security-agent on a unix socket.
#![forbid(unsafe_code)]

mod cli;
mod costs;
mod doctor;
mod flare;
mod network;
mod preflight;
mod run;
mod settings;
mod signals;
mod source;
mod watchdog;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
