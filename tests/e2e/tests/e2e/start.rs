//! Starting: what is refused, what is only warned of.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use atalaya_e2e::{Setup, copy_executable, program, slow, wait_for};

#[test]
fn a_second_instance_is_refused() {
    let probe = Setup::new().start();
    let mut second = probe.command().stderr(Stdio::piped()).spawn().unwrap();
    let status = wait_for(slow(Duration::from_secs(10)), || second.try_wait().unwrap());
    let _ = second.kill();
    let output = second.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(status.expect("it ends by itself").code(), Some(1), "{text}");
    assert_eq!(text.trim().lines().count(), 1, "one clear line: {text}");
    assert!(text.contains("running"), "{text}");
    // The first one is unharmed.
    let (good, out, error) = probe.agent(&["status", "--json"]);
    assert!(good, "{out}{error}");
}

#[test]
fn without_root_one_line_says_so() {
    let setup = Setup::new();
    setup.write();
    let copy = setup.dir().join("system-probe");
    copy_executable(&program("system-probe"), &copy);
    std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).unwrap();
    let output = Command::new(&copy)
        .arg("run")
        .arg("-c")
        .arg(setup.dir().join("atalaya.yaml"))
        .uid(65534)
        .gid(65534)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{text}");
    assert!(text.trim().lines().count() <= 2, "{text}");
    assert!(text.contains("root") || text.contains("CAP_"), "{text}");
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_known_one() {
    let probe = Setup::new()
        .config("  self_tests:\n    enabled: true\n")
        .start();
    let log = probe.log();
    assert!(log.contains("self_tests"), "{log}");
    assert!(
        log.contains("self_test.enabled")
            || log.contains("self_test`")
            || log.contains("self_test\""),
        "{log}"
    );
}

#[test]
fn a_missing_policy_directory_does_not_stop_it() {
    let mut probe = Setup::new().start();
    probe.stop();
    std::fs::remove_dir_all(probe.dir().join("policies")).unwrap();
    probe.start();
    let (good, out, error) = probe.agent(&["status", "--json"]);
    assert!(good, "{out}{error}");
}

#[test]
fn a_stale_socket_is_no_obstacle() {
    let mut probe = Setup::new().start();
    probe.kill();
    assert!(probe.socket().exists(), "a crash leaves the socket");
    probe.start();
    let (good, out, error) = probe.agent(&["status", "--json"]);
    assert!(good, "{out}{error}");
}

#[test]
fn versions_are_told() {
    for name in ["system-probe", "security-agent"] {
        let output = Command::new(program(name)).arg("version").output().unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains(env!("CARGO_PKG_VERSION")));
    }
}
