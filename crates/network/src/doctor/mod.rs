//! The network doctor: who is on the way of packets, whether we see them all, and what to do where we do not.

mod helper;
mod image;
mod interpret;
mod number;
mod operation;
mod program;
mod state;
mod symbols;
mod verdict;

pub use program::Reader;
pub use symbols::Symbols;
pub use verdict::{Class, Finding};
