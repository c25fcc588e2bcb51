//! `runtime tail`: events as they come, each below the process that did it.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use atalaya_api::proto::SecurityEventMessage;
use atalaya_api::{Sanitized, sanitize_json};
use serde_json::Value;

use super::filter;
use super::lineage::{self, Link};
use crate::events::follow;
use crate::line::{BOLD, DIM, RED, Style, YELLOW, clock, custom, object};

/// Arguments of `runtime tail`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  runtime tail --filter 'process.ancestors.file.name == \"sshd\"'
  runtime tail --filter 'open.file.path =~ \"/etc/**\" && process.uid != 0'
  runtime tail --rule my_rule --count 1 --json")]
pub struct Args {
    /// Only events for which this expression of the rule language holds; one about an event type's fields shows events of that type only
    #[arg(long, short, value_name = "EXPR")]
    filter: Option<String>,
    /// Only events of this rule; may be given several times
    #[arg(long, short, value_name = "ID")]
    rule: Vec<String>,
    /// Also what the agent says of itself, such as heartbeats
    #[arg(long, short)]
    all: bool,
    /// End after so many events
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
    /// The events as JSON lines
    #[arg(long, short)]
    json: bool,
}

/// Shows events until interrupted.
pub(crate) async fn run(socket: &Path, args: &Args, color: bool) -> Result<ExitCode> {
    let filter = args.filter.as_deref().map(filter::compile).transpose()?;
    let mut tail = Tail::new(Style { color });
    let mut told = false;
    let mut left = args.count.unwrap_or(u64::MAX);
    let terminal = io::stdout().is_terminal();
    follow(socket, |message| {
        let event: Value = serde_json::from_slice(&message.data).unwrap_or_default();
        let own = event["evt"]["name"].as_str().is_none();
        let wanted = match (own, &filter) {
            (true, _) => args.all && args.rule.is_empty(),
            (false, None) => true,
            (false, Some(filter)) => filter.holds(&event).unwrap_or_else(|error| {
                if !std::mem::replace(&mut told, true) {
                    let error = Sanitized(&error);
                    eprintln!("(events that the filter cannot be tried on are shown: {error})");
                }
                true
            }),
        };
        let is_rule = |id: &String| *id == message.rule_id || *id == message.original_rule_id;
        if !wanted || !(args.rule.is_empty() || args.rule.iter().any(is_rule)) {
            return Ok(());
        }
        let text = match (args.json, terminal) {
            (false, _) => tail.lines(message, &event),
            (true, true) => format!(
                "{}\n",
                sanitize_json(&String::from_utf8_lossy(&message.data))
            ),
            (true, false) => format!("{}\n", String::from_utf8_lossy(&message.data)),
        };
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        left -= 1;
        match left {
            // As if nobody read it any more.
            0 => Err(io::ErrorKind::BrokenPipe.into()),
            _ => Ok(()),
        }
    })
    .await
}

/// Writes a process only when it is another one than before.
struct Tail {
    style: Style,
    last: Vec<Link>,
}

impl Tail {
    fn new(style: Style) -> Self {
        Self {
            style,
            last: Vec::new(),
        }
    }

    /// The event's line, after one for its process where that is another one than that of the last event.
    fn lines(&mut self, message: &SecurityEventMessage, event: &Value) -> String {
        let mut text = String::new();
        let lineage = lineage::of(event);
        if lineage != self.last {
            self.head(&mut text, &lineage, event);
            self.last = lineage;
        }
        if !self.last.is_empty() {
            text.push_str("  ");
        }
        let style = self.style;
        text.push_str(&style.paint(DIM, &Sanitized(clock(&string(event, "/date"))).to_string()));
        let id = format!("  #{}", message.offset);
        text.push_str(&style.paint(DIM, &id));
        let name = string(event, "/evt/name");
        if name.is_empty() {
            custom(&mut text, message, event, style);
        } else {
            let outcome = string(event, "/evt/outcome");
            let mut add = |code: &str, part: &str| {
                if !part.is_empty() {
                    // Writing to a string cannot fail.
                    let _ = write!(text, "  {}", style.paint(code, part));
                }
            };
            add("36", &Sanitized(&name).to_string());
            add(BOLD, &Sanitized(&message.rule_id).to_string());
            if outcome != "Success" {
                add(RED, &Sanitized(&outcome).to_string());
            }
            add("0", &object(event, &name));
        }
        text.push('\n');
        text
    }

