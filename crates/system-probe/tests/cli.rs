//! What the command line does before anything needs the kernel. The rest is in the end-to-end tests.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

fn run(command: &mut Command) -> (i32, String, String) {
    for (name, _) in std::env::vars().filter(|(n, _)| n.starts_with("DD_")) {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn probe(args: &[&str]) -> (i32, String, String) {
    run(Command::new(env!("CARGO_BIN_EXE_system-probe")).args(args))
}

/// A configuration that touches nothing outside the directory.
fn config(dir: &Path, more: &str) -> String {
    let d = dir.display();
    let path = dir.join("system-probe.yaml");
    let text = format!(
        "run_path: {d}/run\nruntime_security_config:\n  socket: {d}/run/x.sock\n  spool: {{dir: {d}/spool}}\n\
         \x20 policies: {{dir: {d}/policies}}\n{more}"
    );
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn version() {
    assert_eq!(
        probe(&["version"]),
        (
            0,
            format!("system-probe {}\n", env!("CARGO_PKG_VERSION")),
            String::new()
        )
    );
    assert_eq!(probe(&["--version"]), probe(&["version"]));
}

#[test]
fn a_named_file_that_is_missing_is_one_line() {
    let (code, _, err) = probe(&["run", "-c", "/nowhere/x.yaml"]);
    assert_eq!((code, err.lines().count()), (1, 1), "{err}");
    assert!(
        err.starts_with("Error: cannot read the configuration /nowhere/x.yaml"),
        "{err}"
    );
    assert_eq!(err.matches("No such file").count(), 1, "{err}");
}

#[test]
fn switched_off_it_says_so_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = config(dir.path(), "  enabled: false\nlog_levle: x\n");
    let (code, _, err) = probe(&["run", "-c", &path]);
    assert_eq!(code, 0);
    assert!(err.contains("runtime security is off"), "{err}");
    assert!(
        err.contains("system-probe.yaml:7:1: warning: unknown key `log_levle`"),
        "{err}"
    );
    assert!(!dir.path().join("run").exists());
}

#[test]
fn without_privileges_it_says_what_is_missing_and_what_to_do() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root to become somebody else");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // Where nobody can read it.
    let copy = dir.path().join("system-probe");
    fs::copy(env!("CARGO_BIN_EXE_system-probe"), &copy).unwrap();
    fs::set_permissions(
        dir.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let path = config(dir.path(), "");
    let (code, _, err) = run(Command::new(&copy)
        .args(["run", "-c", &path])
        .uid(65534)
        .gid(65534));
    assert_eq!((code, err.lines().count()), (1, 1), "{err}");
    assert!(
        err.contains("lacks CAP_BPF") && err.contains("run it as root"),
        "{err}"
    );
}

#[test]
fn the_network_doctor_works_without_a_running_probe_and_its_exit_code_is_its_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let path = config(dir.path(), "");
    let (code, out, err) = probe(&["runtime", "network", "doctor", "--json", "-c", &path]);
    let report: serde_json::Value = serde_json::from_str(&out).expect(&err);
    // Other tests' namespaces may be in it; without privileges nothing can be looked at, and that is trouble as well.
    assert_eq!(
        code,
        i32::from(report["trouble"].as_bool().unwrap()),
        "{report:#}"
    );
    assert_eq!(report["version"], 1);
    assert_eq!(report["classifier_priority"], 10);
    let off = config(
        dir.path(),
        "  network: {enabled: false, classifier_priority: 4}\n",
    );
    let (code, out, _) = probe(&["runtime", "network", "doctor", "-c", &off]);
    assert_eq!(code, 0, "{out}");
    assert!(
        out.starts_with("Network doctor: OK\n  network detections are off"),
        "{out}"
    );
    assert!(out.contains("classifier_priority 4"), "{out}");
}
