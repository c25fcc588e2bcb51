//! Real packets in network namespaces of the tests' own.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use atalaya_model::DnsEvent;
use atalaya_model::capture::{Approvers, CaptureKind};
use libbpf_rs::{TC_EGRESS, TC_INGRESS, TcHook, TcHookBuilder};

use super::*;
use crate::{Interest, Options};

/// A sensor, and a namespace whose loopback its classifiers are attached to; the test's thread is in it.
pub(crate) struct Network {
    pub(crate) sensor: Sensor,
    pub(crate) captures: Receiver<Capture>,
    _hooks: Vec<TcHook>,
    pub(crate) seen: Vec<Capture>,
}

impl Network {
    /// `None`, and a line that says so, where that is not allowed.
    pub(crate) fn new(kinds: &[CaptureKind]) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED: packets: not root");
            return None;
        }
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        assert!(up.unwrap().success());
        Self::here(kinds)
    }

    /// In the namespace that the thread is in already.
    fn here(kinds: &[CaptureKind]) -> Option<Self> {
        let mut sensor = match Sensor::open(&Options::default()) {
            Ok(sensor) => sensor,
            Err(error) => {
                eprintln!("SKIPPED: packets: {error}");
                return None;
            }
        };
        let all = Approvers {
            all: true,
            ..Approvers::default()
        };
        let interest = Interest {
            approvers: kinds.iter().map(|kind| (*kind, all.clone())).collect(),
            ..Interest::default()
        };
        assert_eq!(sensor.apply(&interest).unwrap(), BTreeMap::new());
        let (sender, captures) = channel();
        sensor
            .start(Box::new(move |capture| {
                let _ = sender.send(capture);
            }))
            .unwrap();
        let hooks = attach(&sensor.classifiers().unwrap(), 1);
        Some(Self {
            sensor,
            captures,
            _hooks: hooks,
            seen: Vec::new(),
        })
    }

    /// The next capture that `wanted` takes; the others are kept.
    pub(crate) fn next(&mut self, mut wanted: impl FnMut(&Capture) -> bool) -> Capture {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(at) = self.seen.iter().position(&mut wanted) {
                return self.seen.remove(at);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(capture) = self.captures.recv_timeout(left) else {
                panic!("it never came; these did: {:#?}", self.seen);
            };
            if capture.header.no_task {
                self.seen.push(capture);
            }
        }
    }

    fn dns(&mut self, name: &str, is_response: bool) -> (Header, DnsEvent) {
        let found = self.next(|capture| {
            dns_of(capture).is_some_and(|dns| dns.name == name && dns.is_response == is_response)
        });
        (found.header.clone(), dns_of(&found).unwrap().clone())
    }
}

/// Attaches the classifiers to an interface of the thread's namespace.
fn attach(classifiers: &Classifiers, ifindex: i32) -> Vec<TcHook> {
    let both = [
        (&classifiers.egress, TC_EGRESS),
        (&classifiers.ingress, TC_INGRESS),
    ];
    let hooks = both.map(|(program, point)| {
        let mut hook = TcHookBuilder::new(program.as_fd())
            .ifindex(ifindex)
            .handle(1)
            .priority(10)
            .hook(point);
        // There is one for both directions: the second time it is there already.
        let _ = hook.create();
        hook.attach().unwrap()
    });
    hooks.into()
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status();
    assert!(status.unwrap().success(), "ip {arguments}");
}

/// A namespace with a thread in it that does what it is told.
struct Place {
    tell: std::sync::mpsc::Sender<Box<dyn FnOnce() + Send>>,
    path: String,
}

impl Place {
    fn new() -> Self {
        let (tell, told) = channel::<Box<dyn FnOnce() + Send>>();
        std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            told.into_iter().for_each(|work| work());
        });
        let mut place = Self {
            tell,
            path: String::new(),
        };
        place.path = place.run(|| {
            ip("link set lo up");
            let (pid, tid) = (std::process::id(), nix::unistd::gettid());
            format!("/proc/{pid}/task/{tid}/ns/net")
        });
        place
    }

    fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, result) = channel();
        let work = move || drop(sender.send(work()));
        self.tell.send(Box::new(work)).unwrap();
        result.recv().unwrap()
    }

    /// Attaches to an interface, for as long as the namespace is there.
    fn attach(&self, sensor: &Sensor, interface: &'static str) {
        let classifiers = sensor.classifiers().unwrap();
        self.run(move || {
            let index = nix::net::if_::if_nametoindex(interface).unwrap();
            attach(&classifiers, i32::try_from(index).unwrap());
        });
    }
}

