//! Regular expressions in the syntax of the reference (RE2, as Go has it), for an engine that differs in details.
//!
//! The differences: `\d`, `\w`, `\s` and `\b` know ASCII only; a brace that is no repetition is a character; `\Q…\E` quotes;
//! brackets, `&&`, `--` and `~~` inside a class are characters; `\<` is a character; there are octal escapes.

use std::fmt::Write as _;

use regex::{Regex, RegexBuilder};

/// The memory that one compiled expression may take, in bytes.
const MAX_SIZE: usize = 4 << 20;

/// How large one expression may be, as [`cost`] counts.
const MAX_COST: u64 = 20_000;

/// How often a part may be repeated by `{…}`, as in Go.
const MAX_REPEAT: u64 = 1000;

pub(crate) fn compile(source: &str) -> Result<Regex, String> {
    let Translated { text, cost } = translate(source)?;
    if cost > MAX_COST {
        return Err("repetitions make it too large".to_owned());
    }
    RegexBuilder::new(trim_any(&text))
        .size_limit(MAX_SIZE)
        .dfa_size_limit(MAX_SIZE)
        .nest_limit(100)
        .build()
        .map_err(|error| {
            let text = error.to_string();
            // The last line says what is wrong; those before draw the pattern, which is shown already.
            let last = text.lines().last().unwrap_or_default();
            last.trim_start_matches("error: ").to_owned()
        })
}

/// About how many states the compiled expression has. It bounds the time to compile it and the memory that it takes.
pub(crate) fn cost(source: &str) -> u64 {
    translate(source).map_or(0, |translated| translated.cost)
}

struct Translated {
    text: String,
    cost: u64,
}

fn translate(source: &str) -> Result<Translated, String> {
    let mut translator = Translator {
        rest: source,
        out: String::with_capacity(source.len()),
        groups: Vec::new(),
        cost: 0,
        last: 0,
    };
    while let Some(ch) = translator.next() {
        translator.item(ch)?;
    }
    // A group that is not closed is an error that the engine tells.
    let open: u64 = translator.groups.iter().sum();
    Ok(Translated {
        text: translator.out,
        cost: translator.cost.saturating_add(open),
    })
}

struct Translator<'a> {
    rest: &'a str,
    out: String,
    /// What each open group cost before it was opened.
    groups: Vec<u64>,
    /// Of the group so far.
    cost: u64,
    /// Of the last part, which a repetition multiplies.
    last: u64,
}

