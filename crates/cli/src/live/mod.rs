//! Live views: who causes events (`top`), events in their tree (`tail`), one process's family (`tree`), and why an event is one (`why`).

pub(crate) mod filter;
pub(crate) mod lineage;
pub(crate) mod tail;
pub(crate) mod top;
pub(crate) mod tree;
pub(crate) mod why;
