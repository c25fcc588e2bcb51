//! What holds for any input.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use atalaya_secl::model::Value;
use atalaya_secl::{Condition, MacroSet, Necessary, Program, Target, parse, parse_macro};
use common::{TestEvent, TestSchema, TestVariables, compile, compile_with, holds};
use proptest::prelude::*;

/// Text that looks like the language.
fn fragments() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "process.uid",
        "process.name",
        "open.file.path",
        "open.flags",
        "process.list[A].key",
        "process.list.key",
        "process.argv",
        "network.ip",
        "O_CREAT",
        "true",
        "${num}",
        "%{process.pid}",
        "\"a\"",
        "~\"/a/*\"",
        "r\"a.*\"",
        "1",
        "-1",
        "0644",
        "5s",
        "10.0.0.1",
        "10.0.0.0/8",
        "::1",
        "==",
        "!=",
        "<",
        ">=",
        "=~",
        "!~",
        "in",
        "not in",
        "allin",
        "&&",
        "||",
        "and",
        "or",
        "not",
        "!",
        "-",
        "^",
        "&",
        "|",
        "+",
        "(",
        ")",
        "[",
        "]",
        ",",
        "=",
        "#x\n",
        "\"${str}\"",
        "\"",
        "\\",
        "'",
        "~",
        "é",
        "process.list[",
        "0x",
        "9999999999999999999",
    ]);
    prop::collection::vec(words, 0..30).prop_map(|words| words.join(" "))
}

/// A condition that compiles.
fn condition() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "process.uid == 1",
        "process.name =~ \"a*\"",
        "open.flags & (O_CREAT | O_TRUNC) > 0",
        "process.argv in [\"a\", ~\"b*\"]",
        "process.list.key - 3 >= 10",
        "network.ip in [10.0.0.0/8, ::1]",
        "not process.is_root",
        "open.file.name == r\"a|b\"",
        "process.created_at < 5s",
        "${flag}",
        "\"%{process.name}\" != \"x\"",
        "process.list[A].key == 3",
        "1 == (2)",
    ]);
    leaf.prop_map(str::to_owned)
        .prop_recursive(6, 40, 4, |inner| {
            prop_oneof![
                (
                    inner.clone(),
                    prop::sample::select(vec!["&&", "||", "and", "or"]),
                    inner.clone()
                )
                    .prop_map(|(left, op, right)| format!("{left} {op} {right}")),
                inner.clone().prop_map(|inner| format!("({inner})")),
                inner.prop_map(|inner| format!("!({inner})")),
            ]
        })
}

/// A file rule: conditions that approvers come from, and others.
fn file_rule() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        r#"open.file.path == "/a/b""#,
        r#""/a/b/c" == open.file.path"#,
        r#"open.file.path != "/a/b""#,
        r#"open.file.path in ["/a/b", ~"/b/*", ~"/c/**"]"#,
        r#"open.file.path not in ["/a/b", ~"/b/*"]"#,
        r#"open.file.path =~ "/a/**""#,
        r#"open.file.path =~ "/*/b/c""#,
        r#"open.file.path =~ "/a/*/c/**""#,
        r#"open.file.path =~ "/a/**/c""#,
        r#"open.file.path =~ "/**/b/c""#,
        r#"open.file.path =~ "/a/b*""#,
        r#"open.file.path =~ "*/b/c""#,
        r#"open.file.path =~ "/*""#,
        r#"open.file.path =~ "/**""#,
        r#"open.file.path =~ "/a*/c""#,
        r#"open.file.path !~ "/a/*""#,
        r#"open.file.name == r"c$""#,
        r#"open.file.path == """#,
        r#"open.file.path == "%{process.name}""#,
        r#"open.file.path in ["/a/b", "${str}"]"#,
        r#"open.file.name == "b""#,
        r#"open.file.name in ["c", "a"]"#,
        r#"open.file.name =~ "b*""#,
        r#"open.file.name in names"#,
        "is_b",
        "open.flags & O_CREAT > 0",
        "O_CREAT & open.flags > 0",
        "open.flags & (O_CREAT|O_TRUNC) != 0",
        "open.flags & (O_CREAT|O_RDWR) == O_CREAT",
        "open.flags & O_RDWR == 0",
        "0 < open.flags & O_RDWR",
        "open.flags == O_CREAT",
        "open.flags != O_CREAT",
        "open.flags in [ O_CREAT, O_RDWR ]",
        "open.flags in [ O_RDONLY, O_RDWR ]",
        "open.flags >= 64",
        "open.flags > -1",
        "open.flags | O_CREAT > 0",
        "open.flags & -1 > 0",
        "process.uid == 0",
        "process.is_root",
        "true",
        "false",
        "open.retval == 0",
    ]);
    leaf.prop_map(str::to_owned)
        .prop_recursive(5, 24, 3, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone())
                    .prop_map(|(left, right)| format!("({left}) && ({right})")),
                (inner.clone(), inner.clone())
                    .prop_map(|(left, right)| format!("({left}) || ({right})")),
                (
                    inner.clone(),
                    prop::sample::select(vec!["&&", "||"]),
                    inner.clone()
                )
                    .prop_map(|(left, op, right)| format!("{left} {op} {right}")),
                inner.clone().prop_map(|inner| format!("({inner}) == true")),
                inner.clone().prop_map(|inner| format!("({inner}) != true")),
                inner.prop_map(|inner| format!("!({inner})")),
            ]
        })
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "bb"]), 0..4).prop_map(
        |elements| {
            if elements.is_empty() {
                String::new()
            } else {
                format!("/{}", elements.join("/"))
            }
        },
    )
}

