//! The operator table: every pair of operand types that goes together, and what it means; and the pairs that do not.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use atalaya_secl::MacroSet;
use atalaya_secl::model::Value;
use common::{
    ANCESTORS, ARRAY, LIST, NOW, TestEvent, TestSchema, TestVariables, check, compile,
    compile_with, holds,
};

fn ints(values: &[i64]) -> Value<'static> {
    Value::IntList(values.to_vec().into())
}

fn nets(values: &[&str]) -> Value<'static> {
    let values: Vec<_> = values.iter().map(|text| text.parse().unwrap()).collect();
    Value::IpList(values.into())
}

fn event() -> TestEvent {
    let ago = |seconds: u64| i64::try_from(NOW - seconds * 1_000_000_000).unwrap();
    TestEvent::new()
        .with("process.is_root", Value::Bool(true))
        .with("process.flags", Value::BoolList(vec![true, false].into()))
        .int("process.uid", 42)
        .int("process.gid", 7)
        .with("process.gids", ints(&[7, 8, 42]))
        .str("process.name", "cat")
        .str("process.comm", "cat")
        .list("process.argv", &["-l", "x"])
        .list("open.file.hashes", &["x", "z"])
        .ip("network.ip", "10.0.0.1")
        .ip("network.cidr", "10.0.0.0/24")
        .with("network.ips", nets(&["10.0.0.1/32", "10.0.0.2/32"]))
        .int("process.created_at", ago(3))
        .int("open.opened_at", ago(1))
        .with("open.times", ints(&[ago(1), ago(100)]))
        .list("dns.response.cnames", &["WWW.Example.com"])
        .str("dns.question.name", "api.Example.COM")
        .each(
            LIST,
            "process.list.key",
            vec![Value::Int(10), Value::Int(42)],
        )
        .each(
            ARRAY,
            "process.array.flag",
            vec![Value::Bool(false), Value::Bool(false)],
        )
        .each(
            ANCESTORS,
            "process.ancestors.argv",
            vec![
                Value::StrList(vec!["sh".to_owned(), "-c".to_owned()].into()),
                Value::StrList(vec!["init".to_owned()].into()),
            ],
        )
}

#[test]
fn booleans() {
    check(
        &event(),
        &[
            ("process.is_root", true),
            ("process.is_root == true && true == process.is_root", true),
            ("process.is_root != ${flag}", false),
            ("process.is_root == (process.uid == 42)", true),
            ("(process.uid == 42) != (process.gid == 7)", false),
            ("process.is_root in [ true, false ]", true),
            ("process.is_root in [ false ]", false),
            ("process.is_root not in [ false ]", true),
            ("process.is_root in process.flags", true),
            ("true in process.flags && false in process.flags", true),
            // Any element; `!=` is the negation of that.
            ("process.flags == false", true),
            ("process.flags == true", true),
            ("process.flags != true", false),
            ("process.array.flag != true", true),
            ("true not in process.array.flag", true),
            ("process.flags", true),
            ("!process.flags", false),
            ("process.array.flag", false),
            ("process.flags == process.array.flag", true),
            ("${flags} == true", false),
            ("${flags} == false", true),
            ("false in ${flags}", true),
            ("process.is_root in ${flags}", false),
            ("${flag} in [ true ]", true),
            ("process.flags in [ false ]", true),
        ],
    );
}

#[test]
fn integers() {
    check(
        &event(),
        &[
            ("process.uid == ${num} && ${num} >= process.uid", true),
            (
                "process.uid > process.gid && process.gid < process.uid",
                true,
            ),
            (
                "process.uid - process.gid == 35 && process.uid + 1 == 43",
                true,
            ),
            ("process.uid & 2 == 2 && process.uid | 1 == 43", true),
            ("process.uid ^ process.uid == 0 && ^process.gid == -8", true),
            ("-process.gid == -7 && - process.gid < 0", true),
            ("process.uid in [ 1, 42 ]", true),
            ("process.uid not in [ 1, 43 ]", true),
            ("process.uid in process.gids", true),
            ("process.uid not in process.gids", false),
            ("42 in process.gids && 9 not in process.gids", true),
            ("process.uid in ${nums} && 43 not in ${nums}", true),
            ("process.uid & 34 in [ 34 ]", true),
            // A list: any element.
            (
                "process.gids == 8 && process.gids > 40 && process.gids < 8",
                true,
            ),
            ("process.gids > 42 || process.gids < 7", false),
            ("process.gids != 8", false),
            ("process.gids != 9", true),
            (
                "8 == process.gids && 41 < process.gids && 42 >= process.gids",
                true,
            ),
            ("9 != process.gids", true),
            (
                "process.gids in [ 1, 8 ] && process.gids not in [ 1, 2 ]",
                true,
            ),
            ("process.gids in process.list.key", true),
            ("process.gids not in process.list.key", false),
            ("process.gids == process.list.key", true),
            (
                "process.list.key in ${nums} && ${nums} in process.gids",
                true,
            ),
            ("${nums} == 1 && ${nums} in [ 1 ] && ${nums} != 2", true),
            ("process.gids & 1 == 1", true),
            ("process.list.key + 1 == 43", true),
            ("${num} in [ 42 ] && ${num} - 2 == 40", true),
            ("process.gids.length == 3 && ${nums.length} == 2", true),
        ],
    );
}

