//! Classic BPF: the packet filters that sockets are given, as text.
//!
//! The notation is that of Go's `golang.org/x/net/bpf`, which rules on `setsockopt.filter_instructions` are written for.

use std::fmt::{self, Write as _};

/// One instruction: `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u16,
    skip_true: u8,
    skip_false: u8,
    operand: u32,
}

const SIZE: usize = 8;

const LD: u16 = 0;
const LDX: u16 = 1;
const ST: u16 = 2;
const STX: u16 = 3;
const ALU: u16 = 4;
const JMP: u16 = 5;
const RET: u16 = 6;
const MISC: u16 = 7;

const IMM: u16 = 0x00;
const ABS: u16 = 0x20;
const IND: u16 = 0x40;
const MEM: u16 = 0x60;
const LEN: u16 = 0x80;
const MSH: u16 = 0xa0;

/// The operand is the register X.
const X: u16 = 0x08;

/// What lies above every packet: loads from there give what the kernel knows of a packet (`SKF_AD_OFF`).
const ANCILLARY: u32 = 0xffff_f000;

fn instructions(bytes: &[u8]) -> impl Iterator<Item = Instruction> + '_ {
    bytes.as_chunks::<SIZE>().0.iter().map(|bytes| {
        let [code0, code1, skip_true, skip_false, operand @ ..] = *bytes;
        Instruction {
            code: u16::from_ne_bytes([code0, code1]),
            skip_true,
            skip_false,
            operand: u32::from_ne_bytes(operand),
        }
    })
}

/// The instructions as text, one a line with its number.
pub(crate) fn text(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (number, instruction) in instructions(bytes).enumerate() {
        // A string takes all that is written.
        let _ = writeln!(text, "{number:03}: {instruction}");
    }
    text
}

/// The numbers that the instructions load, count and compare with, each once, in their order.
pub(crate) fn immediates(bytes: &[u8]) -> Vec<i64> {
    let mut found = Vec::new();
    for instruction in instructions(bytes) {
        let value = i64::from(instruction.operand);
        if instruction.has_immediate() && !found.contains(&value) {
            found.push(value);
        }
    }
    found
}

impl Instruction {
    fn class(self) -> u16 {
        self.code & 7
    }

    fn mode(self) -> u16 {
        self.code & 0xe0
    }

    /// The operation of an ALU or jump instruction.
    fn operation(self) -> u16 {
        self.code & 0xf0
    }

    fn has_immediate(self) -> bool {
        match self.class() {
            LD | LDX => self.mode() == IMM,
            ALU => self.code & X == 0 && self.operation() != 0x80,
            JMP => self.code & X == 0 && self.operation() != 0,
            _ => false,
        }
    }

    fn load(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let k = self.operand;
        let name = match (self.class(), self.code & 0x18) {
            (LD, 0x00) => "ld",
            (LD, 0x08) => "ldh",
            (LD, 0x10) => "ldb",
            (LDX, 0x10) if self.mode() == MSH => return write!(f, "ldx 4*([{k}]&0xf)"),
            (LDX, 0x00) => "ldx",
            _ => return self.unknown(f),
        };
        match (self.mode(), name) {
            (IMM, "ld" | "ldx") => write!(f, "{name} #{k}"),
            (MEM, "ld" | "ldx") => write!(f, "{name} M[{k}]"),
            (LEN, "ld" | "ldx") => write!(f, "{name} len"),
            (ABS, "ld") if k >= ANCILLARY && ancillary(k - ANCILLARY).is_some() => {
                let what = ancillary(k - ANCILLARY).unwrap_or_default();
                write!(f, "ld {what}")
            }
            (ABS, "ld" | "ldh" | "ldb") => write!(f, "{name} [{k}]"),
            (IND, "ld" | "ldh" | "ldb") => write!(f, "{name} [x + {k}]"),
            _ => self.unknown(f),
        }
    }

    fn alu(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.operation() {
            0x00 => "add",
            0x10 => "sub",
            0x20 => "mul",
            0x30 => "div",
            0x40 => "or",
            0x50 => "and",
            0x60 => "lsh",
            0x70 => "rsh",
            0x80 => return f.write_str("neg"),
            0x90 => "mod",
            0xa0 => "xor",
            _ => return self.unknown(f),
        };
        write!(f, "{name} ")?;
        self.source(f)
    }

    fn source(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.code & X == 0 {
            write!(f, "#{}", self.operand)
        } else {
            f.write_char('x')
        }
    }

    /// A conditional jump that has nowhere to go when it is true is written as its contrary.
    fn jump(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, contrary) = match self.operation() {
            0x00 => return write!(f, "ja {}", self.operand),
            0x10 => ("jeq", "jneq"),
            0x20 => ("jgt", "jle"),
            0x30 => ("jge", "jlt"),
            0x40 => ("jset", "jset"),
            _ => return self.unknown(f),
        };
        let contrary_known = name != contrary;
        if self.skip_true == 0 && contrary_known {
            write!(f, "{contrary} ")?;
            self.source(f)?;
            return write!(f, ",{}", self.skip_false);
        }
        write!(f, "{name} ")?;
        self.source(f)?;
        write!(f, ",{}", self.skip_true)?;
        if self.skip_false > 0 {
            write!(f, ",{}", self.skip_false)?;
        }
        Ok(())
    }

    fn unknown(self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            skip_true,
            skip_false,
            operand,
        } = self;
        write!(
            f,
            "unknown {code:#06x} {skip_true} {skip_false} {operand:#x}"
        )
    }
}

impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.code > 0xff {
            return self.unknown(f);
        }
        match self.class() {
            LD | LDX => self.load(f),
            ST => write!(f, "st M[{}]", self.operand),
            STX => write!(f, "stx M[{}]", self.operand),
            ALU => self.alu(f),
            JMP => self.jump(f),
            RET => match self.code & 0x18 {
                0x00 => write!(f, "ret #{}", self.operand),
                0x10 => f.write_str("ret a"),
                _ => self.unknown(f),
            },
            MISC if self.code & 0xf8 == 0x00 => f.write_str("tax"),
            MISC if self.code & 0xf8 == 0x80 => f.write_str("txa"),
            _ => self.unknown(f),
        }
    }
}

/// What a load from above every packet gives.
fn ancillary(offset: u32) -> Option<&'static str> {
    Some(match offset {
        0 => "#proto",
        4 => "#type",
        8 => "#ifidx",
        12 => "#nla",
        16 => "#nlan",
        20 => "#mark",
        24 => "#queue",
        28 => "#hatype",
        32 => "#rxhash",
        36 => "#cpu",
        44 => "#vlan_tci",
        48 => "#vlan_avail",
        52 => "#poff",
        56 => "#rand",
        60 => "#vlan_tpr",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(instructions: &[(u16, u8, u8, u32)]) -> Vec<u8> {
        instructions
            .iter()
            .flat_map(|(code, jt, jf, k)| {
                let [c0, c1] = code.to_ne_bytes();
                let [k0, k1, k2, k3] = k.to_ne_bytes();
                [c0, c1, *jt, *jf, k0, k1, k2, k3]
            })
            .collect()
    }

    fn line(instruction: (u16, u8, u8, u32)) -> String {
        let text = text(&code(&[instruction]));
        let line = text
            .strip_prefix("000: ")
            .and_then(|t| t.strip_suffix('\n'));
        line.unwrap_or("no line").to_owned()
    }

    /// `tcpdump -dd 'ip and tcp port 80'`, the part up to the port.
    #[test]
    fn a_filter_of_tcpdump() {
        let filter = code(&[
            (0x28, 0, 0, 12),
            (0x15, 0, 8, 0x800),
            (0x30, 0, 0, 23),
            (0x15, 0, 6, 6),
            (0x28, 0, 0, 20),
            (0x45, 4, 0, 0x1fff),
            (0xb1, 0, 0, 14),
            (0x48, 0, 0, 16),
            (0x15, 1, 0, 80),
            (0x06, 0, 0, 0),
            (0x06, 0, 0, 262_144),
        ]);
        let wanted = "000: ldh [12]\n001: jneq #2048,8\n002: ldb [23]\n003: jneq #6,6\n004: ldh [20]\n005: jset #8191,4\n\
                      006: ldx 4*([14]&0xf)\n007: ldh [x + 16]\n008: jeq #80,1\n009: ret #0\n010: ret #262144\n";
        assert_eq!(text(&filter), wanted);
        assert_eq!(immediates(&filter), [0x800, 6, 0x1fff, 80]);
    }

    #[test]
    fn each_kind_of_instruction() {
        for (instruction, wanted) in [
            ((0x00, 0, 0, 7), "ld #7"),
            ((0x01, 0, 0, 7), "ldx #7"),
            ((0x60, 0, 0, 3), "ld M[3]"),
            ((0x61, 0, 0, 3), "ldx M[3]"),
            ((0x80, 0, 0, 0), "ld len"),
            ((0x81, 0, 0, 0), "ldx len"),
            ((0x20, 0, 0, 4), "ld [4]"),
            ((0x40, 0, 0, 4), "ld [x + 4]"),
            ((0x50, 0, 0, 4), "ldb [x + 4]"),
            ((0x20, 0, 0, ANCILLARY), "ld #proto"),
            ((0x20, 0, 0, ANCILLARY + 36), "ld #cpu"),
            ((0x20, 0, 0, ANCILLARY + 2), "ld [4294963202]"),
            ((0x02, 0, 0, 1), "st M[1]"),
            ((0x03, 0, 0, 1), "stx M[1]"),
            ((0x04, 0, 0, 9), "add #9"),
            ((0x0c, 0, 0, 9), "add x"),
            ((0x14, 0, 0, 9), "sub #9"),
            ((0x54, 0, 0, 255), "and #255"),
            ((0x44, 0, 0, 1), "or #1"),
            ((0xa4, 0, 0, 1), "xor #1"),
            ((0x94, 0, 0, 2), "mod #2"),
            ((0x84, 0, 0, 0), "neg"),
            ((0x05, 0, 0, 5), "ja 5"),
            ((0x15, 1, 2, 5), "jeq #5,1,2"),
            ((0x1d, 1, 0, 0), "jeq x,1"),
            ((0x25, 0, 3, 5), "jle #5,3"),
            ((0x35, 0, 3, 5), "jlt #5,3"),
            ((0x35, 4, 3, 5), "jge #5,4,3"),
            ((0x45, 0, 3, 5), "jset #5,0,3"),
            ((0x45, 0, 0, 5), "jset #5,0"),
            ((0x16, 0, 0, 0), "ret a"),
            ((0x07, 0, 0, 0), "tax"),
            ((0x87, 0, 0, 0), "txa"),
            ((0x1006, 1, 2, 10), "unknown 0x1006 1 2 0xa"),
        ] {
            assert_eq!(line(instruction), wanted);
        }
    }

    /// Every code there is gives one line, and what is no whole instruction is left out.
    #[test]
    fn every_code_is_printed() {
        for number in 0..=u16::MAX {
            assert!(!line((number, 1, 2, 3)).is_empty());
        }
        assert_eq!(text(&[0; 7]), "");
        assert_eq!(text(&[0; 15]).lines().count(), 1);
    }
}
