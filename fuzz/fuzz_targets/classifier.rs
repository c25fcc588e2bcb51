//! The instructions of a classifier that somebody else has loaded: reading them ends, without a panic, and what is called proved has no
//! verdict beside it that ends the chain.
//!
//! Whether what is proved is true is held against the kernel's own runs (`crates/network/tests/doctor_run.rs`).
#![no_main]

use atalaya_network::doctor::{Class, read_instructions};
use atalaya_network::tc::Hook;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for hook in [Hook::Clsact, Hook::Tcx] {
        let finding = read_instructions(bytes, hook);
        if finding.class == Class::Continues {
            assert!(finding.reasons.is_empty());
            assert!(
                finding
                    .verdicts
                    .iter()
                    .all(|verdict| matches!(*verdict, "unspec" | "next"))
            );
        }
    }
});
