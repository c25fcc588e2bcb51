//! `docs/evasion.md`, made of the rows.

use std::fmt::Write;

use crate::{Row, TOPICS, Tier};

/// Where the page lies in the repository.
pub const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/evasion.md");

const HEAD: &str = "\
# Evasion: what is seen all the same, and what is not

Made of the rows of `tests/evasion` by `cargo test -p atalaya-evasion -- --update`; do not edit. Each row is a small real program that the suite
runs in each tier of hooks (`ARCHITECTURE.md` tells them apart). `seen` is tested: the rule fires with the right path and fields. A number is a
known limit, explained below the table; `(at times)` where it depends on who is faster. The suite fails when a limit is none any more.
";

/// The page.
#[must_use]
pub fn page() -> String {
    let mut text = String::from(HEAD);
    let rows = || TOPICS.iter().flat_map(|topic| topic.rows);
    let _ = write!(text, "\n{} rows.", rows().count());
    for tier in Tier::LIST {
        let limits = rows().filter(|row| row.limit(tier.bit).is_some()).count();
        let _ = write!(text, " `{}`: {limits} limits.", tier.name);
    }
    text.push('\n');
    for topic in TOPICS {
        let _ = write!(text, "\n## {}\n\n| row | attack | expected |", topic.title);
        for tier in Tier::LIST {
            let _ = write!(text, " {} |", tier.name);
        }
        text.push_str("\n| --- | --- | --- | --- | --- | --- | --- |\n");
        let mut notes: Vec<&str> = Vec::new();
        for row in topic.rows {
            line(&mut text, row, &mut notes);
        }
        if !notes.is_empty() {
            text.push('\n');
        }
        for (number, note) in notes.iter().enumerate() {
            let _ = writeln!(text, "{}. {note}", number + 1);
        }
    }
    text
}

fn line(text: &mut String, row: &Row, notes: &mut Vec<&'static str>) {
    let _ = write!(text, "| `{}` | {} | {} |", row.id, row.attack, row.expected);
    for tier in Tier::LIST {
        let Some(limit) = row.limit(tier.bit) else {
            text.push_str(" seen |");
            continue;
        };
        let number = notes
            .iter()
            .position(|note| *note == limit.why)
            .unwrap_or_else(|| {
                notes.push(limit.why);
                notes.len() - 1
            });
        let chance = if limit.by_chance { " (at times)" } else { "" };
        let _ = write!(text, " limit {}{chance} |", number + 1);
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use crate::{PAGE, all, page};

    #[test]
    fn the_page_is_what_the_rows_say() {
        let there = std::fs::read_to_string(PAGE).unwrap_or_default();
        assert!(
            there == page(),
            "docs/evasion.md is stale: cargo test -p atalaya-evasion --test evasion -- --update"
        );
    }

    #[test]
    fn rows_are_whole() {
        let mut ids = HashSet::new();
        for row in all() {
            assert!(ids.insert(row.id), "{}: twice", row.id);
            assert!(
                !row.attack.is_empty() && !row.expected.is_empty(),
                "{}",
                row.id
            );
            assert!(
                !row.rules.is_empty() && !row.events.is_empty(),
                "{}",
                row.id
            );
            let mut tiers = 0;
            for limit in row.limits {
                assert_eq!(limit.tiers & tiers, 0, "{}: two limits of one tier", row.id);
                tiers |= limit.tiers;
            }
            for (_, text) in row.rules {
                assert!(
                    !text.contains('|') || text.contains("{dir}") || text.contains("{me}"),
                    "{}",
                    row.id
                );
            }
        }
    }
}
