//! Policy files: one bad rule, one bad file, a reload.

use atalaya_e2e::{Probe, Setup, bin_dir, event_time, policies_dir, sys, text, wait_for};
use nix::sys::signal::Signal;

use crate::common::{CWD, int, string};

fn touch(probe: &Probe, name: &str) {
    let path = string(&probe.path(name));
    sys(
        libc::SYS_openat,
        &[CWD, &path, &int(libc::O_CREAT), "i:384"],
    );
}

const BAD_RULES: &str = "version: 1.0.0\nrules:\n\
  \x20 - id: no_such_field\n    expression: open.file.pth == \"/x\"\n\
  \x20 - id: bad_syntax\n    expression: open.file.path == == \"/x\"\n\
  \x20 - id: bad_type\n    expression: open.file.path == 3\n";

#[test]
fn a_bad_rule_takes_no_other_down() {
    let mut probe = Setup::new()
        .rule("good", r#"open.file.path == "{work}/good""#)
        .policy("bad.policy", BAD_RULES)
        .policy("broken.policy", "rules:\n  - id: [unclosed\n")
        .start();
    touch(&probe, "good");
    probe.events.expect_rule("good");
    let log = probe.log();
    for word in ["no_such_field", "bad_syntax", "bad_type", "broken.policy"] {
        assert!(log.contains(word), "{word} is not in the log:\n{log}");
    }
}

fn check(dir: &std::path::Path) -> (bool, String) {
    let output = std::process::Command::new(bin_dir().join("security-agent"))
        .args(["runtime", "policy", "check", "--policies-dir"])
        .arg(dir)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[test]
fn policy_check_locates_each_error() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("bad.policy"), BAD_RULES).unwrap();
    let (good, text) = check(dir.path());
    assert!(!good, "{text}");
    for word in [
        "no_such_field",
        "bad_syntax",
        "bad_type",
        "bad.policy",
        "open.file.path",
    ] {
        assert!(text.contains(word), "{word} is missing in:\n{text}");
    }
}

#[test]
fn the_shipped_policy_has_no_error() {
    let (good, text) = check(&policies_dir());
    assert!(good, "{text}");
}

#[test]
fn reload_by_command_and_by_signal() {
    let mut probe = Setup::new()
        .rule("first", r#"open.file.path == "{work}/first""#)
        .start();
    touch(&probe, "first");
    probe.events.expect_rule("first");
    let add = |probe: &Probe, id: &str| {
        let text = format!(
            "rules:\n  - id: {id}\n    expression: mkdir.file.path == \"{}\"\n",
            probe.path(id)
        );
        std::fs::write(probe.dir().join(format!("policies/{id}.policy")), text).unwrap();
    };
    add(&probe, "second");
    let (good, out, error) = probe.agent(&["runtime", "policy", "reload"]);
    assert!(good, "{out}{error}");
    // mkdir was of no interest before: its programs are attached by the reload.
    sys(libc::SYS_mkdir, &[&string(&probe.path("second")), "i:448"]);
    probe.events.expect_rule("second");

    add(&probe, "third");
    probe.signal(Signal::SIGHUP);
    let seen = wait_for(event_time(), || {
        let path = probe.path("third");
        sys(libc::SYS_mkdir, &[&string(&path), "i:448"]);
        let _ = std::fs::remove_dir(&path);
        (!probe.events.of_rule("third").is_empty()).then_some(())
    });
    assert!(seen.is_some(), "{}", probe.log());

    // A removed rule is gone.
    std::fs::remove_file(probe.dir().join("policies/second.policy")).unwrap();
    let (good, ..) = probe.agent(&["runtime", "policy", "reload"]);
    assert!(good);
    let before = probe.events.of_rule("second").len();
    std::fs::remove_dir(probe.path("second")).unwrap();
    sys(libc::SYS_mkdir, &[&string(&probe.path("second")), "i:448"]);
    touch(&probe, "first");
    wait_for(event_time(), || {
        (probe.events.of_rule("first").len() > 1).then_some(())
    });
    assert_eq!(probe.events.of_rule("second").len(), before);
}

#[test]
fn macros_and_tags() {
    let policy = "macros:\n  - id: e2e_names\n    values: [\"one\", \"two\"]\n";
    let mut probe = Setup::new()
        .policy("a.policy", policy)
        .rule(
            "by_macro",
            r#"open.file.name in e2e_names && open.file.path =~ "{work}/*""#,
        )
        .start();
    touch(&probe, "two");
    let event = probe.events.expect_rule("by_macro");
    assert_eq!(text(&event, "/title"), "by_macro", "{event:#}");
    assert_eq!(
        text(&event, "/agent/policy_name"),
        "e2e.policy",
        "{event:#}"
    );
}

#[test]
fn explain_tells_what_system_probe_counted() {
    let mut probe = Setup::new()
        .rule("counted", r#"open.file.path == "{work}/file""#)
        .rule("written", r#"fim.write.file.path == "{work}/file""#)
        .start();
    for _ in 0..3 {
        touch(&probe, "file");
    }
    let all = wait_for(event_time(), || {
        (probe.events.of_rule("counted").len() == 3).then_some(())
    });
    assert!(all.is_some());
    let dir = probe.dir().join("policies");
    let dir = dir.to_str().unwrap();
    let explain = ["runtime", "policy", "explain", "counted", dir];
    let (good, out, error) = probe.agent(&explain);
    assert!(
        good && out.contains("In system-probe: matched 3 times, 0 of them kept back"),
        "{out}{error}"
    );
    // Of a rule that is several, all count.
    std::fs::remove_file(probe.path("file")).unwrap();
    let all = wait_for(event_time(), || {
        (probe.events.of_rule("written").len() == 4).then_some(())
    });
    assert!(all.is_some());
    let (good, out, error) = probe.agent(&["runtime", "policy", "explain", "written", dir]);
    assert!(
        good && out.contains("In system-probe: matched 4 times"),
        "{out}{error}"
    );
}
