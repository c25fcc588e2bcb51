//! What expressions mean.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use atalaya_secl::MacroSet;
use atalaya_secl::model::Value;
use common::{
    ANCESTORS, ARRAY, LIST, NOW, TestEvent, TestSchema, TestVariables, check, compile,
    compile_with, holds,
};

#[test]
fn strings_ints_bools() {
    let event = TestEvent::new()
        .str("process.name", "/usr/bin/cat")
        .int("process.uid", 1)
        .int("process.gid", 444);
    check(
        &event,
        &[
            (r#"process.name != "/usr/bin/vipw""#, true),
            (r#"process.name != "/usr/bin/cat""#, false),
            (r#"process.name == "/usr/bin/cat""#, true),
            (r#""/usr/bin/cat" == process.name"#, true),
            (
                r#"(process.name == "/usr/bin/cat" && process.uid == 0) && (process.uid == 0)"#,
                false,
            ),
            (
                r#"(process.name == "/usr/bin/cat" && process.uid == 1) && (process.uid == 1)"#,
                true,
            ),
            ("111 != 555", true),
            ("process.gid == 444 && 444 == process.gid", true),
            (
                "process.gid > 443 && 443 < process.gid && process.gid >= 444 && process.gid <= 444",
                true,
            ),
            ("process.gid > = 444 and process.gid ! = 3", true),
            ("--3 == 3", true),
            ("3 ^ 3 == 0", true),
            ("^0 == -1", true),
            ("5 - 2 == 3", true),
            ("5 - 2 - 1 == 2", true),
            ("1 + 2 & 3 == 3", true),
            ("+3 == 3", true),
            ("0644 == 420 && 0 == 00", true),
            ("process.is_root", false),
            (
                "!process.is_root && process.is_root == false && process.is_root != true",
                true,
            ),
            (r#"(444 == 444) and ("test" == "test")"#, true),
            (r#"(444 != 444) && ("test" == "test")"#, false),
            (
                "(444 != 555) && # one && two\n // three\n\t(\"test\" != \"aaaa\")",
                true,
            ),
            ("(true) == (true)", true),
            ("(process.uid == 1) == true", true),
            ("(process.uid == 1) != (process.gid == 1)", true),
            ("${flag} && ${flag} == true", true),
        ],
    );
}

#[test]
fn precedence() {
    check(
        &TestEvent::new(),
        &[
            ("false || (true != true)", false),
            ("false || true", true),
            ("false or true", true),
            ("1 == 1 & 1", true),
            ("0 != 3 & 1", true),
            ("not true && false", false),
            ("not (true && false)", true),
            // One precedence, to the right.
            ("false && true || true", false),
            ("true || false && false", true),
            ("true || true && false", true),
            ("(true || true) && false", false),
            ("false && false || true", false),
            ("!false && !false", true),
            ("!!true", true),
            ("(3 & 3) == 3", true),
            ("(3 & 1) == 3", false),
            ("(2 | 1) == 3", true),
            ("(3 & 1) != 0", true),
        ],
    );
}

#[test]
fn patterns_and_regexps() {
    let event = TestEvent::new()
        .str("process.name", "/usr/bin/c$t")
        .str("process.file.path", "/var/log/nginx")
        .str("process.file.extension", ".sh")
        .str("dns.question.name", "WWW.Example.co.UK");
    check(
        &event,
        &[
            (r#"process.name =~ "/usr/bin/*""#, true),
            (r#"process.name =~"/usr/bin/*""#, true),
            (r#"process.name =~ "/usr/sbin/*""#, false),
            (r#"process.name !~ "/usr/sbin/*""#, true),
            (r#"process.name =~ "/bin/""#, false),
            (r#"process.name =~ "/bin/*""#, false),
            (r#"process.name =~ "*/bin/*""#, true),
            (r#"process.name =~ "*/bin""#, false),
            (r#"process.name =~ "/usr/*/c$t""#, true),
            (r#"process.name =~ "/usr/*/bin/*""#, false),
            (r#"process.name == ~"/usr/bin/*""#, true),
            (r#"process.name == "/usr/bin/*""#, false),
            (r#"process.name =~ ~"/usr/bin/*""#, true),
            (r#"process.name =~ "/usr/bin/c$t""#, true),
            (r#"process.name =~ "/usr/bin/c$taaa""#, false),
            (r#"process.name =~ r".*/bin/.*""#, true),
            (r#"process.name =~ r".*/[usr]+/bin/.*""#, true),
            (r#"process.name =~ r".*/[abc]+/bin/.*""#, false),
            (r#"process.name == r".*/bin/.*""#, true),
            (r#"r".*/bin/.*" == process.name"#, true),
            (r#"~"/usr/*" == process.name"#, true),
            // A path knows its elements.
            (r#"process.file.path =~ "/var/**""#, true),
            (r#"process.file.path =~ "/var/*""#, false),
            (r#"process.file.path == ~"/var/log/*""#, true),
            (
                r#"process.file.path in [ ~"/etc/*", ~"/var/*/nginx" ]"#,
                true,
            ),
            (r#"process.file.path =~ "*/*/nginx""#, true),
            // The case of a host name does not matter.
            (r#"dns.question.name == "www.example.CO.uk""#, true),
            (r#"dns.question.name =~ "*.EXAMPLE.co.uk""#, true),
            (
                r#"dns.question.name in [ "a.b", "www.example.co.uk" ]"#,
                true,
            ),
            (r#"dns.question.name.root_domain == "example.co.uk""#, true),
            ("dns.question.name.length == 17", true),
            // An extension has a dot.
            (r#"process.file.extension == "sh""#, true),
            (r#"process.file.extension in [".bash", "sh"]"#, true),
            (r#"process.file.extension == ".SH""#, false),
        ],
    );
}

#[test]
fn lists() {
    let event = TestEvent::new()
        .str("process.name", "aaa")
        .int("process.uid", 3)
        .int("open.retval", -13)
        .list("process.argv", &["--foo", "bar"])
        .list("open.file.hashes", &["sha1:x", "md5:y"]);
    check(
        &event,
        &[
            (r#""a" in [ "a", "b", "c" ]"#, true),
            (r#"process.name in [ "c", "b", "aaa" ]"#, true),
            (r#""d" in [ "aaa", "b", "c" ]"#, false),
            (r#""aaa" not in [ "aaa", "b", "c" ]"#, false),
            (r#"process.name not in [ "c", "b", "z" ]"#, true),
            ("3 in [ 1, 2, 3 ] && process.uid in [1,2,3]", true),
            ("process.uid in [ 4, 2, 1 ]", false),
            ("4 not in [ 3, 2, 1 ] && process.uid not in [ 4, 5 ]", true),
            (r#"process.name in [ ~"*a*" ]"#, true),
            (r#"process.name in [ ~"*d*", "aa*" ]"#, false),
            (r#"process.name in [ ~"*d*", ~"aa*" ]"#, true),
            (r#"process.name in [ r".*d.*", r"aa.*" ]"#, true),
            (r#"process.name not in [ r".*d.*", r"ab.*" ]"#, true),
            (r#"process.name in [ "${str}", "b" ]"#, true),
            ("open.retval in [ EPERM, EACCES ]", true),
            ("open.retval in [EPERM,EACCES]", true),
            (
                "open.retval in [ EPERM ] || open.retval == -13 && open.retval == EACCES",
                true,
            ),
            ("process.is_root in [ true ]", false),
            // A field that is a list: any of its elements; != is the negation of that.
            (r#"process.argv == "bar" && "bar" in process.argv"#, true),
            (r#"process.argv != "bar""#, false),
            (r#"process.argv != "baz""#, true),
            (r#"process.argv =~ "--*""#, true),
            (r#"~"--*" in process.argv"#, true),
            (r#"process.argv in [ "bar", "x" ]"#, true),
            (r#"process.argv not in [ "bar", "x" ]"#, false),
            (r#"open.file.hashes[0] == "sha1:x""#, true),
            (r#"open.file.hashes[1] == "sha1:x""#, false),
            (r#"open.file.hashes[7] == "sha1:x""#, false),
            ("process.argv.length == 2", true),
            (
                r#""tag:a" in event.rule.tags && "tag:b" not in event.rule.tags"#,
                true,
            ),
            ("process.argv in open.file.hashes", false),
            ("process.argv in process.argv", true),
        ],
    );
}

#[test]
fn variables_and_interpolation() {
    let event = TestEvent::new()
        .str("process.name", "/proc/77/maps/aaa")
        .int("process.pid", 77)
        .str("process.comm", "x")
        .list("process.argv", &["a", "b"]);
    check(
        &event,
        &[
            (
                r#"process.name == "/proc/${process.pid}/maps/${str}""#,
                true,
            ),
            (
                r#"process.name == "/proc/%{process.pid}/maps/${str}""#,
                true,
            ),
            (
                r#"process.name == "/proc/${process.pid}/maps/${str""#,
                false,
            ),
            (r#"process.name == "/proc/${process.pid/maps/${str""#, false),
            (
                "process.pid == ${process.pid} && process.pid == %{process.pid}",
                true,
            ),
            ("${num} == 42 && ${num} > 41", true),
            (
                r#"${str} == "aaa" && ${str} =~ "a*" && ${str} in ["aaa", ~"b*"]"#,
                true,
            ),
            ("process.comm in ${list}", true),
            ("process.name not in ${list}", true),
            ("${list.length} == 2 && ${str.length} == 3", true),
            (r#""%{process.argv}" == "a,b""#, true),
            (r#""100% $ {x}" == "100% $ {x}""#, true),
            (r#"${builtins.uuid4} != ${builtins.uuid4}"#, true),
            (
                r#"${builtins.uuid4} == r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$""#,
                true,
            ),
        ],
    );
}

fn list_event() -> TestEvent {
    let ints = |values: &[i64]| values.iter().map(|value| Value::Int(*value)).collect();
    let strs = |values: &[&'static str]| {
        values
            .iter()
            .map(|value| Value::Str((*value).into()))
            .collect()
    };
    TestEvent::new()
        .each(LIST, "process.list.key", ints(&[10, 100, 200]))
        .each(LIST, "process.list.value", strs(&["AAA", "BBB", "CCC"]))
        .each(ARRAY, "process.array.key", ints(&[1000, 1002]))
        .each(ARRAY, "process.array.value", strs(&["EEEE", "DDDD"]))
        .each(
            ARRAY,
            "process.array.flag",
            vec![Value::Bool(true), Value::Bool(false)],
        )
}

#[test]
fn iterators() {
    check(
        &list_event(),
        &[
            ("process.list.key == 10", true),
            ("process.list.key == 9999", false),
            ("process.list.key != 10", false),
            ("process.list.key != 9999", true),
            ("process.list.key >= 200", true),
            ("process.list.key > 200", false),
            ("process.list.key < 100", true),
            ("10 == process.list.key", true),
            ("10 != process.list.key", false),
            ("9999 != process.list.key", true),
            ("10 in process.list.key", true),
            ("9999 in process.list.key", false),
            ("9999 not in process.list.key", true),
            ("10 not in process.list.key", false),
            ("5 < process.list.key", true),
            ("10 > process.list.key", false),
            (
                "process.list.key in [ 3, 200 ] && process.list.key not in [ 3, 4 ]",
                true,
            ),
            ("true in process.array.flag", true),
            ("false not in process.array.flag", false),
            ("process.array.flag == true", true),
            ("process.array.flag != false", false),
            (r#""AAA" in process.list.value"#, true),
            (r#""ZZZ" not in process.list.value"#, true),
            (r#"~"AA*" in process.list.value"#, true),
            (r#"~"ZZ*" not in process.list.value"#, true),
            (r#"r"[A]{1,3}" in process.list.value"#, true),
            (r#"process.list.value in [r"[A]{1,3}", "nnnnn"]"#, true),
            (r#"process.list.value == ~"AA*""#, true),
            (r#"process.list.value != ~"AA*""#, false),
            (r#"process.list.value =~ "AA*""#, true),
            (r#"process.list.value !~ "ZZ*""#, true),
            (r#"process.list.value not in [~"AA*", "nnnnn"]"#, false),
            (
                r#"process.list.key == 200 && process.list.value == "AAA""#,
                true,
            ),
            // The old spelling of no name.
            (
                r#"process.array[_].key == 1002 && process.array[_].value == "EEEE""#,
                true,
            ),
            (
                "process.list.length == 3 && process.array.length == 2 && process.ancestors.length == 0",
                true,
            ),
            ("process.list.key & 1 == 0", true),
        ],
    );
}

#[test]
fn named_iterators() {
    check(
        &list_event(),
        &[
            (
                r#"process.array[A].key == 1000 && process.array[A].value == "EEEE""#,
                true,
            ),
            (
                r#"process.array[A].key == 1002 && process.array[A].value == "EEEE""#,
                false,
            ),
            (
                r#"process.list[A].key == 10 && process.list[A].value == "AAA""#,
                true,
            ),
            (
                r#"process.list[A].key == 10 && process.list[A].value == "BBB""#,
                false,
            ),
            (
                r#"process.list[A].key == 10 && process.list.value == "AAA""#,
                true,
            ),
            (
                r#"process.list[A].key == 10 && process.list.value == "CCC""#,
                true,
            ),
            (
                r#"process.list[0].key == 200 && process.list[0].value == "CCC""#,
                true,
            ),
            ("process.list[A].key != 10", true),
            (
                r#"process.list[A].key == 200 || process.list[A].value == "x""#,
                true,
            ),
            (r#"!(process.list[A].key == 200)"#, true),
            ("process.ancestors[A].comm != \"x\"", false),
        ],
    );
    let argv = |values: &[&str]| {
        Value::StrList(
            values
                .iter()
                .map(|v| (*v).to_owned())
                .collect::<Vec<_>>()
                .into(),
        )
    };
    let event = TestEvent::new()
        .each(
            ANCESTORS,
            "process.ancestors.comm",
            vec![Value::Str("bash".into()), Value::Str("git".into())],
        )
        .each(
            ANCESTORS,
            "process.ancestors.argv",
            vec![argv(&["clone"]), argv(&["pull", "x"])],
        );
    check(
        &event,
        &[
            (
                r#"process.ancestors[A].comm == "git" && process.ancestors[A].argv in ["clone"]"#,
                false,
            ),
            (
                r#"process.ancestors.comm == "git" && process.ancestors.argv in ["clone"]"#,
                true,
            ),
            (
                r#"process.ancestors[A].comm == "git" && process.ancestors[A].argv[0] == "pull""#,
                true,
            ),
            ("process.ancestors.length == 2", true),
        ],
    );
}

#[test]
fn a_named_iterator_goes_through_a_hundred_elements() {
    let many = (0..200).map(Value::Int).collect();
    let event = TestEvent::new().each(LIST, "process.list.key", many);
    check(
        &event,
        &[
            ("process.list[A].key == 99", true),
            ("process.list[A].key == 100", false),
            ("process.list.key == 150", true),
        ],
    );
}

#[test]
fn durations() {
    let second = 1_000_000_000;
    let now = i64::try_from(NOW).unwrap();
    let event = TestEvent::new()
        .int("process.created_at", now - 3 * second)
        .int("open.opened_at", now - second);
    check(
        &event,
        &[
            ("process.created_at < 5s", true),
            ("process.created_at < 2s", false),
            (
                "process.created_at > 2s && process.created_at >= 3s && process.created_at <= 3000ms",
                true,
            ),
            ("process.created_at == 3s", true),
            ("5s > process.created_at", true),
            ("process.created_at < 1m && process.created_at < 1h", true),
            ("10s + 40s == 50s", true),
            ("open.opened_at - process.created_at == 2s", true),
            ("open.opened_at - process.created_at + 3s <= 5s", true),
            ("open.opened_at - process.created_at + 3s <= 4s", false),
            ("process.created_at + 5s > open.opened_at", true),
            ("open.opened_at < process.created_at + 1s", false),
        ],
    );
}

#[test]
fn addresses() {
    let event = TestEvent::new()
        .ip("network.ip", "192.168.1.5")
        .ip("network.cidr", "192.168.0.0/16")
        .with(
            "network.ips",
            Value::IpList(
                vec![
                    "192.168.0.1/32".parse().unwrap(),
                    "192.169.0.1/32".parse().unwrap(),
                ]
                .into(),
            ),
        );
    check(
        &event,
        &[
            ("192.168.0.1 == 192.168.0.1", true),
            ("192.168.0.1 == ::ffff:192.168.0.1", true),
            ("192.168.0.1 != 192.168.0.2", true),
            ("network.ip == 192.168.1.5", true),
            ("192.168.1.5 == network.ip", true),
            ("network.ip == 192.168.1.0/24", true),
            ("network.ip in 192.168.0.0/16", true),
            ("network.ip not in 10.0.0.0/8", true),
            ("network.ip in [ 10.0.0.1, 192.168.1.0/24 ]", true),
            ("network.ip allin [ 10.0.0.0/8, 192.168.0.0/16 ]", true),
            ("network.ip in ::ffff:192.168.4.0/112", true),
            ("network.ip in ::1/0", false),
            ("192.168.0.16/16 in 192.168.1.1/8", true),
            ("2001:db8:1::/48 in [ 2001:db8::/32 ]", true),
            ("network.cidr in 192.168.1.1/24", true),
            ("network.ips in 192.168.0.0/16", true),
            ("network.ips allin 192.168.0.0/16", false),
            ("network.ips allin 192.0.0.0/8", true),
            ("192.0.0.0/8 allin network.ips", true),
            ("192.168.0.0/16 allin network.ips", false),
            ("192.168.0.0/16 in network.ips", true),
            ("network.ips allin [ 192.0.0.0/8, 192.168.0.0/16 ]", false),
            ("network.ips not in [ 10.0.0.0/8 ]", true),
            ("network.ip in network.ips", false),
        ],
    );
}

#[test]
fn macros() {
    let mut macros = MacroSet::default();
    let mut define = |name, source| {
        macros
            .define(name, source, &TestSchema, &TestVariables)
            .unwrap()
    };
    define("sensitive", r#"[ "/etc/shadow", "/etc/passwd" ]"#);
    define("opened", "open.filename in sensitive");
    define("name", r#""/etc/passwd""#);
    define("flags", "O_CREAT | O_TRUNC");
    define("globs", r#"[ ~"/etc/**", "/bin/sh" ]"#);
    macros.define_values("values", ["a".to_owned(), "b".to_owned()]);
    let event = TestEvent::new()
        .str("open.filename", "/etc/passwd")
        .str("open.file.path", "/etc/ssl/x")
        .int("open.flags", 64)
        .str("process.comm", "b");
    for (source, expected) in [
        (r#""/etc/shadow" in sensitive"#, true),
        ("opened && process.uid == 0", true),
        ("!opened", false),
        ("open.filename == name", true),
        ("open.flags & (flags) > 0", true),
        ("open.flags & flags > 0", true),
        ("open.file.path in globs", true),
        (
            "process.comm in values && open.filename not in values",
            true,
        ),
    ] {
        let program = compile_with(source, &macros).unwrap();
        assert_eq!(holds(&program, &event), expected, "{source}");
    }
    let error = macros
        .define(
            "bad",
            "open.filename in nothing",
            &TestSchema,
            &TestVariables,
        )
        .unwrap_err();
    assert_eq!(error.to_string(), "1:18: field `nothing` not found");
    macros
        .define(
            "mixed",
            r#"open.filename in [ r"(" ]"#,
            &TestSchema,
            &TestVariables,
        )
        .unwrap_err();
}

#[test]
fn legacy_names_and_fields() {
    let program =
        compile(r#"process.legacy_name == "x" && open.flags > 0 && process.name == "y""#).unwrap();
    let names: Vec<_> = program
        .fields()
        .iter()
        .map(|field| field.name.as_ref())
        .collect();
    assert_eq!(names, ["process.name", "open.flags"]);
    assert_eq!(program.event_type(), Some("open"));
}

#[test]
fn a_field_that_cannot_be_filled_compiles_and_is_known() {
    let program = compile("mmap.flags == 1").unwrap();
    assert_eq!(program.event_type(), Some("mmap"));
    let reasons: Vec<_> = program
        .fields()
        .iter()
        .filter_map(|field| field.unavailable.as_deref())
        .collect();
    assert_eq!(reasons, ["this build has no mmap hook"]);
    assert!(!holds(&program, &TestEvent::new()));
}

#[test]
fn values_that_a_field_can_have() {
    let long = "x".repeat(255);
    for source in [
        r#"open.file.path == """#,
        r#"open.file.path in [ "/", "/a/b.c", ~"*/x", ~"**", ~"/a/**" ]"#,
        r#"open.syscall.path == "../x" && open.syscall.path == r"a//b""#,
        "process.uid > -1 && process.uid - 3 == -2",
        r#"bpf.map.name == "0123456789abcde" && bpf.map.name =~ "0123456789ab*cde*""#,
        r#"packet.filter == "tcp and dst port 53""#,
        &format!(r#"open.file.path == "/{long}""#),
        &format!(r#"open.file.path == ~"/{long}*""#),
    ] {
        compile(source).unwrap_or_else(|error| panic!("{}", error.render(source, "x")));
    }
    compile(&format!(r#"open.file.path == "/{long}x""#)).unwrap_err();
}

#[test]
fn cheap_conditions_go_first() {
    for source in [
        "process.list.key == 44 && process.gid == 55",
        "process.gid == 55 && process.list.key == 44",
        "process.uid in [66, 77, 88] && process.gid == 55",
        "process.gid == 55 && process.uid in [66, 77, 88]",
        r#"process.argv in ["x"] && process.list[A].key == 3 && process.gid == 55"#,
    ] {
        let event = list_event();
        assert!(!holds(&compile(source).unwrap(), &event));
        let reads: Vec<_> = event.reads.borrow().keys().copied().collect();
        assert_eq!(reads, ["process.gid"], "{source}");
    }
}
