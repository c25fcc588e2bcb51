//! Classic BPF: two registers, sixteen words of memory, jumps that only go forward. Typed, and with targets of jumps that are places in the program,
//! so that none is too far away.

use std::fmt;

/// How much is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Size {
    Byte,
    Half,
    Word,
}

impl Size {
    /// In bytes.
    #[must_use]
    pub fn bytes(self) -> u32 {
        match self {
            Self::Byte => 1,
            Self::Half => 2,
            Self::Word => 4,
        }
    }
}

/// The second operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Src {
    K(u32),
    X,
}

/// What is done to A.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Alu {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    And,
    Or,
    Xor,
    Lsh,
    Rsh,
}

/// How A is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Cond {
    Eq,
    Gt,
    Ge,
    /// Some bit is set in both.
    Set,
}

/// What is known of a packet beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meta {
    /// 1 for a packet that comes in, 0 for one that goes out.
    Inbound,
    /// The number of the interface.
    Ifindex,
    /// 1 if the kernel keeps a VLAN tag beside the frame.
    VlanPresent,
    /// That tag.
    VlanTag,
}

/// An instruction. A packet that is too short for a load does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insn {
    /// A ← packet\[k\]
    LdAbs(Size, u32),
    /// A ← packet\[X + k\]
    LdInd(Size, u32),
    /// A ← length of the packet
    LdLen,
    /// A ← k
    LdImm(u32),
    /// A ← memory\[i\]
    LdMem(u8),
    /// A ← what is known beside the bytes
    LdMeta(Meta),
    /// X ← 4 · (packet\[k\] & 15): the length of an IPv4 header
    LdxMsh(u32),
    /// memory\[i\] ← A
    St(u8),
    /// X ← A
    Tax,
    /// A ← A op operand
    Alu(Alu, Src),
    /// A ← −A
    Neg,
    /// If A compares so, on to the first place, else to the second.
    Jmp(Cond, Src, u32, u32),
    /// On to that place.
    Ja(u32),
    /// The end: whether the packet passes.
    Ret(bool),
}

/// A filter as instructions. Every jump goes forward and stays inside; the last instruction is a `Ret`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    insns: Vec<Insn>,
}

/// A packet for the interpreter.
#[derive(Debug, Clone, Copy, Default)]
pub struct Packet<'a> {
    /// The frame, as far as it was captured.
    pub bytes: &'a [u8],
    /// How long it was.
    pub len: u32,
    /// Whether it comes in.
    pub inbound: bool,
    /// The number of the interface.
    pub ifindex: u32,
    /// The VLAN tag that is kept beside it.
    pub vlan_tag: Option<u16>,
}

impl Program {
    /// `insns` must be as the type says: the generator is the only one that calls this.
    pub(crate) fn new(insns: Vec<Insn>) -> Self {
        debug_assert!(matches!(insns.last(), Some(Insn::Ret(_))));
        debug_assert!(insns.iter().enumerate().all(|(at, insn)| match *insn {
            Insn::Jmp(_, _, yes, no) =>
                yes as usize > at && no as usize > at && (yes.max(no) as usize) < insns.len(),
            Insn::Ja(to) => to as usize > at && (to as usize) < insns.len(),
            _ => true,
        }));
        Self { insns }
    }

    /// The instructions.
    #[must_use]
    pub fn instructions(&self) -> &[Insn] {
        &self.insns
    }

