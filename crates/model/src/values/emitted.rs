//! Events as the agent writes them, turned back into values: so that a rule can be tried on what was once reported.
//!
//! It is what the event says, which is less than what the rule saw: secrets are masked, the environment is there by names
//! alone, ancestors that run their parent's program have no arguments, and of what a call returned only that it was
//! refused.

use std::collections::HashSet;
use std::sync::OnceLock;

use atalaya_secl::model::{FieldId, FieldInfo, Schema, Type};
use serde_json::{Map, Value, json};

use super::{ValueError, ValueEvent, field_of};
use crate::table::table;
use crate::types::{EVENT_TYPES, EventType};

type Values = Map<String, Value>;

/// The type and the values of an event; `None` for what is not one.
pub(super) fn read(document: &Value) -> Option<(String, Values)> {
    let event = document["evt"]["name"].as_str()?;
    let values = match EVENT_TYPES.iter().position(|known| known.name == event) {
        Some(at) => whole(at).values(document),
        // Nobody knows what fields it has.
        None => Values::new(),
    };
    Some((event.to_owned(), values))
}

/// The plan for all fields of an event type, made when it is first needed.
fn whole(at: usize) -> &'static Plan {
    static PLANS: OnceLock<Vec<OnceLock<Plan>>> = OnceLock::new();
    let plans = PLANS.get_or_init(|| EVENT_TYPES.iter().map(|_| OnceLock::new()).collect());
    plans[at].get_or_init(|| Plan::new(&EVENT_TYPES[at], &|_| true))
}

/// Reads events of one type as the agent writes them, as far as some fields need it: a rule looks at few of hundreds.
#[derive(Debug)]
pub struct EventReader {
    event_type: &'static EventType,
    plan: Plan,
}

/// What is read in any case: whose event it is.
const ALWAYS: [&str; 5] = [
    "process.pid",
    "process.created_at",
    "process.ancestors.created_at",
    "process.container.id",
    "process.cgroup.id",
];

impl EventReader {
    /// For events of this type, and those of its fields that are named here. `None`: there is no such type.
    pub fn new(event_type: &str, fields: impl IntoIterator<Item = FieldId>) -> Option<Self> {
        let event_type = EVENT_TYPES.iter().find(|known| known.name == event_type)?;
        let named = fields.into_iter().filter_map(|id| table().entry(id));
        let named = named.map(|entry| entry.spec.name.as_str());
        let wanted: HashSet<String> = named.chain(ALWAYS).map(origin).collect();
        let keeps = |name: &str| {
            let iterator = table().id(name).and_then(|id| table().entry(id)?.iterator);
            let iterator = iterator.and_then(|at| table().iterators().get(usize::from(at.0)));
            match iterator {
                // How many ancestors there are, rules ask by any field of theirs.
                Some(of) if of.ends_with(".ancestors") && name.ends_with(".pid") => return true,
                Some(of) if !of.ends_with(".ancestors") => return true,
                _ => {}
            }
            name.starts_with("event.") || wanted.contains(&origin(name))
        };
        Some(Self {
            event_type,
            plan: Plan::new(event_type, &keeps),
        })
    }

    /// Where in a document it looks; below what is named, everything counts.
    #[must_use]
    pub fn places(&self) -> Vec<Vec<&str>> {
        let own = self.plan.places.iter();
        let own = own.map(|place| place.path.iter().map(String::as_str).collect());
        let ancestors = self.plan.ancestors.iter().map(|place| {
            let path = place.path.iter().map(String::as_str);
            ["process", "ancestors"].into_iter().chain(path).collect()
        });
        let sections = self.plan.sections.iter();
        let sections = sections.map(|(section, _)| vec![section.as_str()]);
        own.chain(ancestors).chain(sections).collect()
    }

    /// The event that a document tells of, as [`ValueEvent::from_document`] makes it. Fields that were not asked for may be missing.
    ///
    /// # Errors
    /// A value that its field cannot have.
    pub fn read(&self, document: &Value) -> Result<ValueEvent, ValueError> {
        ValueEvent::from_values(self.event_type.name, &self.plan.values(document))
    }
}

