//! What is known of a number: a few constants, or which bits are known and between which bounds it lies.

use std::rc::Rc;

use super::operation::{Compare, Operation, concrete, holds};

/// How many constants are kept apart.
const CONSTANTS: usize = 32;
/// How many pairs of constants are calculated one by one.
const PAIRS: usize = 1024;

/// Why a number is not known: bits of [`Why`] that flow along with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub(crate) struct Why(pub(crate) u8);

impl Why {
    /// It was read from a map, the packet, or the kernel.
    pub(crate) const MEMORY: Self = Self(1);
    /// The kernel's function returned it.
    pub(crate) const HELPER: Self = Self(2);
    /// A program that was called by tail call returned it.
    pub(crate) const TAIL_CALL: Self = Self(4);
    /// It was calculated of too many values, or too deep.
    pub(crate) const CALCULATED: Self = Self(8);

    /// Both.
    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of another's bits are there.
    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// All the values that a number can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Number {
    /// One of these, in order. Never empty.
    Constants(Rc<[u64]>),
    /// See [`Range`].
    Range(Range),
}

/// Values whose bits outside `mask` are those of `value`, and that lie between `min` and `max`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    /// The known bits; 0 where `mask` has a bit.
    pub(crate) value: u64,
    /// The bits that are not known.
    pub(crate) mask: u64,
    pub(crate) min: u64,
    pub(crate) max: u64,
    /// Constants that came to this place on some way: for the reader of the report, not part of what is claimed.
    pub(crate) seen: Rc<[u64]>,
    /// Where the rest came from.
    pub(crate) why: Why,
}

impl Range {
    /// Any value at all.
    pub(crate) fn unknown(why: Why) -> Self {
        Self {
            value: 0,
            mask: u64::MAX,
            min: 0,
            max: u64::MAX,
            seen: Rc::from([]),
            why,
        }
    }

    fn of_bits(value: u64, mask: u64, why: Why) -> Self {
        Self {
            value,
            mask,
            min: value,
            max: value | mask,
            seen: Rc::from([]),
            why,
        }
    }

    /// Whether a value is among these.
    pub(crate) fn contains(&self, value: u64) -> bool {
        value & !self.mask == self.value && (self.min..=self.max).contains(&value)
    }

    /// Draws the bounds as tight as the bits say; few values become constants. None where there is no value.
    fn normal(mut self) -> Option<Number> {
        self.min = self.min.max(self.value);
        self.max = self.max.min(self.value | self.mask);
        if self.min > self.max {
            return None;
        }
        if self.min == self.max {
            return self.contains(self.min).then(|| Number::constant(self.min));
        }
        if self.mask.count_ones() <= 4 {
            let all: Vec<u64> = subsets(self.mask)
                .map(|bits| self.value | bits)
                .filter(|one| self.contains(*one))
                .collect();
            return Number::constants(all);
        }
        Some(Number::Range(self))
    }

    /// [`normal`](Self::normal) of a range that is known to have a value.
    fn settled(self) -> Number {
        let whole = Self {
            min: self.value,
            max: self.value | self.mask,
            ..self.clone()
        };
        self.normal().unwrap_or(Number::Range(whole))
    }
}

/// All numbers that have only bits of a mask.
fn subsets(mask: u64) -> impl Iterator<Item = u64> {
    let mut next = Some(0u64);
    std::iter::from_fn(move || {
        let now = next?;
        next = (now != mask).then(|| (now.wrapping_sub(mask)) & mask);
        Some(now)
    })
}

impl Number {
    /// One value.
    pub(crate) fn constant(value: u64) -> Self {
        Self::Constants(Rc::from([value]))
    }

    /// Any value.
    pub(crate) fn unknown(why: Why) -> Self {
        Self::Range(Range::unknown(why))
    }

    /// One of these values; None of none.
    pub(crate) fn constants(mut values: Vec<u64>) -> Option<Self> {
        values.sort_unstable();
        values.dedup();
        let (first, last) = (*values.first()?, *values.last()?);
        if values.len() <= CONSTANTS {
            return Some(Self::Constants(values.into()));
        }
        let differing = values.iter().fold(0, |mask, value| mask | (value ^ first));
        // A carry-free mask: each bit that differs anywhere.
        Some(Self::Range(Range {
            value: first & !differing,
            mask: differing,
            min: first,
            max: last,
            seen: values.into(),
            why: Why::CALCULATED,
        }))
    }

