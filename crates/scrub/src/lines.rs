//! The structure that lines have: a YAML key with everything below it, `KEY=value` files, flow collections over several lines.

use regex::Regex;

use crate::names::{is_harmless, regex};
use crate::{MASK, Scrubber, args, assign, flow, known};

/// The expressions, compiled.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// What stands before a key, the key, the separator, the rest.
    key: Regex,
    item: Regex,
    /// Where a flow collection may begin.
    open: Regex,
}

impl Rules {
    pub(crate) fn new() -> Self {
        Self {
            key: regex(
                r#"^(?P<before>[ \t]*(?:[#;][#; \t]*)?(?:-[ \t]+)*(?:\?[ \t]+)?(?:(?:export|set|setenv|ENV|ARG|Environment=)[ \t"']*)?)(?P<key>"(?:\\.|[^"\\])*"|'[^']*'|[\p{L}\p{N}_$@%][\p{L}\p{N}_.\-/$@%\[\] ]{0,120}?)[ \t]*(?P<sep>[:=])(?P<rest>.*)$"#,
            ),
            item: regex(r"^(?P<before>[ \t]*(?:-[ \t]+)+)(?P<item>.*)$"),
            open: regex(r#"[\{\[]\s*["'\{\[]"#),
        }
    }
}

/// A key's value that goes on below it.
struct Region {
    /// The column of the key.
    column: usize,
    /// Items at the same column are its value too.
    items: bool,
    /// The column of the comment it is in.
    comment: bool,
}

/// What the siblings of `value:` say.
#[derive(Default)]
struct Siblings {
    column: usize,
    secret: bool,
}

struct Lines<'a> {
    scrubber: &'a Scrubber,
    text: &'a str,
    depth: usize,
    out: String,
    region: Option<Region>,
    siblings: Siblings,
    /// The column of the list item before, and whether it was `--password`.
    item: Option<usize>,
    /// How many bytes may still be looked at for the ends of collections: a text of opening brackets shall cost no more than others.
    budget: usize,
    /// Where the next opening bracket is that was looked for; beyond every text where there is none.
    open: Option<usize>,
}

/// The text without secrets.
pub(crate) fn scrub(scrubber: &Scrubber, text: &str, depth: usize) -> String {
    let mut lines = Lines {
        scrubber,
        text,
        depth,
        out: String::with_capacity(text.len()),
        region: None,
        siblings: Siblings::default(),
        item: None,
        budget: text.len().saturating_mul(8).saturating_add(1 << 16),
        open: None,
    };
    let mut at = 0;
    while at < text.len() {
        at = lines.line(at);
    }
    lines.out
}

/// How far a key or the text of a comment is from the left, the column of its dash, and whether it is in a comment.
fn columns(line: &str) -> (usize, Option<usize>, bool) {
    let mut comment = false;
    let mut dash = None;
    let mut column = 0;
    let bytes = line.as_bytes();
    while let Some(byte) = bytes.get(column) {
        match byte {
            b' ' | b'\t' => {}
            b'#' if dash.is_none() => comment = true,
            b'-' if matches!(bytes.get(column + 1), Some(b' ' | b'\t') | None) => {
                dash.get_or_insert(column);
            }
            _ => break,
        }
        column += 1;
    }
    (column, dash, comment)
}

