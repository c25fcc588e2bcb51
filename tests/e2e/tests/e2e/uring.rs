//! io_uring makes the same calls without a system call of their name, at times from a kernel worker.

use atalaya_e2e::{Helper, Setup, at, kernel_before, skip, text};

use crate::common::{check_event, int, make_file, string};

const OPENAT: i64 = 18;
const RENAMEAT: i64 = 35;
const UNLINKAT: i64 = 36;
const MKDIRAT: i64 = 37;
const LINKAT: i64 = 39;

pub(crate) fn uring(how: &str, opcode: i64, arguments: &[&str]) -> Option<Helper> {
    let opcode = opcode.to_string();
    let mut all = vec![how, opcode.as_str()];
    all.extend(arguments);
    let helper = Helper::run(&all);
    let result = helper.result();
    if [-i64::from(libc::ENOSYS), -i64::from(libc::EPERM)].contains(&result) {
        skip("io_uring is not available");
        return None;
    }
    // ENOSYS would be the set-up's, EINVAL an operation that the kernel does not know.
    assert!(result >= 0, "{all:?}: {result}");
    Some(helper)
}

fn all_operations(how: &str) {
    if kernel_before(5, 15) {
        return skip("io_uring neither links nor makes directories before 5.15");
    }
    let mut probe = Setup::new()
        .rule(
            "open",
            r#"open.file.path == "{work}/a" && open.flags & O_CREAT > 0"#,
        )
        .rule(
            "link",
            r#"link.file.path == "{work}/a" && link.file.destination.path == "{work}/b""#,
        )
        .rule(
            "rename",
            r#"rename.file.path == "{work}/b" && rename.file.destination.path == "{work}/c""#,
        )
        .rule("mkdir", r#"mkdir.file.path == "{work}/d""#)
        .rule("rmdir", r#"rmdir.file.path == "{work}/d""#)
        .rule("unlink", r#"unlink.file.path == "{work}/c" && event.async"#)
        .start();
    let path = |name: &str| string(&probe.path(name));
    let (a, b, c, d) = (path("a"), path("b"), path("c"), path("d"));
    let create = int(libc::O_WRONLY | libc::O_CREAT);
    let remove = int(libc::AT_REMOVEDIR);
    // fd, addr, off, len, flags
    let calls: [(&str, i64, Vec<&str>, &str); 6] = [
        (
            "open",
            OPENAT,
            vec!["i:-100", &a, "i:0", "i:416", &create],
            "a",
        ),
        ("link", LINKAT, vec!["i:-100", &a, &b, "i:-100", "i:0"], "a"),
        (
            "rename",
            RENAMEAT,
            vec!["i:-100", &b, &c, "i:-100", "i:0"],
            "b",
        ),
        (
            "mkdir",
            MKDIRAT,
            vec!["i:-100", &d, "i:0", "i:448", "i:0"],
            "d",
        ),
        (
            "rmdir",
            UNLINKAT,
            vec!["i:-100", &d, "i:0", "i:0", &remove],
            "d",
        ),
        (
            "unlink",
            UNLINKAT,
            vec!["i:-100", &c, "i:0", "i:0", "i:0"],
            "c",
        ),
    ];
    for (rule, opcode, arguments, file) in calls {
        let Some(helper) = uring(how, opcode, &arguments) else {
            return;
        };
        let event = probe.events.expect_rule(rule);
        assert_eq!(text(&event, "/evt/name"), rule, "{event:#}");
        assert_eq!(text(&event, "/file/path"), probe.path(file), "{event:#}");
        assert_eq!(at(&event, "/evt/async"), true, "{event:#}");
        assert_eq!(at(&event, "/process/pid"), helper.pid, "{event:#}");
        if how == "uring" {
            check_event(&event, rule, &probe.path(file), &helper);
        }
    }
}

#[test]
fn inline() {
    all_operations("uring");
}

#[test]
fn from_a_kernel_worker() {
    all_operations("uring-async");
}

#[test]
fn a_plain_call_is_not_async() {
    let mut probe = Setup::new()
        .rule("unlink", r#"unlink.file.path == "{work}/a""#)
        .start();
    make_file(&probe.path("a"), 0o600);
    Helper::run(&[
        "sys",
        &libc::SYS_unlink.to_string(),
        &string(&probe.path("a")),
    ]);
    let event = probe.events.expect_rule("unlink");
    assert_ne!(at(&event, "/evt/async"), true, "{event:#}");
}