    /// The only value.
    pub(crate) fn single(&self) -> Option<u64> {
        match self {
            Self::Constants(values) if values.len() == 1 => Some(values[0]),
            _ => None,
        }
    }

    /// The lowest and highest value.
    pub(crate) fn bounds(&self) -> (u64, u64) {
        match self {
            Self::Constants(values) => (values[0], values[values.len() - 1]),
            Self::Range(range) => (range.min, range.max),
        }
    }

    /// Whether a value is possible.
    pub(crate) fn contains(&self, value: u64) -> bool {
        match self {
            Self::Constants(values) => values.binary_search(&value).is_ok(),
            Self::Range(range) => range.contains(value),
        }
    }

    /// The same values as bits and bounds.
    pub(crate) fn range(&self) -> Range {
        match self {
            Self::Range(range) => range.clone(),
            Self::Constants(values) => {
                let first = values[0];
                let mask = values.iter().fold(0, |mask, value| mask | (value ^ first));
                let (min, max) = self.bounds();
                Range {
                    value: first & !mask,
                    mask,
                    min,
                    max,
                    seen: values.clone(),
                    why: Why::default(),
                }
            }
        }
    }

    /// What it can be on either of two ways.
    pub(crate) fn join(&self, other: &Self) -> Self {
        if self == other {
            return self.clone();
        }
        if let (Self::Constants(a), Self::Constants(b)) = (self, other) {
            let all = a.iter().chain(b.iter()).copied().collect();
            return Self::constants(all).unwrap_or_else(|| self.clone());
        }
        let (a, b) = (self.range(), other.range());
        let mask = a.mask | b.mask | (a.value ^ b.value);
        let mut seen: Vec<u64> = a.seen.iter().chain(b.seen.iter()).copied().collect();
        seen.sort_unstable();
        seen.dedup();
        seen.truncate(CONSTANTS);
        Self::Range(Range {
            value: a.value & !mask,
            mask,
            min: a.min.min(b.min),
            max: a.max.max(b.max),
            seen: seen.into(),
            why: a.why.with(b.why),
        })
    }

    /// What it is in a loop that goes on changing it: bounds are given up at once, bits one after the other.
    pub(crate) fn widen(&self, wider: &Self) -> Self {
        let range = self.join(wider).range();
        let (min, max) = (range.value, range.value | range.mask);
        Self::Range(Range {
            min,
            max,
            why: range.why.with(Why::CALCULATED),
            ..range
        })
    }

    /// Its low `bits` bits; the rest is 0.
    pub(crate) fn truncate(&self, bits: u32) -> Self {
        if bits >= 64 {
            return self.clone();
        }
        let low = (1u64 << bits) - 1;
        match self {
            Self::Constants(values) => {
                let all = values.iter().map(|value| value & low).collect();
                Self::constants(all).unwrap_or_else(|| self.clone())
            }
            Self::Range(range) if range.max <= low => self.clone(),
            Self::Range(range) => Range {
                seen: range.seen.iter().map(|value| value & low).collect(),
                ..Range::of_bits(range.value & low, range.mask & low, range.why)
            }
            .settled(),
        }
    }

    /// Its low `bits` bits as a signed number.
    pub(crate) fn sign_extend(&self, bits: u32) -> Self {
        let shift = Self::constant(u64::from(64 - bits));
        let up = Self::binary(Operation::Lsh, self, &shift, true);
        Self::binary(Operation::Arsh, &up, &shift, true)
    }

    /// An arithmetic operation, of 64 or 32 bits.
    pub(crate) fn binary(operation: Operation, left: &Self, right: &Self, wide: bool) -> Self {
        if let (Self::Constants(a), Self::Constants(b)) = (left, right)
            && a.len() * b.len() <= PAIRS
        {
            let all = a
                .iter()
                .flat_map(|x| b.iter().map(move |y| concrete(operation, *x, *y, wide)))
                .collect();
            return Self::constants(all).unwrap_or_else(|| left.clone());
        }
        if wide {
            calculate(operation, &left.range(), &right.range(), true)
        } else {
            let (left, right) = (left.truncate(32).range(), right.truncate(32).range());
            calculate(operation, &left, &right, false).truncate(32)
        }
    }

