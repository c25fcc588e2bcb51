//! The rule language (SECL): text → tokens → syntax tree → typed program → yes or no for an event.
//!
//! The language itself knows no event: fields, their types and constants come from a [`model::Schema`], values from a
//! [`model::EventView`]. It does no I/O and never panics on any input; depth and size of what it compiles are bounded.
#![forbid(unsafe_code)]

pub mod model;
mod necessary;
mod program;
mod variables;

pub use necessary::{Condition, Necessary, Target};
pub use program::Program;
pub use variables::{EvalContext, NoVariables, VariableId, VariableInfo, VariableScope, Variables};