fn with_file(event: TestEvent, prefix: &'static str, path: &str) -> TestEvent {
    let (path_field, name_field) = match prefix {
        "open" => ("open.file.path", "open.file.name"),
        "rename" => ("rename.file.path", "rename.file.name"),
        _ => (
            "rename.file.destination.path",
            "rename.file.destination.name",
        ),
    };
    event
        .str(path_field, path)
        .str(name_field, path.rsplit('/').next().unwrap())
}

/// What the kernel does with a condition.
fn accepts(program: &Program, paths: &[&str], flags: u32) -> bool {
    let Necessary::AnyOf(conditions) = program.necessary() else {
        return true;
    };
    conditions.iter().any(
        |Condition {
             target,
             flags: mask,
         }| {
            (*mask == 0 || flags & mask != 0)
                && paths.iter().any(|path| match target {
                    Target::Any => true,
                    // Of events that are about no file.
                    Target::Number { .. } => false,
                    Target::Path(wanted) => wanted == path,
                    Target::Basename(name) => path.rsplit('/').next() == Some(name),
                    Target::Directory {
                        path: dir,
                        recursive,
                    } => {
                        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                        let parent = if parent.is_empty() { "/" } else { parent };
                        parent == dir || *recursive && parent.starts_with(&format!("{dir}/"))
                    }
                })
        },
    )
}

