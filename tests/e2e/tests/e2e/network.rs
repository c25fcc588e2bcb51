//! The event types of sockets. All calls are made in a network namespace of the helper's own.

use atalaya_e2e::{Helper, Setup, at, skip, text};
use serde_json::Value;

const EINPROGRESS: i64 = -115;

/// Runs the steps (see the helper) and gives their results.
fn net(steps: &[&str]) -> (Helper, Vec<i64>) {
    let helper = Helper::run(&[&["net"], steps].concat());
    let results = helper
        .output
        .split(' ')
        .map(|word| word.parse().unwrap())
        .collect();
    (helper, results)
}

fn check(event: &Value, name: &str, helper: &Helper, family: &str, ip: &str, port: u16) {
    assert_eq!(text(event, "/evt/name"), name, "{event:#}");
    assert_eq!(at(event, "/process/pid"), helper.pid, "{event:#}");
    let address = at(event, &format!("/{name}/addr"));
    assert_eq!(address["family"], family, "{event:#}");
    assert_eq!(address["ip"], ip, "{event:#}");
    assert_eq!(address["port"], port, "{event:#}");
}

fn is_async(event: &Value) -> bool {
    at(event, "/evt").get("async") == Some(&Value::Bool(true))
}

#[test]
fn event_connect() {
    let mut probe = Setup::new()
        .rule(
            "tcp",
            "connect.addr.family == AF_INET && connect.addr.ip == 127.1.2.3 && connect.addr.port == 8001 && connect.protocol == IP_PROTO_TCP && connect.retval == 0 && !connect.addr.is_public",
        )
        .rule("tcp6", "connect.addr.family == AF_INET6 && connect.addr.ip == ::1 && connect.addr.port == 8002")
        .rule("udp", "connect.addr.ip == 127.0.0.9 && connect.addr.port == 53 && connect.protocol == IP_PROTO_UDP")
        .start();
    let (helper, results) = net(&[
        "socket=2,1,0",
        "bind=0,4/127.1.2.3/8001",
        "listen=0",
        "socket=2,1,0",
        "connect=1,4/127.1.2.3/8001",
        "socket=10,1,0",
        "bind=2,6/::1/8002",
        "listen=2",
        "socket=10,1,0",
        "connect=3,6/::1/8002",
        "socket=2,2,0",
        "connect=4,4/127.0.0.9/53",
    ]);
    assert!(results.iter().all(|result| *result >= 0), "{results:?}");
    let event = probe.events.expect_rule("tcp");
    check(&event, "connect", &helper, "AF_INET", "127.1.2.3", 8001);
    assert_eq!(at(&event, "/connect/protocol"), "IP_PROTO_TCP");
    assert_eq!(at(&event, "/evt/outcome"), "Success");
    let event = probe.events.expect_rule("tcp6");
    check(&event, "connect", &helper, "AF_INET6", "::1", 8002);
    let event = probe.events.expect_rule("udp");
    check(&event, "connect", &helper, "AF_INET", "127.0.0.9", 53);
    assert_eq!(at(&event, "/connect/protocol"), "IP_PROTO_UDP");
    // Each once, whatever was hooked to see it.
    for rule in ["tcp", "tcp6", "udp"] {
        assert_eq!(probe.events.of_rule(rule).len(), 1, "{rule}");
    }
}

#[test]
fn connect_to_an_ipv4_address_that_ipv6_wraps() {
    let mut probe = Setup::new()
        .rule(
            "mapped",
            "connect.addr.ip == 127.0.0.7 && connect.addr.port == 8003",
        )
        .start();
    let (helper, results) = net(&[
        "socket=2,1,0",
        "bind=0,4/127.0.0.7/8003",
        "listen=0",
        "socket=10,1,0",
        "connect=1,6/::ffff:127.0.0.7/8003",
    ]);
    assert_eq!(results.last(), Some(&0), "{results:?}");
    let event = probe.events.expect_rule("mapped");
    check(&event, "connect", &helper, "AF_INET6", "127.0.0.7", 8003);
}

