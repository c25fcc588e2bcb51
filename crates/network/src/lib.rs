//! Network: interfaces, and the classifiers on them, of every network namespace.
//!
//! - [`tc`]: what is attached to an interface, in the order in which the kernel runs it.
//! - [`interface`]: the interfaces of a network namespace.
//! - [`netlink`]: rtnetlink requests, answered in full or not at all.
//! - [`bpf`]: the few bpf(2) calls that the above need.
//!
//! - [`netns`]: namespaces, and work inside them.
//! - [`manager`]: keeps our classifiers on every interface of every namespace.
//!
//! A network namespace is a property of the calling thread: what lists or changes interfaces works on the namespace that the thread is in.

pub mod bpf;
pub mod doctor;
mod error;
pub mod interface;
pub mod manager;
pub mod netlink;
pub mod netns;
pub mod tc;

pub use error::Error;
pub use interface::{Interface, interfaces};
