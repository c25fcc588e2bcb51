//! The rows, one topic a file.

mod mounts;
mod paths;
mod programs;

use crate::Row;

/// Rows of one topic.
pub struct Topic {
    /// The heading on the page.
    pub title: &'static str,
    /// Its rows.
    pub rows: &'static [Row],
}

/// All topics, in the page's order.
pub static TOPICS: &[Topic] = &[
    Topic {
        title: "Names and paths",
        rows: paths::ROWS,
    },
    Topic {
        title: "Mounts",
        rows: mounts::ROWS,
    },
    Topic {
        title: "Programs",
        rows: programs::ROWS,
    },
];

/// All rows.
pub fn all() -> impl Iterator<Item = &'static Row> {
    TOPICS.iter().flat_map(|topic| topic.rows)
}
