//! Parsing only what is looked at: most of a recorded event is the arguments and environments of its ancestors.

use std::collections::HashMap;
use std::fmt;

use atalaya_model::EventReader;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// What a report says of the process of an event.
const SHOWN: [&[&str]; 5] = [
    &["pid"],
    &["comm"],
    &["executable", "path"],
    &["argv0"],
    &["args"],
];

/// What is kept of a value.
#[derive(Debug, Default)]
pub(super) struct Keep {
    children: HashMap<String, Keep>,
    /// Of an object, the keys that are not named as well.
    others: bool,
}

impl Keep {
    /// Of a line: everything, but of the process only what these read or a report shows.
    pub(super) fn of<'a>(readers: impl Iterator<Item = &'a EventReader>) -> Self {
        let mut process = Self::default();
        for path in SHOWN {
            process.add(path.iter().copied());
        }
        for reader in readers {
            for path in reader.places() {
                if let Some((first, rest)) = path.split_first()
                    && *first == "process"
                {
                    process.add(rest.iter().copied());
                }
            }
        }
        let event = |process| Self {
            children: HashMap::from([("process".to_owned(), process)]),
            others: true,
        };
        let copy = process.copy();
        let mut line = event(process);
        line.children.insert("message".to_owned(), event(copy));
        line
    }

    fn add<'a>(&mut self, path: impl Iterator<Item = &'a str>) {
        let mut at = self;
        for name in path {
            at = at.children.entry(name.to_owned()).or_default();
        }
        at.others = true;
    }

    fn copy(&self) -> Self {
        let children = self.children.iter();
        Self {
            children: children
                .map(|(name, keep)| (name.clone(), keep.copy()))
                .collect(),
            others: self.others,
        }
    }

    /// Parses a line.
    pub(super) fn parse(&self, line: &[u8]) -> Option<Value> {
        let text = String::from_utf8_lossy(line);
        let mut parser = serde_json::Deserializer::from_str(&text);
        let value = self.deserialize(&mut parser).ok()?;
        parser.end().ok()?;
        Some(value)
    }
}

impl<'de> DeserializeSeed<'de> for &Keep {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        match self.others && self.children.is_empty() {
            true => serde::Deserialize::deserialize(from),
            false => from.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for &Keep {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = from.next_key::<std::borrow::Cow<'de, str>>()? {
            match self.children.get(name.as_ref()) {
                Some(keep) => {
                    let value = from.next_value_seed(keep)?;
                    object.insert(name.into_owned(), value);
                }
                None if self.others => {
                    let value = from.next_value()?;
                    object.insert(name.into_owned(), value);
                }
                None => {
                    from.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(object))
    }

    /// The elements are kept alike.
    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = from.next_element_seed(self)? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use atalaya_model::schema;
    use serde_json::json;

    #[test]
    fn of_the_process_only_what_is_looked_at() {
        let id = |name| schema().id(name).unwrap();
        let fields = ["process.ancestors.file.name", "process.envs"].map(id);
        let reader = EventReader::new("open", fields).unwrap();
        let keep = Keep::of(std::iter::once(&reader));
        let event = json!({
            "evt": {"name": "open"}, "file": {"path": "/a", "n": [1, -2, 1.5, true, null, {"\"": "\n"}]},
            "process": {"pid": 5, "tid": 6, "comm": "c", "envs": ["A"], "cgroup": {"id": "/c", "more": 1},
                "executable": {"path": "/b", "inode": 7},
                "ancestors": [{"pid": 1, "comm": "init", "envs": ["B"], "executable": {"path": "/i", "mode": 1}}]},
        });
        let mut kept = event.clone();
        kept["process"] = json!({
            "pid": 5, "comm": "c", "envs": ["A"], "cgroup": {"id": "/c"},
            "executable": {"path": "/b"},
            "ancestors": [{"pid": 1, "executable": {"path": "/i"}}],
        });
        let line = |event: &Value| json!({"event_id": 3, "message": event}).to_string();
        assert_eq!(keep.parse(event.to_string().as_bytes()), Some(kept.clone()));
        let parsed = keep.parse(line(&event).as_bytes()).unwrap();
        assert_eq!(
            parsed["message"]["process"]["ancestors"],
            kept["process"]["ancestors"]
        );
        assert_eq!(parsed["message"]["file"], event["file"]);
        for bad in ["", "{", "{} {}", "{\"process\":{\"x\":[}}"] {
            assert_eq!(keep.parse(bad.as_bytes()), None, "{bad}");
        }
        // An attacker's depth is an error, not a crash.
        assert_eq!(keep.parse("[".repeat(1 << 20).as_bytes()), None);
    }
}
