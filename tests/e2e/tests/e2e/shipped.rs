//! The policy that ships: it fires on what it is for, and not on everyday work.

use std::process::Command;

use atalaya_e2e::{Helper, Probe, Setup, at, policies_dir, sys, text};
use serde_json::Value;

use crate::common::{CWD, int, make_file, string, tiny_program};

fn probe() -> Probe {
    let policy = std::fs::read_to_string(policies_dir().join("default.policy")).unwrap();
    Setup::new()
        .policy("default.policy", &policy)
        .rule(
            "fence",
            r#"open.file.path == "{work}/fence" && open.flags & O_CREAT > 0"#,
        )
        .start()
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}");
}

/// Whether the test's own directory shows in the event.
fn about(event: &Value, probe: &Probe) -> bool {
    let work = probe.work().to_string_lossy().into_owned();
    event.to_string().contains(&work)
}

#[test]
fn attacks_are_told() {
    let mut probe = probe();
    let file = probe.path("program");
    tiny_program(file.as_ref());
    let key = probe.path("id_ed25519");
    make_file(&key, 0o600);
    let history = probe.path(".bash_history");
    make_file(&history, 0o600);

    sys(libc::SYS_chmod, &[&string(&file), &int(0o4755)]);
    run("cat", &[&key]);
    run("rm", &[&history]);
    run("mkdir", &[&probe.path("...")]);
    run(
        "sh",
        &["-c", &format!(": > '{}'", probe.path("authorized_keys"))],
    );
    run(
        "sh",
        &["-c", &format!(": '{}' /dev/tcp/192.0.2.1/4444", file)],
    );
    let helper = Helper::path();
    Helper::run(&[
        "memfd-exec",
        &helper.to_string_lossy(),
        "sys",
        "39",
        &string(&file),
    ]);

    for rule in [
        "setuid_bit_set",
        "ssh_private_key_read",
        "shell_history_removed",
        "deceptive_directory_made",
        "ssh_authorized_keys_written",
        "reverse_shell_arguments",
        "program_in_memory_only",
    ] {
        let found = probe.events.find(atalaya_e2e::event_time(), |event| {
            text(event, "/agent/rule_id") == rule
        });
        let event = found.unwrap_or_else(|| panic!("{rule} did not fire"));
        assert!(!text(&event, "/title").is_empty(), "{event:#}");
        assert_eq!(
            text(&event, "/agent/policy_name"),
            "default.policy",
            "{event:#}"
        );
    }
}

#[test]
fn everyday_work_is_not() {
    let mut probe = probe();
    let dir = probe.path("everyday");
    let script = format!(
        "mkdir '{dir}'; cd '{dir}'; echo text > file; cp file copy; mv copy moved; chmod 755 moved; ln moved other\n\
         touch file; cat file /etc/passwd /etc/hostname > all; ls -la / /etc /usr/bin > list; sort list > sorted\n\
         tar cf archive.tar file moved; tar xf archive.tar; rm -r '{dir}'"
    );
    run("sh", &["-ec", &script]);
    sys(
        libc::SYS_openat,
        &[
            CWD,
            &string(&probe.path("fence")),
            &int(libc::O_CREAT),
            "i:384",
        ],
    );
    probe.events.expect_rule("fence");
    let own = std::process::id();
    let alarms: Vec<&Value> = probe
        .events
        .events
        .iter()
        .filter(|event| {
            !["fence", "ruleset_loaded", "heartbeat", "self_test"]
                .contains(&text(event, "/agent/rule_id"))
        })
        .filter(|event| about(event, &probe))
        .filter(|event| {
            at(event, "/process/ancestors")
                .as_array()
                .is_some_and(|ancestors| ancestors.iter().any(|process| at(process, "/pid") == own))
        })
        .collect();
    assert!(alarms.is_empty(), "{alarms:#?}");
}