#[test]
fn connect_of_sockets_that_are_no_internet() {
    let mut probe = Setup::new()
        .rule(
            "unix",
            r#"connect.addr.family == AF_UNIX && process.comm == "e2e-helper""#,
        )
        .rule(
            "netlink",
            r#"connect.addr.family == AF_NETLINK && process.comm == "e2e-helper""#,
        )
        .start();
    let path = format!("bind=0,u/{}", probe.path("named"));
    let (helper, results) = net(&[
        "socket=1,1,0",
        &path,
        "listen=0",
        "socket=1,1,0",
        "connect=1,p/0",
        "socket=16,3,0",
        "connect=2,f/16",
    ]);
    assert!(results.iter().all(|result| *result >= 0), "{results:?}");
    let event = probe.events.expect_rule("unix");
    check(&event, "connect", &helper, "AF_UNIX", "", 0);
    let event = probe.events.expect_rule("netlink");
    check(&event, "connect", &helper, "AF_NETLINK", "", 0);

    let (helper, results) = net(&[
        "socket=1,1,0",
        "bind=0,a/abstract name",
        "listen=0",
        "socket=1,1,0",
        "connect=1,a/abstract name",
    ]);
    assert!(results.iter().all(|result| *result >= 0), "{results:?}");
    let event = probe
        .events
        .expect("unix", |event| at(event, "/process/pid") == helper.pid);
    check(&event, "connect", &helper, "AF_UNIX", "", 0);
}

/// What a socket that does not block begins goes on when the call is over.
#[test]
fn connect_that_is_in_progress() {
    let mut probe = Setup::new()
        .rule(
            "begun",
            "connect.addr.ip == 127.0.0.6 && connect.retval == EINPROGRESS",
        )
        .start();
    let (helper, results) = net(&["socket=2,2049,0", "connect=0,4/127.0.0.6/9"]);
    assert_eq!(results.last(), Some(&EINPROGRESS), "{results:?}");
    let event = probe.events.expect_rule("begun");
    check(&event, "connect", &helper, "AF_INET", "127.0.0.6", 9);
}

/// A failed connect is an event where all errors are asked for, by the address that it was about.
#[test]
fn connect_that_fails() {
    let mut probe = Setup::new()
        .config("  syscalls:\n    capture_all_errors:\n      enabled: true\n")
        .rule(
            "refused",
            "connect.addr.port == 8009 && connect.retval == ECONNREFUSED",
        )
        .rule(
            "nowhere",
            "connect.addr.ip == 8.8.4.4 && connect.retval == ENETUNREACH && connect.addr.is_public",
        )
        .start();
    let (helper, results) = net(&[
        "socket=2,1,0",
        "connect=0,4/127.0.0.5/8009",
        "socket=2,1,0",
        "connect=1,4/8.8.4.4/53",
    ]);
    assert!(results[1] < 0 && results[3] < 0, "{results:?}");
    let event = probe.events.expect_rule("refused");
    check(&event, "connect", &helper, "AF_INET", "127.0.0.5", 8009);
    assert_eq!(at(&event, "/evt/outcome"), "Error");
    let event = probe.events.expect_rule("nowhere");
    check(&event, "connect", &helper, "AF_INET", "8.8.4.4", 53);
}

#[test]
fn connect_through_the_32_bit_entry() {
    let mut probe = Setup::new()
        .rule("direct", "connect.addr.ip == 127.0.0.11")
        .rule("packed", "connect.addr.ip == 127.0.0.12")
        .start();
    let (helper, results) = net(&[
        "socket@int80=2,2,0",
        "connect@int80=0,4/127.0.0.11/11",
        "socket@socketcall=2,2,0",
        "connect@socketcall=1,4/127.0.0.12/12",
    ]);
    if results[1] == -i64::from(libc::ENOSYS) {
        return skip("the kernel has no 32-bit entry");
    }
    let event = probe.events.expect_rule("direct");
    check(&event, "connect", &helper, "AF_INET", "127.0.0.11", 11);
    let event = probe.events.expect_rule("packed");
    check(&event, "connect", &helper, "AF_INET", "127.0.0.12", 12);
}

#[test]
fn connect_through_io_uring() {
    let mut probe = Setup::new()
        .rule("at_once", "connect.addr.ip == 127.0.0.21")
        .rule("by_worker", "connect.addr.ip == 127.0.0.22")
        .rule("tcp", "connect.addr.ip == 127.0.0.23")
        .start();
    let (helper, results) = net(&[
        "socket=2,2,0",
        "connect@uring=0,4/127.0.0.21/21",
        "socket=2,2,0",
        "connect@uring-async=1,4/127.0.0.22/22",
        "socket=2,1,0",
        "bind=2,4/127.0.0.23/23",
        "listen=2",
        "socket=2,1,0",
        "connect@uring=3,4/127.0.0.23/23",
    ]);
    if results[1] < 0 {
        return skip("io_uring is not available");
    }
    assert_eq!(results.last(), Some(&0), "{results:?}");
    for (rule, ip, port) in [
        ("at_once", "127.0.0.21", 21),
        ("by_worker", "127.0.0.22", 22),
        ("tcp", "127.0.0.23", 23),
    ] {
        let event = probe.events.expect_rule(rule);
        check(&event, "connect", &helper, "AF_INET", ip, port);
        assert!(is_async(&event), "{event:#}");
        assert_eq!(probe.events.of_rule(rule).len(), 1, "{rule}");
    }
}
