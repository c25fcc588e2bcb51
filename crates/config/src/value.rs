//! What a key's value can be, and how it is read from YAML or text.

use std::path::PathBuf;
use std::time::Duration;

use crate::yaml::Node;

/// A type that a key can have.
pub(crate) trait Setting: Sized {
    /// What people call it, as in `expected true or false`.
    const EXPECTED: &'static str;
    /// Its value is never shown.
    const SECRET: bool = false;
    /// From a file.
    fn from_node(node: &Node) -> Option<Self>;
    /// From the environment or a flag.
    fn from_text(text: &str) -> Option<Self>;
    /// As it would be written in a file.
    fn show(&self) -> String;
}

impl Setting for bool {
    const EXPECTED: &'static str = "true or false";

    fn from_node(node: &Node) -> Option<Self> {
        match node {
            Node::Bool(value) => Some(*value),
            Node::Text(text) => Self::from_text(text),
            _ => None,
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => None,
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for u64 {
    const EXPECTED: &'static str = "a whole number, 0 or more";

    fn from_node(node: &Node) -> Option<Self> {
        match node {
            Node::Int(value) => Self::try_from(*value).ok(),
            Node::Text(text) => Self::from_text(text),
            _ => None,
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for String {
    const EXPECTED: &'static str = "text";

    fn from_node(node: &Node) -> Option<Self> {
        match node {
            Node::Text(text) => Some(text.clone()),
            // `hostname: 42` is a host called 42.
            Node::Int(value) => Some(value.to_string()),
            Node::Bool(value) => Some(value.to_string()),
            Node::Float(value) => Some(value.to_string()),
            _ => None,
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn show(&self) -> String {
        format!("{self:?}")
    }
}

impl Setting for PathBuf {
    const EXPECTED: &'static str = "an absolute path";

    fn from_node(node: &Node) -> Option<Self> {
        match node {
            Node::Text(text) => Self::from_text(text),
            _ => None,
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        let path = Self::from(text);
        path.is_absolute().then_some(path)
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Setting for Duration {
    const EXPECTED: &'static str =
        "a duration such as 500ms, 6s, 15m or 1h (a bare number is seconds)";

    fn from_node(node: &Node) -> Option<Self> {
        match node {
            Node::Int(value) => u64::try_from(*value).ok().map(Self::from_secs),
            Node::Text(text) => Self::from_text(text),
            _ => None,
        }
    }

    /// As Go writes durations: numbers with units, one after the other (`1h30m`).
    fn from_text(text: &str) -> Option<Self> {
        if let Ok(seconds) = text.parse() {
            return Some(Self::from_secs(seconds));
        }
        let mut total = Self::ZERO;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit())
                .filter(|n| *n > 0)?;
            let number: u64 = rest[..digits].parse().ok()?;
            rest = &rest[digits..];
            let unit = rest
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(rest.len());
            let part = match &rest[..unit] {
                "ms" => Self::from_millis(number),
                "s" => Self::from_secs(number),
                "m" => Self::from_secs(number.checked_mul(60)?),
                "h" => Self::from_secs(number.checked_mul(3600)?),
                _ => return None,
            };
            total = total.checked_add(part)?;
            rest = &rest[unit..];
        }
        (!text.is_empty()).then_some(total)
    }

    fn show(&self) -> String {
        let ms = self.as_millis();
        match ms {
            0 => "0s".into(),
            _ if !ms.is_multiple_of(1000) => format!("{ms}ms"),
            _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
            _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
            _ => format!("{}s", ms / 1000),
        }
    }
}

/// A duration as settings have it: `500ms`, `15m`, `1h30m`; a bare number is seconds.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    Duration::from_text(text)
}

/// A duration above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Positive(Duration);

impl Positive {
    /// So many seconds; 0 is 1.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(if seconds == 0 { 1 } else { seconds }))
    }

    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl Setting for Positive {
    const EXPECTED: &'static str =
        "a duration above 0 such as 500ms, 6s, 15m or 1h (a bare number is seconds)";

    fn from_node(node: &Node) -> Option<Self> {
        Duration::from_node(node).filter(|d| !d.is_zero()).map(Self)
    }

    fn from_text(text: &str) -> Option<Self> {
        Duration::from_text(text).filter(|d| !d.is_zero()).map(Self)
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

impl Setting for Vec<String> {
    const EXPECTED: &'static str = "a list of texts";

    fn from_node(node: &Node) -> Option<Self> {
        match node {
            Node::List(items) => items.iter().map(|i| String::from_node(&i.node)).collect(),
            Node::Text(text) => Self::from_text(text),
            _ => None,
        }
    }

    /// Separated by spaces or commas, or a JSON list.
    fn from_text(text: &str) -> Option<Self> {
        if text.trim_start().starts_with('[') {
            return serde_json::from_str(text).ok();
        }
        let words = text.split([' ', ',']).filter(|w| !w.is_empty());
        Some(words.map(str::to_owned).collect())
    }

    fn show(&self) -> String {
        format!("[{}]", self.join(", "))
    }
}

/// An enumeration of words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $expected:literal { $($(#[$word_doc:meta])* $word:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$word_doc])* $word,)+ }

        impl $name {
            /// The word in files and flags.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$word => $text,)+ }
            }
        }

        impl $crate::value::Setting for $name {
            const EXPECTED: &'static str = $expected;

            fn from_node(node: &$crate::yaml::Node) -> Option<Self> {
                match node {
                    $crate::yaml::Node::Text(text) => Self::from_text(text),
                    _ => None,
                }
            }

            fn from_text(text: &str) -> Option<Self> {
                match text.to_ascii_lowercase().as_str() {
                    $($text => Some(Self::$word),)+
                    _ => None,
                }
            }

            fn show(&self) -> String {
                self.as_str().to_owned()
            }
        }
    };
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [
            ("6s", 6000),
            ("500ms", 500),
            ("1m", 60_000),
            ("1h30m", 5_400_000),
            ("2h", 7_200_000),
            ("15", 15_000),
            ("0", 0),
            ("1s500ms", 1500),
        ] {
            assert_eq!(
                Duration::from_text(text),
                Some(Duration::from_millis(ms)),
                "{text}"
            );
        }
        for text in [
            "",
            "s",
            "6x",
            "-1s",
            "1.5s",
            "6 s",
            "99999999999999999h",
            "6s!",
        ] {
            assert_eq!(Duration::from_text(text), None, "{text}");
        }
        for text in ["6s", "500ms", "15m", "1h", "90m"] {
            assert_eq!(Duration::from_text(text).unwrap().show(), text);
        }
    }

    #[test]
    fn lists() {
        let expected = vec!["a".to_owned(), "b".to_owned()];
        for text in ["a b", "a,b", "a, b", r#"["a","b"]"#] {
            assert_eq!(
                Vec::<String>::from_text(text),
                Some(expected.clone()),
                "{text}"
            );
        }
    }
}