    /// What both sides can be where a comparison holds; None where it cannot hold.
    pub(crate) fn assume(
        compare: Compare,
        left: &Self,
        right: &Self,
        wide: bool,
    ) -> Option<(Self, Self)> {
        let new_left = restrict(compare, left, right, wide)?;
        let new_right = restrict(compare.mirrored(), right, left, wide)?;
        Some((new_left, new_right))
    }
}

/// An operation on bits and bounds. Of 32 bits, both sides are truncated, and the caller truncates the result.
fn calculate(operation: Operation, a: &Range, b: &Range, wide: bool) -> Number {
    let why = a.why.with(b.why).with(Why::CALCULATED);
    let unknown = || Range::unknown(why);
    let shift = (b.mask == 0).then_some(b.value & if wide { 63 } else { 31 });
    let mut result = match operation {
        Operation::Add => {
            let (sum_mask, sum_value) =
                (a.mask.wrapping_add(b.mask), a.value.wrapping_add(b.value));
            let carries = sum_mask.wrapping_add(sum_value) ^ sum_value;
            let mask = carries | a.mask | b.mask;
            Range::of_bits(sum_value & !mask, mask, why)
        }
        Operation::Sub => {
            let difference = a.value.wrapping_sub(b.value);
            let borrows = difference.wrapping_add(a.mask) ^ difference.wrapping_sub(b.mask);
            let mask = borrows | a.mask | b.mask;
            Range::of_bits(difference & !mask, mask, why)
        }
        Operation::And => {
            let value = a.value & b.value;
            let possible = (a.value | a.mask) & (b.value | b.mask);
            Range::of_bits(value, possible & !value, why)
        }
        Operation::Or => {
            let value = a.value | b.value;
            Range::of_bits(value, (a.mask | b.mask) & !value, why)
        }
        Operation::Xor => {
            let mask = a.mask | b.mask;
            Range::of_bits((a.value ^ b.value) & !mask, mask, why)
        }
        Operation::Lsh => match shift {
            Some(shift) => Range::of_bits(a.value << shift, a.mask << shift, why),
            None => unknown(),
        },
        Operation::Rsh => match shift {
            Some(shift) => Range::of_bits(a.value >> shift, a.mask >> shift, why),
            None => unknown(),
        },
        Operation::Arsh => match shift {
            // A bit that is not known is spread as one that is not known.
            Some(shift) if wide => {
                let spread = |bits: u64| (bits.cast_signed() >> shift).cast_unsigned();
                Range::of_bits(spread(a.value) & !spread(a.mask), spread(a.mask), why)
            }
            Some(shift) => {
                let spread =
                    |bits: u64| u64::from(((bits as u32).cast_signed() >> shift).cast_unsigned());
                Range::of_bits(spread(a.value) & !spread(a.mask), spread(a.mask), why)
            }
            None => unknown(),
        },
        // A division by 0 gives 0; the rest of one, the dividend: never more than the dividend.
        Operation::Div | Operation::Mod => Range {
            max: a.max,
            ..unknown()
        },
        Operation::Mul | Operation::SignedDiv | Operation::SignedMod => unknown(),
    };
    let bounds = match operation {
        Operation::Add => a.min.checked_add(b.min).zip(a.max.checked_add(b.max)),
        Operation::Sub if a.min >= b.max => Some((a.min - b.max, a.max.wrapping_sub(b.min))),
        Operation::And => Some((0, a.max.min(b.max))),
        Operation::Or => Some((a.min.max(b.min), u64::MAX)),
        Operation::Rsh => shift.map(|shift| (a.min >> shift, a.max >> shift)),
        Operation::Lsh => shift
            .filter(|shift| a.max.leading_zeros() >= *shift as u32)
            .map(|shift| (a.min << shift, a.max << shift)),
        _ => None,
    };
    if let Some((min, max)) = bounds {
        result.min = result.min.max(min);
        result.max = result.max.min(max);
    }
    result.settled()
}

