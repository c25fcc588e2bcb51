//! `name=value`, `name: value`, `--name value`, wherever they are in a line.

use std::borrow::Cow;
use std::ops::Range;

use regex::Regex;

use crate::names::{is_harmless, is_secret_parameter, regex};
use crate::{MASK, Scrubber, args, known};

/// The expressions, compiled.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    assignment: Regex,
    flag: Regex,
    optional: Regex,
    wrapper: Regex,
}

impl Rules {
    pub(crate) fn new() -> Self {
        Self {
            assignment: regex(
                r#"(?P<name>[\p{L}\p{N}_.\-]*[\p{L}\p{N}_])(?P<close>\\*["'`]|\])?[ \t]*(?:=>|:=|===?|=|:)"#,
            ),
            flag: regex(r#"(?:^|[\s"'`(\[,])(?P<flag>--?[\p{L}\p{N}][\p{L}\p{N}_.\-]*)[ \t]+"#),
            // As Rust and others print an optional string: these names are not the secret.
            optional: regex(r#"^(?:Some|Ok|Just|Secret(?:Str|String|Box|Vec)?)\((["'])"#),
            wrapper: regex(r#"^[\p{L}\p{N}_.]+\((["'])"#),
        }
    }
}

/// Hides the values of what is named like a secret.
pub(crate) fn scrub<'a>(scrubber: &Scrubber, text: &'a str) -> Cow<'a, str> {
    let assigned = assignments(scrubber, text);
    match flags(scrubber, &assigned) {
        Some(changed) => Cow::Owned(changed),
        None => assigned,
    }
}

/// The secret value that begins at `at` or before and ends after it: what looks like the beginning of a collection there is a part of it.
pub(crate) fn value_over(scrubber: &Scrubber, text: &str, at: usize) -> Option<Range<usize>> {
    if !scrubber.hint.is_match(&text[..at]) {
        return None;
    }
    next_value(scrubber, text, at).or_else(|| {
        let found = flag_values(scrubber, text).find(|value| value.end > at)?;
        (found.start <= at).then_some(found)
    })
}

fn assignments<'a>(scrubber: &Scrubber, text: &'a str) -> Cow<'a, str> {
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = scrubber.assign.assignment.captures_at(text, at) {
        let (Some(all), Some(name)) = (found.get(0), found.name("name")) else {
            break;
        };
        at = all.end();
        let query = text[..name.start()].ends_with(['?', '&', ';']) && all.as_str().ends_with('=');
        let secret =
            scrubber.is_secret(name.as_str()) || query && is_secret_parameter(name.as_str());
        if !secret {
            continue;
        }
        let before = if found.name("close").is_some() {
            ""
        } else {
            quote_before(&text[..name.start()])
        };
        let colon = all.as_str().ends_with(':');
        let Some(value) = value(scrubber, name.as_str(), &text[at..], before, colon, query) else {
            continue;
        };
        let value = at + value.start..at + value.end;
        if is_harmless(name.as_str(), &text[value.clone()]) {
            at = value.end;
            continue;
        }
        out.push_str(&text[copied..value.start]);
        out.push_str(&known::mask(&text[value.clone()]));
        copied = value.end;
        at = value.end;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// The first secret value that goes over `at`.
fn next_value(scrubber: &Scrubber, text: &str, at: usize) -> Option<Range<usize>> {
    let mut from = 0;
    while let Some(found) = scrubber.assign.assignment.captures_at(text, from) {
        let (all, name) = (found.get(0)?, found.name("name")?);
        if all.end() > at {
            return None;
        }
        from = all.end();
        if !scrubber.is_secret(name.as_str()) {
            continue;
        }
        let before = if found.name("close").is_some() {
            ""
        } else {
            quote_before(&text[..name.start()])
        };
        let value = value(
            scrubber,
            name.as_str(),
            &text[from..],
            before,
            all.as_str().ends_with(':'),
            false,
        );
        let Some(value) = value.map(|v| from + v.start..from + v.end) else {
            continue;
        };
        if value.start <= at && at < value.end && !is_harmless(name.as_str(), &text[value.clone()])
        {
            return Some(value);
        }
        from = from.max(value.end);
    }
    None
}

/// The quotation mark that the text ends with, and the backslashes before it.
fn quote_before(text: &str) -> &str {
    if !text.ends_with(['"', '\'', '`']) {
        return "";
    }
    let mark = text.len() - 1;
    let start = text[..mark].trim_end_matches('\\').len();
    &text[start..]
}

/// The quotation mark that the text begins with, and the backslashes before it.
fn quote_after(text: &str) -> &str {
    let backslashes = text.len() - text.trim_start_matches('\\').len();
    if text[backslashes..].starts_with(['"', '\'', '`']) {
        &text[..=backslashes]
    } else {
        ""
    }
}

/// Where the value behind the separator is; `None` where there is none.
fn value(
    scrubber: &Scrubber,
    name: &str,
    text: &str,
    around: &str,
    colon: bool,
    query: bool,
) -> Option<Range<usize>> {
    let start = text.len() - text.trim_start_matches([' ', '\t']).len();
    let line_end = text.find('\n').unwrap_or(text.len());
    if start >= line_end {
        return None;
    }
    let line = &text[..line_end];
    let mut begin = start;
    if !around.is_empty() && !line[start..].starts_with(around) {
        // `-H "X-Token: abc"`: to that mark.
        return Some(start..closing(line, start, around).unwrap_or(line_end));
    }
    if let Some(call) = scrubber.assign.wrapper.find(&line[start..]) {
        let mark = start + call.end() - 1;
        // `A("" x`: no wrapper, but a value that looks like the beginning of one.
        let end = closing(line, mark + 1, &line[mark..=mark])
            .map(|end| end + 1)
            .filter(|end| line[*end..].starts_with(')'));
        let optional = scrubber.assign.optional.is_match(&line[start..]);
        match end {
            Some(end) if optional && ends_value(&line[end + 1..]) => begin = mark,
            Some(end) if !colon => {
                return Some(start..end + 1 + word(&line[end + 1..], false));
            }
            // Never closed: the log was cut.
            None if optional && !colon => begin = mark,
            _ => {}
        }
    }
    let mark = quote_after(&line[begin..]);
    if !mark.is_empty() {
        let inside = begin + mark.len();
        let Some(end) = closing(line, inside, mark) else {
            return Some(inside..line_end);
        };
        let after = end + mark.len();
        // `"ab"cd`: a word of a shell, which goes on.
        return if line[after..].starts_with(|c: char| c.is_alphanumeric()) {
            Some(begin..after + word(&line[after..], false))
        } else {
            Some(inside..end)
        };
    }
    if colon && start > 0 {
        let first = line[start..]
            .find([' ', '\t', ',', ';', '}', ')', ']'])
            .unwrap_or(line_end - start);
        // `password: null, user: x`, but not `password: on the way`.
        let alone = line[start + first..].trim_start().is_empty()
            || line[start + first..].starts_with([',', ';', '}', ')', ']']);
        let harmless = first > 3 && alone && is_harmless(name, &line[start..start + first]);
        let end = if harmless { start + first } else { line_end };
        return Some(start..start + line[start..end].trim_end().len());
    }
    let mut end = start + word(&line[start..], query);
    let scheme = line[start..end].to_ascii_lowercase();
    if matches!(
        scheme.as_str(),
        "bearer" | "basic" | "token" | "negotiate" | "digest" | "apikey" | "ntlm"
    ) {
        let next = end + line[end..].len() - line[end..].trim_start().len();
        end = next + word(&line[next..], query);
    }
    (end > start).then_some(start..end)
}

/// What follows a value that is whole.
fn ends_value(text: &str) -> bool {
    let ends = |c: char| c.is_whitespace() || ",;:})]\"'`\\".contains(c);
    text.chars().next().is_none_or(ends)
}

/// Where the same mark comes again, as a closing one.
fn closing(text: &str, from: usize, mark: &str) -> Option<usize> {
    let mut at = from;
    while let Some(found) = text[at..].find(mark) {
        let found = at + found;
        // One more backslash before it: it belongs to the text.
        let backslashes = found - text[from..found].trim_end_matches('\\').len() - from;
        if backslashes.is_multiple_of(2)
            || mark.starts_with('\'')
                && !text[found + 1..].starts_with(|c: char| c.is_alphanumeric())
        {
            return Some(found);
        }
        at = found + mark.len();
    }
    None
}

/// How long the word is: to white space, or to a mark that closes something around.
fn word(text: &str, query: bool) -> usize {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, next)| *next);
        let ends = match c {
            '"' | '\'' | '`' => !next.is_some_and(char::is_alphanumeric),
            '\\' => {
                matches!(next, Some('"' | '\''))
                    && !text[at + 2..].starts_with(|c: char| c.is_alphanumeric())
            }
            '&' | '#' => query,
            c => c.is_whitespace(),
        };
        if ends {
            return at;
        }
    }
    text.len()
}

