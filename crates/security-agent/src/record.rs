//! One stored event: a JSON line in the form of a log intake.

use atalaya_api::proto::SecurityEventMessage;
use serde::Serialize;

/// What is said of every event.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) tags: Vec<String>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    ddsource: &'a str,
    service: &'a str,
    hostname: &'a str,
    status: &'a str,
    /// Milliseconds since 1970.
    timestamp: i64,
    ddtags: &'a str,
    /// The number of the event in system-probe's spool: what `runtime why` is asked for.
    #[serde(skip_serializing_if = "is_none")]
    event_id: u64,
    /// Only for events that are no JSON; others are put in as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

/// The event as one line with its line feed. The same message always gives the same line.
pub(crate) fn line(message: &SecurityEventMessage, host: &Host) -> Vec<u8> {
    let at = message.timestamp.as_ref();
    let tags: Vec<&str> = host
        .tags
        .iter()
        .chain(&message.tags)
        .map(String::as_str)
        .collect();
    let is_object = serde_json::from_slice::<serde::de::IgnoredAny>(&message.data).is_ok();
    // A line feed between two values is fine in JSON, and would end the line.
    let as_it_is = is_object && !message.data.contains(&b'\n');
    let text = (!as_it_is).then(|| String::from_utf8_lossy(&message.data));
    let or = |value: &'static str, given: &str| {
        if given.is_empty() {
            value.to_owned()
        } else {
            given.to_owned()
        }
    };
    let envelope = Envelope {
        ddsource: "runtime-security-agent",
        service: &or("runtime-security-agent", &message.service),
        hostname: &host.name,
        status: &or("info", &message.status),
        timestamp: at.map_or(0, |t| {
            t.seconds.saturating_mul(1000) + i64::from(t.nanos) / 1_000_000
        }),
        ddtags: &tags.join(","),
        event_id: message.offset,
        message: text.as_deref(),
    };
    // Strings and numbers always serialise.
    let mut line = serde_json::to_vec(&envelope).unwrap_or_default();
    if as_it_is {
        line.pop();
        line.extend_from_slice(b",\"message\":");
        line.extend_from_slice(&message.data);
        line.push(b'}');
    }
    line.push(b'\n');
    line
}

/// Offsets begin with 1.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_none(offset: &u64) -> bool {
    *offset == 0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use atalaya_api::proto::Timestamp;
    use serde_json::{Value, json};

    fn host() -> Host {
        Host {
            name: "box".into(),
            tags: vec!["env:test".into()],
        }
    }

    fn parsed(data: &[u8]) -> Value {
        let message = SecurityEventMessage {
            data: data.to_vec(),
            tags: vec!["rule_id:x".into()],
            timestamp: Some(Timestamp {
                seconds: 2,
                nanos: 34_000_000,
            }),
            ..Default::default()
        };
        let line = line(&message, &host());
        assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
        serde_json::from_slice(&line).unwrap()
    }

    #[test]
    fn the_event_is_put_in_as_it_is() {
        let expected = json!({
            "ddsource": "runtime-security-agent",
            "service": "runtime-security-agent",
            "hostname": "box",
            "status": "info",
            "timestamp": 2034,
            "ddtags": "env:test,rule_id:x",
            "message": {"evt": {"name": "open"}, "n": 1.0},
        });
        assert_eq!(parsed(br#"{"evt":{"name":"open"},"n":1.0}"#), expected);
    }

    #[test]
    fn what_is_no_json_line_becomes_text() {
        for data in [&b"rubbish\n\"{"[..], b"\xff\xfe", b"", b"{\n}", b"{} {}"] {
            assert!(parsed(data)["message"].is_string(), "{data:?}");
        }
    }
}
