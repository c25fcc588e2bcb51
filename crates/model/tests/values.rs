//! Events made of values.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use atalaya_model::json::{AgentContext, RuleContext, to_value};
use atalaya_model::{Event, EventReader, ValueEvent, schema};
use atalaya_secl::model::{EventView, OwnedValue, Schema, Value};
use serde_json::json;

fn event(event_type: &str, values: serde_json::Value) -> ValueEvent {
    ValueEvent::from_values(event_type, values.as_object().unwrap()).unwrap()
}

fn error(event_type: &str, values: serde_json::Value) -> String {
    let values = values.as_object().unwrap();
    ValueEvent::from_values(event_type, values)
        .unwrap_err()
        .to_string()
}

fn get(event: &ValueEvent, name: &str) -> OwnedValue {
    event.get(schema().field(name).unwrap().id).into()
}

fn text(text: &str) -> OwnedValue {
    OwnedValue::Str(text.to_owned())
}

fn list(words: &[&str]) -> OwnedValue {
    OwnedValue::StrList(words.iter().map(|word| (*word).to_owned()).collect())
}

#[test]
fn what_is_given_and_what_follows() {
    let event = event(
        "open",
        json!({
            "open.filename": "/etc/nginx/nginx.conf",
            "open.file.mode": 0o104_755,
            "open.flags": "O_CREAT|O_WRONLY",
            "open.retval": "EACCES",
            "process.argv": ["-la", "--user=x", "-n", "4"],
            "process.envp": ["PATH=/bin", "SECRET=1"],
            "container.id": "abc",
            "process.file.inode": u64::MAX,
            "now": 17,
        }),
    );
    for (name, value) in [
        ("open.file.path", text("/etc/nginx/nginx.conf")),
        ("open.file.name", text("nginx.conf")),
        ("open.file.extension", text(".conf")),
        ("open.file.path.length", OwnedValue::Int(21)),
        ("open.file.name.length", OwnedValue::Int(10)),
        ("open.file.rights", OwnedValue::Int(0o4755)),
        ("open.flags", OwnedValue::Int(0o101)),
        ("open.retval", OwnedValue::Int(-13)),
        ("process.args", text("-la --user=x -n 4")),
        ("process.args_flags", list(&["l", "a", "la", "n"])),
        ("process.args_options", list(&["user=x", "n=4"])),
        ("process.envs", list(&["PATH=/bin", "SECRET"])),
        ("process.container.id", text("abc")),
        ("process.file.inode", OwnedValue::Int(-1)),
        ("event.source", text("runtime")),
        ("event.os", text("linux")),
        ("event.timestamp", OwnedValue::Int(0)),
        ("process.uid", OwnedValue::Int(0)),
        ("process.ancestors.length", OwnedValue::Int(0)),
        ("connect.addr.port", OwnedValue::Int(0)),
    ] {
        assert_eq!(get(&event, name), value, "{name}");
    }
    assert_eq!((event.event_type(), event.now_ns()), ("open", Some(17)));
    assert_eq!(event.container_id(), "abc");
}

#[test]
fn what_is_given_stays() {
    let event = event(
        "exec",
        json!({"exec.file.path": "/usr/bin/python3.11", "exec.file.name": "other", "exec.args": "-c  print",
            "process.pid": 7}),
    );
    assert_eq!(get(&event, "exec.file.name"), text("other"));
    assert_eq!(get(&event, "process.file.name"), text("other"));
    assert_eq!(get(&event, "exec.argv"), list(&["-c", "print"]));
    assert_eq!(get(&event, "exec.args"), text("-c  print"));
    assert_eq!(get(&event, "exec.pid"), OwnedValue::Int(7));
    assert_eq!(event.pid(), 7);
}

