//! The rows, one topic a file.

mod arguments;
mod descriptors;
mod entries;
mod memory;
mod mounts;
mod network;
mod paths;
mod processes;
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
    Topic {
        title: "Processes",
        rows: processes::ROWS,
    },
    Topic {
        title: "Descriptors and contents",
        rows: descriptors::ROWS,
    },
    Topic {
        title: "Other entries into the kernel",
        rows: entries::ROWS,
    },
    Topic {
        title: "Arguments that change",
        rows: arguments::ROWS,
    },
    Topic {
        title: "Network",
        rows: network::ROWS,
    },
    Topic {
        title: "Memory and kernel",
        rows: memory::ROWS,
    },
];

/// All rows.
pub fn all() -> impl Iterator<Item = &'static Row> {
    TOPICS.iter().flat_map(|topic| topic.rows)
}