/// `--password x`.
fn flags(scrubber: &Scrubber, text: &str) -> Option<String> {
    let mut out = String::new();
    let mut copied = 0;
    for value in flag_values(scrubber, text) {
        out.push_str(&text[copied..value.start]);
        out.push_str(MASK);
        copied = value.end;
    }
    (copied > 0).then(|| {
        out.push_str(&text[copied..]);
        out
    })
}

/// Where the values of secret flags are.
fn flag_values<'a>(
    scrubber: &'a Scrubber,
    text: &'a str,
) -> impl Iterator<Item = Range<usize>> + 'a {
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(found) = scrubber.assign.flag.captures_at(text, at) {
            let (all, flag) = (found.get(0)?, found.name("flag")?);
            // Not past the white space: the next flag may begin there.
            at = flag.end();
            if !args::is_secret_flag(scrubber, flag.as_str()) {
                continue;
            }
            let rest = &text[all.end()..];
            if rest.starts_with("--") {
                continue;
            }
            let mark = quote_after(rest);
            let end = if mark.is_empty() {
                all.end() + word(rest, false)
            } else {
                let inside = all.end() + mark.len();
                closing(text, inside, mark).map_or(text.len(), |end| end + mark.len())
            };
            if end > all.end() && !is_harmless("", &text[all.end()..end]) {
                at = end;
                return Some(all.end()..end);
            }
        }
        None
    })
}