#[test]
fn elements_of_iterators() {
    let event = event(
        "connect",
        json!({
            "process.ancestors.file.path": ["/bin/bash", "/usr/sbin/sshd", "/sbin/init"],
            "process.ancestors.pid": [40, 30],
            "process.ancestors.argv": [["-c", "x"], [], "one"],
            "connect.addr.ip": "10.0.0.1",
            "connect.addr.hostname": ["a.example.co.uk", "b.example.com"],
        }),
    );
    let ancestors = schema().iterator("process.ancestors").unwrap();
    assert_eq!(event.iter_len(ancestors), 3);
    let at = |name: &str, index| {
        let value = event.get_at(schema().field(name).unwrap().id, index);
        value.map(OwnedValue::from)
    };
    assert_eq!(at("process.ancestors.file.name", 1), Some(text("sshd")));
    assert_eq!(at("process.ancestors.pid", 1), Some(OwnedValue::Int(30)));
    assert_eq!(at("process.ancestors.pid", 2), Some(OwnedValue::Int(0)));
    assert_eq!(at("process.ancestors.pid", 3), None);
    assert_eq!(at("process.ancestors.args", 0), Some(text("-c x")));
    assert_eq!(at("process.ancestors.argv", 2), Some(list(&["one"])));
    assert_eq!(at("process.pid", 0), None);
    assert_eq!(get(&event, "process.parent.file.name"), text("bash"));
    assert_eq!(get(&event, "process.ancestors.length"), OwnedValue::Int(3));
    assert_eq!(event.ancestor_pids(), [40, 30, 0]);
    assert_eq!(
        get(&event, "connect.addr.hostname.root_domain"),
        list(&["example.co.uk", "example.com"])
    );
    assert_eq!(
        get(&event, "connect.addr.hostname.length"),
        OwnedValue::Int(2)
    );
    let ip = event.get(schema().field("connect.addr.ip").unwrap().id);
    assert_eq!(ip, Value::Ip("10.0.0.1/32".parse().unwrap()));
}

#[test]
fn flows_targets_and_a_lonely_parent() {
    let flows = event(
        "network_flow_monitor",
        json!({"network_flow_monitor.flows.destination.port": [53, 443],
            "network_flow_monitor.flows.source.ip": ["fe80::1", "10.0.0.0/8"]}),
    );
    let iter = schema().iterator("network_flow_monitor.flows").unwrap();
    assert_eq!(flows.iter_len(iter), 2);
    assert_eq!(
        get(&flows, "network_flow_monitor.flows.length"),
        OwnedValue::Int(2)
    );
    let signal = event(
        "signal",
        json!({"signal.type": "SIGKILL", "signal.target.parent.comm": "systemd"}),
    );
    let field = schema().field("signal.target.ancestors.comm").unwrap();
    assert_eq!(
        signal.get_at(field.id, 0),
        Some(Value::Str("systemd".into()))
    );
    assert_eq!(get(&signal, "signal.type"), OwnedValue::Int(9));
    let packet = event("dns", json!({"network.destination.port": 53}));
    assert_eq!(
        get(&packet, "network.destination.port"),
        OwnedValue::Int(53)
    );
}

#[test]
fn mistakes_are_told() {
    for (event_type, values, message) in [
        (
            "opne",
            json!({}),
            "unknown event type `opne` (did you mean `open`?)",
        ),
        (
            "open",
            json!({"open.file.pth": "x"}),
            "unknown field `open.file.pth` (did you mean `open.file.path`?)",
        ),
        (
            "open",
            json!({"connect.addr.port": 1}),
            "`connect.addr.port` is a field of connect events, not of open events",
        ),
        (
            "open",
            json!({"network.size": 1}),
            "`network.size` is a field of dns, imds, packet events, not of open events",
        ),
        (
            "open",
            json!({"open.file.path": 1}),
            "`open.file.path` is text, not 1",
        ),
        (
            "open",
            json!({"open.file.inode": 1.5}),
            "`open.file.inode` is a whole number, not 1.5",
        ),
        (
            "open",
            json!({"open.flags": "O_CREATE"}),
            "`open.flags` is a number, and `O_CREATE` is no constant",
        ),
        (
            "bind",
            json!({"bind.addr.ip": "10.0.0"}),
            "`bind.addr.ip` is an address or a network, not \"10.0.0\"",
        ),
        (
            "open",
            json!({"process.argv": ["a", 1]}),
            "`process.argv` is text, not 1",
        ),
        (
            "open",
            json!({"open.filename": "/a", "open.file.path": "/b"}),
            "`open.file.path` is given twice (it was called otherwise in former versions)",
        ),
        (
            "open",
            json!({"process.ancestors.pid": [1, 2], "process.ancestors.length": 1}),
            "`process.ancestors.length` is 1, but 2 elements are given",
        ),
    ] {
        assert_eq!(error(event_type, values), message);
    }
    let document = ValueEvent::from_document(&json!({"values": {}})).unwrap_err();
    assert!(document.to_string().starts_with("an event needs `type`"));
    assert_eq!(
        ValueEvent::from_document(&json!({"type": "exit"}))
            .unwrap()
            .event_type(),
        "exit"
    );
}

