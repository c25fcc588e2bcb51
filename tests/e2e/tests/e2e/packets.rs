//! The event types of packets. All packets are sent in a network namespace of the test's own.

use std::collections::BTreeSet;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use atalaya_e2e::{Helper, Probe, Setup, at, text};
use atalaya_network::netns::NetNs;
use atalaya_network::tc;
use serde_json::{Value, json};

/// A process in a network namespace of its own, whose loopback is up and has addresses to play with.
struct Host(Child);

impl Host {
    fn start() -> Self {
        let script = "ip link set lo up && ip addr add 169.254.169.254/32 dev lo && ip addr add 93.184.215.14/32 dev lo && exec sleep 600";
        let child = Command::new("unshare")
            .args(["-n", "sh", "-c", script])
            .spawn()
            .unwrap();
        let comm = format!("/proc/{}/comm", child.id());
        eventually("a namespace", || {
            std::fs::read_to_string(&comm).is_ok_and(|comm| comm == "sleep\n")
        });
        Self(child)
    }

    /// Waits until the probe sees the packets of the loopback. Others may do so as well: those of the tests that run beside this one.
    fn is_watched_by(&self, probe: &Probe) {
        let host = NetNs::of_task("/proc".as_ref(), self.0.id()).unwrap();
        eventually("classifiers", || {
            let its = programs_of(probe.pid());
            let count = || {
                let all = tc::list(&atalaya_network::interfaces().unwrap()[0]).unwrap_or_default();
                let programs = all.iter().filter_map(|one| one.program.as_ref());
                programs.filter(|program| its.contains(&program.id)).count()
            };
            host.run(count).unwrap() == 2
        });
    }

    fn inode(&self) -> u32 {
        NetNs::of_task("/proc".as_ref(), self.0.id())
            .unwrap()
            .inum()
    }

    /// Sends packets from a process of its own.
    fn packets(&self, steps: &[&str]) -> Helper {
        let pid = self.0.id().to_string();
        let mut command = Command::new("nsenter");
        command.args(["-t", &pid, "-n"]).arg(Helper::path());
        Helper::of(&mut command, &[&["packets"], steps].concat())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The programs that a process has loaded.
fn programs_of(pid: u32) -> BTreeSet<u32> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    let texts = files.filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok());
    let ids = texts.filter_map(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("prog_id:"));
        line?.trim().parse().ok()
    });
    ids.collect()
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "not so: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn start(setup: Setup) -> (Host, Probe) {
    let host = Host::start();
    let probe = setup.watch(host.inode()).start();
    host.is_watched_by(&probe);
    (host, probe)
}

fn check(event: &Value, name: &str, sender: &Helper) {
    assert_eq!(text(event, "/evt/name"), name, "{event:#}");
    assert_eq!(text(event, "/evt/category"), "Network Activity");
    assert_eq!(at(event, "/process/pid"), sender.pid, "{event:#}");
    assert_eq!(text(event, "/process/comm"), "e2e-helper", "{event:#}");
}