impl Translator<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let ch = self.peek()?;
        self.rest = &self.rest[ch.len_utf8()..];
        Some(ch)
    }

    /// Takes down a part that can be repeated.
    fn part(&mut self, cost: u64) {
        self.last = cost;
        self.cost = self.cost.saturating_add(cost);
    }

    fn item(&mut self, ch: char) -> Result<(), String> {
        match ch {
            '\\' => self.escape(),
            '[' => self.class(),
            '{' => return self.brace(),
            '}' => {
                self.out.push_str("\\}");
                self.part(1);
            }
            '(' => return self.group(),
            ')' => {
                let before = self.groups.pop().unwrap_or_default();
                let inside = std::mem::replace(&mut self.cost, before);
                self.part(inside);
                self.out.push(')');
            }
            '*' | '+' | '?' => {
                self.cost = self.cost.saturating_add(1);
                self.out.push(ch);
            }
            '|' | '^' | '$' => self.out.push(ch),
            _ => {
                self.out.push(ch);
                self.part(if ch == '.' { 8 } else { 1 });
            }
        }
        Ok(())
    }

    fn escape(&mut self) {
        let Some(ch) = self.next() else {
            self.out.push('\\');
            return;
        };
        match ch {
            'Q' => {
                let (text, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
                self.rest = rest;
                for quoted in text.chars() {
                    literal(&mut self.out, quoted);
                    self.part(1);
                }
            }
            'd' | 'D' | 'w' | 'W' | 's' | 'S' => {
                let _ = write!(self.out, "[{}{}]", negation(ch), ascii_class(ch));
                self.part(4);
            }
            'b' => self.out.push_str("(?-u:\\b)"),
            '<' | '>' => {
                self.out.push(ch);
                self.part(1);
            }
            'p' | 'P' => self.property(ch),
            'x' => {
                self.out.push_str("\\x");
                self.braced();
                self.part(1);
            }
            '0'..='7' if ch == '0' || self.peek().is_some_and(|next| next.is_digit(8)) => {
                self.octal(ch);
                self.part(1);
            }
            _ => {
                self.out.push('\\');
                self.out.push(ch);
                self.part(1);
            }
        }
    }

    /// `\pN`, `\p{Greek}`: large classes.
    fn property(&mut self, ch: char) {
        self.out.push('\\');
        self.out.push(ch);
        if self.peek() == Some('{') {
            self.braced();
        } else if let Some(name) = self.next() {
            self.out.push(name);
        }
        self.part(300);
    }

    /// `{…}` that belongs to an escape, as it stands.
    fn braced(&mut self) {
        if self.rest.starts_with('{')
            && let Some(end) = self.rest.find('}')
        {
            let (name, rest) = self.rest.split_at(end + 1);
            self.out.push_str(name);
            self.rest = rest;
        }
    }

    /// Up to three octal digits.
    fn octal(&mut self, first: char) {
        let mut value = first.to_digit(8).unwrap_or(0);
        for _ in 0..2 {
            let Some(digit) = self.peek().and_then(|next| next.to_digit(8)) else {
                break;
            };
            value = value * 8 + digit;
            self.next();
        }
        let _ = write!(self.out, "\\x{{{value:x}}}");
    }

    /// A repetition, or a character.
    fn brace(&mut self) -> Result<(), String> {
        let Some((least, most, length)) = repetition(self.rest) else {
            self.out.push_str("\\{");
            self.part(1);
            return Ok(());
        };
        let times = most.unwrap_or(least.saturating_add(1)).max(least);
        if times > MAX_REPEAT {
            return Err(format!("invalid repeat count, at most {MAX_REPEAT}"));
        }
        let (inside, rest) = self.rest.split_at(length);
        self.rest = rest;
        let _ = write!(self.out, "{{{inside}");
        let repeated = self.last.saturating_mul(times);
        self.cost = self.cost.saturating_sub(self.last).saturating_add(repeated);
        self.last = repeated;
        Ok(())
    }

    fn group(&mut self) -> Result<(), String> {
        self.out.push('(');
        if let Some(inside) = self.rest.strip_prefix('?') {
            let flags = inside.trim_start_matches(['i', 'm', 's', 'U', '-']);
            let length = self.rest.len() - flags.len();
            let name = flags.starts_with(['P', '<']);
            if !name && !flags.starts_with([':', ')']) {
                let wrong = flags.chars().next().map(String::from).unwrap_or_default();
                return Err(format!("invalid or unsupported group `(?{wrong}`"));
            }
            // Flags up to `)` are no group.
            let length = if flags.starts_with(')') {
                length + 1
            } else {
                self.groups.push(std::mem::take(&mut self.cost));
                length
            };
            let (taken, rest) = self.rest.split_at(length);
            self.out.push_str(taken);
            self.rest = rest;
            return Ok(());
        }
        self.groups.push(std::mem::take(&mut self.cost));
        Ok(())
    }

    /// A class in brackets. What is not closed is left for the engine to tell.
    fn class(&mut self) {
        self.out.push('[');
        self.part(2);
        if self.peek() == Some('^') {
            self.next();
            self.out.push('^');
        }
        let mut first = true;
        while let Some(ch) = self.next() {
            match ch {
                ']' if !first => {
                    self.out.push(']');
                    return;
                }
                '[' if self.rest.starts_with(':') && self.rest.contains(":]") => {
                    let end = self.rest.find(":]").map_or(0, |at| at + 2);
                    let (name, rest) = self.rest.split_at(end);
                    let _ = write!(self.out, "[{name}");
                    self.rest = rest;
                }
                '\\' => self.class_escape(),
                // Between two characters it makes a range; elsewhere it is one.
                '-' if !first && !self.rest.starts_with(']') && !self.out.ends_with("\\-") => {
                    self.out.push('-');
                    if let Some(high @ ('[' | '&' | '~' | '-')) = self.peek() {
                        self.next();
                        literal(&mut self.out, high);
                    }
                }
                _ => literal(&mut self.out, ch),
            }
            first = false;
        }
    }

    fn class_escape(&mut self) {
        match self.next() {
            Some(ch @ ('d' | 'w' | 's')) => self.out.push_str(ascii_class(ch)),
            Some(ch @ ('D' | 'W' | 'S')) => {
                let _ = write!(self.out, "[^{}]", ascii_class(ch));
            }
            Some(ch @ ('p' | 'P')) => {
                let before = self.last;
                self.property(ch);
                self.last = self.last.saturating_add(before);
            }
            Some('x') => {
                self.out.push_str("\\x");
                self.braced();
            }
            Some(ch @ ('<' | '>')) => self.out.push(ch),
            Some(ch @ '0'..='7') => self.octal(ch),
            Some(ch) => {
                self.out.push('\\');
                self.out.push(ch);
            }
            None => self.out.push('\\'),
        }
    }
}