impl Lines<'_> {
    /// Works off the line at `at`; returns where the next one begins.
    fn line(&mut self, at: usize) -> usize {
        let end = self.text[at..]
            .find('\n')
            .map_or(self.text.len(), |n| at + n);
        let next = (end + 1).min(self.text.len());
        let full = &self.text[at..end];
        let line = full.trim_end_matches('\r');
        let tail = &self.text[at + line.len()..next];
        if line.trim().is_empty() {
            self.out.push_str(line);
            self.out.push_str(tail);
            return next;
        }
        let (column, dash, comment) = columns(line);
        if self.is_hidden(line, column, dash, comment) {
            return next;
        }
        self.region = None;
        if column < self.siblings.column || dash.is_some_and(|dash| dash < self.siblings.column) {
            self.siblings = Siblings::default();
        }
        if self.item.take() == dash
            && dash.is_some()
            && let Some(found) = self.scrubber.lines.item.captures(line)
            && !found["item"].starts_with("--")
            && !is_harmless("", &found["item"])
        {
            self.out.push_str(&found["before"]);
            self.out.push_str(&format!("\"{MASK}\""));
            self.out.push_str(tail);
            return next;
        }
        if let Some(dash) = dash
            && let Some(found) = self.scrubber.lines.item.captures(line)
            && args::is_secret_flag(
                self.scrubber,
                found["item"].trim().trim_matches(['"', '\'']),
            )
        {
            self.item = Some(dash);
        }
        match self.key_line(at, line, column, comment) {
            Some(done) if done > end => done,
            Some(_) => {
                self.out.push_str(tail);
                next
            }
            None => self.free(at, line, tail),
        }
    }

    /// Whether the line belongs to the value of a secret key above.
    fn is_hidden(&self, line: &str, column: usize, dash: Option<usize>, comment: bool) -> bool {
        let Some(region) = &self.region else {
            return false;
        };
        if region.comment {
            return comment && column > region.column;
        }
        // In a block of text a `#` is no comment.
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        indent > region.column || (region.items && dash == Some(region.column))
    }

    /// A line with a key at its beginning, and what of it is known by that. `None`: as any other line. Else the end of what was written.
    fn key_line(&mut self, at: usize, line: &str, column: usize, comment: bool) -> Option<usize> {
        let found = self.scrubber.lines.key.captures(line)?;
        let (key, rest) = (found.name("key")?, found.name("rest")?);
        let colon = &found["sep"] == ":";
        // `12:30`, `http://`: no key.
        if colon
            && !(rest.as_str().is_empty()
                || rest.as_str().starts_with([' ', '\t', '"', '\'', '{', '[']))
        {
            return None;
        }
        let name = key.as_str().trim_matches(['"', '\'']);
        let secret = self.scrubber.is_secret(name)
            || (flow::is_value_key(name) && self.value_is_secret(at, column));
        if !secret {
            if flow::is_name_key(name) {
                let named = rest.as_str().trim().trim_matches(['"', '\'']);
                self.siblings = Siblings {
                    column,
                    secret: self.scrubber.is_secret(named),
                };
            }
            return None;
        }
        let value = rest.as_str().trim();
        let begin = at + rest.start() + rest.as_str().len() - rest.as_str().trim_start().len();
        // `"password": "x", "user": "y"`: the line of an object that was cut.
        if key.as_str().starts_with('"')
            && value.starts_with(['"', '\''])
            && !value.ends_with(['"', '\''])
        {
            return None;
        }
        self.region = Some(Region {
            column,
            items: value.is_empty(),
            comment,
        });
        if is_harmless(name, value) {
            self.out.push_str(line);
            return Some(at + line.len());
        }
        // A file of assignments may have spaces in a value, so it goes to the end of the line, unless marks or a flag (`run --token=x -v`) say
        // that this is something else.
        if key.as_str().contains(" -") || (!colon && is_quoted_word(value)) {
            self.region = None;
            return None;
        }
        self.piece(at, begin);
        if value.starts_with(['{', '[']) {
            let closed = flow::balanced(self.text, begin, self.budget);
            self.budget = self
                .budget
                .saturating_sub(closed.unwrap_or_else(|e| e).saturating_sub(begin));
            self.out.push_str(&format!("\"{MASK}\""));
            return Some(match closed {
                Ok(end) if end > at + line.len() => {
                    self.out.push_str(
                        &self.text[end..self.text[end..]
                            .find('\n')
                            .map_or(self.text.len(), |n| end + n + 1)],
                    );
                    self.text[end..]
                        .find('\n')
                        .map_or(self.text.len(), |n| end + n + 1)
                }
                _ => at + line.len(),
            });
        }
        let comma = if value.ends_with(',') { "," } else { "" };
        let mask = known::mask(value.trim_end_matches(','));
        if colon {
            self.out.push_str(&format!("\"{mask}\"{comma}"));
        } else {
            self.out.push_str(&format!("{mask}{comma}"));
        }
        Some(at + line.len())
    }

    /// Whether the `value:` of this line is that of a secret: `name: DB_PASSWORD` stands before it, or a few lines below.
    fn value_is_secret(&self, at: usize, column: usize) -> bool {
        if self.siblings.column == column && self.siblings.secret {
            return true;
        }
        let mut below = self.text[at..].lines().skip(1).take(8);
        below
            .by_ref()
            .map_while(|line| {
                let (own, dash, _) = columns(line);
                (own >= column && dash.is_none_or(|dash| dash >= column)).then_some((own, line))
            })
            .filter(|(own, _)| *own == column)
            .filter_map(|(_, line)| line.trim().split_once(':'))
            .any(|(key, name)| {
                flow::is_name_key(key.trim_matches(['"', '\'']))
                    && self
                        .scrubber
                        .is_secret(name.trim().trim_matches(['"', '\'']))
            })
    }

    /// A line without structure of its own: pieces, and the collections between them, of which the last may go on below.
    fn free(&mut self, at: usize, line: &str, tail: &str) -> usize {
        let end = at + line.len();
        let mut from = at;
        while self.depth <= crate::MAX_DEPTH {
            // The expression looks over line ends for what follows the bracket.
            let Some(open) = self.next_open(from).filter(|open| *open < end) else {
                break;
            };
            let closed = flow::balanced(self.text, open, self.budget);
            let looked = closed.unwrap_or_else(|e| e).saturating_sub(open);
            self.budget = self
                .budget
                .saturating_sub(looked.saturating_sub(line.len()));
            // One that is never closed was cut: what is left of it is on this line.
            let close = closed.unwrap_or(end);
            if let Some(value) =
                assign::value_over(self.scrubber, &self.text[from..end], open - from)
            {
                if from + value.start == open {
                    self.piece(from, open);
                    self.out.push_str(MASK);
                    from = close.max(from + value.end);
                } else {
                    self.piece(from, from + value.end);
                    from += value.end;
                }
                if from >= end {
                    break;
                }
                continue;
            }
            self.piece(from, open);
            let scrubbed = flow::scrub(self.scrubber, &self.text[open..close], self.depth);
            self.out.push_str(&scrubbed);
            from = close;
            if from >= end {
                break;
            }
        }
        if from > end {
            // The collection has ended on a later line, the rest of which comes now.
            let rest_end = self.text[from..]
                .find('\n')
                .map_or(self.text.len(), |n| from + n + 1);
            let rest = lines_rest(self.scrubber, &self.text[from..rest_end], self.depth);
            self.out.push_str(&rest);
            return rest_end;
        }
        self.piece(from, end);
        self.out.push_str(tail);
        end + tail.len()
    }

    /// Where the next collection may begin. It is looked for once, not again for each line before it.
    fn next_open(&mut self, from: usize) -> Option<usize> {
        if self.open.is_none_or(|open| open < from) {
            let found = self.scrubber.lines.open.find_at(self.text, from);
            self.open = Some(found.map_or(usize::MAX, |found| found.start()));
        }
        self.open.filter(|open| *open != usize::MAX)
    }

    fn piece(&mut self, from: usize, to: usize) {
        let piece = self.scrubber.piece(&self.text[from..to]);
        self.out.push_str(&piece);
    }
}

/// `"a b" c`: a value in marks, and something after it.
fn is_quoted_word(value: &str) -> bool {
    let Some(mark) = value.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        return false;
    };
    let mut before = mark;
    for (at, c) in value.char_indices().skip(1) {
        if c == mark && before != '\\' {
            return value[at + 1..].starts_with([' ', '\t']);
        }
        before = c;
    }
    false
}

/// What follows a collection on its last line.
fn lines_rest(scrubber: &Scrubber, text: &str, depth: usize) -> String {
    if text.trim().len() < 4 {
        text.to_owned()
    } else {
        scrubber.inner(text, depth + 1)
    }
}