#[test]
fn event_dns() {
    let (host, mut probe) = start(
        Setup::new()
            .rule("question", r#"dns.question.name == "WWW.Asked.example" && dns.question.type == A && dns.question.class == CLASS_INET && dns.question.count == 1 && network.network_direction == EGRESS && network.destination.port == 53 && process.comm == "e2e-helper""#)
            .rule("answer", r#"dns.response.code == NOERROR && dns.response.ips in [ 93.184.215.14 ] && dns.response.cnames == "real.example.net" && dns.question.name.root_domain == "asked.example" && network.l4_protocol == IP_PROTO_UDP"#)
            .rule("tcp", r#"dns.question.name == "tcp.asked.example" && network.l4_protocol == IP_PROTO_TCP && network.device.ifname == "lo""#),
    );
    let sender = host.packets(&[
        "ask=127.0.0.53/www.asked.example/93.184.215.14",
        "ask-tcp=127.0.0.54/tcp.asked.example/93.184.215.14",
    ]);
    let event = probe.events.expect_rule("question");
    check(&event, "dns", &sender);
    let dns = json!({
        "id": 0x1234,
        "is_query": true,
        "question": { "class": "CLASS_INET", "type": "A", "name": "www.asked.example", "size": 35, "count": 1 },
        "response": { "code": 0 },
    });
    assert_eq!(*at(&event, "/dns"), dns, "{event:#}");
    let network = at(&event, "/network");
    assert_eq!(network["device"]["ifname"], "lo");
    assert_eq!(network["device"]["netns"], host.inode());
    assert_eq!(
        network["destination"],
        json!({ "ip": "127.0.0.53", "port": 53 })
    );
    assert_eq!(network["l3_protocol"], "ETH_P_IP");
    assert_eq!(network["network_direction"], "EGRESS");
    let event = probe.events.expect_rule("answer");
    check(&event, "dns", &sender);
    assert_eq!(*at(&event, "/dns/is_query"), false);
    assert_eq!(text(&event, "/network/network_direction"), "INGRESS");
    // The question and the answer.
    for is_query in [true, false] {
        let event = probe
            .events
            .expect("tcp", |event| at(event, "/dns/is_query") == is_query);
        check(&event, "dns", &sender);
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(probe.events.of_rule("question").len(), 1, "told once");
}

#[test]
fn dns_answers_name_the_addresses_that_are_connected_to() {
    let (host, mut probe) = start(
        Setup::new()
            .rule(
                "named",
                r#"connect.addr.hostname == "www.named.example" && connect.addr.port == 4321"#,
            )
            .rule(
                "alias",
                r#"connect.addr.hostname.root_domain == "example.net" && connect.addr.is_public"#,
            )
            .rule("other", r#"connect.addr.hostname == "other.example""#)
            .rule("accepted", r#"accept.addr.hostname == "www.named.example""#),
    );
    let sender = host.packets(&[
        "connect=93.184.215.14:4321",
        "http=93.184.215.14:4322/too early/for a name",
        "ask=127.0.0.53/www.named.example/93.184.215.14",
        "connect=93.184.215.14:4321",
        "http=93.184.215.14:4322/here/there",
    ]);
    let event = probe.events.expect_rule("named");
    check(&event, "connect", &sender);
    assert_eq!(
        *at(&event, "/connect/hostnames"),
        json!(["real.example.net", "www.named.example"])
    );
    probe.events.expect_rule("alias");
    let event = probe.events.expect_rule("accepted");
    check(&event, "accept", &sender);
    assert_eq!(
        *at(&event, "/accept/hostnames"),
        json!(["real.example.net", "www.named.example"])
    );
    for rule in ["named", "accepted"] {
        assert_eq!(
            probe.events.of_rule(rule).len(),
            1,
            "{rule}: not before the answer"
        );
    }
    assert_eq!(probe.events.of_rule("other").len(), 0);
}

#[test]
fn addresses_are_public_where_no_private_range_has_them() {
    let rules = |setup: Setup| {
        setup
            .rule("packets", r#"dns.question.name == "never.example""#)
            .rule(
                "public",
                "connect.addr.is_public && connect.addr.port == 4331",
            )
            .rule(
                "private",
                "!connect.addr.is_public && connect.addr.port == 4331",
            )
    };
    let ranges = "DD_EVENT_MONITORING_CONFIG_NETWORK_PRIVATE_IP_RANGES";
    let more = "DD_EVENT_MONITORING_CONFIG_NETWORK_EXTRA_PRIVATE_IP_RANGES";
    let steps = ["connect=93.184.215.14:4331", "connect=169.254.169.254:4331"];
    let by_default = rules(Setup::new());
    let one_more = rules(Setup::new()).env(more, r#"["93.184.215.0/24"]"#);
    let others = rules(Setup::new()).env(ranges, r#"["93.184.0.0/16"]"#);
    for (setup, expected) in [
        (by_default, ["public", "private"]),
        (one_more, ["private", "private"]),
        (others, ["private", "public"]),
    ] {
        let (host, mut probe) = start(setup);
        host.packets(&steps);
        for (rule, ip) in expected
            .into_iter()
            .zip(["93.184.215.14", "169.254.169.254"])
        {
            probe
                .events
                .expect(rule, |event| text(event, "/connect/addr/ip") == ip);
        }
    }
}

#[test]
fn event_imds() {
    let (host, mut probe) = start(
        Setup::new()
            .rule("old", r#"imds.type == "request" && imds.cloud_provider == "aws" && !imds.aws.is_imds_v2 && imds.url =~ "/latest/meta-data/iam/*" && imds.user_agent == "e2e/1" && imds.host == "169.254.169.254""#)
            .rule("new", r#"imds.type == "request" && imds.aws.is_imds_v2"#)
            .rule("secret", r#"imds.type == "response" && imds.aws.security_credentials.type == "AWS-HMAC" && imds.server == "EC2ws""#),
    );
    let answer = r#"HTTP\s1.1 200 OK\nServer: EC2ws\n\n{"Code":"Success","Type":"AWS-HMAC","AccessKeyId":"ASIAE2E","SecretAccessKey":"hush","LastUpdated":"a","Expiration":"b"}"#;
    let old = r"GET \slatest\smeta-data\siam\ssecurity-credentials\srole HTTP\s1.1\nHost: 169.254.169.254\nUser-Agent: e2e\s1\n\n";
    let new = r"PUT \slatest\sapi\stoken HTTP\s1.1\nX-aws-ec2-metadata-token-ttl-seconds: 9\n\n";
    let sender = host.packets(&[
        &format!("http=169.254.169.254:80/{old}/{answer}"),
        &format!(r"http=169.254.169.254:80/{new}/HTTP\s1.1 200 OK\n\n"),
    ]);
    let event = probe.events.expect_rule("old");
    check(&event, "imds", &sender);
    assert_eq!(*at(&event, "/imds/aws"), json!({ "is_imds_v2": false }));
    check(&probe.events.expect_rule("new"), "imds", &sender);
    let event = probe.events.expect_rule("secret");
    check(&event, "imds", &sender);
    assert_eq!(
        text(&event, "/imds/aws/security_credentials/access_key_id"),
        "ASIAE2E"
    );
    assert!(!event.to_string().contains("hush"), "{event:#}");
}

#[test]
fn event_packet() {
    let (host, mut probe) = start(
        Setup::new()
            .rule("sent", r#"packet.filter == "udp dst port 4444" && packet.network_direction == EGRESS && process.comm == "e2e-helper""#)
            .rule("tls", r#"packet.filter == "tcp dst port 4445" && packet.tls.version == 771"#),
    );
    let sender = host.packets(&["send=127.0.0.1:4444/00112233", r"http=127.0.0.1:4445/xx/y"]);
    let event = probe.events.expect_rule("sent");
    check(&event, "packet", &sender);
    assert_eq!(
        *at(&event, "/packet/destination"),
        json!({ "ip": "127.0.0.1", "port": 4444 })
    );
    assert_eq!(*at(&event, "/packet/l4_protocol"), "IP_PROTO_UDP");
    assert_eq!(probe.events.of_rule("tls").len(), 0);
}

#[test]
fn event_network_flow_monitor() {
    let (host, mut probe) = start(
        Setup::new()
            .config("  network:\n    flow_monitor:\n      enabled: true\n      period: 1s\n")
            .rule("flow", r#"network_flow_monitor.flows[A].destination.port == 7070 && network_flow_monitor.flows[A].egress.data_size > 0 && network_flow_monitor.device.ifname == "lo""#),
    );
    let sender = host.packets(&[r"http=127.0.0.1:7070/GET/HTTP"]);
    let event = probe.events.expect_rule("flow");
    check(&event, "network_flow_monitor", &sender);
    let flows = at(&event, "/network_flow_monitor/flows")
        .as_array()
        .unwrap();
    let flow = flows
        .iter()
        .find(|flow| flow["destination"]["port"] == 7070)
        .unwrap();
    assert_eq!(flow["l4_protocol"], "IP_PROTO_TCP");
    assert!(
        flow["egress"]["packet_count"].as_u64().unwrap() >= 3,
        "{flow:#}"
    );
}

#[test]
fn event_failed_dns() {
    let (host, mut probe) = start(Setup::new().rule("failed", r#"failed_dns.reason != """#));
    let sender = host.packets(&["send=127.0.0.1:53/deadbeef"]);
    let event = probe.events.expect_rule("failed");
    check(&event, "failed_dns", &sender);
    assert_eq!(*at(&event, "/network/destination/port"), 53);
}

/// The programs for kernels before 5.17, whose records wait until the program ends.
#[test]
fn packets_come_through_perf_buffers_as_well() {
    let (host, mut probe) = start(
        Setup::new()
            .config("  event_stream:\n    use_ring_buffer: false\n")
            .rule(
                "perf",
                r#"dns.question.name == "perf.example" && process.comm == "e2e-helper""#,
            )
            .rule(
                "filtered",
                r#"packet.filter == "udp dst port 4446" && process.comm == "e2e-helper""#,
            ),
    );
    let sender = host.packets(&[
        "ask=127.0.0.53/perf.example/93.184.215.14",
        "send=127.0.0.1:4446/00",
    ]);
    for is_query in [true, false] {
        let event = probe
            .events
            .expect("perf", |event| at(event, "/dns/is_query") == is_query);
        check(&event, "dns", &sender);
    }
    check(&probe.events.expect_rule("filtered"), "packet", &sender);
}
