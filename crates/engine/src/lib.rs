//! The event loop that joins sensor, process tree, rules and output; the self-test and the heartbeat.
//!
//! ```text
//! sensor's reader ─▶ queues (vital, bulk) ─▶ event loop: process tree ▶ event ▶ rules ▶ rate limits
//!                                              └─▶ JSON ─▶ spool (for the security-agent), JSON lines (--output)
//! ```
//!
//! [`Engine::start`] does it all; [`Control`] is what the socket's server asks. Where captures come from is behind
//! [`EventSource`], so that everything here is tested without a kernel.
//!
//! Threads: the sensor's reader pushes; `events` is the loop; `housekeeping` counts losses, asks for heartbeats and follows
//! the clock; `self-test` runs it; `output` writes lines; `hash` reads files, `hashed-events` waits for that; `policy-watch`
//! sees policies change; `protection` looks after the agent itself. The loop takes no lock but those of a batch, and waits for
//! nobody outside: a slow reader of the output costs lines, a full disk fills the spool's memory.
#![forbid(unsafe_code)]

mod control;
mod costs;
mod doctor;
mod dump;
mod emit;
mod engine;
mod filters;
mod hashing;
mod history;
mod holders;
mod hostnames;
mod ledger;
mod logging;
mod memory;
mod meter;
mod namespaces;
mod options;
mod output;
mod packets;
mod protection;
mod pulse;
mod queue;
mod reload;
mod report;
mod rules;
mod selftest;
mod source;
mod stats;
mod top;
mod variables;
mod watch;
mod worker;

pub use control::Control;
pub use doctor::ClassifierDoctor;
pub use engine::{Engine, EngineError};
pub use history::HistoryOptions;
pub use hostnames::HostnameOptions;
pub use options::{EngineOptions, HeartbeatOptions, LiveOptions, SelfTestOptions};
pub use output::Output;
pub use protection::{Agents, FileWatcher, ProtectionOptions};
pub use queue::QueueLimits;
pub use selftest::{Outcome, TestRow};
pub use source::{
    ApplyReport, ClassifiersSeen, Damage, EventSource, FilterTable, Integrity, Interest,
    MissingHook, PacketEnforcer, ProgramTime, Ring, Sink, SourceError, SourceReport,
};
