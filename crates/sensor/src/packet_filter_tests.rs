//! What the kernel runs says what the classic program says: random filters on random packets, by `BPF_PROG_TEST_RUN`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::mem::zeroed;
use std::net::UdpSocket;
use std::time::Duration;

use atalaya_model::EventData;
use atalaya_model::capture::{Approvers, Body, Capture, CaptureKind, PacketOptions};
use atalaya_pcap::Packet;
use libbpf_rs::MapType;

use super::*;
use crate::Interest;
use crate::packets::tests::{Network, in_namespace};

#[path = "../../pcap/tests/samples/mod.rs"]
mod samples;

use samples::{Random, filter, packet};

fn map(kind: MapType, value: u32) -> Option<MapHandle> {
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as _,
        ..Default::default()
    };
    match MapHandle::create(kind, Some("packet_test"), 4, value, 2, &options) {
        Ok(map) => Some(map),
        Err(error) => {
            eprintln!("SKIPPED: packet filters: {error}");
            None
        }
    }
}

/// Runs a program on a packet; gives what it returned, `None` for a packet that the kernel does not take for that.
#[allow(unsafe_code, reason = "libbpf-rs runs programs of objects only")]
fn run(program: &OwnedFd, bytes: &[u8]) -> Option<i32> {
    // SAFETY: a struct of numbers and pointers, for which zero means "not given".
    let mut options: libbpf_sys::bpf_test_run_opts = unsafe { zeroed() };
    options.sz = size_of::<libbpf_sys::bpf_test_run_opts>() as _;
    options.data_in = bytes.as_ptr().cast();
    options.data_size_in = bytes.len() as u32;
    options.repeat = 1;
    // SAFETY: the packet lives as long as the call.
    let failed =
        unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut options) };
    // The kernel runs no program on what has no whole IP header.
    if failed == -libc::EINVAL && bytes.len() < 54 {
        return None;
    }
    assert_eq!(failed, 0, "on {} bytes", bytes.len());
    Some(options.retval as i32)
}

/// The bits that the program has set, on whatever CPU it ran.
fn verdict(map: &MapHandle) -> Verdict {
    let values = map
        .lookup_percpu(&0u32.to_ne_bytes(), MapFlags::ANY)
        .unwrap()
        .unwrap();
    let mut found = Verdict::default();
    for value in values {
        let word = |at: usize| u64::from_ne_bytes(value[8 * at..8 * at + 8].try_into().unwrap());
        for at in 0..4 {
            found.rules[at] |= word(at);
        }
        found.actions |= word(4);
    }
    map.update_percpu(
        &0u32.to_ne_bytes(),
        &vec![vec![0; 48]; libbpf_rs::num_possible_cpus().unwrap()],
        MapFlags::ANY,
    )
    .unwrap();
    found
}

/// 40 rounds of 64 filters in one program, each on 60 packets. The kernel takes no packet without a whole Ethernet header.
#[test]
fn the_kernel_and_the_classic_program_say_the_same() {
    let (Some(verdicts), Some(programs)) =
        (map(MapType::PercpuArray, 48), map(MapType::ProgArray, 4))
    else {
        return;
    };
    let maps = Maps {
        verdict: verdicts.as_fd().as_raw_fd(),
        programs: programs.as_fd().as_raw_fd(),
    };
    let mut random = Random::new(11);
    let (mut compared, mut passed) = (0, 0);
    for _ in 0..40 {
        let filters: Vec<Filter> = std::iter::repeat_with(|| filter(&mut random, true))
            .filter_map(|text| Filter::new(&text).ok())
            .take(64)
            .collect();
        let asked: Vec<(&Filter, Verdict)> = (0u32..)
            .zip(&filters)
            .map(|(at, filter)| {
                let mut verdict = Verdict::default();
                verdict.rules[at as usize % 4] = 1 << at;
                verdict.actions = 1 << (63 - at);
                (filter, verdict)
            })
            .collect();
        let router = router(&asked, Link::Ethernet, maps).unwrap();
        let program = load(c"packet_test", &router.instructions).unwrap();
        for _ in 0..60 {
            let bytes = packet(&mut random, true);
            let Some(answer) = run(&program, &bytes) else {
                continue;
            };
            assert_eq!(answer, -1);
            let mut wanted = Verdict::default();
            for (filter, verdict) in &asked {
                let packet = Packet {
                    bytes: &bytes,
                    len: bytes.len() as u32,
                    ifindex: 1,
                    ..Packet::default()
                };
                if filter.program(Link::Ethernet).matches(&packet) {
                    wanted.actions |= verdict.actions;
                    for at in 0..4 {
                        wanted.rules[at] |= verdict.rules[at];
                    }
                    passed += 1;
                }
                compared += 1;
            }
            let found = verdict(&verdicts);
            if found != wanted {
                let wrong = asked
                    .iter()
                    .find(|(_, v)| (found.actions ^ wanted.actions) & v.actions != 0);
                let text = wrong.map_or("?", |(filter, _)| filter.text());
                panic!("{text:?} on {bytes:02x?}");
            }
        }
    }
    assert!(
        compared > 100_000 && passed > compared / 20,
        "{passed} of {compared}"
    );
}

