//! The evasion suite: ways to do a thing so that a watcher does not see it, or sees something else.
//!
//! A [`Row`] is a small real program (an arm of `evasion-helper`, by the row's id), the rules that should tell it, and what must then
//! be in the events. A way that a tier of hooks cannot see is a row with a [`Limit`]: never a missing row. The suite fails when a
//! row is not as it says, and also when a limit is none any more, so that `docs/evasion.md`, which is made of the rows, stays true.
//!
//! `cargo test -p atalaya-evasion` runs all rows under one system-probe and prints the table; it needs what the end-to-end tests need
//! (see `atalaya_e2e`) and takes words that row ids must contain, `--list`, and `--update` (writes the page anew).

mod page;
mod row;
mod rows;
mod seen;
mod tier;

pub use page::{PAGE, page};
pub use row::{Limit, Row};
pub use rows::{TOPICS, Topic, all};
pub use seen::{Check, Run, Seen};
pub use tier::{ALL, KPROBE, LSM, TRACEPOINT, TRACEPOINT_OLD, TRACEPOINTS, Tier};
