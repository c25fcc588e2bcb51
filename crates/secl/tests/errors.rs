//! What is said about expressions that are wrong.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use atalaya_secl::{MacroSet, Scope, compile_rule, parse};
use common::{TestSchema, compile};

#[test]
fn places_and_messages() {
    let cases = [
        // Columns of type errors are those of the right operand, as in the reference.
        (
            r#"process.name != "/usr/bin/vipw" && process.uid != 0 && open.filename == 3"#,
            "1:73: type error: expected a string, found an integer",
        ),
        (
            r#"process.name != "/usr/bin/vipw" && process.uid != "test" && open.filename == "/etc/shadow""#,
            "1:51: type error: expected an integer, found a string",
        ),
        (
            r#"(process.name != "/usr/bin/vipw") == "test""#,
            "1:38: type error: expected a boolean, found a string",
        ),
        ("", "1:1: syntax error: the expression is empty"),
        (
            "  # only a comment",
            "1:1: syntax error: the expression is empty",
        ),
        (
            "process.uid = 0",
            "1:13: syntax error: unexpected `=`, expected an operator or the end of the expression",
        ),
        (
            "5-2 == 3",
            "1:2: syntax error: unexpected `-2`, expected an operator or the end of the expression",
        ),
        (
            "process.uid ==",
            "1:15: syntax error: expected an operand, found the end of the expression",
        ),
        (
            "process.uid == 1 &&",
            "1:20: syntax error: expected an operand, found the end of the expression",
        ),
        ("(process.uid == 1", "1:1: syntax error: `(` without `)`"),
        (
            "process.uid == 1)",
            "1:17: syntax error: unexpected `)`, expected an operator or the end of the expression",
        ),
        (
            "process.uid in []",
            "1:16: syntax error: a list must not be empty",
        ),
        (
            "process.uid in [1, ]",
            "1:20: syntax error: unexpected `]`, expected a list member",
        ),
        (
            "process.uid in [1, 2",
            "1:16: syntax error: `[` without `]`",
        ),
        (
            r#"process.name in "a""#,
            r#"1:17: syntax error: unexpected `"a"`, expected a list"#,
        ),
        (
            r#"process.name == ["a"]"#,
            "1:17: syntax error: unexpected `[`, expected an operand",
        ),
        (
            r#"process.name == "a"#,
            "1:17: syntax error: string without closing quote",
        ),
        ("process.name == 'a'", "1:17: syntax error: unexpected `'`"),
        (
            "process.name == ~ \"a\"",
            "1:17: syntax error: unexpected `~`",
        ),
        (
            "process.uid == 0x1f",
            "1:16: syntax error: `0x1f` is neither number nor name",
        ),
        ("process.uid == 089", "1:16: invalid octal number `089`"),
        (
            "process.uid == 99999999999999999999",
            "1:16: number out of range",
        ),
        (
            "process.uid == 5 ; 3",
            "1:18: syntax error: unexpected character `;`",
        ),
        ("network.ip == 300.1.1.1", "1:15: invalid IP `300.1.1.1`"),
        (
            "network.ip in 10.0.0.0/40",
            "1:15: invalid CIDR `10.0.0.0/40`",
        ),
        (
            "process.uid == 1 AND true",
            "1:18: syntax error: unexpected `AND`, expected an operator or the end of the expression",
        ),
        (
            "open.file.pth == \"/x\"",
            "1:1: field `open.file.pth` not found",
        ),
        (
            "!process.uid == 0",
            "1:2: type error: expected a condition, found an integer",
        ),
        (
            "process.uid",
            "1:1: type error: expected a condition, found an integer",
        ),
        (
            "process.name & 3 > 0",
            "1:1: type error: expected an integer, found a string",
        ),
        (
            r#"process.uid in [ 1, "a" ]"#,
            "1:21: type error: a string cannot be a member of a list of integers",
        ),
        (
            "open.retval in [ EPERM, true ]",
            "1:25: type error: a boolean cannot be a member of a list of integers",
        ),
        (
            "process.name in [ 1, 2 ]",
            "1:17: type error: expected a string, found a list of integers",
        ),
        (
            "process.name < \"a\"",
            "1:16: unknown operator: `<` between strings",
        ),
        (
            "network.ip < 10.0.0.1",
            "1:14: unknown operator: `<` between an IP address or network and an IP address or network",
        ),
        (
            "network.ips >= network.ip",
            "1:16: unknown operator: `>=` between an IP address or network and an IP address or network",
        ),
        (
            "process.created_at != 5s",
            "1:23: unknown operator: `!=` between a time and a duration",
        ),
        (
            "process.name =~ process.comm",
            "1:17: non-static pattern: the right side of =~ must be a literal",
        ),
        (
            r#"process.name =~ "${str}""#,
            "1:17: non-static pattern: the right side of =~ must be a literal",
        ),
        (
            r#"process.name =~ "/a/**""#,
            "1:17: invalid pattern `/a/**`: `**` is not allowed in patterns",
        ),
        (
            r#"open.file.path =~ "/a/**/b*""#,
            "1:19: invalid glob `/a/**/b*`: `**` is allowed only at the end of patterns",
        ),
        (
            r#"open.file.path in ["/a", ~"/a/**.c"]"#,
            "1:26: invalid glob `/a/**.c`: `**` is allowed only at the end of patterns",
        ),
        (
            r#"open.file.path == "etc/passwd""#,
            "1:19: invalid path `etc/passwd`: all paths have to be absolute",
        ),
        (
            r#"open.file.path == "/etc/../passwd""#,
            "1:19: invalid path `/etc/../passwd`: paths have to be clean",
        ),
        (
            r#"open.file.path == "/etc//passwd""#,
            "1:19: invalid path `/etc//passwd`: paths have to be clean",
        ),
        (
            r#"open.file.path == "/etc/""#,
            "1:19: invalid path `/etc/`: paths do not end in `/`",
        ),
        (
            r#"open.file.path =~ "*""#,
            "1:19: invalid path `*`: a bare `*` matches no absolute path",
        ),
        (
            r#"open.file.path == r"/etc/.*""#,
            "1:19: regexp not supported on path `open.file.path`",
        ),
        (
            r#"open.file.path in ["/a", r"b"]"#,
            "1:26: regexp not supported on path `open.file.path`",
        ),
        (
            r#"open.file.path =~ "/a/./b*""#,
            "1:19: invalid path `/a/./b*`: paths have to be clean",
        ),
        (
            r#"~"etc/*" == open.file.path"#,
            "1:1: invalid path `etc/*`: all paths have to be absolute",
        ),
        (
            "process.uid == -1",
            "1:16: invalid value `-1`: `process.uid` is never negative",
        ),
        (
            "process.pid not in [ 1, -4 ]",
            "1:20: invalid value `-4`: `process.pid` is never negative",
        ),
        (
            "-2 in process.gids",
            "1:1: invalid value `-2`: `process.gids` is never negative",
        ),
        (
            r#"bpf.map.name == "0123456789abcdef""#,
            "1:17: `0123456789abcdef` has 16 characters, `bpf.map.name` at most 15",
        ),
        (
            r#"packet.filter != "tcp""#,
            "1:18: `packet.filter` can only be compared by `==` with one string",
        ),
        (
            r#"packet.filter in [ "tcp", "udp" ]"#,
            "1:20: `packet.filter` can only be compared by `==` with one string",
        ),
        (
            r#"packet.filter == "tcp portt 8""#,
            "1:23: invalid packet filter: unknown word `portt`",
        ),
        (
            r#"packet.filter == "ip proto \tcp and""#,
            "1:36: invalid packet filter: the filter ends where a condition is missing",
        ),
        (
            r#"packet.filter == ~"tcp*""#,
            "1:18: `packet.filter` can only be compared by `==` with one string",
        ),
        (
            "packet.filter == ${str}",
            "1:1: `packet.filter` can only be compared by `==` with one string",
        ),
        (
            "process.name in process.comm",
            "1:17: type error: `in` needs a list on the right, found a string",
        ),
        (
            "process.uid == 1 + process.gids - process.list.key",
            "1:16: unknown operator: `-` between two lists",
        ),
        (
            r#"process.name == r"(a""#,
            "1:17: invalid regexp `(a`: unclosed group",
        ),
        ("${nope} == 3", "1:1: variable `nope` doesn't exist"),
        ("${} == 3", "1:1: syntax error: expected ${name}"),
        (
            "%{process.nope} == 3",
            "1:1: field `process.nope` not found",
        ),
        (
            "process.list[].key == 10",
            "1:1: empty brackets in `process.list[].key`",
        ),
        (
            "process.list.key[] == 10",
            "1:1: empty brackets in `process.list.key[]`",
        ),
        (
            "process[].list.key == 10",
            "1:1: empty brackets in `process[].list.key`",
        ),
        (
            "[]process.list.key == 10",
            "1:1: syntax error: unexpected `[`, expected an operand",
        ),
        (
            "process[A].list.key == 10",
            "1:1: `process` is not an iterator",
        ),
        (
            "process.list[A].key == 1 && process.list[B].key == 2",
            "1:29: only one iterator variable per rule: 'A' and 'B'",
        ),
        (
            "process.list[A].key == 1 && process.array[A].key == 2",
            "1:29: iterator variable used by different fields 'A'",
        ),
        (
            "process.uid[0] == 1",
            "1:1: field `process.uid` is not an array, cannot use index access",
        ),
        (
            "open.flags == 1 && exec.file.path == \"/x\"",
            "1:20: rule with multiple events is not supported: `open` and `exec`",
        ),
        (
            "process.uid == 1 &&\n  procss.uid == 2",
            "2:3: field `procss.uid` not found",
        ),
        (
            "process.name == \"é\" && nope",
            "1:24: field `nope` not found",
        ),
    ];
    let mut wrong = Vec::new();
    for (source, expected) in cases {
        match compile(source) {
            Ok(_) => wrong.push(format!("{source}\n    compiles, should say {expected}")),
            Err(error) if error.to_string() == expected => {}
            Err(error) => wrong.push(format!(
                "{source}\n    says  {error}\n    should {expected}"
            )),
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn help() {
    for (source, expected) in [
        ("process.uid = 0", "comparison is written `==`"),
        (
            "5-2 == 3",
            "the sign belongs to the number; write `- 2` with a space",
        ),
        ("open.file.pth == \"/x\"", "did you mean `open.file.path`?"),
        ("open.flags & O_CREATE > 0", "did you mean `O_CREAT`?"),
        ("${nam} == 3", "did you mean `${num}`?"),
        (
            "process.name == 'a'",
            "strings stand in double quotes: \"…\"",
        ),
        (r#"process.name in "a""#, "write [ \"a\" ]"),
        (
            "process.name contains \"a\"",
            "use a pattern: field =~ \"*text*\"",
        ),
        ("process.uid == 1 OR true", "operators are lower case: `or`"),
        (
            r#"open.file.path =~ "/a/**/b*""#,
            "`*` stands for one path element, and `**` for everything below as the last element",
        ),
    ] {
        assert_eq!(
            compile(source).unwrap_err().help.as_deref(),
            Some(expected),
            "{source}"
        );
    }
}

#[test]
fn rendering() {
    let source = "process.uid == 0 &&\n\topen.file.pth == \"/x\"";
    let text = compile(source).unwrap_err().render(source, "rule my_rule");
    let expected = "rule my_rule:2:2: field `open.file.pth` not found\n2 |  open.file.pth == \"/x\"\n  |  ^^^^^^^^^^^^^\n  help: did you mean `open.file.path`?";
    assert_eq!(text, expected);
    // Terminal control characters do not come through.
    let source = "process.uid == \"\u{1b}[31m\"";
    assert!(
        !compile(source)
            .unwrap_err()
            .render(source, "x")
            .contains('\u{1b}')
    );
}

#[test]
fn a_rule_needs_an_event() {
    let macros = MacroSet::default();
    let scope = Scope::new(&TestSchema, &macros);
    for source in ["process.uid == 0", "true"] {
        let error = compile_rule(source, &scope).unwrap_err();
        assert_eq!(error.to_string(), "1:1: no event in the rule definition");
    }
    assert_eq!(
        compile_rule("open.flags == 1", &scope)
            .unwrap()
            .event_type(),
        Some("open")
    );
}

#[test]
fn errors_in_macros_stand_at_their_use() {
    let mut macros = MacroSet::default();
    let define = |macros: &mut MacroSet, name: &str, source: &str| {
        macros
            .define(name, source, &TestSchema, &common::TestVariables)
            .unwrap();
    };
    define(&mut macros, "paths", r#"[ ~"/a/**/b*" ]"#);
    define(
        &mut macros,
        "outer",
        "open.file.path in [ \"/a\" ] && process.uid == 1",
    );
    let error = common::compile_with("true && open.file.path in paths", &macros).unwrap_err();
    assert_eq!(
        error.to_string(),
        "1:27: invalid glob `/a/**/b*`: `**` is allowed only at the end of patterns"
    );
    define(&mut macros, "numbers", "[1, 2]");
    define(&mut macros, "m", "process.uid in numbers");
    let error = common::compile_with("open.file.name in numbers", &macros).unwrap_err();
    assert_eq!(
        error.to_string(),
        "1:19: type error: expected a string, found a list of integers"
    );
}

#[test]
fn hostile_input_is_refused() {
    for (open, close) in [("(", ")"), ("!", ""), ("- ", ""), ("^", ""), ("not ", "")] {
        let source = format!("{}true{}", open.repeat(100_000), close.repeat(100_000));
        assert!(
            parse(&source)
                .unwrap_err()
                .to_string()
                .contains("nested deeper"),
            "{open}"
        );
    }
    for chain in ["1 | ", "1 == ", "1 + ", "true && true || "] {
        assert!(
            parse(&format!("{}1", chain.repeat(10_000)))
                .unwrap_err()
                .to_string()
                .contains("nested deeper")
        );
    }
    // A long chain of one operator is not deep.
    let long = vec!["process.uid == 1"; 10_000].join(" || ");
    assert!(compile(&long).is_ok());
    assert!(parse(&" ".repeat(2 << 20)).is_err());
    // Regular expressions have a size.
    assert!(compile(r#"process.name == r"(((a{100}){100}){100}){100}""#).is_err());
    // As deep as it may be, with macros inside macros.
    let nest = |inner: &str| format!("{}{inner}{}", "!(".repeat(45), ")".repeat(45));
    let mut macros = MacroSet::default();
    macros
        .define(
            "d0",
            "process.uid == 1",
            &TestSchema,
            &common::TestVariables,
        )
        .unwrap();
    let mut levels = 0;
    for level in 1..20 {
        let source = nest(&format!("d{}", level - 1));
        if macros
            .define(
                &format!("d{level}"),
                &source,
                &TestSchema,
                &common::TestVariables,
            )
            .is_ok()
        {
            levels = level;
        }
    }
    assert_eq!(levels, 2);
    let program = common::compile_with(&nest("d1"), &macros).unwrap();
    common::holds(&program, &common::TestEvent::new());
    // Macros that double and double again.
    let mut macros = MacroSet::default();
    macros
        .define(
            "m0",
            "process.uid == 1",
            &TestSchema,
            &common::TestVariables,
        )
        .unwrap();
    let mut refused = false;
    for level in 1..40 {
        let source = format!("m{0} && m{0}", level - 1);
        refused |= macros
            .define(
                &format!("m{level}"),
                &source,
                &TestSchema,
                &common::TestVariables,
            )
            .is_err();
    }
    assert!(refused);
}
