//! Text that an attacker may have chosen (paths, arguments, names) on its way to a terminal.
//!
//! A terminal obeys control characters, and characters that change direction or have no width make text read as
//! something else. Here they become visible, and every other character stays as it is.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};

/// Shows text with each dangerous character escaped as in Rust: `\n`, `\x1b`, `\u{202e}`; a backslash as `\\`, so that
/// what is shown is unambiguous.
#[derive(Debug, Clone, Copy)]
pub struct Sanitized<'a>(pub &'a str);

impl Display for Sanitized<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(|c| c == '\\' || is_dangerous(c)) {
            f.write_str(&rest[..at])?;
            let mut chars = rest[at..].chars();
            match chars.next() {
                Some('\\') => f.write_str("\\\\")?,
                Some('\n') => f.write_str("\\n")?,
                Some('\r') => f.write_str("\\r")?,
                Some('\t') => f.write_str("\\t")?,
                Some(c) if c.is_ascii() => write!(f, "\\x{:02x}", u32::from(c))?,
                Some(c) => write!(f, "\\u{{{:x}}}", u32::from(c))?,
                None => {}
            }
            rest = chars.as_str();
        }
        f.write_str(rest)
    }
}

/// The text as [`Sanitized`] shows it; borrowed when there is nothing to escape.
pub fn sanitize(text: &str) -> Cow<'_, str> {
    if text.contains(|c| c == '\\' || is_dangerous(c)) {
        Cow::Owned(Sanitized(text).to_string())
    } else {
        Cow::Borrowed(text)
    }
}

/// JSON text with each dangerous character as `\uXXXX`, which a JSON reader turns back into the character. Line breaks
/// and tabs between the values stay.
pub fn sanitize_json(json: &str) -> Cow<'_, str> {
    // Inside the strings of valid JSON there are no raw line breaks or tabs.
    let dangerous = |c: char| is_dangerous(c) && !matches!(c, '\n' | '\t');
    if !json.contains(dangerous) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if dangerous(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Whether a terminal would obey the character or not show it.
pub fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}'                      // soft hyphen
            | '\u{34f}'                   // combining grapheme joiner
            | '\u{61c}'                   // Arabic letter mark
            | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' // Hangul fillers: blank
            | '\u{17b4}' | '\u{17b5}'     // Khmer inherent vowels: not shown
            | '\u{180b}'..='\u{180f}'     // Mongolian selectors and vowel separator
            | '\u{200b}'..='\u{200f}'     // zero width, left-to-right and right-to-left marks
            | '\u{2028}'..='\u{202e}'     // line and paragraph separators, embeddings, overrides
            | '\u{2060}'..='\u{206f}'     // word joiner, invisible operators, isolates, deprecated format characters
            | '\u{fe00}'..='\u{fe0f}'     // variation selectors
            | '\u{feff}'                  // byte order mark
            | '\u{fff0}'..='\u{fffb}'     // interlinear annotation
            | '\u{1d173}'..='\u{1d17a}'   // musical format characters
            | '\u{e0000}'..='\u{e0fff}'   // tags and more variation selectors
        )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn harmless_text_stays_and_costs_nothing() {
        for text in ["", "/usr/bin/ls", "äöü ñ 漢字 🙂", "a b'c\"d$(e)"] {
            assert!(matches!(sanitize(text), Cow::Borrowed(t) if t == text));
            assert!(matches!(sanitize_json(text), Cow::Borrowed(t) if t == text));
        }
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        for (text, shown) in [
            ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\x7f\0", "\\x7f\\x00"),
            ("gpj.\u{202e}exe", "gpj.\\u{202e}exe"),
            ("\u{2066}x\u{2069}", "\\u{2066}x\\u{2069}"),
            ("ls\u{200b}", "ls\\u{200b}"),
            ("\u{e0041}", "\\u{e0041}"),
            (r"c:\new", r"c:\\new"),
        ] {
            assert_eq!(sanitize(text), shown);
        }
    }

    #[test]
    fn nothing_dangerous_is_left_and_nothing_is_ambiguous() {
        let mut seen = std::collections::HashMap::new();
        for c in '\0'..=char::MAX {
            let shown = sanitize(&c.to_string()).into_owned();
            assert!(!shown.contains(is_dangerous), "{c:?}");
            assert_eq!(seen.insert(shown, c), None, "{c:?}");
        }
    }

    #[test]
    fn json_stays_the_same_value() {
        let json = "{\n\t\"a\": \"x\u{202e}y\u{7f}\u{e0041}\u{9b}\"\n}";
        let safe = sanitize_json(json);
        assert!(!safe.contains(|c| is_dangerous(c) && c != '\n' && c != '\t'));
        assert_eq!(
            safe,
            "{\n\t\"a\": \"x\\u202ey\\u007f\\udb40\\udc41\\u009b\"\n}"
        );
    }
}
