//! Expressions for their value.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use atalaya_secl::model::{OwnedValue, Type, Value};
use atalaya_secl::{EvalContext, MacroSet, Scope, ValueProgram, compile_value};
use common::{ANCESTORS, LIST, NOW, TestEvent, TestSchema, TestVariables};

fn compile(source: &str) -> Result<ValueProgram, atalaya_secl::Error> {
    let macros = MacroSet::default();
    let scope = Scope {
        variables: &TestVariables,
        ..Scope::new(&TestSchema, &macros)
    };
    compile_value(source, &scope)
}

fn event() -> TestEvent {
    TestEvent::new()
        .int("process.pid", 77)
        .int("process.uid", 1)
        .str("process.comm", "cat")
        .list("process.argv", &["a", "b"])
        .ip("network.ip", "10.0.0.1")
        .each(
            LIST,
            "process.list.key",
            vec![Value::Int(10), Value::Int(20)],
        )
        .each(
            ANCESTORS,
            "process.ancestors.comm",
            vec![Value::Str("sh".into()), Value::Str("init".into())],
        )
}

#[test]
fn values() {
    let text = |text: &str| OwnedValue::Str(text.to_owned());
    let texts = |list: &[&str]| OwnedValue::StrList(list.iter().map(|&text| text.into()).collect());
    let net = |text: &str| text.parse().unwrap();
    for (source, expected) in [
        ("3", OwnedValue::Int(3)),
        ("5s", OwnedValue::Int(5_000_000_000)),
        ("${num} + 1", OwnedValue::Int(43)),
        ("process.uid | 6", OwnedValue::Int(7)),
        ("-process.pid", OwnedValue::Int(-77)),
        ("O_CREAT", OwnedValue::Int(64)),
        ("true", OwnedValue::Bool(true)),
        ("process.uid == 1 && ${flag}", OwnedValue::Bool(true)),
        ("process.list[A].key == 20", OwnedValue::Bool(true)),
        ("${flag}", OwnedValue::Bool(true)),
        (r#""plain""#, text("plain")),
        (r#""p_${process.pid}_%{process.comm}""#, text("p_77_cat")),
        ("process.comm", text("cat")),
        ("${str}", text("aaa")),
        ("process.argv", texts(&["a", "b"])),
        ("process.argv[1]", text("b")),
        ("process.argv[9]", text("")),
        ("process.argv.length", OwnedValue::Int(2)),
        ("process.ancestors.comm", texts(&["sh", "init"])),
        ("process.list.key", OwnedValue::IntList(vec![10, 20])),
        ("process.list.key + 1", OwnedValue::IntList(vec![11, 21])),
        ("process.ancestors.argv", texts(&[])),
        ("[1, 2]", OwnedValue::IntList(vec![1, 2])),
        (r#"["a", "${str}"]"#, texts(&["a", "aaa"])),
        ("10.0.0.1", OwnedValue::Ip(net("10.0.0.1/32"))),
        ("[10.0.0.0/8]", OwnedValue::IpList(vec![net("10.0.0.0/8")])),
        ("network.ip", OwnedValue::Ip(net("10.0.0.1/32"))),
        ("mmap.flags", OwnedValue::Int(0)),
    ] {
        let program =
            compile(source).unwrap_or_else(|error| panic!("{}", error.render(source, "x")));
        let context = EvalContext {
            now_ns: NOW,
            variables: &TestVariables,
        };
        let value = program.evaluate(&event(), &context);
        assert_eq!(value, expected, "{source}");
        assert_eq!(
            (program.ty(), program.is_list()),
            (value.ty(), value.is_list()),
            "{source}"
        );
        // Nothing in the event: the type stays.
        let empty = program.evaluate(&TestEvent::new(), &context);
        assert_eq!(
            (program.ty(), program.is_list()),
            (empty.ty(), empty.is_list()),
            "{source}"
        );
    }
}

#[test]
fn what_it_reads() {
    let program = compile(r#""%{open.filename}:${process.pid}""#).unwrap();
    assert_eq!(
        (program.event_type(), program.ty()),
        (Some("open"), Type::String)
    );
    let names: Vec<_> = program
        .fields()
        .iter()
        .map(|field| field.name.as_ref())
        .collect();
    assert_eq!(names, ["open.filename", "process.pid"]);
}

#[test]
fn errors() {
    for (source, expected) in [
        (r#"~"a*""#, "1:1: type error: a pattern is no value"),
        (r#"["a", r"b"]"#, "1:1: type error: a regexp is no value"),
        (
            "process.list[A].key",
            "1:1: iterator variable 'A' has no meaning in a value",
        ),
        ("${nope} + 1", "1:1: variable `nope` doesn't exist"),
        (
            "process.comm + 1",
            "1:1: type error: expected an integer, found a string",
        ),
        (
            "open.flags == exec.file.path",
            "1:15: rule with multiple events is not supported: `open` and `exec`",
        ),
        ("", "1:1: syntax error: the expression is empty"),
    ] {
        assert_eq!(
            compile(source).unwrap_err().to_string(),
            expected,
            "{source}"
        );
    }
}