fn dns_of(capture: &Capture) -> Option<&DnsEvent> {
    match &capture.body {
        Body::Event(event) => match &**event {
            EventData::Dns(dns) => Some(dns),
            _ => None,
        },
        _ => None,
    }
}

/// Runs a test on a thread of its own, which the namespace goes with.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    std::thread::spawn(test).join().unwrap();
}

fn question(id: u16, name: &str) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// The question made an answer with one address.
fn answer(question: &[u8], address: [u8; 4]) -> Vec<u8> {
    let mut bytes = question.to_vec();
    bytes[2] = 0x81;
    bytes[3] = 0x80;
    bytes[7] = 1;
    bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    bytes.extend(address);
    bytes
}

/// Asks over UDP and is answered; both sockets are this process's.
fn ask(server: &str, client: &str, name: &str) {
    let server = UdpSocket::bind(server).unwrap();
    let client = UdpSocket::bind(client).unwrap();
    client
        .send_to(&question(7, name), server.local_addr().unwrap())
        .unwrap();
    let mut bytes = [0; 512];
    let (length, from) = server.recv_from(&mut bytes).unwrap();
    server
        .send_to(&answer(&bytes[..length], [192, 0, 2, 55]), from)
        .unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    client.recv_from(&mut bytes).unwrap();
}

#[test]
fn questions_and_answers_over_udp_are_their_process_s() {
    in_namespace(|| {
        let Some(mut network) = Network::new(&[CaptureKind::Dns]) else {
            return;
        };
        for (server, client, name) in [
            ("127.0.0.53:53", "127.0.0.1:0", "four.example.com"),
            ("[::1]:53", "[::1]:0", "six.example.com"),
        ] {
            ask(server, client, name);
            let (header, asked) = network.dns(name, false);
            assert_eq!(header.pid, std::process::id());
            assert_ne!(header.cgroup_id, 0);
            assert_eq!((asked.id, asked.question_type, asked.count), (7, 1, 1));
            let packet = &asked.packet;
            assert_eq!(packet.device.ifname, "lo");
            assert_eq!(packet.device.netns, header.netns);
            assert_eq!((packet.destination.port, packet.direction), (53, 1));
            assert_eq!(packet.l4_protocol, 17);
            let server: SocketAddr = server.parse().unwrap();
            assert_eq!(packet.destination.ip.unwrap().addr(), server.ip());
            let (header, answered) = network.dns(name, true);
            assert_eq!(header.pid, std::process::id());
            assert_eq!(answered.packet.direction, 2);
            assert_eq!(answered.packet.source.port, 53);
            let ips: Vec<IpAddr> = answered.ips.iter().map(|ip| ip.addr()).collect();
            assert_eq!(ips, ["192.0.2.55".parse::<IpAddr>().unwrap()]);
        }
        // Each once: not the arrival of a question, nor the departure of an answer.
        std::thread::sleep(Duration::from_millis(200));
        let rest: Vec<Capture> = network.captures.try_iter().collect();
        assert!(
            !rest.iter().any(|capture| dns_of(capture).is_some()),
            "{rest:#?}"
        );
        let counts = network.sensor.packet_counts();
        assert!(counts.seen >= 8, "{counts:?}");
        assert_eq!(counts.unattributed, 0);
        let interfaces = network.sensor.interface_packets();
        assert_eq!(interfaces.len(), 1, "{interfaces:?}");
        assert!(interfaces[0].egress >= 4 && interfaces[0].ingress >= 4);
        let InterfacePackets { netns, ifindex, .. } = interfaces[0];
        network.sensor.forget_interface(netns, ifindex);
        assert_eq!(network.sensor.interface_packets(), []);
    });
}

