//! What a program's return values mean where it is attached.

use std::collections::BTreeSet;

use super::interpret::{Returns, Stop};
use super::number::{Number, Why};
use crate::tc::{Action, Hook};

/// What a classifier does to the ones behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// It is proved that each packet goes on to the next one.
    Continues,
    /// Nothing is proved: what its verdict depends on is not known.
    Unknown,
    /// There is a way to a verdict that ends the chain: nobody behind sees such a packet.
    CanEnd,
}

impl Class {
    /// In words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Continues => "continues",
            Self::Unknown => "unknown",
            Self::CanEnd => "can end the chain",
        }
    }
}

/// What is known of a classifier's verdicts.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What it comes to.
    pub class: Class,
    /// The possible verdicts that are known, by their names without `TC_ACT_` or `TCX_`, in lower case.
    pub verdicts: BTreeSet<&'static str>,
    /// Why there may be others; nothing where there are none.
    pub reasons: BTreeSet<&'static str>,
}

impl Finding {
    /// Nothing is known, for this reason.
    pub fn unknown(reason: &'static str) -> Self {
        Self {
            class: Class::Unknown,
            verdicts: BTreeSet::new(),
            reasons: BTreeSet::from([reason]),
        }
    }
}

pub(crate) const EXTENDED: &str = "part of it is replaced by another program (freplace)";
pub(crate) const THROWS: &str =
    "it can throw an exception, or calls a function that the kernel does not name";
const TAIL_CALL: &str = "it tail-calls other programs, which may be exchanged at any time";
const REDIRECT: &str = "it redirects packets to another interface";
const MEMORY: &str = "its verdict is read from a map, the packet or the kernel";
const HELPER: &str = "its verdict is what a function of the kernel returns";
const COMPLEX: &str = "it has too many ways to follow them all";
const INSTRUCTION: &str = "it has an instruction that is not known";
const CALCULATED: &str = "its verdict is calculated";
const NEVER: &str = "no way to its end was found";
const ACTIONS: &str = "what the actions of the filter decide is not known";

/// What ends the chain.
const CLSACT: [(u32, &str); 5] = [
    (0, "ok"),
    (2, "shot"),
    (4, "stolen"),
    (7, "redirect"),
    (8, "trap"),
];
/// tcx takes any other value for `TCX_NEXT`.
const TCX: [(u32, &str); 3] = [(0, "pass"), (2, "drop"), (7, "redirect")];

/// What a program's return values mean. `actions` are those of a filter that is not direct, None of one that is.
pub(crate) fn judge(
    returns: &Result<Returns, Stop>,
    hook: Hook,
    actions: Option<&[Action]>,
) -> Finding {
    let returns = match returns {
        Ok(returns) => returns,
        Err(Stop::TooComplex) => return Finding::unknown(COMPLEX),
        Err(Stop::NotUnderstood) => return Finding::unknown(INSTRUCTION),
    };
    let mut finding = Finding {
        class: Class::Continues,
        verdicts: BTreeSet::new(),
        reasons: BTreeSet::new(),
    };
    match (&returns.number, actions) {
        (None, _) if !returns.tail_call => return Finding::unknown(NEVER),
        (None, _) => {}
        (Some(number), None) => direct(number, hook, &mut finding),
        (Some(number), Some(actions)) => classified(number, actions, &mut finding),
    }
    if returns.tail_call {
        finding.reasons.insert(TAIL_CALL);
    }
    settle(&mut finding);
    finding
}

/// The class that verdicts and reasons come to.
fn settle(finding: &mut Finding) {
    let ends = |verdict: &&str| !matches!(*verdict, "unspec" | "next" | "redirect");
    if finding.verdicts.contains("redirect") {
        finding.reasons.insert(REDIRECT);
    }
    finding.class = if finding.verdicts.iter().any(ends) {
        Class::CanEnd
    } else if finding.reasons.is_empty() {
        Class::Continues
    } else {
        Class::Unknown
    };
}

/// Of a program whose return value is the verdict.
fn direct(number: &Number, hook: Hook, finding: &mut Finding) {
    let (enders, other): (&[(u32, &'static str)], _) = match hook {
        Hook::Tcx => (&TCX, "next"),
        Hook::Clsact => (&CLSACT, "unspec"),
    };
    let name = |value: u64| {
        let found = enders.iter().find(|(code, _)| *code == value as u32);
        found.map_or(other, |(_, name)| *name)
    };
    match number {
        Number::Constants(values) => finding
            .verdicts
            .extend(values.iter().map(|value| name(*value))),
        Number::Range(range) => {
            let seen = range.seen.iter().filter(|value| range.contains(**value));
            finding.verdicts.extend(seen.map(|value| name(*value)));
            if enders.iter().any(|(code, _)| may_be(number, *code)) {
                explain(range.why, finding);
            } else {
                finding.verdicts = BTreeSet::from([other]);
            }
        }
    }
}

/// Whether one of a number's values has these low 32 bits, which are all that the kernel looks at.
pub(crate) fn may_be(number: &Number, code: u32) -> bool {
    match number {
        Number::Constants(values) => values.iter().any(|value| *value as u32 == code),
        Number::Range(range) if range.max <= u64::from(u32::MAX) => range.contains(u64::from(code)),
        Number::Range(range) => {
            (u64::from(code) ^ range.value) & !range.mask & u64::from(u32::MAX) == 0
        }
    }
}

fn explain(why: Why, finding: &mut Finding) {
    let all = [
        (Why::TAIL_CALL, TAIL_CALL),
        (Why::HELPER, HELPER),
        (Why::MEMORY, MEMORY),
        (Why::CALCULATED, CALCULATED),
    ];
    let mut reasons = all
        .iter()
        .filter(|(bit, _)| why.has(*bit))
        .map(|(_, text)| *text);
    finding.reasons.insert(reasons.next().unwrap_or(CALCULATED));
    // That something was calculated is worth telling only where nothing else is.
    finding
        .reasons
        .extend(reasons.filter(|text| *text != CALCULATED));
}

/// Of a program whose return value is a class: 0 matches nothing, anything else brings about the filter's actions.
fn classified(number: &Number, actions: &[Action], finding: &mut Finding) {
    if number.single().is_some_and(|value| value as u32 == 0) {
        finding.verdicts.insert("unspec");
        return;
    }
    match actions {
        // Without actions, what matches is passed.
        [] => finding.verdicts.extend(["unspec", "ok"]),
        [only] => match only.control {
            Some(-1) => {
                finding.verdicts.insert("unspec");
            }
            Some(control) => {
                let name = CLSACT
                    .iter()
                    .find(|(code, _)| i64::from(*code) == i64::from(control));
                finding
                    .verdicts
                    .extend(["unspec", name.map_or("ok", |(_, name)| *name)]);
            }
            None => {
                finding.reasons.insert(ACTIONS);
            }
        },
        _ => {
            finding.reasons.insert(ACTIONS);
        }
    }
}

/// Of a filter that is no eBPF program: what it matches, its actions decide about.
pub(crate) fn judge_filter(actions: &[Action]) -> Finding {
    let mut finding = Finding {
        class: Class::Unknown,
        verdicts: BTreeSet::new(),
        reasons: BTreeSet::new(),
    };
    classified(&Number::unknown(Why::MEMORY), actions, &mut finding);
    settle(&mut finding);
    finding
}

/// Of a filter that only the network card runs: on the host, packets do not meet it.
pub(crate) fn offloaded() -> Finding {
    Finding {
        class: Class::Continues,
        verdicts: BTreeSet::from(["unspec"]),
        reasons: BTreeSet::new(),
    }
}
