//! One recorded event, as rules see it.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use atalaya_model::ValueEvent;
use atalaya_policy::Scopes;
use serde_json::Value;

use super::feed::{Batch, Range};
use crate::records::Stored;

/// So many pids are remembered with their processes, for actions that name a process by its pid.
const MAX_PIDS: usize = 1 << 16;

/// What a line was.
pub(super) enum Parsed {
    /// An event that a rule matched.
    Event(Box<Recorded>),
    /// One of the agent's own.
    Own,
    /// Outside the time that was asked for.
    Outside,
    /// None, and why.
    Unreadable(String),
}

/// What came of a batch.
pub(super) struct Chunk {
    pub(super) lines: Vec<Parsed>,
    pub(super) outside: u64,
    pub(super) too_long: u64,
}

/// An event that a rule matched.
pub(super) struct Recorded {
    pub(super) id: Option<u64>,
    /// The rule that it was recorded for.
    pub(super) rule: String,
    pub(super) time_ns: u64,
    pub(super) document: Value,
    /// Only where a rule is for its type.
    pub(super) event: Option<Made>,
}

/// The event made of what is recorded.
pub(super) struct Made {
    pub(super) view: ValueEvent,
    processes: Vec<u64>,
    container: String,
    cgroup: String,
}

/// Parses a batch. Events of other types than these are only counted.
pub(super) fn parse(batch: &Batch, range: Range, types: &HashSet<&str>) -> Chunk {
    Chunk {
        lines: batch.lines().map(|line| one(line, range, types)).collect(),
        outside: batch.outside,
        too_long: batch.too_long,
    }
}

fn one(line: &[u8], range: Range, types: &HashSet<&str>) -> Parsed {
    let Some(stored) = Stored::parse(line) else {
        return Parsed::Unreadable("no JSON object".to_owned());
    };
    let Some(ms) = stored.time_ms else {
        return Parsed::Unreadable("it has no time".to_owned());
    };
    if !range.has(ms) {
        return Parsed::Outside;
    }
    let Some(event_type) = stored.event["evt"]["name"].as_str() else {
        return match stored.event.pointer("/agent/rule_id") {
            Some(_) => Parsed::Own,
            None => Parsed::Unreadable("it is no event".to_owned()),
        };
    };
    let event = match types.contains(event_type) {
        false => None,
        true => match ValueEvent::from_document(&stored.event) {
            Ok(view) => Some(Made::new(view)),
            Err(error) => return Parsed::Unreadable(error.to_string()),
        },
    };
    let date = stored.event["date"].as_str();
    let exact = date.and_then(|date| date.parse::<jiff::Timestamp>().ok());
    let exact = exact.and_then(|date| u64::try_from(date.as_nanosecond()).ok());
    let rough = || u64::try_from(ms).unwrap_or(0).saturating_mul(1_000_000);
    Parsed::Event(Box::new(Recorded {
        id: stored.id,
        rule: stored.rule.unwrap_or_default(),
        time_ns: exact.unwrap_or_else(rough),
        document: stored.event,
        event,
    }))
}

impl Recorded {
    /// A text of the event, or empty.
    pub(super) fn text(&self, pointer: &str) -> &str {
        let text = self.document.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_default()
    }

    pub(super) fn event_type(&self) -> &str {
        self.text("/evt/name")
    }

    /// The program that did it.
    pub(super) fn program(&self) -> &str {
        match self.text("/process/executable/path") {
            "" => self.text("/process/comm"),
            path => path,
        }
    }

    /// Whether both are of one event that several rules recorded.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.time_ns == other.time_ns && is_same(&self.document, &other.document, true)
    }
}

/// What an event tells of the rule, and not of what happened; and what only those rules tell that had files hashed.
const OF_RULE: [&str; 4] = ["rule_context", "variables", "hashes", "hash_state"];
const OF_RULE_TOP: [&str; 2] = ["agent", "title"];

fn is_same(a: &Value, b: &Value, is_top: bool) -> bool {
    let (a, b) = match (a, b) {
        (Value::Object(a), Value::Object(b)) => (a, b),
        (Value::Array(a), Value::Array(b)) => {
            let mut pairs = a.iter().zip(b);
            return a.len() == b.len() && pairs.all(|(a, b)| is_same(a, b, false));
        }
        (a, b) => return a == b,
    };
    let counts = |key: &&String| {
        let is_of = |names: &[&str]| names.contains(&key.as_str());
        !(is_of(&OF_RULE) || is_top && is_of(&OF_RULE_TOP))
    };
    let number = |map: &serde_json::Map<String, Value>| map.keys().filter(counts).count();
    number(a) == number(b)
        && a.iter()
            .filter(|(key, _)| counts(key))
            .all(|(key, a)| b.get(key).is_some_and(|b| is_same(a, b, false)))
}

impl Made {
    fn new(view: ValueEvent) -> Self {
        Self {
            processes: view.lineage().into_iter().map(key).collect(),
            container: view.container_id(),
            cgroup: view.cgroup_id(),
            view,
        }
    }

    /// The process, as variables are kept for it.
    pub(super) fn process(&self) -> u64 {
        self.processes.first().copied().unwrap_or(0)
    }
}

/// A node of the process tree, by its pid and when it began: pids are used again.
fn key(node: (i64, i64)) -> u64 {
    let mut hasher = DefaultHasher::new();
    node.hash(&mut hasher);
    hasher.finish()
}

/// Who had a pid at last.
#[derive(Default)]
pub(super) struct Pids(HashMap<i64, u64>);

impl Pids {
    pub(super) fn saw(&mut self, event: &Made) {
        if self.0.len() >= MAX_PIDS {
            self.0.clear();
        }
        self.0.insert(event.view.pid(), event.process());
    }
}

/// The holders of variables that belong to an event.
pub(super) struct Holders<'a> {
    pub(super) event: &'a Made,
    pub(super) pids: &'a Pids,
}

impl Scopes for Holders<'_> {
    fn process(&self) -> Option<u64> {
        Some(self.event.process())
    }

    fn ancestor(&self, n: usize) -> Option<u64> {
        self.event.processes.get(n + 1).copied()
    }

    fn container(&self) -> &str {
        &self.event.container
    }

    fn cgroup(&self) -> &str {
        &self.event.cgroup
    }

    fn process_of_pid(&self, pid: i64) -> Option<u64> {
        self.pids.0.get(&pid).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_several_rules_recorded_is_one_event() {
        let event = json!({
            "agent": {"rule_id": "a"}, "title": "A", "date": "2026-11-23T09:08:07.1Z",
            "evt": {"name": "open", "rule_context": {"expression": "x"}},
            "file": {"path": "/a", "hashes": ["sha1:1"], "hash_state": "Done"},
            "process": {"pid": 5, "ancestors": [{"pid": 1}], "variables": {"a": 1}},
        });
        let mut other = event.clone();
        other["agent"]["rule_id"] = json!("b");
        other["title"] = json!("B");
        other["evt"] = json!({"name": "open", "variables": {"n": 2}});
        other["file"] = json!({"path": "/a"});
        assert!(is_same(&event, &other, true) && is_same(&other, &event, true));
        for (place, value) in [
            ("/file/path", json!("/b")),
            ("/process/ancestors/0/pid", json!(2)),
            ("/evt/name", json!("unlink")),
        ] {
            let mut third = other.clone();
            if let Some(at) = third.pointer_mut(place) {
                *at = value;
            }
            assert!(!is_same(&event, &third, true), "{place}");
        }
        other["more"] = json!(1);
        assert!(!is_same(&event, &other, true) && !is_same(&other, &event, true));
    }
}
