//! [`Approvers`] → the kernel's filter maps.

use std::collections::{BTreeMap, BTreeSet};

use atalaya_model::capture::{Approvers, CaptureKind};

use crate::layout::{
    APPROVE_BELOW, APPROVE_CHILD, APPROVE_LEAF, BLOOM_WORDS, Filter, NAME_ANY_FLAGS,
    NAME_CHECK_PATH, NAME_LEN, NameKey, NameValue, NumberKey, PathKey, PathValue,
};

/// The contents of the filter maps for one set of rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FilterMaps {
    /// By kind; a kind that is not in it is not enabled.
    pub(crate) filters: BTreeMap<u32, FilterWords>,
    /// By kind, role and name: `(name flags, open flags)`.
    pub(crate) names: BTreeMap<(u8, u8, Vec<u8>), (u32, u32)>,
    /// By kind, hash and length: `(any flags, open flags)`.
    pub(crate) paths: BTreeMap<(u32, u64, u32), (u32, u32)>,
    /// Kind, slot and value of numbers.
    pub(crate) numbers: BTreeSet<(u32, u32, i64)>,
}

/// A [`Filter`] that can be compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FilterWords {
    all: bool,
    open_flags: u32,
    roles: u32,
    below_any: bool,
    below_open_flags: u32,
    bloom: [u64; BLOOM_WORDS],
    bloom_below: [u64; BLOOM_WORDS],
    number_masks: [i64; 2],
    number_slots: u32,
}

impl FilterWords {
    pub(crate) fn to_layout(&self) -> Filter {
        Filter {
            enabled: 1,
            all: self.all.into(),
            open_flags: self.open_flags,
            roles: self.roles,
            below_any: self.below_any.into(),
            below_open_flags: self.below_open_flags,
            bloom: self.bloom,
            bloom_below: self.bloom_below,
            number_masks: self.number_masks,
            number_slots: self.number_slots,
            reserved: 0,
        }
    }
}

impl FilterMaps {
    pub(crate) fn new(approvers: &BTreeMap<CaptureKind, Approvers>) -> Self {
        let mut maps = Self::default();
        for (kind, wanted) in approvers {
            maps.add(*kind, wanted);
        }
        maps
    }

    fn add(&mut self, kind: CaptureKind, wanted: &Approvers) {
        let mut filter = FilterWords {
            all: wanted.all,
            open_flags: wanted.flags,
            ..FilterWords::default()
        };
        if !wanted.all {
            filter.number_masks = wanted.masks;
            for (slot, value) in &wanted.numbers {
                filter.number_slots |= 1 << slot;
                let key = (kind as u32, u32::from(*slot), *value);
                self.numbers.insert(key);
            }
            for (name, flags) in &wanted.basenames {
                self.name(&mut filter, kind, APPROVE_LEAF, name.as_bytes(), *flags);
            }
            for (path, flags) in &wanted.paths {
                self.path(&mut filter, kind, path, *flags);
            }
            for (directory, below, flags) in &wanted.directories {
                // The root directory's own name is "/".
                let name = directory
                    .rsplit('/')
                    .next()
                    .filter(|n| !n.is_empty())
                    .unwrap_or("/");
                let role = if *below { APPROVE_BELOW } else { APPROVE_CHILD };
                self.name(&mut filter, kind, role, name.as_bytes(), *flags);
                if *below {
                    filter.below_any |= *flags == 0;
                    filter.below_open_flags |= flags;
                }
            }
        }
        self.filters.insert(kind as u32, filter);
    }

    fn name(
        &mut self,
        filter: &mut FilterWords,
        kind: CaptureKind,
        role: u8,
        name: &[u8],
        flags: u32,
    ) {
        filter.roles |= 1 << role;
        let bit = bloom_bit(name);
        let bloom = if role == APPROVE_BELOW {
            &mut filter.bloom_below
        } else {
            &mut filter.bloom
        };
        bloom[bit / 64] |= 1 << (bit % 64);
        let value = self
            .names
            .entry((kind as u8, role, name.to_vec()))
            .or_default();
        if flags == 0 {
            value.0 |= NAME_ANY_FLAGS;
        } else {
            value.1 |= flags;
        }
    }

    fn path(&mut self, filter: &mut FilterWords, kind: CaptureKind, path: &str, flags: u32) {
        let name = path.rsplit('/').next().unwrap_or_default();
        filter.roles |= 1 << APPROVE_LEAF;
        let bit = bloom_bit(name.as_bytes());
        filter.bloom[bit / 64] |= 1 << (bit % 64);
        self.names
            .entry((kind as u8, APPROVE_LEAF, name.as_bytes().to_vec()))
            .or_default()
            .0 |= NAME_CHECK_PATH;
        let (hash, len) = path_hash(path);
        let value = self.paths.entry((kind as u32, hash, len)).or_default();
        if flags == 0 {
            value.0 = 1;
        } else {
            value.1 |= flags;
        }
    }
}

pub(crate) fn name_key(kind: u8, role: u8, name: &[u8]) -> NameKey {
    let mut key = NameKey {
        kind,
        role,
        len: name.len() as u16,
        name: [0; NAME_LEN],
    };
    // The kernel's copy is cut by one for its NUL.
    let kept = name.len().min(NAME_LEN - 1);
    key.name[..kept].copy_from_slice(&name[..kept]);
    key
}

pub(crate) fn name_value(value: (u32, u32)) -> NameValue {
    NameValue {
        flags: value.0,
        open_flags: value.1,
    }
}

pub(crate) fn path_key(kind: u32, hash: u64, len: u32) -> PathKey {
    PathKey { hash, kind, len }
}

pub(crate) fn number_key((kind, slot, value): (u32, u32, i64)) -> NumberKey {
    NumberKey { kind, slot, value }
}

pub(crate) fn path_value(value: (u32, u32)) -> PathValue {
    PathValue {
        any_flags: value.0,
        open_flags: value.1,
    }
}

/// `name_of()` and `name_bloom_bit()` of `bpf/path.h`.
fn bloom_bit(name: &[u8]) -> usize {
    let mut first = [0u8; 8];
    let kept = name.len().min(8);
    first[..kept].copy_from_slice(&name[..kept]);
    let mixed = (u64::from_le_bytes(first) ^ ((name.len() as u64) << 56))
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        >> 53;
    mixed as usize & (BLOOM_WORDS * 64 - 1)
}

/// `path_hash()` of `bpf/path.h`, over the elements as `put_path()` writes them: innermost first, each ended by NUL.
fn path_hash(path: &str) -> (u64, u32) {
    let mut bytes = Vec::with_capacity(path.len() + 8);
    for element in path.rsplit('/').filter(|e| !e.is_empty()) {
        bytes.extend_from_slice(element.as_bytes());
        bytes.push(0);
    }
    let len = bytes.len();
    bytes.resize(len.next_multiple_of(8), 0);
    let mut hash = 0u64;
    for word in bytes.chunks_exact(8) {
        let mut w = [0; 8];
        w.copy_from_slice(word);
        hash = (hash ^ u64::from_le_bytes(w)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        hash ^= hash >> 29;
    }
    (hash, len as u32)
}
