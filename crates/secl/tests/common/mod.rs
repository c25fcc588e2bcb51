//! A small world to test the language in.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part"
)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::borrow::Cow;
use std::collections::BTreeMap;

use atalaya_secl::model::{
    Constant, EventView, FieldId, FieldInfo, IterId, Schema, TextKind, Type, Validator, Value,
};
use atalaya_secl::{
    Error, EvalContext, MacroSet, Program, Scope, VariableId, VariableInfo, VariableScope,
    Variables, compile_condition,
};
use ipnet::IpNet;

pub const ANCESTORS: IterId = IterId(1);
pub const LIST: IterId = IterId(2);
pub const ARRAY: IterId = IterId(3);

type Row = (&'static str, Type, bool, Option<IterId>, TextKind, u32);

const FIELDS: &[Row] = &[
    (
        "process.name",
        Type::String,
        false,
        None,
        TextKind::Plain,
        0,
    ),
    (
        "process.comm",
        Type::String,
        false,
        None,
        TextKind::Plain,
        0,
    ),
    ("process.uid", Type::Int, false, None, TextKind::Plain, 0),
    ("process.gid", Type::Int, false, None, TextKind::Plain, 0),
    ("process.pid", Type::Int, false, None, TextKind::Plain, 0),
    (
        "process.is_root",
        Type::Bool,
        false,
        None,
        TextKind::Plain,
        0,
    ),
    (
        "process.created_at",
        Type::Int,
        false,
        None,
        TextKind::Plain,
        0,
    ),
    (
        "process.argv",
        Type::String,
        true,
        None,
        TextKind::Plain,
        500,
    ),
    (
        "process.file.path",
        Type::String,
        false,
        None,
        TextKind::Path,
        0,
    ),
    (
        "process.file.extension",
        Type::String,
        false,
        None,
        TextKind::Extension,
        0,
    ),
    (
        "process.ancestors.comm",
        Type::String,
        false,
        Some(ANCESTORS),
        TextKind::Plain,
        0,
    ),
    (
        "process.ancestors.argv",
        Type::String,
        true,
        Some(ANCESTORS),
        TextKind::Plain,
        500,
    ),
    (
        "process.list.key",
        Type::Int,
        false,
        Some(LIST),
        TextKind::Plain,
        0,
    ),
    (
        "process.list.value",
        Type::String,
        false,
        Some(LIST),
        TextKind::Plain,
        0,
    ),
    (
        "process.array.key",
        Type::Int,
        false,
        Some(ARRAY),
        TextKind::Plain,
        0,
    ),
    (
        "process.array.value",
        Type::String,
        false,
        Some(ARRAY),
        TextKind::Plain,
        0,
    ),
    (
        "process.array.flag",
        Type::Bool,
        false,
        Some(ARRAY),
        TextKind::Plain,
        0,
    ),
    ("network.ip", Type::Ip, false, None, TextKind::Plain, 0),
    ("network.ips", Type::Ip, true, None, TextKind::Plain, 0),
    ("network.cidr", Type::Ip, false, None, TextKind::Plain, 0),
    (
        "event.rule.tags",
        Type::String,
        true,
        None,
        TextKind::Plain,
        0,
    ),
    (
        "open.filename",
        Type::String,
        false,
        None,
        TextKind::Plain,
        0,
    ),
    (
        "open.file.path",
        Type::String,
        false,
        None,
        TextKind::Path,
        0,
    ),
    (
        "open.file.name",
        Type::String,
        false,
        None,
        TextKind::Plain,
        0,
    ),
    (
        "open.file.hashes",
        Type::String,
        true,
        None,
        TextKind::Plain,
        999,
    ),
    ("open.flags", Type::Int, false, None, TextKind::Plain, 0),
    ("open.retval", Type::Int, false, None, TextKind::Plain, 0),
    ("open.opened_at", Type::Int, false, None, TextKind::Plain, 0),
    (
        "rename.file.path",
        Type::String,
        false,
        None,
        TextKind::Path,
        0,
    ),
    (
        "rename.file.name",
        Type::String,
        false,
        None,
        TextKind::Plain,
        0,
    ),
    (
        "rename.file.destination.path",
        Type::String,
        false,
        None,
        TextKind::Path,
        0,
    ),
    (
        "rename.file.destination.name",
        Type::String,
        false,
        None,
        TextKind::Plain,
        0,
    ),
    (
        "exec.file.path",
        Type::String,
        false,
        None,
        TextKind::Path,
        0,
    ),
    (
        "dns.question.name",
        Type::String,
        false,
        None,
        TextKind::DnsName,
        0,
    ),
    ("mmap.flags", Type::Int, false, None, TextKind::Plain, 0),
];

const CONSTANTS: &[(&str, i64)] = &[
    ("O_RDONLY", 0),
    ("O_WRONLY", 1),
    ("O_RDWR", 2),
    ("O_CREAT", 64),
    ("O_EXCL", 128),
    ("O_TRUNC", 512),
    ("EPERM", -1),
    ("EACCES", -13),
];

pub struct TestSchema;

impl Schema for TestSchema {
    fn field(&self, name: &str) -> Option<FieldInfo> {
        let name = if name == "process.legacy_name" {
            "process.name"
        } else {
            name
        };
        let (index, row) = FIELDS.iter().enumerate().find(|(_, row)| row.0 == name)?;
        let event = name
            .split('.')
            .next()
            .filter(|first| !matches!(*first, "process" | "network" | "event"));
        Some(FieldInfo {
            id: FieldId(u32::try_from(index).unwrap()),
            name: row.0.into(),
            ty: row.1,
            list: row.2,
            iterator: row.3,
            text: row.4,
            weight: row.5,
            event: event.map(|event| Cow::Owned(event.to_owned())),
            validator: Validator::None,
            unavailable: (event == Some("mmap")).then(|| "this build has no mmap hook".into()),
        })
    }

    fn iterator(&self, name: &str) -> Option<IterId> {
        match name {
            "process.ancestors" => Some(ANCESTORS),
            "process.list" => Some(LIST),
            "process.array" => Some(ARRAY),
            _ => None,
        }
    }

    fn constant(&self, name: &str) -> Option<Constant> {
        match name {
            "true" => Some(Constant::Bool(true)),
            "false" => Some(Constant::Bool(false)),
            "k8s" => Some(Constant::String("k8s".to_owned())),
            _ => CONSTANTS
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| Constant::Int(*value)),
        }
    }

    fn field_names(&self) -> Vec<Cow<'static, str>> {
        FIELDS.iter().map(|row| row.0.into()).collect()
    }

    fn constant_names(&self) -> Vec<Cow<'static, str>> {
        CONSTANTS
            .iter()
            .map(|(name, _)| Cow::Borrowed(*name))
            .collect()
    }
}

