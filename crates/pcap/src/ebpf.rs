//! Classic instructions to eBPF for a classifier (`sched_cls`).
//!
//! Registers: r6 the packet, r7 A, r8 X (both as 32 bits, zero above), r9 the verdict in its map, r0–r5 for the moment. Not the `LD_ABS` that eBPF
//! has for this: it ends the whole program where the packet is too short, and here other filters follow. So a load looks into the linear part
//! of the packet, and asks `bpf_skb_load_bytes()` for what is beyond.

use crate::cbpf::{Alu, Cond, Insn, Meta, Program, Size, Src};

/// An instruction of eBPF, as the kernel has it (`struct bpf_insn`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What is done.
    pub code: u8,
    /// The destination register, and in the upper half the source register.
    pub registers: u8,
    /// Of a jump, or of memory.
    pub offset: i16,
    /// The constant.
    pub immediate: i32,
}

impl Instruction {
    /// The eight bytes, in the order of this machine.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 8] {
        // The registers are bit fields: on big-endian machines they are the other way round.
        let registers = if cfg!(target_endian = "big") {
            self.registers.rotate_left(4)
        } else {
            self.registers
        };
        let (offset, immediate) = (self.offset.to_ne_bytes(), self.immediate.to_ne_bytes());
        let [o0, o1] = offset;
        let [i0, i1, i2, i3] = immediate;
        [self.code, registers, o0, o1, i0, i1, i2, i3]
    }
}

pub(crate) const PACKET: u8 = 6;
const A: u8 = 7;
const X: u8 = 8;
pub(crate) const VERDICT: u8 = 9;
pub(crate) const FRAME: u8 = 10;

/// Where bytes are copied to that are not in the linear part.
const COPY: i16 = -8;
/// Words of memory, from here down.
const MEMORY: i16 = -16;

/// What comes from `struct __sk_buff`.
mod skb {
    pub(super) const LEN: i16 = 0;
    pub(super) const VLAN_PRESENT: i16 = 20;
    pub(super) const VLAN_TCI: i16 = 24;
    pub(super) const IFINDEX: i16 = 40;
    pub(super) const DATA: i16 = 76;
    pub(super) const DATA_END: i16 = 80;
}

/// Of the verdict: whether the packet comes in.
pub(crate) const INBOUND: i16 = 44;

const SKB_LOAD_BYTES: i32 = 26;
/// What is further away is asked of the kernel: the verifier wants offsets that are known to be small.
const NEAR: u32 = 0x4000;

pub(crate) mod op {
    pub(crate) const LDX_W: u8 = 0x61;
    pub(crate) const LDX_H: u8 = 0x69;
    pub(crate) const LDX_B: u8 = 0x71;
    pub(crate) const LDX_DW: u8 = 0x79;
    pub(crate) const STX_W: u8 = 0x63;
    pub(crate) const STX_DW: u8 = 0x7b;
    pub(crate) const ST_W: u8 = 0x62;
    pub(crate) const ST_DW: u8 = 0x7a;
    pub(crate) const LD_IMM64: u8 = 0x18;
    pub(crate) const MOV: u8 = 0xbf;
    pub(crate) const MOV_K: u8 = 0xb7;
    pub(crate) const MOV32: u8 = 0xbc;
    pub(crate) const MOV32_K: u8 = 0xb4;
    pub(crate) const ADD: u8 = 0x0f;
    pub(crate) const ADD_K: u8 = 0x07;
    pub(crate) const OR: u8 = 0x4f;
    pub(crate) const AND32_K: u8 = 0x54;
    pub(crate) const LSH32_K: u8 = 0x64;
    pub(crate) const NEG32: u8 = 0x84;
    pub(crate) const TO_BE: u8 = 0xdc;
    pub(crate) const JA: u8 = 0x05;
    pub(crate) const JNE_K: u8 = 0x55;
    pub(crate) const JGT_K: u8 = 0x25;
    pub(crate) const JGT: u8 = 0x2d;
    pub(crate) const JEQ_K: u8 = 0x15;
    pub(crate) const JEQ32_K: u8 = 0x16;
    pub(crate) const JGT32_K: u8 = 0x26;
    pub(crate) const CALL: u8 = 0x85;
    pub(crate) const EXIT: u8 = 0x95;
    /// The source is a register, in operations and jumps.
    pub(crate) const FROM_X: u8 = 0x08;
}

/// A place that is jumped to before it is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Label(usize);