#[test]
fn every_field_takes_its_value_and_gives_it_back() {
    for entry in schema().entries() {
        let event_type = match (entry.event, entry.restricted_to) {
            (Some(event), _) => event,
            (None, [first, ..]) => first,
            (None, []) => "open",
        };
        let (json, value) = match entry.spec.ty {
            atalaya_secl::model::Type::Bool => (json!(true), OwnedValue::Bool(true)),
            atalaya_secl::model::Type::Int => (json!(5), OwnedValue::Int(5)),
            atalaya_secl::model::Type::String => (json!("/a"), text("/a")),
            atalaya_secl::model::Type::Ip => (
                json!("10.0.0.1"),
                OwnedValue::Ip("10.0.0.1/32".parse().unwrap()),
            ),
        };
        let name = entry.spec.name.as_str();
        let event = event(event_type, json!({ name: json }));
        let field = schema().field(name).unwrap();
        let read: OwnedValue = if field.iterator.is_some() {
            event.get_at(field.id, 0).unwrap().into()
        } else {
            event.get(field.id).into()
        };
        assert_eq!(
            (read.ty(), read.is_list()),
            (field.ty, field.list),
            "{name}"
        );
        if !field.list {
            assert_eq!(read, value, "{name}");
        }
    }
}

/// What an event does not say, by the part of the field's name.
const UNSAID: [&str; 16] = [
    ".sid",
    "mntns",
    "netns",
    ".envp",
    ".cgroup.version",
    ".cgroup.created_at",
    ".cgroup.file.",
    "event.hostname",
    "event.service",
    ".args",
    ".argv",
    ".retval",
    "heartbeat.sequence",
    "event.source",
    ".is_exec",
    "utimes.file.modification_time",
];

#[test]
fn events_that_were_written_are_read_again() {
    let agent = AgentContext::default();
    let rule = RuleContext {
        rule_id: "x",
        ..RuleContext::default()
    };
    for event in common::full_events().iter().chain(&common::empty_events()) {
        let written = to_value(event, &rule, &agent);
        let read = ValueEvent::from_document(&written).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read.event_type(), event.event_type());
        let (mut compared, mut wrong) = (0, Vec::new());
        for entry in schema().entries() {
            let name = entry.spec.name.as_str();
            if UNSAID.iter().any(|part| name.contains(part)) {
                continue;
            }
            let id = schema().id(name).unwrap();
            let value = |of: &dyn EventView| -> Option<OwnedValue> {
                match entry.iterator {
                    Some(_) => of.get_at(id, 0).map(Into::into),
                    None => Some(of.get(id).into()),
                }
            };
            // A file that was not seen reads as one on a visible mount, and is left out of what is written.
            if event.process.pid == 0 && name.ends_with(".mount_visible") {
                continue;
            }
            let (was, is) = (value(event as &Event), value(&read));
            if is != was {
                wrong.push(format!(
                    "{name} of {}: {is:?}, not {was:?}",
                    event.event_type()
                ));
            }
            compared += 1;
        }
        assert!(compared > 1000, "{compared}");
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert_eq!(
            read.ancestor_pids().len(),
            event.process.ancestors().count()
        );
    }
}

#[test]
fn a_reader_of_some_fields_reads_these_as_the_whole_event_has_them() {
    let agent = AgentContext::default();
    let rule = RuleContext::default();
    let all = common::full_events();
    let all: Vec<&Event> = all.iter().collect();
    assert!(all.len() > 5);
    for (number, event) in all.iter().enumerate() {
        let written = to_value(event, &rule, &agent);
        let whole = ValueEvent::from_document(&written).unwrap();
        let mut told = 0;
        // All fields of all events would take minutes; each field is tried on some.
        for (at, entry) in schema().entries().iter().enumerate() {
            if (at + number) % 11 != 0 {
                continue;
            }
            let id = schema().id(&entry.spec.name).unwrap();
            let reader = EventReader::new(event.event_type(), [id]).unwrap();
            let some = reader.read(&written).unwrap();
            assert_eq!(some.lineage(), whole.lineage());
            assert_eq!(some.container_id(), whole.container_id());
            assert_eq!(some.cgroup_id(), whole.cgroup_id());
            let values = |of: &ValueEvent| -> Vec<OwnedValue> {
                match entry.iterator {
                    Some(_) => (0..)
                        .map_while(|n| of.get_at(id, n))
                        .map(Into::into)
                        .collect(),
                    None => vec![of.get(id).into()],
                }
            };
            let expected = values(&whole);
            assert_eq!(
                values(&some),
                expected,
                "{} of {}",
                entry.spec.name,
                event.event_type()
            );
            told += usize::from(
                expected.first() != Some(&OwnedValue::zero(entry.spec.ty, entry.spec.list)),
            );
        }
        assert!(told > 5, "{told} of {}", event.event_type());
    }
}
