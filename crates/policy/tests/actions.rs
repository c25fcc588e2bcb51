//! Actions: what is understood, and for everything that can be wrong the error, its place and a hint. The rule stays.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::time::Duration;

use atalaya_policy::{
    Action, ActionBody, ActionScope, LoadOptions, LogLevel, NetworkPolicy, SetValue,
    VariableScopeKind,
};
use atalaya_secl::model::{OwnedValue, Type};

use common::{errors, load_one, load_with};

/// A policy with one rule about `event` with these actions, each a line of flow YAML from column 9 of line 6 on.
fn policy(event: &str, actions: &[&str]) -> String {
    let condition = match event {
        "connect" => "connect.addr.ip == 10.0.0.1",
        "cgroup_write" => "cgroup_write.pid > 0",
        "open" => "open.flags == 1",
        "unlink" => "unlink.retval == 0",
        _ => "exec.retval == 0",
    };
    let mut text = format!(
        "rules:\n  - id: r\n    expression: {condition}\n    product_tags: [t]\n    actions:\n"
    );
    for action in actions {
        text.push_str(&format!("      - {action}\n"));
    }
    text
}

fn compiled(
    event: &str,
    actions: &[&str],
) -> (Vec<Action>, Vec<String>, Vec<atalaya_policy::VariableDef>) {
    let (rules, report) = load_one(&policy(event, actions));
    let rule = rules.rule("r").unwrap_or_else(|| panic!("{report}"));
    (
        rule.actions.clone(),
        errors(&report),
        rules.variables().to_vec(),
    )
}

