//! The index: what tantivy is told, and what it is asked.

pub(crate) mod candidates;
pub(crate) mod schema;
pub(crate) mod window;
