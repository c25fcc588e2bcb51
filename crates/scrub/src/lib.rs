//! Hides secrets in what leaves the host or is shown to people: configuration, logs, environment, arguments, JSON, URLs.
//!
//! [`Scrubber::scrub`] takes any text; it needs not be told what it is. From the outside in:
//!
//! | file | what it finds |
//! | --- | --- |
//! | `blocks.rs` | PEM and PuTTY keys over several lines, also cut ones and those written with `\n` |
//! | `lines.rs` | `key: value` and `key=value` at the beginning of a line, in comments too; the whole subtree of a YAML key that names a secret; the `value:` beside `name: DB_PASSWORD`; the list item after `- --password` |
//! | `flow.rs` | JSON, YAML flow collections and what is written alike, also in the middle of a log line, in strings of strings, and cut |
//! | `assign.rs` | `name=value`, `name: value`, `--name value` anywhere in a line |
//! | `args.rs` | argument vectors |
//! | `known.rs` | what is a secret whatever its name: passwords in URLs, tokens of known makers, hashes of passwords, bearer tokens, API keys |
//! | `names.rs` | which names name secrets, and which values are none (`true`, an empty one, a path behind `…_file`) |
//!
//! The replacers are those of the Datadog Agent, so that support finds what it expects (the last four characters of an API key stay), and more.
//! Where a choice is to be made it hides too much: the rest of a log line after `password: ` goes. What cannot be found is a secret that neither its
//! name nor its form gives away. Pure computation, linear in the length of the text, total: no input makes it fail.
#![forbid(unsafe_code)]

mod args;
mod assign;
mod blocks;
mod flow;
mod known;
mod lines;
mod names;

use std::borrow::Cow;

use regex::Regex;

pub use names::is_secret_name;

/// What is put in the place of a secret.
pub const MASK: &str = "********";

/// How often a string may be in a string and is still looked into.
const MAX_DEPTH: usize = 5;

/// Hides secrets. Making one compiles some dozens of expressions; keep it.
#[derive(Debug, Clone)]
pub struct Scrubber {
    /// A line without any of these words has no name of a secret.
    hint: Regex,
    assign: assign::Rules,
    known: known::Rules,
    blocks: blocks::Rules,
    lines: lines::Rules,
    /// Names that are secret here, in the form of [`names::plain`].
    extra: Vec<String>,
}

impl Default for Scrubber {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl Scrubber {
    /// With further names of secrets (`flare_stripped_keys`, `scrubber.additional_keys`); case and `_`, `-`, `.` do not matter.
    pub fn new(extra_names: &[String]) -> Self {
        let extra: Vec<String> = extra_names
            .iter()
            .map(|name| names::plain(name))
            .filter(|name| !name.is_empty())
            .collect();
        Self {
            hint: names::hint(&extra),
            assign: assign::Rules::new(),
            known: known::Rules::new(),
            blocks: blocks::Rules::new(),
            lines: lines::Rules::new(),
            extra,
        }
    }

    /// The text without secrets. Escape sequences of terminals are taken out, because they would hide names.
    pub fn scrub(&self, text: &str) -> String {
        let text = blocks::without_escapes(text);
        let text = self.blocks.replace(&text);
        lines::scrub(self, &text, 0)
    }

    /// As [`Self::scrub`], of a file in whatever encoding: UTF-8, UTF-16 with its mark, or anything else, of which only what is UTF-8 stays.
    pub fn scrub_bytes(&self, bytes: &[u8]) -> String {
        self.scrub(&blocks::decode(bytes))
    }

    /// The value that goes with this name: of a setting, a variable, a header.
    pub fn scrub_value(&self, name: &str, value: &str) -> String {
        if self.is_secret(name) && !names::is_harmless(name, value) {
            known::mask(value)
        } else {
            self.scrub(value)
        }
    }

    /// An argument vector.
    pub fn scrub_args<S: AsRef<str>>(&self, args: &[S]) -> Vec<String> {
        let args: Vec<&str> = args.iter().map(S::as_ref).collect();
        args::scrub(self, &args, 0)
    }

    /// Whether what goes by this name is a secret.
    pub fn is_secret(&self, name: &str) -> bool {
        is_secret_name(name) || self.is_extra(name)
    }

    fn is_extra(&self, name: &str) -> bool {
        !self.extra.is_empty() && {
            let plain = names::plain(name);
            self.extra
                .iter()
                .any(|extra| plain.ends_with(extra.as_str()))
        }
    }

    /// A text in a text: a string of JSON, an argument.
    fn inner(&self, text: &str, depth: usize) -> String {
        if depth > MAX_DEPTH {
            // Nobody writes this; whoever does may not use it to get a secret past.
            return if self.hint.is_match(text) {
                MASK.to_owned()
            } else {
                self.piece(text).into_owned()
            };
        }
        lines::scrub(self, &self.blocks.replace(text), depth)
    }

    /// One piece of a line.
    fn piece<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if text.len() < 4 {
            return Cow::Borrowed(text);
        }
        let mut text = Cow::Borrowed(text);
        if self.hint.is_match(&text)
            && let Cow::Owned(changed) = assign::scrub(self, &text)
        {
            text = Cow::Owned(changed);
        }
        if let Some(changed) = self.known.replace(&text) {
            text = Cow::Owned(changed);
        }
        text
    }
}
