//! The explorer's queries and events: any text is a query or an error with a place in it, and any document can be asked by any query.
#![no_main]

use std::sync::LazyLock;

use atalaya_store::{Query, suggest};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

static EVENT: LazyLock<Value> = LazyLock::new(|| {
    json!({"hostname": "box", "status": "info", "ddtags": "a:b,c:d", "event_id": 7, "message": {
        "evt": {"name": "open"}, "agent": {"rule_id": "my_rule"}, "file": {"path": "/etc/shadow"},
        "process": {"pid": 42, "comm": "cat", "args": ["a b", "c"], "ancestors": [{"comm": "bash"}]}}})
});

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let (query, document) = text.split_once('\n').unwrap_or((&text, ""));
    let (place, _) = suggest(query, query.len() / 2, |_, _| Vec::new());
    assert!(query.get(place).is_some());
    match Query::parse(query, 1_763_980_000_000) {
        Ok(query) => {
            let _ = query.matches(&EVENT, 1_763_980_000_000);
            if let Ok(document) = serde_json::from_str::<Value>(document) {
                let _ = query.matches(&document, 0);
            }
        }
        Err(error) => {
            assert!(query.get(error.start..error.end).is_some(), "{error:?}");
            let _ = error.snippet(query);
        }
    }
});
