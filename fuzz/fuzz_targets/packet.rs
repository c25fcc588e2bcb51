//! What packets carry: whatever anybody sends, reading it ends, without a panic, and gives no more than the bytes hold.
#![no_main]

use atalaya_packet::{dns, http, tls};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for message in [dns::Message::parse(bytes), dns::Message::parse_segment(bytes)] {
        let Ok(message) = message else { continue };
        // Four letters for a byte that cannot be printed, and dots between labels.
        assert!(message.question.name.len() <= 4 * 256);
        // No record is shorter than that.
        assert!(message.answers.len() <= bytes.len() / 11);
        assert_eq!(
            message.addresses().count() + message.aliases().count(),
            message.answers.len()
        );
    }
    if let Some(message) = http::Message::parse(bytes) {
        assert!(message.body.len() <= bytes.len());
        let _ = message.header("host");
    }
    if let Some(version) = tls::version(bytes) {
        assert!(!tls::name(version).is_empty());
    }
});
