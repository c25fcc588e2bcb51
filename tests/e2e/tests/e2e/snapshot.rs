//! Processes that were there before system-probe.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use atalaya_e2e::{Helper, Setup, at, copy_executable, has_args, text};

use crate::common::string;

#[test]
fn a_process_from_before_has_its_context_and_ancestors() {
    let setup = Setup::new()
        .rule("old", r#"open.file.path == "{work}/late" && process.file.name == "old-helper" && process.ancestors.file.name == "sh-copy""#);
    let old = setup.work().join("old-helper");
    let shell = setup.work().join("sh-copy");
    copy_executable(&Helper::path(), &old);
    copy_executable(std::fs::canonicalize("/bin/sh").unwrap().as_ref(), &shell);
    let late = string(&setup.work().join("late").to_string_lossy());
    let script = format!(
        "'{}' hold {} '{late}' i:65 i:384; true",
        old.display(),
        libc::SYS_open
    );
    let mut child = Command::new(&shell)
        .args(["-c", &script])
        .env("E2E_OLD", "yes")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line.trim(), "holding");

    let mut probe = setup.start();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"go\n").unwrap();
    drop(input);
    child.wait().unwrap();
    let event = probe.events.expect_rule("old");
    assert_eq!(
        text(&event, "/process/executable/path"),
        old.to_string_lossy(),
        "{event:#}"
    );
    assert!(has_args(&event, "hold"), "{event:#}");
    assert_eq!(at(&event, "/process/ppid"), child.id(), "{event:#}");
    let parent = at(&event, "/process/parent");
    assert_eq!(
        text(parent, "/executable/path"),
        shell.to_string_lossy(),
        "{event:#}"
    );
    assert_eq!(at(&event, "/process/credentials/euid"), 0, "{event:#}");
}
