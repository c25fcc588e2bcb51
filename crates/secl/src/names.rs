//! What a name means: a constant, a macro or a field, with its iterator, index, length and root domain.

use crate::compile::Checker;
use crate::error::{Error, ErrorKind, nearest};
use crate::ir::{Iter, Label, Part, Source};
use crate::model::{FieldInfo, TextKind, Type};
use crate::span::Span;

/// How many references one string may about have: a bound on the time to put it together.
const MAX_REFERENCES: usize = 50;

impl Checker<'_> {
    /// The source for a field name as it is written in a rule, with subscripts and suffixes.
    pub(crate) fn field(&mut self, written: &str, span: Span) -> Result<Source, Error> {
        if let Some(source) = self.try_field(written, span)? {
            return Ok(source);
        }
        for (suffix, length) in [(".length", true), (".root_domain", false)] {
            let Some(base) = written.strip_suffix(suffix) else {
                continue;
            };
            if length && let Some(iter) = self.scope.schema.iterator(base) {
                return Ok(Source::IterLength(iter));
            }
            if let Some(source) = self.try_field(base, span)? {
                return derived(source, written, length, span);
            }
        }
        Err(self.unknown(written, span))
    }

    fn try_field(&mut self, written: &str, span: Span) -> Result<Option<Source>, Error> {
        let (name, subscripts) = split_subscripts(written, span)?;
        let Some(info) = self.scope.schema.field(&name) else {
            return Ok(None);
        };
        if name == "event.rule.tags" {
            return Ok(Some(Source::Texts(self.scope.rule_tags.to_vec())));
        }
        let mut iter = match info.iterator {
            Some(iter) => Iter::Any(iter),
            None => Iter::None,
        };
        let mut index = None;
        for Subscript { before, text, last } in subscripts {
            if last
                && info.list
                && let Ok(number) = text.parse()
            {
                index = Some(number);
                continue;
            }
            if last {
                let kind = ErrorKind::Iterator(format!(
                    "field `{name}` is not an array, cannot use index access"
                ));
                return Err(Error::new(kind, span));
            }
            let found = self.scope.schema.iterator(&before);
            let (Some(found), Iter::Any(of_field)) = (found, iter) else {
                let kind = ErrorKind::Iterator(format!("`{before}` is not an iterator"));
                return Err(Error::new(kind, span));
            };
            if found != of_field {
                let kind =
                    ErrorKind::Iterator(format!("`{before}` is not the iterator of `{name}`"));
                return Err(Error::new(kind, span));
            }
            // Rules of old engines write [_] for what is now written without brackets.
            if text == "_" {
                continue;
            }
            match &self.register {
                Some((known, iter)) if *known == text && *iter != found => {
                    let kind = ErrorKind::Iterator(format!(
                        "iterator variable used by different fields '{text}'"
                    ));
                    return Err(Error::new(kind, span));
                }
                Some((known, _)) if *known != text => {
                    let kind = ErrorKind::Iterator(format!(
                        "only one iterator variable per rule: '{known}' and '{text}'"
                    ));
                    return Err(Error::new(kind, span));
                }
                _ => self.register = Some((text.to_owned(), found)),
            }
            iter = Iter::Register;
        }
        self.note_field(&info, span)?;
        let many = info.list && index.is_none() || matches!(iter, Iter::Any(_));
        Ok(Some(Source::Field {
            id: self.scope.schema.same_as(info.id),
            name: Label(info.name.clone().into_owned()),
            ty: info.ty,
            text: info.text,
            many,
            iter,
            index,
            // What nothing fills is read without any work.
            weight: match info.unavailable {
                Some(_) => 0,
                None => info.weight,
            },
        }))
    }

    /// Takes down that the expression reads the field, and what event that makes it about.
    fn note_field(&mut self, info: &FieldInfo, span: Span) -> Result<(), Error> {
        if let Some(event) = &info.event {
            match &self.event {
                Some(known) if known != event => {
                    let message = format!(
                        "rule with multiple events is not supported: `{known}` and `{event}`"
                    );
                    return Err(Error::new(ErrorKind::Event(message), span)
                        .help("write one rule for each event"));
                }
                Some(_) => {}
                None => self.event = Some(event.to_string()),
            }
        } else if !info.restricted_to.is_empty() {
            self.restricted
                .push((info.name.clone(), info.restricted_to, span));
        }
        self.add_field(info);
        Ok(())
    }

    /// The source for a variable, without `${` and `}`.
    pub(crate) fn variable(&mut self, name: &str, span: Span) -> Result<Source, Error> {
        let find = |checker: &mut Self, name: &str| match name {
            "builtins.uuid4" => Ok(Some(Source::Uuid)),
            _ => match checker.scope.variables.variable(name) {
                Some(info) => Ok(Some(Source::Variable {
                    id: info.id,
                    name: Label(name.to_owned()),
                    ty: info.ty,
                    many: info.list,
                })),
                // Predefined: the same as the field.
                None if name == "process.pid" => checker.try_field(name, span),
                None => Ok(None),
            },
        };
        if let Some(source) = find(self, name)? {
            return Ok(source);
        }
        if let Some(base) = name.strip_suffix(".length")
            && let Some(source) = find(self, base)?
        {
            return derived(source, name, true, span);
        }
        let names = self.scope.variables.names();
        let known = names
            .iter()
            .map(String::as_str)
            .chain(["process.pid", "builtins.uuid4"]);
        let error = Error::new(ErrorKind::UnknownVariable(name.to_owned()), span);
        Err(match nearest(name, known) {
            Some(found) => error.help(format!("did you mean `${{{found}}}`?")),
            None => error.help("variables are created by `set` actions"),
        })
    }

    /// The parts of a text with `${…}` and `%{…}`; `None` when it has none. What is no whole reference is plain text.
    pub(crate) fn interpolation(
        &mut self,
        text: &str,
        span: Span,
    ) -> Result<Option<Source>, Error> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        let mut dynamic = false;
        while let Some(at) = rest.find(['$', '%']) {
            let (before, after) = rest.split_at(at);
            plain.push_str(before);
            let Some((name, variable, tail)) = reference(after) else {
                plain.push_str(&after[..1]);
                rest = &after[1..];
                continue;
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            if parts.len() >= 2 * MAX_REFERENCES {
                let message = format!("more than {MAX_REFERENCES} references in one string");
                return Err(Error::new(ErrorKind::Limit(message), span));
            }
            parts.push(Part::Source(if variable {
                self.variable(name, span)?
            } else {
                self.field(name, span)?
            }));
            dynamic = true;
            rest = tail;
        }
        if !dynamic {
            return Ok(None);
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Some(Source::Format(parts)))
    }

    pub(crate) fn unknown(&self, name: &str, span: Span) -> Error {
        let fields = self.scope.schema.field_names();
        let constants = self.scope.schema.constant_names();
        let macros = self.scope.macros.macros.keys().map(String::as_str);
        let known = fields.iter().chain(&constants).map(AsRef::as_ref);
        let error = Error::new(ErrorKind::UnknownField(name.to_owned()), span);
        let distance = |other: &str| {
            let (name, other) = (name.to_ascii_lowercase(), other.to_ascii_lowercase());
            strsim::osa_distance(&name, &other)
        };
        // Of what is equally like it the author's own names come first.
        let candidates = [nearest(name, macros), nearest(name, known)];
        let best = candidates
            .into_iter()
            .flatten()
            .min_by_key(|found| distance(found));
        match best {
            Some(found) => error.help(format!("did you mean `{found}`?")),
            None => error,
        }
    }
}

