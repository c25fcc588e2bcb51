//! Hides secrets in arguments and environment values.

use std::borrow::Cow;

use regex::{Captures, Regex};

/// What a secret is replaced by.
pub const MASK: &str = "********";

/// What a name contains whose value is a secret. `_` stands for `_`, `-` or nothing.
const WORDS: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "mysql_pwd",
    "secret",
    "token",
    "api_key",
    "app_key",
    "access_key",
    "account_key",
    "private_key",
    "encryption_key",
    "credential",
    "stripetoken",
];

/// A word or expression of the configuration is of no use.
#[derive(Debug, thiserror::Error)]
#[error("cannot use `{text}` to find secrets: {source}")]
pub struct ScrubError {
    /// The word or expression.
    pub text: String,
    /// Why.
    #[source]
    pub source: Box<regex::Error>,
}

/// Hides secrets in arguments and environment values.
#[derive(Debug, Clone)]
pub struct Scrubber {
    /// Anything that one of the others could match.
    hint: Regex,
    /// `name=value`, `name: value`, `"name":"value"`, `--name value` inside one string.
    assignment: Regex,
    /// An argument that says that the next one is a secret.
    flag: Regex,
    /// `scheme://user:secret@host`.
    url: Regex,
    /// `Bearer secret`.
    bearer: Regex,
    /// The configuration's own.
    custom: Vec<Regex>,
}

impl Default for Scrubber {
    fn default() -> Self {
        Self::new(&[], &[]).unwrap_or_else(|error| unreachable!("built-in words: {error}"))
    }
}

impl Scrubber {
    /// A scrubber that knows further words (`*` stands for anything and may be left out at the ends) and expressions
    /// (what they match is hidden whole; of those with groups, the last group).
    ///
    /// # Errors
    /// An expression that does not compile.
    pub fn new(words: &[String], expressions: &[String]) -> Result<Self, ScrubError> {
        let word = |word: &str| {
            regex::escape(word.trim_matches('*'))
                .replace("\\*", r"[\w.\-]*")
                .replace('_', "[_-]?")
        };
        let words: Vec<String> = WORDS
            .into_iter()
            .map(word)
            .chain(words.iter().map(|custom| word(custom)))
            .filter(|word| !word.is_empty())
            .collect();
        let name = format!(r"[\w.\-]*(?:{})[\w.\-]*", words.join("|"));
        Ok(Self {
            hint: compile(&format!(r"(?i)://|bearer|basic|{}", words.join("|")))?,
            assignment: compile(&format!(
                r#"(?i)({name}["']?\s*[=:]\s*["']?|(?:^|\s)--?{name}\s+["']?)([^\s"'&;,}}]+)"#
            ))?,
            flag: compile(&format!("(?i)^--?{name}$"))?,
            url: compile(r"(://[^/\s:@]*:)([^/\s@]+)@")?,
            bearer: compile(r"(?i)(\b(?:bearer|basic)\s+)([A-Za-z0-9._~+/=\-]{8,})")?,
            custom: expressions
                .iter()
                .map(|expression| compile(expression))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The arguments, with secrets hidden.
    pub fn args<'a>(&self, args: &'a [String]) -> Vec<Cow<'a, str>> {
        let mut is_secret = false;
        args.iter()
            .map(|arg| {
                if std::mem::take(&mut is_secret) && !arg.starts_with('-') {
                    return Cow::Borrowed(MASK);
                }
                is_secret = self.flag.is_match(arg);
                self.text(arg)
            })
            .collect()
    }

    /// One text, with secrets hidden.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut scrubbed = Cow::Borrowed(text);
        if self.hint.is_match(text) {
            for (regex, end) in [(&self.assignment, ""), (&self.url, "@"), (&self.bearer, "")] {
                apply(&mut scrubbed, regex, |found: &Captures<'_>| {
                    format!("{}{MASK}{end}", &found[1])
                });
            }
        }
        for regex in &self.custom {
            apply(&mut scrubbed, regex, |found: &Captures<'_>| {
                let whole = &found[0];
                match found.iter().skip(1).flatten().last() {
                    Some(group) => whole.replacen(group.as_str(), MASK, 1),
                    None => MASK.to_owned(),
                }
            });
        }
        scrubbed
    }
}

fn apply(text: &mut Cow<'_, str>, regex: &Regex, with: impl Fn(&Captures<'_>) -> String) {
    let replaced = match regex.replace_all(text, &with) {
        Cow::Owned(replaced) => replaced,
        Cow::Borrowed(_) => return,
    };
    *text = Cow::Owned(replaced);
}

fn compile(expression: &str) -> Result<Regex, ScrubError> {
    Regex::new(expression).map_err(|source| ScrubError {
        text: expression.to_owned(),
        source: Box::new(source),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn scrubbed(args: &[&str]) -> Vec<String> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let scrubber = Scrubber::default();
        scrubber
            .args(&args)
            .into_iter()
            .map(Cow::into_owned)
            .collect()
    }

    #[test]
    fn secrets_are_hidden() {
        for (args, expected) in [
            (vec!["--password=hunter2"], vec!["--password=********"]),
            (
                vec!["--password", "hunter2", "x"],
                vec!["--password", MASK, "x"],
            ),
            (vec!["-api-key", "abc"], vec!["-api-key", MASK]),
            (vec!["--API_KEY:abc"], vec!["--API_KEY:********"]),
            (vec!["DB_PASSWORD=x y"], vec!["DB_PASSWORD=******** y"]),
            (
                vec!["-c", "mysql --password hunter2 -h db"],
                vec!["-c", "mysql --password ******** -h db"],
            ),
            (
                vec![r#"{"user":"u","client_secret": "abc","x":1}"#],
                vec![r#"{"user":"u","client_secret": "********","x":1}"#],
            ),
            (
                vec!["https://user:pw@host/p?x=1&access_token=abc&y=2"],
                vec!["https://user:********@host/p?x=1&access_token=********&y=2"],
            ),
            (
                vec!["-H", "Authorization: Bearer abcdefghij.klm"],
                vec!["-H", "Authorization: Bearer ********"],
            ),
            (
                vec!["--from-literal=password=abc"],
                vec!["--from-literal=password=********"],
            ),
        ] {
            assert_eq!(scrubbed(&args), expected);
        }
    }

    #[test]
    fn the_rest_is_kept() {
        for args in [
            vec!["get", "secret", "name"],
            vec!["--password", "--verbose"],
            vec!["https://host:8080/path"],
            vec!["/etc/passwd"],
            vec!["basic", "bearer"],
            vec!["", "-", "--", "=", "\u{fffd}\u{1b}[31m"],
        ] {
            assert_eq!(scrubbed(&args), args);
        }
    }

    #[test]
    fn configuration_adds_words_and_expressions() {
        let scrubber = Scrubber::new(
            &["*pin_code*".to_owned()],
            &["card-([0-9]+)".to_owned(), "[0-9]{16}".to_owned()],
        )
        .unwrap();
        assert_eq!(scrubber.text("pin-code=12"), "pin-code=********");
        assert_eq!(scrubber.text("card-12"), "card-********");
        assert_eq!(scrubber.text("x 1234567812345678"), "x ********");
        let error = Scrubber::new(&[], &["(".to_owned()]).unwrap_err();
        assert!(error.to_string().starts_with("cannot use `(`"));
    }
}
