//! Arithmetic and comparisons, as eBPF defines them on two numbers.

/// An arithmetic operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Add,
    Sub,
    Mul,
    Div,
    SignedDiv,
    Or,
    And,
    Lsh,
    Rsh,
    Mod,
    SignedMod,
    Xor,
    Arsh,
}

impl Operation {
    /// By the upper four bits of the code; `signed` is what the offset says of divisions.
    pub(crate) const fn from_code(code: u8, signed: bool) -> Option<Self> {
        Some(match (code & 0xf0, signed) {
            (0x00, _) => Self::Add,
            (0x10, _) => Self::Sub,
            (0x20, _) => Self::Mul,
            (0x30, false) => Self::Div,
            (0x30, true) => Self::SignedDiv,
            (0x40, _) => Self::Or,
            (0x50, _) => Self::And,
            (0x60, _) => Self::Lsh,
            (0x70, _) => Self::Rsh,
            (0x90, false) => Self::Mod,
            (0x90, true) => Self::SignedMod,
            (0xa0, _) => Self::Xor,
            (0xc0, _) => Self::Arsh,
            _ => return None,
        })
    }
}

/// What an operation gives, of 64 bits or of 32.
pub(crate) fn concrete(operation: Operation, left: u64, right: u64, wide: bool) -> u64 {
    if wide {
        concrete64(operation, left, right)
    } else {
        u64::from(concrete32(operation, left as u32, right as u32))
    }
}

/// The operations of one width, as the kernel has them: nothing traps.
macro_rules! operations {
    ($name:ident, $word:ty) => {
        fn $name(operation: Operation, left: $word, right: $word) -> $word {
            let (signed_left, signed_right) = (left.cast_signed(), right.cast_signed());
            let bits = right & (<$word>::BITS as $word - 1);
            match operation {
                Operation::Add => left.wrapping_add(right),
                Operation::Sub => left.wrapping_sub(right),
                Operation::Mul => left.wrapping_mul(right),
                Operation::Div => left.checked_div(right).unwrap_or(0),
                Operation::Mod => left.checked_rem(right).unwrap_or(left),
                Operation::SignedDiv if right == 0 => 0,
                Operation::SignedDiv => signed_left.wrapping_div(signed_right).cast_unsigned(),
                Operation::SignedMod if right == 0 => left,
                Operation::SignedMod => signed_left.wrapping_rem(signed_right).cast_unsigned(),
                Operation::Or => left | right,
                Operation::And => left & right,
                Operation::Xor => left ^ right,
                Operation::Lsh => left << bits,
                Operation::Rsh => left >> bits,
                Operation::Arsh => (signed_left >> bits).cast_unsigned(),
            }
        }
    };
}

operations!(concrete64, u64);
operations!(concrete32, u32);

/// A condition of a jump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    SignedGreater,
    SignedGreaterEqual,
    SignedLess,
    SignedLessEqual,
    /// A bit is in both.
    AnyBit,
    /// No bit is in both.
    NoBit,
}

impl Compare {
    /// By the upper four bits of the code.
    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        Some(match code & 0xf0 {
            0x10 => Self::Equal,
            0x20 => Self::Greater,
            0x30 => Self::GreaterEqual,
            0x40 => Self::AnyBit,
            0x50 => Self::NotEqual,
            0x60 => Self::SignedGreater,
            0x70 => Self::SignedGreaterEqual,
            0xa0 => Self::Less,
            0xb0 => Self::LessEqual,
            0xc0 => Self::SignedLess,
            0xd0 => Self::SignedLessEqual,
            _ => return None,
        })
    }

    /// What holds where this does not.
    pub(crate) const fn negated(self) -> Self {
        match self {
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::Greater => Self::LessEqual,
            Self::GreaterEqual => Self::Less,
            Self::Less => Self::GreaterEqual,
            Self::LessEqual => Self::Greater,
            Self::SignedGreater => Self::SignedLessEqual,
            Self::SignedGreaterEqual => Self::SignedLess,
            Self::SignedLess => Self::SignedGreaterEqual,
            Self::SignedLessEqual => Self::SignedGreater,
            Self::AnyBit => Self::NoBit,
            Self::NoBit => Self::AnyBit,
        }
    }

    /// The same with the sides changed.
    pub(crate) const fn mirrored(self) -> Self {
        match self {
            Self::Greater => Self::Less,
            Self::GreaterEqual => Self::LessEqual,
            Self::Less => Self::Greater,
            Self::LessEqual => Self::GreaterEqual,
            Self::SignedGreater => Self::SignedLess,
            Self::SignedGreaterEqual => Self::SignedLessEqual,
            Self::SignedLess => Self::SignedGreater,
            Self::SignedLessEqual => Self::SignedGreaterEqual,
            same => same,
        }
    }
}

/// Whether a condition holds, of 64 bits or of 32.
pub(crate) fn holds(compare: Compare, left: u64, right: u64, wide: bool) -> bool {
    let (left, right) = if wide {
        (left, right)
    } else {
        // Sign-extended, both orders are those of 32 bits.
        let extend = |value: u64| i64::from((value as u32).cast_signed()).cast_unsigned();
        (extend(left), extend(right))
    };
    let (signed_left, signed_right) = (left.cast_signed(), right.cast_signed());
    match compare {
        Compare::Equal => left == right,
        Compare::NotEqual => left != right,
        Compare::Greater => left > right,
        Compare::GreaterEqual => left >= right,
        Compare::Less => left < right,
        Compare::LessEqual => left <= right,
        Compare::SignedGreater => signed_left > signed_right,
        Compare::SignedGreaterEqual => signed_left >= signed_right,
        Compare::SignedLess => signed_left < signed_right,
        Compare::SignedLessEqual => signed_left <= signed_right,
        Compare::AnyBit => left & right != 0,
        Compare::NoBit => left & right == 0,
    }
}
