//! JSON, YAML flow collections, and what is written alike: `{"password": "x"}`, `[--token, x]`, `{'a': {'pwd': 1}}`; also cut or wrong ones.
//! Every byte is either punctuation, or belongs to a string or a plain scalar, and both are looked into.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;

use crate::names::is_harmless;
use crate::{Scrubber, args, known};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Open,
    Close,
    Comma,
    Colon,
    /// With its mark.
    Quoted(u8),
    Plain,
}

#[derive(Debug, Clone)]
struct Token {
    kind: Kind,
    at: Range<usize>,
}

/// Where the bracket that `text[from]` is closes (the byte after it), within `limit` bytes. Also how far was looked.
pub(crate) fn balanced(text: &str, from: usize, limit: usize) -> Result<usize, usize> {
    let bytes = text.as_bytes();
    let end = bytes.len().min(from.saturating_add(limit));
    let mut depth = 0usize;
    let mut before = b' ';
    let mut at = from;
    while at < end {
        let byte = bytes[at];
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Ok(at + 1);
                }
            }
            b'"' | b'\'' if byte == b'"' || opens(before) => {
                let closed = string_end(bytes, at, end);
                // Strings end on their line; else this was no collection, and what follows is none of its business.
                if bytes[at..closed].contains(&b'\n') {
                    return Err(closed);
                }
                at = closed - 1;
            }
            _ => {}
        }
        if !byte.is_ascii_whitespace() {
            before = byte;
        }
        at += 1;
    }
    Err(end)
}

/// Whether a `'` behind this is a mark and no apostrophe.
fn opens(before: u8) -> bool {
    matches!(before, b'{' | b'[' | b',' | b':' | b'(' | b' ')
}

/// The byte after the string that begins here.
fn string_end(bytes: &[u8], start: usize, end: usize) -> usize {
    let mark = bytes[start];
    let mut at = start + 1;
    while at < end {
        match bytes[at] {
            b'\\' if mark == b'"' => at += 1,
            // Python escapes so; in YAML it is a backslash at the end.
            b'\\'
                if bytes.get(at + 1) == Some(&b'\'')
                    && !matches!(bytes.get(at + 2), Some(b',' | b'}' | b']' | b':')) =>
            {
                at += 1
            }
            b'\'' if mark == b'\'' && bytes.get(at + 1) == Some(&b'\'') => at += 1,
            byte if byte == mark => return at + 1,
            _ => {}
        }
        at += 1;
    }
    end
}

fn tokens(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let mut tokens: Vec<Token> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let kind = match bytes[at] {
            byte if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b'{' | b'[' => Kind::Open,
            b'}' | b']' => Kind::Close,
            b',' => Kind::Comma,
            b':' => Kind::Colon,
            mark @ (b'"' | b'\'')
                if mark == b'"' || tokens.last().is_none_or(|t| t.kind != Kind::Plain) =>
            {
                at = string_end(bytes, at, bytes.len()) - 1;
                Kind::Quoted(mark)
            }
            _ => {
                at = plain_end(bytes, at) - 1;
                Kind::Plain
            }
        };
        at += 1;
        tokens.push(Token {
            kind,
            at: start..at,
        });
    }
    tokens
}

/// The byte after a scalar without marks.
fn plain_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b',' | b'{' | b'}' | b'[' | b']' | b'"' | b'\n' => break,
            b':' if bytes.get(at + 1).is_none_or(|next| {
                next.is_ascii_whitespace() || matches!(next, b'"' | b'\'' | b'{' | b'[')
            }) =>
            {
                break;
            }
            _ => at += 1,
        }
    }
    while at > start + 1 && bytes[at - 1].is_ascii_whitespace() {
        at -= 1;
    }
    at
}

/// What is open: an object with its members so far, or a list with its scalars so far.
#[derive(Default)]
struct Frame {
    members: Vec<(String, Token)>,
    scalars: Vec<Token>,
}

/// The text without secrets.
pub(crate) fn scrub(scrubber: &Scrubber, text: &str, depth: usize) -> String {
    let tokens = tokens(text);
    let mut work = Work {
        scrubber,
        text,
        depth,
        edits: BTreeMap::new(),
    };
    let mut frames = vec![Frame::default()];
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        match token.kind {
            Kind::Open => frames.push(Frame::default()),
            Kind::Close => {
                let frame = frames.pop();
                work.close(frame.unwrap_or_default());
                if frames.is_empty() {
                    frames.push(Frame::default());
                }
            }
            Kind::Comma | Kind::Colon => {}
            Kind::Quoted(_) | Kind::Plain => {
                let is_key = tokens
                    .get(index + 1)
                    .is_some_and(|next| next.kind == Kind::Colon);
                if is_key {
                    let key = work.decoded(token);
                    work.scalar(token);
                    index += 2;
                    let Some(value) = tokens.get(index) else {
                        break;
                    };
                    if scrubber.is_secret(&key)
                        && !matches!(value.kind, Kind::Close | Kind::Comma | Kind::Colon)
                    {
                        index = work.hide(&key, &tokens, index);
                        continue;
                    }
                    if matches!(value.kind, Kind::Quoted(_) | Kind::Plain) {
                        work.scalar(value);
                        if let Some(frame) = frames.last_mut() {
                            frame.members.push((key, value.clone()));
                        }
                        index += 1;
                    }
                    // Anything else is looked at in the next round.
                    continue;
                }
                work.scalar(token);
                if let Some(frame) = frames.last_mut() {
                    frame.scalars.push(token.clone());
                }
            }
        }
        index += 1;
    }
    for frame in frames {
        work.close(frame);
    }
    work.finish()
}

