//! What the kernel runs says what the classic program says: random filters on random packets, by `BPF_PROG_TEST_RUN`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::mem::zeroed;

use atalaya_pcap::Packet;
use libbpf_rs::MapType;

use super::*;

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
