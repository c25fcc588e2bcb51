//! What the rules of one event type share.

mod scratch;

pub use scratch::Scratch;
