//! The limits, and what counts against them.

use atalaya_secl::model::OwnedValue;

/// The longest text that a variable holds, in bytes; what is longer is cut.
pub const MAX_TEXT: usize = 32 << 10;
/// The most elements of a list, whatever its `size` says.
pub const MAX_ELEMENTS: usize = 10_000;
/// The most holders of a variable, whatever its `size` says.
pub const MAX_HOLDERS: usize = 10_000;
/// The most bytes of one value; a list loses its oldest elements.
pub const MAX_VALUE: usize = 256 << 10;
/// The most bytes of all values together.
pub const MAX_TOTAL: usize = 16 << 20;
/// Elements of a list, and holders of a variable, where `size` says nothing.
pub(super) const DEFAULT_SIZE: usize = 100;
/// The longest name of a holder that is kept for `status`, in bytes.
pub(super) const MAX_LABEL: usize = 128;

/// What an entry of a table takes beside its contents, roughly.
const ENTRY: usize = 128;

/// Counters of the whole store.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counters {
    pub(super) bytes: usize,
    pub(super) evicted: u64,
    pub(super) cut: u64,
    pub(super) expired: u64,
}

/// The memory that a value takes, roughly.
pub(super) fn bytes_of(value: &OwnedValue, label: &str) -> usize {
    let contents = match value {
        OwnedValue::Bool(_) | OwnedValue::Int(_) | OwnedValue::Ip(_) => 0,
        OwnedValue::Str(text) => text.len(),
        OwnedValue::BoolList(list) => list.len(),
        OwnedValue::IntList(list) => list.len() * size_of::<i64>(),
        OwnedValue::StrList(list) => list.iter().map(|text| element_bytes(text)).sum(),
        OwnedValue::IpList(list) => list.len() * 32,
    };
    ENTRY + label.len() + contents
}

/// The memory that a text takes in a list.
pub(super) fn element_bytes(text: &str) -> usize {
    size_of::<String>() + text.len()
}

/// The longest beginning of at most `most` bytes that does not end within a character.
pub(super) fn head(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
