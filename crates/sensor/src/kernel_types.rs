//! The kernel's own description of its types (BTF): what hooks there are, and the few types that the programs name.
//!
//! libbpf compares each type that a program names with all of the kernel's, a hundred thousand, again for each object that it loads. So it is
//! given only those that the programs can mean ([`KernelTypes::named`]): a start takes half the time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};

use libbpf_rs::ObjectBuilder;
use nix::sys::memfd::{MFdFlags, memfd_create};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::error::Error;

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
const HEADER: usize = 24;

// Kinds of types, as <linux/btf.h> numbers them.
const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const FLOAT: u32 = 16;
const DECL_TAG: u32 = 17;
const TYPE_TAG: u32 = 18;
const ENUM64: u32 = 19;

/// Types, by number and by name.
pub(crate) struct KernelTypes {
    bytes: Vec<u8>,
    /// Where each type begins; number 0 is `void` and has no place.
    places: Vec<u32>,
    strings: usize,
}

/// A type's head. `size` is a type's number where the kind refers to another type.
#[derive(Clone, Copy)]
struct Head {
    name: u32,
    kind: u32,
    count: u32,
    flag: bool,
    size: u32,
    /// Where its members begin.
    rest: usize,
}

/// Bytes of one member, and how many members there are.
fn members(kind: u32, count: u32) -> (usize, usize) {
    let count = count as usize;
    match kind {
        INT | VAR | DECL_TAG => (4, 1),
        ARRAY => (12, 1),
        STRUCT | UNION | DATASEC | ENUM64 => (12, count),
        ENUM | FUNC_PROTO => (8, count),
        _ => (0, 0),
    }
}

impl KernelTypes {
    /// The running kernel's.
    pub(crate) fn of_this_kernel() -> Result<Self, Error> {
        let bytes = std::fs::read(VMLINUX).map_err(|e| Error::NoBtf(format!("{VMLINUX}: {e}")))?;
        Self::parse(bytes).ok_or_else(|| Error::NoBtf(format!("{VMLINUX} is not BTF")))
    }

    /// Those of a BTF file or section.
    pub(crate) fn parse(bytes: Vec<u8>) -> Option<Self> {
        let word = |at: usize| word(&bytes, at);
        if bytes.first_chunk().map(|b| u16::from_ne_bytes(*b)) != Some(MAGIC) {
            return None;
        }
        let header = word(4)? as usize;
        let types = header.checked_add(word(8)? as usize)?;
        let end = types.checked_add(word(12)? as usize)?;
        let strings = header.checked_add(word(16)? as usize)?;
        let whole = end.max(strings.checked_add(word(20)? as usize)?) <= bytes.len();
        let mut places = vec![0];
        let mut at = types;
        while at < end {
            places.push(u32::try_from(at).ok()?);
            let info = word(at + 4)?;
            let (size, count) = members(info >> 24 & 0x1f, info & 0xffff);
            at = at.checked_add(12 + size * count)?;
        }
        (at == end && whole).then_some(Self {
            bytes,
            places,
            strings,
        })
    }

    fn head(&self, number: u32) -> Option<Head> {
        let at = *self.places.get(number as usize).filter(|at| **at > 0)? as usize;
        let info = word(&self.bytes, at + 4)?;
        Some(Head {
            name: word(&self.bytes, at)?,
            kind: info >> 24 & 0x1f,
            count: info & 0xffff,
            flag: info >> 31 == 1,
            size: word(&self.bytes, at + 8)?,
            rest: at + 12,
        })
    }

    fn text(&self, at: u32) -> &[u8] {
        let text = self.bytes.get(self.strings + at as usize..);
        let text = text.unwrap_or_default();
        let end = text.iter().position(|byte| *byte == 0);
        &text[..end.unwrap_or(text.len())]
    }

    fn heads(&self) -> impl Iterator<Item = (u32, Head)> {
        (1u32..).map_while(|number| Some((number, self.head(number)?)))
    }

