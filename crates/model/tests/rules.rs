//! Rules on the real table: what the names mean to the compiler, and what the values of events of any type do.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use atalaya_model::{ValueEvent, schema};
use atalaya_secl::{EvalContext, MacroSet, NoVariables, Scope, compile_rule};
use serde_json::{Value, json};

fn scope(macros: &MacroSet) -> Scope<'_> {
    Scope {
        schema: schema(),
        macros,
        variables: &NoVariables,
        rule_tags: &[],
    }
}

fn refused(rule: &str) -> String {
    let macros = MacroSet::default();
    compile_rule(rule, &scope(&macros)).unwrap_err().to_string()
}

/// Whether the rule matches the event.
fn matches(rule: &str, event_type: &str, values: &Value) -> bool {
    let macros = MacroSet::default();
    let program = compile_rule(rule, &scope(&macros)).unwrap_or_else(|error| panic!("{error}"));
    let event = ValueEvent::from_values(event_type, values.as_object().unwrap()).unwrap();
    program.matches(
        &event,
        &EvalContext {
            now_ns: 0,
            variables: &NoVariables,
        },
    )
}

#[test]
fn rules_on_events_that_nothing_captures() {
    let dns =
        json!({"dns.question.name": "www.Evil.example.co.uk", "network.destination.port": 53});
    for (rule, event_type, values, expected) in [
        (
            r#"dns.question.name == "WWW.evil.EXAMPLE.co.uk""#,
            "dns",
            &dns,
            true,
        ),
        (
            r#"dns.question.name.root_domain == "example.co.uk" && network.destination.port == 53"#,
            "dns",
            &dns,
            true,
        ),
        ("dns.question.name.length > 22", "dns", &dns, false),
        (
            r#"connect.addr.hostname.root_domain == "example.com" && connect.addr.ip in 10.0.0.0/8"#,
            "connect",
            &json!({"connect.addr.hostname": ["x.test", "a.b.example.com"], "connect.addr.ip": "10.9.8.7"}),
            true,
        ),
        (
            "signal.type == SIGKILL && signal.target.ancestors[A].comm == \"sshd\" && signal.target.ancestors[A].uid == 0",
            "signal",
            &json!({"signal.type": 9, "signal.target.ancestors.comm": ["bash", "sshd"], "signal.target.ancestors.uid": [0, 7]}),
            false,
        ),
        (
            "signal.target.ancestors.comm == \"sshd\" && signal.target.ancestors.uid == 0 && signal.target.ancestors.length == 2",
            "signal",
            &json!({"signal.type": 9, "signal.target.ancestors.comm": ["bash", "sshd"], "signal.target.ancestors.uid": [0, 7]}),
            true,
        ),
        (
            "network_flow_monitor.flows[A].destination.port == 443 && network_flow_monitor.flows[A].egress.data_size > 1000",
            "network_flow_monitor",
            &json!({"network_flow_monitor.flows.destination.port": [53, 443], "network_flow_monitor.flows.egress.data_size": [0, 1001]}),
            true,
        ),
        (
            "bpf.prog.helpers in [ BPF_OVERRIDE_RETURN ]",
            "bpf",
            &json!({"bpf.prog.helpers": [1, 58]}),
            true,
        ),
        (
            r#"chmod.file.path == "/tmp/**" && chmod.file.extension == "sh""#,
            "chmod",
            &json!({"chmod.file.path": "/tmp/a/b.sh"}),
            false,
        ),
        (
            r#"chmod.file.path == ~"/tmp/**" && chmod.file.extension == "sh""#,
            "chmod",
            &json!({"chmod.file.path": "/tmp/a/b.sh"}),
            true,
        ),
        (
            r#"removexattr.namespace == "security" && removexattr.filename =~ "/etc/*""#,
            "removexattr",
            &json!({"removexattr.file.destination.namespace": "security", "removexattr.file.path": "/etc/x"}),
            true,
        ),
        (
            "exec.file.hashes[0] == \"sha256:00\" && process.user_session.ssh_client_ip in 192.0.2.0/24",
            "exec",
            &json!({"exec.file.hashes": ["sha256:00"], "process.user_session.ssh_client_ip": "192.0.2.9"}),
            true,
        ),
        // A field that is not given, and an address that is unknown.
        (
            "bind.addr.ip == 0.0.0.0 && bind.addr.port == 0",
            "bind",
            &json!({}),
            true,
        ),
    ] {
        assert_eq!(matches(rule, event_type, values), expected, "{rule}");
    }
}

#[test]
fn what_the_compiler_says() {
    for (rule, part) in [
        (
            r#"open.file.path == "/x" && network.destination.port == 53"#,
            "field `network.destination.port` not available for event type `open`, restricted to dns, imds, packet",
        ),
        (
            "network.destination.port == 53",
            "no event in the rule definition",
        ),
        (
            r#"open.file.path == "/x" && connect.addr.port == 53"#,
            "rule with multiple events is not supported",
        ),
        (r#"bpf.map.name == "sixteen_letters_""#, "bpf.map.name"),
        (r#"mount.mountpoint.path == "tmp/x""#, "tmp/x"),
    ] {
        let error = refused(rule);
        assert!(error.contains(part), "{rule}: {error}");
    }
    // What a caller wrote need not be a path at all.
    assert!(matches(
        r#"open.syscall.path == "../x""#,
        "open",
        &json!({"open.syscall.path": "../x"})
    ));
}
