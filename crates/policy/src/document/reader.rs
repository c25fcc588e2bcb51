//! Nodes of the YAML tree as the values that are wanted, with what is wrong.

use std::time::Duration;

use super::Text;
use super::common::printable;
use super::duration::parse_duration;
use crate::locate::File;
use crate::report::LoadError;
use crate::yaml::{Key, Kind, Node, Place};

/// How many rules, or macros, a file may have. What they take in memory is many times what they take in the file.
const MAX_DEFINITIONS: usize = 100_000;

/// How many of them may be unusable before the rest is left alone.
const MAX_BAD: usize = 1000;

/// How many errors of one rule, macro or other part of a file are told.
pub(crate) const MAX_ERRORS: usize = 100;

/// Reads one node, noting what is wrong.
pub(crate) struct Reader<'a> {
    pub(crate) file: File<'a>,
    pub(crate) errors: Vec<LoadError>,
    /// A value was of the wrong type.
    pub(crate) bad: bool,
    /// The keys that unknown ones were likely meant to be.
    pub(crate) misspelt: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(file: File<'a>) -> Self {
        Self {
            file,
            errors: Vec::new(),
            bad: false,
            misspelt: Vec::new(),
        }
    }

    pub(crate) fn error(&mut self, at: Place, message: impl Into<String>) {
        if self.errors.len() < MAX_ERRORS {
            self.push(self.file.error(at, message));
        }
    }

    /// Notes an error. Of very many in one place the first are told.
    pub(crate) fn push(&mut self, error: LoadError) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(error);
        }
    }

    /// An error with what to do about it.
    pub(crate) fn error_help(&mut self, at: Place, message: impl Into<String>, help: &str) {
        if self.errors.len() >= MAX_ERRORS {
            return;
        }
        let mut error = self.file.error(at, message);
        error.help = Some(help.to_owned());
        self.push(error);
    }

    pub(crate) fn wrong(&mut self, node: &Node, wanted: &str) {
        self.bad = true;
        self.error(
            node.at,
            format!("expected {wanted}, found {}", node.describe()),
        );
    }

    pub(crate) fn unknown(&mut self, key: &Key, known: &[&'static str]) {
        if self.errors.len() >= MAX_ERRORS {
            return;
        }
        let message = format!("unknown key `{}`", printable(&key.name));
        let mut error = self.file.error(key.at, message);
        if let Some(name) = atalaya_secl::nearest(&key.name, known.iter().copied()) {
            error.help = Some(format!("did you mean `{name}`?"));
            self.misspelt.push(name);
        }
        self.push(error);
    }

    pub(crate) fn string(&mut self, node: &Node) -> Text {
        match node.text(self.file.source) {
            Some(text) => Text {
                value: text.to_owned(),
                at: node.at,
            },
            None => {
                self.wrong(node, "text");
                Text::default()
            }
        }
    }

    pub(crate) fn bool(&mut self, node: &Node) -> bool {
        match &node.kind {
            Kind::Bool(value) => *value,
            Kind::Text(text) if matches!(text.as_str(), "true" | "True") => true,
            Kind::Text(text) if matches!(text.as_str(), "false" | "False") => false,
            _ => {
                self.wrong(node, "true or false");
                false
            }
        }
    }

    pub(crate) fn int(&mut self, node: &Node) -> i64 {
        match &node.kind {
            Kind::Int(value) => *value,
            _ => {
                self.wrong(node, "a number");
                0
            }
        }
    }

    pub(crate) fn duration(&mut self, node: &Node) -> Option<Duration> {
        let found = match &node.kind {
            Kind::Int(nanos) => u64::try_from(*nanos).ok().map(Duration::from_nanos),
            Kind::Text(text) => parse_duration(text),
            _ => None,
        };
        if found.is_none() {
            self.wrong(node, "a duration such as 10s or 1m30s, or nanoseconds");
        }
        found
    }

    /// A list of texts; a single text counts as a list of one.
    pub(crate) fn strings(&mut self, node: &Node) -> Vec<Text> {
        match &node.kind {
            Kind::Seq(items) => items.iter().map(|item| self.string(item)).collect(),
            Kind::Null => Vec::new(),
            _ => vec![self.string(node)],
        }
    }

    pub(crate) fn items<T>(
        &mut self,
        key: &Key,
        node: &Node,
        read: fn(File<'_>, &Node) -> T,
        is_bad: fn(&T) -> bool,
    ) -> Vec<T> {
        match &node.kind {
            Kind::Seq(items) => {
                let mut found = Vec::new();
                let mut bad = 0;
                for item in items {
                    if found.len() >= MAX_DEFINITIONS || bad >= MAX_BAD {
                        let what = if bad >= MAX_BAD { bad } else { found.len() };
                        let kind = if bad >= MAX_BAD { " with errors" } else { "" };
                        let message = format!(
                            "more than {what} `{}`{kind}: those from here on are not read",
                            key.name
                        );
                        self.error_help(
                            item.at,
                            message,
                            "split the file, or see whether it is a policy at all",
                        );
                        break;
                    }
                    let definition = read(self.file, item);
                    bad += usize::from(is_bad(&definition));
                    found.push(definition);
                }
                found
            }
            Kind::Null => Vec::new(),
            _ => {
                self.error_help(
                    node.at,
                    format!("`{}` must be a list, found {}", key.name, node.describe()),
                    "begin each item with `- `",
                );
                Vec::new()
            }
        }
    }
}
