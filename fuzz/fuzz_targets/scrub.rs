//! The scrubber: any text goes through; JSON stays JSON, and a secret planted in it does not come out, whatever stands around it.
#![no_main]

use std::sync::LazyLock;

use atalaya_scrub::Scrubber;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

static SCRUBBER: LazyLock<Scrubber> = LazyLock::new(Scrubber::default);

const SECRET: &str = "ZqCoreQz";

/// Puts the secret under `password` into every object.
fn plant(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(plant),
        Value::Object(members) => {
            members.values_mut().for_each(plant);
            members.insert("password".into(), format!("a {SECRET} \"b\"").into());
        }
        _ => {}
    }
}

fuzz_target!(|bytes: &[u8]| {
    let text = SCRUBBER.scrub_bytes(bytes);
    let _ = SCRUBBER.scrub(&text);
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    assert_eq!(SCRUBBER.scrub_args(&lines).len(), lines.len());
    if let Ok(mut value) = serde_json::from_slice::<Value>(bytes) {
        plant(&mut value);
        let scrubbed = SCRUBBER.scrub(&value.to_string());
        assert!(!scrubbed.contains(SECRET), "{value} -> {scrubbed}");
        assert!(value.is_number() || serde_json::from_str::<Value>(&scrubbed).is_ok(), "{value} -> {scrubbed}");
    }
    let environment = SCRUBBER.scrub_value("DB_PASSWORD", &format!("{SECRET}{text}"));
    assert!(!environment.contains(SECRET));
});
