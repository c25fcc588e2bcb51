//! The text of a test file → its tests.

use std::path::PathBuf;

use serde_json::Value;

use super::{Expectation, TestCase, TestEvent, TestFile, Values};
use crate::document::Reader;
use crate::locate::File;
use crate::report::LoadError;
use crate::yaml::{Kind, Node, Place, parse as parse_yaml};

/// Where an event and its values stand.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    pub(super) event: Place,
    pub(super) kind: Place,
    /// The names of the values.
    pub(super) values: Vec<(String, Place)>,
}

pub(super) fn parse(name: &str, source: &str) -> Result<TestFile, Vec<LoadError>> {
    let file = File { name, source };
    let node = parse_yaml(source).map_err(|error| {
        let message = format!("invalid YAML: {}", error.message);
        vec![file.at_line(error.line, error.column, message)]
    })?;
    let mut reader = Reader::new(file);
    let mut found = TestFile {
        name: name.to_owned(),
        policies: Vec::new(),
        tests: Vec::new(),
        source: source.to_owned(),
    };
    match &node.kind {
        Kind::Map(entries) => {
            for (key, value) in entries {
                match key.name.as_str() {
                    "policies" => {
                        let texts = reader.strings(value).into_iter();
                        found.policies = texts.map(|text| PathBuf::from(text.value)).collect();
                    }
                    "tests" => match &value.kind {
                        Kind::Seq(items) => {
                            let tests = items.iter().map(|item| test(&mut reader, item));
                            found.tests = tests.collect();
                        }
                        _ => reader.wrong(value, "a list of tests"),
                    },
                    name if name.starts_with('.') || name.starts_with("x-") => {}
                    _ => reader.unknown(key, &["policies", "tests"]),
                }
            }
        }
        _ => reader.wrong(&node, "a test file: a mapping with `tests`"),
    }
    if reader.errors.is_empty() && found.tests.is_empty() {
        reader.error(node.at, "no tests");
    }
    if reader.errors.is_empty() {
        Ok(found)
    } else {
        Err(reader.errors)
    }
}

fn test(reader: &mut Reader<'_>, node: &Node) -> TestCase {
    let mut found = TestCase {
        name: String::new(),
        line: node.at.line,
        events: Vec::new(),
        expect: None,
    };
    let Kind::Map(entries) = &node.kind else {
        reader.wrong(node, "a test: a mapping with `name` and `events`");
        return found;
    };
    let errors = reader.errors.len();
    for (key, value) in entries {
        match key.name.as_str() {
            "name" => found.name = reader.string(value).value,
            "description" => {}
            "expect" => found.expect = Some(expectation(reader, value)),
            "events" => match &value.kind {
                Kind::Seq(items) => {
                    found.events = items.iter().map(|item| event(reader, item)).collect();
                }
                _ => reader.wrong(value, "a list of events"),
            },
            _ => reader.unknown(key, &["name", "events", "expect", "description"]),
        }
    }
    if reader.errors.len() > errors {
        return found;
    }
    if found.events.is_empty() {
        reader.error(node.at, "a test needs `events`");
    } else if found.expect.is_none() && found.events.iter().all(|event| event.expect.is_none()) {
        reader.error(
            node.at,
            "a test needs `expect`, its own or that of an event: the ids of rules, or [] for none",
        );
    }
    if found.name.is_empty() {
        found.name = format!("line {}", found.line);
    }
    found
}

fn event(reader: &mut Reader<'_>, node: &Node) -> TestEvent {
    let mut found = TestEvent {
        event_type: String::new(),
        values: Values::new(),
        line: node.at.line,
        expect: None,
        at: Places {
            event: node.at,
            ..Places::default()
        },
    };
    let Kind::Map(entries) = &node.kind else {
        reader.wrong(node, "an event: a mapping with `type` and `values`");
        return found;
    };
    let mut has_type = false;
    for (key, value) in entries {
        match key.name.as_str() {
            "type" => {
                let text = reader.string(value);
                has_type = true;
                found.at.kind = text.at;
                found.event_type = text.value;
            }
            "values" => values(reader, value, &mut found),
            "expect" => found.expect = Some(expectation(reader, value)),
            _ => {
                reader.unknown(key, &["type", "values", "expect"]);
                has_type |= reader.misspelt.contains(&"type");
            }
        }
    }
    if !has_type {
        reader.error(node.at, "an event needs `type`");
    }
    found
}

fn values(reader: &mut Reader<'_>, node: &Node, event: &mut TestEvent) {
    match &node.kind {
        Kind::Map(entries) => {
            for (key, value) in entries {
                if let Some(json) = json(reader, value) {
                    event.at.values.push((key.name.clone(), key.at));
                    event.values.insert(key.name.clone(), json);
                }
            }
        }
        Kind::Null => {}
        _ => reader.wrong(node, "a mapping of fields to values"),
    }
}

fn json(reader: &mut Reader<'_>, node: &Node) -> Option<Value> {
    Some(match &node.kind {
        Kind::Bool(value) => Value::Bool(*value),
        Kind::Int(value) => Value::from(*value),
        Kind::Text(text) => Value::String(text.clone()),
        Kind::Seq(items) => Value::Array(
            items
                .iter()
                .map(|item| json(reader, item))
                .collect::<Option<_>>()?,
        ),
        Kind::Null | Kind::Map(_) => {
            reader.wrong(node, "a boolean, number, text or a list of them");
            return None;
        }
    })
}

fn expectation(reader: &mut Reader<'_>, node: &Node) -> Expectation {
    let mut rules: Vec<String> = reader
        .strings(node)
        .into_iter()
        .map(|text| text.value)
        .collect();
    rules.sort();
    rules.dedup();
    Expectation {
        rules,
        line: node.at.line,
    }
}