/// As many filters as there can be, in one program that the kernel takes.
#[test]
fn the_kernel_takes_256_filters() {
    let (Some(verdicts), Some(programs)) =
        (map(MapType::PercpuArray, 48), map(MapType::ProgArray, 4))
    else {
        return;
    };
    let maps = Maps {
        verdict: verdicts.as_fd().as_raw_fd(),
        programs: programs.as_fd().as_raw_fd(),
    };
    let texts = (0..256).map(|n| {
        format!("tcp dst port {n} and host 10.0.0.{n} or net fd00:{n}::/32 and tcp[13] & 2 != 0")
    });
    let filters: Vec<Filter> = texts.map(|text| Filter::new(&text).unwrap()).collect();
    for link in [Link::Ethernet, Link::RawIp] {
        let all: Vec<_> = filters
            .iter()
            .map(|f| {
                (
                    f,
                    Verdict {
                        rules: [1; 4],
                        actions: 1,
                    },
                )
            })
            .collect();
        let made = router(&all, link, maps).unwrap();
        load(c"packet_test", &made.instructions).unwrap();
    }
}

#[test]
fn what_the_kernel_refuses_is_told_with_its_words() {
    let exit_alone = Instruction {
        code: 0x95,
        registers: 0,
        offset: 0,
        immediate: 0,
    };
    let error = load(c"packet_test", &[exit_alone]).unwrap_err().to_string();
    assert!(error.contains("refuses the program"), "{error}");
}

/// The number of the filter that a packet passed, and whether it was dropped.
fn filter_of(capture: &Capture) -> Option<(u32, bool)> {
    match &capture.body {
        Body::Event(event) => match &**event {
            EventData::Packet(packet) => Some((packet.filter_number, packet.is_dropped)),
            _ => None,
        },
        _ => None,
    }
}

fn apply(network: &mut Network, rules: &[(&str, u32)], actions: &[(&str, u32)], rate: u32) {
    let owned = |list: &[(&str, u32)]| {
        list.iter()
            .map(|(text, at)| ((*text).to_owned(), *at))
            .collect()
    };
    let all = Approvers {
        all: true,
        ..Approvers::default()
    };
    let interest = Interest {
        approvers: [(CaptureKind::Packet, all)].into(),
        packets: PacketOptions {
            rate,
            ..PacketOptions::default()
        },
        filters: PacketFilters {
            rules: owned(rules),
            actions: owned(actions),
        },
        ..Interest::default()
    };
    assert_eq!(network.sensor.apply(&interest).unwrap(), [].into());
}

/// A socket that waits for what is sent to it, and one that sends.
fn sockets() -> (UdpSocket, UdpSocket) {
    let server = UdpSocket::bind("127.0.0.1:4444").unwrap();
    server
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    (server, UdpSocket::bind("127.0.0.1:0").unwrap())
}

fn arrives(server: &UdpSocket, client: &UdpSocket) -> bool {
    client.send_to(b"hello", "127.0.0.1:4444").unwrap();
    server.recv(&mut [0; 16]).is_ok()
}

#[test]
fn a_packet_is_told_by_the_filters_that_it_passed_until_they_are_exchanged() {
    in_namespace(|| {
        let Some(mut network) = Network::new(&[CaptureKind::Packet]) else {
            return;
        };
        let (server, client) = sockets();
        apply(
            &mut network,
            &[("udp dst port 4444 and outbound", 7), ("tcp", 8)],
            &[],
            10,
        );
        assert!(arrives(&server, &client));
        let found = network.next(|capture| filter_of(capture).is_some());
        assert_eq!(filter_of(&found), Some((7, false)));
        assert_eq!(found.header.pid, std::process::id());
        apply(
            &mut network,
            &[("udp and inbound", 200), ("tcp", 8)],
            &[],
            10,
        );
        assert!(arrives(&server, &client));
        let found = network.next(|capture| filter_of(capture).is_some_and(|(at, _)| at != 7));
        assert_eq!(filter_of(&found), Some((200, false)));
    });
}

