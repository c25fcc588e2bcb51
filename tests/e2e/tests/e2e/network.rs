//! The event types of sockets. All calls are made in a network namespace of the helper's own.

use atalaya_e2e::{Helper, Setup, at, kernel_before, skip, text};
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

#[test]
fn event_bind() {
    let mut probe = Setup::new()
        .rule("tcp", "bind.addr.ip == 127.3.2.1 && bind.addr.port == 8101 && bind.protocol == IP_PROTO_TCP && bind.retval == 0")
        .rule("tcp6", "bind.addr.family == AF_INET6 && bind.addr.ip == ::1 && bind.addr.port == 8102")
        .rule("any_port", "bind.addr.ip == 127.3.2.2 && bind.addr.port == 0")
        .rule("unix", r#"bind.addr.family == AF_UNIX && process.argv == "bind=3,a/of the test""#)
        .rule("packed", "bind.addr.ip == 127.3.2.3 && bind.addr.port == 8103")
        .start();
    let (helper, results) = net(&[
        "socket=2,1,0",
        "bind=0,4/127.3.2.1/8101",
        "socket=10,1,0",
        "bind=1,6/::1/8102",
        "socket=2,2,0",
        "bind=2,4/127.3.2.2/0",
        "socket=1,1,0",
        "bind=3,a/of the test",
    ]);
    assert!(results.iter().all(|result| *result >= 0), "{results:?}");
    let event = probe.events.expect_rule("tcp");
    check(&event, "bind", &helper, "AF_INET", "127.3.2.1", 8101);
    assert_eq!(at(&event, "/bind/protocol"), "IP_PROTO_TCP");
    let event = probe.events.expect_rule("tcp6");
    check(&event, "bind", &helper, "AF_INET6", "::1", 8102);
    let event = probe.events.expect_rule("any_port");
    check(&event, "bind", &helper, "AF_INET", "127.3.2.2", 0);
    let event = probe.events.expect_rule("unix");
    check(&event, "bind", &helper, "AF_UNIX", "", 0);
    for rule in ["tcp", "tcp6", "any_port", "unix"] {
        assert_eq!(probe.events.of_rule(rule).len(), 1, "{rule}");
    }
    let (helper, results) = net(&["socket=2,1,0", "bind@socketcall=0,4/127.3.2.3/8103"]);
    if results[1] == 0 {
        let event = probe.events.expect_rule("packed");
        check(&event, "bind", &helper, "AF_INET", "127.3.2.3", 8103);
    } else {
        skip("the kernel has no 32-bit entry");
    }
}

/// Since 6.11.
#[test]
fn bind_through_io_uring() {
    let mut probe = Setup::new()
        .rule(
            "bound",
            "bind.addr.ip == 127.3.2.9 && bind.addr.port == 8109",
        )
        .start();
    let (helper, results) = net(&["socket=2,1,0", "bind@uring=0,4/127.3.2.9/8109"]);
    if results[1] < 0 {
        return skip("io_uring cannot bind");
    }
    let event = probe.events.expect_rule("bound");
    check(&event, "bind", &helper, "AF_INET", "127.3.2.9", 8109);
    assert!(is_async(&event), "{event:#}");
    assert_eq!(probe.events.of_rule("bound").len(), 1);
}

/// The address is that of the other side, the port that of this one, which was listened on.
#[test]
fn event_accept() {
    let mut probe = Setup::new()
        .rule(
            "tcp",
            "accept.addr.ip == 127.4.0.1 && accept.addr.port == 8201 && accept.retval > 0",
        )
        .rule(
            "tcp6",
            "accept.addr.family == AF_INET6 && accept.addr.ip == ::1 && accept.addr.port == 8202",
        )
        .rule(
            "unix",
            r#"accept.addr.family == AF_UNIX && process.comm == "e2e-helper""#,
        )
        .start();
    let (helper, results) = net(&[
        "socket=2,1,0",
        "bind=0,4/127.4.0.2/8201",
        "listen=0",
        "socket=2,1,0",
        "bind=1,4/127.4.0.1/0",
        "connect=1,4/127.4.0.2/8201",
        "accept=0",
        "socket=10,1,0",
        "bind=3,6/::1/8202",
        "listen=3",
        "socket=10,1,0",
        "connect=4,6/::1/8202",
        "accept=3",
        "socket=1,1,0",
        "bind=6,a/accepts",
        "listen=6",
        "socket=1,1,0",
        "connect=7,a/accepts",
        "accept=6",
    ]);
    assert!(results.iter().all(|result| *result >= 0), "{results:?}");
    let event = probe.events.expect_rule("tcp");
    check(&event, "accept", &helper, "AF_INET", "127.4.0.1", 8201);
    let event = probe.events.expect_rule("tcp6");
    check(&event, "accept", &helper, "AF_INET6", "::1", 8202);
    let event = probe.events.expect_rule("unix");
    check(&event, "accept", &helper, "AF_UNIX", "", 0);
    for rule in ["tcp", "tcp6", "unix"] {
        assert_eq!(probe.events.of_rule(rule).len(), 1, "{rule}");
    }
}

#[test]
fn accept_by_other_ways() {
    let mut probe = Setup::new()
        .rule(
            "packed",
            "accept.addr.ip == 127.4.0.3 && accept.addr.port == 8203",
        )
        .rule(
            "uring",
            "accept.addr.ip == 127.4.0.4 && accept.addr.port == 8203 && event.async",
        )
        .rule(
            "many",
            "accept.addr.ip == 127.4.0.5 && accept.addr.port == 8203 && event.async",
        )
        .start();
    let mut steps = vec!["socket=2,1,0", "bind=0,4/127.4.0.2/8203", "listen=0"];
    for step in [
        "socket=2,1,0",
        "bind=1,4/127.4.0.3/0",
        "connect=1,4/127.4.0.2/8203",
        "accept@socketcall=0",
        "socket=2,1,0",
        "bind=3,4/127.4.0.4/0",
        "connect=3,4/127.4.0.2/8203",
        "accept@uring=0",
        "socket=2,1,0",
        "bind=5,4/127.4.0.5/0",
        "connect=5,4/127.4.0.2/8203",
        "accept@uring-many=0",
    ] {
        steps.push(step);
    }
    let (helper, results) = net(&steps);
    if results[6] < 0 || results[10] < 0 {
        return skip("the kernel has no 32-bit entry, or no io_uring");
    }
    let mut told = vec![("packed", "127.4.0.3")];
    if kernel_before(5, 19)
        && std::env::var("ATALAYA_E2E_TIER").is_ok_and(|tier| tier != "tracepoint")
    {
        skip("before 5.19 io_uring's accept passes no function that is hooked");
    } else {
        told.push(("uring", "127.4.0.4"));
    }
    for (rule, ip) in told {
        let event = probe.events.expect_rule(rule);
        check(&event, "accept", &helper, "AF_INET", ip, 8203);
        assert_eq!(probe.events.of_rule(rule).len(), 1, "{rule}");
    }
    if results[14] < 0 {
        return skip("io_uring accepts one connection only");
    }
    let event = probe.events.expect_rule("many");
    check(&event, "accept", &helper, "AF_INET", "127.4.0.5", 8203);
    assert_eq!(probe.events.of_rule("many").len(), 1);
}

#[test]
fn event_socket() {
    let mut probe = Setup::new()
        .rule("raw", r#"socket.domain == AF_INET && socket.type == SOCK_RAW && socket.protocol == IPPROTO_ICMP && socket.retval > 0 && process.argv == "socket=2,526339,1""#)
        .rule("packed", r#"socket.domain == AF_INET6 && socket.type == SOCK_DGRAM && socket.protocol == IPPROTO_UDP && process.argv == "socket@socketcall=10,2,17""#)
        .rule("packet", r#"socket.domain == 17 && socket.type == SOCK_RAW && process.argv == "socket=17,3,768""#)
        .start();
    let (helper, results) = net(&["socket=2,526339,1", "socket=17,3,768"]); // SOCK_CLOEXEC, SOCK_NONBLOCK
    assert!(results.iter().all(|result| *result >= 0), "{results:?}");
    for rule in ["raw", "packet"] {
        let event = probe.events.expect_rule(rule);
        assert_eq!(text(&event, "/evt/name"), "socket", "{event:#}");
        assert_eq!(at(&event, "/process/pid"), helper.pid, "{event:#}");
        assert_eq!(probe.events.of_rule(rule).len(), 1, "{rule}");
    }
    let (helper, results) = net(&["socket@socketcall=10,2,17"]);
    if results[0] < 0 {
        return skip("the kernel has no 32-bit entry");
    }
    let event = probe.events.expect_rule("packed");
    assert_eq!(at(&event, "/process/pid"), helper.pid, "{event:#}");
}

/// Since 5.19.
#[test]
fn socket_through_io_uring() {
    let mut probe = Setup::new()
        .rule("raw", r#"socket.domain == AF_INET && socket.type == SOCK_RAW && socket.protocol == IPPROTO_ICMP && process.argv == "socket@uring=2,3,1""#)
        .start();
    let (helper, results) = net(&["socket@uring=2,3,1"]);
    if results[0] < 0 {
        return skip("io_uring makes no sockets");
    }
    let event = probe.events.expect_rule("raw");
    assert_eq!(at(&event, "/process/pid"), helper.pid, "{event:#}");
    assert!(is_async(&event), "{event:#}");
    assert_eq!(probe.events.of_rule("raw").len(), 1);
}

/// `ip and tcp port 80`, as tcpdump attaches it, up to the protocol.
const FILTER: &str = "40/0/0/12;21/0/3/2048;48/0/0/23;21/0/1/6;6/0/0/262144;6/0/0/0";
const FILTER_TEXT: &str = "000: ldh [12]\n001: jneq #2048,3\n002: ldb [23]\n003: jneq #6,1\n004: ret #262144\n005: ret #0\n";

#[test]
fn event_setsockopt() {
    let mut probe = Setup::new()
        .rule("filter", r#"setsockopt.level == SOL_SOCKET && setsockopt.optname == SO_ATTACH_FILTER && setsockopt.filter_len == 6 && 2048 in setsockopt.used_immediates && setsockopt.filter_instructions =~ "*ldh [12]*" && !setsockopt.is_filter_truncated && setsockopt.retval == 0"#)
        .rule("nodelay", r#"setsockopt.level == IPPROTO_TCP && setsockopt.optname == TCP_NODELAY && setsockopt.socket_protocol == IPPROTO_TCP && process.comm == "e2e-helper""#)
        .start();
    let filter = format!("filter=0,{FILTER}");
    let (helper, results) = net(&[
        "socket=17,3,768",
        &filter,
        "socket=2,1,0",
        "setsockopt=1,6,1,1",
    ]);
    assert!(results.iter().all(|result| *result >= 0), "{results:?}");
    let event = probe.events.expect_rule("filter");
    assert_eq!(text(&event, "/evt/name"), "setsockopt", "{event:#}");
    assert_eq!(at(&event, "/process/pid"), helper.pid, "{event:#}");
    let own = at(&event, "/setsockopt");
    assert_eq!(own["filter"], FILTER_TEXT, "{event:#}");
    assert_eq!(own["socket_type"], "SOCK_RAW", "{event:#}");
    assert_eq!(own["socket_family"], "AF_PACKET", "{event:#}");
    assert_eq!(own["level"], "SOL_SOCKET", "{event:#}");
    assert_eq!(own["optname"], "SO_ATTACH_FILTER", "{event:#}");
    assert_eq!(own["filter_len"], 6, "{event:#}");
    assert_eq!(
        own["filter_hash"].as_str().map(str::len),
        Some(64),
        "{event:#}"
    );
    let event = probe.events.expect_rule("nodelay");
    assert_eq!(
        at(&event, "/setsockopt/optname"),
        "TCP_NODELAY",
        "{event:#}"
    );
    assert_eq!(at(&event, "/setsockopt").get("filter"), None, "{event:#}");
    for rule in ["filter", "nodelay"] {
        assert_eq!(probe.events.of_rule(rule).len(), 1, "{rule}");
    }
}

/// The longest filter that is captured has 511 instructions.
#[test]
fn setsockopt_of_a_filter_that_is_too_long() {
    let mut probe = Setup::new()
        .rule(
            "long",
            "setsockopt.filter_len == 600 && setsockopt.is_filter_truncated",
        )
        .start();
    let code = vec!["6/0/0/1"; 600].join(";");
    let (helper, results) = net(&["socket=17,3,768", &format!("filter=0,{code}")]);
    assert_eq!(results.last(), Some(&0), "{results:?}");
    let event = probe.events.expect_rule("long");
    assert_eq!(at(&event, "/process/pid"), helper.pid, "{event:#}");
    let lines = text(&event, "/setsockopt/filter").lines().count();
    assert_eq!(lines, 511);
}

/// A socket whose filter is locked refuses another: the attempt is told with what the caller gave.
#[test]
fn setsockopt_of_a_filter_that_is_refused() {
    let mut probe = Setup::new()
        .rule("refused", "setsockopt.optname == SO_ATTACH_FILTER && setsockopt.retval == EPERM && setsockopt.filter_len == 6")
        .start();
    let filter = format!("filter=0,{FILTER}");
    let (helper, results) = net(&[
        "socket=17,3,768",
        "filter=0,6/0/0/1",
        "setsockopt=0,1,44,1",
        &filter,
    ]);
    assert_eq!(results.last(), Some(&-1), "{results:?}");
    let event = probe.events.expect_rule("refused");
    assert_eq!(at(&event, "/process/pid"), helper.pid, "{event:#}");
    assert_eq!(at(&event, "/setsockopt/filter"), FILTER_TEXT, "{event:#}");
    assert_eq!(at(&event, "/evt/outcome"), "Refused", "{event:#}");
}

#[test]
fn setsockopt_by_other_ways() {
    let mut probe = Setup::new()
        .rule(
            "direct",
            r#"setsockopt.optname == SO_RCVBUF && process.comm == "e2e-helper""#,
        )
        .rule(
            "packed",
            r#"setsockopt.optname == SO_SNDBUF && process.comm == "e2e-helper""#,
        )
        .rule(
            "uring",
            r#"setsockopt.optname == SO_KEEPALIVE && event.async && process.comm == "e2e-helper""#,
        )
        .start();
    let (_, results) = net(&[
        "socket=2,1,0",
        "setsockopt@int80=0,1,8,5000",
        "setsockopt@socketcall=0,1,7,5000",
        "setsockopt@uring=0,1,9,1",
    ]);
    if results[1] < 0 {
        skip("the kernel has no 32-bit entry");
    } else {
        probe.events.expect_rule("direct");
        probe.events.expect_rule("packed");
    }
    if results[3] < 0 {
        return skip("io_uring sets no options of sockets");
    }
    let event = probe.events.expect_rule("uring");
    assert_eq!(at(&event, "/setsockopt/level"), "SOL_SOCKET", "{event:#}");
    assert_eq!(probe.events.of_rule("uring").len(), 1);
}
