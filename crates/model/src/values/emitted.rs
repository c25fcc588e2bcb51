//! Events as the agent writes them, turned back into values: so that a rule can be tried on what was once reported.
//!
//! It is what the event says, which is less than what the rule saw: secrets are masked, the environment is there by names
//! alone, ancestors that run their parent's program have no arguments, and of what a call returned only that it was
//! refused.

use atalaya_secl::model::{Schema, Type};
use serde_json::{Map, Value, json};

use crate::table::table;
use crate::types::event_type;

type Values = Map<String, Value>;

/// The type and the values of an event; `None` for what is not one.
pub(super) fn read(document: &Value) -> Option<(String, Values)> {
    let event = document["evt"]["name"].as_str()?;
    let mut values = Values::new();
    put(&mut values, "event.timestamp", time(&document["date"]));
    put(&mut values, "event.async", document["evt"]["async"].clone());
    let retval = format!("{event}.retval");
    if document["evt"]["outcome"] == "Refused" {
        put(&mut values, &retval, json!("EACCES"));
    }
    let process = &document["process"];
    values.extend(process_values("process", process));
    values.extend(process_values("process.parent", &process["parent"]));
    ancestors(&mut values, &process["ancestors"]);
    let file = &document["file"];
    let prefix = format!("{event}.file");
    values.extend(file_values(&prefix, file));
    let destination = format!("{prefix}.destination");
    values.extend(file_values(&destination, &file["destination"]));
    let call = &document["syscall"][event];
    for (key, name) in [
        ("path", "path"),
        ("flags", "flags"),
        ("mode", "mode"),
        ("uid", "uid"),
        ("gid", "gid"),
        ("dirfd", "dirfd"),
        ("destination_path", "destination.path"),
    ] {
        let name = format!("{event}.syscall.{name}");
        put(&mut values, &name, call[key].clone());
    }
    // What was asked for; the file has it in words, if at all.
    put(
        &mut values,
        &format!("{event}.flags"),
        call["flags"].clone(),
    );
    let flags = names(&file["flags"]);
    put(&mut values, &format!("{event}.flags"), flags);
    let mode = format!("{event}.file.destination.mode");
    put(&mut values, &mode, call["mode"].clone());
    sections(&mut values, event, document);
    put(&mut values, "exit.code", document["exit"]["code"].clone());
    put(&mut values, "exit.cause", document["exit"]["cause"].clone());
    // A section may tell what this type of event has no field for.
    if let Some(event_type) = event_type(event) {
        values.retain(|name, _| super::field_of(event_type, name).is_ok());
    }
    Some((event.to_owned(), values))
}

/// Where a process has what: the place in JSON, the field, and how it is read.
const PROCESS: &[(&str, &str, Read)] = &[
    ("/pid", "pid", Value::clone),
    ("/ppid", "ppid", Value::clone),
    ("/tid", "tid", Value::clone),
    ("/comm", "comm", Value::clone),
    ("/tty", "tty_name", Value::clone),
    ("/argv0", "argv0", Value::clone),
    ("/args", "argv", Value::clone),
    ("/args_truncated", "args_truncated", Value::clone),
    ("/envs", "envs", Value::clone),
    ("/envs_truncated", "envs_truncated", Value::clone),
    ("/is_thread", "is_thread", Value::clone),
    ("/is_kworker", "is_kworker", Value::clone),
    ("/credentials/uid", "uid", Value::clone),
    ("/credentials/user", "user", Value::clone),
    ("/credentials/gid", "gid", Value::clone),
    ("/credentials/group", "group", Value::clone),
    ("/credentials/euid", "euid", Value::clone),
    ("/credentials/euser", "euser", Value::clone),
    ("/credentials/egid", "egid", Value::clone),
    ("/credentials/egroup", "egroup", Value::clone),
    ("/credentials/fsuid", "fsuid", Value::clone),
    ("/credentials/fsuser", "fsuser", Value::clone),
    ("/credentials/fsgid", "fsgid", Value::clone),
    ("/credentials/fsgroup", "fsgroup", Value::clone),
    ("/credentials/auid", "auid", Value::clone),
    ("/credentials/cap_effective", "cap_effective", names),
    ("/credentials/cap_permitted", "cap_permitted", names),
    ("/cgroup/id", "cgroup.id", Value::clone),
    ("/container/id", "container.id", Value::clone),
    ("/container/created_at", "container.created_at", time),
    ("/exec_time", "created_at", time),
    ("/fork_time", "created_at", time),
    ("/exec_time", "is_exec", |time| json!(!time.is_null())),
];

/// Where a file has what.
const FILE: &[(&str, &str, Read)] = &[
    ("/path", "path", Value::clone),
    ("/name", "name", Value::clone),
    ("/extension", "extension", Value::clone),
    ("/inode", "inode", Value::clone),
    ("/mode", "mode", Value::clone),
    ("/mount_id", "mount_id", Value::clone),
    ("/mount_visible", "mount_visible", Value::clone),
    ("/mount_detached", "mount_detached", Value::clone),
    ("/filesystem", "filesystem", Value::clone),
    ("/uid", "uid", Value::clone),
    ("/user", "user", Value::clone),
    ("/gid", "gid", Value::clone),
    ("/group", "group", Value::clone),
    ("/hashes", "hashes", Value::clone),
    ("/in_upper_layer", "in_upper_layer", Value::clone),
    ("/modification_time", "modification_time", time),
    ("/change_time", "change_time", time),
];