#[test]
fn an_action_drops_the_packets_of_its_process_that_pass_its_filter() {
    in_namespace(|| {
        let Some(mut network) = Network::new(&[CaptureKind::Packet]) else {
            return;
        };
        let (server, client) = sockets();
        apply(
            &mut network,
            &[("udp dst port 4444 and outbound", 0)],
            &[("udp dst port 4444", 5), ("tcp", 6)],
            0,
        );
        assert!(arrives(&server, &client));
        let sent = network.next(|capture| filter_of(capture).is_some());
        assert_eq!(filter_of(&sent), Some((0, false)));
        let own = PacketSubject::Process(std::process::id(), sent.header.start_low);
        let other = PacketSubject::Process(std::process::id(), sent.header.start_low ^ 1);
        let actions = network.sensor.packet_actions().unwrap();
        let drop = |bits| PacketOrders {
            drop: bits,
            accept: 0,
        };
        // Of another process, and by another filter: nothing.
        actions.set(other, drop(1 << 5)).unwrap();
        actions.set(own, drop(1 << 6)).unwrap();
        assert!(arrives(&server, &client));
        actions.set(own, drop(1 << 5)).unwrap();
        assert!(!arrives(&server, &client));
        let dropped = network.next(|capture| filter_of(capture) == Some((0, true)));
        assert_eq!(dropped.header.pid, std::process::id());
        assert!(network.sensor.packet_counts().dropped >= 1);
        // The cgroup's orders count as well; what accepts wins.
        actions.set(own, PacketOrders::default()).unwrap();
        assert!(arrives(&server, &client));
        let cgroup = PacketSubject::Cgroup(sent.header.cgroup_id);
        actions.set(cgroup, drop(1 << 5)).unwrap();
        assert!(!arrives(&server, &client));
        actions
            .set(
                own,
                PacketOrders {
                    drop: 0,
                    accept: 1 << 5,
                },
            )
            .unwrap();
        assert!(arrives(&server, &client));
        actions.set(cgroup, PacketOrders::default()).unwrap();
        // No filters, no program.
        apply(&mut network, &[], &[], 0);
        assert!(arrives(&server, &client));
    });
}

#[test]
fn a_filter_that_many_packets_pass_is_told_at_its_rate() {
    in_namespace(|| {
        let Some(mut network) = Network::new(&[CaptureKind::Packet]) else {
            return;
        };
        let (server, client) = sockets();
        apply(
            &mut network,
            &[("udp dst port 4444 and outbound", 3)],
            &[],
            5,
        );
        let before = std::time::Instant::now();
        for _ in 0..200 {
            assert!(arrives(&server, &client));
        }
        let seconds = before.elapsed().as_secs() as usize + 2;
        std::thread::sleep(Duration::from_millis(500));
        let told = network
            .captures
            .try_iter()
            .filter(|c| filter_of(c).is_some())
            .count();
        assert!((5..=6 * seconds).contains(&told), "{told} in {seconds} s");
        assert!(network.sensor.packet_counts().limited as usize >= 200 - 6 * seconds);
    });
}

/// What filters cost a packet that passes none, printed: `cargo test -p atalaya-sensor what_filters_cost -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
#[allow(unsafe_code, reason = "libbpf-rs runs programs of objects only")]
fn what_filters_cost() {
    let (verdicts, programs) = (
        map(MapType::PercpuArray, 48).unwrap(),
        map(MapType::ProgArray, 4).unwrap(),
    );
    let maps = Maps {
        verdict: verdicts.as_fd().as_raw_fd(),
        programs: programs.as_fd().as_raw_fd(),
    };
    let mut bytes = vec![0; 12];
    bytes.extend([
        8, 0, 0x45, 0, 0, 60, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 1, 1, 0, 80,
    ]);
    bytes.resize(120, 0);
    for count in [0, 1, 8, 64, 256] {
        let texts = (0..count).map(|n| format!("tcp dst port {}", 4000 + n));
        let filters: Vec<Filter> = texts.map(|text| Filter::new(&text).unwrap()).collect();
        let all: Vec<_> = filters
            .iter()
            .map(|f| {
                (
                    f,
                    Verdict {
                        rules: [1; 4],
                        actions: 0,
                    },
                )
            })
            .collect();
        let program = load(
            c"packet_test",
            &router(&all, Link::Ethernet, maps).unwrap().instructions,
        )
        .unwrap();
        // SAFETY: a struct of numbers and pointers, for which zero means "not given".
        let mut options: libbpf_sys::bpf_test_run_opts = unsafe { zeroed() };
        options.sz = size_of::<libbpf_sys::bpf_test_run_opts>() as _;
        options.data_in = bytes.as_ptr().cast();
        options.data_size_in = bytes.len() as u32;
        options.repeat = 200_000;
        // SAFETY: the packet lives as long as the call.
        let failed =
            unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut options) };
        assert_eq!(failed, 0);
        println!("{count} filters: {} ns a packet", options.duration);
    }
}