    /// What can be hooked, of these names: for a function the types of its arguments, and as many for the tracepoint `btf_trace_…`. One walk
    /// for all names, since it is the walk that costs.
    pub(crate) fn hooks<'n>(&self, names: impl Iterator<Item = &'n str>) -> Hooks {
        let wanted: FxHashMap<&[u8], &str> = names.map(|name| (name.as_bytes(), name)).collect();
        let mut hooks = Hooks::default();
        for (_, head) in self.heads() {
            // A struct may have the name of a function (`io_accept`).
            let (found, prototype, name) = match head.kind {
                FUNC => (&mut hooks.functions, head.size, self.text(head.name)),
                TYPEDEF => {
                    let Some(name) = self.text(head.name).strip_prefix(b"btf_trace_") else {
                        continue;
                    };
                    let pointer = self.head(head.size).filter(|head| head.kind == PTR);
                    let Some(pointer) = pointer else { continue };
                    (&mut hooks.tracepoints, pointer.size, name)
                }
                _ => continue,
            };
            let prototype = self.head(prototype).filter(|head| head.kind == FUNC_PROTO);
            if let (Some(name), Some(prototype)) = (wanted.get(name), prototype) {
                let arguments = (0..prototype.count as usize)
                    .filter_map(|n| word(&self.bytes, prototype.rest + 8 * n + 4))
                    .map(|number| self.is_composite(number));
                found.insert((*name).to_owned(), arguments.collect());
            }
        }
        hooks
    }

    /// Whether it is a struct or a union, under whatever names.
    fn is_composite(&self, mut number: u32) -> bool {
        for _ in 0..32 {
            match self.head(number) {
                Some(head)
                    if matches!(head.kind, TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG) =>
                {
                    number = head.size;
                }
                head => return head.is_some_and(|head| matches!(head.kind, STRUCT | UNION)),
            }
        }
        false
    }

    /// The members' names of a struct.
    pub(crate) fn members(&self, name: &str) -> Vec<&[u8]> {
        let mut structs = self.heads().filter(|(_, head)| head.kind == STRUCT);
        let found = structs.find(|(_, head)| self.text(head.name) == name.as_bytes());
        let members = found.into_iter().flat_map(|(_, head)| {
            (0..head.count as usize).filter_map(move |n| word(&self.bytes, head.rest + 12 * n))
        });
        members.map(|name| self.text(name)).collect()
    }

    /// The numbers of the structs with these names; 0 where there is none.
    pub(crate) fn numbers(&self, names: &[&[u8]]) -> Vec<u32> {
        let mut numbers: FxHashMap<&[u8], u32> =
            names.iter().map(|name| (essential(name), 0)).collect();
        for (number, head) in self.heads().filter(|(_, head)| head.kind == STRUCT) {
            if let Some(found @ 0) = numbers.get_mut(self.text(head.name)) {
                *found = number;
            }
        }
        let number = |name: &&[u8]| numbers.get(essential(name)).copied();
        names.iter().map(|name| number(name).unwrap_or(0)).collect()
    }

    /// A BTF file with those types that have a name of one in `asked`, and what these are made of. What they only point to is left out: the
    /// offset of a member does not depend on it.
    pub(crate) fn named(&self, asked: &Self) -> Vec<u8> {
        let names: FxHashSet<&[u8]> = asked
            .heads()
            .filter(|(_, head)| is_nameable(head.kind))
            .map(|(_, head)| essential(asked.text(head.name)))
            .filter(|name| !name.is_empty())
            .collect();
        let mut subset = Subset::new(self);
        for (number, head) in self.heads() {
            if is_nameable(head.kind) && names.contains(self.text(head.name)) {
                subset.number(number);
            }
        }
        subset.finish()
    }
}

/// The hooks that were found.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    /// By name, for each argument whether it is a struct by value.
    functions: BTreeMap<String, Vec<bool>>,
    /// The first argument of each is not its own.
    tracepoints: BTreeMap<String, Vec<bool>>,
}

impl Hooks {
    pub(crate) fn has_function(&self, name: &str) -> bool {
        self.functions.contains_key(name)
    }

    /// Whether the function is given a struct by value, not by address.
    pub(crate) fn takes_struct(&self, name: &str) -> bool {
        self.functions
            .get(name)
            .is_some_and(|arguments| arguments.contains(&true))
    }

    /// How many arguments a raw tracepoint has.
    pub(crate) fn tracepoint_args(&self, name: &str) -> Option<usize> {
        let arguments = self.tracepoints.get(name)?;
        Some(arguments.len().saturating_sub(1))
    }
}

/// Programs name types of these kinds.
fn is_nameable(kind: u32) -> bool {
    matches!(kind, INT | STRUCT | UNION | ENUM | ENUM64 | TYPEDEF)
}

/// `sock___old` means `sock`.
fn essential(name: &[u8]) -> &[u8] {
    let end = name.windows(3).position(|three| three == b"___");
    &name[..end.filter(|end| *end > 0).unwrap_or(name.len())]
}

/// A BTF file in the making.
struct Subset<'k> {
    kernel: &'k KernelTypes,
    numbers: FxHashMap<u32, u32>,
    /// In the order of their new numbers.
    kept: Vec<u32>,
    names: FxHashMap<u32, u32>,
    strings: Vec<u8>,
}

impl<'k> Subset<'k> {
    fn new(kernel: &'k KernelTypes) -> Self {
        Self {
            kernel,
            numbers: FxHashMap::default(),
            kept: Vec::new(),
            names: FxHashMap::from_iter([(0, 0)]),
            strings: vec![0],
        }
    }