#[test]
fn times() {
    check(
        &event(),
        &[
            ("process.created_at < 5s && process.created_at > 2s", true),
            ("5s > process.created_at && 2s < process.created_at", true),
            (
                "process.created_at <= 3s && process.created_at >= 3000ms",
                true,
            ),
            ("process.created_at == 3s", true),
            ("process.created_at < 1h && process.created_at < 1m", true),
            ("process.created_at > 1s + 1s", true),
            // A list of times: any.
            ("open.times < 5s && open.times > 50s", true),
            ("open.times > 200s", false),
            // Variables hold times as well.
            ("${since} < 5s && ${since} > 1s", true),
            ("${since} < 1s", false),
            // A difference is an interval already.
            ("open.opened_at - process.created_at == 2s", true),
            ("open.opened_at - process.created_at + 3s <= 5s", true),
            ("open.opened_at - process.created_at + 3s <= 1s", false),
            ("10s + 40s == 50s && 60s == 1m && 1500ms > 1s", true),
            ("10s != 20s", true),
            // Two times.
            ("open.opened_at > process.created_at", true),
            ("open.opened_at <= process.created_at + 2s", true),
            ("${since} > process.created_at", true),
        ],
    );
}

#[test]
fn strings() {
    check(
        &event(),
        &[
            (
                "process.name == process.comm && process.name != ${str}",
                true,
            ),
            (r#"process.name == ~"c*" && ~"c*" == process.name"#, true),
            (r#"process.name == r"^c.t$" && r"a" == process.name"#, true),
            (r#"process.name =~ "c*" && process.name !~ "d*""#, true),
            (r#"process.name =~ ~"c*" && process.name =~ r"at$""#, true),
            (r#"process.name != ~"c*" || process.name != r"a""#, false),
            (r#""cat" =~ "c*" && "cat" !~ "d*" && "c*" == "c*""#, true),
            (r#"${str} =~ "a*" && ${str} in [ ~"a*" ]"#, true),
            // A list: any element.
            (r#"process.argv == "x" && "x" == process.argv"#, true),
            (r#"process.argv =~ "-*" && process.argv == ~"-*""#, true),
            (r#"process.argv !~ "z*""#, true),
            (r#"process.argv !~ "-*""#, false),
            (r#"process.argv != "x""#, false),
            (r#"process.argv in [ "x", "y" ]"#, true),
            (r#"process.argv not in [ "a", r"^x$" ]"#, false),
            (r#"process.argv in [ r"^.l$" ]"#, true),
            (
                r#""x" in process.argv && ~"-*" in process.argv && r"l" in process.argv"#,
                true,
            ),
            (r#"~"z*" not in process.argv"#, true),
            // Lists in lists.
            ("process.argv in open.file.hashes", true),
            ("process.argv not in open.file.hashes", false),
            ("process.argv == open.file.hashes", true),
            ("process.argv in ${list} && ${list} in process.argv", true),
            ("process.argv not in ${list}", false),
            (
                r#""y" in ${list} && ~"y*" in ${list} && ${list} == "x""#,
                true,
            ),
            (r#"${list} in [ "y" ] && ${list} =~ "x*""#, true),
            ("process.name in ${list}", false),
            ("process.argv == process.name", false),
            // A list in an iterator: some element of some element.
            (
                r#"process.ancestors.argv == "init" && process.ancestors.argv in [ "-c" ]"#,
                true,
            ),
            (
                r#"process.ancestors[A].argv == "init" && process.ancestors[A].argv == "-c""#,
                false,
            ),
            (
                r#"process.ancestors[A].argv == "sh" && process.ancestors[A].argv == "-c""#,
                true,
            ),
            (r#"process.ancestors[A].argv[1] == "-c""#, true),
            (r#"process.ancestors[A].argv.length == 2"#, true),
            (r#"process.argv[1] == "x" && process.argv[0] =~ "-*""#, true),
            (r#""x" in process.ancestors[A].argv"#, false),
            (r#""init" in process.ancestors[A].argv"#, true),
        ],
    );
}

#[test]
fn texts_put_together() {
    check(
        &event(),
        &[
            (r#""%{process.name}:%{process.uid}" == "cat:42""#, true),
            (
                r#""%{process.is_root}" == "true" && "${flag}" == "true""#,
                true,
            ),
            (
                r#""%{process.argv}" == "-l,x" && "${nums}" == "1,42""#,
                true,
            ),
            (r#""%{process.argv[1]}" == "x""#, true),
            (r#""%{process.argv.length}/${list.length}" == "2/2""#, true),
            (
                r#""%{network.ip} %{network.cidr}" == "10.0.0.1 10.0.0.0/24""#,
                true,
            ),
            (r#""%{process.ancestors[A].argv}" == "init""#, true),
            (r#""%{process.ancestors.argv}" == "sh,-c,init""#, true),
            (
                r#""%{dns.question.name.root_domain}" == "Example.COM""#,
                true,
            ),
            (
                r#"process.name == "%{process.comm}" && "%{process.comm}" == process.name"#,
                true,
            ),
            (
                r#""%{process.name}" == ~"c*" && "%{process.name}" in [ "cat" ]"#,
                true,
            ),
            (r#""%{process.name}" in [ "x", "%{process.comm}" ]"#, true),
            (r#""%{process.argv[0]}" =~ "-*""#, true),
            // What is no whole reference is text; a list of patterns is not expanded.
            (
                r#""${" == "${" && "%{x y}" == "%{x y}" && "100%" == "100%""#,
                true,
            ),
            (r#"process.name == ~"%{process.comm}*""#, false),
        ],
    );
}

#[test]
fn host_names() {
    check(
        &event(),
        &[
            (r#"dns.question.name == "API.example.com""#, true),
            (r#"dns.question.name in [ "a.b", ~"*.EXAMPLE.com" ]"#, true),
            (r#"~"*.example.COM" == dns.question.name"#, true),
            // Regexps see the case.
            (r#"dns.question.name == r"Example""#, true),
            (r#"dns.question.name == r"example""#, false),
            (r#"dns.question.name == r"(?i)example""#, true),
            (
                r#"dns.question.name in [ r"EXAMPLE", "api.EXAMPLE.com" ]"#,
                true,
            ),
            (
                r#"dns.question.name not in [ r"EXAMPLE", "x.EXAMPLE.com" ]"#,
                true,
            ),
            (r#""www.example.com" in dns.response.cnames"#, true),
            (r#"dns.response.cnames == "www.example.com""#, true),
            (r#"dns.question.name.root_domain == "example.com""#, true),
            (r#"dns.response.cnames.root_domain == "example.com""#, true),
            ("dns.question.name.length == 15", true),
        ],
    );
}

#[test]
fn addresses() {
    check(
        &event(),
        &[
            ("network.ip == 10.0.0.1 && network.ip != 10.0.0.2", true),
            ("network.ip == 10.0.0.0/8 && 10.0.0.0/8 == network.ip", true),
            ("network.ip == ${ip} && ${ip} == 10.0.0.1", true),
            (
                "network.ip in 10.0.0.0/8 && network.ip not in 11.0.0.0/8",
                true,
            ),
            ("network.ip in 10.0.0.1 && 10.0.0.1 in network.cidr", true),
            (
                "network.ip in network.cidr && network.cidr == network.ip",
                true,
            ),
            ("network.ip in [ 192.168.0.0/16, 10.0.0.0/8 ]", true),
            ("network.ip allin [ 192.168.0.0/16, 10.0.0.0/8 ]", true),
            (
                "network.ip allin ${ips} && network.ip in ${ips} && ${ips} in 192.168.0.0/16",
                true,
            ),
            ("${ips} allin [ 10.0.0.0/8 ]", false),
            (
                "${ips} not in [ 11.0.0.0/8 ] && network.ip in network.ips",
                true,
            ),
            ("network.ips in 10.0.0.2 && network.ips == 10.0.0.2", true),
            (
                "network.ips allin 10.0.0.0/8 && 10.0.0.0/8 allin network.ips",
                true,
            ),
            ("network.ips allin [ 10.0.0.0/8, 10.0.0.0/16 ]", true),
            ("network.ips allin [ 10.0.0.0/8, 10.0.0.1 ]", false),
            (
                "network.ips not in [ 11.0.0.0/8 ] && network.ips in ${ips}",
                true,
            ),
            (
                "10.0.0.1 in [ 10.0.0.0/8 ] && 10.0.0.1 allin [ 10.0.0.0/8, ::1 ]",
                true,
            ),
        ],
    );
}

#[test]
fn lists_from_macros() {
    let mut macros = MacroSet::default();
    let mut define = |name: &str, source: &str| {
        macros
            .define(name, source, &TestSchema, &TestVariables)
            .unwrap();
    };
    define("mixed", r#"[ "dog", ~"c*", r"^x" ]"#);
    define("numbers", "[ 42, 43 ]");
    define("inner", "10.0.0.0/8");
    define("networks", "[ 10.0.0.0/8, 192.168.0.0/16 ]");
    define("errors", "[ EPERM, EACCES ]");
    define("one", r#""cat""#);
    define("pattern", r#"~"ca*""#);
    define("is_cat", "process.name == one");
    define("nested", "is_cat && process.uid in numbers");
    for (source, expected) in [
        ("process.name in mixed && process.argv in mixed", true),
        ("process.name not in mixed", false),
        ("process.name == mixed && process.name != mixed", false),
        ("mixed in process.argv", true),
        ("process.uid in numbers && numbers in process.gids", true),
        ("-1 in errors && EPERM in errors", true),
        ("network.ip in inner && inner == network.ip", true),
        ("network.ip in networks && networks in network.ips", true),
        ("networks allin network.ips", false),
        (
            "process.name == one && process.name =~ pattern && pattern == process.name",
            true,
        ),
        ("one in mixed", true),
        ("nested && is_cat", true),
        ("!nested", false),
    ] {
        let program = compile_with(source, &macros)
            .unwrap_or_else(|error| panic!("{}", error.render(source, "x")));
        assert_eq!(holds(&program, &event()), expected, "{source}");
    }
}

#[test]
fn what_does_not_go_together() {
    let operator = "unknown operator: ";
    let ty = "type error: ";
    for (source, start) in [
        ("process.is_root < true", operator),
        ("process.is_root =~ true", operator),
        ("process.is_root == 1", ty),
        ("process.is_root & 1 == 1", ty),
        ("process.uid =~ 1", operator),
        ("process.uid in process.gid", ty),
        ("process.uid in ${num}", ty),
        ("process.uid in [ \"1\" ]", ty),
        ("process.uid == \"1\"", ty),
        ("process.uid && true", ty),
        (
            "process.created_at in [ 1, 2 ] && process.created_at != 1s",
            operator,
        ),
        ("process.created_at == \"1s\"", ty),
        ("process.name in process.comm", ty),
        ("process.name in ${str}", ty),
        ("process.name in process.argv[0]", ty),
        ("process.name > \"a\"", operator),
        ("process.argv < \"a\"", operator),
        ("process.name + \"a\" == \"b\"", ty),
        ("process.name == 1", ty),
        ("process.name == true", ty),
        ("process.name in [ 1 ]", ty),
        ("process.argv in process.gids", ty),
        ("~\"a*\" == ~\"a*\"", operator),
        ("network.ip =~ 10.0.0.1", operator),
        ("network.ips < 10.0.0.1", operator),
        ("network.ips >= network.ip", operator),
        ("network.ip == \"10.0.0.1\"", ty),
        ("network.ip in [ \"10.0.0.1\" ]", ty),
        ("network.ip in [ 1 ]", ty),
        ("network.ip + 1 == 2", ty),
        ("process.gids + process.list.key == 1", operator),
        ("process.argv in 10.0.0.0/8", ty),
        ("network.ips allin ${ips}", operator),
    ] {
        let error = compile(source).expect_err(source);
        assert!(
            error.kind.to_string().starts_with(start),
            "{source}\n    says {error}, should be a {start}"
        );
    }
    let mut macros = MacroSet::default();
    macros
        .define("nets", "[ 10.0.0.0/8 ]", &TestSchema, &TestVariables)
        .unwrap();
    let error = compile_with("nets < network.ip", &macros).unwrap_err();
    assert!(error.to_string().contains("unknown operator"), "{error}");
}