#[test]
fn errors_of_actions() {
    // The event type, the actions, the message of the last line, and where in it.
    let cases: &[(&str, &[&str], &str)] = &[
        (
            "open",
            &["{}"],
            "6:9: either [set, kill, hash, coredump, log, network_filter] section of an action must be specified",
        ),
        (
            "open",
            &["{filter: open.flags == 1}"],
            "6:9: either [set, kill, hash, coredump, log, network_filter] section of an action must be specified",
        ),
        (
            "open",
            &["{kil: {signal: SIGKILL}}"],
            "6:10: unknown key `kil`",
        ),
        (
            "open",
            &["{hash: {}, log: {level: info}}"],
            "6:20: only one action can be specified",
        ),
        (
            "open",
            &["text"],
            "6:9: expected an action: a mapping, found text",
        ),
        (
            "open",
            &["{set: text}"],
            "6:15: expected the action's parameters: a mapping, found text",
        ),
        (
            "open",
            &["{set: {name: x, value: 1, skope: process}}"],
            "6:35: unknown key `skope`",
        ),
        (
            "open",
            &["{set: {name: x, value: 1, append: perhaps}}"],
            "6:43: expected true or false, found text",
        ),
        (
            "open",
            &["{set: {name: x, value: 1, ttl: soon}}"],
            "6:40: expected a duration such as 10s or 1m30s, or nanoseconds, found text",
        ),
        (
            "open",
            &["{set: {name: x, value: {a: b}}}"],
            "6:32: expected a boolean, number, text or a list of them, found a mapping",
        ),
        // set
        (
            "open",
            &["{set: {value: 1}}"],
            "6:9: skipping invalid action in rule r: variable name is empty",
        ),
        (
            "open",
            &["{set: {name: '', value: 1}}"],
            "6:22: skipping invalid action in rule r: variable name is empty",
        ),
        (
            "open",
            &["{set: {name: a.b, value: 1}}"],
            "6:22: skipping invalid action in rule r: invalid variable name 'a.b'",
        ),
        (
            "open",
            &["{set: {name: x}}"],
            "6:9: skipping invalid action in rule r: either 'value', 'field' or 'expression' must be specified",
        ),
        (
            "open",
            &["{set: {name: x, default_value: 1}}"],
            "6:9: skipping invalid action in rule r: either 'value', 'field' or 'expression' must be specified",
        ),
        (
            "open",
            &["{set: {name: x, value: 1, default_value: a}}"],
            "6:50: skipping invalid action in rule r: 'default_value' and 'value' must be of the same type (int != string)",
        ),
        (
            "open",
            &["{set: {name: x, expression: '1 + 1'}}"],
            "6:37: skipping invalid action in rule r: failed to infer type for variable 'x', please set 'default_value'",
        ),
        (
            "open",
            &["{set: {name: x, value: 1, inherited: true}}"],
            "6:46: skipping invalid action in rule r: only variables scoped to process can be marked as inherited",
        ),
        (
            "open",
            &["{set: {name: x, value: 1, scope: cgroup, scope_field: process.pid}}"],
            "6:63: skipping invalid action in rule r: only variables scoped to process can have a custom scope_field",
        ),
        (
            "open",
            &["{set: {name: x, value: 1, scope: pod}}"],
            "6:42: skipping invalid action in rule r: invalid scope 'pod'",
        ),
        (
            "open",
            &["{set: {name: pid, value: 1, scope: process}}"],
            "6:22: skipping invalid action in rule r: variable 'process.pid' conflicts with field",
        ),
        (
            "open",
            &["{set: {name: EPERM, value: 1}}"],
            "6:22: skipping invalid action in rule r: variable 'EPERM' conflicts with constant",
        ),
        (
            "open",
            &["{set: {name: x, value: []}}"],
            "6:9: skipping invalid action in rule r: unable to infer item type for 'x'",
        ),
        (
            "open",
            &["{set: {name: x, value: [true]}}"],
            "6:9: skipping invalid action in rule r: unsupported item type 'bool' for array 'x'",
        ),
        (
            "open",
            &["{set: {name: x, value: [a, 1]}}"],
            "6:9: skipping invalid action in rule r: unsupported item type 'int' for array 'x'",
        ),
        (
            "open",
            &["{set: {name: x, field: open.pth}}"],
            "6:32: skipping invalid action in rule r: failed to get field 'open.pth': field `open.pth` not found",
        ),
        (
            "open",
            &["{set: {name: x, field: 'open.file.hashes[a]'}}"],
            "6:32: skipping invalid action in rule r: failed to get field 'open.file.hashes[a]': failed to create array index accessor: `a` is no number",
        ),
        (
            "open",
            &["{set: {name: x, field: 'open.flags[0]'}}"],
            "6:32: skipping invalid action in rule r: field 'open.flags' is not an array, cannot use index access",
        ),
        (
            "open",
            &["{set: {name: x, field: process.argv}}"],
            "6:32: skipping invalid action in rule r: field 'process.argv' is an array and can only be used with 'append: yes' in set action for variable 'x'",
        ),
        (
            "open",
            &["{set: {name: x, field: exec.retval}}"],
            "6:32: skipping invalid action in rule r: field 'exec.retval' is not compatible with 'open' rules",
        ),
        (
            "open",
            &["{set: {name: x, field: open.flags, default_value: a}}"],
            "6:32: skipping invalid action in rule r: value and field have different types for variable 'x' (string != int)",
        ),
        (
            "open",
            &["{set: {name: x, field: open.flags, default_value: [1]}}"],
            "6:32: skipping invalid action in rule r: value and field cardinality mismatch for variable 'x'",
        ),
        (
            "open",
            &["{set: {name: x, expression: exec.retval + 1, default_value: 0}}"],
            "6:37: skipping invalid action in rule r: expression 'exec.retval + 1' with event type `exec` is not compatible with 'open' rules",
        ),
        (
            "open",
            &["{set: {name: x, expression: process.comm, default_value: 0}}"],
            "6:37: skipping invalid action in rule r: incompatible types: expression returns string but default_value is int",
        ),
        (
            "open",
            &["{set: {name: x, expression: process.argv, default_value: ''}}"],
            "6:37: skipping invalid action in rule r: incompatible types: expression returns []string but default_value is string",
        ),
        (
            "open",
            &["{set: {name: x, expression: process.com, default_value: ''}}"],
            "6:37: skipping invalid action in rule r: field `process.com` not found",
        ),
        (
            "open",
            &["{set: {name: x, expression: 'process.comm ==', default_value: ''}}"],
            "6:53: skipping invalid action in rule r: syntax error",
        ),
        (
            "open",
            &["{set: {name: x, value: 1, scope: process, scope_field: process.comm}}"],
            "6:64: skipping invalid action in rule r: scope_field 'process.comm' must be an integer field with a pid",
        ),
        (
            "open",
            &["{set: {name: x, value: 1, scope: process, scope_field: cgroup_write.pid}}"],
            "6:64: skipping invalid action in rule r: field 'cgroup_write.pid' is not compatible with 'open' rules",
        ),
        (
            "open",
            &["{set: {name: x, value: 1, size: -1}}"],
            "6:41: skipping invalid action in rule r: 'size' must be a positive number",
        ),
        (
            "open",
            &["{set: {name: x, value: 1}}", "{set: {name: x, value: a}}"],
            "7:9: skipping invalid action in rule r: conflicting types for variable 'x': int != string",
        ),
        (
            "open",
            &["{set: {name: x, value: 1}}", "{set: {name: x, value: [1]}}"],
            "7:9: skipping invalid action in rule r: conflicting types for variable 'x': int != []int",
        ),
        (
            "open",
            &[
                "{set: {name: x, value: 1}}",
                "{set: {name: x, value: 2, private: true}}",
            ],
            "7:44: skipping invalid action in rule r: conflicting private flag for variable 'x'",
        ),
        (
            "open",
            &[
                "{set: {name: x, value: true}}",
                "{set: {name: x, value: true, append: true}}",
            ],
            "7:46: skipping invalid action in rule r: append is not supported for variable 'x' of type bool",
        ),
        // the filter
        (
            "open",
            &["{filter: exec.retval == 1, hash: {}}"],
            "6:18: skipping invalid action in rule r: filter 'exec.retval == 1' with event type `exec` is not compatible with 'open' rules",
        ),
        (
            "open",
            &["{filter: open.flags == 1 && nothing, hash: {}}"],
            "6:37: skipping invalid action in rule r: filter: field `nothing` not found",
        ),
        // the others
        (
            "open",
            &["{kill: {}}"],
            "6:9: skipping invalid action in rule r: a valid signal has to be specified to the 'kill' action",
        ),
        (
            "open",
            &["{kill: {signal: SIGKIL}}"],
            "6:25: skipping invalid action in rule r: unsupported signal 'SIGKIL'",
        ),
        (
            "open",
            &["{kill: {signal: SIGKILL, scope: pod}}"],
            "6:41: skipping invalid action in rule r: invalid scope 'pod'",
        ),
        (
            "unlink",
            &["{hash: {}}"],
            "6:9: skipping invalid action in rule r: `field` attribute is mandatory for 'unlink' rules",
        ),
        (
            "open",
            &["{hash: {field: open.fil}}"],
            "6:24: skipping invalid action in rule r: failed to get field 'open.fil': it is no file of an event",
        ),
        (
            "open",
            &["{hash: {field: exec.file}}"],
            "6:24: skipping invalid action in rule r: field 'exec.file' is not compatible with 'open' rules",
        ),
        (
            "open",
            &["{hash: {max_file_size: -5}}"],
            "6:32: skipping invalid action in rule r: 'max_file_size' must be a number of bytes",
        ),
        (
            "open",
            &["{coredump: {no_compression: true}}"],
            "6:9: skipping invalid action in rule r: either 'process', 'mount' or 'dentry' must be specified",
        ),
        (
            "open",
            &["{log: {message: x}}"],
            "6:9: skipping invalid action in rule r: a valid log level must be specified to the 'log' action",
        ),
        (
            "open",
            &["{log: {level: loud}}"],
            "6:23: skipping invalid action in rule r: a valid log level must be specified to the 'log' action",
        ),
        (
            "open",
            &["{network_filter: {policy: drop}}"],
            "6:9: skipping invalid action in rule r: a valid BPF filter must be specified to the 'network_filter' action",
        ),
        (
            "open",
            &["{network_filter: {filter: tcp portt 8, policy: drop}}"],
            "6:35: skipping invalid action in rule r: a valid BPF filter must be specified to the 'network_filter' action: unknown word `portt` (at character 5)",
        ),
        (
            "open",
            &["{network_filter: {filter: port 53, policy: shape}}"],
            "6:52: skipping invalid action in rule r: invalid policy 'shape'",
        ),
        (
            "open",
            &["{network_filter: {filter: port 53, policy: drop, scope: container}}"],
            "6:65: skipping invalid action in rule r: invalid scope 'container'",
        ),
    ];
    for (event, actions, wanted) in cases {
        let (found, errors, _) = compiled(event, actions);
        assert_eq!(errors.len(), 1, "{actions:?}: {errors:#?}");
        let (_, report) = load_one(&policy(event, actions));
        let error = report.all_errors().next().unwrap();
        // What a value must be is said in the message.
        let says_itself = ["expected ", "syntax error"];
        assert!(
            error.help.is_some()
                || says_itself.iter().any(|part| error.message.contains(part))
                || error.message.contains("not found")
                || error.message.contains("unknown key"),
            "no hint: {error}"
        );
        assert!(
            errors[0].starts_with(&format!("a.policy:{wanted}")),
            "{actions:?}\n found: {}\nwanted: {wanted}",
            errors[0]
        );
        // The rule and its other actions stay; an unknown key alone does not cost the action.
        let kept = usize::from(wanted.contains("`skope`"));
        assert_eq!(found.len(), actions.len() - 1 + kept, "{actions:?}");
    }
}

