//! Time and memory are bounded, whatever the input. None of this measures: without the bounds, the tests would not end.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use atalaya_secl::model::{OwnedValue, Value};
use atalaya_secl::{EvalContext, MacroSet, Scope, compile_value, parse, parse_macro};
use common::{LIST, NOW, TestEvent, TestSchema, TestVariables, compile, compile_with, holds};

fn refused(source: &str, because: &str) {
    let error = compile(source).expect_err("refused");
    assert!(error.to_string().contains(because), "{error}");
    // Showing the error is bounded as well.
    assert!(error.render(source, "x").len() < 3000);
}

#[test]
fn long_expressions() {
    refused(&"a".repeat(10 << 20), "at most");
    refused(&"process.uid == 1 || ".repeat(1 << 19), "at most");
    refused(
        &format!("\"{}", "\\".repeat((1 << 20) - 1)),
        "without closing quote",
    );
    refused(&"[".repeat(1 << 19), "unexpected `[`");
    refused(&"a[".repeat(1 << 18), "unexpected `[`");
    refused(&format!("{}a", " \n\t#\n".repeat(1 << 17)), "not found");
    refused(&"&".repeat(1 << 18), "unexpected");
    refused(&"& ".repeat(1 << 18), "unexpected");
    refused(&":".repeat(1 << 19), "invalid IP");
    refused(&"9".repeat(1 << 19), "out of range");
    refused(&format!("{}s", "9".repeat(1 << 19)), "out of range");
}

#[test]
fn long_lists() {
    let names: Vec<_> = (0..50_000).map(|index| format!("\"n{index}\"")).collect();
    let source = format!("process.name in [{}]", names.join(","));
    let program = compile(&source).unwrap();
    assert!(holds(
        &program,
        &TestEvent::new().str("process.name", "n49999")
    ));
    assert!(!holds(
        &program,
        &TestEvent::new().str("process.name", "n50000")
    ));
    let numbers = "process.uid in [".to_owned() + &"1,".repeat(250_000) + "2]";
    refused(&numbers, "more than 200000 parts");
}

