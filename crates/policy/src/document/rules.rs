//! One item of `rules`.

use super::RuleDef;
use super::common::printable;
use super::reader::Reader;
use crate::action::read_action;
use crate::locate::File;
use crate::yaml::{Kind, Node};

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

pub(super) fn read_rule(file: File<'_>, node: &Node) -> RuleDef {
    let mut rule = RuleDef::default();
    rule.common.at = node.at;
    let mut reader = Reader::new(file);
    let Kind::Map(entries) = &node.kind else {
        reader.wrong(node, "a rule: a mapping with `id` and `expression`");
        reader.give_up(&mut rule.common);
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
                        .filter_map(|item| read_action(file, item, &mut reader))
                        .collect();
                }
                Kind::Null => {}
                _ => reader.wrong(value, "a list of actions"),
            },
            // None at all, as without the key.
            "every" => rule.every = reader.duration(value).filter(|every| !every.is_zero()),
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
        reader.error_help(combine.at, message, "only macros can be merged");
    }
    if rule.common.expression.is_none() && !rule.disabled && rule.common.combine.is_none() {
        reader.bad = true;
        if !reader.misspelt.contains(&"expression") {
            reader.error_help(
                node.at,
                "no rule expression",
                "add `expression`, or `combine: override` to change an earlier rule",
            );
        }
    }
    reader.finish(&mut rule.common, "rule");
    rule
}
