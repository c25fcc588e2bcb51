//! A small world of fields, events with any values, and policies from text.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test is a crate of its own and uses a part"
)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use atalaya_policy::testing::Values;
use atalaya_policy::{LoadOptions, LoadReport, RuleSet, Scopes, Scratch};
use atalaya_secl::NoVariables;
use atalaya_secl::model::{
    Constant, EventView, FieldId, FieldInfo, IterId, OwnedValue, Schema, TextKind, Type, Validator,
    Value,
};

const EVENTS: [&str; 8] = [
    "open", "chmod", "chown", "link", "rename", "unlink", "utimes", "exec",
];
const SUFFIXES: [(&str, Type, TextKind); 6] = [
    (".file.path", Type::String, TextKind::Path),
    (".file.name", Type::String, TextKind::Plain),
    (".file.destination.path", Type::String, TextKind::Path),
    (".file.destination.name", Type::String, TextKind::Plain),
    (".flags", Type::Int, TextKind::Plain),
    (".retval", Type::Int, TextKind::Plain),
];

/// Fields beside those of file events: name, type, list, event type, why it cannot be filled.
const OTHERS: [(&str, Type, bool, &str, &str); 18] = [
    ("process.uid", Type::Int, false, "", ""),
    ("process.comm", Type::String, false, "", ""),
    ("process.pid", Type::Int, false, "", ""),
    ("process.created_at", Type::Int, false, "", ""),
    ("process.is_thread", Type::Bool, false, "", ""),
    ("process.argv", Type::String, true, "", ""),
    ("process.file.path", Type::String, false, "", ""),
    ("process.container.id", Type::String, false, "", ""),
    ("process.cgroup.id", Type::String, false, "", ""),
    ("process.ancestors.comm", Type::String, false, "", ""),
    (
        "process.user_session.id",
        Type::String,
        false,
        "",
        "user sessions are not followed",
    ),
    ("open.file.hashes", Type::String, true, "open", ""),
    ("exec.file.hashes", Type::String, true, "exec", ""),
    ("connect.addr.ip", Type::Ip, false, "connect", ""),
    ("connect.addr.hostname", Type::String, true, "connect", ""),
    ("connect.ports", Type::Int, true, "connect", ""),
    ("cgroup_write.pid", Type::Int, false, "cgroup_write", ""),
    (
        "dns.question.name",
        Type::String,
        false,
        "dns",
        "DNS is not captured",
    ),
];

/// Fields of file events and some others; `process.name` is an old name, `O_*` and `EPERM` are constants.
pub struct World;

pub fn names() -> &'static [String] {
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    NAMES.get_or_init(all_names)
}

fn all_names() -> Vec<String> {
    let mut names: Vec<String> = OTHERS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    for event in EVENTS {
        for (suffix, ..) in SUFFIXES {
            if !suffix.contains("destination") || matches!(event, "link" | "rename") {
                names.push(format!("{event}{suffix}"));
            }
        }
    }
    names
}

impl Schema for World {
    fn field(&self, name: &str) -> Option<FieldInfo> {
        let name = if name == "process.name" {
            "process.comm"
        } else {
            name
        };
        let index = names().iter().position(|known| known == name)?;
        let mut info = FieldInfo {
            id: FieldId(u32::try_from(index).unwrap()),
            name: name.to_owned().into(),
            ty: Type::String,
            list: false,
            iterator: name.contains("ancestors").then_some(IterId(0)),
            text: TextKind::Plain,
            weight: 0,
            event: None,
            restricted_to: &[],
            validator: Validator::None,
            unavailable: None,
        };
        if let Some((_, ty, list, event, why)) = OTHERS.get(index) {
            info.ty = *ty;
            info.list = *list;
            info.event = (!event.is_empty()).then_some(Cow::Borrowed(event));
            info.unavailable = (!why.is_empty()).then_some(Cow::Borrowed(why));
        } else {
            let suffixes = SUFFIXES.iter();
            let of_file = suffixes.filter(|(suffix, ..)| name.ends_with(suffix));
            let (_, ty, text) = of_file.max_by_key(|(suffix, ..)| suffix.len()).unwrap();
            info.ty = *ty;
            info.text = *text;
            info.event = Some(name.split('.').next().unwrap().to_owned().into());
        }
        Some(info)
    }
    fn iterator(&self, name: &str) -> Option<IterId> {
        (name == "process.ancestors").then_some(IterId(0))
    }
    fn constant(&self, name: &str) -> Option<Constant> {
        let value = match name {
            "true" | "false" => return Some(Constant::Bool(name == "true")),
            "O_RDWR" => 2,
            "O_WRONLY" => 1,
            "O_CREAT" => 64,
            "O_TRUNC" => 512,
            "O_APPEND" => 1024,
            "EPERM" => -1,
            "SIGKILL" => 9,
            "SIGTERM" => 15,
            "SIGUSR2" => 12,
            _ => return None,
        };
        Some(Constant::Int(value))
    }
    fn field_names(&self) -> Vec<Cow<'static, str>> {
        names().iter().map(|name| name.as_str().into()).collect()
    }
    fn constant_names(&self) -> Vec<Cow<'static, str>> {
        [
            "true", "O_RDWR", "O_WRONLY", "O_CREAT", "O_TRUNC", "O_APPEND", "EPERM", "SIGKILL",
            "SIGUSR2",
        ]
        .map(Cow::Borrowed)
        .into()
    }
}

/// An event with any values; the others are zero.
#[derive(Default, Clone)]
pub struct Event(BTreeMap<String, OwnedValue>);

