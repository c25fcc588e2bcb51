//! The query language.
//!
//! ```text
//! query   = or
//! or      = and {"OR" and}
//! and     = not {["AND"] not}
//! not     = ("NOT" | "-") not | primary
//! primary = "(" or ")" | FIELD ":" test | "secl(" STRING ")" | value
//! test    = value | "(" tests ")" | ("[" | "{") value "TO" value ("]" | "}") | (">" | ">=" | "<" | "<=") value
//! value   = WORD | STRING          `*` and `?` in a word, not in a string; `\` before a character means itself
//! ```

pub(crate) mod ast;
mod matches;
mod parse;
mod suggest;

use std::fmt;

use serde_json::Value;

use crate::types::Range;
use ast::Expr;
pub use suggest::{Suggestion, suggest};

/// A query.
#[derive(Debug)]
pub struct Query {
    pub(crate) expr: Expr,
    /// What it says of the time outside of any alternative.
    range: Range,
}

/// What is wrong with a query, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryError {
    /// What is wrong.
    pub message: String,
    /// The first byte of the place.
    pub start: usize,
    /// Behind its last byte.
    pub end: usize,
    /// How to mend it.
    pub hint: Option<String>,
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at character {}", self.message, self.start + 1)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for QueryError {}

impl QueryError {
    /// The query with a line below that shows the place, for a terminal.
    #[must_use]
    pub fn snippet(&self, query: &str) -> String {
        let line: String = query
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let before = query
            .get(..self.start)
            .map_or(0, |text| text.chars().count());
        let marked = query
            .get(self.start..self.end)
            .map_or(1, |text| text.chars().count().max(1));
        format!("  {line}\n  {}{}", " ".repeat(before), "^".repeat(marked))
    }
}

impl Query {
    /// Everything.
    #[must_use]
    pub const fn all() -> Self {
        Self {
            expr: Expr::All,
            range: Range {
                from_ms: None,
                to_ms: None,
            },
        }
    }

    /// Understands a query. `now_ms` is what times in it are relative to.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(text: &str, now_ms: i64) -> Result<Self, QueryError> {
        let expr = parse::parse(text, now_ms)?;
        let mut range = Range::default();
        let times: &[Expr] = match &expr {
            Expr::And(parts) => parts,
            single => std::slice::from_ref(single),
        };
        for part in times {
            if let Expr::Time(time) = part {
                range = both(range, *time);
            }
        }
        Ok(Self {
            expr: without_times(expr),
            range,
        })
    }

    /// Whether an event's document matches.
    #[must_use]
    pub fn matches(&self, document: &Value, timestamp_ms: i64) -> bool {
        let within = Expr::Time(self.range);
        matches::matches(&within, document, timestamp_ms)
            && matches::matches(&self.expr, document, timestamp_ms)
    }

    /// The part of a range in which it can match.
    pub(crate) fn within(&self, range: Range) -> Range {
        both(self.range, range)
    }
}

fn both(a: Range, b: Range) -> Range {
    let pick = |a: Option<i64>, b: Option<i64>, choose: fn(i64, i64) -> i64| match (a, b) {
        (Some(a), Some(b)) => Some(choose(a, b)),
        (a, b) => a.or(b),
    };
    Range {
        from_ms: pick(a.from_ms, b.from_ms, i64::max),
        to_ms: pick(a.to_ms, b.to_ms, i64::min),
    }
}

/// Those that the range says already, so that the index can decide the rest.
fn without_times(expr: Expr) -> Expr {
    match expr {
        Expr::Time(_) => Expr::All,
        Expr::And(parts) => {
            let mut parts: Vec<Expr> = parts
                .into_iter()
                .filter(|part| !matches!(part, Expr::Time(_)))
                .collect();
            match parts.len() {
                0 => Expr::All,
                1 => parts.remove(0),
                _ => Expr::And(parts),
            }
        }
        other => other,
    }
}