#[test]
fn questions_over_tcp() {
    in_namespace(|| {
        let Some(mut network) = Network::new(&[CaptureKind::Dns]) else {
            return;
        };
        let listener = TcpListener::bind("127.0.0.2:53").unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = [0; 512];
            let length = stream.read(&mut bytes).unwrap();
            let mut reply = answer(&bytes[2..length], [192, 0, 2, 66]);
            let size = (reply.len() as u16).to_be_bytes();
            reply.splice(0..0, size);
            stream.write_all(&reply).unwrap();
            let _ = stream.read(&mut bytes);
        });
        let mut client = TcpStream::connect("127.0.0.2:53").unwrap();
        let message = question(9, "tcp.example.com");
        let mut segment = (message.len() as u16).to_be_bytes().to_vec();
        segment.extend(message);
        client.write_all(&segment).unwrap();
        let mut bytes = [0; 512];
        assert!(client.read(&mut bytes).unwrap() > 0);
        drop(client);
        server.join().unwrap();
        let (header, asked) = network.dns("tcp.example.com", false);
        assert_eq!(header.pid, std::process::id());
        assert_eq!((asked.id, asked.packet.l4_protocol), (9, 6));
        let (header, answered) = network.dns("tcp.example.com", true);
        assert_eq!(header.pid, std::process::id());
        assert_eq!(answered.ips.len(), 1);
    });
}

#[test]
fn what_is_no_message_is_an_event_of_its_own() {
    in_namespace(|| {
        let Some(mut network) = Network::new(&[CaptureKind::FailedDns]) else {
            return;
        };
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client
            .send_to(b"not a message at all", "127.0.0.9:53")
            .unwrap();
        let found = network.next(|capture| {
            matches!(&capture.body, Body::Event(event) if matches!(**event, EventData::FailedDns(_)))
        });
        assert_eq!(found.header.pid, std::process::id());
    });
}

/// A container behind a router, as a pod behind its host: whoever forwards the packet sees it, too, and it is told once, where it is sent.
#[test]
fn what_is_forwarded_is_told_where_it_is_sent() {
    in_namespace(|| {
        let Some(mut network) = Network::new(&[CaptureKind::Dns]) else {
            return;
        };
        let (pod, host, server) = (Place::new(), Place::new(), Place::new());
        let (pod_path, server_path) = (pod.path.clone(), server.path.clone());
        host.run(move || {
            ip(&format!(
                "link add podside type veth peer name eth0 netns {pod_path}"
            ));
            ip(&format!(
                "link add out type veth peer name eth0 netns {server_path}"
            ));
            ip("addr add 10.1.0.1/24 dev podside");
            ip("addr add 10.2.0.1/24 dev out");
            ip("link set podside up");
            ip("link set out up");
            // The namespace's own.
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        });
        for (place, own, gateway) in [
            (&pod, "10.1.0.2", "10.1.0.1"),
            (&server, "10.2.0.2", "10.2.0.1"),
        ] {
            place.run(move || {
                ip(&format!("addr add {own}/24 dev eth0"));
                ip("link set eth0 up");
                ip(&format!("route add default via {gateway}"));
            });
        }
        for (place, interface) in [
            (&pod, "eth0"),
            (&host, "podside"),
            (&host, "out"),
            (&server, "eth0"),
        ] {
            place.attach(&network.sensor, interface);
        }
        let listener = server.run(|| UdpSocket::bind("10.2.0.2:53").unwrap());
        let client = pod.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
        for socket in [&listener, &client] {
            socket
                .set_read_timeout(Some(Duration::from_secs(5)))
                .unwrap();
        }
        client
            .send_to(&question(7, "pod.example.com"), "10.2.0.2:53")
            .unwrap();
        let mut bytes = [0; 512];
        let (length, from) = listener.recv_from(&mut bytes).unwrap();
        listener
            .send_to(&answer(&bytes[..length], [192, 0, 2, 55]), from)
            .unwrap();
        client.recv_from(&mut bytes).unwrap();
        let netns = pod.run(|| {
            let link = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
            let text = link.to_string_lossy().into_owned();
            text.trim_matches(|c: char| !c.is_ascii_digit())
                .parse::<u32>()
                .unwrap()
        });
        for is_response in [false, true] {
            let (header, event) = network.dns("pod.example.com", is_response);
            assert_eq!(header.pid, std::process::id());
            assert_eq!((header.netns, event.packet.device.netns), (netns, netns));
            assert_eq!(event.packet.device.ifname, "eth0");
        }
        std::thread::sleep(Duration::from_millis(200));
        let rest: Vec<Capture> = network.captures.try_iter().chain(network.seen).collect();
        assert!(
            !rest.iter().any(|capture| dns_of(capture).is_some()),
            "{rest:#?}"
        );
        // Into the host and out of it, both ways; of those, what comes in from the pod and goes out again.
        let counts = network.sensor.packet_counts();
        assert!(counts.forwarded >= 2, "{counts:?}");
    });
}

