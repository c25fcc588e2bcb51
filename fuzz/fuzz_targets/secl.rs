//! Any text is parsed or refused: no panic, no endless loop, no deep stack. What parses prints as text that parses to the
//! same tree; what compiles evaluates.
#![no_main]

use std::borrow::Cow;

use atalaya_secl::model::{
    Constant, EventView, FieldId, FieldInfo, IterId, Schema, TextKind, Type, Validator, Value,
};
use atalaya_secl::{
    EvalContext, MacroSet, NoVariables, Scope, compile_condition, parse, parse_macro,
};
use libfuzzer_sys::fuzz_target;

/// One-letter names, so that the fuzzer finds them: `s`, `i`, `b`, `a` (scalars), `S`, `I` (lists), `p` (path), `d` (host name),
/// `o.file.path`, `t.k` (iterated).
struct Letters;

const FIELDS: [(&str, Type, bool, TextKind, Option<IterId>); 10] = [
    ("s", Type::String, false, TextKind::Plain, None),
    ("i", Type::Int, false, TextKind::Plain, None),
    ("b", Type::Bool, false, TextKind::Plain, None),
    ("a", Type::Ip, false, TextKind::Plain, None),
    ("S", Type::String, true, TextKind::Plain, None),
    ("I", Type::Int, true, TextKind::Plain, None),
    ("p", Type::String, false, TextKind::Path, None),
    ("d", Type::String, false, TextKind::DnsName, None),
    ("open.file.path", Type::String, false, TextKind::Path, None),
    ("t.k", Type::Int, false, TextKind::Plain, Some(IterId(0))),
];

impl Schema for Letters {
    fn field(&self, name: &str) -> Option<FieldInfo> {
        let index = FIELDS.iter().position(|field| field.0 == name)?;
        let (name, ty, list, text, iterator) = FIELDS[index];
        Some(FieldInfo {
            id: FieldId(index as u32),
            name: name.into(),
            ty,
            list,
            iterator,
            text,
            weight: 0,
            event: (name == "open.file.path").then_some("open".into()),
            restricted_to: &[],
            validator: Validator::None,
            unavailable: None,
        })
    }
    fn iterator(&self, name: &str) -> Option<IterId> {
        (name == "t").then_some(IterId(0))
    }
    fn constant(&self, name: &str) -> Option<Constant> {
        match name {
            "T" => Some(Constant::Bool(true)),
            "N" => Some(Constant::Int(64)),
            _ => None,
        }
    }
    fn field_names(&self) -> Vec<Cow<'static, str>> {
        FIELDS.iter().map(|field| field.0.into()).collect()
    }
    fn constant_names(&self) -> Vec<Cow<'static, str>> {
        vec!["T".into(), "N".into()]
    }
}

struct Event;

impl EventView for Event {
    fn get(&self, field: FieldId) -> Value<'_> {
        match field.0 {
            1 => Value::Int(7),
            2 => Value::Bool(true),
            3 => Value::Ip("10.0.0.1/32".parse().unwrap()),
            4 => Value::StrList(vec!["x".to_owned(), "yy".to_owned()].into()),
            5 => Value::IntList(vec![1, 2].into()),
            _ => Value::Str("/a/b.c".into()),
        }
    }
    fn iter_len(&self, _: IterId) -> usize {
        3
    }
    fn get_at(&self, _: FieldId, index: usize) -> Option<Value<'_>> {
        (index < 3).then_some(Value::Int(index as i64))
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(source) = std::str::from_utf8(data) else {
        return;
    };
    let _ = parse_macro(source);
    match parse(source) {
        Ok(tree) => {
            let printed = tree.to_string();
            let again = parse(&printed).expect("what was printed parses");
            assert_eq!(printed, again.to_string());
        }
        Err(error) => {
            let _ = error.render(source, "fuzz");
        }
    }
    let macros = MacroSet::default();
    match compile_condition(source, &Scope::new(&Letters, &macros)) {
        Ok(program) => {
            program.matches(
                &Event,
                &EvalContext {
                    now_ns: 1,
                    variables: &NoVariables,
                },
            );
        }
        Err(error) => {
            let _ = error.render(source, "fuzz");
        }
    }
});
