//! What is wrong with a filter, where, and what to write instead.

mod samples;

use atalaya_pcap::{Filter, Link, MAX_TEXT, Maps, Packet, Verdict, router};
use samples::{Random, filter, packet};

/// The message, the part of the text that it is about, and the hint.
fn error(text: &str) -> (String, &str, String) {
    let error = Filter::new(text).expect_err(text);
    let part = &text[error.span.start..error.span.end];
    (error.message, part, error.help.unwrap_or_default())
}

#[test]
fn an_unknown_word_is_located_and_the_nearest_is_named() {
    assert_eq!(
        error("tcp portt 8"),
        (
            "unknown word `portt`".to_owned(),
            "portt",
            "did you mean `port`?".to_owned()
        )
    );
}

#[test]
fn errors_tell_where_and_what_instead() {
    let cases = [
        (
            "host example.com",
            "`example.com` is no address, and names are not looked up",
            "example.com",
            "write the address",
        ),
        (
            "tcp port 80 and net 10.0.0.1/8",
            "bits are set outside of the network",
            "10.0.0.1/8",
            "the network is 10.0.0.0",
        ),
        (
            "ip proto tcp",
            "expected a value, found `tcp`",
            "tcp",
            "write `\\tcp`",
        ),
        (
            "1.2.3.4",
            "expected a condition, found a value",
            "1.2.3.4",
            "a value needs a word before it",
        ),
        ("tcp[1-1] = 0", "expected `]`", "1-1", ""),
        (
            "port 53 and tcp proto 6",
            "`tcp proto` means nothing",
            "6",
            "",
        ),
        (
            "tcp host 10.0.0.1",
            "`tcp` has no IPv4 addresses",
            "10.0.0.1",
            "join the two",
        ),
        ("geneve", "`geneve` is not supported", "geneve", ""),
        (
            "(udp or tcp",
            "the filter ends where `)` is missing",
            "",
            "",
        ),
        ("tcp port 70000", "a port is at most 65535", "70000", ""),
        (
            "ip broadcast",
            "`ip broadcast` is not supported",
            "ip broadcast",
            "ether broadcast",
        ),
        ("tcp é", "unexpected character \"é\"", "é", ""),
        (
            "tcp[13]",
            "a number where a condition is needed",
            "tcp[13]",
            "compare it",
        ),
    ];
    for (text, message, part, help) in cases {
        let (found, place, hint) = error(text);
        let right = found.starts_with(message) || text.contains("1-1");
        assert!(right, "{text:?}: {found}");
        assert_eq!(place, part, "{text:?}");
        assert!(hint.contains(help), "{text:?}: {hint}");
    }
}

#[test]
fn any_depth_and_length_is_refused_or_taken_without_harm() {
    for text in [
        "(".repeat(10_000),
        "not ".repeat(4000),
        "-".repeat(10_000),
        "tcp[".repeat(3000),
    ] {
        assert!(Filter::new(&text).is_err());
    }
    let long = vec!["host 10.0.0.1"; 200].join(" or ");
    assert!(error(&long).0.contains("1500 instructions"));
    assert!(
        error(&vec!["tcp"; 1100].join(" and "))
            .0
            .contains("conditions")
    );
    assert!(error(&"1 ^ ".repeat(300)).0.contains("deep"));
    assert!(Filter::new(&" ".repeat(MAX_TEXT + 1)).is_err());
}

#[test]
fn the_empty_filter_is_passed_by_all() {
    let filter = Filter::new("  ").expect("taken");
    let packet = Packet::default();
    assert!(filter.program(Link::Ethernet).matches(&packet));
}

#[test]
fn a_tag_that_the_kernel_keeps_beside_the_frame_is_a_vlan() {
    let filter = Filter::new("vlan 5 and tcp dst port 80").expect("taken");
    let mut bytes = vec![0; 12];
    bytes.extend([
        8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 1, 1, 0, 80,
    ]);
    let mut packet = Packet {
        bytes: &bytes,
        len: bytes.len() as u32,
        ..Default::default()
    };
    let passes = |packet: &_| filter.program(Link::Ethernet).matches(packet);
    assert!(!passes(&packet));
    packet.vlan_tag = Some(0x2005);
    assert!(passes(&packet));
    packet.vlan_tag = Some(0x2006);
    assert!(!passes(&packet));
}

/// Words of the language in any order, and filters with one byte changed: refused with a place inside the text, or made into programs that end.
#[test]
fn any_text_is_a_filter_or_an_error_with_a_place() {
    const WORDS: [&str; 40] = [
        "tcp",
        "udp",
        "ip",
        "ip6",
        "ether",
        "arp",
        "vlan",
        "mpls",
        "pppoes",
        "host",
        "net",
        "port",
        "portrange",
        "proto",
        "src",
        "dst",
        "and",
        "or",
        "not",
        "(",
        ")",
        "[",
        "]",
        ":",
        "-",
        "+",
        "&",
        "<<",
        "=",
        "!=",
        "len",
        "10.0.0.1",
        "10.0.0.0/8",
        "fd00::1",
        "80",
        "80-90",
        "0x10",
        "\\tcp",
        "multicast",
        "byte",
    ];
    let mut random = Random::new(3);
    let (mut taken, mut refused) = (0, 0);
    for round in 0..60_000 {
        let text = if round % 2 == 0 {
            let words = (0..1 + random.below(9)).map(|_| random.one_of(&WORDS));
            words
                .collect::<Vec<_>>()
                .join(random.one_of(&[" ", " ", ""]))
        } else {
            let mut bytes = filter(&mut random, true).into_bytes();
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = 32 + random.below(95) as u8;
            String::from_utf8_lossy(&bytes).into_owned()
        };
        match Filter::new(&text) {
            Err(error) => {
                refused += 1;
                let place = text.get(error.span.start..error.span.end);
                assert!(
                    place.is_some() && !error.message.is_empty(),
                    "{text:?}: {error:?}"
                );
            }
            Ok(filter) => {
                taken += 1;
                let bytes = packet(&mut random, true);
                for link in [Link::Ethernet, Link::RawIp] {
                    let packet = Packet {
                        bytes: &bytes,
                        len: bytes.len() as u32,
                        ..Packet::default()
                    };
                    let _ = filter.program(link).matches(&packet);
                    let maps = Maps {
                        verdict: 3,
                        programs: 4,
                    };
                    let bits = Verdict {
                        actions: 1,
                        ..Verdict::default()
                    };
                    router(&[(&filter, bits)], link, maps).expect("one filter fits");
                }
            }
        }
    }
    assert!(
        taken > 2_000 && refused > 10_000,
        "{taken} taken, {refused} refused"
    );
}
