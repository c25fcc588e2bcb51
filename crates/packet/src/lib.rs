//! What packets carry: DNS messages, HTTP as the metadata services of clouds speak it, the version of TLS.
//!
//! The bytes come from whoever can send a packet to this host. So everything here is total: each function ends for any bytes, in time and memory
//! that the number of bytes bounds, and reads only what was captured, which may be the beginning of a message alone. No I/O, no `unsafe`.

#![forbid(unsafe_code)]

pub mod dns;
pub mod http;
pub mod tls;

/// The number in the first two bytes at `at`, in network byte order.
fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|bytes| u16::from_be_bytes(*bytes))
}
