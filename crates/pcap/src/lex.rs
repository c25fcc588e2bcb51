//! Text to tokens. The longest word wins, and what looks like an address is one: `80-90` is one word, `a.b.c` too.

use std::net::Ipv6Addr;

use crate::error::{Error, Span};
use crate::names;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    /// A word, lower and upper case as it stands; `true` if it was written `\word`, which keeps it from being a keyword.
    Word(String, bool),
    Number(u32),
    /// As in [`crate::ast::Id::V4`].
    V4(u32, u8),
    V6(u128),
    Mac([u8; 6]),
    /// One or two characters.
    Sign(&'static str),
}

/// Two characters first.
const SIGNS: [&str; 23] = [
    "&&", "||", ">=", "<=", "!=", "==", "<<", ">>", "(", ")", "[", "]", ":", "+", "-", "*", "/",
    "%", "&", "|", "^", "<", ">",
];

pub(crate) fn lex(text: &str) -> Result<Vec<(Token, Span)>, Error> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with([' ', '\t', '\r', '\n']) {
            at += 1;
            continue;
        }
        let (token, length) = next(rest, at)?;
        tokens.push((token, Span::new(at, at + length)));
        at += length;
    }
    Ok(tokens)
}

fn next(rest: &str, at: usize) -> Result<(Token, usize), Error> {
    if let Some(found) = with_colons(rest, at)? {
        return Ok(found);
    }
    let length = word_length(rest);
    if length > 0 {
        return Ok((word(&rest[..length], at)?, length));
    }
    if let Some(quoted) = rest.strip_prefix('\\') {
        let length = quoted
            .find([' ', '!', '(', ')', '\n', '\t'])
            .unwrap_or(quoted.len());
        if length > 0 {
            return Ok((Token::Word(quoted[..length].to_owned(), true), length + 1));
        }
    }
    for sign in SIGNS.into_iter().chain(["!", "="]) {
        if rest.starts_with(sign) {
            let token = match sign {
                "==" => "=",
                other => other,
            };
            return Ok((Token::Sign(token), sign.len()));
        }
    }
    let length = rest.chars().next().map_or(1, char::len_utf8);
    let message = format!("unexpected character {:?}", &rest[..length]);
    Err(Error::new(message, Span::new(at, at + length)))
}

/// An address of IPv6 or Ethernet with colons. `0:2` is none: two numbers of `tcp[0:2]`.
fn with_colons(rest: &str, at: usize) -> Result<Option<(Token, usize)>, Error> {
    let length = rest
        .find(|c: char| !(c.is_ascii_hexdigit() || c == ':' || c == '.'))
        .unwrap_or(rest.len());
    let run = &rest[..length];
    if run.matches(':').count() < 2 {
        return Ok(None);
    }
    if let Ok(address) = run.parse::<Ipv6Addr>() {
        return Ok(Some((Token::V6(address.into()), length)));
    }
    if let Some(mac) = mac(run) {
        return Ok(Some((Token::Mac(mac), length)));
    }
    let message = format!("`{run}` is neither an IPv6 nor an Ethernet address");
    Err(Error::new(message, Span::new(at, at + length)))
}

/// How long the word is that begins here; 0 for none. It ends in a letter, a digit or a point.
fn word_length(rest: &str) -> usize {
    if !rest.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return 0;
    }
    let run = rest
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
        .unwrap_or(rest.len());
    rest[..run].trim_end_matches(['-', '_']).len()
}

fn word(text: &str, at: usize) -> Result<Token, Error> {
    let span = Span::new(at, at + text.len());
    if let Some(number) = names::number(text) {
        return Ok(Token::Number(number));
    }
    if let Some(mac) = mac(text) {
        return Ok(Token::Mac(mac));
    }
    let hexadecimal = text
        .strip_prefix("0x")
        .or_else(|| text.strip_prefix("0X"))
        .filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit()));
    let (digits, radix) = match (hexadecimal, text.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) if !digits.is_empty() => (digits, 8),
        _ => (text, 10),
    };
    if digits.bytes().all(|b| b.is_ascii_hexdigit())
        && (radix == 16 || digits.bytes().all(|b| b.is_ascii_digit()))
    {
        return u32::from_str_radix(digits, radix)
            .map(Token::Number)
            .map_err(|_| {
                let message = match radix {
                    8 if digits.contains(['8', '9']) => {
                        format!("`{text}` begins with 0, so it is octal, which has no 8 and no 9")
                    }
                    _ => format!("`{text}` is more than 32 bits can hold"),
                };
                Error::new(message, span)
            });
    }
    match v4(text) {
        Some(Some((address, bits))) => Ok(Token::V4(address, bits)),
        Some(None) => Err(Error::new(
            format!("`{text}` is no IPv4 address: each number is at most 255"),
            span,
        )),
        None => Ok(Token::Word(text.to_owned(), false)),
    }
}

/// 2 to 4 decimal numbers with points between them; `Some(None)` if one is too large.
fn v4(text: &str) -> Option<Option<(u32, u8)>> {
    let parts: Vec<&str> = text.split('.').collect();
    let digits = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !(2..=4).contains(&parts.len()) || !parts.iter().all(digits) {
        return None;
    }
    let address = parts.iter().try_fold(0u32, |sum, part| {
        Some(sum << 8 | u32::from(part.parse::<u8>().ok()?))
    });
    Some(address.map(|address| (address, 8 * parts.len() as u8)))
}

/// `a:b:c:d:e:f` (also with points or hyphens), `aabb.ccdd.eeff` and `aabbccddeeff`.
fn mac(text: &str) -> Option<[u8; 6]> {
    let mut found = [0; 6];
    let hex = |part: &str| part.bytes().all(|b| b.is_ascii_hexdigit());
    for separator in [':', '-', '.'] {
        let parts: Vec<&str> = text.split(separator).collect();
        if parts.len() == 6 && parts.iter().all(|p| matches!(p.len(), 1 | 2) && hex(p)) {
            for (byte, part) in found.iter_mut().zip(parts) {
                *byte = u8::from_str_radix(part, 16).ok()?;
            }
            return Some(found);
        }
    }
    let parts: Vec<&str> = text.split('.').collect();
    let whole = match parts.len() {
        1 if text.len() == 12 => text.to_owned(),
        3 if parts.iter().all(|part| part.len() == 4) => parts.concat(),
        _ => return None,
    };
    if !hex(&whole) {
        return None;
    }
    for (byte, pair) in found.iter_mut().zip(whole.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(found)
}
