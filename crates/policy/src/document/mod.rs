//! One policy file → its definitions. What is wrong in one rule or macro is noted there and leaves the others alone.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::action::RawAction;
use crate::locate::File;
use crate::report::LoadError;
use crate::yaml::{Kind, Place, parse};

mod common;
mod duration;
mod macros;
mod reader;
mod rules;

pub(crate) use reader::{MAX_ERRORS, Reader};

use macros::read_macro;
use rules::read_rule;

/// A text and its place.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Text {
    pub(crate) value: String,
    pub(crate) at: Place,
}

#[derive(Debug, Default)]
pub(crate) struct Document {
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) replaces: Option<String>,
    pub(crate) macros: Vec<MacroDef>,
    pub(crate) rules: Vec<RuleDef>,
    pub(crate) errors: Vec<LoadError>,
}

impl Document {
    /// Whether nothing in it can be used.
    pub(crate) fn is_nothing(&self) -> bool {
        self.rules.is_empty() && self.macros.is_empty()
    }
}

/// What rules and macros have in common.
#[derive(Debug, Clone, Default)]
pub(crate) struct Common {
    pub(crate) id: Text,
    pub(crate) at: Place,
    pub(crate) expression: Option<Text>,
    pub(crate) agent_version: Option<Text>,
    pub(crate) filters: Vec<Text>,
    pub(crate) combine: Option<Text>,
    pub(crate) errors: Vec<LoadError>,
    /// Something is wrong that makes it unusable.
    pub(crate) unusable: bool,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct MacroDef {
    pub(crate) common: Common,
    pub(crate) values: Option<Vec<String>>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct RuleDef {
    pub(crate) common: Common,
    pub(crate) version: String,
    pub(crate) description: String,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) product_tags: Vec<String>,
    pub(crate) disabled: bool,
    pub(crate) override_fields: Vec<Text>,
    pub(crate) actions: Vec<RawAction>,
    pub(crate) every: Option<Duration>,
    pub(crate) limiter_token: Vec<Text>,
    pub(crate) silent: bool,
    pub(crate) group_id: Option<String>,
    pub(crate) priority: i64,
}

pub(crate) fn read(file: File<'_>) -> Document {
    let mut document = Document::default();
    let node = match parse(file.source) {
        Ok(node) => node,
        Err(error) => {
            let message = format!("invalid YAML: {}", error.message);
            document
                .errors
                .push(file.at_line(error.line, error.column, message));
            return document;
        }
    };
    let mut reader = Reader::new(file);
    match node.kind {
        Kind::Map(entries) => {
            for (key, value) in &entries {
                match key.name.as_str() {
                    "version" => document.version = reader.string(value).value,
                    "type" => document.kind = reader.string(value).value,
                    "replace_policy_id" => document.replaces = Some(reader.string(value).value),
                    "macros" => {
                        document.macros =
                            reader.items(key, value, read_macro, |item| item.common.unusable)
                    }
                    "rules" => {
                        document.rules =
                            reader.items(key, value, read_rule, |rule| rule.common.unusable)
                    }
                    // On-demand probes of old versions, and what hangs under a YAML anchor.
                    "hooks" => {}
                    name if name.starts_with('.') || name.starts_with("x-") => {}
                    _ => reader.unknown(
                        key,
                        &["version", "type", "replace_policy_id", "macros", "rules"],
                    ),
                }
            }
        }
        Kind::Null => {}
        _ => reader.error(
            node.at,
            format!(
                "a policy is a mapping with `rules` and `macros`, not {}",
                node.describe()
            ),
        ),
    }
    document.errors = reader.errors;
    document
}
