//! The attacking programs of the evasion suite: `evasion-helper ROW DIR`, one arm a row.
//!
//! An arm works in the row's own directory and prints what is true of what it did, a `name value` a line, so that the suite can hold
//! what was told against it. Exit code 77 and a line on standard error: this kernel has not what the row takes.
#![allow(
    unsafe_code,
    reason = "raw system calls, other entries into the kernel and shared memory are what this program is for"
)]

mod arguments;
mod descriptors;
mod entries;
mod fault;
mod memory;
mod mounts;
mod network;
mod paths;
mod place;
mod processes;
mod programs;
mod raw;
mod uring;

use std::path::PathBuf;
use std::process::ExitCode;

use place::{Done, Place, Stop};

type Arm = fn(&Place) -> Done;

/// All arms, by topic as the rows are.
const ARMS: &[&[(&str, Arm)]] = &[
    paths::ARMS,
    mounts::ARMS,
    programs::ARMS,
    processes::ARMS,
    descriptors::ARMS,
    entries::ARMS,
    arguments::ARMS,
    network::ARMS,
    memory::ARMS,
];

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let (Some(row), Some(dir)) = (words.first(), words.get(1)) else {
        eprintln!("usage: evasion-helper ROW DIR");
        return ExitCode::from(2);
    };
    let mut arms = ARMS.iter().flat_map(|arms| arms.iter());
    let Some((_, arm)) = arms.find(|(name, _)| row == name) else {
        eprintln!("no such row: {}", row.display());
        return ExitCode::from(2);
    };
    match arm(&Place::new(PathBuf::from(dir))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Unavailable(why)) => {
            eprintln!("{why}");
            ExitCode::from(77)
        }
        Err(Stop::Failed(why)) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