fn macros() -> MacroSet {
    let mut macros = MacroSet::default();
    macros
        .define("names", r#"["a", "b"]"#, &TestSchema, &TestVariables)
        .unwrap();
    macros
        .define(
            "is_b",
            r#"open.file.path == "/b" || open.file.name in names"#,
            &TestSchema,
            &TestVariables,
        )
        .unwrap();
    macros
}

/// The places differ, the rest must not.
fn same_shape(source: &str) {
    if let Ok(expr) = parse(source) {
        let printed = expr.to_string();
        let again = parse(&printed)
            .unwrap_or_else(|error| panic!("{source}\nprints as {printed}\n{error}"));
        assert_eq!(printed, again.to_string(), "{source}");
    }
}

fn config() -> ProptestConfig {
    // A failed case is shown as an expression, which is as good as a regression file.
    ProptestConfig {
        cases: 3000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_text_is_parsed_or_refused(source in ".*") {
        let _ = parse_macro(&source);
        if let Err(error) = compile(&source) {
            let _ = error.render(&source, "x");
        }
    }

    #[test]
    fn any_words_are_compiled_or_refused(source in fragments()) {
        let _ = parse_macro(&source);
        same_shape(&source);
        match compile(&source) {
            Ok(program) => { holds(&program, &TestEvent::new()); }
            Err(error) => { let _ = error.render(&source, "x"); }
        }
    }

    #[test]
    fn what_is_printed_means_the_same(source in condition(), uid in 0_i64..3, key in 0_i64..20, flags in 0_i64..1024) {
        same_shape(&source);
        let printed = parse(&source).unwrap().to_string();
        let event = TestEvent::new()
            .int("process.uid", uid)
            .int("open.flags", flags)
            .each(common::LIST, "process.list.key", vec![Value::Int(key)]);
        let first = compile(&source).unwrap_or_else(|error| panic!("{}", error.render(&source, "x")));
        prop_assert_eq!(holds(&first, &event), holds(&compile(&printed).unwrap(), &event), "{}", source);
    }

    #[test]
    fn approvers_reject_no_match(
        source in file_rule(),
        paths in prop::collection::vec(path(), 1..12),
        flags in prop::sample::select(vec![0_u32, 1, 2, 64, 65, 66, 128, 512, 577, 642]),
        uid in 0_i64..2,
    ) {
        let program = compile_with(&format!("({source}) && open.retval == 0"), &macros()).unwrap();
        for path in &paths {
            let event = with_file(TestEvent::new(), "open", path)
                .int("open.flags", i64::from(flags))
                .int("process.uid", uid)
                .str("process.name", "/a/c");
            if holds(&program, &event) {
                prop_assert!(accepts(&program, &[path], flags), "{}\nmatches {} {}\nbut {:?}", source, path, flags, program.necessary());
            }
        }
    }

    #[test]
    fn approvers_take_either_file(source in file_rule(), second in file_rule(), from in path(), to in path()) {
        let source = format!(
            "({}) || ({}) && rename.file.path != \"/never\"",
            source.replace("open.file", "rename.file").replace("is_b", "true"),
            second.replace("open.file", "rename.file.destination").replace("is_b", "true"),
        );
        // Flags are the open event's.
        let source = source.replace("open.flags", "process.uid").replace("open.retval", "process.gid");
        let program = compile_with(&source, &macros()).unwrap();
        let event = with_file(with_file(TestEvent::new(), "rename", &from), "destination", &to);
        if holds(&program, &event) {
            prop_assert!(accepts(&program, &[&from, &to], 0), "{}\n{:?}", source, program.necessary());
        }
    }
}

#[test]
fn conditions_are_found() {
    let path = |path: &str, flags| Condition {
        target: Target::Path(path.to_owned()),
        flags,
    };
    let name = |name: &str, flags| Condition {
        target: Target::Basename(name.to_owned()),
        flags,
    };
    let dir = |path: &str, recursive, flags| Condition {
        target: Target::Directory {
            path: path.to_owned(),
            recursive,
        },
        flags,
    };
    let any = |flags| Condition {
        target: Target::Any,
        flags,
    };
    let cases: Vec<(&str, Option<Vec<Condition>>)> = vec![
        (r#"open.file.path == "/a/b""#, Some(vec![path("/a/b", 0)])),
        (
            r#"open.file.path == "/a/b" && open.flags & O_CREAT > 0"#,
            Some(vec![path("/a/b", 64)]),
        ),
        (
            r#"open.flags & (O_CREAT|O_TRUNC) != 0 && open.file.name == "x" && process.uid == 0"#,
            Some(vec![name("x", 576)]),
        ),
        (
            r#"open.file.path =~ "/a/b/*""#,
            Some(vec![dir("/a/b", false, 0)]),
        ),
        (
            r#"open.file.path =~ "/a/b/x*""#,
            Some(vec![dir("/a/b", false, 0)]),
        ),
        (
            r#"open.file.path =~ "/a/b/**""#,
            Some(vec![dir("/a/b", true, 0)]),
        ),
        (r#"open.file.path =~ "/a/*/c""#, Some(vec![name("c", 0)])),
        (
            r#"open.file.path =~ "/a/*/c*""#,
            Some(vec![dir("/a", true, 0)]),
        ),
        (r#"open.file.path =~ "/*""#, Some(vec![dir("/", false, 0)])),
        (r#"open.file.path =~ "/a/**/b/c""#, Some(vec![name("c", 0)])),
        (r#"open.file.path =~ "/**""#, None),
        (
            r#"open.file.name == "x" || open.flags & O_TRUNC > 0"#,
            Some(vec![name("x", 0), any(512)]),
        ),
        (r#"open.file.name == "x" || process.uid == 0"#, None),
        (r#"open.file.name != "x" && open.retval == 0"#, None),
        (r#"!(open.file.name == "x") && open.retval == 0"#, None),
        (
            r#"!(open.file.name != "x") && open.retval == 0"#,
            Some(vec![name("x", 0)]),
        ),
        ("open.flags == O_CREAT", Some(vec![any(64)])),
        ("open.flags > 0", None),
        ("open.retval == 0 && false", Some(vec![])),
        (r#"open.file.name == r"x""#, None),
        (r#"exec.file.path == "/x""#, None),
    ];
    for (source, expected) in cases {
        let program = compile(source).unwrap();
        let mut found = match program.necessary() {
            Necessary::Unknown => None,
            Necessary::AnyOf(conditions) => Some(conditions.clone()),
        };
        if let Some(found) = &mut found {
            found.sort_by_key(|condition| matches!(condition.target, Target::Any));
        }
        assert_eq!(found, expected, "{source}");
    }
}
