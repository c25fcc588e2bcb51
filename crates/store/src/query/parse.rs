//! The parser.

use std::ops::Bound;

use atalaya_model::Filter;

use super::QueryError;
use super::ast::{Expr, Test, Value};
use crate::fields::Field;
use crate::glob::Glob;
use crate::time::{parse_duration_ms, parse_time_ms};
use crate::types::Range;

/// How deep parentheses and negations may be.
const MAX_DEPTH: usize = 64;
/// How long a query may be, in bytes.
const MAX_LENGTH: usize = 16 << 10;

pub(super) fn parse(text: &str, now_ms: i64) -> Result<Expr, QueryError> {
    let mut parser = Parser {
        text,
        at: 0,
        now_ms,
        depth: 0,
    };
    if text.len() > MAX_LENGTH {
        return Err(parser.error(0, text.len(), "the query is longer than 16 KiB", None));
    }
    parser.space();
    if parser.is_end() {
        return Ok(Expr::All);
    }
    let expr = parser.or()?;
    if !parser.is_end() {
        let hint = "without `(` before it";
        return Err(parser.error(parser.at, parser.at + 1, "unexpected `)`", Some(hint)));
    }
    Ok(expr)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    now_ms: i64,
    depth: usize,
}

/// A word or string: its characters, and whether each is meant literally.
struct Token {
    chars: Vec<(char, bool)>,
    quoted: bool,
    start: usize,
    end: usize,
}

impl Token {
    fn text(&self) -> String {
        self.chars.iter().map(|(c, _)| c).collect()
    }

    fn test(&self) -> Test {
        if self
            .chars
            .iter()
            .any(|(c, literal)| !literal && matches!(c, '*' | '?'))
        {
            Test::Like(Glob::new(self.chars.iter().copied()))
        } else {
            Test::Is(Value::new(self.text()))
        }
    }
}

