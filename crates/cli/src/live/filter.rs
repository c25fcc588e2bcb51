//! `--filter`: a filter in the rule language, for events that are shown.

use anyhow::{Result, anyhow};
pub(crate) use atalaya_model::Filter;

/// Compiles it.
pub(crate) fn compile(expression: &str) -> Result<Filter> {
    Filter::new(expression).map_err(|error| anyhow!("--filter: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use serde_json::{Value, json};

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
            let error = compile(bad).unwrap_err().to_string();
            assert!(error.starts_with("--filter: "), "{bad}: {error}");
        }
        let near = compile("open.file.pth == \"x\"").unwrap_err().to_string();
        assert!(near.contains("open.file.path"), "{near}");
    }
}
