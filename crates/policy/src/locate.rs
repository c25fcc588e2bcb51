//! From a place inside a value (an expression) to the place in the YAML file that it is written at.

use atalaya_secl::Span;

use crate::report::LoadError;
use crate::yaml::Place;

/// A file, for error messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct File<'a> {
    pub(crate) name: &'a str,
    pub(crate) source: &'a str,
}

impl File<'_> {
    /// An error about the file as a whole.
    pub(crate) fn whole(&self, message: impl Into<String>) -> LoadError {
        LoadError::whole(self.name, message.into())
    }

    /// An error at a node.
    pub(crate) fn error(&self, at: Place, message: impl Into<String>) -> LoadError {
        let first_line = self
            .source
            .get(at.start..at.end)
            .map_or(0, |text| text.find('\n').unwrap_or(text.len()));
        self.at_span(
            at,
            Span::new(at.start, at.start + first_line),
            message.into(),
        )
    }

    /// An error of the language, in an expression that is the value of a node.
    pub(crate) fn in_expression(
        &self,
        at: Place,
        value: &str,
        context: &str,
        error: &atalaya_secl::Error,
    ) -> LoadError {
        LoadError {
            help: error.help.clone(),
            ..self.in_text(at, value, error.span, format!("{context}{}", error.kind))
        }
    }

    /// An error at a part of the value of a node.
    pub(crate) fn in_text(&self, at: Place, value: &str, span: Span, message: String) -> LoadError {
        let raw = self.source.get(at.start..at.end).unwrap_or_default();
        let start = at.start + file_offset(raw, value, span.start);
        let end = at.start + file_offset(raw, value, span.end.max(span.start + 1) - 1) + 1;
        self.at_span(at, Span::new(start, end.max(start)), message)
    }

    /// An error at a line and column, as the YAML reader gives them.
    pub(crate) fn at_line(&self, line: usize, column: usize, message: String) -> LoadError {
        if line == 0 {
            return self.whole(message);
        }
        let line_start = self
            .source
            .split_inclusive('\n')
            .take(line - 1)
            .map(str::len)
            .sum::<usize>();
        let rest = self.source.get(line_start..).unwrap_or_default();
        let within = rest
            .char_indices()
            .nth(column.saturating_sub(1))
            .map_or(0, |(at, _)| at);
        let at = Place {
            line,
            column,
            start: line_start + within,
            end: line_start + within + 1,
        };
        LoadError {
            column,
            ..self.at_span(at, Span::new(at.start, at.end), message)
        }
    }

    /// An error at a part of a node. The lines before the node are not counted again: files are large, and so is the number of
    /// errors that one may have.
    fn at_span(&self, node: Place, span: Span, message: String) -> LoadError {
        let start = span.start.min(self.source.len());
        let before = self.source.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let skipped = before.get(node.start..).unwrap_or_default();
        let line = node.line + skipped.bytes().filter(|&byte| byte == b'\n').count();
        let source = self.source.get(line_start..).unwrap_or_default();
        let end = source.find('\n').unwrap_or(source.len());
        let source = source.get(..end).unwrap_or_default();
        let source = source.strip_suffix('\r').unwrap_or(source);
        let span = Span::new(start - line_start, span.end.max(start) - line_start);
        let (_, column) = atalaya_secl::line_column(source, span.start);
        LoadError {
            file: self.name.to_owned(),
            line,
            column,
            message,
            help: None,
            snippet: Some(atalaya_secl::snippet(source, span, line)),
        }
    }
}

/// The offset in the raw text of a scalar that the value's byte `offset` comes from. Quotes, escapes, folding and the
/// indentation of block scalars make them differ.
fn file_offset(raw: &str, value: &str, offset: usize) -> usize {
    let bytes = raw.as_bytes();
    let quote = match bytes.first() {
        Some(quote @ (b'"' | b'\'')) if raw.len() > 1 && bytes.last() == Some(quote) => {
            Some(*quote)
        }
        _ => None,
    };
    let mut at = usize::from(quote.is_some());
    let mut chars = value.char_indices().peekable();
    while let Some((index, ch)) = chars.next() {
        if index >= offset {
            break;
        }
        if ch.is_whitespace() {
            // A run of blanks and line breaks is written as another one.
            while chars
                .next_if(|(index, next)| *index < offset && next.is_whitespace())
                .is_some()
            {}
            let rest = raw.get(at..).unwrap_or_default();
            let blanks = rest.len() - rest.trim_start().len();
            let escaped = quote == Some(b'"') && blanks == 0 && rest.starts_with('\\');
            at += if escaped { 2 } else { blanks };
            continue;
        }
        at += match (quote, bytes.get(at)) {
            (Some(b'"'), Some(b'\\')) => escape_length(&bytes[at..]),
            (Some(b'\''), Some(b'\'')) => 2,
            _ => ch.len_utf8(),
        };
    }
    // A place between two parts of the value is the start of the latter.
    while !raw.is_char_boundary(at.min(raw.len())) {
        at += 1;
    }
    at.min(raw.len())
}

fn escape_length(bytes: &[u8]) -> usize {
    match bytes.get(1) {
        Some(b'x') => 4,
        Some(b'u') => 6,
        Some(b'U') => 10,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use crate::yaml::{Kind, parse};

    #[test]
    fn places_in_scalars_of_every_style() {
        for source in [
            "e: a.b == \"x\" && MARK\n",
            "e: 'a.b == \"x\" && ''q'' MARK'\n",
            "e: \"a.b == \\\"x\\\" \\\\ && MARK\"\n",
            "e: |-\n  a.b == \"x\"\n    && é MARK\n  || c\n",
            "e: >-\n  a.b == \"x\"\n  && é\n\n  MARK || c\n",
            "e: a.b == \"x\"\n   &&   MARK || c\n",
            "e: \"a.b\n  && MARK || c\"\n",
        ] {
            let node = parse(source).unwrap();
            let Kind::Map(entries) = node.kind else {
                panic!("{source}")
            };
            let value = &entries[0].1;
            let Kind::Text(text) = &value.kind else {
                panic!("{source}")
            };
            let offset = text.find("MARK").unwrap();
            let raw = &source[value.at.start..value.at.end];
            let found = value.at.start + file_offset(raw, text, offset);
            assert_eq!(&source[found..found + 4], "MARK", "{source}");
        }
    }
}
