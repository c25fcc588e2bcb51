//! The field reference, made from the table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use atalaya_secl::model::Type;

use crate::constants::GROUPS;
use crate::table::{Entry, Table};
use crate::types::EVENT_TYPES;

/// The field reference as markdown: event types, common fields, each event type's own fields, constants.
#[must_use]
pub fn field_reference(table: &Table) -> String {
    let mut page = String::from(
        "# Fields, event types and constants\n\nMade from the source; do not edit.\n\n\
         A rule names fields of one event type, and any of the common fields. Times are nanoseconds since the Unix \
         epoch. A field that does not apply reads as 0, false, or empty.\n\n## Event types\n\n\
         | type | category | what happened |\n| --- | --- | --- |\n",
    );
    for event in EVENT_TYPES {
        let _ = writeln!(
            page,
            "| [`{name}`](#{name}) | {} | {} |",
            event.category.name(),
            event.doc,
            name = event.name
        );
    }
    page.push_str(
        "\n## Common fields\n\nEvery field `process.x` is also there as `process.parent.x` for the parent, and as \
         `process.ancestors.x` for the ancestors: a condition on it holds when it holds for any of them, and \
         `process.ancestors[A].x` names the same one throughout a rule.\n\n",
    );
    let is_plain = |entry: &&Entry| {
        let name = &entry.spec.name;
        entry.event.is_none()
            && !name.starts_with("process.parent.")
            && (!name.starts_with("process.ancestors.") || name == "process.ancestors.length")
    };
    rows(&mut page, table.entries().iter().filter(is_plain));
    for event in EVENT_TYPES {
        let _ = write!(page, "\n## {}\n\n{}\n\n", event.name, event.doc);
        if matches!(event.name, "exec" | "exit") {
            let _ = write!(
                page,
                "Every field `process.x` is also there as `{}.x`. Besides:\n\n",
                event.name
            );
        }
        let own = table.entries().iter().filter(|entry| {
            entry.event == Some(event.name) && matches!(entry.root, crate::table::Root::Data(_))
        });
        rows(&mut page, own);
    }
    page.push_str("\n## Constants\n\n`true` and `false`, and:\n");
    for group in GROUPS {
        let _ = write!(page, "\n### {}\n\n", group.name);
        let names: Vec<String> = group
            .all
            .iter()
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        page.push_str(&names.join(" "));
        page.push('\n');
    }
    page
}

fn rows<'a>(page: &mut String, entries: impl Iterator<Item = &'a Entry>) {
    page.push_str("| field | type | what it is |\n| --- | --- | --- |\n");
    for entry in entries {
        let spec = &entry.spec;
        let _ = write!(page, "| `{}` | {}", spec.name, type_name(entry));
        let _ = write!(page, " | {}", spec.doc);
        if !spec.constants.is_empty() {
            let anchor = spec.constants.to_lowercase().replace(' ', "-");
            let _ = write!(page, " See [{}](#{anchor}).", spec.constants);
        }
        page.push_str(" |\n");
    }
}

fn type_name(entry: &Entry) -> String {
    let ty = match entry.spec.ty {
        Type::Bool => "bool",
        Type::Int => "int",
        Type::String => "string",
        Type::Ip => "IP or network",
    };
    if entry.spec.list {
        format!("list of {ty}")
    } else {
        ty.to_owned()
    }
}

/// How the table compares with a list of documented fields.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Coverage {
    /// How many documented fields are in the table.
    pub present: usize,
    /// The documented fields that are not.
    pub missing: Vec<String>,
    /// The fields of the table that are not documented.
    pub extra: Vec<String>,
}

/// Compares the table with documented fields, by event type (`*` for common fields).
#[must_use]
pub fn coverage(
    table: &Table,
    documented: &BTreeMap<String, BTreeSet<String>>,
) -> BTreeMap<String, Coverage> {
    let mut ours: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for entry in table.entries() {
        let event = entry.event.unwrap_or("*");
        ours.entry(event).or_default().insert(&entry.spec.name);
    }
    ours.into_iter()
        .map(|(event, ours)| {
            let empty = BTreeSet::new();
            let documented = documented.get(event).unwrap_or(&empty);
            let (present, missing): (Vec<_>, Vec<_>) = documented
                .iter()
                .cloned()
                .partition(|name| ours.contains(name.as_str()));
            let extra = ours
                .iter()
                .filter(|name| !documented.contains(**name))
                .map(|name| (*name).to_owned())
                .collect();
            let coverage = Coverage {
                present: present.len(),
                missing,
                extra,
            };
            (event.to_owned(), coverage)
        })
        .collect()
}