    /// Whether a packet passes. The measure of what the translation must do; not what runs on packets.
    #[must_use]
    pub fn matches(&self, packet: &Packet<'_>) -> bool {
        let (mut a, mut x, mut memory) = (0u32, 0u32, [0u32; 16]);
        let mut at = 0usize;
        while let Some(insn) = self.insns.get(at) {
            at += 1;
            match *insn {
                Insn::LdAbs(size, k) => match load(packet.bytes, u64::from(k), size) {
                    Some(value) => a = value,
                    None => return false,
                },
                Insn::LdInd(size, k) => {
                    match load(packet.bytes, u64::from(x) + u64::from(k), size) {
                        Some(value) => a = value,
                        None => return false,
                    }
                }
                Insn::LdxMsh(k) => match load(packet.bytes, u64::from(k), Size::Byte) {
                    Some(value) => x = (value & 15) << 2,
                    None => return false,
                },
                Insn::LdLen => a = packet.len,
                Insn::LdImm(k) => a = k,
                Insn::LdMem(i) => a = memory[usize::from(i & 15)],
                Insn::St(i) => memory[usize::from(i & 15)] = a,
                Insn::LdMeta(meta) => {
                    a = match meta {
                        Meta::Inbound => packet.inbound.into(),
                        Meta::Ifindex => packet.ifindex,
                        Meta::VlanPresent => packet.vlan_tag.is_some().into(),
                        Meta::VlanTag => packet.vlan_tag.unwrap_or_default().into(),
                    }
                }
                Insn::Tax => x = a,
                Insn::Neg => a = a.wrapping_neg(),
                Insn::Alu(op, src) => {
                    let operand = value(src, x);
                    match alu(op, a, operand) {
                        Some(result) => a = result,
                        None => return false,
                    }
                }
                Insn::Jmp(cond, src, yes, no) => {
                    let operand = value(src, x);
                    let holds = match cond {
                        Cond::Eq => a == operand,
                        Cond::Gt => a > operand,
                        Cond::Ge => a >= operand,
                        Cond::Set => a & operand != 0,
                    };
                    at = if holds { yes } else { no } as usize;
                }
                Insn::Ja(to) => at = to as usize,
                Insn::Ret(pass) => return pass,
            }
        }
        false
    }
}

fn value(src: Src, x: u32) -> u32 {
    match src {
        Src::K(k) => k,
        Src::X => x,
    }
}

/// `None` where the filter ends with "does not pass": a division by zero.
pub(crate) fn alu(op: Alu, a: u32, b: u32) -> Option<u32> {
    Some(match op {
        Alu::Add => a.wrapping_add(b),
        Alu::Sub => a.wrapping_sub(b),
        Alu::Mul => a.wrapping_mul(b),
        Alu::Div => a.checked_div(b)?,
        Alu::Mod => a.checked_rem(b)?,
        Alu::And => a & b,
        Alu::Or => a | b,
        Alu::Xor => a ^ b,
        Alu::Lsh => a.checked_shl(b).unwrap_or(0),
        Alu::Rsh => a.checked_shr(b).unwrap_or(0),
    })
}

fn load(bytes: &[u8], at: u64, size: Size) -> Option<u32> {
    let at = usize::try_from(at).ok()?;
    let found = bytes.get(at..at.checked_add(size.bytes() as usize)?)?;
    Some(
        found
            .iter()
            .fold(0, |value, byte| value << 8 | u32::from(*byte)),
    )
}

/// As `tcpdump -d` prints programs, roughly.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, insn) in self.insns.iter().enumerate() {
            writeln!(f, "({at:03}) {insn}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Src {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::K(k) => write!(f, "#{k:#x}"),
            Self::X => f.write_str("x"),
        }
    }
}

impl fmt::Display for Insn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = |size: Size| match size {
            Size::Byte => "ldb",
            Size::Half => "ldh",
            Size::Word => "ld",
        };
        match *self {
            Self::LdAbs(size, k) => write!(f, "{} [{k}]", suffix(size)),
            Self::LdInd(size, k) => write!(f, "{} [x + {k}]", suffix(size)),
            Self::LdLen => f.write_str("ld #pktlen"),
            Self::LdImm(k) => write!(f, "ld #{k:#x}"),
            Self::LdMem(i) => write!(f, "ld M[{i}]"),
            Self::LdMeta(meta) => write!(f, "ld {meta:?}"),
            Self::LdxMsh(k) => write!(f, "ldxb 4*([{k}]&0xf)"),
            Self::St(i) => write!(f, "st M[{i}]"),
            Self::Tax => f.write_str("tax"),
            Self::Alu(op, src) => write!(f, "{} {src}", format!("{op:?}").to_lowercase()),
            Self::Neg => f.write_str("neg"),
            Self::Jmp(cond, src, yes, no) => {
                let name = format!("{cond:?}").to_lowercase();
                write!(f, "j{name} {src} jt {yes} jf {no}")
            }
            Self::Ja(to) => write!(f, "ja {to}"),
            Self::Ret(pass) => write!(f, "ret {pass}"),
        }
    }
}