    /// The new number of a type, which it gets when it is first asked for.
    fn number(&mut self, old: u32) -> u32 {
        if let Some(new) = self.numbers.get(&old) {
            return *new;
        }
        let kept = self.kernel.head(old).is_some_and(|head| {
            is_nameable(head.kind)
                || matches!(
                    head.kind,
                    PTR | ARRAY | VOLATILE | CONST | RESTRICT | FLOAT | TYPE_TAG
                )
        });
        if !kept {
            return 0;
        }
        self.kept.push(old);
        let new = self.kept.len() as u32;
        self.numbers.insert(old, new);
        new
    }

    fn name(&mut self, old: u32) -> u32 {
        if let Some(new) = self.names.get(&old) {
            return *new;
        }
        let new = self.strings.len() as u32;
        self.strings.extend_from_slice(self.kernel.text(old));
        self.strings.push(0);
        self.names.insert(old, new);
        new
    }

    fn finish(mut self) -> Vec<u8> {
        let mut types = Vec::new();
        let mut at = 0;
        while let Some(old) = self.kept.get(at).copied() {
            at += 1;
            if let Some(head) = self.kernel.head(old) {
                self.write(&head, &mut types);
            }
        }
        let mut file = Vec::with_capacity(HEADER + types.len() + self.strings.len());
        file.extend(MAGIC.to_ne_bytes());
        file.extend([1, 0]); // version, flags
        let (types_len, strings_len) = (types.len() as u32, self.strings.len() as u32);
        for word in [HEADER as u32, 0, types_len, types_len, strings_len] {
            file.extend(word.to_ne_bytes());
        }
        file.extend(types);
        file.extend(self.strings);
        file
    }

    fn write(&mut self, head: &Head, out: &mut Vec<u8>) {
        let mut put = |word: u32| out.extend(word.to_ne_bytes());
        put(self.name(head.name));
        put(u32::from(head.flag) << 31 | head.kind << 24 | head.count);
        put(match head.kind {
            PTR => 0,
            TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG => self.number(head.size),
            _ => head.size,
        });
        let (size, count) = members(head.kind, head.count);
        for member in 0..count {
            for (place, at) in (0..size).step_by(4).enumerate() {
                let word = word(&self.kernel.bytes, head.rest + member * size + at).unwrap_or(0);
                put(match (head.kind, place) {
                    (STRUCT | UNION | ENUM | ENUM64, 0) => self.name(word),
                    (STRUCT | UNION, 1) | (ARRAY, 0 | 1) => self.number(word),
                    _ => word,
                });
            }
        }
    }
}

/// What an object needs to know of the kernel's types before it is loaded.
pub struct ObjectTypes {
    /// Without this file, which needs memory files and `/proc`, a load takes longer.
    file: Option<TypesFile>,
    numbers: Vec<u8>,
}

impl ObjectTypes {
    /// For the running kernel and an object with these types (its section `.BTF`).
    pub fn of_this_kernel(own: &[u8]) -> Result<Self, Error> {
        Ok(Self::new(&KernelTypes::of_this_kernel()?, own))
    }

    pub(crate) fn new(kernel: &KernelTypes, own: &[u8]) -> Self {
        let Some(own) = KernelTypes::parse(own.to_vec()) else {
            unreachable!("the object has been built with its types");
        };
        let file = TypesFile::new(&kernel.named(&own)).ok();
        let numbers = kernel.numbers(&own.members("type_numbers"));
        Self {
            file: file.filter(|file| std::path::Path::new(&file.path()).exists()),
            numbers: numbers.into_iter().flat_map(u32::to_ne_bytes).collect(),
        }
    }

    /// Has libbpf look there for the types that the object names.
    pub fn set(&self, builder: &mut ObjectBuilder) -> libbpf_rs::Result<()> {
        match &self.file {
            Some(file) => builder.btf_custom_path(file.path()).map(drop),
            None => Ok(()),
        }
    }

    /// The bytes of `.rodata.types` (see `bpf/types.h`).
    pub fn numbers(&self) -> &[u8] {
        &self.numbers
    }
}

/// A file in memory, which libbpf reads by its path.
struct TypesFile {
    file: File,
}

impl TypesFile {
    fn new(bytes: &[u8]) -> std::io::Result<Self> {
        let fd: OwnedFd = memfd_create(c"atalaya-btf", MFdFlags::MFD_CLOEXEC)?;
        let mut file = File::from(fd);
        file.write_all(bytes)?;
        Ok(Self { file })
    }

    fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.file.as_raw_fd())
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*word))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use libbpf_rs::btf::types::{Func, MemberAttr, Struct};
    use libbpf_rs::btf::{Btf, HasSize};

    use super::*;

    fn kernel() -> Option<KernelTypes> {
        let kernel = KernelTypes::of_this_kernel().ok();
        if kernel.is_none() {
            eprintln!("SKIPPED: this kernel has no BTF");
        }
        kernel
    }

    fn ours() -> KernelTypes {
        let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/atalaya.btf"));
        KernelTypes::parse(bytes.to_vec()).unwrap()
    }

    /// io_uring's `io_accept` is a function and a struct, and was taken for a hook that the kernel does not have.
    #[test]
    fn a_function_that_shares_its_name_with_a_struct_is_found() {
        let Some(kernel) = kernel() else { return };
        let btf = Btf::from_vmlinux().unwrap();
        let names = ["io_accept", "io_bind", "io_connect", "file", "vfs_read"];
        let hooks = kernel.hooks(names.into_iter());
        for name in names {
            let mut functions = btf.type_by_kind::<Func<'_>>();
            let there = functions.any(|f| f.name().is_some_and(|known| known == name));
            assert_eq!(hooks.has_function(name), there, "{name}");
        }
    }

    #[test]
    fn tracepoints_are_counted_without_the_argument_that_is_not_theirs() {
        let Some(kernel) = kernel() else { return };
        let hooks = kernel.hooks(["sys_exit", "sched_process_fork", "no_such"].into_iter());
        assert_eq!(hooks.tracepoint_args("sys_exit"), Some(2));
        assert_eq!(hooks.tracepoint_args("sched_process_fork"), Some(2));
        assert_eq!(hooks.tracepoint_args("no_such"), None);
    }

    /// What libbpf finds in the small file is what it finds in the kernel's.
    #[test]
    fn the_named_types_are_laid_out_as_in_the_kernel() {
        let Some(kernel) = kernel() else { return };
        let ours = ours();
        let file = TypesFile::new(&kernel.named(&ours)).unwrap();
        let small = Btf::from_path(file.path()).unwrap();
        let whole = Btf::from_vmlinux().unwrap();
        assert!(
            small.len() * 10 < whole.len(),
            "{} of {}",
            small.len(),
            whole.len()
        );
        let mut compared = 0;
        for (_, head) in ours.heads().filter(|(_, head)| head.kind == STRUCT) {
            let name = String::from_utf8(essential(ours.text(head.name)).to_vec()).unwrap();
            if name.is_empty() {
                continue;
            }
            let of = |btf: &Btf<'_>| -> Vec<_> {
                let mut all: Vec<_> = btf
                    .type_by_kind::<Struct<'_>>()
                    .filter(|s| s.name().is_some_and(|known| *known == *name))
                    .map(|s| {
                        let members = s.iter().map(|m| {
                            let MemberAttr::Normal { offset } = m.attr else {
                                return (m.name.map(ToOwned::to_owned), u32::MAX);
                            };
                            (m.name.map(ToOwned::to_owned), offset)
                        });
                        (s.size(), members.collect::<Vec<_>>())
                    })
                    .collect();
                all.sort();
                all
            };
            let (small, whole) = (of(&small), of(&whole));
            assert_eq!(small, whole, "{name}");
            compared += whole.len();
        }
        assert!(compared > 30, "{compared}");
    }

    #[test]
    fn the_numbers_of_structs_are_those_of_the_kernel() {
        let Some(kernel) = kernel() else { return };
        let ours = ours();
        let names = ours.members("type_numbers");
        assert!(names.contains(&b"task_struct".as_slice()));
        for (name, number) in names.iter().zip(kernel.numbers(&names)) {
            if number != 0 {
                assert_eq!(
                    kernel.text(kernel.head(number).unwrap().name),
                    essential(name)
                );
            }
        }
        assert_eq!(kernel.numbers(&[b"no_such_struct"]), [0]);
        assert_eq!(kernel.numbers(&[b"file___old"]), kernel.numbers(&[b"file"]));
    }

    #[test]
    fn what_is_no_btf_is_refused_and_never_read_beyond() {
        let good = include_bytes!(concat!(env!("OUT_DIR"), "/probe.btf"));
        assert!(KernelTypes::parse(good.to_vec()).is_some());
        for len in 0..good.len().min(4096) {
            assert!(KernelTypes::parse(good[..len].to_vec()).is_none(), "{len}");
        }
        // Any byte changed: an answer or none, and no panic.
        for at in 0..good.len() {
            let mut bad = good.to_vec();
            bad[at] ^= 0xff;
            if let Some(types) = KernelTypes::parse(bad) {
                types.named(&types);
                types.hooks(["bpf"].into_iter());
            }
        }
    }
}
