//! Any text is a filter or refused, with a place inside the text: no panic, no deep stack. What compiles runs to its end on any packet.
#![no_main]

use atalaya_pcap::{Filter, Link, Maps, Packet, Verdict, router};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // A text, a zero, and the packet.
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let text = parts.next().unwrap_or_default();
    let bytes = parts.next().unwrap_or_default();
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    match Filter::new(text) {
        Err(error) => {
            assert!(error.span.start <= error.span.end && error.span.end <= text.len());
            assert!(text.get(error.span.start..error.span.end).is_some());
        }
        Ok(filter) => {
            for link in [Link::Ethernet, Link::RawIp] {
                let _ = filter.program(link).matches(&Packet {
                    bytes,
                    len: bytes.len() as u32,
                    inbound: true,
                    ifindex: 3,
                    vlan_tag: bytes.first().map(|byte| u16::from(*byte)),
                });
                let verdict = Verdict {
                    rules: [1, 0, 0, 0],
                    actions: 1,
                };
                let maps = Maps {
                    verdict: 3,
                    programs: 4,
                };
                router(&[(&filter, verdict)], link, maps).expect("one filter always fits");
            }
        }
    }
});
