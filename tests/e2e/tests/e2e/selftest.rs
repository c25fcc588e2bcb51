//! The self-test says what it saw, and fails when it saw nothing.

use std::time::Duration;

use atalaya_e2e::{Setup, slow, text, wait_for};
use serde_json::Value;

#[test]
fn passes_line_by_line() {
    let probe = Setup::new().self_test().start();
    let (good, out, error) = probe.agent(&["runtime", "self-test"]);
    assert!(good, "{out}{error}");
    let mut lines = out.lines();
    assert_eq!(lines.next(), Some("Runtime self test: OK"), "{out}");
    for rule in ["open", "chmod", "chown"] {
        assert!(out.contains(&format!("self_test_rule_{rule}")), "{out}");
    }
}

#[test]
fn runs_at_start_and_shows_in_the_stream_and_the_status() {
    let mut probe = Setup::new().self_test().start();
    let event = probe.events.find(slow(Duration::from_secs(40)), |event| {
        text(event, "/agent/rule_id") == "self_test"
    });
    let event = event.expect("a self_test event");
    assert!(
        event
            .to_string()
            .contains("datadog_agent_cws_self_test_rule_open"),
        "{event:#}"
    );
    let (good, out, error) = probe.agent(&["status", "--json"]);
    assert!(good, "{out}{error}");
    let status: Value = serde_json::from_str(&out).unwrap();
    assert!(status.to_string().contains("self_test"), "{status:#}");
}

#[test]
fn fails_when_the_socket_is_down() {
    let mut probe = Setup::new().self_test().start();
    probe.stop();
    let (good, out, error) = probe.agent(&["runtime", "self-test"]);
    assert!(!good, "{out}");
    let all = format!("{out}{error}");
    assert!(!all.contains("self test: OK"), "{all}");
    assert!(
        all.contains("runtime-security.sock"),
        "the reason names the socket: {all}"
    );
}

#[test]
fn says_so_when_it_is_turned_off() {
    let probe = Setup::new().start();
    let (good, out, error) = probe.agent(&["runtime", "self-test"]);
    let all = format!("{out}{error}");
    assert!(!good, "{all}");
    assert!(all.contains("self-tests are disabled"), "{all}");
}

#[test]
fn fails_when_the_probe_is_stopped_in_its_tracks() {
    use nix::sys::signal::Signal;
    let mut probe = Setup::new().self_test().start();
    probe.signal(Signal::SIGSTOP);
    let mut child = probe
        .agent_command(&["runtime", "self-test"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let status = wait_for(Duration::from_secs(60), || child.try_wait().unwrap());
    probe.signal(Signal::SIGCONT);
    let _ = child.kill();
    let _ = child.wait();
    assert!(!status.expect("it times out by itself").success());
    probe.stop();
}
