//! What rules and macros have in common.

use super::Common;
use super::reader::Reader;
use crate::yaml::{Key, Node};

impl Reader<'_> {
    /// Handles a key that rules and macros have in common.
    pub(super) fn common(&mut self, common: &mut Common, key: &Key, value: &Node) -> bool {
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

    /// Ends the reading of something that is no definition at all.
    pub(super) fn give_up(self, common: &mut Common) {
        common.errors = self.errors;
        common.unusable = true;
    }

    pub(super) fn finish(self, common: &mut Common, what: &str) {
        common.errors = self.errors;
        common.unusable = self.bad || common.id.value.is_empty();
        let id = &common.id.value;
        let (at, message, help) = if id.is_empty() {
            if self.misspelt.contains(&"id") {
                return;
            }
            let help = "add `id`: letters, digits and `_`".to_owned();
            (common.at, format!("no {what} ID"), help)
        } else if !id.bytes().all(is_id_byte) {
            let message = format!(
                "{what} ID pattern error: `{}` has other characters than letters, digits and `_`",
                printable(id)
            );
            let fixed = id.chars().take(60);
            let fixed: String = fixed
                .map(|ch| if ch.is_ascii_alphanumeric() { ch } else { '_' })
                .collect();
            (common.id.at, message, format!("such as `{fixed}`"))
        } else {
            return;
        };
        let mut error = self.file.error(at, message);
        error.help = Some(help);
        common.errors.push(error);
        common.unusable = true;
    }
}

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

pub(super) fn printable(text: &str) -> String {
    text.chars()
        .take(60)
        .map(|ch| if ch.is_control() { '?' } else { ch })
        .collect()
}
