//! One item of `macros`.

use super::MacroDef;
use super::reader::Reader;
use crate::locate::File;
use crate::yaml::{Kind, Node};

const MACRO_KEYS: [&str; 7] = [
    "id",
    "expression",
    "values",
    "description",
    "agent_version",
    "filters",
    "combine",
];

pub(super) fn read_macro(file: File<'_>, node: &Node) -> MacroDef {
    let mut found = MacroDef::default();
    found.common.at = node.at;
    let mut reader = Reader::new(file);
    let Kind::Map(entries) = &node.kind else {
        reader.wrong(node, "a macro: a mapping with `id` and `expression`");
        reader.give_up(&mut found.common);
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
        reader.error_help(
            node.at,
            "only one of 'expression' and 'values' can be defined",
            "remove one of them",
        );
    } else if found.common.expression.is_none() && found.values.is_none() {
        reader.bad = true;
        let slips = ["expression", "values"];
        if !reader.misspelt.iter().any(|key| slips.contains(key)) {
            reader.error_help(
                node.at,
                "no macro expression",
                "add `expression` or `values`",
            );
        }
    }
    reader.finish(&mut found.common, "macro");
    found
}