/// Values by field name; an iterated field has one value an element.
#[derive(Debug, Clone, Default)]
pub struct TestEvent {
    pub values: BTreeMap<&'static str, Value<'static>>,
    pub iterated: BTreeMap<&'static str, Vec<Value<'static>>>,
    pub lengths: BTreeMap<u16, usize>,
    /// How often each field was read.
    pub reads: std::cell::RefCell<BTreeMap<&'static str, usize>>,
}

impl TestEvent {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn with(mut self, name: &'static str, value: Value<'static>) -> Self {
        self.values.insert(name, value);
        self
    }

    pub fn str(self, name: &'static str, value: &str) -> Self {
        self.with(name, Value::Str(value.to_owned().into()))
    }

    pub fn int(self, name: &'static str, value: i64) -> Self {
        self.with(name, Value::Int(value))
    }

    pub fn list(self, name: &'static str, values: &[&str]) -> Self {
        self.with(
            name,
            Value::StrList(
                values
                    .iter()
                    .map(|value| (*value).to_owned())
                    .collect::<Vec<_>>()
                    .into(),
            ),
        )
    }

    pub fn ip(self, name: &'static str, value: &str) -> Self {
        let net: IpNet = value
            .parse()
            .unwrap_or_else(|_| value.parse::<std::net::IpAddr>().unwrap().into());
        self.with(name, Value::Ip(net))
    }

