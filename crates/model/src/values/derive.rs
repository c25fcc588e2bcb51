//! What follows from the values that are given.

use std::collections::BTreeMap;

use atalaya_secl::model::OwnedValue;
use atalaya_secl::root_domain;

use super::Given;
use crate::context::ENVS_WITH_VALUE;
use crate::file::{basename, length};
use crate::process::args;
use crate::table::table;

type Values = BTreeMap<String, Given>;

/// Adds what follows; nothing that is given is changed.
pub(super) fn complete(event_type: &str, given: &mut Values) {
    for (name, value) in [
        ("event.os", "linux"),
        ("event.origin", "ebpf"),
        ("event.source", "runtime"),
    ] {
        add(
            given,
            name.to_owned(),
            Given::One(OwnedValue::Str(value.to_owned())),
        );
    }
    if matches!(event_type, "exec" | "exit") {
        rename(given, &format!("{event_type}."), "process.");
        rename(given, "process.", &format!("{event_type}."));
    }
    for iterator in table().iterators() {
        if let Some(process) = iterator.strip_suffix(".ancestors") {
            lineage(given, process);
        }
    }
    for (from, to, rule) in RULES {
        derive(given, from, to, rule);
    }
    for (to, rule) in SUFFIXES {
        derive(given, "", to, rule);
    }
}

/// From a field, by the end of its name, follows another.
type Rule = fn(&OwnedValue) -> Option<OwnedValue>;

const RULES: [(&str, &str, Rule); 9] = [
    (".file.path", ".file.name", |path| text(path, basename)),
    (".destination.path", ".destination.name", |path| {
        text(path, basename)
    }),
    (".name", ".extension", |name| {
        text(name, |name| name.rfind('.').map_or("", |dot| &name[dot..]))
    }),
    (".mode", ".rights", |mode| match mode {
        OwnedValue::Int(mode) => Some(OwnedValue::Int(mode & 0o7777)),
        _ => None,
    }),
    (".args", ".argv", |args| match args {
        OwnedValue::Str(args) => Some(OwnedValue::StrList(
            args.split_whitespace().map(str::to_owned).collect(),
        )),
        _ => None,
    }),
    (".argv", ".args", |argv| {
        list(argv, |argv| OwnedValue::Str(argv.join(" ")))
    }),
    (".argv", ".args_flags", |argv| {
        list(argv, |argv| OwnedValue::StrList(args::flags(argv)))
    }),
    (".argv", ".args_options", |argv| {
        list(argv, |argv| OwnedValue::StrList(args::options(argv)))
    }),
    (".envp", ".envs", |envp| {
        list(envp, |envp| {
            let with_value = ENVS_WITH_VALUE.map(str::to_owned).into_iter().collect();
            OwnedValue::StrList(args::env_names(envp, &with_value))
        })
    }),
];

const SUFFIXES: [(&str, Rule); 2] = [
    (".length", |value| match value {
        OwnedValue::Str(text) => Some(OwnedValue::Int(length(text))),
        OwnedValue::StrList(list) => i64::try_from(list.len()).ok().map(OwnedValue::Int),
        _ => None,
    }),
    (".root_domain", |value| match value {
        OwnedValue::Str(text) => Some(OwnedValue::Str(root_domain(text).to_owned())),
        OwnedValue::StrList(list) => Some(OwnedValue::StrList(
            list.iter()
                .map(|name| root_domain(name).to_owned())
                .collect(),
        )),
        _ => None,
    }),
];

fn text(value: &OwnedValue, part: impl Fn(&str) -> &str) -> Option<OwnedValue> {
    match value {
        OwnedValue::Str(text) => Some(OwnedValue::Str(part(text).to_owned())),
        _ => None,
    }
}

fn list(value: &OwnedValue, whole: impl Fn(&[String]) -> OwnedValue) -> Option<OwnedValue> {
    match value {
        OwnedValue::StrList(list) => Some(whole(list)),
        _ => None,
    }
}

/// Adds a value of a field that there is, unless it has one.
fn add(given: &mut Values, name: String, value: Given) {
    if table().id(&name).is_some() {
        given.entry(name).or_insert(value);
    }
}

/// Gives what is given under one prefix under the other as well.
fn rename(given: &mut Values, from: &str, to: &str) {
    let found: Vec<(String, Given)> = given
        .iter()
        .filter_map(|(name, value)| {
            Some((format!("{to}{}", name.strip_prefix(from)?), value.clone()))
        })
        .collect();
    for (name, value) in found {
        add(given, name, value);
    }
}

/// The parent is the first ancestor.
fn lineage(given: &mut Values, process: &str) {
    let (ancestors, parent) = (
        format!("{process}.ancestors."),
        format!("{process}.parent."),
    );
    let has_ancestors = given.keys().any(|name| name.starts_with(&ancestors));
    let mut found = Vec::new();
    for (name, value) in &*given {
        match value {
            Given::Each(items) => {
                if let (Some(rest), Some(first)) = (name.strip_prefix(&ancestors), items.first()) {
                    found.push((format!("{parent}{rest}"), Given::One(first.clone())));
                }
            }
            Given::One(value) if !has_ancestors => {
                if let Some(rest) = name.strip_prefix(&parent) {
                    found.push((
                        format!("{ancestors}{rest}"),
                        Given::Each(vec![value.clone()]),
                    ));
                }
            }
            Given::One(_) => {}
        }
    }
    for (name, value) in found {
        add(given, name, value);
    }
}

/// Applies a rule to every field whose name ends so.
fn derive(
    given: &mut Values,
    from: &str,
    to: &str,
    rule: impl Fn(&OwnedValue) -> Option<OwnedValue>,
) {
    let mut found = Vec::new();
    for (name, value) in &*given {
        let Some(target) = name.strip_suffix(from).map(|stem| format!("{stem}{to}")) else {
            continue;
        };
        let value = match value {
            Given::One(value) => rule(value).map(Given::One),
            Given::Each(items) => items
                .iter()
                .map(&rule)
                .collect::<Option<_>>()
                .map(Given::Each),
        };
        found.extend(value.map(|value| (target, value)));
    }
    for (name, value) in found {
        add(given, name, value);
    }
}
