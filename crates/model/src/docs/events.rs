//! The page of events.

use std::fmt::Write as _;

use super::{Described, Groups, HEAD, MADE, anchor, entry_row};
use crate::table::{Entry, Table};
use crate::types::{Category, EVENT_TYPES, EventType, PACKET_TYPES};

const INTRODUCTION: &str = "A rule is about one type of event: the one whose fields it names. Besides those it may name the \
fields that [all events have](fields.md): of the event, of the process, of its parent and its ancestors.\n\n\
A rule on a type that is not captured loads, is checked like any other, and never matches; \
`atalaya-security-agent runtime policy check` says so. Versions are those of the Datadog agent that brought an event type.\n";

/// What the page calls a category, in its order.
const CATEGORIES: [(Category, &str); 5] = [
    (Category::Process, "Processes"),
    (Category::File, "Files"),
    (Category::Network, "Network"),
    (Category::Kernel, "Kernel"),
    (Category::Internal, "The agent itself"),
];

/// The event types with their fields, as markdown.
#[must_use]
pub fn events_page(table: &Table) -> String {
    let mut page = format!("# Events\n\n{MADE}\n\n{INTRODUCTION}\n");
    page.push_str("| event | what happened | since | captured |\n| --- | --- | --- | --- |\n");
    for (category, _) in CATEGORIES {
        for event in of(category) {
            let _ = writeln!(
                page,
                "| [`{name}`](#{}) | {} | {} | {} |",
                anchor(event.name),
                event.doc,
                if event.since.is_empty() {
                    "–"
                } else {
                    event.since
                },
                if event.kind.is_some() { "yes" } else { "no" },
                name = event.name,
            );
        }
    }
    let groups = Groups::new();
    for (category, heading) in CATEGORIES {
        let _ = write!(page, "\n## {heading}\n");
        for event in of(category) {
            section(&mut page, table, &groups, event);
        }
    }
    page
}

fn of(category: Category) -> impl Iterator<Item = &'static EventType> {
    EVENT_TYPES
        .iter()
        .filter(move |event| event.category == category)
}

fn section(page: &mut String, table: &Table, groups: &Groups, event: &EventType) {
    let _ = write!(page, "\n### {}\n\n{}", event.name, event.doc);
    if !event.since.is_empty() {
        let _ = write!(page, " Since {}.", event.since);
    }
    if event.kind.is_none() {
        page.push_str(" **Not captured by this version.**");
    }
    let _ = write!(page, "\n\n```\n{}\n```\n\n", event.example);
    let own: Vec<&Entry> = table
        .entries()
        .iter()
        .filter(|entry| entry.event == Some(event.name))
        .collect();
    page.push_str(HEAD);
    let mut grouped = Vec::new();
    for entry in own {
        let place = groups.place(table, &entry.spec.name);
        let (prefix, what, link) = match &place {
            Described::Here => {
                entry_row(page, entry);
                continue;
            }
            Described::File(prefix) => (prefix, "file", "files"),
            Described::Process(prefix) => (prefix, "process", "processes"),
        };
        if grouped.contains(&place) {
            continue;
        }
        let each = if entry.iterator.is_some() {
            ", of each"
        } else {
            ""
        };
        let _ = writeln!(
            page,
            "| `{prefix}.*` | [{what}](fields.md#{link}){each} | {} |",
            role(prefix)
        );
        grouped.push(place);
    }
    if PACKET_TYPES.contains(&event.name) {
        page.push_str("| `network.*` | [packet](fields.md#packets) | The packet. |\n");
    }
}

/// Which file or process it is, by the last word of its prefix.
fn role(prefix: &str) -> &'static str {
    match prefix.rsplit('.').next().unwrap_or_default() {
        "exec" => "The process as it is after.",
        "exit" => "The process that ended.",
        "destination" => "The same file under its other name.",
        "file" => "The file.",
        "parent" => "The parent of that process.",
        "ancestors" => "The ancestors of that process, nearest first.",
        "tracee" => "The process that is traced.",
        _ => "The process that it is done to.",
    }
}
