//! End-to-end tests: the built programs on the running kernel. They need root and eBPF; see the harness for variables.
//! One file a topic. How a test fills the matrix of events, kernels and tiers: see the harness (`Setup::rule` and
//! `EventLog::expect` do it; `Probe::sees` is for events that a kernel may not have).
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod actions;
mod attach;
mod classifiers;
mod cli;
mod common;
mod compat;
mod config;
mod containers;
mod delivery;
mod errors;
mod exec;
mod explorer;
mod files;
mod files_attributes;
mod files_names;
mod flare;
mod hostile;
mod kernel_calls;
mod limits;
mod lineage;
mod live;
mod load;
mod losses;
mod matrix;
mod metrics;
mod mounts;
mod names;
mod network;
mod packet_filters;
mod packets;
mod page;
mod policy;
mod process_calls;
mod reference;
mod reload;
mod runtimes;
mod sandbox;
mod schema;
mod self_protection;
mod selftest;
mod shipped;
mod snapshot;
mod socket;
mod start;
mod status;
mod stop;
#[path = "../../../../crates/network/tests/support/mod.rs"]
mod support;
mod transport;
mod uring;
mod variables;
