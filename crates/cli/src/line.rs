//! An event as one compact line for a terminal. Everything in it may have been chosen by an attacker.

use std::fmt::Write;

use atalaya_api::Sanitized;
use atalaya_api::proto::SecurityEventMessage;
use serde_json::Value;

/// So many characters of a command line are shown.
const MAX_COMMAND: usize = 160;

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// With colours.
    pub color: bool,
}

impl Style {
    /// With the codes of a terminal.
    #[must_use]
    pub fn paint(self, code: &str, text: &str) -> String {
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

pub(crate) const DIM: &str = "2";
pub(crate) const BOLD: &str = "1";
pub(crate) const RED: &str = "31";
pub(crate) const YELLOW: &str = "33";
pub(crate) const BLUE: &str = "34";
pub(crate) const CYAN: &str = "36";

/// `12:34:56.789 open   rule_id  /etc/shadow  by cat(123) root  cat /etc/shadow  in 3f1c9a…`
#[must_use]
pub fn render(message: &SecurityEventMessage, style: Style) -> String {
    let event: Value = serde_json::from_slice(&message.data).unwrap_or_default();
    let text = |pointer: &str| {
        event
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let mut line = style.paint(DIM, &Sanitized(clock(text("/date"))).to_string());
    let name = text("/evt/name");
    if name.is_empty() {
        custom(&mut line, message, &event, style);
        return line;
    }
    let kind = match text("/evt/category") {
        "Process Activity" => CYAN,
        "File Activity" => BLUE,
        _ => YELLOW,
    };
    let mut add = |code: &str, part: &str| {
        // Writing to a String cannot fail.
        let _ = write!(line, "  {}", style.paint(code, part));
    };
    add(kind, &format!("{:<6}", Sanitized(name).to_string()));
    add(BOLD, &Sanitized(&message.rule_id).to_string());
    let outcome = text("/evt/outcome");
    if !matches!(outcome, "" | "Success") {
        add(RED, &Sanitized(outcome).to_string());
    }
    let object = object(&event, name);
    if !object.is_empty() {
        add("0", &object);
    }
    let number = |pointer: &str| event.pointer(pointer).and_then(Value::as_i64).unwrap_or(-1);
    let user = match text("/process/user") {
        "" => format!("uid {}", number("/process/uid")),
        user => Sanitized(user).to_string(),
    };
    let who = format!(
        "by {}({}) {user}",
        Sanitized(text("/process/comm")),
        number("/process/pid")
    );
    add(DIM, &who);
    let command = command(&event);
    if !command.is_empty() && name != "exec" {
        add(DIM, &command);
    }
    let container = match text("/container/id") {
        "" => text("/process/container/id"),
        id => id,
    };
    if !container.is_empty() {
        let short: String = container.chars().take(12).collect();
        add(YELLOW, &format!("in {}", Sanitized(&short)));
    }
    line
}

/// What was done to what.
pub(crate) fn object(event: &Value, name: &str) -> String {
    let text = |pointer: &str| {
        event
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let number = |pointer: &str| event.pointer(pointer).and_then(Value::as_i64);
    let path = match text("/file/path") {
        "" => text("/process/executable/path"),
        path => path,
    };
    let path = Sanitized(path).to_string();
    match name {
        "exec" => match command(event) {
            command if command.is_empty() => path,
            command => format!("{path}: {command}"),
        },
        "exit" => {
            let cause = text("/exit/cause");
            format!(
                "{path} {} {}",
                Sanitized(cause),
                number("/exit/code").unwrap_or_default()
            )
        }
        "rename" | "link" => format!("{path} -> {}", Sanitized(text("/file/destination/path"))),
        "chmod" | "mkdir" => match number("/file/destination/mode") {
            Some(mode) => format!("{path} {mode:#o}"),
            None => path,
        },
        "chown" => {
            let id = |p: &str| number(p).map_or("?".to_owned(), |n| n.to_string());
            format!(
                "{path} {}:{}",
                id("/file/destination/uid"),
                id("/file/destination/gid")
            )
        }
        "open" => {
            let flags = event.pointer("/file/flags").and_then(Value::as_array);
            let flags: Vec<_> = flags
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            match flags.as_slice() {
                [] | ["O_RDONLY"] => path,
                flags => format!("{path} {}", Sanitized(&flags.join("|"))),
            }
        }
        _ => path,
    }
}

pub(crate) fn command(event: &Value) -> String {
    let args = event.pointer("/process/args").and_then(Value::as_array);
    let words = event
        .pointer("/process/argv0")
        .into_iter()
        .chain(args.into_iter().flatten());
    let all: Vec<_> = words.filter_map(Value::as_str).collect();
    let all = all.join(" ");
    let mut short: String = all.chars().take(MAX_COMMAND).collect();
    if short.len() < all.len() {
        short.push('…');
    }
    Sanitized(&short).to_string()
}

/// An event that the agent made itself, as its name and what it says.
pub(crate) fn custom(
    line: &mut String,
    message: &SecurityEventMessage,
    event: &Value,
    style: Style,
) {
    let kind = match message.rule_id.as_str() {
        "lost_events" | "abnormal_path" => RED,
        _ => DIM,
    };
    let _ = write!(
        line,
        "  {}",
        style.paint(kind, &Sanitized(&message.rule_id).to_string())
    );
    let list = |name: &str| {
        event
            .get(name)
            .and_then(Value::as_array)
            .map_or(0, Vec::len)
    };
    let about = match message.rule_id.as_str() {
        "self_test" => format!("{} passed, {} failed", list("success"), list("fails")),
        "broken_process_lineage" => format!("{} processes", list("processes")),
        "heartbeat" | "ruleset_loaded" => format!("{} policies", list("policies")),
        _ => {
            let title = event
                .get("title")
                .and_then(Value::as_str)
                .unwrap_or_default();
            Sanitized(title).to_string()
        }
    };
    let _ = write!(line, "  {}", style.paint(DIM, &about));
}

/// The time of day out of an RFC 3339 time, to the millisecond.
pub(crate) fn clock(date: &str) -> &str {
    let time = date.split_once('T').map_or("", |(_, t)| t);
    let end = time.find('.').map_or(time.len(), |dot| dot + 4);
    time.get(..end).unwrap_or(time).trim_end_matches('Z')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(rule: &str, event: &Value) -> SecurityEventMessage {
        SecurityEventMessage {
            rule_id: rule.into(),
            data: event.to_string().into_bytes(),
            ..Default::default()
        }
    }

    const PLAIN: Style = Style { color: false };

    #[test]
    fn an_event_is_one_line() {
        let event = json!({
            "date": "2026-11-23T09:08:07.123456789Z",
            "evt": {"name": "open", "category": "File Activity", "outcome": "Refused"},
            "file": {"path": "/etc/shadow", "flags": ["O_WRONLY", "O_CREAT"]},
            "process": {"comm": "cat", "pid": 12, "uid": 1000, "user": "ana", "argv0": "cat", "args": ["/etc/shadow"]},
            "container": {"id": "0123456789abcdef"},
        });
        assert_eq!(
            render(&message("my_rule", &event), PLAIN),
            "09:08:07.123  open    my_rule  Refused  /etc/shadow O_WRONLY|O_CREAT  by cat(12) ana  cat /etc/shadow  in 0123456789ab"
        );
    }

    #[test]
    fn nothing_of_an_event_reaches_the_terminal_raw() {
        let evil = "\x1b[2J\n\u{202e}x";
        let event = json!({
            "date": evil, "evt": {"name": evil, "outcome": evil, "category": evil},
            "file": {"path": evil, "flags": [evil, evil], "destination": {"path": evil}},
            "process": {"comm": evil, "user": evil, "argv0": evil, "args": [evil], "executable": {"path": evil}},
            "container": {"id": evil}, "title": evil, "exit": {"cause": evil},
        });
        for name in ["open", "exec", "rename", "exit", "chown", "chmod", evil, ""] {
            let mut event = event.clone();
            event["evt"]["name"] = json!(name);
            let line = render(&message(evil, &event), PLAIN);
            assert!(!line.contains(atalaya_api::is_dangerous), "{line:?}");
        }
        let line = render(&message(evil, &event), Style { color: true });
        assert!(!line.contains("\x1b[2J") && !line.contains('\n'));
    }

    #[test]
    fn what_is_no_event_still_makes_a_line() {
        for data in [
            &b""[..],
            b"[]",
            b"\xff",
            b"{}",
            br#"{"date":"T","evt":{"name":"open"}}"#,
            "{\"date\":\"Té.é\"}".as_bytes(),
        ] {
            let message = SecurityEventMessage {
                rule_id: "r".into(),
                data: data.to_vec(),
                ..Default::default()
            };
            assert!(!render(&message, PLAIN).contains('\n'));
        }
    }
}
