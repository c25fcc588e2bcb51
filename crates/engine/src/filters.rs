//! What the kernel's filters hold, for `runtime discarders dump`.

use std::collections::BTreeMap;

use atalaya_api::{ControlError, proto};
use atalaya_model::capture::Approvers;
use serde_json::{Value, json};

use crate::engine::Shared;

/// What is said of the word: the command is named for what other agents have.
const NOTE: &str = "the kernel accepts by what the rules ask for (approvers) and keeps no discarders: what is not listed here is rejected before it is sent";

/// Makes the dump: the tables as they were written, and how many entries of each the kernel really has.
pub(crate) fn dump(shared: &Shared) -> Result<proto::DumpDiscardersMessage, ControlError> {
    let loaded = shared.rules.load_full();
    let tables = match shared.source().as_ref() {
        Some(source) => source
            .filter_tables()
            .map_err(|error| ControlError::Failed(error.to_string()))?,
        None => return Err(ControlError::Unavailable("the engine is stopped".into())),
    };
    let kinds: serde_json::Map<String, Value> = loaded
        .interest
        .approvers
        .iter()
        .map(|(kind, approvers)| (kind.name().to_owned(), one(approvers)))
        .collect();
    let entries = tables.values().map(|table| table.entries).sum();
    let tables: BTreeMap<&str, Value> = tables
        .iter()
        .map(|(name, table)| {
            let value = json!({"entries": table.entries, "expected": table.expected});
            (name.as_str(), value)
        })
        .collect();
    let whole = json!({
        "note": NOTE,
        "generation": loaded.generation,
        "discarders": [],
        "event_types": kinds,
        "kernel_tables": tables,
    });
    // Strings, numbers and lists cannot fail to serialize.
    let mut content = serde_json::to_vec_pretty(&whole).unwrap_or_default();
    content.push(b'\n');
    Ok(proto::DumpDiscardersMessage { content, entries })
}

fn one(approvers: &Approvers) -> Value {
    if approvers.all {
        return json!({"mode": "accept", "because": approvers.all_because});
    }
    let named = |list: &[(String, u32)]| -> Vec<Value> {
        let all = list.iter();
        all.map(|(value, flags)| json!({"value": value, "flags": flags}))
            .collect()
    };
    let directories = approvers.directories.iter();
    let directories: Vec<Value> = directories
        .map(|(path, below, flags)| json!({"path": path, "below": below, "flags": flags}))
        .collect();
    let numbers: Vec<Value> = approvers
        .numbers
        .iter()
        .map(|(slot, value)| json!({"slot": slot, "value": value}))
        .collect();
    json!({
        "mode": "deny",
        "basenames": named(&approvers.basenames),
        "paths": named(&approvers.paths),
        "directories": directories,
        "flags": approvers.flags,
        "numbers": numbers,
        "masks": approvers.masks,
    })
}
