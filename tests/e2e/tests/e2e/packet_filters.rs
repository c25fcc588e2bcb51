//! Filters of packets: the rules that have them, and the action that drops what passes one.

use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::Duration;

use atalaya_e2e::{at, text};
use nix::sys::signal::Signal;

use crate::classifiers::{Host, attached, eventually, node_and_pod, setup_of};

const RULES: &str = r#"
rules:
  - id: sent
    expression: packet.filter == "udp dst port 4444 and src net 10.97.0.0/24 and outbound" && process.file.name == "bash"
  - id: other
    expression: packet.filter == "tcp and udp"
  - id: cut_off
    expression: open.file.path == "{work}/cut" && process.file.name == "bash"
    actions:
      - network_filter: {filter: udp dst port 4444 or 5555, policy: drop, scope: process}
"#;

/// A socket of the node that is sent to.
fn listen(node: &Host) -> UdpSocket {
    let socket = node.inside(|| UdpSocket::bind("10.97.0.1:4444").unwrap());
    let patience = Some(Duration::from_secs(1));
    socket.set_read_timeout(patience).unwrap();
    socket
}

fn received(socket: &UdpSocket) -> Option<String> {
    let mut room = [0; 16];
    let length = socket.recv(&mut room).ok()?;
    Some(String::from_utf8_lossy(&room[..length]).trim().to_owned())
}

/// A script of bash in the pod, which waits for lines.
fn bash(pod: &Host, script: &str) -> std::process::Child {
    pod.inside(|| {
        Command::new("bash")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap()
    })
}

#[test]
fn network_filter_drops_the_packets_of_the_process_and_of_nobody_else() {
    let (node, pod) = node_and_pod();
    let mut probe = setup_of(&[&node, &pod], "    raw_packet: {limiter_rate: 100}\n")
        .policy("filters.policy", RULES)
        .start();
    attached(&probe, &pod, "eth0");
    attached(&probe, &node, "lxc1");
    let socket = listen(&node);
    let cut = probe.path("cut");
    std::fs::write(&cut, "x").unwrap();
    let send = |word: &str| format!("echo {word} > /dev/udp/10.97.0.1/4444");
    let mut child = bash(
        &pod,
        &format!(
            "{}; read; read < {cut}; read; {}; read; {}; exit 0",
            send("one"),
            send("two"),
            send("three")
        ),
    );
    let mut lines = child.stdin.take().unwrap();
    let mut next = || std::io::Write::write_all(&mut lines, b"\n").unwrap();
    assert_eq!(received(&socket).as_deref(), Some("one"));
    let event = probe.events.expect_rule("sent");
    assert_eq!(at(&event, "/process/pid"), child.id(), "{event:#}");
    assert_eq!(at(&event, "/packet/destination/port"), 4444, "{event:#}");
    assert_ne!(event.pointer("/packet/dropped"), Some(&true.into()));

    next();
    let event = probe.events.expect_rule("cut_off");
    let report = at(&event, "/agent/rule_actions/0");
    assert_eq!(text(report, "/type"), "network_filter", "{event:#}");
    assert_eq!(text(report, "/status"), "performed", "{event:#}");
    assert_eq!(text(report, "/policy"), "drop", "{event:#}");
    next();
    let event = probe.events.expect("sent", |event| {
        event.pointer("/packet/dropped") == Some(&true.into())
    });
    assert_eq!(at(&event, "/process/pid"), child.id(), "{event:#}");
    // Another process sends, and the one that was cut off has not arrived before it.
    let another = bash(&pod, &send("four")).wait().unwrap();
    assert!(another.success());
    assert_eq!(received(&socket).as_deref(), Some("four"));

    // Without the rule nothing is dropped any more.
    probe.write_policy(
        "filters.policy",
        "rules:\n  - id: other\n    expression: packet.filter == \"tcp and udp\"\n",
    );
    probe.signal(Signal::SIGHUP);
    eventually("the reload", || {
        probe.log().matches("policies loaded").count() >= 2
    });
    std::thread::sleep(Duration::from_millis(300));
    next();
    assert_eq!(received(&socket).as_deref(), Some("three"));
    assert!(child.wait().unwrap().success());
    assert!(probe.events.of_rule("other").is_empty());
    assert!(probe.stop().is_some_and(|status| status.success()));
}

#[test]
fn a_filter_that_is_none_is_an_error_of_its_rule_with_the_place() {
    let output = |expression: &str| {
        let dir = tempfile::tempdir().unwrap();
        let rule = format!("rules:\n  - id: bad\n    expression: {expression}\n");
        std::fs::write(dir.path().join("a.policy"), rule).unwrap();
        let check = Command::new(atalaya_e2e::program("security-agent"))
            .args(["runtime", "policy", "check", "--policies-dir"])
            .arg(dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&check.stdout) + String::from_utf8_lossy(&check.stderr);
        (check.status.success(), said.into_owned())
    };
    let (fine, said) = output(r#"packet.filter == "tcp port 8""#);
    assert!(fine, "{said}");
    let (fine, said) = output(r#"packet.filter == "tcp portt 8""#);
    assert!(
        !fine && said.contains("unknown word `portt`") && said.contains("`port`"),
        "{said}"
    );
}