struct Work<'a> {
    scrubber: &'a Scrubber,
    text: &'a str,
    depth: usize,
    /// From → to and what is put there.
    edits: BTreeMap<usize, (usize, String)>,
}

impl Work<'_> {
    fn decoded(&self, token: &Token) -> String {
        let raw = &self.text[token.at.clone()];
        match token.kind {
            Kind::Quoted(b'"') => unescape(inside(raw, '"')),
            Kind::Quoted(_) => inside(raw, '\'').replace("''", "'"),
            _ => raw.to_owned(),
        }
    }

    fn put(&mut self, token: &Token, value: &str) {
        let written = match token.kind {
            Kind::Quoted(b'"') => escape(value),
            Kind::Quoted(_) => format!("'{}'", value.replace('\'', "''")),
            _ => value.to_owned(),
        };
        self.edits.insert(token.at.start, (token.at.end, written));
    }

    /// Looks into a scalar.
    fn scalar(&mut self, token: &Token) {
        let text = self.decoded(token);
        let scrubbed = self.scrubber.inner(&text, self.depth + 1);
        if scrubbed != text {
            self.put(token, &scrubbed);
        }
    }

    /// Hides the value that begins with this token, whatever it holds. Returns what comes after it.
    fn hide(&mut self, key: &str, tokens: &[Token], index: usize) -> usize {
        let first = &tokens[index];
        let mut end = index + 1;
        if first.kind == Kind::Open {
            let mut depth = 1usize;
            while depth > 0 && end < tokens.len() {
                match tokens[end].kind {
                    Kind::Open => depth += 1,
                    Kind::Close => depth -= 1,
                    _ => {}
                }
                end += 1;
            }
        } else {
            // `"a"b`: wrong, and still no reason to show the rest.
            while tokens
                .get(end)
                .is_some_and(|t| matches!(t.kind, Kind::Quoted(_) | Kind::Plain))
                && !tokens.get(end + 1).is_some_and(|t| t.kind == Kind::Colon)
            {
                end += 1;
            }
        }
        let last = tokens[end - 1].at.end;
        let whole = &self.text[first.at.start..last];
        if end == index + 1 && is_harmless(key, &self.decoded(first)) || is_harmless(key, whole) {
            return end;
        }
        let masked = known::mask(&self.decoded(first));
        let mark = if first.kind == Kind::Quoted(b'\'') {
            '\''
        } else {
            '"'
        };
        self.edits
            .insert(first.at.start, (last, format!("{mark}{masked}{mark}")));
        end
    }

    /// What only the whole object or list tells.
    fn close(&mut self, frame: Frame) {
        let secret_name = frame
            .members
            .iter()
            .any(|(key, value)| is_name_key(key) && self.scrubber.is_secret(&self.decoded(value)));
        if secret_name {
            for (key, value) in &frame.members {
                let text = self.decoded(value);
                if is_value_key(key) && !is_harmless("", &text) {
                    self.put(value, &known::mask(&text));
                }
            }
        }
        if frame.scalars.len() > 1 {
            let values: Vec<String> = frame
                .scalars
                .iter()
                .map(|token| self.decoded(token))
                .collect();
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let scrubbed = args::scrub(self.scrubber, &values, self.depth + 1);
            for ((token, before), after) in frame.scalars.iter().zip(&values).zip(&scrubbed) {
                if before != after {
                    self.put(token, after);
                }
            }
        }
    }

    fn finish(self) -> String {
        let mut out = String::with_capacity(self.text.len());
        let mut at = 0;
        for (start, (end, with)) in self.edits {
            if start >= at {
                out.push_str(&self.text[at..start]);
                out.push_str(&with);
                at = end;
            }
        }
        out.push_str(&self.text[at..]);
        out
    }
}

/// The member that names what another one is the value of, as in a container's environment.
pub(crate) fn is_name_key(key: &str) -> bool {
    matches!(
        key.to_ascii_lowercase().as_str(),
        "name" | "key" | "k" | "variable" | "header" | "field"
    )
}

/// The member that has the value.
pub(crate) fn is_value_key(key: &str) -> bool {
    matches!(
        key.to_ascii_lowercase().as_str(),
        "value" | "v" | "val" | "default" | "values" | "content"
    )
}

/// Without the marks; the last one may be missing.
fn inside(raw: &str, mark: char) -> &str {
    let raw = raw.strip_prefix(mark).unwrap_or(raw);
    raw.strip_suffix(mark).unwrap_or(raw)
}

fn unescape(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(c) = rest.chars().next() else {
            out.push('\\');
            break;
        };
        rest = &rest[c.len_utf8()..];
        match c {
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'u' => match unit(rest) {
                Some(high @ 0xd800..=0xdbff) => {
                    rest = &rest[4..];
                    let low = rest
                        .strip_prefix("\\u")
                        .and_then(unit)
                        .filter(|low| (0xdc00..=0xdfff).contains(low));
                    if let Some(low) = low {
                        rest = &rest[6..];
                        let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                        out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                    } else {
                        out.push(char::REPLACEMENT_CHARACTER);
                    }
                }
                Some(code) => {
                    rest = &rest[4..];
                    out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                None => out.push_str("\\u"),
            },
            '"' | '\\' | '/' => out.push(c),
            c => {
                out.push('\\');
                out.push(c);
            }
        }
    }
    out.push_str(rest);
    out
}

/// Four hexadecimal digits.
fn unit(text: &str) -> Option<u32> {
    let digits = text
        .get(..4)
        .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u32::from_str_radix(digits, 16).ok()
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
