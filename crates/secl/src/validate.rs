//! What a field can be compared with. What could never match is an error when the rule is compiled.

use crate::ast::CompareOp;
use crate::compile::Checker;
use crate::error::{Error, ErrorKind};
use crate::ir::Source;
use crate::model::Validator;
use crate::pattern::Literal;
use crate::span::Span;

/// The longest name that a file can have on Linux, in bytes.
const MAX_SEGMENT: usize = 255;

impl Checker<'_> {
    pub(crate) fn validate_text(
        &self,
        op: CompareOp,
        source: &Source,
        literal: &Literal,
        span: Span,
    ) -> Result<(), Error> {
        let Some((field, validator)) = self.validator(source) else {
            return Ok(());
        };
        match validator {
            Validator::Path => check_path(field, literal, span),
            Validator::MaxLength(max) => check_length(field, max, literal, span),
            Validator::PacketFilter => match literal {
                Literal::Text(text) if op == CompareOp::Eq => check_filter(text, span),
                _ => Err(packet_filter(field, span)),
            },
            Validator::NonNegative | Validator::None => Ok(()),
        }
    }

    /// A comparison with a text that is known only when an event is there.
    pub(crate) fn validate_dynamic(&self, source: &Source, span: Span) -> Result<(), Error> {
        match self.validator(source) {
            Some((field, Validator::PacketFilter)) => Err(packet_filter(field, span)),
            _ => Ok(()),
        }
    }

    pub(crate) fn validate_number(
        &self,
        source: &Source,
        value: i64,
        span: Span,
    ) -> Result<(), Error> {
        match self.validator(source) {
            Some((field, Validator::NonNegative)) if value < 0 => Err(literal(
                format!("invalid value `{value}`: `{field}` is never negative"),
                span,
            )
            .help("an audit id that is not set is AUDIT_AUID_UNSET")),
            _ => Ok(()),
        }
    }

    /// The name and validator of the field that a source is.
    fn validator<'s>(&self, source: &'s Source) -> Option<(&'s str, Validator)> {
        match source {
            Source::Field { name, .. } => Some((&name.0, self.field_info(&name.0)?.validator)),
            _ => None,
        }
    }
}

fn literal(message: String, span: Span) -> Error {
    Error::new(ErrorKind::Literal(message), span)
}

/// A filter that does not compile is an error of the rule, at its place inside the literal.
fn check_filter(text: &str, span: Span) -> Result<(), Error> {
    let Err(error) = atalaya_pcap::Filter::new(text) else {
        return Ok(());
    };
    // Between the quotes, where the text is as it was written.
    let start = span.start + 1 + error.span.start;
    let inside = Span::new(start, (span.start + 1 + error.span.end).max(start + 1));
    let found = literal(format!("invalid packet filter: {}", error.message), inside);
    Err(match error.help {
        Some(help) => found.help(help),
        None => found.help("filters are written as for tcpdump: \"tcp and dst port 53\""),
    })
}

fn packet_filter(field: &str, span: Span) -> Error {
    literal(
        format!("`{field}` can only be compared by `==` with one string"),
        span,
    )
    .help("the string is a filter as tcpdump takes it: \"tcp and dst port 53\"")
}

fn check_length(field: &str, max: usize, value: &Literal, span: Span) -> Result<(), Error> {
    let (text, length) = match value {
        Literal::Text(text) => (text, text.len()),
        Literal::Pattern(text) => (text, text.bytes().filter(|byte| *byte != b'*').count()),
        Literal::Regexp(_) => return Ok(()),
    };
    if length <= max {
        return Ok(());
    }
    let message = format!("`{text}` has {length} characters, `{field}` at most {max}");
    Err(literal(message, span).help("the kernel cuts longer names; use a pattern"))
}

/// A path that no file can have is a mistake.
fn check_path(field: &str, value: &Literal, span: Span) -> Result<(), Error> {
    let (text, pattern) = match value {
        Literal::Text(text) => (text, false),
        Literal::Pattern(text) => (text, true),
        Literal::Regexp(_) => {
            return Err(literal(format!("regexp not supported on path `{field}`"), span)
                .help("use a pattern, as in ~\"/etc/*.conf\", or compare the field that ends in .name"));
        }
    };
    let wrong = |message: &str, help: &str| {
        Err(literal(format!("invalid path `{text}`: {message}"), span).help(help))
    };
    if text.is_empty() {
        return Ok(());
    }
    if pattern && text == "*" {
        return wrong(
            "a bare `*` matches no absolute path",
            "write ~\"/**\" for every file",
        );
    }
    let absolute = text.starts_with('/') || pattern && text.starts_with('*');
    if !absolute {
        return wrong(
            "all paths have to be absolute",
            "compare a name with the field that ends in .name",
        );
    }
    if text.split('/').any(|element| matches!(element, ".." | ".")) || text.contains("//") {
        return wrong(
            "paths have to be clean",
            "write it without `..`, `.` and `//`",
        );
    }
    if text.len() > 1 && text.ends_with('/') {
        return wrong(
            "paths do not end in `/`",
            "write ~\"…/*\" for what is in the directory, ~\"…/**\" for all below",
        );
    }
    if text
        .split('/')
        .any(|element| element.len() > MAX_SEGMENT && !element.contains('*'))
    {
        return wrong(
            "no file name is longer than 255 bytes",
            "use a pattern if the end does not matter",
        );
    }
    Ok(())
}
