//! The page of constants.

use std::fmt::Write as _;

use super::{MADE, anchor};
use crate::constants::GROUPS;
use crate::table::Table;

/// The constants with their values and the fields they are for, as markdown.
#[must_use]
pub fn constants_page(table: &Table) -> String {
    let mut page = format!(
        "# Constants\n\n{MADE}\n\nA rule may write these names for numbers, and `true` and `false` for those. Names are those of \
         the kernel. Where architectures differ, values are those of x86-64. Errors are negative, as calls return them; \
         capabilities are bits, as in masks.\n\n"
    );
    for group in GROUPS {
        let _ = writeln!(page, "- [{}](#{})", group.name, anchor(group.name));
    }
    for group in GROUPS {
        let _ = write!(page, "\n## {}\n\n", group.name);
        let fields: Vec<String> = table
            .entries()
            .iter()
            .filter(|entry| entry.spec.constants == group.name)
            .map(|entry| entry.spec.name.as_str())
            // Each field of a process is there many times.
            .filter(|name| !name.contains("ancestors.") && !name.contains("parent."))
            .take(MOST)
            .map(|name| format!("`{name}`"))
            .collect();
        if !fields.is_empty() {
            let _ = write!(page, "For {}, and the like.\n\n", fields.join(", "));
        }
        page.push_str("| name | value |\n| --- | --- |\n");
        for (name, value) in group.all {
            let _ = writeln!(page, "| `{name}` | {value} |");
        }
    }
    page
}

/// So many fields are named for a group.
const MOST: usize = 4;
