//! Reading events: a file of JSON lines that grows.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::{event_time, matrix, validate, wait_for};

/// A file of JSON lines, read as it grows.
pub struct EventLog {
    path: PathBuf,
    file: Option<File>,
    rest: Vec<u8>,
    /// All events so far, in their order.
    pub events: Vec<Value>,
}

impl EventLog {
    /// A log that may not exist yet.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            file: None,
            rest: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Reads what was appended; fails on what is not JSON and on what the schema forbids.
    pub fn read(&mut self) {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let Some(file) = &mut self.file else { return };
        file.read_to_end(&mut self.rest)
            .expect("the event file can be read");
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let event: Value = serde_json::from_slice(&line).unwrap_or_else(|error| {
                panic!("not JSON: {error}: {}", String::from_utf8_lossy(&line))
            });
            let event = unwrapped(event);
            // security-agent stores each event in the envelope of a log intake.
            let event = match event {
                Value::Object(mut envelope) if envelope.contains_key("ddsource") => {
                    assert_eq!(envelope["ddsource"], "runtime-security-agent");
                    envelope.remove("message").unwrap_or_default()
                }
                event => event,
            };
            // Filters and `runtime why` read it again.
            if event.pointer("/evt/name").is_some()
                && let Err(error) = atalaya_model::ValueEvent::from_document(&event)
            {
                panic!("an event cannot be read again: {error}\n{event:#}");
            }
            if let Err(error) = validate(&event) {
                panic!("an event breaks the schema: {}\n{event:#}", error.0);
            }
            self.events.push(event);
        }
    }

    /// Waits for an event.
    pub fn find(&mut self, time: Duration, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        let mut from = 0;
        wait_for(time, || {
            self.read();
            let found = self.events[from..].iter().find(|event| wanted(event));
            from = self.events.len();
            found.cloned()
        })
    }

    /// Waits for an event of a rule.
    pub fn expect_rule(&mut self, rule: &str) -> Value {
        self.expect(rule, |_| true)
    }

    /// Waits for an event of a rule that meets a condition, or fails the test with what came instead.
    pub fn expect(&mut self, rule: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = self.find(event_time(), |event| {
            text(event, "/agent/rule_id") == rule && wanted(event)
        });
        if let Some(event) = &found {
            matrix::seen(text(event, "/evt/name"));
        } else {
            matrix::unseen(rule);
        }
        found.unwrap_or_else(|| {
            let seen: Vec<String> = self.events.iter().map(summary).collect();
            let last = self
                .events
                .iter()
                .rfind(|event| text(event, "/agent/rule_id") == rule);
            panic!(
                "no fitting event of rule {rule}; last of that rule: {}\nseen:\n{}",
                last.map_or("none".into(), |event| format!("{event:#}")),
                seen[seen.len().saturating_sub(40)..].join("\n")
            )
        })
    }

    /// The events of a rule so far.
    pub fn of_rule(&mut self, rule: &str) -> Vec<Value> {
        self.read();
        self.events
            .iter()
            .filter(|event| text(event, "/agent/rule_id") == rule)
            .cloned()
            .collect()
    }
}

/// The event itself: security-agent writes it as the intake takes it, in an envelope.
fn unwrapped(line: Value) -> Value {
    if line.get("ddsource").is_none() {
        return line;
    }
    assert_eq!(
        text(&line, "/ddsource"),
        "runtime-security-agent",
        "{line:#}"
    );
    match line.get("message") {
        Some(Value::String(text)) => serde_json::from_str(text).expect("the message is JSON"),
        Some(event) => event.clone(),
        None => panic!("no message: {line:#}"),
    }
}

fn summary(event: &Value) -> String {
    format!(
        "  {} {} {} by {}",
        text(event, "/agent/rule_id"),
        text(event, "/evt/name"),
        text(event, "/file/path"),
        text(event, "/process/executable/path"),
    )
}

/// The value at a JSON pointer, null when there is none.
pub fn at<'a>(event: &'a Value, pointer: &str) -> &'a Value {
    event.pointer(pointer).unwrap_or(&Value::Null)
}

/// The text at a JSON pointer, empty when there is none.
pub fn text<'a>(event: &'a Value, pointer: &str) -> &'a str {
    at(event, pointer).as_str().unwrap_or_default()
}

/// Whether the event's process has this argument.
pub fn has_args(event: &Value, argument: &str) -> bool {
    at(event, "/process/args")
        .as_array()
        .is_some_and(|args| args.iter().any(|arg| arg == argument))
}
