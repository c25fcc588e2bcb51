//! Attributes: reading them one by one, and writing a request's.

use netlink_packet_core::{NLA_HEADER_SIZE, NlaBuffer, NlasIterator};

/// One attribute.
#[derive(Debug, Clone, Copy)]
pub struct Attribute<'a> {
    /// Its number, without the flags.
    pub kind: u16,
    /// Its value.
    pub value: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// The first byte.
    pub fn u8(&self) -> Option<u8> {
        self.value.first().copied()
    }

    /// A number of two bytes.
    pub fn u16(&self) -> Option<u16> {
        self.value
            .first_chunk()
            .map(|bytes| u16::from_ne_bytes(*bytes))
    }

    /// A number of four bytes.
    pub fn u32(&self) -> Option<u32> {
        self.value
            .first_chunk()
            .map(|bytes| u32::from_ne_bytes(*bytes))
    }

    /// A text, up to its zero byte. What is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        let end = self
            .value
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(self.value.len());
        String::from_utf8_lossy(&self.value[..end]).into_owned()
    }

    /// The attributes within.
    pub fn nested(&self) -> Attributes<'a> {
        Attributes::new(self.value)
    }
}

/// The attributes of a message, or within an attribute; a malformed one ends them.
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    bytes: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// Attributes from the first byte on.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Those after a message's fixed part.
    pub fn after(body: &'a [u8], fixed: usize) -> Self {
        Self {
            bytes: body.get(fixed..).unwrap_or_default(),
        }
    }

    /// The first one of a number.
    pub fn get(&self, kind: u16) -> Option<Attribute<'a>> {
        self.clone()
            .find(|attribute: &Attribute<'a>| attribute.kind == kind)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let attribute: NlaBuffer<&[u8]> = NlasIterator::new(self.bytes).next()?.ok()?;
        let (kind, length) = (attribute.kind(), usize::from(attribute.length()));
        let value = self.bytes.get(NLA_HEADER_SIZE..length)?;
        let next = length.next_multiple_of(4).min(self.bytes.len());
        self.bytes = &self.bytes[next..];
        Some(Attribute { kind, value })
    }
}

/// A request's fixed part and attributes.
#[derive(Debug, Default, Clone)]
pub struct RequestBody {
    bytes: Vec<u8>,
}

impl RequestBody {
    /// A request that begins with these bytes.
    pub fn new(fixed: &[u8]) -> Self {
        Self {
            bytes: fixed.to_vec(),
        }
    }

    /// Adds an attribute. Its value is shorter than 64 KiB.
    #[must_use]
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = (NLA_HEADER_SIZE + value.len()) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// Adds a text with its zero byte.
    #[must_use]
    pub fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// The bytes of the request.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panic")]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let inner = RequestBody::default()
            .attribute(7, &[1, 2, 3])
            .text(9, "bpf");
        let outer = RequestBody::new(&[0; 20])
            .attribute(0x8002, inner.bytes())
            .attribute(11, &5u32.to_ne_bytes());
        let mut all = Attributes::after(outer.bytes(), 20);
        let nested = all.next().unwrap();
        assert_eq!(nested.kind, 2);
        assert_eq!(nested.nested().get(7).unwrap().value, [1, 2, 3]);
        assert_eq!(nested.nested().get(9).unwrap().text(), "bpf");
        assert_eq!(all.next().unwrap().u32(), Some(5));
        assert!(all.next().is_none());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            for attribute in Attributes::new(&bytes) {
                let _ = (attribute.u8(), attribute.u16(), attribute.u32(), attribute.text());
                attribute.nested().for_each(drop);
            }
        }
    }
}
