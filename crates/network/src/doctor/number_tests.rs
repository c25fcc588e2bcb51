#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use proptest::prelude::*;

use super::*;

/// A number that can be a given value, and the value.
fn number() -> impl Strategy<Value = (Number, u64)> {
    let value = prop_oneof![
        any::<u64>(),
        any::<u32>().prop_map(u64::from),
        0..20u64,
        (0..20u64).prop_map(|value| value.wrapping_neg()),
        (0..20u32).prop_map(|value| u64::from(value.wrapping_neg())),
        (0..64u32).prop_map(|bit| 1 << bit),
    ];
    let other = value.clone();
    prop_oneof![
        (value.clone(), proptest::collection::vec(other, 0..5)).prop_map(|(value, mut others)| {
            others.push(value);
            (Number::constants(others).unwrap(), value)
        }),
        (
            value,
            any::<u64>(),
            any::<u64>(),
            any::<u64>(),
            any::<u64>()
        )
            .prop_map(|(value, mask, other, below, above)| {
                let mask = mask & other;
                let range = Range {
                    value: value & !mask,
                    mask,
                    min: value - value.min(below >> (below & 63)),
                    max: value.saturating_add(above >> (above & 63)),
                    seen: Rc::from([]),
                    why: Why::MEMORY,
                };
                (range.normal().unwrap(), value)
            }),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    (0..13u8, any::<bool>()).prop_filter_map("no operation", |(code, signed)| {
        Operation::from_code(code << 4, signed)
    })
}

fn compare() -> impl Strategy<Value = Compare> {
    (0..14u8, any::<bool>()).prop_filter_map("no comparison", |(code, negated)| {
        let compare = Compare::from_code(code << 4)?;
        Some(if negated { compare.negated() } else { compare })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn what_is_generated_contains_its_value((number, value) in number()) {
        prop_assert!(number.contains(value));
        prop_assert!(number.range().contains(value));
    }

    #[test]
    fn no_result_is_missed((a, x) in number(), (b, y) in number(), operation in operation(), wide: bool) {
        let result = Number::binary(operation, &a, &b, wide);
        let value = concrete(operation, x, y, wide);
        prop_assert!(result.contains(value), "{operation:?} {a:?} {b:?} = {result:?} without {value:#x}");
    }

    #[test]
    fn what_holds_stays_possible((a, x) in number(), (b, y) in number(), compare in compare(), wide: bool) {
        let compare = if holds(compare, x, y, wide) { compare } else { compare.negated() };
        let assumed = Number::assume(compare, &a, &b, wide);
        let (left, right) = assumed.expect("it does hold");
        prop_assert!(left.contains(x), "{compare:?} {a:?} {b:?}: {left:?} without {x:#x}");
        prop_assert!(right.contains(y), "{compare:?} {a:?} {b:?}: {right:?} without {y:#x}");
    }

    #[test]
    fn both_ways_are_joined((a, x) in number(), (b, y) in number(), bits in prop_oneof![Just(8u32), Just(16), Just(32)]) {
        for number in [a.join(&b), a.widen(&b)] {
            prop_assert!(number.contains(x) && number.contains(y));
        }
        let low = x & ((1 << bits) - 1);
        prop_assert!(a.truncate(bits).contains(low));
        let signed = ((x << (64 - bits)).cast_signed() >> (64 - bits)).cast_unsigned();
        prop_assert!(a.sign_extend(bits).contains(signed));
    }
}

#[test]
fn a_masked_number_is_a_few_constants() {
    let unknown = Number::unknown(Why::MEMORY);
    let two = Number::binary(Operation::And, &unknown, &Number::constant(2), false);
    assert_eq!(two, Number::constants(vec![0, 2]).unwrap());
}
