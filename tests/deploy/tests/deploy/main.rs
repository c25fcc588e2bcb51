//! What operators install: see the crate's documentation.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod booted;
mod docker;
mod helm;
mod host;
mod notify;
mod packages;
mod pages;
mod pod;
mod systemd;