/// The length or root domain of a source.
fn derived(source: Source, written: &str, length: bool, span: Span) -> Result<Source, Error> {
    let text = source.ty() == Type::String;
    let list = matches!(&source, Source::Field { many, iter, .. } if *many && !matches!(iter, Iter::Any(_)))
        || matches!(&source, Source::Variable { many: true, .. });
    if length && (text || list) {
        return Ok(Source::Length(Box::new(source)));
    }
    if !length && text && source.text_kind() != TextKind::Path {
        return Ok(Source::RootDomain(Box::new(source)));
    }
    Err(Error::new(
        ErrorKind::UnknownField(written.to_owned()),
        span,
    ))
}

/// A whole `${name}` or `%{name}` at the start of the text: the name, whether it is a variable, and what follows.
fn reference(text: &str) -> Option<(&str, bool, &str)> {
    let variable = text.starts_with("${");
    let body = text
        .strip_prefix("${")
        .or_else(|| text.strip_prefix("%{"))?;
    let (name, tail) = body.split_once('}')?;
    let allowed = |ch: char| {
        ch.is_ascii_alphanumeric()
            || matches!(ch, '_' | '.')
            || !variable && matches!(ch, '[' | ']')
    };
    let good = name.starts_with(|ch: char| ch.is_ascii_alphabetic() || ch == '_')
        && name.chars().all(allowed);
    good.then_some((name, variable, tail))
}

struct Subscript {
    /// The name before the bracket, without other subscripts.
    before: String,
    text: String,
    /// Nothing follows it.
    last: bool,
}

/// `process.ancestors[A].argv[0]` → `process.ancestors.argv` and its two subscripts.
fn split_subscripts(written: &str, span: Span) -> Result<(String, Vec<Subscript>), Error> {
    let mut name = String::new();
    let mut subscripts = Vec::new();
    let mut rest = written;
    while let Some((before, after)) = rest.split_once('[') {
        let Some((text, tail)) = after.split_once(']') else {
            return Err(Error::new(
                ErrorKind::Iterator(format!("`[` without `]` in `{written}`")),
                span,
            ));
        };
        name.push_str(before);
        if text.is_empty() {
            let kind = ErrorKind::Iterator(format!("empty brackets in `{written}`"));
            return Err(Error::new(kind, span)
                .help("name the element, as in [A], or leave the brackets out"));
        }
        subscripts.push(Subscript {
            before: name.clone(),
            text: text.to_owned(),
            last: tail.is_empty(),
        });
        rest = tail;
    }
    name.push_str(rest);
    Ok((name, subscripts))
}
