//! The rule language (SECL): text → tokens → syntax tree → typed program → yes or no for an event.
//!
//! The language itself knows no event: fields, their types and constants come from a [`model::Schema`], values from a
//! [`model::EventView`]. [`RuleIndex`] evaluates many rules at once. It does no I/O and never panics on any input; depth and
//! size of what it compiles are bounded.
#![forbid(unsafe_code)]

mod ast;
mod check;
mod compare;
mod compile;
mod domain;
mod error;
mod explain;
mod index;
mod ip;
mod ir;
mod lexer;
pub mod lint;
pub mod model;
mod names;
mod necessary;
mod parser;
mod pattern;
mod print;
mod program;
mod regexp;
mod show;
mod span;
mod validate;
mod value;
mod variables;

pub use ast::{ArithOp, CompareOp, Expr, ExprKind, LogicalOp, UnaryOp};
pub use compile::{MacroSet, Scope, compile_condition, compile_expr, compile_rule};
pub use domain::root_domain;
pub use error::{Error, ErrorKind, nearest};
pub use explain::{Evaluated, Failed, Term};
pub use index::{Effort, KeyCondition, RuleIndex, Scratch};
pub use necessary::{Condition, KERNEL_NUMBERS, Necessary, NumberTest, Target, kernel_number};
pub use parser::{parse, parse_macro};
pub use program::Program;
pub use span::{Span, line_column, snippet};
pub use value::{ValueProgram, compile_value};
pub use variables::{EvalContext, NoVariables, VariableId, VariableInfo, VariableScope, Variables};
