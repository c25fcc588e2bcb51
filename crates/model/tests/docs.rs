//! The reference pages.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;

use atalaya_model::{EVENT_TYPES, constants::GROUPS, docs, schema};
use atalaya_secl::{MacroSet, NoVariables, Scope, compile_rule};

/// The first cells of the rows, in code marks.
fn names(page: &str) -> Vec<&str> {
    page.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect()
}

#[test]
fn every_field_is_on_one_of_the_pages() {
    let fields = docs::fields_page(schema());
    let events = docs::events_page(schema());
    let (fields, events) = (names(&fields), names(&events));
    let once: BTreeSet<&str> = fields.iter().copied().collect();
    for entry in schema().entries() {
        let name = entry.spec.name.as_str();
        let starts = |row: &&str| {
            row.strip_suffix('*')
                .is_some_and(|prefix| name.starts_with(prefix))
        };
        let tail = |prefix: &str| {
            name.strip_prefix(prefix)
                .is_some_and(|rest| once.contains(rest))
        };
        let of_process = name.starts_with("process.") && {
            let rest = name.trim_start_matches("process.");
            let rest = rest.trim_start_matches("parent.");
            let rest = rest
                .strip_prefix("ancestors.")
                .filter(|rest| *rest != "length")
                .unwrap_or(rest);
            once.contains(rest)
                || rest
                    .strip_prefix("interpreter.")
                    .unwrap_or(rest)
                    .strip_prefix("file.")
                    .is_some_and(|rest| once.contains(rest))
        };
        assert!(
            once.contains(name)
                || events.contains(&name)
                || events.iter().any(starts)
                || of_process
                || tail("network."),
            "{name}"
        );
    }
}

#[test]
fn every_event_has_a_section_and_an_example_that_compiles() {
    let page = docs::events_page(schema());
    let macros = MacroSet::default();
    let scope = Scope {
        schema: schema(),
        macros: &macros,
        variables: &NoVariables,
        rule_tags: &[],
    };
    for event in EVENT_TYPES {
        assert!(page.contains(&format!("\n### {}\n\n{}", event.name, event.doc)));
        assert!(page.contains(event.example));
        let program = compile_rule(event.example, &scope)
            .unwrap_or_else(|error| panic!("{}: {error}", event.name));
        assert_eq!(program.event_type(), Some(event.name));
    }
}

#[test]
fn tables_and_links_are_whole() {
    let pages = [
        ("constants.md", docs::constants_page(schema())),
        ("events.md", docs::events_page(schema())),
        ("fields.md", docs::fields_page(schema())),
    ];
    let anchors: BTreeSet<String> = pages
        .iter()
        .flat_map(|(file, page)| {
            let headings = page.lines().filter(|line| line.starts_with('#'));
            headings.map(move |line| {
                let heading = line.trim_start_matches('#').trim();
                format!("{file}#{}", heading.to_lowercase().replace(' ', "-"))
            })
        })
        .collect();
    for (file, page) in &pages {
        assert!(!page.contains("|  |"), "{file}: an empty cell");
        for link in page.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            let whole = match link.strip_prefix('#') {
                Some(anchor) => format!("{file}#{anchor}"),
                None => link.to_owned(),
            };
            assert!(
                !whole.contains('#') || anchors.contains(&whole),
                "{file} links to {link}"
            );
        }
    }
    for group in GROUPS {
        for (name, value) in group.all {
            assert!(pages[0].1.contains(&format!("| `{name}` | {value} |")));
        }
    }
}