/// What the left side can be where a comparison with the right side holds.
fn restrict(compare: Compare, left: &Number, right: &Number, wide: bool) -> Option<Number> {
    match left {
        Number::Constants(values) => {
            let possible = |value: &u64| match right {
                Number::Constants(others) => others
                    .iter()
                    .any(|other| holds(compare, *value, *other, wide)),
                Number::Range(_) => could_hold(compare, *value, right, wide),
            };
            let kept: Vec<u64> = values.iter().copied().filter(possible).collect();
            Number::constants(kept)
        }
        // Of a number that has more than 32 bits, a comparison of 32 bits tells nothing that is kept here.
        Number::Range(range) if !wide && range.max > u64::from(u32::MAX) => Some(left.clone()),
        Number::Range(range) => restrict_range(compare, range, &right_of(right, wide), wide),
    }
}

/// The right side as the comparison sees it.
fn right_of(right: &Number, wide: bool) -> Number {
    if wide {
        right.clone()
    } else {
        right.truncate(32)
    }
}

/// Whether a comparison of a value with one of many can hold.
fn could_hold(compare: Compare, value: u64, right: &Number, wide: bool) -> bool {
    let right = right_of(right, wide);
    let value = if wide {
        value
    } else {
        value & u64::from(u32::MAX)
    };
    let (min, max) = right.bounds();
    match compare {
        Compare::Equal => right.contains(value),
        Compare::Greater => value > min,
        Compare::GreaterEqual => value >= min,
        Compare::Less => value < max,
        Compare::LessEqual => value <= max,
        // Not worth the trouble: what is not refuted stays.
        _ => true,
    }
}

fn restrict_range(compare: Compare, range: &Range, right: &Number, wide: bool) -> Option<Number> {
    let (low, high) = right.bounds();
    // The highest number without sign.
    let top = if wide {
        u64::MAX >> 1
    } else {
        u64::from(u32::MAX >> 1)
    };
    let (not_negative, negative) = (high <= top, low > top);
    let mut new = range.clone();
    match compare {
        Compare::Equal => {
            let other = right.range();
            if (new.value ^ other.value) & !new.mask & !other.mask != 0 {
                return None;
            }
            new.value |= other.value;
            new.mask &= other.mask;
            (new.min, new.max) = (new.min.max(low), new.max.min(high));
            if let Number::Constants(values) = right {
                let kept = values
                    .iter()
                    .copied()
                    .filter(|value| range.contains(*value))
                    .collect();
                return Number::constants(kept);
            }
        }
        Compare::NotEqual => {
            if low == high && new.min == low {
                new.min = new.min.checked_add(1)?;
            } else if low == high && new.max == high {
                new.max = new.max.checked_sub(1)?;
            }
        }
        Compare::Greater => new.min = new.min.max(low.checked_add(1)?),
        Compare::GreaterEqual => new.min = new.min.max(low),
        Compare::Less => new.max = new.max.min(high.checked_sub(1)?),
        Compare::LessEqual => new.max = new.max.min(high),
        // Greater than what is not negative: not negative itself, and so compared as without sign.
        Compare::SignedGreater | Compare::SignedGreaterEqual if not_negative => {
            new.min = new
                .min
                .max(low + u64::from(compare == Compare::SignedGreater));
            new.max = new.max.min(top);
        }
        // Less than what is negative: negative, likewise.
        Compare::SignedLess | Compare::SignedLessEqual if negative => {
            new.min = new.min.max(top + 1);
            new.max = new
                .max
                .min(high - u64::from(compare == Compare::SignedLess));
        }
        // Less than 0 is how negative is mostly said.
        Compare::SignedLess if high == 0 => new.min = new.min.max(top + 1),
        Compare::SignedGreater if low == high && low == (top << 1 | 1) => {
            new.max = new.max.min(top)
        }
        Compare::NoBit => {
            if let Some(bits) = right.single() {
                if new.value & bits != 0 {
                    return None;
                }
                new.mask &= !bits;
            }
        }
        _ => {}
    }
    new.normal()
}

#[cfg(test)]
#[path = "number_tests.rs"]
mod tests;