impl Event {
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0
            .insert(name.to_owned(), OwnedValue::Str(value.to_owned()));
        self
    }
    pub fn int(mut self, name: &str, value: i64) -> Self {
        self.0.insert(name.to_owned(), OwnedValue::Int(value));
        self
    }
    pub fn texts(mut self, name: &str, values: &[&str]) -> Self {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        self.0.insert(name.to_owned(), OwnedValue::StrList(values));
        self
    }

    /// From the values of a test file.
    pub fn from_values(event_type: &str, values: &Values) -> Result<(Self, u64), String> {
        if !names()
            .iter()
            .any(|name| name.starts_with(&format!("{event_type}.")))
        {
            return Err(format!("there is no event type `{event_type}`"));
        }
        let mut event = Self::default();
        let mut now = 0;
        for (name, value) in values {
            if name == "now" {
                now = value.as_u64().ok_or("`now` is no time")?;
                continue;
            }
            let info = World.field(name);
            let info = info.ok_or_else(|| format!("field `{name}` does not exist"))?;
            let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
            let many = info.list || info.iterator.is_some();
            let found = match (info.ty, many) {
                (Type::Int, false) => value.as_i64().map(OwnedValue::Int),
                (Type::Bool, false) => value.as_bool().map(OwnedValue::Bool),
                (Type::String, false) => text(value).map(OwnedValue::Str),
                (Type::String, true) => value
                    .as_array()
                    .and_then(|items| items.iter().map(text).collect::<Option<_>>())
                    .map(OwnedValue::StrList),
                _ => None,
            };
            let found = found.ok_or_else(|| format!("field `{name}` has another type"))?;
            event.0.insert(name.clone(), found);
        }
        Ok((event, now))
    }

    fn number(&self, name: &str) -> Option<u64> {
        match self.0.get(name) {
            Some(OwnedValue::Int(value)) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    fn text(&self, name: &str) -> &str {
        match self.0.get(name) {
            Some(OwnedValue::Str(text)) => text,
            _ => "",
        }
    }
}

impl EventView for Event {
    fn get(&self, field: FieldId) -> Value<'_> {
        let name = &names()[field.0 as usize];
        match self.0.get(name) {
            Some(value) => value.as_value(),
            None => {
                let info = World.field(name).unwrap();
                match (info.ty, info.list) {
                    (Type::Int, false) => Value::Int(0),
                    (Type::Bool, false) => Value::Bool(false),
                    (Type::String, false) => Value::Str("".into()),
                    (Type::Ip, _) => Value::IpList([].as_slice().into()),
                    (Type::Int, true) => Value::IntList([].as_slice().into()),
                    (Type::Bool, true) => Value::BoolList([].as_slice().into()),
                    (Type::String, true) => Value::StrList([].as_slice().into()),
                }
            }
        }
    }
    fn iter_len(&self, _: IterId) -> usize {
        match self.0.get("process.ancestors.comm") {
            Some(OwnedValue::StrList(list)) => list.len(),
            _ => 0,
        }
    }
    fn get_at(&self, field: FieldId, index: usize) -> Option<Value<'_>> {
        match self.0.get(&names()[field.0 as usize]) {
            Some(OwnedValue::StrList(list)) => Some(Value::Str(list.get(index)?.as_str().into())),
            _ => None,
        }
    }
}

impl Scopes for Event {
    fn process(&self) -> Option<u64> {
        self.number("process.pid")
    }
    fn ancestor(&self, _: usize) -> Option<u64> {
        None
    }
    fn container(&self) -> &str {
        self.text("process.container.id")
    }
    fn cgroup(&self) -> &str {
        self.text("process.cgroup.id")
    }
    fn process_of_pid(&self, pid: i64) -> Option<u64> {
        u64::try_from(pid).ok()
    }
}

pub fn load(files: &[(&str, &str)]) -> (RuleSet, LoadReport) {
    load_with(files, LoadOptions::default())
}

/// Loads one policy.
pub fn load_one(text: &str) -> (RuleSet, LoadReport) {
    load(&[("a.policy", text)])
}

pub fn load_with(files: &[(&str, &str)], mut options: LoadOptions) -> (RuleSet, LoadReport) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    options.policies_dir = Some(dir.path().to_owned());
    let (rules, mut report) = RuleSet::load(&World, &options);
    // Without the directory, which differs in each run.
    let prefix = format!("{}/", dir.path().display());
    let clean = |text: &mut String| *text = text.replace(&prefix, "");
    for policy in &mut report.policies {
        let errors = policy.errors.iter_mut();
        let errors = errors.chain(policy.rules.iter_mut().flat_map(|rule| &mut rule.errors));
        for error in errors.chain(policy.macros.iter_mut().flat_map(|item| &mut item.errors)) {
            clean(&mut error.file);
        }
    }
    for lint in &mut report.lints {
        clean(&mut lint.file);
    }
    (rules, report)
}

pub fn errors(report: &LoadReport) -> Vec<String> {
    report.all_errors().map(ToString::to_string).collect()
}

pub fn lints(report: &LoadReport) -> Vec<String> {
    report.lints.iter().map(ToString::to_string).collect()
}

pub fn matching(rules: &RuleSet, event_type: &str, event: &Event) -> Vec<String> {
    let mut found = Vec::new();
    let (variables, scratch) = (&mut NoVariables, &mut Scratch::default());
    rules.evaluate(event_type, event, 0, variables, scratch, |_, rule| {
        found.push(rule.id.clone());
    });
    found
}
