//! What a container runs that holds both programs: starts system-probe and security-agent, starts again what has died, and hands on
//! SIGTERM and SIGHUP. Where each has a container of its own, as in a pod, it is not needed.
//!
//! A program that ends with success has nothing to do and is left alone. When system-probe fails again and again the container ends, so that
//! whoever runs it sees that it does not work here; that security-agent fails does not stop the probe.
#![forbid(unsafe_code)]

mod policies;
mod supervise;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use supervise::{Program, Supervisor};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(command) if command == "copy-policies" => {
            copy_policies(&arguments.collect::<Vec<_>>())
        }
        Some(other) => {
            eprintln!(
                "Error: unknown command {other:?}; there is copy-policies FROM… TO, and none: run both programs"
            );
            ExitCode::FAILURE
        }
        None => run(),
    }
}

fn copy_policies(directories: &[OsString]) -> ExitCode {
    match policies::copy(directories) {
        Ok(count) => {
            println!("{count} policy files");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> ExitCode {
    // The programs are beside this one.
    let dir = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.to_owned()))
        .unwrap_or_else(|| PathBuf::from("/usr/bin"));
    let programs = [
        Program::new("system-probe", &dir, &["run"], true),
        Program::new("security-agent", &dir, &["start"], false),
    ];
    match Supervisor::new(programs.into()) {
        Ok(supervisor) => ExitCode::from(supervisor.run()),
        Err(error) => {
            eprintln!("Error: cannot handle signals: {error}");
            ExitCode::FAILURE
        }
    }
}