#[test]
fn hints() {
    for (action, wanted) in [
        (
            "{set: {name: x, value: 1, scope: pod}}",
            "process, container, cgroup, or none",
        ),
        (
            "{set: {name: x, field: open.flag}}",
            "did you mean `open.flags`?",
        ),
        ("{kill: {signal: SIGKIL}}", "did you mean `SIGKILL`?"),
        ("{log: {level: loud}}", "debug, info, warning or error"),
        (
            "{network_filter: {filter: ip, policy: x}}",
            "drop or accept",
        ),
        ("{kil: {}}", "did you mean `kill`?"),
        (
            "{set: {name: x, expression: process.com, default_value: ''}}",
            "did you mean `process.comm`?",
        ),
    ] {
        let (_, report) = load_one(&policy("open", &[action]));
        let error = report.all_errors().next().unwrap();
        assert!(
            error.help.as_deref().unwrap_or_default().contains(wanted),
            "{error:?}"
        );
    }
}

#[test]
fn variables_of_every_type() {
    let (actions, errors, variables) = compiled(
        "connect",
        &[
            "{set: {name: flag, value: true}}",
            "{set: {name: number, value: 5, ttl: 10s, size: 7}}",
            "{set: {name: text, value: a, scope: container, private: true}}",
            "{set: {name: texts, value: [a, b], scope: cgroup, ttl: 5000000000}}",
            "{set: {name: numbers, value: [1, 2]}}",
            "{set: {name: one_more, value: a, append: true}}",
            "{set: {name: names, field: connect.addr.hostname, append: true}}",
            "{set: {name: first, field: 'connect.addr.hostname[0]'}}",
            "{set: {name: ip, field: connect.addr.ip}}",
            "{set: {name: ips, field: connect.addr.ip, append: true}}",
            "{set: {name: ip, value: 10.0.0.1}}",
            "{set: {name: parents, field: process.ancestors.comm, append: true}}",
            "{set: {name: count, expression: '${count} + 1', default_value: 0}}",
            "{set: {name: key, expression: '\"${process.pid}_%{process.comm}\"', default_value: '', scope: process, inherited: true}}",
            "{set: {name: is_root, expression: process.uid == 0, default_value: false}}",
            "{set: {name: args, expression: process.argv, default_value: [x], append: true}}",
            "{set: {name: number, value: 1, append: true}}",
            "{set: {name: seen, value: true, scope: process, scope_field: process.pid}}",
            "{set: {name: beside, expression: '2', value: 1}}",
            "{set: {name: from, expression: connect.addr.ip, default_value: 0.0.0.0}}",
        ],
    );
    assert_eq!(errors, Vec::<String>::new());
    use Type::{Bool, Int, Ip, String as Str};
    let expected = [
        ("flag", Bool, false),
        ("number", Int, false),
        ("container.text", Str, false),
        ("cgroup.texts", Str, true),
        ("numbers", Int, true),
        ("one_more", Str, true),
        ("names", Str, true),
        ("first", Str, false),
        ("ip", Ip, false),
        ("ips", Ip, true),
        ("parents", Str, true),
        ("count", Int, false),
        ("process.key", Str, false),
        ("is_root", Bool, false),
        ("args", Str, true),
        ("process.seen", Bool, false),
        ("beside", Int, false),
        ("from", Ip, false),
    ];
    let found: Vec<_> = variables
        .iter()
        .map(|def| (def.name.as_str(), def.ty, def.list))
        .collect();
    assert_eq!(found, expected);
    let def = |name: &str| variables.iter().find(|def| def.name == name).unwrap();
    assert_eq!(def("number").ttl, Some(Duration::from_secs(10)));
    assert_eq!(def("number").size, Some(7));
    assert_eq!(def("cgroup.texts").ttl, Some(Duration::from_secs(5)));
    assert!(def("container.text").private && !def("flag").private);
    assert_eq!(def("process.key").scope, VariableScopeKind::Process);
    assert!(def("process.key").inherited);
    assert_eq!(def("count").default, Some(OwnedValue::Int(0)));
    let sets: Vec<_> = actions
        .iter()
        .map(|action| match &action.body {
            ActionBody::Set(set) => set,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(matches!(
        &sets[7].value,
        SetValue::Field { index: Some(0), .. }
    ));
    assert!(matches!(
        &sets[10].value,
        SetValue::Static(OwnedValue::Ip(_))
    ));
    assert!(matches!(&sets[13].value, SetValue::Expression(_)));
    assert!(sets[16].append && !sets[1].append);
    assert_eq!(sets[16].variable, sets[1].variable);
    assert_eq!(sets[17].scope_field.as_ref().unwrap().name, "process.pid");
    assert!(matches!(&sets[18].value, SetValue::Expression(_)));
}

#[test]
fn the_other_kinds() {
    let (actions, errors, _) = compiled(
        "open",
        &[
            "{kill: {signal: SIGUSR2, scope: container, disable_container_disarmer: true}}",
            "{hash: {}}",
            "{hash: {field: process.file, max_file_size: 1000}}",
            "{coredump: {mount: true}}",
            "{log: {level: warning, message: hello}}",
            "{log: {level: debug}}",
            "{network_filter: {filter: port 53, policy: drop, scope: cgroup}}",
        ],
    );
    assert_eq!(errors, Vec::<String>::new());
    let bodies: Vec<&ActionBody> = actions.iter().map(|action| &action.body).collect();
    assert!(matches!(bodies[0], ActionBody::Kill(kill)
        if (kill.signal, kill.name.as_str(), kill.scope) == (12, "SIGUSR2", ActionScope::Container)
            && kill.disable_container_disarmer && !kill.disable_executable_disarmer));
    assert!(matches!(bodies[1], ActionBody::Hash(hash)
        if hash.field == "open.file" && hash.path.name == "open.file.path" && hash.max_file_size.is_none()));
    assert!(matches!(bodies[2], ActionBody::Hash(hash)
        if hash.field == "process.file" && hash.max_file_size == Some(1000)));
    assert!(matches!(bodies[3], ActionBody::CoreDump(dump) if dump.mount && !dump.process));
    assert!(matches!(bodies[4], ActionBody::Log(log)
        if log.level == LogLevel::Warning && log.message == "hello"));
    assert!(matches!(bodies[5], ActionBody::Log(log) if log.message == "Rule r triggered"));
    assert!(matches!(bodies[6], ActionBody::NetworkFilter(filter)
        if filter.policy == NetworkPolicy::Drop && filter.scope == ActionScope::Cgroup));
    assert_eq!(
        actions[4].source,
        r#"{log: {level: "warning", message: "hello"}}"#
    );
}

#[test]
fn what_the_options_forbid() {
    let text = policy(
        "open",
        &[
            "{kill: {signal: SIGKILL}}",
            "{network_filter: {filter: ip, policy: drop}}",
            "{hash: {}}",
        ],
    );
    let options = LoadOptions {
        enforcement: false,
        event_types: Some(["open".to_owned()].into()),
        ..LoadOptions::default()
    };
    let (rules, report) = load_with(&[("a.policy", &text)], options);
    assert_eq!(
        errors(&report),
        [
            "a.policy:6:9: skipping invalid action in rule r: 'kill' action is disabled globally",
            "a.policy:7:9: skipping invalid action in rule r: network_filter action requires packet event type",
        ]
    );
    assert_eq!(rules.rule("r").unwrap().actions.len(), 1);
}

#[test]
fn actions_of_rules_about_all_writes() {
    let text = r"
rules:
  - id: w
    expression: fim.write.file.path == '/x'
";
    let text = text.replace("'/x'", "\"/x\"")
        + "    actions:\n      - hash: {field: process.file}\n      - filter: open.flags == 1\n        log: {level: info}\n      - hash: {}\n";
    let (rules, report) = load_one(&text);
    let of = |event: &str| rules.rules_for(event).next().unwrap().actions.len();
    assert_eq!((of("open"), of("unlink")), (3, 1));
    // What does not suit an event type is said once for each.
    let found = errors(&report);
    assert!(
        found
            .iter()
            .any(|error| error.contains("is not compatible with 'unlink' rules")),
        "{found:?}"
    );
    assert!(found.iter().all(|error| !error.contains("'open' rules")));
    assert_eq!(rules.rules().len(), 8);
}
