//! A program as the kernel runs it: its translated instructions, and what they refer to.

use std::collections::{BTreeMap, BTreeSet};

/// One instruction; a 64-bit constant is two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u8,
    pub(crate) dst: u8,
    pub(crate) src: u8,
    pub(crate) off: i16,
    pub(crate) imm: i32,
}

impl Instruction {
    /// From the kernel's eight bytes.
    pub(crate) fn read(bytes: &[u8; 8]) -> Self {
        Self {
            code: bytes[0],
            dst: bytes[1] & 0xf,
            src: bytes[1] >> 4,
            off: i16::from_ne_bytes([bytes[2], bytes[3]]),
            imm: i32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        }
    }

    /// `BPF_LD`, `BPF_LDX`, `BPF_ST`, `BPF_STX`, `BPF_ALU`, `BPF_JMP`, `BPF_JMP32`, `BPF_ALU64`: 0 to 7.
    pub(crate) const fn class(self) -> u8 {
        self.code & 7
    }

    /// The mode of an instruction that loads or stores.
    pub(crate) const fn mode(self) -> u8 {
        self.code & 0xe0
    }

    /// How many bytes it loads or stores.
    pub(crate) const fn size(self) -> u8 {
        match self.code & 0x18 {
            0x00 => 4,
            0x08 => 2,
            0x10 => 1,
            _ => 8,
        }
    }

    /// Whether the other operand is a register.
    pub(crate) const fn register_operand(self) -> bool {
        self.code & 8 != 0
    }

    /// The first half of a 64-bit constant.
    pub(crate) const fn is_wide_constant(self) -> bool {
        self.code == 0x18
    }

    /// A call of any kind.
    pub(crate) const fn is_call(self) -> bool {
        self.code == 0x85
    }

    /// A call of a subprogram.
    pub(crate) const fn is_local_call(self) -> bool {
        self.is_call() && self.src == 1
    }
}

/// Which function of the kernel a call is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Callee {
    /// A helper by its name.
    Helper(String),
    /// A function of the kernel that programs may call, by its name.
    Kfunc(String),
    /// The kernel keeps from us what is called (`kernel.kptr_restrict`), or its symbols do not tell.
    Hidden,
}

/// A map that a program refers to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MapImage {
    /// What it holds, where nobody can ever change it: read-only to programs, and frozen for everybody else.
    pub(crate) constant: Option<Vec<u8>>,
    /// The programs that an array of programs holds at present.
    pub(crate) programs: Vec<u32>,
}

/// A program, complete with what its instructions refer to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Image {
    pub(crate) code: Vec<Instruction>,
    /// Maps by their numbers.
    pub(crate) maps: BTreeMap<u32, MapImage>,
    /// By the immediate operand of a call, and whether it is one of a kfunc.
    pub(crate) callees: BTreeMap<(i32, bool), Callee>,
    /// The first instruction of each function, where the kernel tells (`func_info`).
    pub(crate) functions: Vec<usize>,
    /// Part of it is replaced by other programs (`freplace`), which its instructions do not show.
    pub(crate) extended: bool,
}

/// Helper number of `bpf_tail_call`, which a dump always has in place of how the call is really made.
pub(crate) const TAIL_CALL: i32 = 12;

impl Image {
    /// Which function a call of the kernel's is of.
    pub(crate) fn callee(&self, call: Instruction) -> &Callee {
        const HIDDEN: &Callee = &Callee::Hidden;
        self.callees
            .get(&(call.imm, call.src == 2))
            .unwrap_or(HIDDEN)
    }

    /// Whether a call is, or for all that is known may be, a tail call.
    pub(crate) fn may_tail_call(&self, instruction: Instruction) -> bool {
        // The kernel hides all operands or none, and then this one too.
        instruction.is_call()
            && instruction.src == 0
            && (instruction.imm == TAIL_CALL || instruction.imm == 0)
    }

    /// The function that a call at a place goes to. None where that is not sure.
    pub(crate) fn target(&self, at: usize) -> Option<usize> {
        let call = self.code.get(at)?;
        // In a dump the distance is in the offset. It does not fit where a program is very long: then the other operand, which is the
        // number of the function once the program is compiled, and the kernel's list of functions tell.
        if self.code.len() <= i16::MAX as usize {
            let target = at
                .checked_add_signed(isize::from(call.off))?
                .checked_add(1)?;
            let known = self.functions.is_empty() || self.functions.contains(&target);
            return (known && target < self.code.len()).then_some(target);
        }
        let target = *self.functions.get(usize::try_from(call.imm).ok()?)?;
        let low = (target.wrapping_sub(at + 1)) as u16;
        (call.imm != 0 && low == call.off.cast_unsigned()).then_some(target)
    }

    /// Where blocks begin: what some jump goes to. None where an instruction is not understood, so that nothing can be said.
    pub(crate) fn leaders(&self) -> Option<BTreeSet<usize>> {
        let mut leaders = BTreeSet::new();
        let mut at = 0;
        while let Some(instruction) = self.code.get(at) {
            if let Some(target) = jump(*instruction, at) {
                leaders.insert(target?);
            }
            at += 1 + usize::from(instruction.is_wide_constant());
        }
        leaders
            .iter()
            .all(|leader| *leader < self.code.len())
            .then_some(leaders)
    }

    /// The distinct arrays of programs, and what is in them at present.
    pub(crate) fn tail_calls(&self) -> Vec<u32> {
        let mut programs: Vec<u32> = self
            .maps
            .values()
            .flat_map(|map| map.programs.iter().copied())
            .collect();
        programs.sort_unstable();
        programs.dedup();
        programs
    }

    /// Whether some call can throw an exception: leave the program from any depth, with any verdict.
    pub(crate) fn may_throw(&self) -> bool {
        self.code.iter().any(|instruction| {
            instruction.is_call()
                && match self.callee(*instruction) {
                    Callee::Helper(_) => false,
                    Callee::Kfunc(name) => name == "bpf_throw",
                    Callee::Hidden => instruction.src == 2,
                }
        })
    }
}

/// Where a jump goes. None of what is none; `Some(None)` of one whose target is unknown.
pub(crate) fn jump(instruction: Instruction, at: usize) -> Option<Option<usize>> {
    let class = instruction.class();
    if class != 5 && class != 6 {
        return None;
    }
    let far = |distance: i64| {
        let target = i64::try_from(at)
            .ok()?
            .checked_add(1)?
            .checked_add(distance)?;
        usize::try_from(target).ok()
    };
    match instruction.code & 0xf0 {
        // Calls and exits.
        0x80 | 0x90 => None,
        0x00 if instruction.register_operand() => Some(None),
        0x00 if class == 6 => Some(far(i64::from(instruction.imm))),
        _ => Some(far(i64::from(instruction.off))),
    }
}
