//! Any text is parsed or refused: no panic, no endless loop, no deep stack. What parses prints as text that parses to the
//! same tree; what compiles evaluates, as a condition and as a value, and can be checked for traps.
#![no_main]

use std::borrow::Cow;

use atalaya_secl::lint::lint;
use atalaya_secl::model::{
    Constant, EventView, FieldId, FieldInfo, IterId, OwnedValue, Schema, TextKind, Type, Validator,
    Value,
};
use atalaya_secl::{
    EvalContext, Expr, ExprKind, MacroSet, Scope, Span, VariableId, VariableInfo, VariableScope,
    Variables, compile_condition, compile_value, parse, parse_macro,
};
use libfuzzer_sys::fuzz_target;

/// One-letter names, so that the fuzzer finds them: `s`, `i`, `b`, `a` (scalars), `S`, `I`, `A`, `B` (lists), `p` (path), `d` (host
/// name), `e` (extension), `f` (packet filter), `o.file.path`, `t.k`, `t.S` (iterated).
struct Letters;

type Row = (&'static str, Type, bool, TextKind, Validator, bool);

#[rustfmt::skip]
const FIELDS: [Row; 15] = [
    ("s", Type::String, false, TextKind::Plain, Validator::MaxLength(9), false),
    ("i", Type::Int, false, TextKind::Plain, Validator::NonNegative, false),
    ("b", Type::Bool, false, TextKind::Plain, Validator::None, false),
    ("a", Type::Ip, false, TextKind::Plain, Validator::None, false),
    ("S", Type::String, true, TextKind::Plain, Validator::None, false),
    ("I", Type::Int, true, TextKind::Plain, Validator::None, false),
    ("A", Type::Ip, true, TextKind::Plain, Validator::None, false),
    ("B", Type::Bool, true, TextKind::Plain, Validator::None, false),
    ("p", Type::String, false, TextKind::Path, Validator::Path, false),
    ("d", Type::String, false, TextKind::DnsName, Validator::None, false),
    ("e", Type::String, false, TextKind::Extension, Validator::None, false),
    ("f", Type::String, false, TextKind::Plain, Validator::PacketFilter, false),
    ("open.file.path", Type::String, false, TextKind::Path, Validator::Path, false),
    ("t.k", Type::Int, false, TextKind::Plain, Validator::None, true),
    ("t.S", Type::String, true, TextKind::Plain, Validator::None, true),
];

impl Schema for Letters {
    fn field(&self, name: &str) -> Option<FieldInfo> {
        let index = FIELDS.iter().position(|field| field.0 == name)?;
        let (name, ty, list, text, validator, iterated) = FIELDS[index];
        Some(FieldInfo {
            id: FieldId(index as u32),
            name: name.into(),
            ty,
            list,
            iterator: iterated.then_some(IterId(0)),
            text,
            weight: 0,
            event: (name == "open.file.path").then_some("open".into()),
            restricted_to: &[],
            validator,
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
            "C" => Some(Constant::String("c".to_owned())),
            _ => None,
        }
    }
    fn field_names(&self) -> Vec<Cow<'static, str>> {
        FIELDS.iter().map(|field| field.0.into()).collect()
    }
    fn constant_names(&self) -> Vec<Cow<'static, str>> {
        vec!["T".into(), "N".into(), "C".into()]
    }
}

/// A value of each type.
fn sample(ty: Type, list: bool) -> OwnedValue {
    let net = || "10.0.0.1/32".parse().unwrap();
    match (ty, list) {
        (Type::Bool, false) => OwnedValue::Bool(true),
        (Type::Int, false) => OwnedValue::Int(7),
        (Type::String, false) => OwnedValue::Str("/a/b.c".to_owned()),
        (Type::Ip, false) => OwnedValue::Ip(net()),
        (Type::Bool, true) => OwnedValue::BoolList(vec![true, false]),
        (Type::Int, true) => OwnedValue::IntList(vec![1, 2]),
        (Type::String, true) => OwnedValue::StrList(vec!["x".to_owned(), "yy".to_owned()]),
        (Type::Ip, true) => OwnedValue::IpList(vec![net(), net()]),
    }
}