/// Instructions on their way.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    pub(crate) insns: Vec<Instruction>,
    labels: Vec<Option<usize>>,
    jumps: Vec<(usize, Label)>,
}

/// A jump is too far for its 16 bits.
#[derive(Debug)]
pub(crate) struct TooFar;

impl Assembler {
    pub(crate) fn push(&mut self, code: u8, to: u8, from: u8, offset: i16, immediate: i32) {
        self.insns.push(Instruction {
            code,
            registers: from << 4 | to,
            offset,
            immediate,
        });
    }

    /// A constant of 64 bits, which takes two instructions. `source` 1: the descriptor of a map.
    pub(crate) fn wide(&mut self, to: u8, source: u8, value: u64) {
        self.push(op::LD_IMM64, to, source, 0, value as u32 as i32);
        self.push(0, 0, 0, 0, (value >> 32) as u32 as i32);
    }

    pub(crate) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    pub(crate) fn place(&mut self, label: Label) {
        self.labels[label.0] = Some(self.insns.len());
    }

    pub(crate) fn jump(&mut self, code: u8, left: u8, right: u8, immediate: i32, label: Label) {
        self.jumps.push((self.insns.len(), label));
        self.push(code, left, right, 0, immediate);
    }

    /// Fills in the jumps.
    pub(crate) fn finish(mut self) -> Result<Vec<Instruction>, TooFar> {
        for (at, label) in self.jumps {
            let target = self.labels[label.0].ok_or(TooFar)?;
            let distance = target as i64 - at as i64 - 1;
            self.insns[at].offset = i16::try_from(distance).map_err(|_| TooFar)?;
        }
        Ok(self.insns)
    }

    /// A filter: goes on at one of the two labels.
    pub(crate) fn filter(&mut self, program: &Program, yes: Label, no: Label) {
        let insns = program.instructions();
        let places: Vec<Label> = insns.iter().map(|_| self.label()).collect();
        for (insn, place) in insns.iter().zip(&places) {
            self.place(*place);
            self.insn(*insn, &places, yes, no);
        }
    }

    fn insn(&mut self, insn: Insn, places: &[Label], yes: Label, no: Label) {
        let word = |i: u8| MEMORY - 8 * i16::from(i & 15);
        match insn {
            Insn::LdAbs(size, k) => self.load(A, size, k, false, no),
            Insn::LdInd(size, k) => self.load(A, size, k, true, no),
            Insn::LdxMsh(k) => {
                self.load(X, Size::Byte, k, false, no);
                self.push(op::AND32_K, X, 0, 0, 15);
                self.push(op::LSH32_K, X, 0, 0, 2);
            }
            Insn::LdLen => self.push(op::LDX_W, A, PACKET, skb::LEN, 0),
            Insn::LdImm(k) => self.push(op::MOV32_K, A, 0, 0, k as i32),
            Insn::LdMem(i) => self.push(op::LDX_W, A, FRAME, word(i), 0),
            Insn::St(i) => self.push(op::STX_W, FRAME, A, word(i), 0),
            Insn::LdMeta(meta) => {
                let (base, offset) = match meta {
                    Meta::Inbound => (VERDICT, INBOUND),
                    Meta::Ifindex => (PACKET, skb::IFINDEX),
                    Meta::VlanPresent => (PACKET, skb::VLAN_PRESENT),
                    Meta::VlanTag => (PACKET, skb::VLAN_TCI),
                };
                self.push(op::LDX_W, A, base, offset, 0);
            }
            Insn::Tax => self.push(op::MOV32, X, A, 0, 0),
            Insn::Neg => self.push(op::NEG32, A, 0, 0, 0),
            Insn::Alu(alu, src) => self.alu(alu, src, no),
            Insn::Jmp(cond, src, to, other) => {
                // Comparisons of 32 bits (class JMP32): the constant has no sign.
                let code = match cond {
                    Cond::Eq => 0x16,
                    Cond::Gt => 0x26,
                    Cond::Ge => 0x36,
                    Cond::Set => 0x46,
                };
                let to = places[to as usize];
                match src {
                    Src::K(k) => self.jump(code, A, 0, k as i32, to),
                    Src::X => self.jump(code | op::FROM_X, A, X, 0, to),
                }
                self.jump(op::JA, 0, 0, 0, places[other as usize]);
            }
            Insn::Ja(to) => self.jump(op::JA, 0, 0, 0, places[to as usize]),
            Insn::Ret(pass) => self.jump(op::JA, 0, 0, 0, if pass { yes } else { no }),
        }
    }

