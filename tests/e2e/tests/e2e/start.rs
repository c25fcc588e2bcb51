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

/// Runs system-probe in a world where it cannot work; returns what it said.
fn refused(script: &str) -> String {
    let setup = Setup::new();
    setup.write();
    let script = script
        .replace("PROBE", &program("system-probe").to_string_lossy())
        .replace(
            "CONFIG",
            &setup.dir().join("atalaya.yaml").to_string_lossy(),
        );
    let mut child = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-ec", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = wait_for(slow(Duration::from_secs(20)), || child.try_wait().unwrap());
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!status.expect("it ends by itself").success(), "{text}");
    text
}

#[test]
fn without_btf_one_line_says_so() {
    let text = refused("mount --bind /dev/null /sys/kernel/btf/vmlinux; exec PROBE run -c CONFIG");
    assert!(text.contains("BTF"), "{text}");
    assert!(text.trim().lines().count() <= 3, "{text}");
}

#[test]
fn without_capabilities_one_line_says_so() {
    let text = refused("exec setpriv --bounding-set=-all --inh-caps=-all PROBE run -c CONFIG");
    assert!(
        text.contains("CAP_") || text.contains("root") || text.contains("permi"),
        "{text}"
    );
    assert!(text.trim().lines().count() <= 3, "{text}");
}

#[test]
fn a_broken_configuration_is_located() {
    let setup = Setup::new();
    setup.write();
    let dir = setup.dir();
    let config = dir.join("broken.yaml");
    std::fs::write(&config, "log_level: info\nruntime_security_config: [\n").unwrap();
    let log = dir.join("broken.log");
    // The file has no effect, the environment has: nothing happens outside of this directory.
    let mut child = Command::new(program("system-probe"))
        .args(["run", "-c"])
        .arg(&config)
        .env("DD_RUN_PATH", dir.join("run"))
        .env("DD_RUNTIME_SECURITY_CONFIG_SOCKET", dir.join("run/s.sock"))
        .env("DD_RUNTIME_SECURITY_CONFIG_SPOOL_DIR", dir.join("spool"))
        .env(
            "DD_RUNTIME_SECURITY_CONFIG_POLICIES_DIR",
            dir.join("policies"),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let told = wait_for(slow(Duration::from_secs(20)), || {
        let text = std::fs::read_to_string(&log).unwrap();
        text.contains("broken.yaml:2:").then_some(())
    });
    let pid = i32::try_from(child.id()).unwrap();
    let _ = nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGTERM,
    );
    wait_for(slow(Duration::from_secs(10)), || child.try_wait().unwrap());
    let _ = child.kill();
    let _ = child.wait();
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(told.is_some(), "{text}");
}

#[test]
fn the_hook_tier_is_told() {
    let probe = Setup::new().start();
    let (good, out, error) = probe.agent(&["status"]);
    assert!(good, "{out}{error}");
    let tier = out
        .lines()
        .find_map(|line| line.trim().strip_prefix("Hook tier: "));
    let tier = tier.unwrap_or_else(|| panic!("no tier: {out}"));
    // Virtual machines know what must be possible there.
    if let Ok(wanted) = std::env::var("ATALAYA_E2E_TIER") {
        assert_eq!(
            tier.split_whitespace().next(),
            Some(wanted.as_str()),
            "{out}"
        );
    }
}