/// What fields that follow from each other have in common (see `derive`). That fields have it in common which do not is no harm.
fn origin(name: &str) -> String {
    let event = ["exec.", "exit."]
        .iter()
        .find_map(|event| name.strip_prefix(event));
    let name = event.map_or_else(|| name.to_owned(), |rest| format!("process.{rest}"));
    let name = name.replace(".parent.", ".ancestors.");
    let mut stem = name.as_str();
    while let Some(rest) = stem
        .strip_suffix(".length")
        .or_else(|| stem.strip_suffix(".root_domain"))
    {
        stem = rest;
    }
    let (stem, last) = stem.rsplit_once('.').unwrap_or(("", stem));
    let last = match last {
        "path" | "name" | "extension" => "path",
        "mode" | "rights" => "mode",
        "args" | "argv" | "args_flags" | "args_options" => "args",
        "envp" | "envs" => "envs",
        last => last,
    };
    format!("{stem}.{last}")
}

/// Where the fields of an event are in its document.
#[derive(Debug)]
struct Plan {
    /// The first that has a value gives it to the field.
    places: Vec<Place>,
    /// From the document of an ancestor.
    ancestors: Vec<Place>,
    sections: Vec<(String, Vec<InSection>)>,
}

/// Where a field is.
#[derive(Debug)]
struct Place {
    path: Vec<String>,
    name: String,
    read: Read,
}

/// A field that sections tell of by its name.
#[derive(Debug)]
struct InSection {
    rest: Vec<String>,
    info: FieldInfo,
}

