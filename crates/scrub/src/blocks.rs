//! What goes over several lines: keys between `-----BEGIN` and `-----END`. And how bytes become text.

use std::borrow::Cow;

use regex::Regex;

use crate::MASK;
use crate::names::regex;

/// The expressions, compiled.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    whole: Regex,
    cut_end: Regex,
    cut_begin: Regex,
    putty: Regex,
}

impl Rules {
    pub(crate) fn new() -> Self {
        // A line of it: base64, headers as `Proc-Type: 4,ENCRYPTED`; between the lines line feeds, or the two characters \n, and what a log puts there.
        let line = r#"(?:(?:[ \t>|#*"'+,]|\\+[nrt]|\r?\n)*(?:[A-Za-z0-9+/=]{16,}|[A-Za-z0-9+/=]{1,}(?:\\+[nr]|\r?\n|["'\s]|$)|(?:Proc-Type|DEK-Info|Comment|Version): [^\r\n\\]*))"#;
        Self {
            whole: regex(r"(?s)-----BEGIN [A-Z0-9 ]+-----.*?-----END [A-Z0-9 ]+-----"),
            cut_end: regex(&format!("-----BEGIN [A-Z0-9 ]+-----{line}*")),
            cut_begin: regex(&format!(
                "{line}+(?:[ \\t>|#*\"'+,]|\\\\+[nrt]|\\r?\\n)*-----END [A-Z0-9 ]+-----"
            )),
            putty: regex(r"(?m)^(Private-Lines|Public-Lines): \d+(?:\r?\n[A-Za-z0-9+/=]+)+"),
        }
    }

    pub(crate) fn replace<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        if text.contains("-----") {
            // Whole ones first, so that a log that was cut in the middle of one loses no more than that one.
            for rule in [&self.whole, &self.cut_end, &self.cut_begin] {
                if rule.is_match(&text) {
                    text = Cow::Owned(rule.replace_all(&text, MASK).into_owned());
                }
            }
        }
        if text.contains("-Lines: ") && self.putty.is_match(&text) {
            let hidden = self.putty.replace_all(&text, "$1: ********");
            text = Cow::Owned(hidden.into_owned());
        }
        text
    }
}

/// Without the sequences that colour a terminal: `ESC[3mpassword ESC[0m=x` would name nothing.
pub(crate) fn without_escapes(text: &str) -> Cow<'_, str> {
    if !text.contains(['\u{1b}', '\u{9b}', '\0']) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let sequence = match c {
            // Ends of strings in what was meant for C: a separator.
            '\0' => {
                out.push('\n');
                continue;
            }
            '\u{1b}' if chars.peek() == Some(&'[') => {
                chars.next();
                true
            }
            '\u{9b}' => true,
            '\u{1b}' => continue,
            _ => {
                out.push(c);
                continue;
            }
        };
        if sequence {
            while chars.next_if(|c| matches!(c, ' '..='?')).is_some() {}
            chars.next_if(|c| matches!(c, '@'..='~'));
        }
    }
    Cow::Owned(out)
}

/// The text of a file.
pub(crate) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    let units = |read: fn([u8; 2]) -> u16| -> String {
        let units = bytes[2..]
            .chunks_exact(2)
            .map(|pair| read([pair[0], pair[1]]));
        char::decode_utf16(units)
            .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect()
    };
    match bytes {
        [0xff, 0xfe, ..] => Cow::Owned(units(u16::from_le_bytes)),
        [0xfe, 0xff, ..] => Cow::Owned(units(u16::from_be_bytes)),
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest),
        _ => String::from_utf8_lossy(bytes),
    }
}