    /// The lineage from the last process that both have.
    fn head(&self, text: &mut String, lineage: &[Link], event: &Value) {
        if lineage.is_empty() {
            return;
        }
        let common = lineage
            .iter()
            .zip(&self.last)
            .take_while(|(new, old)| new == old)
            .count();
        // The process itself is told even where the last event was of its child.
        let from = common.min(lineage.len() - 1).saturating_sub(1);
        let shown: Vec<String> = lineage[from..].iter().map(ToString::to_string).collect();
        let cut = if from > 0 { "… " } else { "" };
        let mut line = format!("{cut}{}", shown.join(" › "));
        let user = match string(event, "/process/user") {
            user if user.is_empty() => event
                .pointer("/process/uid")
                .and_then(Value::as_i64)
                .map_or_else(String::new, |uid| format!("uid {uid}")),
            user => user,
        };
        if !user.is_empty() {
            let _ = write!(line, "  {}", Sanitized(&user));
        }
        text.push_str(&self.style.paint(BOLD, &line));
        let container: String = string(event, "/container/id").chars().take(12).collect();
        if !container.is_empty() {
            let place = format!("  in {}", Sanitized(&container));
            text.push_str(&self.style.paint(YELLOW, &place));
        }
        text.push('\n');
    }
}

fn string(event: &Value, pointer: &str) -> String {
    let text = event.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(pid: i64, comm: &str, path: &str, ancestors: &[(i64, &str)]) -> Value {
        let ancestors: Vec<Value> = ancestors
            .iter()
            .map(|(pid, comm)| json!({"pid": pid, "comm": comm}))
            .collect();
        json!({
            "date": "2026-11-23T09:08:07.123456789Z",
            "evt": {"name": "open", "outcome": "Success"}, "file": {"path": path},
            "process": {"pid": pid, "comm": comm, "user": "ana", "ancestors": ancestors},
        })
    }

    fn message(offset: u64) -> SecurityEventMessage {
        SecurityEventMessage {
            rule_id: "r".into(),
            offset,
            ..Default::default()
        }
    }

    #[test]
    fn a_process_is_told_once_and_a_child_below_what_is_known() {
        let mut tail = Tail::new(Style { color: false });
        let of_bash = event(5, "bash", "/a", &[(1, "init")]);
        let of_cat = event(9, "cat", "/b", &[(5, "bash"), (1, "init")]);
        let mut text = tail.lines(&message(1), &of_bash);
        text += &tail.lines(&message(2), &of_bash);
        text += &tail.lines(&message(3), &of_cat);
        text += &tail.lines(&message(4), &of_bash);
        assert_eq!(
            text,
            "init(1) › bash(5)  ana\n  \
             09:08:07.123  #1  open  r  /a\n  \
             09:08:07.123  #2  open  r  /a\n\
             … bash(5) › cat(9)  ana\n  \
             09:08:07.123  #3  open  r  /b\n\
             init(1) › bash(5)  ana\n  \
             09:08:07.123  #4  open  r  /a\n"
        );
    }

    #[test]
    fn nothing_of_an_event_reaches_the_terminal_raw() {
        let evil = "\x1b[2J\n\u{202e}x";
        let mut tail = Tail::new(Style { color: false });
        let mut event = event(5, evil, evil, &[(1, evil)]);
        for pointer in ["/date", "/evt/name", "/evt/outcome", "/process/user"] {
            if let Some(value) = event.pointer_mut(pointer) {
                *value = json!(evil);
            }
        }
        event["container"] = json!({"id": evil});
        let mut of_evil = message(1);
        of_evil.rule_id = evil.into();
        let text = tail.lines(&of_evil, &event);
        assert_eq!(text.matches('\n').count(), 2, "{text:?}");
        assert!(
            !text.contains(|c| c != '\n' && atalaya_api::is_dangerous(c)),
            "{text:?}"
        );
    }
}