    pub fn each(mut self, iter: IterId, name: &'static str, values: Vec<Value<'static>>) -> Self {
        self.lengths.insert(iter.0, values.len());
        self.iterated.insert(name, values);
        self
    }
}

impl EventView for TestEvent {
    fn get(&self, field: FieldId) -> Value<'_> {
        let row = &FIELDS[field.0 as usize];
        *self.reads.borrow_mut().entry(row.0).or_default() += 1;
        self.values
            .get(row.0)
            .cloned()
            .unwrap_or_else(|| match (row.1, row.2) {
                (Type::Bool, false) => Value::Bool(false),
                (Type::Int, false) => Value::Int(0),
                (Type::String, false) => Value::Str("".into()),
                (Type::Ip, false) => Value::Ip("0.0.0.0/32".parse().unwrap()),
                (Type::Bool, true) => Value::BoolList(vec![].into()),
                (Type::Int, true) => Value::IntList(vec![].into()),
                (Type::String, true) => Value::StrList(vec![].into()),
                (Type::Ip, true) => Value::IpList(vec![].into()),
            })
    }

    fn iter_len(&self, iter: IterId) -> usize {
        self.lengths.get(&iter.0).copied().unwrap_or(0)
    }

    fn get_at(&self, field: FieldId, index: usize) -> Option<Value<'_>> {
        let row = &FIELDS[field.0 as usize];
        *self.reads.borrow_mut().entry(row.0).or_default() += 1;
        self.iterated.get(row.0)?.get(index).cloned()
    }
}

/// `${str}`, `${num}`, `${list}`.
pub struct TestVariables;

impl VariableScope for TestVariables {
    fn variable(&self, name: &str) -> Option<VariableInfo> {
        let (id, ty, list) = match name {
            "str" => (0, Type::String, false),
            "num" => (1, Type::Int, false),
            "list" => (2, Type::String, true),
            "flag" => (3, Type::Bool, false),
            _ => return None,
        };
        Some(VariableInfo {
            id: VariableId(id),
            ty,
            list,
        })
    }

    fn names(&self) -> Vec<String> {
        ["str", "num", "list", "flag"].map(str::to_owned).into()
    }
}

impl Variables for TestVariables {
    fn get(&self, id: VariableId, _: &dyn EventView) -> Value<'_> {
        match id.0 {
            0 => Value::Str("aaa".into()),
            1 => Value::Int(42),
            2 => Value::StrList(vec!["x".to_owned(), "y".to_owned()].into()),
            _ => Value::Bool(true),
        }
    }
}

pub const NOW: u64 = 1_000_000_000_000;

pub fn compile_with(source: &str, macros: &MacroSet) -> Result<Program, Error> {
    let tags = ["tag:a".to_owned()];
    let scope = Scope {
        variables: &TestVariables,
        rule_tags: &tags,
        ..Scope::new(&TestSchema, macros)
    };
    compile_condition(source, &scope)
}

pub fn compile(source: &str) -> Result<Program, Error> {
    compile_with(source, &MacroSet::default())
}

pub fn holds(program: &Program, event: &TestEvent) -> bool {
    program.matches(
        event,
        &EvalContext {
            now_ns: NOW,
            variables: &TestVariables,
        },
    )
}

/// Evaluates each expression and compares with what is expected; reports all that differ.
pub fn check(event: &TestEvent, cases: &[(&str, bool)]) {
    let mut wrong = Vec::new();
    for (source, expected) in cases {
        match compile(source) {
            Ok(program) if holds(&program, event) == *expected => {}
            Ok(_) => wrong.push(format!("{source}\n    should be {expected}")),
            Err(error) => wrong.push(error.render(source, "rule")),
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
