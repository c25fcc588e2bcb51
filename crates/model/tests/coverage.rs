//! Whether every documented field and constant of the reference agent is there, as what it should be. The list is not a
//! part of the project: without it these tests do nothing.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use atalaya_model::constants::{self, GROUPS};
use atalaya_model::{EVENT_TYPES, event_type, schema};
use atalaya_secl::model::{FieldInfo, Schema, TextKind, Type, Validator};
use common::reference;
use serde_json::Value;

/// The names of an array of objects.
fn names(list: &Value) -> Vec<&str> {
    let items = list.as_array().unwrap().iter();
    items.map(|item| item["name"].as_str().unwrap()).collect()
}

/// What the fields of a list are called last, below any iterator.
const LISTS: [&str; 17] = [
    ".argv",
    ".args_flags",
    ".args_options",
    ".envs",
    ".envp",
    ".hashes",
    ".container.tags",
    ".k8s_groups",
    ".addr.hostname",
    ".addr.hostname.root_domain",
    "dns.response.ips",
    "dns.response.cnames",
    ".used_immediates",
    ".helpers",
    "event.rule.tags",
    "load_module.argv",
    "dns.response.ips",
];

const ITERATORS: [&str; 5] = [
    "network_flow_monitor.flows",
    "process.ancestors",
    "ptrace.tracee.ancestors",
    "setrlimit.target.ancestors",
    "signal.target.ancestors",
];

/// The iterator of a field, by its name.
fn iterator_of(name: &str) -> Option<&'static str> {
    let mut found = ITERATORS.into_iter();
    found.find(|iterator| {
        let rest = name.strip_prefix(iterator);
        rest.is_some_and(|rest| rest.starts_with('.') && rest != ".length")
    })
}

fn type_name(ty: Type) -> &'static str {
    match ty {
        Type::Bool => "bool",
        Type::Int => "int",
        Type::String => "string",
        Type::Ip => "IP/CIDR",
    }
}

/// What is wrong with the field, if anything.
fn faults(name: &str, event: &str, info: &FieldInfo) -> Vec<String> {
    let mut faults = Vec::new();
    let mut check = |what: &str, good: bool| {
        if !good {
            faults.push(format!("{name}: {what}: {info:?}"));
        }
    };
    let is_network = name.starts_with("network.");
    let common = event == "*" || is_network;
    check("name", info.name == name);
    check(
        "event type",
        info.event.as_deref() == (!common).then_some(event),
    );
    check(
        "list",
        info.list == LISTS.iter().any(|list| name.ends_with(list)),
    );
    let iterator = iterator_of(name).map(|name| schema().iterator(name).unwrap());
    check("iterator", info.iterator == iterator);
    let path = name.ends_with(".path") && !name.contains(".syscall.");
    check("path", (info.text == TextKind::Path) == path);
    check(
        "path validator",
        (info.validator == Validator::Path) == path,
    );
    let extension = name.ends_with(".extension");
    check("extension", (info.text == TextKind::Extension) == extension);
    let captured = event_type(event).is_none_or(|event| event.kind.is_some());
    check("unavailable", captured || info.unavailable.is_some());
    faults
}

#[test]
fn every_documented_field() {
    let Some(reference) = reference("secl_linux.json") else {
        return;
    };
    let (mut known, mut all, mut faulty) = (0, 0, Vec::new());
    let mut documented = BTreeSet::new();
    for event in reference["event_types"].as_array().unwrap() {
        let event_name = event["name"].as_str().unwrap();
        for name in names(&event["properties"]) {
            all += 1;
            documented.insert(name);
            match schema().field(name) {
                Some(info) => {
                    known += 1;
                    faulty.extend(faults(name, event_name, &info));
                }
                None => faulty.push(format!("{name}: missing")),
            }
        }
        if event_name != "*" {
            let ours = event_type(event_name).unwrap_or_else(|| panic!("no event {event_name}"));
            assert_eq!(
                (ours.since, ours.category.name()),
                (
                    event["from_agent_version"].as_str().unwrap(),
                    event["type"].as_str().unwrap()
                ),
                "{event_name}"
            );
        }
    }
    let extra: Vec<&str> = schema()
        .entries()
        .iter()
        .map(|entry| entry.spec.name.as_str())
        .filter(|name| !documented.contains(name))
        .collect();
    println!("fields {known}/{all}; of our own: {}", extra.join(" "));
    assert!(faulty.is_empty(), "{}", faulty.join("\n"));
    assert_eq!((known, all), (2331, 2331));
    for name in extra {
        let ours = ["ondemand.", "heartbeat.", "failed_dns."];
        assert!(
            ours.iter().any(|event| name.starts_with(event)),
            "{name}: nobody documents it"
        );
    }
    assert_eq!(EVENT_TYPES.len(), 42 + 3);
    assert_eq!(schema().iterators().len(), ITERATORS.len());
    for iterator in ITERATORS {
        let id = schema().iterator(iterator).unwrap();
        let length = schema().length_of(id).unwrap();
        let length = schema().entry(length).unwrap();
        assert_eq!(length.spec.name, format!("{iterator}.length"));
        assert_eq!((length.spec.ty, length.iterator), (Type::Int, None));
    }
}

#[test]
fn types_and_constants_are_the_documented_ones() {
    let Some(reference) = reference("secl_linux.json") else {
        return;
    };
    let links: BTreeMap<&str, &Value> = reference["properties_doc"]
        .as_array()
        .unwrap()
        .iter()
        .map(|property| (property["link"].as_str().unwrap(), property))
        .collect();
    let mut faulty = Vec::new();
    for event in reference["event_types"].as_array().unwrap() {
        for item in event["properties"].as_array().unwrap() {
            let name = item["name"].as_str().unwrap();
            let property = links[item["property_doc_link"].as_str().unwrap()];
            let Some(entry) = schema().id(name).and_then(|id| schema().entry(id)) else {
                continue;
            };
            let ty = property["type"].as_str().unwrap();
            if type_name(entry.spec.ty) != ty {
                faulty.push(format!("{name} is a {ty}"));
            }
            let group = property["constants"].as_str().unwrap();
            if !group.is_empty() && entry.spec.constants != group {
                faulty.push(format!("{name}: {group}, not {}", entry.spec.constants));
            }
            if !entry.spec.constants.is_empty() {
                let exists = |group: &constants::Group| group.name == entry.spec.constants;
                assert!(GROUPS.iter().any(exists), "{name}: no such group");
            }
        }
    }
    assert!(faulty.is_empty(), "{}", faulty.join("\n"));
}

#[test]
fn every_documented_constant() {
    let Some(reference) = reference("secl_linux.json") else {
        return;
    };
    let (mut known, mut all, mut missing) = (0, 0, Vec::new());
    for group in reference["constants"].as_array().unwrap() {
        let group_name = group["name"].as_str().unwrap();
        let ours = GROUPS.iter().find(|group| group.name == group_name);
        for name in names(&group["all"]) {
            all += 1;
            let in_group = ours.is_some_and(|group| group.all.iter().any(|(n, _)| *n == name))
                || group_name == "Boolean constants";
            if in_group && schema().constant(name).is_some() {
                known += 1;
            } else {
                missing.push(format!("{group_name}: {name}"));
            }
        }
    }
    println!("constants {known}/{all}");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    assert_eq!((known, all), (1381, 1381));
}
