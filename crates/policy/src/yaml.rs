//! YAML as a tree whose every node knows its place, so that an error in one rule is the matter of that rule alone.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// Where a node stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    /// From 1.
    pub(crate) line: usize,
    /// In characters, from 1.
    pub(crate) column: usize,
    /// In bytes.
    pub(crate) start: usize,
    /// In bytes.
    pub(crate) end: usize,
}

/// A node and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) at: Place,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    /// Text, and numbers that are no 64-bit integers.
    Text(String),
    Seq(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// The key of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) at: Place,
}

impl Node {
    /// For messages.
    pub(crate) fn describe(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a boolean",
            Kind::Int(_) => "a number",
            Kind::Text(_) => "text",
            Kind::Seq(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }

    /// The scalar as text, as it stands in the file (`1.0` stays `1.0`).
    pub(crate) fn text<'a>(&'a self, source: &'a str) -> Option<&'a str> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            Kind::Bool(_) | Kind::Int(_) => source.get(self.at.start..self.at.end).map(str::trim),
            _ => None,
        }
    }
}

/// A syntax error, with line and column from 1 (0 where unknown).
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) message: String,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// Parses a file of one document.
pub(crate) fn parse(source: &str) -> Result<Node, SyntaxError> {
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(source, options()) {
        Ok(raw) => Ok(convert(raw, source)),
        Err(error) => {
            let (line, column) = error
                .location()
                .map_or((0, 0), |at| (to_usize(at.line()), to_usize(at.column())));
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            let message = first.trim_start_matches("error: ");
            // The place is told apart from the message.
            let message = match message.split_once(": ") {
                Some((place, rest)) if place.starts_with("line ") => rest,
                _ => message,
            };
            Err(SyntaxError {
                message: message.to_owned(),
                line,
                column,
            })
        }
    }
}

/// How deep a file may nest: a policy needs eight levels. The reader takes much stack for each.
const MAX_DEPTH: usize = 24;

/// How many values a file may have: as many as a real policy of the largest size has.
const MAX_NODES: usize = 1_500_000;

/// How much aliases may stand for, all together.
const MAX_REPLAYED: usize = 200_000;

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 3 * MAX_NODES,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPLAYED,
        },
    }
}

fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(0)
}

fn convert(raw: Spanned<Raw>, source: &str) -> Node {
    // For an alias, the place where the value is written.
    let location = raw.defined;
    let span = location.span();
    let start = span.byte_offset().map_or(0, to_usize);
    let end = span.byte_len().map_or(start, |len| start + to_usize(len));
    let at = Place {
        line: to_usize(location.line()),
        column: to_usize(location.column()),
        start,
        end,
    };
    let kind = match raw.value {
        Raw::Null => Kind::Null,
        Raw::Bool(value) => Kind::Bool(value),
        Raw::Int(value) => Kind::Int(value),
        Raw::Number => Kind::Text(source.get(start..end).unwrap_or_default().trim().to_owned()),
        Raw::Text(text) => Kind::Text(text),
        Raw::Seq(items) => Kind::Seq(
            items
                .into_iter()
                .map(|item| convert(item, source))
                .collect(),
        ),
        Raw::Map(entries) => Kind::Map(
            entries
                .into_iter()
                .map(|(key, value)| {
                    let key = convert(key, source);
                    let name = key.text(source).unwrap_or_default().to_owned();
                    (Key { name, at: key.at }, convert(value, source))
                })
                .collect(),
        ),
    };
    Node { kind, at }
}

/// What the YAML reader fills in.
enum Raw {
    Null,
    Bool(bool),
    Int(i64),
    /// Read from the source, where it is as it was written.
    Number,
    Text(String),
    Seq(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<Self>, Spanned<Self>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(i64::try_from(value).map_or(Raw::Number, Raw::Int))
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_bytes<E: serde::de::Error>(self, _: &[u8]) -> Result<Raw, E> {
        Err(E::custom("binary values are not supported"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::Seq(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries: Vec<(Spanned<Raw>, Spanned<Raw>)> = Vec::new();
        while let Some((key, value)) = access.next_entry::<Spanned<Raw>, Spanned<Raw>>()? {
            if matches!(key.value, Raw::Seq(_) | Raw::Map(_)) {
                return Err(A::Error::custom("the keys of a mapping must be plain"));
            }
            entries.push((key, value));
        }
        Ok(Raw::Map(entries))
    }
}
