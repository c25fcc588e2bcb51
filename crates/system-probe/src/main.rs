//! system-probe: the privileged half of Atalaya. It sees events through eBPF, decides with rules, and serves the
//! security-agent on a unix socket.
#![forbid(unsafe_code)]

mod cli;
mod doctor;
mod network;
mod preflight;
mod run;
mod signals;
mod source;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
