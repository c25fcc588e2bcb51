//! DNS messages, good and bad.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::{Duration, Instant};

use atalaya_packet::dns::{Data, Malformed, Message};
use atalaya_packet::{http, tls};
use proptest::prelude::*;

fn header(id: u16, flags: u16, questions: u16, answers: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in [id, flags, questions, answers, 0, 0] {
        bytes.extend(field.to_be_bytes());
    }
    bytes
}

fn name(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

fn query(text: &str) -> Vec<u8> {
    let mut bytes = header(0x1234, 0x0100, 1, 0);
    bytes.extend(name(text));
    bytes.extend([0, 1, 0, 1]);
    bytes
}

fn record(owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = owner.to_vec();
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1, 0, 0, 0, 60]);
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
    bytes
}

/// www.example.com → cdn.example.net → two addresses.
fn answer() -> Vec<u8> {
    let mut bytes = header(7, 0x8180, 1, 3);
    bytes.extend(name("www.example.com"));
    bytes.extend([0, 1, 0, 1]);
    let alias = bytes.len() + 12;
    bytes.extend(record(&[0xc0, 12], 5, &name("cdn.example.net")));
    let alias = [0xc0, alias as u8];
    bytes.extend(record(&alias, 1, &[192, 0, 2, 7]));
    bytes.extend(record(
        &alias,
        28,
        &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
    ));
    bytes
}

#[test]
fn a_question() {
    let message = Message::parse(&query("Www.Example.com")).unwrap();
    assert_eq!(
        (message.id, message.is_response, message.questions),
        (0x1234, false, 1)
    );
    assert_eq!(message.question.name, "Www.Example.com");
    assert_eq!((message.question.kind, message.question.class), (1, 1));
    assert_eq!(Message::parse(&query("")).unwrap().question.name, "");
}

#[test]
fn an_answer_with_aliases() {
    let message = Message::parse(&answer()).unwrap();
    assert!(message.is_response);
    assert_eq!(message.question.name, "www.example.com");
    assert_eq!(message.aliases().collect::<Vec<_>>(), ["cdn.example.net"]);
    let addresses: Vec<String> = message.addresses().map(|ip| ip.to_string()).collect();
    assert_eq!(addresses, ["192.0.2.7", "2001:db8::9"]);
    assert_eq!(message.answers[0].name, "www.example.com");
    assert_eq!(message.answers[0].ttl, 60);
    assert_eq!(message.answers[1].name, "cdn.example.net");
}

/// The capture may end anywhere: the question is needed, of the answers those that are whole.
#[test]
fn an_answer_that_was_cut() {
    let bytes = answer();
    let mut seen = 0;
    for length in 0..=bytes.len() {
        if let Ok(message) = Message::parse(&bytes[..length]) {
            assert!(length >= 33, "{length}");
            assert!(message.answers.len() >= seen);
            seen = message.answers.len();
        }
    }
    assert_eq!(seen, 3);
}

#[test]
fn what_cannot_be_printed_in_a_name() {
    let mut bytes = header(1, 0, 1, 0);
    bytes.extend([4, b'a', b'.', 0, 0xff, 1, b'\\', 0, 0, 1, 0, 1]);
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.question.name, "a\\.\\000\\255.\\\\");
}

#[test]
fn pointers_that_never_end() {
    let own = |pointer: u8| {
        let mut bytes = header(1, 0, 1, 0);
        bytes.extend([0xc0, pointer, 0, 1, 0, 1]);
        bytes
    };
    assert_eq!(Message::parse(&own(12)), Err(Malformed::Pointer)); // to itself
    assert_eq!(Message::parse(&own(40)), Err(Malformed::Pointer)); // forward
    assert_eq!(Message::parse(&own(2)), Err(Malformed::Pointer)); // into the header
    // Two that point at each other.
    let mut bytes = header(1, 0x8000, 1, 1);
    bytes.extend([1, b'a', 0xc0, 14, 0, 1, 0, 1]);
    assert!(Message::parse(&bytes).is_err());
}

#[test]
fn a_name_that_is_too_long() {
    let label = [&[63][..], &[b'x'; 63]].concat();
    let mut bytes = header(1, 0, 1, 0);
    bytes.extend([&label[..]; 3].concat());
    let mut good = bytes.clone();
    good.extend([0, 0, 1, 0, 1]);
    assert_eq!(Message::parse(&good).unwrap().question.name.len(), 191);
    bytes.extend(&label);
    bytes.extend([0, 0, 1, 0, 1]);
    assert_eq!(Message::parse(&bytes), Err(Malformed::Name));
}

/// Many answers, each with a name that a chain of pointers spells: the work is bounded by the bytes.
#[test]
fn a_bomb_of_pointers_takes_no_time() {
    let mut bytes = header(1, 0x8000, 0, u16::MAX);
    // A long name first, then pointers each to the one before.
    let mut target = bytes.len() as u16;
    bytes.extend(record(&[1, b'a', 0], 16, &[]));
    while bytes.len() < 4000 {
        let here = bytes.len() as u16;
        bytes.extend(record(
            &(0xc000 | target).to_be_bytes(),
            5,
            &(0xc000 | target).to_be_bytes(),
        ));
        target = here;
    }
    let start = Instant::now();
    for _ in 0..100 {
        assert!(Message::parse(&bytes).is_ok());
    }
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn messages_over_tcp_with_and_without_their_length() {
    let message = query("example.org");
    let mut segment = (message.len() as u16).to_be_bytes().to_vec();
    segment.extend(&message);
    assert_eq!(
        Message::parse_segment(&segment).unwrap().question.name,
        "example.org"
    );
    assert_eq!(
        Message::parse_segment(&message).unwrap().question.name,
        "example.org"
    );
    assert!(Message::parse_segment(&[0]).is_err());
}

#[test]
fn data_of_the_wrong_size_is_no_address() {
    let mut bytes = header(1, 0x8000, 0, 2);
    bytes.extend(record(&[0], 1, &[1, 2, 3]));
    bytes.extend(record(&[0], 1, &[1, 2, 3, 4]));
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.answers.len(), 1);
    assert_eq!(message.answers[0].data, Data::Address([1, 2, 3, 4].into()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Message::parse(&bytes);
        let _ = Message::parse_segment(&bytes);
        let _ = http::Message::parse(&bytes);
        let _ = tls::version(&bytes);
    }

    /// Bytes of a good answer changed here and there come further than any bytes.
    #[test]
    fn no_changed_answer_makes_it_panic(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8)) {
        let mut bytes = answer();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(message) = Message::parse(&bytes) {
            prop_assert!(message.question.name.len() <= 4 * 255);
            prop_assert!(message.answers.len() <= bytes.len() / 11);
        }
    }

    #[test]
    fn a_name_is_read_as_it_was_written(labels in proptest::collection::vec("[a-z0-9_-]{1,20}", 1..8)) {
        let text = labels.join(".");
        prop_assert_eq!(Message::parse(&query(&text)).unwrap().question.name, text);
    }
}
