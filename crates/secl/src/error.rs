//! What can be wrong with an expression, where, and what to do about it.

use std::fmt;

use crate::span::{Span, line_column, snippet};

/// What kind of mistake it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// The text is no expression of the language.
    #[error("syntax error: {0}")]
    Syntax(String),
    /// A name that is no field, constant or macro.
    #[error("field `{0}` not found")]
    UnknownField(String),
    /// A variable that no rule sets.
    #[error("variable `{0}` doesn't exist")]
    UnknownVariable(String),
    /// Operands of types that do not go together.
    #[error("type error: {0}")]
    Type(String),
    /// An operator that these operands do not have.
    #[error("unknown operator: {0}")]
    Operator(String),
    /// A literal that is none: a pattern, regular expression, path, address or number.
    #[error("{0}")]
    Literal(String),
    /// An iterator or its variable used wrongly.
    #[error("{0}")]
    Iterator(String),
    /// The expression is about no event, or about several.
    #[error("{0}")]
    Event(String),
    /// The expression is too deep or too large.
    #[error("{0}")]
    Limit(String),
    /// An error inside a macro that the expression uses.
    #[error("in macro `{name}`: {error}")]
    Macro {
        /// The macro.
        name: String,
        /// What is wrong in it.
        error: Box<ErrorKind>,
    },
}

/// The longest message, in bytes: what it quotes may be a megabyte.
const MAX_MESSAGE: usize = 500;

fn clip(mut text: String) -> String {
    if text.len() > MAX_MESSAGE {
        text.truncate(text.floor_char_boundary(MAX_MESSAGE));
        text.push('…');
    }
    text
}

impl ErrorKind {
    fn clipped(self) -> Self {
        match self {
            Self::Syntax(text) => Self::Syntax(clip(text)),
            Self::UnknownField(text) => Self::UnknownField(clip(text)),
            Self::UnknownVariable(text) => Self::UnknownVariable(clip(text)),
            Self::Type(text) => Self::Type(clip(text)),
            Self::Operator(text) => Self::Operator(clip(text)),
            Self::Literal(text) => Self::Literal(clip(text)),
            Self::Iterator(text) => Self::Iterator(clip(text)),
            Self::Event(text) => Self::Event(clip(text)),
            Self::Limit(text) => Self::Limit(clip(text)),
            inside @ Self::Macro { .. } => inside,
        }
    }
}

/// One error, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What is wrong.
    pub kind: ErrorKind,
    /// Where in the source text.
    pub span: Span,
    /// What to do about it.
    pub help: Option<String>,
    /// The line of the span's start, from 1.
    pub line: usize,
    /// The column of the span's start in characters, from 1.
    pub column: usize,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, span: Span) -> Self {
        Self {
            kind: kind.clipped(),
            span,
            help: None,
            line: 1,
            column: 1,
        }
    }

    pub(crate) fn syntax(message: impl Into<String>, span: Span) -> Self {
        Self::new(ErrorKind::Syntax(message.into()), span)
    }

    pub(crate) fn ty(message: impl Into<String>, span: Span) -> Self {
        Self::new(ErrorKind::Type(message.into()), span)
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(clip(help.into()));
        self
    }

    pub(crate) fn located(mut self, source: &str) -> Self {
        (self.line, self.column) = line_column(source, self.span.start);
        self
    }

    /// The error with the source line, carets beneath the place, and what to do. `origin` names where the source is from (a
    /// rule's id, a file).
    pub fn render(&self, source: &str, origin: &str) -> String {
        let mut out = format!("{origin}:{}:{}: {}\n", self.line, self.column, self.kind);
        out.push_str(&snippet(source, self.span, self.line));
        if let Some(help) = &self.help {
            out.push_str("\n  help: ");
            out.push_str(help);
        }
        out
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.kind)
    }
}

impl std::error::Error for Error {}

/// The name among `known` that is most like `name`, if any is like it enough to be a slip.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_ascii_lowercase();
    let limit = (wanted.len() / 4).clamp(1, 4);
    known
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(wanted.len()) <= limit)
        .filter_map(|candidate| {
            let distance = strsim::osa_distance(&wanted, &candidate.to_ascii_lowercase());
            (distance <= limit).then_some((distance, candidate))
        })
        .min()
        .map(|(_, candidate)| candidate)
}
