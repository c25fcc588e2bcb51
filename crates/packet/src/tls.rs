//! The version of TLS that a segment of TCP speaks.

use crate::u16_at;

const RECORD_TYPES: std::ops::RangeInclusive<u8> = 20..=24;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const SUPPORTED_VERSIONS: u16 = 43;
/// The header of a record, and that of a handshake message.
const RECORD_HEADER: usize = 5;
const HANDSHAKE_HEADER: usize = 4;

/// The version: `0x0301` is 1.0, `0x0304` is 1.3. Of a server's hello the one it chose, of a client's the highest it offers; in any other
/// record, where 1.3 says 1.2, what the record says. `None` for what is no TLS.
#[must_use]
pub fn version(segment: &[u8]) -> Option<u16> {
    let record_type = *segment.first()?;
    let version = u16_at(segment, 1).filter(|version| is_version(*version))?;
    let length = u16_at(segment, 3)?;
    // A record is no longer than 16 KiB and what encryption adds.
    if !RECORD_TYPES.contains(&record_type) || length == 0 || length > (1 << 14) + 2048 {
        return None;
    }
    if record_type != HANDSHAKE {
        return Some(version);
    }
    let hello = segment.get(RECORD_HEADER..).and_then(hello_version);
    Some(hello.unwrap_or(version))
}

/// SSL 3.0 to TLS 1.3.
fn is_version(version: u16) -> bool {
    (0x0300..=0x0304).contains(&version)
}

/// The version of a hello, from its extension, else from its own field.
fn hello_version(message: &[u8]) -> Option<u16> {
    let kind = *message.first()?;
    let mut rest = message.get(HANDSHAKE_HEADER..)?;
    if kind != CLIENT_HELLO && kind != SERVER_HELLO {
        return None;
    }
    let own = u16_at(rest, 0).filter(|version| is_version(*version))?;
    let mut extension = || {
        rest = rest.get(34..)?;
        rest = after_u8_length(rest)?; // the session
        rest = if kind == CLIENT_HELLO {
            let suites = usize::from(u16_at(rest, 0)?);
            after_u8_length(rest.get(2 + suites..)?)?
        } else {
            rest.get(3..)?
        };
        rest = rest.get(2..)?;
        supported_version(rest, kind == CLIENT_HELLO)
    };
    Some(extension().unwrap_or(own))
}

fn after_u8_length(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(1 + usize::from(*bytes.first()?)..)
}

fn supported_version(mut extensions: &[u8], is_client: bool) -> Option<u16> {
    loop {
        let kind = u16_at(extensions, 0)?;
        let length = usize::from(u16_at(extensions, 2)?);
        let body = extensions.get(4..)?;
        if kind == SUPPORTED_VERSIONS {
            let body = body.get(..length).unwrap_or(body);
            return if is_client {
                // Values that nobody gave a meaning are sent so that nobody relies on their absence.
                let offered = body.get(1..)?.as_chunks::<2>().0.iter();
                offered
                    .map(|version| u16::from_be_bytes(*version))
                    .filter(|version| is_version(*version))
                    .max()
            } else {
                u16_at(body, 0).filter(|version| is_version(*version))
            };
        }
        extensions = body.get(length..)?;
    }
}

/// The name of a version, as `TLS 1.2`; empty for what is none.
#[must_use]
pub fn name(version: u16) -> &'static str {
    match version {
        0x0300 => "SSL 3.0",
        0x0301 => "TLS 1.0",
        0x0302 => "TLS 1.1",
        0x0303 => "TLS 1.2",
        0x0304 => "TLS 1.3",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_hello(extensions: &[u8]) -> Vec<u8> {
        let mut hello = vec![3, 3];
        hello.extend([7; 32]);
        hello.extend([0]); // no session
        hello.extend([0, 4, 0x13, 1, 0x13, 2]);
        hello.extend([1, 0]);
        hello.extend((extensions.len() as u16).to_be_bytes());
        hello.extend(extensions);
        record(CLIENT_HELLO, &hello)
    }

    fn record(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![HANDSHAKE, 3, 1];
        bytes.extend((body.len() as u16 + 4).to_be_bytes());
        bytes.extend([kind, 0]);
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn a_client_offers_its_highest_version() {
        let old = client_hello(&[]);
        assert_eq!(version(&old), Some(0x0303));
        let new = client_hello(&[0, 23, 0, 0, 0, 43, 0, 7, 6, 0x7a, 0x7a, 3, 4, 3, 3]);
        assert_eq!(version(&new), Some(0x0304));
        // Cut in the middle of the extension: what the message says by itself.
        assert_eq!(version(&new[..new.len() - 7]), Some(0x0303));
    }

    #[test]
    fn a_server_chooses_one() {
        let mut hello = vec![3, 3];
        hello.extend([9; 32]);
        hello.extend([0, 0x13, 1, 0, 0, 6, 0, 43, 0, 2, 3, 4]);
        assert_eq!(version(&record(SERVER_HELLO, &hello)), Some(0x0304));
    }

    #[test]
    fn data_has_the_version_of_its_record() {
        assert_eq!(version(&[23, 3, 3, 0, 40, 1, 2, 3]), Some(0x0303));
        assert_eq!(version(b"GET / HTTP/1.1"), None);
        assert_eq!(version(&[22, 9, 9, 0, 40]), None);
        assert_eq!(version(&[]), None);
        assert_eq!(name(0x0304), "TLS 1.3");
    }
}