type Read = fn(&Value) -> Value;

fn process_values(prefix: &str, process: &Value) -> Values {
    let mut values = places(prefix, process, PROCESS);
    for (key, file) in [("executable", "file"), ("interpreter", "interpreter.file")] {
        values.extend(file_values(&format!("{prefix}.{file}"), &process[key]));
    }
    values
}

fn file_values(prefix: &str, file: &Value) -> Values {
    places(prefix, file, FILE)
}

fn places(prefix: &str, object: &Value, places: &[(&str, &str, Read)]) -> Values {
    let mut values = Values::new();
    for (place, name, read) in places {
        if let Some(value) = object.pointer(place) {
            put(&mut values, &format!("{prefix}.{name}"), read(value));
        }
    }
    values
}

/// A value for each ancestor of every field that one of them has.
fn ancestors(values: &mut Values, list: &Value) {
    const PREFIX: &str = "process.ancestors";
    let Some(list) = list.as_array() else { return };
    for (index, ancestor) in list.iter().enumerate() {
        for (name, value) in process_values(PREFIX, ancestor) {
            let Some(info) = table().field(&name) else {
                continue;
            };
            let zero = match info.ty {
                _ if info.list => json!([]),
                Type::Bool => json!(false),
                Type::Int => json!(0),
                Type::String | Type::Ip => json!(""),
            };
            let each = values
                .entry(name)
                .or_insert_with(|| Value::Array(vec![zero; list.len()]));
            each[index] = value;
        }
    }
}

/// What sections are called other than the fields that they tell of.
const SECTIONS: &[(&str, &str)] = &[
    ("load_module", "module"),
    ("unload_module", "module"),
    ("failed_dns", "dns"),
];
/// What a key of a section is called other than its part of the field's name.
const KEYS: &[(&str, &str)] = &[
    ("prog", "program"),
    ("type", "map_type"),
    ("type", "program_type"),
];

/// What the event has under the names of its fields (`connect.addr.ip` at `/connect/addr/ip`).
fn sections(values: &mut Values, event: &str, document: &Value) {
    let own = SECTIONS.iter().find(|(name, _)| *name == event);
    let own = own.map_or(event, |(_, section)| section);
    for (prefix, section) in [(event, own), ("network", "network"), ("packet", "packet")] {
        let section = &document[section];
        if section.is_object() {
            by_name(values, &format!("{prefix}."), section);
        }
    }
    for target in ["target", "tracee"] {
        let process = &document[event][target];
        if process.is_object() {
            values.extend(process_values(&format!("{event}.{target}"), process));
        }
    }
}

/// The fields whose names begin so, from the section. What is not of a field's type is left out.
fn by_name(values: &mut Values, prefix: &str, section: &Value) {
    for entry in table().entries() {
        let name = entry.spec.name.as_str();
        let Some(rest) = name.strip_prefix(prefix) else {
            continue;
        };
        let Some(value) = find(section, rest) else {
            continue;
        };
        let value = match (value, entry.spec.ty, entry.spec.list) {
            // Flags, as a list of their names.
            (Value::Array(_), Type::Int, false) => names(value),
            // Addresses, as numbers for people.
            (Value::String(text), Type::Int, false) if text.starts_with("0x") => {
                let digits = text.trim_start_matches("0x");
                i64::from_str_radix(digits, 16).map_or(Value::Null, Value::from)
            }
            _ => value.clone(),
        };
        let info = table().field(name);
        if info.is_some_and(|info| super::read::given(name, &value, &info).is_ok()) {
            put(values, name, value);
        }
    }
}

/// The value at a path of names, each as it is or as sections call it.
fn find<'a>(section: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(section, |at, name| {
        let others = KEYS.iter().filter(|(field, _)| *field == name);
        let mut keys = std::iter::once(name).chain(others.map(|(_, key)| *key));
        keys.find_map(|key| at.get(key))
    })
}

/// Gives the field the value, if there is the field and a value, and the field has none.
fn put(values: &mut Values, name: &str, value: Value) {
    if !value.is_null() && table().id(name).is_some() {
        values.entry(name).or_insert(value);
    }
}

/// Nanoseconds since the epoch.
fn time(text: &Value) -> Value {
    let time = text.as_str().and_then(|text| text.parse().ok());
    let ns = time.map(|time: jiff::Timestamp| time.as_nanosecond());
    ns.and_then(|ns| i64::try_from(ns).ok())
        .map_or(Value::Null, Value::from)
}

/// Constants, joined.
fn names(list: &Value) -> Value {
    let names: Option<Vec<&str>> = list
        .as_array()
        .map(|names| names.iter().filter_map(Value::as_str).collect());
    match names {
        Some(names) if !names.is_empty() => Value::String(names.join("|")),
        _ => Value::Null,
    }
}
