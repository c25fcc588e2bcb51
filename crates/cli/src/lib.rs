//! The command line that both programs share: `runtime …`, `status`, and what each command needs before it runs.
//!
//! - [`Global`]: the arguments that every command takes, and the configuration they lead to.
//! - [`Runtime`]: the tree of `runtime` commands. `system-probe runtime` and `security-agent runtime` are the same; what only one of
//!   the programs can do (`network doctor` without a running probe, outgoing connections) it passes in as its [`Own`].
//! - [`mod@ask`] asks system-probe over its socket, with a time limit and errors for people.
//! - [`Config`]: the tree of `config` commands.
//! - [`logging`]: the log of the two programs, and how much of it there is.
//! - [`reference`]: completions, man pages and the reference page, made from the commands.
//! - [`mod@status`] is the command `status`.
//!
//! A command is a file: its arguments, what it asks, what it prints. To add one is to add a file and an entry in `runtime.rs`.
#![forbid(unsafe_code)]

mod agent;
pub mod ask;
mod config;
mod deprecated;
mod doctor;
mod dump_file;
mod dumps;
mod events;
mod global;
mod line;
mod live;
pub mod logging;
mod policy;
mod process_cache;
mod records;
pub mod reference;
mod replay;
mod runtime;
mod self_test;
pub mod status;

pub use config::Config;
pub use deprecated::arguments;
pub use global::Global;
pub use line::{Style, render};
pub use policy::download;
pub use runtime::{Own, Runtime};