#[test]
fn regexps() {
    for (regexp, because) in [
        ("(((a{100}){100}){100}){100}", "too large"),
        ("a{1000000}", "invalid repeat count"),
        (r"(\\pL{100}){100}", "too large"),
        ("((((((((((x*)*)*)*)*)*)*)*)*){1000}){1000}", "too large"),
    ] {
        refused(
            &format!("process.name == r\"{}\"", regexp.replace("\\\\", "\\")),
            because,
        );
    }
    refused(
        &format!("process.name == r\"{}\"", "(".repeat(10_000)),
        "regexp",
    );
    // Each is small enough, all together are not.
    let many = vec!["r\"[a-z]{900}\""; 1000].join(", ");
    refused(&format!("process.name in [{many}]"), "too large together");
    refused(
        &vec!["\"a\" == r\"[a-z]{900}\""; 1000].join(" || "),
        "too large together",
    );
    // What makes other engines try for ever.
    let program =
        compile(r#"process.name == r"^(a+)+$" || process.name == r"(a|aa)+(a|aa)+b""#).unwrap();
    let text = "a".repeat(100_000) + "!";
    assert!(!holds(
        &program,
        &TestEvent::new().str("process.name", &text)
    ));
}

#[test]
fn patterns_with_many_stars() {
    // Each part is searched once, from where the last one ended.
    let pattern = "*a".repeat(20_000) + "*b";
    let program = compile(&format!("process.name =~ \"{pattern}\"")).unwrap();
    let text = "a".repeat(1 << 20);
    assert!(!holds(
        &program,
        &TestEvent::new().str("process.name", &text)
    ));
    assert!(holds(
        &program,
        &TestEvent::new().str("process.name", &(text + "b"))
    ));
    let glob = "/*a*a*a*a*a*a*a*a".repeat(1000);
    let program = compile(&format!("open.file.path =~ \"{glob}\"")).unwrap();
    let path = format!("/{}", "a".repeat(255)).repeat(1000);
    assert!(holds(
        &program,
        &TestEvent::new().str("open.file.path", &path)
    ));
    assert!(!holds(
        &program,
        &TestEvent::new().str("open.file.path", &(path + "/"))
    ));
    let deep = compile(&format!("open.file.path =~ \"/**/{}x\"", "a/".repeat(1000))).unwrap();
    let path = "/a".repeat(100_000);
    assert!(!holds(
        &deep,
        &TestEvent::new().str("open.file.path", &path)
    ));
}

#[test]
fn strings_of_references() {
    let source = format!("\"{}\" == \"x\"", "%{process.name}".repeat(200));
    refused(&source, "references in one string");
    let macros = MacroSet::default();
    let scope = Scope::new(&TestSchema, &macros);
    let program = compile_value(&format!("\"{}\"", "%{process.argv}-".repeat(40)), &scope).unwrap();
    let arguments: Vec<String> = vec!["0123456789".to_owned(); 100_000];
    let event = TestEvent::new().with("process.argv", Value::StrList(arguments.into()));
    let context = EvalContext {
        now_ns: NOW,
        variables: &TestVariables,
    };
    let OwnedValue::Str(text) = program.evaluate(&event, &context) else {
        panic!("a string")
    };
    assert!(text.len() < 70_000, "{}", text.len());
}

#[test]
fn lists_times_lists() {
    refused(
        "process.list.key + process.list.key + process.list.key + process.list.key == 7",
        "between two lists",
    );
    // Two lists are compared pair by pair, and no more than two.
    let program = compile("process.list.key - 1 > process.gids + 1").unwrap();
    let event = TestEvent::new()
        .each(LIST, "process.list.key", vec![Value::Int(1); 2000])
        .with("process.gids", Value::IntList(vec![5; 2000].into()));
    assert!(!holds(&program, &event));
}

#[test]
fn deep_nesting() {
    for (open, close) in [
        ("(", ")"),
        ("!", ""),
        ("- ", ""),
        ("^", ""),
        ("not ", ""),
        ("1 | ", ""),
        ("1 == ", ""),
        ("1 + ", ""),
        ("true && true || ", ""),
        ("!(1 == (", "))"),
    ] {
        let source = open.repeat(50_000) + "1" + &close.repeat(50_000);
        let error = parse(&source).unwrap_err();
        assert!(
            error.to_string().contains("nested deeper"),
            "{open}: {error}"
        );
        assert_eq!(parse_macro(&source).unwrap_err(), error);
    }
}

#[test]
fn macros_of_macros() {
    let mut macros = MacroSet::default();
    let mut define =
        |name: &str, source: &str| macros.define(name, source, &TestSchema, &TestVariables);
    define("m0", &format!("process.uid in [{}1]", "1,".repeat(10_000))).unwrap();
    // Each level uses the last one ten times.
    let mut failed = None;
    for level in 1..10 {
        let body = vec![format!("m{}", level - 1); 10].join(" || ");
        failed = failed.or(define(&format!("m{level}"), &body).err());
    }
    let error = failed.expect("refused");
    assert!(
        error.to_string().contains("more than 200000 parts"),
        "{error}"
    );
    // Many macros that are each small enough.
    let last = (0..1000).find_map(|index| define(&format!("n{index}"), "m1 && true").err());
    let error = last.expect("refused");
    assert!(
        error
            .to_string()
            .contains("macros of more than 2000000 parts"),
        "{error}"
    );
    compile_with("m1", &macros).unwrap();
}

#[test]
fn many_unknown_names() {
    let source = (0..20_000)
        .map(|index| format!("unknown.field{index} == 1"))
        .collect::<Vec<_>>()
        .join(" || ");
    refused(&source, "field `unknown.field0` not found");
    refused(&format!("{} == 1", "a.".repeat(1 << 18)), "not found");
}