impl Plan {
    fn new(event_type: &EventType, keeps: &dyn Fn(&str) -> bool) -> Self {
        let event = event_type.name;
        // A section may tell what this type of event has no field for.
        let keeps = |name: &str| {
            table().id(name).is_some() && keeps(name) && field_of(event_type, name).is_ok()
        };
        let mut places = Vec::new();
        let mut put = |path: &[&str], name: String, read: Read| {
            if keeps(&name) {
                places.push(Place {
                    path: path.iter().map(|part| (*part).to_owned()).collect(),
                    name,
                    read,
                });
            }
        };
        put(&["date"], "event.timestamp".to_owned(), time);
        put(&["evt", "async"], "event.async".to_owned(), Value::clone);
        put(
            &["evt", "outcome"],
            format!("{event}.retval"),
            |outcome| match outcome == "Refused" {
                true => json!("EACCES"),
                false => Value::Null,
            },
        );
        let file = format!("{event}.file");
        process_places(&mut put, &["process"], "process");
        process_places(&mut put, &["process", "parent"], "process.parent");
        file_places(&mut put, &["file"], &file);
        file_places(
            &mut put,
            &["file", "destination"],
            &format!("{file}.destination"),
        );
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
            put(&["syscall", event, key], name, Value::clone);
        }
        // What was asked for; the file has it in words, if at all.
        let flags = format!("{event}.flags");
        put(&["syscall", event, "flags"], flags.clone(), Value::clone);
        put(&["file", "flags"], flags, names);
        let mode = format!("{file}.destination.mode");
        put(&["syscall", event, "mode"], mode, Value::clone);
        for target in ["target", "tracee"] {
            process_places(&mut put, &[event, target], &format!("{event}.{target}"));
        }
        for name in ["code", "cause"] {
            put(&["exit", name], format!("exit.{name}"), Value::clone);
        }
        let mut ancestors = Vec::new();
        let mut put = |path: &[&str], name: String, read: Read| {
            if keeps(&name) {
                ancestors.push(Place {
                    path: path.iter().map(|part| (*part).to_owned()).collect(),
                    name,
                    read,
                });
            }
        };
        process_places(&mut put, &[], ANCESTORS);
        Self {
            places,
            ancestors,
            sections: sections(event, &keeps),
        }
    }

    fn values(&self, document: &Value) -> Values {
        let mut values = Values::new();
        for place in &self.places {
            place.put(document, &mut values);
        }
        self.ancestors(document, &mut values);
        for (section, fields) in &self.sections {
            let section = &document[section.as_str()];
            if section.is_object() {
                for field in fields {
                    field.put(section, &mut values);
                }
            }
        }
        values
    }

    /// A value for each ancestor of every field that one of them has.
    fn ancestors(&self, document: &Value, values: &mut Values) {
        let Some(list) = document["process"]["ancestors"].as_array() else {
            return;
        };
        for (index, ancestor) in list.iter().enumerate() {
            let mut own = Values::new();
            for place in &self.ancestors {
                place.put(ancestor, &mut own);
            }
            for (name, value) in own {
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
}

impl Place {
    /// Gives the field the value, if there is one, and the field has none.
    fn put(&self, document: &Value, values: &mut Values) {
        let mut path = self.path.iter();
        let found = path.try_fold(document, |at, name| at.get(name.as_str()));
        let Some(value) = found.map(|found| (self.read)(found)) else {
            return;
        };
        if !value.is_null() && !values.contains_key(&self.name) {
            values.insert(self.name.clone(), value);
        }
    }
}

impl InSection {
    /// The same. What is not of the field's type is left out.
    fn put(&self, section: &Value, values: &mut Values) {
        let Some(value) = find(section, &self.rest) else {
            return;
        };
        let name = self.info.name.as_ref();
        let value = match (value, self.info.ty, self.info.list) {
            // Flags, as a list of their names.
            (Value::Array(_), Type::Int, false) => names(value),
            // Addresses, as numbers for people.
            (Value::String(text), Type::Int, false) if text.starts_with("0x") => {
                let digits = text.trim_start_matches("0x");
                i64::from_str_radix(digits, 16).map_or(Value::Null, Value::from)
            }
            _ => value.clone(),
        };
        let is_fit = !value.is_null() && super::read::given(name, &value, &self.info).is_ok();
        if is_fit && !values.contains_key(name) {
            values.insert(name.to_owned(), value);
        }
    }
}

const ANCESTORS: &str = "process.ancestors";

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

type Put<'a> = dyn FnMut(&[&str], String, Read) + 'a;

fn process_places(put: &mut Put<'_>, at: &[&str], prefix: &str) {
    all_places(put, at, prefix, PROCESS);
    for (key, file) in [("executable", "file"), ("interpreter", "interpreter.file")] {
        file_places(put, &[at, &[key]].concat(), &format!("{prefix}.{file}"));
    }
}

fn file_places(put: &mut Put<'_>, at: &[&str], prefix: &str) {
    all_places(put, at, prefix, FILE);
}

fn all_places(put: &mut Put<'_>, at: &[&str], prefix: &str, places: &[(&str, &str, Read)]) {
    for (place, name, read) in places {
        let path: Vec<&str> = at.iter().copied().chain(place.split('/').skip(1)).collect();
        put(&path, format!("{prefix}.{name}"), *read);
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
fn sections(event: &str, keeps: &dyn Fn(&str) -> bool) -> Vec<(String, Vec<InSection>)> {
    let own = SECTIONS.iter().find(|(name, _)| *name == event);
    let own = own.map_or(event, |(_, section)| section);
    [(event, own), ("network", "network"), ("packet", "packet")]
        .into_iter()
        .map(|(prefix, section)| {
            let entries = table().entries().iter();
            let fields = entries.filter_map(|entry| {
                let name = entry.spec.name.as_str();
                let rest = name.strip_prefix(prefix)?.strip_prefix('.')?;
                let info = keeps(name).then(|| table().field(name))??;
                Some(InSection {
                    rest: rest.split('.').map(str::to_owned).collect(),
                    info,
                })
            });
            (section.to_owned(), fields.collect::<Vec<_>>())
        })
        .filter(|(_, fields)| !fields.is_empty())
        .collect()
}

/// The value at a path of names, each as it is or as sections call it.
fn find<'a>(section: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(section, |at, name| {
        let others = KEYS.iter().filter(|(field, _)| *field == name);
        let mut keys = std::iter::once(name.as_str()).chain(others.map(|(_, key)| *key));
        keys.find_map(|key| at.get(key))
    })
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
