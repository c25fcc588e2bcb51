//! What may come next in a query that is being written.

use std::ops::Range;

use serde::Serialize;

use crate::fields::{FIELDS, Field};

/// Something to put in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suggestion {
    /// The text.
    pub text: String,
    /// `field`, `value` or `operator`.
    pub kind: &'static str,
    /// What it is.
    pub description: String,
}

/// How many.
const MAX: usize = 12;

/// Where a suggestion goes, and which there are. `values` is asked for the values of a field that begin with a text.
pub fn suggest(
    text: &str,
    at: usize,
    values: impl FnOnce(&str, &str) -> Vec<(String, String)>,
) -> (Range<usize>, Vec<Suggestion>) {
    let at = text.floor_char_boundary(at.min(text.len()));
    let start = start(&text[..at]);
    let part = &text[start..at];
    if let Some((name, begun)) = part.split_once(':') {
        let from = start + name.len() + 1;
        let field = Field::new(name.trim_start_matches('-'));
        let begun = begun.trim_start_matches('"');
        let found = values(&field.name, begun).into_iter().take(MAX);
        let suggestions = found.map(|(value, description)| Suggestion {
            text: quoted(&value),
            kind: "value",
            description,
        });
        return (from..at, suggestions.collect());
    }
    let sign = usize::from(part.starts_with('-'));
    let begun = part[sign..].to_lowercase();
    let begun = begun.trim_start_matches('@');
    let name = |field: &'static crate::FieldInfo| {
        let short = !field.short.is_empty() && field.short.starts_with(begun);
        let inside = |name: &str| {
            name.starts_with(begun) || name.split('.').any(|part| part.starts_with(begun))
        };
        (short || inside(field.name)).then(|| Suggestion {
            text: format!("{}:", if short { field.short } else { field.name }),
            kind: "field",
            description: field.title.to_owned(),
        })
    };
    let mut found: Vec<Suggestion> = FIELDS.iter().filter_map(name).collect();
    for (operator, description) in [
        ("AND ", "both"),
        ("OR ", "one of them"),
        ("NOT ", "not the next one"),
        ("last:15m", "of the last 15 minutes"),
        ("secl(\"", "a filter in the rule language"),
    ] {
        if !begun.is_empty() && operator.to_lowercase().starts_with(begun) {
            found.push(Suggestion {
                text: operator.to_owned(),
                kind: "operator",
                description: description.to_owned(),
            });
        }
    }
    found.truncate(MAX);
    (start + sign..at, found)
}

/// A value as it must be written.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./@+%,=#".contains(c);
    if !value.is_empty() && value.chars().all(plain) && !value.starts_with('-') {
        return value.to_owned();
    }
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Where the word begins in which the text ends.
fn start(text: &str) -> usize {
    let mut start = 0;
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            c if !quoted && (c.is_whitespace() || matches!(c, '(' | ')')) => {
                start = at + c.len_utf8()
            }
            _ => {}
        }
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> (Range<usize>, Vec<String>) {
        let known = |field: &str, begun: &str| {
            assert_eq!(field, "evt.name");
            let all = ["open", "ex \"c"]
                .into_iter()
                .filter(|value| value.starts_with(begun));
            all.map(|value| (value.to_owned(), String::new())).collect()
        };
        let (place, found) = suggest(text, text.len(), known);
        (place, found.into_iter().map(|s| s.text).collect())
    }

    #[test]
    fn fields_and_values() {
        let (place, found) = texts("shadow -ty");
        assert_eq!(place, 8..10);
        assert_eq!(
            found,
            ["type:", "process.tty:"].map(str::to_owned)[..1].to_vec()
        );
        let (place, found) = texts("a (type:o");
        assert_eq!((place, found), (8..9, vec!["open".to_owned()]));
        let (_, found) = texts("type:\"e");
        assert_eq!(found, ["\"ex \\\"c\""]);
        assert!(texts("sec").1.contains(&"secl(\"".to_owned()));
    }
}