/// Sockets that were there before the sensor: one that was bound, one that was connected, one that nobody has used.
#[test]
fn sockets_from_before_are_their_process_s() {
    in_namespace(|| {
        if !nix::unistd::geteuid().is_root() {
            return eprintln!("SKIPPED: packets: not root");
        }
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        assert!(up.unwrap().success());
        let listener = TcpListener::bind("127.0.0.5:53").unwrap();
        let mut client = TcpStream::connect("127.0.0.5:53").unwrap();
        let (mut served, _) = listener.accept().unwrap();
        let bound = UdpSocket::bind("127.0.0.1:0").unwrap();
        bound.connect("127.0.0.5:53").unwrap();
        let Some(mut network) = Network::here(&[CaptureKind::Dns]) else {
            return;
        };
        bound.send(&question(1, "bound.example.com")).unwrap();
        let message = question(9, "tcp.example.com");
        let mut segment = (message.len() as u16).to_be_bytes().to_vec();
        segment.extend(&message);
        client.write_all(&segment).unwrap();
        let mut reply = answer(&message, [192, 0, 2, 66]);
        let size = (reply.len() as u16).to_be_bytes();
        reply.splice(0..0, size);
        served.write_all(&reply).unwrap();
        for (name, is_response) in [
            ("bound.example.com", false),
            ("tcp.example.com", false),
            ("tcp.example.com", true),
        ] {
            let (header, _) = network.dns(name, is_response);
            assert_eq!(header.pid, std::process::id(), "{name} {is_response}");
        }
    });
}

/// The process has ended before anybody looks.
#[test]
fn a_process_that_has_ended_is_still_found() {
    in_namespace(|| {
        let Some(mut network) = Network::new(&[CaptureKind::Dns]) else {
            return;
        };
        let script = "import socket,sys\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.sendto(bytes.fromhex(sys.argv[1]),('127.0.0.4',53))\n";
        let hex: String = question(3, "gone.example.com")
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let Ok(mut child) = Command::new("python3").args(["-c", script, &hex]).spawn() else {
            return eprintln!("SKIPPED: packets: no python3");
        };
        let pid = child.id();
        child.wait().unwrap();
        let (header, _) = network.dns("gone.example.com", false);
        assert_eq!(header.pid, pid);
        assert_ne!(header.start_low, 0);
    });
}

#[test]
fn flows_are_counted_from_this_end() {
    in_namespace(|| {
        let Some(network) = Network::new(&[CaptureKind::NetworkFlowMonitor]) else {
            return;
        };
        let listener = TcpListener::bind("127.0.0.7:7777").unwrap();
        let mut client = TcpStream::connect("127.0.0.7:7777").unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(&[1; 100_000]).unwrap();
        let mut bytes = vec![0; 100_000];
        server.read_exact(&mut bytes).unwrap();
        let captures = network.sensor.take_flows();
        let flows: Vec<_> = captures
            .iter()
            .filter_map(|capture| match &capture.body {
                Body::Event(event) => match &**event {
                    EventData::NetworkFlowMonitor(flows) => Some((capture.header.pid, flows)),
                    _ => None,
                },
                _ => None,
            })
            .collect();
        let own = flows.iter().find(|(pid, _)| *pid == std::process::id());
        let (_, event) = own.unwrap_or_else(|| panic!("{captures:#?}"));
        assert_eq!(event.device.ifname, "lo");
        let flow = event
            .flows
            .iter()
            .find(|flow| flow.destination.port == 7777)
            .unwrap();
        assert!(flow.egress.data_size > 100_000, "{flow:?}");
        assert!(flow.ingress.packet_count > 0, "{flow:?}");
        assert_eq!(flow.l4_protocol, 6);
        assert!(network.sensor.take_flows().len() <= 1);
    });
}

#[test]
fn nothing_is_loaded_that_no_rule_wants() {
    in_namespace(|| {
        let Some(mut network) = Network::new(&[CaptureKind::Dns]) else {
            return;
        };
        network.sensor.apply(&Interest::default()).unwrap();
        assert!(network.sensor.classifiers().is_none());
        assert_eq!(network.sensor.packet_counts(), PacketCounts::default());
        let off = Interest {
            packets: PacketOptions {
                enabled: false,
                ..PacketOptions::default()
            },
            approvers: [(CaptureKind::Dns, Approvers::default())].into(),
            ..Interest::default()
        };
        let unavailable = network.sensor.apply(&off).unwrap();
        assert!(unavailable[&CaptureKind::Dns].contains("network.enabled"));
        assert!(network.sensor.classifiers().is_none());
    });
}
