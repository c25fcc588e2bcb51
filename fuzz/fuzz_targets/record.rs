//! Ring records: whatever bytes the kernel side, or memory gone bad, puts there, decoding and joining end with a capture, nothing, or an error.
#![no_main]

use atalaya_sensor::assemble::Assembler;
use atalaya_sensor::decode::decode;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut assembler = Assembler::default();
    let mut rest = bytes;
    // Several records: two bytes of length before each. The size that a record states is made to agree, or nothing would get past the first check.
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(tail.len());
        let (record, tail) = tail.split_at(length);
        rest = tail;
        let mut record = record.to_vec();
        if let Some(size) = record.get_mut(4..8) {
            size.copy_from_slice(&(length as u32).to_le_bytes());
        }
        if let Ok(record) = decode(&record) {
            let _ = assembler.feed(record);
        }
    }
});
