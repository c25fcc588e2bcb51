//! What a query means: whether an event matches.

use serde_json::Value;

use super::ast::{Expr, Test};
use crate::fields;
use crate::text::words;

pub(super) fn matches(expr: &Expr, document: &Value, timestamp_ms: i64) -> bool {
    match expr {
        Expr::All => true,
        Expr::And(parts) => parts
            .iter()
            .all(|part| matches(part, document, timestamp_ms)),
        Expr::Or(parts) => parts
            .iter()
            .any(|part| matches(part, document, timestamp_ms)),
        Expr::Not(part) => !matches(part, document, timestamp_ms),
        Expr::Time(range) => {
            range.from_ms.is_none_or(|from| timestamp_ms >= from)
                && range.to_ms.is_none_or(|to| timestamp_ms <= to)
        }
        // One that is no event, or cannot be read as one, is none that the filter is about.
        Expr::Filter(filter) => filter.holds(&document["message"]).unwrap_or(false),
        Expr::Text(test) => {
            let asked = Asked::new(test);
            let mut found = false;
            fields::texts(document, &mut |text| found = found || asked.is_in(text));
            found
        }
        Expr::Field(field, test) => {
            let mut found = false;
            fields::values(document, &field.name, &mut |text, number| {
                found = found
                    || match test {
                        Test::Exists => true,
                        Test::Is(value) => value.text == text,
                        Test::Like(glob) => glob.matches(text),
                        Test::Between(low, high) => Test::between(low, high, text, number),
                    };
            });
            found
        }
    }
}

/// What is looked for in texts.
enum Asked {
    Words(Vec<String>),
    Word(crate::glob::Glob),
    Whole(crate::glob::Glob),
    Any,
    Nothing,
}

impl Asked {
    fn new(test: &Test) -> Self {
        match test {
            Test::Is(value) => Self::Words(words(&value.text).collect()),
            Test::Like(glob) if glob.is_any() => Self::Any,
            Test::Like(glob) if glob.is_word() => Self::Word(glob.lower()),
            Test::Like(glob) => Self::Whole(glob.lower()),
            Test::Exists => Self::Any,
            Test::Between(..) => Self::Nothing,
        }
    }

    fn is_in(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Nothing => false,
            Self::Words(wanted) if wanted.is_empty() => true,
            Self::Words(wanted) => {
                let words: Vec<String> = words(text).collect();
                words
                    .windows(wanted.len())
                    .any(|words| words == wanted.as_slice())
            }
            Self::Word(glob) => words(text).any(|word| glob.matches(&word)),
            Self::Whole(glob) => glob.matches(&text.to_lowercase()),
        }
    }
}
