//! The harness holds every event against the published schema; here is every kind at once, so that none is forgotten.

use atalaya_e2e::{Helper, Setup, skip, sys, text, validator_available};

use crate::common::{CWD, int, string};

#[test]
fn every_kind_of_event_obeys_the_schema() {
    if !validator_available() {
        skip("backend_linux.schema.json is not at hand (ATALAYA_SCHEMA)");
        return;
    }
    let mut setup = Setup::new();
    for kind in [
        "open", "chmod", "chown", "unlink", "rmdir", "mkdir", "rename", "link", "utimes",
    ] {
        setup = setup.rule(kind, &format!(r#"{kind}.file.path =~ "{{work}}/**""#));
    }
    let mut probe = setup
        .rule(
            "exec",
            r#"exec.file.name == "e2e-helper" && exec.args =~ "*{work}*""#,
        )
        .rule(
            "exit",
            r#"exit.file.name == "e2e-helper" && exit.args =~ "*{work}*""#,
        )
        .self_test()
        .start();
    let (a, b, d) = (
        string(&probe.path("a")),
        string(&probe.path("b")),
        string(&probe.path("d")),
    );
    sys(libc::SYS_openat, &[CWD, &a, &int(libc::O_CREAT), "i:384"]);
    sys(libc::SYS_chmod, &[&a, "i:511"]);
    sys(libc::SYS_chown, &[&a, "i:1", "i:1"]);
    sys(libc::SYS_utimensat, &[CWD, &a, "i:0", "i:0"]);
    sys(libc::SYS_link, &[&a, &b]);
    sys(libc::SYS_unlink, &[&a]);
    sys(libc::SYS_rename, &[&b, &a]);
    sys(libc::SYS_mkdir, &[&d, "i:448"]);
    sys(libc::SYS_rmdir, &[&d]);
    Helper::run(&["sys", "39"]);
    for kind in [
        "open", "chmod", "chown", "unlink", "rmdir", "mkdir", "rename", "link", "utimes", "exec",
        "exit",
    ] {
        // `expect_rule` reads, and reading validates.
        let event = probe.events.expect_rule(kind);
        assert_eq!(text(&event, "/evt/name"), kind, "{event:#}");
    }
}
