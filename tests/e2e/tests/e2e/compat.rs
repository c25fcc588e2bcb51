//! The 32-bit entry: `int 0x80` from a 64-bit program, and a 32-bit program. A sensor that knows only the 64-bit
//! numbers is blind there, or takes one call for another.

use std::process::Command;

use atalaya_e2e::{Helper, Setup, skip, text};

use crate::common::{check_event, check_file, int, make_file, string, tiny_i386_open};

/// Calls by their i386 numbers.
pub(crate) fn int80(number: i64, arguments: &[&str]) -> Option<Helper> {
    let number = number.to_string();
    let mut all = vec!["int80", number.as_str()];
    all.extend(arguments);
    let output = Command::new(Helper::path())
        .args(["int80", "20"])
        .output()
        .unwrap();
    if !output.status.success() {
        skip("this kernel has no 32-bit entry");
        return None;
    }
    Some(Helper::run(&all))
}

#[test]
fn int80_file_calls() {
    let mut probe = Setup::new()
        .rule("open", r#"open.file.path == "{work}/a""#)
        .rule("openat", r#"open.file.path == "{work}/b""#)
        .rule("chmod", r#"chmod.file.path == "{work}/a""#)
        .rule("chown", r#"chown.file.path == "{work}/a""#)
        .rule("link", r#"link.file.path == "{work}/a""#)
        .rule("rename", r#"rename.file.path == "{work}/l""#)
        .rule("mkdir", r#"mkdir.file.path == "{work}/d""#)
        .rule("rmdir", r#"rmdir.file.path == "{work}/d""#)
        .rule("unlink", r#"unlink.file.path == "{work}/a""#)
        .rule("utimes", r#"utimes.file.path == "{work}/a""#)
        .start();
    let (a, b) = (string(&probe.path("a")), string(&probe.path("b")));
    let (l, m, d) = (
        string(&probe.path("l")),
        string(&probe.path("m")),
        string(&probe.path("d")),
    );
    let create = int(libc::O_WRONLY | libc::O_CREAT);
    let Some(helper) = int80(5, &[&a, &create, &int(0o640)]) else {
        return;
    };
    assert!(helper.result() >= 0, "{}", helper.output);
    let event = probe.events.expect_rule("open");
    check_event(&event, "open", &probe.path("a"), &helper);
    check_file(&event, "/file", &probe.path("a"));

    let calls: [(&str, &str, i64, Vec<&str>, &str); 9] = [
        (
            "openat",
            "open",
            295,
            vec!["i:-100", &b, &create, "i:384"],
            "b",
        ),
        ("chmod", "chmod", 15, vec![&a, "i:511"], "a"),
        ("chown", "chown", 212, vec![&a, "i:0", "i:0"], "a"),
        ("utimes", "utimes", 271, vec![&a, "i:0"], "a"),
        ("link", "link", 9, vec![&a, &l], "a"),
        ("rename", "rename", 38, vec![&l, &m], "l"),
        ("mkdir", "mkdir", 39, vec![&d, "i:493"], "d"),
        ("rmdir", "rmdir", 40, vec![&d], "d"),
        ("unlink", "unlink", 10, vec![&a], "a"),
    ];
    for (rule, name, number, arguments, file) in calls {
        let Some(helper) = int80(number, &arguments) else {
            return;
        };
        assert!(helper.result() >= 0, "{rule}: {}", helper.output);
        let event = probe.events.expect_rule(rule);
        check_event(&event, name, &probe.path(file), &helper);
    }
}

#[test]
fn int80_numbers_are_not_taken_for_64_bit_ones() {
    // 5 is open on i386 and fstat on x86-64; 87 is swapon there and unlink here.
    let mut probe = Setup::new()
        .rule(
            "unlink",
            r#"unlink.file.path == "{work}/stays" || unlink.syscall.path == "{work}/stays""#,
        )
        .rule("fence", r#"open.file.path == "{work}/fence""#)
        .start();
    let stays = probe.path("stays");
    make_file(&stays, 0o600);
    make_file(&probe.path("fence"), 0o600);
    if int80(87, &[&string(&stays), "i:0"]).is_none() {
        return;
    }
    Helper::run(&[
        "sys",
        &libc::SYS_open.to_string(),
        &string(&probe.path("fence")),
        "i:0",
    ]);
    probe.events.expect_rule("fence");
    assert!(probe.events.of_rule("unlink").is_empty());
}

#[test]
fn a_32_bit_program() {
    let mut probe = Setup::new()
        .rule("exec32", r#"exec.file.path == "{work}/tiny32""#)
        .rule(
            "open32",
            r#"open.file.path == "{work}/target" && process.file.name == "tiny32""#,
        )
        .start();
    let program = probe.work().join("tiny32");
    tiny_i386_open(&program, &probe.path("target"));
    let Ok(status) = Command::new(&program).status() else {
        skip("this kernel runs no 32-bit programs");
        return;
    };
    assert!(status.success());
    let event = probe.events.expect_rule("exec32");
    assert_eq!(
        text(&event, "/process/executable/path"),
        program.to_string_lossy()
    );
    let event = probe.events.expect_rule("open32");
    assert_eq!(
        text(&event, "/process/executable/path"),
        program.to_string_lossy()
    );
    check_file(&event, "/file", &probe.path("target"));
}
