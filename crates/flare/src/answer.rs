//! What the receiver says, and what a person is told.

use serde_json::Value;

/// So much of an answer that makes no sense is shown.
const SHOWN: usize = 150;

/// The text for a person, and whether it is good news.
pub(crate) fn read(status: u16, body: &[u8], key: &str) -> Result<String, String> {
    if status == 403 {
        return Err(match key {
            "" => "HTTP 403 Forbidden: Make sure your API key is valid. API key is missing (api_key, DD_API_KEY)".to_owned(),
            key => format!("HTTP 403 Forbidden: Make sure your API key is valid. API Key ending with: {}", last_five(key)),
        });
    }
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let error = json
        .as_ref()
        .and_then(|json| json.get("error")?.as_str())
        .filter(|error| !error.is_empty());
    if let Some(error) = error {
        return Err(format!(
            "An error occurred while uploading the flare: {error}. Please contact support by email."
        ));
    }
    if !(200..300).contains(&status) {
        return Err(format!(
            "the receiver answers HTTP {status}: {}",
            first(body)
        ));
    }
    let case = json.as_ref().and_then(|json| match json.get("case_id")? {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        _ => None,
    });
    match case {
        Some(case) => Ok(format!(
            "Your logs were successfully uploaded. For future reference, your internal case id is {case}"
        )),
        None => Err(format!(
            "Error: could not deserialize response body -- Please contact support by email.\n{}",
            first(body)
        )),
    }
}

/// The end of a key, by which a person knows it, if so much may be shown of it.
fn last_five(key: &str) -> String {
    let chars: Vec<char> = key.chars().collect();
    if chars.len() < 16 {
        "(too short to be one)".into()
    } else {
        chars[chars.len() - 5..].iter().collect()
    }
}

fn first(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn answers() {
        let key = "0123456789abcdef0123456789abcdef";
        let good = "Your logs were successfully uploaded. For future reference, your internal case id is 42";
        for (status, body, key, answer) in [
            (200, r#"{"case_id": 42}"#, key, Ok(good)),
            (201, r#"{"case_id": "42", "error": ""}"#, key, Ok(good)),
            (403, "nope", key, Err("API Key ending with: bcdef")),
            (403, "nope", "", Err("API key is missing")),
            (403, "nope", "abcdef", Err("too short")),
            (
                400,
                r#"{"error": "no such case"}"#,
                key,
                Err("uploading the flare: no such case. Please contact"),
            ),
            (200, r#"{"case_id": 1, "error": "odd"}"#, key, Err("odd")),
            (
                200,
                "<html>",
                key,
                Err(
                    "could not deserialize response body -- Please contact support by email.\n<html>",
                ),
            ),
            (200, "{}", key, Err("could not deserialize")),
            (502, "bad gateway", key, Err("HTTP 502: bad gateway")),
        ] {
            match (read(status, body.as_bytes(), key), answer) {
                (Ok(text), Ok(wanted)) => assert_eq!(text, wanted),
                (Err(text), Err(wanted)) => assert!(text.contains(wanted), "{text}"),
                other => panic!("{status} {body}: {other:?}"),
            }
        }
        let long = "x".repeat(1000);
        assert!(read(200, long.as_bytes(), key).is_err_and(|e| e.len() < 300));
    }
}
