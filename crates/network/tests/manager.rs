//! Our classifiers beside those of others, in private namespaces: a node, and pods that are connected to it by veth pairs.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

mod support;

#[path = "manager/discovery.rs"]
mod discovery;
#[path = "manager/replace.rs"]
mod replace;
#[path = "manager/second_vendor.rs"]
mod second_vendor;
#[path = "manager/switching.rs"]
mod switching;
#[path = "manager/world.rs"]
mod world;