    fn alu(&mut self, alu: Alu, src: Src, fail: Label) {
        let code = match alu {
            Alu::Add => 0x04,
            Alu::Sub => 0x14,
            Alu::Mul => 0x24,
            Alu::Div => 0x34,
            Alu::Or => 0x44,
            Alu::And => 0x54,
            Alu::Lsh => 0x64,
            Alu::Rsh => 0x74,
            Alu::Mod => 0x94,
            Alu::Xor => 0xa4,
        };
        match (alu, src) {
            // Constants that are no use are errors of the language; here, so that the kernel would take the program all the same.
            (Alu::Lsh | Alu::Rsh, Src::K(32..)) => self.push(op::MOV32_K, A, 0, 0, 0),
            (Alu::Div | Alu::Mod, Src::K(0)) => self.jump(op::JEQ_K, A, 0, 0, fail),
            (_, Src::K(k)) => self.push(code, A, 0, 0, k as i32),
            (Alu::Div | Alu::Mod, Src::X) => {
                self.jump(op::JEQ32_K, X, 0, 0, fail);
                self.push(code | op::FROM_X, A, X, 0, 0);
            }
            // eBPF would shift by the lower five bits.
            (Alu::Lsh | Alu::Rsh, Src::X) => {
                let (far, end) = (self.label(), self.label());
                self.jump(op::JGT32_K, X, 0, 31, far);
                self.push(code | op::FROM_X, A, X, 0, 0);
                self.jump(op::JA, 0, 0, 0, end);
                self.place(far);
                self.push(op::MOV32_K, A, 0, 0, 0);
                self.place(end);
            }
            (_, Src::X) => self.push(code | op::FROM_X, A, X, 0, 0),
        }
    }

    /// register ← packet\[k\], or packet\[X + k\]; beyond the end the filter fails.
    fn load(&mut self, register: u8, size: Size, k: u32, indirect: bool, fail: Label) {
        let (slow, end) = (self.label(), self.label());
        let (code, bits) = match size {
            Size::Byte => (op::LDX_B, 0),
            Size::Half => (op::LDX_H, 16),
            Size::Word => (op::LDX_W, 32),
        };
        let bytes = size.bytes() as i32;
        if indirect {
            // r2: where, in 64 bits, since the sum may have 33.
            self.push(op::MOV32_K, 2, 0, 0, k as i32);
            self.push(op::ADD, 2, X, 0, 0);
            self.jump(op::JGT_K, 2, 0, i32::MAX, fail);
            self.jump(op::JGT_K, 2, 0, NEAR as i32, slow);
            self.push(op::LDX_W, 1, PACKET, skb::DATA, 0);
            self.push(op::LDX_W, 3, PACKET, skb::DATA_END, 0);
            self.push(op::ADD, 1, 2, 0, 0);
            self.push(op::MOV, 4, 1, 0, 0);
            self.push(op::ADD_K, 4, 0, 0, bytes);
            self.jump(op::JGT, 4, 3, 0, slow);
            self.push(code, register, 1, 0, 0);
            self.jump(op::JA, 0, 0, 0, end);
        } else if k <= NEAR {
            self.push(op::LDX_W, 1, PACKET, skb::DATA, 0);
            self.push(op::LDX_W, 3, PACKET, skb::DATA_END, 0);
            self.push(op::MOV, 4, 1, 0, 0);
            self.push(op::ADD_K, 4, 0, 0, k as i32 + bytes);
            self.jump(op::JGT, 4, 3, 0, slow);
            self.push(code, register, 1, k as i16, 0);
            self.jump(op::JA, 0, 0, 0, end);
        }
        self.place(slow);
        if !indirect {
            self.push(op::MOV32_K, 2, 0, 0, k as i32);
        }
        self.push(op::MOV, 1, PACKET, 0, 0);
        self.push(op::MOV, 3, FRAME, 0, 0);
        self.push(op::ADD_K, 3, 0, 0, COPY.into());
        self.push(op::MOV_K, 4, 0, 0, bytes);
        self.push(op::CALL, 0, 0, 0, SKB_LOAD_BYTES);
        self.jump(op::JNE_K, 0, 0, 0, fail);
        self.push(code, register, FRAME, COPY, 0);
        self.place(end);
        if bits > 0 {
            self.push(op::TO_BE, register, 0, 0, bits);
        }
    }
}
