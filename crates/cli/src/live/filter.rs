//! A filter in the rule language, for events that are shown.
//!
//! It is evaluated on what an event says as JSON, which is less than what a rule sees: secrets are masked, and of the environment there are
//! names only.

use anyhow::{Result, anyhow};
use atalaya_model::ValueEvent;
use atalaya_secl::model::Schema;
use atalaya_secl::{EvalContext, MacroSet, NoVariables, Program, Scope, compile_condition};
use serde_json::Value;

/// A compiled filter.
#[derive(Debug)]
pub(crate) struct Filter {
    program: Program,
}

impl Filter {
    /// Compiles it. It may be about one event type, or about none.
    pub(crate) fn new(expression: &str) -> Result<Self> {
        let macros = MacroSet::default();
        let schema: &dyn Schema = atalaya_model::schema();
        let compiled = compile_condition(expression, &Scope::new(schema, &macros));
        compiled
            .map(|program| Self { program })
            .map_err(|error| match &error.help {
                Some(help) => anyhow!("--filter: {error} ({help})"),
                None => anyhow!("--filter: {error}"),
            })
    }

    /// Whether it holds for the event; an error where the event cannot be read as one.
    pub(crate) fn holds(&self, event: &Value) -> Result<bool, String> {
        let event = ValueEvent::from_document(event).map_err(|error| error.to_string())?;
        let wanted = self.program.event_type();
        if wanted.is_some_and(|wanted| wanted != event.event_type()) {
            return Ok(false);
        }
        let context = EvalContext {
            now_ns: event.now_ns().unwrap_or_else(now_ns),
            variables: &NoVariables,
        };
        Ok(self.program.matches(&event, &context))
    }
}

fn now_ns() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use serde_json::json;

    fn holds(expression: &str, event: &Value) -> bool {
        Filter::new(expression).unwrap().holds(event).unwrap()
    }

    #[test]
    fn a_filter_is_of_one_event_type_or_of_all() {
        let event = json!({
            "date": "2026-11-23T09:08:07.123456789Z",
            "evt": {"name": "open", "category": "File Activity", "outcome": "Success"},
            "file": {"path": "/etc/shadow", "flags": ["O_WRONLY", "O_CREAT"]},
            "process": {"comm": "cat", "pid": 12, "credentials": {"uid": 1000},
                "executable": {"path": "/usr/bin/cat"},
                "ancestors": [{"pid": 5, "executable": {"path": "/usr/bin/bash"}}]},
        });
        assert!(holds("open.file.path == \"/etc/shadow\"", &event));
        assert!(holds("open.flags & O_CREAT > 0", &event));
        assert!(holds(
            "process.file.name == \"cat\" && process.uid == 1000",
            &event
        ));
        assert!(holds("process.ancestors.file.name == \"bash\"", &event));
        assert!(!holds("process.uid == 0", &event));
        assert!(!holds("exec.file.path == \"/etc/shadow\"", &event));
    }

    #[test]
    fn sections_of_other_events_are_read_too() {
        let event = json!({
            "evt": {"name": "connect"},
            "connect": {"addr": {"ip": "10.1.2.3", "port": 443, "family": "AF_INET"}},
            "process": {"pid": 1},
        });
        assert!(holds("connect.addr.port == 443", &event));
        assert!(holds("connect.addr.ip in 10.0.0.0/8", &event));
        assert!(!holds("connect.addr.port == 80", &event));
        let event = json!({
            "evt": {"name": "signal"}, "process": {"pid": 1},
            "signal": {"type": "SIGKILL", "pid": 7, "target": {"pid": 7, "executable": {"path": "/usr/bin/x"}}},
        });
        assert!(holds(
            "signal.type == SIGKILL && signal.target.file.name == \"x\"",
            &event
        ));
        let event = json!({
            "evt": {"name": "dns"}, "process": {"pid": 1},
            "network": {"destination": {"ip": "10.0.0.1", "port": 53}},
            "dns": {"id": 1, "question": {"name": "evil.example", "type": "TXT", "class": "IN"}},
        });
        assert!(holds(
            "dns.question.name == \"evil.example\" && network.destination.port == 53",
            &event
        ));
        assert!(holds("dns.question.type == TXT", &event));
        let event = json!({
            "evt": {"name": "load_module"}, "process": {"pid": 1},
            "module": {"name": "evil", "loaded_from_memory": true, "nonsense": [{}]},
        });
        assert!(holds(
            "load_module.name == \"evil\" && load_module.loaded_from_memory",
            &event
        ));
        let event = json!({
            "evt": {"name": "bpf"}, "process": {"pid": 1},
            "bpf": {"cmd": "BPF_PROG_LOAD", "program": {"name": "p", "program_type": "BPF_PROG_TYPE_KPROBE"}},
        });
        assert!(holds(
            "bpf.cmd == BPF_PROG_LOAD && bpf.prog.type == BPF_PROG_TYPE_KPROBE",
            &event
        ));
        // An event whose section says more than it has fields for.
        let event = json!({
            "evt": {"name": "failed_dns"}, "process": {"pid": 3},
            "network": {"destination": {"ip": "10.0.0.1", "port": 53}},
        });
        assert!(holds("process.pid == 3", &event));
        // What an attacker made of it is no error.
        let event =
            json!({"evt": {"name": "connect"}, "connect": {"addr": {"ip": ["x"], "port": "y"}}});
        assert!(!holds("connect.addr.port == 443", &event));
    }

    #[test]
    fn a_bad_filter_is_one_clear_error() {
        for bad in [
            "open.file.pth == \"x\"",
            "",
            "open.file.path ==",
            "open.file.path == \"a\" && exec.pid == 1",
        ] {
            let error = Filter::new(bad).unwrap_err().to_string();
            assert!(error.starts_with("--filter: "), "{bad}: {error}");
        }
        let near = Filter::new("open.file.pth == \"x\"")
            .unwrap_err()
            .to_string();
        assert!(near.contains("open.file.path"), "{near}");
    }
}
