//! The form of one record, and how to find the next good one after damage. Total: no input makes it panic.

/// Bytes before a record's data.
pub(crate) const HEADER: usize = 16;

/// The longest data of a record in bytes. A longer one is refused by `append`.
pub const MAX_RECORD: usize = 4 << 20;

/// What is at the beginning of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A good record.
    Record {
        /// Its number.
        offset: u64,
        /// Its data.
        data: &'a [u8],
        /// Where the next record begins.
        end: usize,
    },
    /// The beginning of what may be a record of this many bytes in all. More bytes are needed to tell.
    Incomplete(usize),
    /// No record, or a damaged one.
    Bad,
}

/// Reads the record at the beginning of `bytes`.
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
        return Parsed::Incomplete(HEADER);
    };
    let [l0, l1, l2, l3, c0, c1, c2, c3, offset @ ..] = *header;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if length > MAX_RECORD {
        return Parsed::Bad;
    }
    let Some(data) = rest.get(..length) else {
        return Parsed::Incomplete(HEADER + length);
    };
    let offset = u64::from_le_bytes(offset);
    if checksum(length as u32, offset, data) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Parsed::Bad;
    }
    Parsed::Record {
        offset,
        data,
        end: HEADER + length,
    }
}

/// Appends the record to `out`.
pub(crate) fn encode(offset: u64, data: &[u8], out: &mut Vec<u8>) {
    let length = data.len() as u32;
    out.reserve(HEADER + data.len());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&checksum(length, offset, data).to_le_bytes());
    out.extend_from_slice(&offset.to_le_bytes());
    out.extend_from_slice(data);
}

/// The numbers that a record after damage may have where `expected` was the next one.
pub(crate) fn plausible(expected: u64) -> std::ops::Range<u64> {
    expected..expected.saturating_add(1 << 32)
}

/// Where in `bytes`, after its first byte, the next good record with a number in `numbers` begins.
///
/// That a record's data should contain what looks like a record with a right checksum and a fitting number is excluded
/// for events: their text has no NUL bytes, and a record's header does.
pub(crate) fn resync(bytes: &[u8], numbers: std::ops::Range<u64>) -> Option<usize> {
    (1..bytes.len().saturating_sub(HEADER - 1)).find(|&at| {
        let candidate = &bytes[at..];
        // The number first: it is cheap, and excludes nearly every place.
        let number = candidate
            .get(8..16)
            .and_then(|b| b.try_into().ok())
            .map(u64::from_le_bytes);
        number.is_some_and(|n| numbers.contains(&n))
            && matches!(parse(candidate), Parsed::Record { .. })
    })
}

fn checksum(length: u32, offset: u64, data: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&length.to_le_bytes());
    crc.update(&offset.to_le_bytes());
    crc.update(data);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn record(offset: u64, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(offset, data, &mut out);
        out
    }

    #[test]
    fn what_is_written_is_read() {
        for data in [&b""[..], b"x", &[0; 300], &[0xff; 70_000]] {
            let bytes = record(7, data);
            let end = bytes.len();
            assert_eq!(
                parse(&bytes),
                Parsed::Record {
                    offset: 7,
                    data,
                    end
                }
            );
        }
    }

    #[test]
    fn every_prefix_is_incomplete() {
        let bytes = record(3, b"hello");
        for n in 0..bytes.len() {
            assert!(
                matches!(parse(&bytes[..n]), Parsed::Incomplete(m) if m > n),
                "{n}"
            );
        }
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let good = record(1 << 40, b"some data of an event");
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(parse(&bytes), Parsed::Record { .. }), "bit {bit}");
        }
    }

    #[test]
    fn every_changed_byte_is_seen() {
        let good = record(5, b"abcdef");
        for at in 0..good.len() {
            for value in 0..=255u8 {
                let mut bytes = good.clone();
                bytes[at] = value;
                assert_eq!(
                    matches!(parse(&bytes), Parsed::Record { .. }),
                    value == good[at],
                    "byte {at} = {value}"
                );
            }
        }
    }

    #[test]
    fn zeroes_are_no_record() {
        assert_eq!(parse(&[0; 64]), Parsed::Bad);
    }

    #[test]
    fn pseudo_random_bytes_never_panic() {
        // A small xorshift: the same bytes in every run.
        let mut x = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x
        };
        for round in 0..20_000 {
            let mut bytes: Vec<u8> = (0..next() % 80).map(|_| next() as u8).collect();
            if round % 2 == 0 && bytes.len() > 4 {
                bytes[2] = 0;
                bytes[3] = 0;
            }
            let _ = parse(&bytes);
            assert_eq!(resync(&bytes, 0..1000), None);
        }
    }

    #[test]
    fn resync_finds_the_next_record_wherever_the_damage_is() {
        let first = record(10, b"damaged");
        let mut bytes = first.clone();
        bytes.extend(record(11, b"good"));
        for at in 0..first.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x55;
            assert_eq!(resync(&bad, 10..12), Some(first.len()), "byte {at}");
        }
        assert_eq!(resync(&bytes, 12..20), None, "a number that does not fit");
    }
}
