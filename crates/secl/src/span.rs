//! Places in a source text.

/// A range of bytes in the source text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
}

impl Span {
    /// The range `start..end`.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// The smallest range that covers both.
    pub fn to(self, other: Self) -> Self {
        Self::new(self.start.min(other.start), self.end.max(other.end))
    }
}

/// Line and column (in characters) of a byte offset, both from 1. An offset past the end is the end.
pub fn line_column(source: &str, offset: usize) -> (usize, usize) {
    let mut offset = offset.min(source.len());
    while !source.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &source[..offset];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (
        before.bytes().filter(|&byte| byte == b'\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

/// The source line that holds the start of the span, and beneath it carets under the span as far as it is on that line.
/// Tabs and control characters become one space or `?`, so that the carets stand right and a terminal stays sane.
pub fn snippet(source: &str, span: Span, line_number: usize) -> String {
    let (_, column) = line_column(source, span.start);
    let start = span.start.min(source.len());
    let line_start = (0..=start)
        .rev()
        .find(|&at| at == 0 || source.as_bytes()[at - 1] == b'\n')
        .unwrap_or(0);
    let line = source
        .get(line_start..)
        .unwrap_or_default()
        .lines()
        .next()
        .unwrap_or_default();
    // A rule of one very long line (a list of a hundred paths) is cut to a window around the span.
    let (skip, take) = if column > 100 {
        (column - 60, 160)
    } else {
        (0, 160)
    };
    let width = source
        .get(start..span.end.min(line_start + line.len()).max(start))
        .map_or(1, |text| text.chars().count())
        .clamp(1, (take + skip).saturating_sub(column - 1).max(1));
    let clean: String = line
        .chars()
        .skip(skip)
        .take(take)
        .map(|ch| match ch {
            '\t' => ' ',
            ch if ch.is_control() => '?',
            ch => ch,
        })
        .collect();
    let number = line_number.to_string();
    let gutter = " ".repeat(number.len());
    format!(
        "{number} | {clean}\n{gutter} | {}{}",
        " ".repeat(column - 1 - skip),
        "^".repeat(width)
    )
}