/// Writes a character that means itself, in a class or outside.
fn literal(out: &mut String, ch: char) {
    if ch.is_ascii_punctuation() && !matches!(ch, '<' | '>') {
        out.push('\\');
    }
    out.push(ch);
}

fn negation(ch: char) -> &'static str {
    if ch.is_ascii_uppercase() { "^" } else { "" }
}

fn ascii_class(ch: char) -> &'static str {
    match ch {
        'd' | 'D' => "0-9",
        'w' | 'W' => "0-9A-Za-z_",
        _ => "\\t\\n\\x0c\\r ",
    }
}

/// `n}`, `n,}` or `n,m}` at the start of the text: the numbers, and how long it is.
fn repetition(text: &str) -> Option<(u64, Option<u64>, usize)> {
    let (inside, _) = text.split_once('}')?;
    let number = |digits: &str| {
        let good = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        // More digits than fit are more than may be.
        good.then(|| digits.parse().unwrap_or(u64::MAX))
    };
    let (least, most) = match inside.split_once(',') {
        None => {
            let count = number(inside)?;
            (count, Some(count))
        }
        Some((least, "")) => (number(least)?, None),
        Some((least, most)) => (number(least)?, Some(number(most)?)),
    };
    Some((least, most, inside.len() + 1))
}

