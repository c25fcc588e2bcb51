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
    Constant, EventView, FieldId, FieldInfo, IterId, OwnedValue, Schema, TextKind, Type, Validator,
    Value,
};
use atalaya_secl::{
    Error, EvalContext, MacroSet, Program, Scope, VariableId, VariableInfo, VariableScope,
    Variables, compile_condition,
};
use ipnet::IpNet;

pub const ANCESTORS: IterId = IterId(1);
pub const LIST: IterId = IterId(2);
pub const ARRAY: IterId = IterId(3);

/// One field of the schema.
struct Row {
    name: &'static str,
    ty: Type,
    list: bool,
    iter: Option<IterId>,
    text: TextKind,
    weight: u32,
    validator: Validator,
}

const fn one(name: &'static str, ty: Type) -> Row {
    Row {
        name,
        ty,
        list: false,
        iter: None,
        text: TextKind::Plain,
        weight: 0,
        validator: Validator::None,
    }
}

const fn list(name: &'static str, ty: Type) -> Row {
    Row {
        list: true,
        ..one(name, ty)
    }
}

impl Row {
    const fn below(self, iter: IterId) -> Self {
        Self {
            iter: Some(iter),
            ..self
        }
    }

    const fn text(self, text: TextKind) -> Self {
        Self { text, ..self }
    }

    const fn weight(self, weight: u32) -> Self {
        Self { weight, ..self }
    }

    const fn valid(self, validator: Validator) -> Self {
        Self { validator, ..self }
    }

    const fn path(name: &'static str) -> Self {
        one(name, Type::String)
            .text(TextKind::Path)
            .valid(Validator::Path)
    }
}

const FIELDS: &[Row] = &[
    one("process.name", Type::String),
    one("process.comm", Type::String),
    one("process.uid", Type::Int).valid(Validator::NonNegative),
    one("process.gid", Type::Int).valid(Validator::NonNegative),
    one("process.pid", Type::Int).valid(Validator::NonNegative),
    one("process.is_root", Type::Bool),
    one("process.created_at", Type::Int),
    list("process.argv", Type::String).weight(500),
    Row::path("process.file.path"),
    one("process.file.extension", Type::String).text(TextKind::Extension),
    one("process.ancestors.comm", Type::String).below(ANCESTORS),
    list("process.ancestors.argv", Type::String)
        .below(ANCESTORS)
        .weight(500),
    one("process.list.key", Type::Int).below(LIST),
    one("process.list.value", Type::String).below(LIST),
    one("process.array.key", Type::Int).below(ARRAY),
    one("process.array.value", Type::String).below(ARRAY),
    one("process.array.flag", Type::Bool).below(ARRAY),
    one("network.ip", Type::Ip),
    list("network.ips", Type::Ip),
    one("network.cidr", Type::Ip),
    list("event.rule.tags", Type::String),
    one("open.filename", Type::String),
    Row::path("open.file.path"),
    one("open.file.name", Type::String),
    list("open.file.hashes", Type::String).weight(999),
    one("open.flags", Type::Int),
    one("open.retval", Type::Int),
    one("open.opened_at", Type::Int),
    Row::path("rename.file.path"),
    one("rename.file.name", Type::String),
    Row::path("rename.file.destination.path"),
    one("rename.file.destination.name", Type::String),
    Row::path("exec.file.path"),
    one("dns.question.name", Type::String).text(TextKind::DnsName),
    one("mmap.flags", Type::Int),
    list("process.gids", Type::Int).valid(Validator::NonNegative),
    list("process.flags", Type::Bool),
    one("open.syscall.path", Type::String).text(TextKind::Path),
    one("open.file.modification_time", Type::Int),
    list("open.times", Type::Int),
    one("bpf.map.name", Type::String).valid(Validator::MaxLength(15)),
    one("packet.filter", Type::String).valid(Validator::PacketFilter),
    one("packet.size", Type::Int),
    list("dns.response.cnames", Type::String).text(TextKind::DnsName),
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
        let (index, row) = FIELDS
            .iter()
            .enumerate()
            .find(|(_, row)| row.name == name)?;
        let event = name
            .split('.')
            .next()
            .filter(|first| !matches!(*first, "process" | "network" | "event"));
        Some(FieldInfo {
            id: FieldId(u32::try_from(index).unwrap()),
            name: row.name.into(),
            ty: row.ty,
            list: row.list,
            iterator: row.iter,
            text: row.text,
            weight: row.weight,
            event: event.map(|event| Cow::Owned(event.to_owned())),
            restricted_to: &[],
            validator: row.validator,
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
        FIELDS.iter().map(|row| row.name.into()).collect()
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
        *self.reads.borrow_mut().entry(row.name).or_default() += 1;
        self.values
            .get(row.name)
            .cloned()
            .unwrap_or_else(|| zero(row.ty, row.list))
    }

    fn iter_len(&self, iter: IterId) -> usize {
        self.lengths.get(&iter.0).copied().unwrap_or(0)
    }

    fn get_at(&self, field: FieldId, index: usize) -> Option<Value<'_>> {
        let row = &FIELDS[field.0 as usize];
        *self.reads.borrow_mut().entry(row.name).or_default() += 1;
        self.iterated.get(row.name)?.get(index).cloned()
    }
}

fn zero(ty: Type, list: bool) -> Value<'static> {
    match (ty, list) {
        (Type::Bool, false) => Value::Bool(false),
        (Type::Int, false) => Value::Int(0),
        (Type::String, false) => Value::Str("".into()),
        (Type::Ip, false) => Value::Ip("0.0.0.0/32".parse().unwrap()),
        (Type::Bool, true) => Value::BoolList(vec![].into()),
        (Type::Int, true) => Value::IntList(vec![].into()),
        (Type::String, true) => Value::StrList(vec![].into()),
        (Type::Ip, true) => Value::IpList(vec![].into()),
    }
}

/// One variable of each type.
pub struct TestVariables;

/// Their names and values.
fn variables() -> [(&'static str, OwnedValue); 9] {
    let net = |text: &str| text.parse().unwrap();
    [
        ("str", OwnedValue::Str("aaa".to_owned())),
        ("num", OwnedValue::Int(42)),
        (
            "list",
            OwnedValue::StrList(vec!["x".to_owned(), "y".to_owned()]),
        ),
        ("flag", OwnedValue::Bool(true)),
        ("ip", OwnedValue::Ip(net("10.0.0.1/32"))),
        ("nums", OwnedValue::IntList(vec![1, 42])),
        (
            "ips",
            OwnedValue::IpList(vec![net("10.0.0.1/32"), net("192.168.0.0/16")]),
        ),
        ("flags", OwnedValue::BoolList(vec![false, false])),
        ("since", OwnedValue::Int(NOW as i64 - 2_000_000_000)),
    ]
}

static VARIABLES: std::sync::LazyLock<[(&str, OwnedValue); 9]> =
    std::sync::LazyLock::new(variables);

impl VariableScope for TestVariables {
    fn variable(&self, name: &str) -> Option<VariableInfo> {
        let index = VARIABLES.iter().position(|(known, _)| *known == name)?;
        let value = &VARIABLES[index].1;
        Some(VariableInfo {
            id: VariableId(u32::try_from(index).unwrap()),
            ty: value.ty(),
            list: value.is_list(),
        })
    }

    fn names(&self) -> Vec<String> {
        VARIABLES
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect()
    }
}

impl Variables for TestVariables {
    fn get(&self, id: VariableId, _: &dyn EventView) -> Value<'_> {
        VARIABLES[id.0 as usize].1.as_value()
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
