//! One policy file → its definitions. What is wrong in one rule or macro is noted there and leaves the others alone.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::action::{Action, ActionKind, Parameter};
use crate::locate::File;
use crate::report::LoadError;
use crate::yaml::{Key, Kind, Node, Place, parse};

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
    pub(crate) actions: Vec<(Action, Place)>,
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
    let mut reader = Reader {
        file,
        errors: Vec::new(),
        bad: false,
    };
    match node.kind {
        Kind::Map(entries) => {
            for (key, value) in &entries {
                match key.name.as_str() {
                    "version" => document.version = reader.string(value).value,
                    "type" => document.kind = reader.string(value).value,
                    "replace_policy_id" => document.replaces = Some(reader.string(value).value),
                    "macros" => document.macros = reader.items(key, value, read_macro),
                    "rules" => document.rules = reader.items(key, value, read_rule),
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

/// Reads one node, noting what is wrong.
struct Reader<'a> {
    file: File<'a>,
    errors: Vec<LoadError>,
    /// A value was of the wrong type.
    bad: bool,
}

impl Reader<'_> {
    fn error(&mut self, at: Place, message: impl Into<String>) {
        self.errors.push(self.file.error(at, message));
    }

    fn wrong(&mut self, node: &Node, wanted: &str) {
        self.bad = true;
        self.error(
            node.at,
            format!("expected {wanted}, found {}", node.describe()),
        );
    }

    fn unknown(&mut self, key: &Key, known: &[&str]) {
        let mut error = self
            .file
            .error(key.at, format!("unknown key `{}`", key.name));
        error.help = atalaya_secl::nearest(&key.name, known.iter().copied())
            .map(|name| format!("did you mean `{name}`?"));
        self.errors.push(error);
    }

    fn string(&mut self, node: &Node) -> Text {
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

    fn bool(&mut self, node: &Node) -> bool {
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

    fn int(&mut self, node: &Node) -> i64 {
        match &node.kind {
            Kind::Int(value) => *value,
            _ => {
                self.wrong(node, "a number");
                0
            }
        }
    }

    fn duration(&mut self, node: &Node) -> Option<Duration> {
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
    fn strings(&mut self, node: &Node) -> Vec<Text> {
        match &node.kind {
            Kind::Seq(items) => items.iter().map(|item| self.string(item)).collect(),
            Kind::Null => Vec::new(),
            _ => vec![self.string(node)],
        }
    }

    fn items<T>(&mut self, key: &Key, node: &Node, read: fn(File<'_>, &Node) -> T) -> Vec<T> {
        match &node.kind {
            Kind::Seq(items) => items.iter().map(|item| read(self.file, item)).collect(),
            Kind::Null => Vec::new(),
            _ => {
                self.error(
                    node.at,
                    format!("`{}` must be a list, found {}", key.name, node.describe()),
                );
                Vec::new()
            }
        }
    }

    /// Handles a key that rules and macros have in common.
    fn common(&mut self, common: &mut Common, key: &Key, value: &Node) -> bool {
        match key.name.as_str() {
            "id" => common.id = self.string(value),
            "expression" => common.expression = Some(self.string(value)),
            "agent_version" => common.agent_version = Some(self.string(value)),
            "filters" => common.filters = self.strings(value),
            "combine" => common.combine = Some(self.string(value)),
            _ => return false,
        }
        true
    }

    fn finish(self, common: &mut Common, what: &str) {
        common.errors = self.errors;
        common.unusable = self.bad;
        let id = &common.id.value;
        let message = if id.is_empty() {
            Some(format!("no {what} ID"))
        } else if !id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            Some(format!(
                "{what} ID pattern error: `{}` has other characters than letters, digits and `_`",
                printable(id)
            ))
        } else {
            None
        };
        if let Some(message) = message {
            let at = if id.is_empty() {
                common.at
            } else {
                common.id.at
            };
            common.errors.push(self.file.error(at, message));
            common.unusable = true;
        }
    }
}

fn printable(text: &str) -> String {
    text.chars()
        .take(60)
        .map(|ch| if ch.is_control() { '?' } else { ch })
        .collect()
}

const MACRO_KEYS: [&str; 7] = [
    "id",
    "expression",
    "values",
    "description",
    "agent_version",
    "filters",
    "combine",
];

fn read_macro(file: File<'_>, node: &Node) -> MacroDef {
    let mut found = MacroDef::default();
    found.common.at = node.at;
    let mut reader = Reader {
        file,
        errors: Vec::new(),
        bad: false,
    };
    let Kind::Map(entries) = &node.kind else {
        reader.wrong(node, "a macro: a mapping with `id` and `expression`");
        reader.finish(&mut found.common, "macro");
        return found;
    };
    for (key, value) in entries {
        match key.name.as_str() {
            "values" => {
                found.values = Some(
                    reader
                        .strings(value)
                        .into_iter()
                        .map(|text| text.value)
                        .collect(),
                )
            }
            "description" => {}
            _ if reader.common(&mut found.common, key, value) => {}
            _ => reader.unknown(key, &MACRO_KEYS),
        }
    }
    if found.common.expression.is_some() && found.values.is_some() {
        reader.bad = true;
        reader.error(
            node.at,
            "only one of 'expression' and 'values' can be defined",
        );
    } else if found.common.expression.is_none() && found.values.is_none() {
        reader.bad = true;
        reader.error(node.at, "no macro expression");
    }
    reader.finish(&mut found.common, "macro");
    found
}

const RULE_KEYS: [&str; 18] = [
    "id",
    "version",
    "expression",
    "description",
    "tags",
    "product_tags",
    "agent_version",
    "filters",
    "disabled",
    "combine",
    "override_options",
    "actions",
    "every",
    "limiter_token",
    "silent",
    "group_id",
    "priority",
    "context",
];

fn read_rule(file: File<'_>, node: &Node) -> RuleDef {
    let mut rule = RuleDef::default();
    rule.common.at = node.at;
    let mut reader = Reader {
        file,
        errors: Vec::new(),
        bad: false,
    };
    let Kind::Map(entries) = &node.kind else {
        reader.wrong(node, "a rule: a mapping with `id` and `expression`");
        reader.finish(&mut rule.common, "rule");
        return rule;
    };
    for (key, value) in entries {
        match key.name.as_str() {
            "version" => rule.version = reader.string(value).value,
            "description" => rule.description = reader.string(value).value,
            "tags" => match &value.kind {
                Kind::Map(entries) => {
                    for (key, value) in entries {
                        let text = reader.string(value).value;
                        rule.tags.insert(key.name.clone(), text);
                    }
                }
                Kind::Null => {}
                _ => reader.wrong(value, "a mapping of tags"),
            },
            "product_tags" => {
                rule.product_tags = reader
                    .strings(value)
                    .into_iter()
                    .map(|text| text.value)
                    .collect();
            }
            "disabled" => rule.disabled = reader.bool(value),
            "override_options" => match &value.kind {
                Kind::Map(entries) => {
                    for (key, value) in entries {
                        if key.name == "fields" {
                            rule.override_fields = reader.strings(value);
                        } else {
                            reader.unknown(key, &["fields"]);
                        }
                    }
                }
                _ => reader.wrong(value, "a mapping with `fields`"),
            },
            "actions" => match &value.kind {
                Kind::Seq(items) => {
                    // A bad action is skipped, its rule stays.
                    rule.actions = items
                        .iter()
                        .filter_map(|item| {
                            let mut inner = Reader {
                                file,
                                errors: Vec::new(),
                                bad: false,
                            };
                            let action = read_action(&mut inner, item);
                            reader.errors.append(&mut inner.errors);
                            action
                                .filter(|_| !inner.bad)
                                .map(|action| (action, item.at))
                        })
                        .collect();
                }
                Kind::Null => {}
                _ => reader.wrong(value, "a list of actions"),
            },
            "every" => rule.every = reader.duration(value),
            "limiter_token" => rule.limiter_token = reader.strings(value),
            "silent" => rule.silent = reader.bool(value),
            "group_id" => {
                rule.group_id = Some(reader.string(value).value).filter(|id| !id.is_empty())
            }
            "priority" => rule.priority = reader.int(value),
            "context" => {}
            _ if reader.common(&mut rule.common, key, value) => {}
            _ => reader.unknown(key, &RULE_KEYS),
        }
    }
    if let Some(combine) = &rule.common.combine
        && combine.value != "override"
    {
        reader.bad = true;
        let message = format!(
            "`combine` of a rule can only be `override`, not `{}`",
            printable(&combine.value)
        );
        reader.error(combine.at, message);
    }
    if rule.common.expression.is_none() && !rule.disabled && rule.common.combine.is_none() {
        reader.bad = true;
        reader.error(node.at, "no rule expression");
    }
    reader.finish(&mut rule.common, "rule");
    rule
}

fn read_action(reader: &mut Reader<'_>, node: &Node) -> Option<Action> {
    let Kind::Map(entries) = &node.kind else {
        reader.wrong(node, "an action: a mapping");
        return None;
    };
    let mut filter = None;
    let mut found: Option<Action> = None;
    for (key, value) in entries {
        if key.name == "filter" {
            filter = Some(reader.string(value).value);
            continue;
        }
        let Some(kind) = ActionKind::ALL
            .into_iter()
            .find(|kind| kind.name() == key.name)
        else {
            let mut names: Vec<&str> = ActionKind::ALL.iter().map(|kind| kind.name()).collect();
            names.push("filter");
            reader.unknown(key, &names);
            continue;
        };
        if found.is_some() {
            reader.bad = true;
            reader.error(key.at, "only one action can be specified");
            return None;
        }
        let parameters = match &value.kind {
            Kind::Map(entries) => entries.as_slice(),
            Kind::Null => &[],
            _ => {
                reader.wrong(value, "the action's parameters: a mapping");
                &[]
            }
        };
        let mut known = Vec::new();
        for (key, value) in parameters {
            if !kind.parameters().contains(&key.name.as_str()) {
                reader.unknown(key, kind.parameters());
            } else if let Some(parameter) = parameter(value) {
                known.push((key.name.clone(), parameter));
            } else {
                reader.wrong(value, "a value");
            }
        }
        found = Some(Action {
            kind,
            filter: None,
            parameters: known,
        });
    }
    let Some(mut action) = found else {
        let names: Vec<&str> = ActionKind::ALL.iter().map(|kind| kind.name()).collect();
        reader.bad = true;
        reader.error(
            node.at,
            format!(
                "either [{}] section of an action must be specified",
                names.join(", ")
            ),
        );
        return None;
    };
    action.filter = filter;
    Some(action)
}

fn parameter(node: &Node) -> Option<Parameter> {
    Some(match &node.kind {
        Kind::Bool(value) => Parameter::Bool(*value),
        Kind::Int(value) => Parameter::Int(*value),
        Kind::Text(text) => Parameter::Text(text.clone()),
        Kind::Seq(items) => Parameter::List(items.iter().map(parameter).collect::<Option<_>>()?),
        Kind::Null | Kind::Map(_) => return None,
    })
}

/// Go's notation: `1h30m`, `1.5s`, `200ms`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = 0.0_f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|ch: char| !ch.is_ascii_digit() && ch != '.')?;
        let (number, tail) = rest.split_at(end);
        let units = [
            ("ns", 1e-9),
            ("us", 1e-6),
            ("µs", 1e-6),
            ("ms", 1e-3),
            ("s", 1.0),
            ("m", 60.0),
            ("h", 3600.0),
        ];
        let (unit, seconds) = units.into_iter().find(|(unit, _)| {
            tail.strip_prefix(unit)
                .is_some_and(|after| !after.starts_with(|ch: char| ch.is_alphabetic()))
        })?;
        total += number.parse::<f64>().ok()? * seconds;
        rest = &tail[unit.len()..];
    }
    Duration::try_from_secs_f64(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("10s", 10_000),
            ("1m30s", 90_000),
            ("1.5s", 1500),
            ("200ms", 200),
            ("2h", 7_200_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in [
            "",
            "10",
            "s",
            "10x",
            "-1s",
            "1..s",
            "10 s",
            "99999999999999999999h",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
