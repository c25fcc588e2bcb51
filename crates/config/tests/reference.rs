//! The keys of the Datadog Agent, held against the notes on it where they are at hand.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;
use std::path::Path;

use atalaya_config::{ACCEPTED, KEYS, Sources, key};

/// Every name that a cell of the table of keys stands for: `a.{b, c}`, `a / b`, `a, b`, with marks and remarks taken away.
fn names(cell: &str) -> Vec<String> {
    let mut text = String::new();
    let mut depth = 0;
    for c in cell.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            '`' => {}
            _ if depth == 0 => text.push(c),
            _ => {}
        }
    }
    split(&text)
        .iter()
        .flat_map(|part| expand(part.trim()))
        .collect()
}

/// At commas and slashes outside braces.
fn split(text: &str) -> Vec<String> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in text.chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        match c {
            ',' | '/' | ' ' if depth == 0 => parts.push(String::new()),
            _ => parts.last_mut().unwrap().push(c),
        }
    }
    parts.retain(|p| !p.trim().is_empty());
    parts
}

fn expand(part: &str) -> Vec<String> {
    let Some((before, rest)) = part.split_once('{') else {
        return vec![part.to_owned()];
    };
    let mut depth = 1;
    let end = rest
        .char_indices()
        .find(|(_, c)| {
            depth += i32::from(*c == '{') - i32::from(*c == '}');
            depth == 0
        })
        .unwrap()
        .0;
    let (inside, after) = (&rest[..end], &rest[end + 1..]);
    let mut inner = split(inside);
    for at in 1..inner.len() {
        // `x.exec/.dns` is x.exec and x.dns.
        if let Some(last) = inner[at].trim().strip_prefix('.') {
            let map = inner[at - 1].rsplit_once('.').map_or("", |(map, _)| map);
            inner[at] = format!("{map}.{last}");
        }
    }
    inner
        .iter()
        .flat_map(|one| expand(&format!("{before}{}{after}", one.trim())))
        .collect()
}

fn is_known(name: &str) -> bool {
    if key(name).is_some() {
        return true;
    }
    let (map, last) = name.rsplit_once('.').unwrap();
    let mut yaml = String::new();
    for (depth, part) in map.split('.').enumerate() {
        yaml += &format!("{}{part}:\n", "  ".repeat(depth));
    }
    yaml += &format!("{}{last}: x\n", "  ".repeat(name.matches('.').count()));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.yaml");
    std::fs::write(&path, &yaml).unwrap();
    let sources = Sources {
        files: vec![(path, true)],
        ..Sources::default()
    };
    let problems = sources.load().unwrap().problems;
    problems.iter().any(|p| p.text.contains("has no effect: "))
}

/// A further name of a cell is written from some map of the one before on: `a.b.c / d` is `a.b.d`, or `a.d`.
fn resolve(prefix: &str, before: &str, name: &str) -> String {
    let maps = before.match_indices('.').map(|(at, _)| &before[..at]);
    let full = maps.map(|map| format!("{map}.{name}"));
    let mut all: Vec<_> = full.collect();
    all.reverse();
    all.retain(|full| is_known(&format!("{prefix}.{full}")));
    all.into_iter().next().unwrap_or_else(|| name.to_owned())
}

#[test]
fn every_documented_key_of_the_datadog_agent_is_known_under_both_names() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference/datadog-agent.md");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!(
            "SKIPPED: the notes on the Datadog Agent are not at hand ({})",
            path.display()
        );
        return;
    };
    let mut missing = BTreeSet::new();
    let mut checked = 0;
    for (from, to, prefix) in [
        ("## 8.1", "## 8.2", "runtime_security_config"),
        ("## 8.2", "Other agent keys", "event_monitoring_config"),
    ] {
        let section = text.split_once(from).unwrap().1.split_once(to).unwrap().0;
        for row in section
            .lines()
            .filter(|l| l.starts_with("| ") && !l.starts_with("| Key"))
        {
            let mut before = String::new();
            for name in names(row.split('|').nth(1).unwrap()) {
                // `…anomaly_detection.x` goes on where the rows before were.
                let name = match name.split_once('…') {
                    Some((start, rest)) => format!("{start}security_profile.{rest}"),
                    None => name,
                };
                let name = name
                    .replace(".*", "")
                    .replace("_*", "_x")
                    .replace("..", ".");
                let name = resolve(prefix, &before, name.trim_start_matches('.'));
                for prefix in [prefix, "runtime_security_config"] {
                    checked += 1;
                    let full = format!("{prefix}.{name}");
                    if !is_known(&full) {
                        missing.insert(full);
                    }
                }
                before = name;
            }
        }
    }
    assert!(
        checked > 300,
        "only {checked} names were found in the notes"
    );
    assert!(missing.is_empty(), "unknown keys: {missing:#?}");
}

#[test]
fn no_key_is_in_both_tables_and_none_twice() {
    let mut seen = BTreeSet::new();
    for name in KEYS
        .iter()
        .map(|k| k.name)
        .chain(ACCEPTED.iter().map(|k| k.name))
    {
        assert!(seen.insert(name), "{name} is there twice");
    }
    for accepted in ACCEPTED {
        let hidden = KEYS
            .iter()
            .find(|k| k.name.starts_with(&format!("{}.", accepted.name)));
        assert!(
            hidden.is_none_or(|k| key(k.name).is_some()),
            "{} hides a key",
            accepted.name
        );
        assert!(
            !accepted.why.is_empty() && !accepted.why.ends_with('.'),
            "{}",
            accepted.name
        );
    }
}
