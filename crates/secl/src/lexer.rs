//! Text → tokens.
//!
//! Follows the reference where a token is ambiguous: an address is tried before a number or name, a duration before a
//! number, the sign belongs to the number (`5-2` is two numbers), strings are taken as they stand (a backslash only keeps
//! a quote from ending the string). Operators of two characters may have space between them. Unlike the reference, a name
//! takes brackets only in pairs (`a[0]`), so that `[A]` and `[ A ]` are the same list.

use ipnet::IpNet;

use crate::error::{Error, ErrorKind};
use crate::span::Span;

/// The longest expression that is looked at, in bytes.
pub(crate) const MAX_SOURCE: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Tok<'s> {
    Ident(&'s str),
    Int(i64),
    /// In nanoseconds.
    Duration(i64),
    /// One address.
    Ip(IpNet),
    Cidr(IpNet),
    Str(&'s str),
    Pattern(&'s str),
    Regexp(&'s str),
    Variable(&'s str),
    FieldRef(&'s str),
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Match,
    NotMatch,
    AndAnd,
    OrOr,
    Bang,
    Amp,
    Pipe,
    Caret,
    Plus,
    Minus,
    /// A lone `=`: always a mistake.
    Assign,
    LParen,
    RParen,
    LBracket,
    RBracket,
    Comma,
    Eof,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Token<'s> {
    pub(crate) tok: Tok<'s>,
    pub(crate) span: Span,
}

/// All tokens of the source; the last is `Eof`.
pub(crate) fn tokenize(source: &str) -> Result<Vec<Token<'_>>, Error> {
    if source.len() > MAX_SOURCE {
        let message = format!(
            "expression of {} bytes; at most {MAX_SOURCE} are taken",
            source.len()
        );
        return Err(Error::new(ErrorKind::Limit(message), Span::default()));
    }
    let mut lexer = Lexer { source, at: 0 };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.token()?;
        tokens.push(token);
        if token.tok == Tok::Eof {
            return Ok(tokens);
        }
    }
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.source.as_bytes().get(self.at).copied()
    }

    fn skip_blank(&mut self) {
        loop {
            let rest = self.rest();
            let text = rest.trim_start_matches([' ', '\t', '\n', '\r']);
            self.at += rest.len() - text.len();
            if text.starts_with('#') || text.starts_with("//") {
                self.at += text.find('\n').unwrap_or(text.len());
            } else {
                return;
            }
        }
    }

    fn token(&mut self) -> Result<Token<'s>, Error> {
        self.skip_blank();
        let start = self.at;
        let tok = self.scan(start)?;
        Ok(Token {
            tok,
            span: Span::new(start, self.at),
        })
    }

    fn scan(&mut self, start: usize) -> Result<Tok<'s>, Error> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Ok(Tok::Eof);
        };
        if let Some(tok) = self.address(start)? {
            return Ok(tok);
        }
        if rest.starts_with("~\"") {
            self.at += 1;
            return self.quoted("pattern", start).map(Tok::Pattern);
        }
        if rest.starts_with("r\"") {
            self.at += 1;
            return self.quoted("regexp", start).map(Tok::Regexp);
        }
        if first == '"' {
            return self.quoted("string", start).map(Tok::Str);
        }
        if rest.starts_with("${") || rest.starts_with("%{") {
            return self.reference(start, first == '$');
        }
        if first.is_ascii_digit() {
            return self.number(start, false);
        }
        if first.is_ascii_alphabetic() || first == '_' {
            return Ok(Tok::Ident(self.ident()));
        }
        if matches!(first, '+' | '-') && rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit) {
            // The sign belongs to a number, but not to a duration.
            let digits = rest[1..].trim_start_matches(|ch: char| ch.is_ascii_digit());
            if duration_unit(digits).is_none() {
                return self.number(start, true);
            }
        }
        self.at += first.len_utf8();
        self.operator(first, start)
    }

    /// Takes the second character of an operator, with any space before it.
    fn second(&mut self, wanted: u8) -> bool {
        let saved = self.at;
        self.skip_blank();
        if self.peek() == Some(wanted) {
            self.at += 1;
            return true;
        }
        self.at = saved;
        false
    }

    fn operator(&mut self, first: char, start: usize) -> Result<Tok<'s>, Error> {
        let span = Span::new(start, self.at);
        Ok(match first {
            '=' if self.second(b'=') => Tok::Eq,
            '=' if self.second(b'~') => Tok::Match,
            '=' => Tok::Assign,
            '!' if self.second(b'=') => Tok::Ne,
            '!' if self.second(b'~') => Tok::NotMatch,
            '!' => Tok::Bang,
            '<' if self.second(b'=') => Tok::Le,
            '<' => Tok::Lt,
            '>' if self.second(b'=') => Tok::Ge,
            '>' => Tok::Gt,
            '&' if self.second(b'&') => Tok::AndAnd,
            '&' => Tok::Amp,
            '|' if self.second(b'|') => Tok::OrOr,
            '|' => Tok::Pipe,
            '^' => Tok::Caret,
            '+' => Tok::Plus,
            '-' => Tok::Minus,
            '(' => Tok::LParen,
            ')' => Tok::RParen,
            '[' => Tok::LBracket,
            ']' => Tok::RBracket,
            ',' => Tok::Comma,
            '\'' => {
                return Err(Error::syntax("unexpected `'`", span)
                    .help("strings stand in double quotes: \"…\""));
            }
            '~' => {
                return Err(Error::syntax("unexpected `~`", span)
                    .help("a pattern is written ~\"…\", without space"));
            }
            '“' | '”' => {
                return Err(Error::syntax("unexpected typographic quote", span)
                    .help("use the plain quote \""));
            }
            other => {
                let shown = if other.is_control() {
                    other.escape_default().to_string()
                } else {
                    other.to_string()
                };
                return Err(Error::syntax(
                    format!("unexpected character `{shown}`"),
                    span,
                ));
            }
        })
    }

    fn quoted(&mut self, what: &str, start: usize) -> Result<&'s str, Error> {
        let open = self.at + 1;
        let mut bytes = self.source.bytes().enumerate().skip(open);
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'\\' => {
                    bytes.next();
                }
                b'"' => {
                    self.at = at + 1;
                    return Ok(&self.source[open..at]);
                }
                _ => {}
            }
        }
        Err(Error::syntax(
            format!("{what} without closing quote"),
            Span::new(start, self.source.len()),
        ))
    }

    fn reference(&mut self, start: usize, variable: bool) -> Result<Tok<'s>, Error> {
        let allowed = |ch: char| {
            ch.is_ascii_alphanumeric()
                || matches!(ch, '_' | '.')
                || !variable && matches!(ch, '[' | ']')
        };
        let body = &self.source[start + 2..];
        let name = &body[..body.len() - body.trim_start_matches(allowed).len()];
        self.at = start + 2 + name.len();
        let starts_well = name.starts_with(|ch: char| ch.is_ascii_alphabetic() || ch == '_');
        if !starts_well || self.peek() != Some(b'}') {
            let what = if variable { "${name}" } else { "%{field}" };
            return Err(Error::syntax(
                format!("expected {what}"),
                Span::new(start, self.at),
            ));
        }
        self.at += 1;
        Ok(if variable {
            Tok::Variable(name)
        } else {
            Tok::FieldRef(name)
        })
    }

    fn ident(&mut self) -> &'s str {
        let word = |ch: char| ch.is_ascii_alphanumeric() || ch == '_';
        let start = self.at;
        loop {
            let rest = self.rest();
            let after = rest.trim_start_matches(|ch: char| word(ch) || ch == '.');
            self.at += rest.len() - after.len();
            let Some(inside) = after.strip_prefix('[') else {
                break;
            };
            let tail = inside.trim_start_matches(word);
            let keyword = matches!(&self.source[start..self.at], "in" | "allin");
            if keyword || !tail.starts_with(']') {
                break;
            }
            self.at += after.len() - tail.len() + 1;
        }
        &self.source[start..self.at]
    }

    fn number(&mut self, start: usize, signed: bool) -> Result<Tok<'s>, Error> {
        self.at += usize::from(signed);
        let rest = self.rest();
        let after = rest.trim_start_matches(|ch: char| ch.is_ascii_digit());
        let digits = &rest[..rest.len() - after.len()];
        self.at += digits.len();
        let too_large = |end| {
            Error::new(
                ErrorKind::Literal("number out of range".to_owned()),
                Span::new(start, end),
            )
        };
        if let Some((unit, factor)) = duration_unit(after) {
            self.at += unit.len();
            let count: i64 = digits.parse().map_err(|_| too_large(self.at))?;
            return count
                .checked_mul(factor)
                .map(Tok::Duration)
                .ok_or_else(|| too_large(self.at));
        }
        if after.starts_with(|ch: char| ch.is_alphanumeric() || ch == '_') {
            let word = after.len()
                - after
                    .trim_start_matches(|ch: char| ch.is_alphanumeric() || ch == '_')
                    .len();
            let span = Span::new(start, self.at + word);
            let error = Error::syntax(
                format!(
                    "`{}` is neither number nor name",
                    &self.source[start..span.end]
                ),
                span,
            );
            return Err(if digits == "0" && after.starts_with(['x', 'X']) {
                error.help("numbers are decimal, or octal with a leading 0")
            } else {
                error.help("durations end in ms, s, m or h")
            });
        }
        // As the reference's number parser does it: a leading zero means octal, as in 0644.
        let octal = digits.len() > 1 && digits.starts_with('0');
        let text = &self.source[start..self.at];
        let value = if octal {
            let negative = text.starts_with('-');
            if digits.bytes().any(|digit| digit > b'7') {
                let error = Error::new(
                    ErrorKind::Literal(format!("invalid octal number `{text}`")),
                    Span::new(start, self.at),
                );
                return Err(error.help("a leading 0 makes a number octal"));
            }
            i64::from_str_radix(digits, 8).map(|value| if negative { -value } else { value })
        } else {
            text.parse()
        };
        value.map(Tok::Int).map_err(|_| too_large(self.at))
    }

    /// An address or network at this place, if there is one.
    fn address(&mut self, start: usize) -> Result<Option<Tok<'s>>, Error> {
        let rest = self.rest();
        let body =
            rest.trim_start_matches(|ch: char| ch.is_ascii_hexdigit() || matches!(ch, ':' | '.'));
        let text = &rest[..rest.len() - body.len()];
        let dotted = text.starts_with(|ch: char| ch.is_ascii_digit()) && text.contains('.');
        // A colon stands nowhere else in the language.
        if !dotted && !text.contains(':') {
            return Ok(None);
        }
        let prefix = body.strip_prefix('/').map(|tail| {
            let digits = tail.len()
                - tail
                    .trim_start_matches(|ch: char| ch.is_ascii_digit())
                    .len();
            &tail[..digits]
        });
        let prefix = prefix.filter(|digits| !digits.is_empty());
        self.at += text.len() + prefix.map_or(0, |digits| digits.len() + 1);
        let whole = &self.source[start..self.at];
        let net = match prefix {
            Some(_) => whole.parse::<IpNet>().ok(),
            None => whole.parse::<std::net::IpAddr>().ok().map(IpNet::from),
        };
        let Some(net) = net else {
            let what = if prefix.is_some() { "CIDR" } else { "IP" };
            let kind = ErrorKind::Literal(format!("invalid {what} `{whole}`"));
            return Err(Error::new(kind, Span::new(start, self.at)));
        };
        let net = crate::ip::canonical(net);
        Ok(Some(if prefix.is_some() {
            Tok::Cidr(net)
        } else {
            Tok::Ip(net)
        }))
    }
}

/// The unit that the text begins with, and its length in nanoseconds.
fn duration_unit(text: &str) -> Option<(&'static str, i64)> {
    const UNITS: [(&str, i64); 4] = [
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    let found = UNITS.into_iter().find(|(unit, _)| text.starts_with(unit))?;
    let after = &text[found.0.len()..];
    (!after.starts_with(|ch: char| ch.is_alphanumeric() || ch == '_')).then_some(found)
}
