//! A YAML document as a tree that knows where each value stands.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use serde_saphyr::options::DuplicateKeyPolicy;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Placed>),
    /// In the order of the file. A key may come twice.
    Map(Vec<(PlacedKey, Placed)>),
}

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Placed {
    pub(crate) node: Node,
    pub(crate) line: u64,
    pub(crate) column: u64,
}

/// A key with its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PlacedKey {
    pub(crate) text: String,
    pub(crate) line: u64,
    pub(crate) column: u64,
}

/// Why a document is none.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) line: u64,
    pub(crate) column: u64,
    pub(crate) text: String,
}

/// Reads a document. An empty one is a null.
pub(crate) fn parse(text: &str) -> Result<Placed, SyntaxError> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        with_snippet: false,
    };
    let document: Option<Spanned<Node>> = serde_saphyr::from_str_with_options(text, options)
        .map_err(|e| {
            let place = e.location();
            SyntaxError {
                line: place.map_or(1, |l| l.line()),
                column: place.map_or(1, |l| l.column()),
                // The place is told in our own form.
                text: e
                    .without_snippet()
                    .to_string()
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            }
        })?;
    Ok(document.map_or(
        Placed {
            node: Node::Null,
            line: 1,
            column: 1,
        },
        placed,
    ))
}

fn placed(value: Spanned<Node>) -> Placed {
    Placed {
        line: value.referenced.line(),
        column: value.referenced.column(),
        node: value.value,
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(i64::try_from(value).map_or(Node::Float(value as f64), Node::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Node>>()? {
            list.push(placed(item));
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some((key, value)) = entries.next_entry::<Spanned<String>, Spanned<Node>>()? {
            let key = PlacedKey {
                text: key.value,
                line: key.referenced.line(),
                column: key.referenced.column(),
            };
            map.push((key, placed(value)));
        }
        Ok(Node::Map(map))
    }
}

impl Node {
    /// What it is, for people.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Null => "nothing".into(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Text(text) => {
                let short: String = text.chars().take(60).collect();
                let dots = if short.len() < text.len() { "…" } else { "" };
                format!("{:?}", short + dots)
            }
            Self::List(_) => "a list".into(),
            Self::Map(_) => "a map".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn values_know_their_places() {
        let tree = parse("a: 1\nb:\n  c: [x, 2.5, true]\n  d:\n").unwrap();
        let Node::Map(top) = tree.node else { panic!() };
        assert_eq!((top[0].0.line, top[0].0.column, top[0].1.column), (1, 1, 4));
        let Node::Map(b) = &top[1].1.node else {
            panic!()
        };
        assert_eq!(
            (b[0].0.text.as_str(), b[0].0.line, b[0].0.column),
            ("c", 3, 3)
        );
        let Node::List(c) = &b[0].1.node else {
            panic!()
        };
        assert_eq!(c[0].node, Node::Text("x".into()));
        assert_eq!(
            (c[1].node.clone(), c[1].line, c[1].column),
            (Node::Float(2.5), 3, 10)
        );
        assert_eq!(c[2].node, Node::Bool(true));
        assert_eq!(b[1].1.node, Node::Null);
    }

    #[test]
    fn empty_and_comment_only_documents() {
        for text in ["", "\n", "# nothing\n", "---\n"] {
            assert_eq!(parse(text).unwrap().node, Node::Null, "{text:?}");
        }
    }

    #[test]
    fn errors_have_a_place() {
        let error = parse("a: 1\nb: [1,\n").unwrap_err();
        assert!(error.line >= 2, "{error:?}");
        assert!(!error.text.contains('\n'));
    }

    #[test]
    fn the_last_of_two_equal_keys_or_both_are_there() {
        let Node::Map(map) = parse("a: 1\na: 2\n").unwrap().node else {
            panic!()
        };
        assert_eq!(map.last().unwrap().1.node, Node::Int(2));
    }

    #[test]
    fn anchors_bombs_and_depth_do_not_kill() {
        let deep = "[".repeat(5000);
        assert!(parse(&deep).is_err());
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for i in 1..12 {
            bomb += &format!(
                "a{i}: &a{i} [{}]\n",
                vec![format!("*a{}", i - 1); 10].join(",")
            );
        }
        assert!(parse(&bomb).is_err());
    }
}