fn owned(value: OwnedValue) -> Value<'static> {
    match value {
        OwnedValue::Bool(value) => Value::Bool(value),
        OwnedValue::Int(value) => Value::Int(value),
        OwnedValue::Str(text) => Value::Str(text.into()),
        OwnedValue::Ip(net) => Value::Ip(net),
        OwnedValue::BoolList(list) => Value::BoolList(list.into()),
        OwnedValue::IntList(list) => Value::IntList(list.into()),
        OwnedValue::StrList(list) => Value::StrList(list.into()),
        OwnedValue::IpList(list) => Value::IpList(list.into()),
    }
}

struct Event;

impl EventView for Event {
    fn get(&self, field: FieldId) -> Value<'_> {
        let row = &FIELDS[field.0 as usize];
        owned(sample(row.1, row.2))
    }
    fn iter_len(&self, _: IterId) -> usize {
        3
    }
    fn get_at(&self, field: FieldId, index: usize) -> Option<Value<'_>> {
        (index < 3).then(|| self.get(field))
    }
}

/// `${n}`, `${v}`, … : one letter for each type.
struct Vars;

const VARIABLES: [(&str, Type, bool); 6] = [
    ("n", Type::Int, false),
    ("v", Type::String, false),
    ("b", Type::Bool, false),
    ("a", Type::Ip, false),
    ("L", Type::String, true),
    ("A", Type::Ip, true),
];

impl VariableScope for Vars {
    fn variable(&self, name: &str) -> Option<VariableInfo> {
        let index = VARIABLES.iter().position(|row| row.0 == name)?;
        Some(VariableInfo {
            id: VariableId(index as u32),
            ty: VARIABLES[index].1,
            list: VARIABLES[index].2,
        })
    }
    fn names(&self) -> Vec<String> {
        VARIABLES.iter().map(|row| row.0.to_owned()).collect()
    }
}

impl Variables for Vars {
    fn get(&self, id: VariableId, _: &dyn EventView) -> Value<'_> {
        let (_, ty, list) = VARIABLES[id.0 as usize];
        owned(sample(ty, list))
    }
}

/// The tree without places.
fn without_places(mut expr: Expr) -> Expr {
    fn walk(expr: &mut Expr) {
        expr.span = Span::default();
        match &mut expr.kind {
            ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => walk(inner),
            ExprKind::Arith(_, left, right) | ExprKind::Compare(_, left, right) => {
                walk(left);
                walk(right);
            }
            ExprKind::Logical(_, items) | ExprKind::List(items) => items.iter_mut().for_each(walk),
            _ => {}
        }
    }
    walk(&mut expr);
    expr
}

fuzz_target!(|data: &[u8]| {
    let Ok(source) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(tree) = parse_macro(source) {
        let printed = tree.to_string();
        let again = parse_macro(&printed).expect("what was printed parses");
        assert_eq!(without_places(tree), without_places(again), "{printed}");
    }
    let mut macros = MacroSet::default();
    let _ = macros.define("m", source, &Letters, &Vars);
    let scope = Scope {
        variables: &Vars,
        ..Scope::new(&Letters, &macros)
    };
    let context = EvalContext {
        now_ns: 1,
        variables: &Vars,
    };
    if let Ok(tree) = parse(source) {
        let _ = lint(&tree, &scope);
    }
    match compile_condition(source, &scope) {
        Ok(program) => {
            program.matches(&Event, &context);
        }
        Err(error) => {
            assert!(error.render(source, "fuzz").len() < 4000);
        }
    }
    if let Ok(program) = compile_value(source, &scope) {
        let value = program.evaluate(&Event, &context);
        assert_eq!(
            (value.ty(), value.is_list()),
            (program.ty(), program.is_list())
        );
    }
});
