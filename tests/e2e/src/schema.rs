//! Every event the programs write is held against the published JSON schema, where that is at hand.

use std::path::PathBuf;
use std::sync::OnceLock;

use jsonschema::Validator;
use serde_json::Value;

/// What the schema says against an event.
#[derive(Debug, Clone)]
pub struct SchemaError(pub String);

/// Rule ids of the agent's own events, which have a shape of their own.
const CUSTOM: [&str; 9] = [
    "heartbeat",
    "self_test",
    "network_doctor",
    "self_protection",
    "lost_events",
    "ruleset_loaded",
    "broken_process_lineage",
    "abnormal_path",
    "no_process_context",
];

fn validator() -> Option<&'static Validator> {
    static VALIDATOR: OnceLock<Option<Validator>> = OnceLock::new();
    VALIDATOR
        .get_or_init(|| {
            let path = std::env::var_os("ATALAYA_SCHEMA").map_or_else(
                || {
                    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                        .join("../../../shared/reference/backend_linux.schema.json")
                },
                PathBuf::from,
            );
            let text = std::fs::read_to_string(path).ok()?;
            let schema = serde_json::from_str(&text).expect("the schema is JSON");
            Some(jsonschema::validator_for(&schema).expect("the schema is a JSON schema"))
        })
        .as_ref()
}

/// Whether the schema is at hand.
pub fn validator_available() -> bool {
    validator().is_some()
}

/// Holds an event against the schema; the agent's own events pass, and every event does where the schema is absent.
pub fn validate(event: &Value) -> Result<(), SchemaError> {
    let rule = event["agent"]["rule_id"].as_str().unwrap_or_default();
    let Some(validator) = validator() else {
        return Ok(());
    };
    if CUSTOM.contains(&rule) {
        return Ok(());
    }
    let errors: Vec<String> = validator
        .iter_errors(event)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    if errors.is_empty() {
        return Ok(());
    }
    Err(SchemaError(errors.join("\n")))
}