/// Drops `.*` at both ends, which a search that is not anchored does not need, and which would keep it from jumping to the
/// next place that can match.
fn trim_any(mut source: &str) -> &str {
    while let Some(rest) = source.strip_prefix(".*") {
        if rest.starts_with(['?', '*', '+', '{']) {
            break;
        }
        source = rest;
    }
    while let Some(rest) = source.strip_suffix(".*") {
        if rest.ends_with('\\') {
            break;
        }
        source = rest;
    }
    source
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn needless_ends_are_dropped() {
        assert_eq!(trim_any(".*(a|b).*"), "(a|b)");
        assert_eq!(trim_any(r"a\.*"), r"a\.*");
        assert_eq!(trim_any(".*?a"), ".*?a");
        assert_eq!(trim_any(".*"), "");
    }

    #[test]
    fn what_go_understands_differently() {
        for (regexp, yes, no) in [
            // Braces.
            (r"^a{2}$", "aa", "a"),
            (r"^a{2,}b$", "aaab", "ab"),
            (r"^a{,2}$", "a{,2}", "aa"),
            (r"^\${IFS}$", "${IFS}", "IFS"),
            (r"^{x}$", "{x}", "x"),
            (r"^a{x$", "a{x", "ax"),
            // Quoting.
            (r"^\Qa.b[\E.$", "a.b[x", "axb[x"),
            (r"^\Q*$", "*$", "x"),
            // Classes.
            (r"^[[a]$", "[", "b"),
            (r"^[^[]$", "x", "["),
            (r"^[]a]$", "]", "x"),
            (r"^[^]a]$", "x", "]"),
            (r"^[a&&b]+$", "a&b", "c"),
            (r"^[a~~b]$", "~", "c"),
            (r"^[a-c-]+$", "b-", "d"),
            (r"^[-a]$", "-", "b"),
            (r"^[+--]$", ",", "a"),
            (r"^[\w-]+$", "a-_9", "é"),
            (r"^[^\d\s]$", "x", "5"),
            (r"^[\D]$", "x", "5"),
            (r"^[[:alpha:]0]+$", "ab0", "1"),
            (r"^[\[\]]+$", "[]", "x"),
            (r"^[A-Za-z\d+]{4}$", "aB3+", "aB3-"),
            // ASCII.
            (r"^\d$", "5", "٥"),
            (r"^\w$", "_", "é"),
            (r"^\W$", "é", "e"),
            (r"\bfoo\b", "a foo", "afoo"),
            (r"^\s\S$", " x", "x "),
            // Escapes.
            (r"^\<a\>$", "<a>", "a"),
            (r"^\/\-\_\ $", "/-_ ", "/"),
            (r"^\101\x41\x{41}$", "AAA", "A"),
            (r"^\pL\p{Greek}$", "aα", "1a"),
            (r#"^\"$"#, "\"", "a"),
            // Flags and groups.
            (r"(?i)^abc$", "ABC", "AB"),
            (r"^(?:a|b)(?P<n>c)(?i:D)$", "acd", "ac"),
            (r"^(?s).$", "\n", ""),
        ] {
            let compiled = compile(regexp).unwrap_or_else(|error| panic!("{regexp}: {error}"));
            assert!(
                compiled.is_match(yes),
                "{regexp} should match {yes}: {compiled}"
            );
            assert!(
                !compiled.is_match(no),
                "{regexp} should not match {no}: {compiled}"
            );
        }
        for regexp in [
            "(a",
            "[a",
            "a)",
            r"\",
            "(?x)a",
            "(?=a)",
            "a{1001}",
            "a{99999999999999999999}",
            r"\1",
            "[b-a]",
            r"\C",
            "+",
        ] {
            assert!(compile(regexp).is_err(), "{regexp}");
        }
    }

    #[test]
    fn the_size_is_known_beforehand() {
        for (regexp, at_least) in [
            ("abc", 3),
            ("a{1000}", 1000),
            ("(ab){100}c", 200),
            ("((a{10}){10}){10}", 1000),
            ("(a{500}|b{500}){1000}", 1_000_000),
            ("(((a{100}){100}){100}){100}", 100_000_000),
            (r"(\pL{10}){10}", 30_000),
            ("((a{1000}", 1000),
        ] {
            let found = cost(regexp);
            assert!(
                (at_least..at_least * 2).contains(&found),
                "{regexp}: {found}"
            );
        }
        assert!(compile("(a{500}|b{500}){1000}").is_err());
        assert!(compile("([0-9]{1,3}[.]){3}x").is_ok());
    }

    /// Regexps that both engines understand the same way.
    fn common() -> impl Strategy<Value = String> {
        let atom = prop::sample::select(vec![
            "a", "b", "ab", ".", "[ab]", "[^a]", "[a-c]", r"\.", r"\+", "^", "$", "", r"\x61",
        ]);
        atom.prop_map(str::to_owned)
            .prop_recursive(4, 20, 3, |inner| {
                let repeat =
                    prop::sample::select(vec!["*", "+", "?", "{2}", "{1,2}", "{1,}", "*?"]);
                prop_oneof![
                    (inner.clone(), inner.clone()).prop_map(|(a, b)| a + &b),
                    (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}|{b}")),
                    (inner.clone(), repeat).prop_map(|(a, times)| format!("(?:{a}){times}")),
                    inner.clone().prop_map(|a| format!(".*{a}.*")),
                    inner.prop_map(|a| format!("({a})")),
                ]
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_rest_means_the_same(regexp in common(), text in "[abc.+\n]{0,6}") {
            let plain = Regex::new(&regexp).unwrap();
            prop_assert_eq!(compile(&regexp).unwrap().is_match(&text), plain.is_match(&text), "{} on {:?}", regexp, text);
        }

        #[test]
        fn anything_is_compiled_or_refused(regexp in r"([ab,:<>&~|*+?.^$(){}\[\]0-9-]|\\[a-zA-Z0-9]|\(\?[imsUPx:<]?|é){0,12}") {
            let _ = compile(&regexp);
            let _ = cost(&regexp);
        }
    }
}