impl Parser<'_> {
    fn error(&self, start: usize, end: usize, message: &str, hint: Option<&str>) -> QueryError {
        let start = self.text.floor_char_boundary(start.min(self.text.len()));
        QueryError {
            message: message.to_owned(),
            start,
            end: self.text.ceil_char_boundary(end.max(start)).max(start),
            hint: hint.map(str::to_owned),
        }
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn is_end(&self) -> bool {
        self.at == self.text.len()
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn eat(&mut self, mark: char) -> bool {
        let eaten = self.rest().starts_with(mark);
        if eaten {
            self.at += mark.len_utf8();
            self.space();
        }
        eaten
    }

    /// An operator in capitals, as a word of its own.
    fn word(&mut self, word: &str) -> bool {
        let rest = self.rest();
        let eaten = rest.strip_prefix(word).is_some_and(|after| {
            after.is_empty()
                || after.starts_with(|c: char| c.is_whitespace() || c == '(' || c == ')')
        });
        if eaten {
            self.at += word.len();
            self.space();
        }
        eaten
    }

    fn or(&mut self) -> Result<Expr, QueryError> {
        let mut parts = vec![self.and()?];
        while self.word("OR") {
            parts.push(self.and()?);
        }
        Ok(if parts.len() == 1 {
            parts.remove(0)
        } else {
            Expr::Or(parts)
        })
    }

    fn and(&mut self) -> Result<Expr, QueryError> {
        let mut parts = vec![self.not()?];
        loop {
            let explicit = self.word("AND");
            let ends = self.is_end() || self.rest().starts_with(')') || self.at_or();
            if !explicit && ends {
                break;
            }
            match self.not()? {
                Expr::And(more) => parts.extend(more),
                part => parts.push(part),
            }
        }
        Ok(if parts.len() == 1 {
            parts.remove(0)
        } else {
            Expr::And(parts)
        })
    }

    fn at_or(&mut self) -> bool {
        let at = self.at;
        let found = self.word("OR");
        self.at = at;
        found
    }

    fn not(&mut self) -> Result<Expr, QueryError> {
        let start = self.at;
        let negated = self.word("NOT")
            || self.rest().starts_with('-')
                && self.rest()[1..].starts_with(|c: char| !c.is_whitespace())
                && self.eat('-');
        if !negated {
            return self.primary();
        }
        self.deeper(start)?;
        let part = self.not()?;
        self.depth -= 1;
        Ok(Expr::Not(Box::new(part)))
    }

    fn deeper(&mut self, start: usize) -> Result<(), QueryError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(start, self.at, "the query is nested too deeply", None));
        }
        Ok(())
    }

    fn primary(&mut self) -> Result<Expr, QueryError> {
        let start = self.at;
        if self.eat('(') {
            self.deeper(start)?;
            let inner = self.or()?;
            self.depth -= 1;
            if !self.eat(')') {
                return Err(self.error(start, start + 1, "this `(` is never closed", None));
            }
            return Ok(inner);
        }
        for operator in ["AND", "OR"] {
            if self.word(operator) {
                let message = format!("`{operator}` has nothing on its left side");
                let hint = "put it in quotation marks to search for the word";
                return Err(self.error(start, start + operator.len(), &message, Some(hint)));
            }
        }
        if self.rest().starts_with("secl(") {
            return self.filter(start);
        }
        let token = self.token(":")?;
        if !token.quoted && self.rest().starts_with(':') {
            self.at += 1;
            return self.field(&token);
        }
        self.space();
        Ok(Expr::Text(token.test()))
    }

    fn filter(&mut self, start: usize) -> Result<Expr, QueryError> {
        self.at += "secl(".len();
        self.space();
        if !self.rest().starts_with('"') {
            let hint = "secl(\"open.file.path == \\\"/etc/shadow\\\"\")";
            return Err(self.error(
                start,
                self.at,
                "secl() takes an expression in quotation marks",
                Some(hint),
            ));
        }
        let token = self.token("")?;
        self.space();
        if !self.eat(')') {
            return Err(self.error(
                start,
                start + 5,
                "this `secl(` is never closed",
                Some("it ends with `\")`"),
            ));
        }
        let filter = Filter::new(&token.text()).map_err(|error| {
            let message = format!("in the rule language: {error}");
            self.error(token.start, token.end, &message, None)
        })?;
        Ok(Expr::Filter(Box::new(filter)))
    }

    fn field(&mut self, name: &Token) -> Result<Expr, QueryError> {
        let text = name.text();
        if self.is_end()
            || self.rest().starts_with(char::is_whitespace)
            || self.rest().starts_with(')')
        {
            let message = format!("`{text}:` has no value");
            let hint = format!("`{text}:*` finds events that have it");
            return Err(self.error(name.start, self.at, &message, Some(&hint)));
        }
        if text == "last" {
            let token = self.token("")?;
            let time = parse_duration_ms(&token.text());
            self.space();
            return match time {
                Some(time) => Ok(Expr::Time(Range {
                    from_ms: Some(self.now_ms.saturating_sub(time)),
                    to_ms: None,
                })),
                None => Err(self.error(
                    token.start,
                    token.end,
                    "this is no duration",
                    Some("as 90s, 15m, 2h, 7d"),
                )),
            };
        }
        if text == "time" || text == "timestamp" {
            let start = self.at;
            let test = self.test("")?;
            return self.time(&test, start);
        }
        if text.trim_start_matches('@').is_empty()
            || name.chars.iter().any(|(c, l)| !l && matches!(c, '*' | '?'))
        {
            return Err(self.error(
                name.start,
                name.end,
                "this is no name of a field",
                Some("as process.comm"),
            ));
        }
        let field = text;
        self.one_of(&field)
    }

    /// One value, or several in parentheses.
    fn one_of(&mut self, field: &str) -> Result<Expr, QueryError> {
        let start = self.at;
        if !self.eat('(') {
            let test = self.test("")?;
            return Ok(Expr::Field(Field::new(field), test));
        }
        let mut any = Vec::new();
        let mut all = Vec::new();
        loop {
            if self.eat(')') {
                break;
            }
            if self.is_end() {
                return Err(self.error(start, start + 1, "this `(` is never closed", None));
            }
            if self.word("OR") {
                if all.is_empty() {
                    return Err(self.error(
                        self.at,
                        self.at,
                        "`OR` has nothing on its left side",
                        None,
                    ));
                }
                any.push(Expr::And(std::mem::take(&mut all)));
                continue;
            }
            if self.word("AND") {
                continue;
            }
            let not = self.word("NOT") || self.eat('-');
            let test = Expr::Field(Field::new(field), self.test("")?);
            all.push(if not { Expr::Not(Box::new(test)) } else { test });
        }
        if all.is_empty() {
            return Err(self.error(start, self.at, "a value is missing here", None));
        }
        any.push(Expr::And(all));
        Ok(Expr::Or(any))
    }

    fn test(&mut self, more: &str) -> Result<Test, QueryError> {
        for (mark, low, inclusive) in [
            (">=", true, true),
            ("<=", false, true),
            (">", true, false),
            ("<", false, false),
        ] {
            if self.rest().starts_with(mark) {
                self.at += mark.len();
                self.space();
                let value = Value::new(self.token(more)?.text());
                self.space();
                let bound = if inclusive {
                    Bound::Included(value)
                } else {
                    Bound::Excluded(value)
                };
                return Ok(if low {
                    Test::Between(bound, Bound::Unbounded)
                } else {
                    Test::Between(Bound::Unbounded, bound)
                });
            }
        }
        if self.rest().starts_with(['[', '{']) {
            return self.range();
        }
        let token = self.token(more)?;
        self.space();
        match token.test() {
            Test::Like(glob) if glob.is_any() => Ok(Test::Exists),
            test => Ok(test),
        }
    }

    fn range(&mut self) -> Result<Test, QueryError> {
        let start = self.at;
        let low_included = self.rest().starts_with('[');
        self.at += 1;
        self.space();
        let low = self.token("]}")?;
        self.space();
        if !self.word("TO") {
            let hint = "as [1 TO 5], [now-1h TO now] or [* TO 100}";
            return Err(self.error(start, self.at, "a range needs `TO`", Some(hint)));
        }
        let high = self.token("]}")?;
        self.space();
        let high_included = self.rest().starts_with(']');
        if !high_included && !self.rest().starts_with('}') {
            return Err(self.error(
                start,
                self.at,
                "a range ends with `]`, or with `}` without its last value",
                None,
            ));
        }
        self.at += 1;
        self.space();
        let bound = |token: &Token, included| match token.text() {
            any if any == "*" && !token.quoted => Bound::Unbounded,
            text if included => Bound::Included(Value::new(text)),
            text => Bound::Excluded(Value::new(text)),
        };
        Ok(Test::Between(
            bound(&low, low_included),
            bound(&high, high_included),
        ))
    }

    /// A test of the time.
    fn time(&self, test: &Test, start: usize) -> Result<Expr, QueryError> {
        let end = self.at;
        let hint = "as time:[2026-11-24T10:00 TO now], time:>now-1h or last:15m";
        let wrong = || self.error(start, end, "this is no range of time", Some(hint));
        let Test::Between(low, high) = test else {
            return Err(wrong());
        };
        let at = |value: &Value| parse_time_ms(&value.text, self.now_ms).ok_or_else(wrong);
        let from_ms = match low {
            Bound::Unbounded => None,
            Bound::Included(value) => Some(at(value)?),
            Bound::Excluded(value) => Some(at(value)?.saturating_add(1)),
        };
        let to_ms = match high {
            Bound::Unbounded => None,
            Bound::Included(value) => Some(at(value)?),
            Bound::Excluded(value) => Some(at(value)?.saturating_sub(1)),
        };
        Ok(Expr::Time(Range { from_ms, to_ms }))
    }

    /// A word up to white space, a parenthesis or one of `ends`, or a string in quotation marks.
    fn token(&mut self, ends: &str) -> Result<Token, QueryError> {
        let start = self.at;
        if self.rest().starts_with('"') {
            return self.string(start);
        }
        let mut chars = Vec::new();
        let text = self.text;
        let mut rest = text[start..].char_indices();
        let mut end = text.len();
        while let Some((at, c)) = rest.next() {
            match c {
                '\\' => match rest.next() {
                    Some((_, next)) => chars.push((next, true)),
                    None => chars.push(('\\', true)),
                },
                c if c.is_whitespace() || matches!(c, '(' | ')' | '"') || ends.contains(c) => {
                    end = start + at;
                    break;
                }
                c => chars.push((c, false)),
            }
        }
        self.at = end;
        if chars.is_empty() {
            return Err(match text[end..].chars().next() {
                None => self.error(end, end, "the query ends where a value is expected", None),
                Some(c) => self.error(
                    end,
                    end + c.len_utf8(),
                    &format!("unexpected `{c}`"),
                    Some("put it in quotation marks to search for it"),
                ),
            });
        }
        Ok(Token {
            chars,
            quoted: false,
            start,
            end,
        })
    }

    fn string(&mut self, start: usize) -> Result<Token, QueryError> {
        let mut chars = Vec::new();
        let text = self.text;
        let mut rest = text[start + 1..].char_indices();
        while let Some((at, c)) = rest.next() {
            match c {
                '"' => {
                    let end = start + 1 + at + 1;
                    self.at = end;
                    return Ok(Token {
                        chars,
                        quoted: true,
                        start,
                        end,
                    });
                }
                '\\' => chars.extend(rest.next().map(|(_, c)| (c, true))),
                c => chars.push((c, true)),
            }
        }
        Err(self.error(
            start,
            start + 1,
            "this quotation mark is never closed",
            None,
        ))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use crate::Query;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn event() -> Value {
        json!({
            "hostname": "box", "status": "warn", "service": "s", "ddtags": "env:prod,team:x", "event_id": 7, "timestamp": 1000,
            "message": {
                "evt": {"name": "open", "outcome": "Success"}, "agent": {"rule_id": "my_rule"},
                "file": {"path": "/etc/shadow", "name": "shadow"},
                "process": {"pid": 42, "comm": "cat", "args": ["-n", "the Quick brown"], "credentials": {"uid": 0, "user": "root"},
                    "executable": {"path": "/usr/bin/cat"}, "ancestors": [{"comm": "bash"}, {"comm": "sshd"}]},
            },
        })
    }

    #[test]
    fn what_queries_mean() {
        for (query, wanted) in [
            ("", true),
            ("shadow", true),
            ("SHADOW cat", true),
            ("shadow dog", false),
            ("shadow OR dog", true),
            ("dog OR shadow cat", true),
            ("-dog", true),
            ("NOT (cat OR dog)", false),
            ("\"quick brown\"", true),
            ("\"brown quick\"", false),
            ("/etc/shadow", true),
            ("etc/shad", false),
            ("shad*", true),
            ("*/ETC/sh?dow", true),
            ("@evt.name:open", true),
            ("evt.name:Open", false),
            ("rule_id:my_*", true),
            ("rule_id:\"my_*\"", false),
            ("rule_id:my_rule type:open", true),
            ("path:/etc/*", true),
            ("path:(/etc/passwd OR /etc/shadow)", true),
            ("path:(/etc/passwd OR NOT /etc/shadow)", false),
            ("process.ancestors.comm:sshd", true),
            ("pid:42", true),
            ("pid:[40 TO 50]", true),
            ("pid:{42 TO 50]", false),
            ("pid:>=42 pid:<43", true),
            ("pid:[* TO 41]", false),
            ("pid:>9", true),
            ("container:*", false),
            ("user:*", true),
            ("tag:env\\:prod", true),
            ("tag:\"team:x\"", true),
            ("host:box status:warn", true),
            (
                "secl(\"open.file.path == \\\"/etc/shadow\\\" && process.uid == 0\")",
                true,
            ),
            ("secl(\"process.uid != 0\") OR dog", false),
            ("time:[1970-01-01 TO 1970-01-02]", true),
            ("last:1s", true),
            ("last:500ms", false),
            ("time:<now-600ms OR pid:1", false),
            ("ANDROID", false),
        ] {
            let parsed = Query::parse(query, 1600).unwrap_or_else(|e| panic!("{query}: {e}"));
            assert_eq!(parsed.matches(&event(), 1000), wanted, "{query}");
        }
    }

    #[test]
    fn errors_have_their_place() {
        for (query, start, part) in [
            ("a (b", 2, "never closed"),
            ("a b)", 3, "unexpected `)`"),
            ("a \"b", 2, "never closed"),
            ("pid:", 0, "has no value"),
            ("pid:[1 5]", 4, "needs `TO`"),
            ("AND a", 0, "left side"),
            ("a OR", 4, "ends where"),
            ("last:soon", 5, "no duration"),
            ("time:soon", 5, "no range of time"),
            ("x secl(\"open.file.pth == 1\")", 7, "rule language"),
            ("x secl(open)", 2, "quotation marks"),
            ("a*b:c", 0, "no name"),
            ("pid:()", 4, "missing"),
        ] {
            let error = Query::parse(query, 0).unwrap_err();
            assert_eq!(error.start, start, "{query}: {error}");
            assert!(error.message.contains(part), "{query}: {error}");
            assert!(error.snippet(query).contains('^'));
        }
        let deep = "(".repeat(5000);
        assert!(
            Query::parse(&deep, 0)
                .unwrap_err()
                .message
                .contains("deeply")
        );
        assert!(Query::parse(&"NOT ".repeat(4000), 0).is_err());
    }

    proptest! {
        #[test]
        fn anything_may_be_asked(text in "[a-c:()\\[\\]{}\"\\\\*?<>=@. \\-ANDORTNäñ漢]{0,40}") {
            if let Err(error) = Query::parse(&text, 0) {
                prop_assert!(text.is_char_boundary(error.start) && text.is_char_boundary(error.end), "{error:?}");
                prop_assert!(error.start <= error.end && error.end <= text.len());
            }
        }
    }
}
