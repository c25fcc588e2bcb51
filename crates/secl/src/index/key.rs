//! A rule's key: conditions on single fields of which at least one holds for each event that the rule matches.

use std::sync::Arc;

use regex_syntax::hir::literal::{ExtractKind, Extractor, Literal};
use regex_syntax::hir::{Hir, Look};

use crate::ast::{ArithOp, CompareOp};
use crate::ir::{Iter, Num, Pred, Source};
use crate::model::{IterId, TextKind};
use crate::pattern::{Form, Part};
use crate::program::Program;

/// What is read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Slot {
    Text(Source),
    Int(Num),
    Bool(Source),
}

/// What any of the values must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Probe {
    Text(TextProbe),
    Int(i64),
    /// Any of these bits is set.
    Mask(i64),
    Bool(bool),
}

/// What a text must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TextProbe {
    Equal(String),
    /// The last element of a path.
    Name(String),
    Start(String),
    End(String),
    Inside(String),
    NotEmpty,
}

/// One condition.
#[derive(Debug, Clone)]
pub(super) struct Atom {
    pub(super) slot: Arc<Slot>,
    pub(super) probe: Probe,
}

/// Conditions of which at least one holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Key {
    pub(super) atoms: Vec<Atom>,
    /// How many of a million events are thought to satisfy it.
    pub(super) chance: u64,
}

/// The keys that a rule can have, any of which will do; none where nothing follows from it.
pub(super) fn of(program: &Program) -> Vec<Key> {
    let (once, each) = program.parts();
    let mut keys = Extract { register: None }.alternatives(once);
    if let Some((iter, pred)) = each {
        let register = Some(*iter);
        keys.extend(Extract { register }.alternatives(pred));
    }
    keys.retain(|key| key.chance < USELESS);
    keys
}

/// A key that lets so many events through costs more than it saves.
const USELESS: u64 = 700_000;

fn better(a: Option<Key>, b: Option<Key>) -> Option<Key> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b.chance < a.chance { b } else { a }),
        (a, b) => a.or(b),
    }
}

struct Extract {
    /// The iterator that the register goes through. A rule that wants one element to be so matches no event without such an
    /// element, so that the register is as good as any element.
    register: Option<IterId>,
}

impl Extract {
    fn alternatives(&self, pred: &Pred) -> Vec<Key> {
        match pred {
            Pred::And(terms) => terms.iter().filter_map(|term| self.key(term)).collect(),
            other => self.key(other).into_iter().collect(),
        }
    }

    fn key(&self, pred: &Pred) -> Option<Key> {
        match pred {
            Pred::Const(false) => Some(Key::default()),
            Pred::And(terms) => terms.iter().map(|term| self.key(term)).fold(None, better),
            Pred::Or(terms) => {
                let mut all = Key::default();
                for term in terms {
                    let key = self.key(term)?;
                    all.atoms.extend(key.atoms);
                    all.chance = all.chance.saturating_add(key.chance);
                }
                Some(all)
            }
            Pred::True(source) => self.one(Slot::Bool(self.source(source)?), Probe::Bool(true)),
            Pred::Int(op, left, Num::Const(right)) => self.compared(*op, left, *right),
            Pred::IntIn(num, values) => self.any_of(
                Slot::Int(self.num(num)?),
                values.iter().map(|value| Probe::Int(*value)),
            ),
            Pred::Text(source, matcher) => {
                let mut probes = Vec::new();
                let text = source.text_kind();
                probes_of(matcher.form(), text, &mut probes)?;
                self.any_of(
                    Slot::Text(self.source(source)?),
                    probes.into_iter().map(Probe::Text),
                )
            }
            Pred::Not(inner) => self.negated(inner),
            _ => None,
        }
    }

    /// Nothing follows from a negation, but for what always has one value.
    fn negated(&self, inner: &Pred) -> Option<Key> {
        match inner {
            Pred::True(source) if single(source) => {
                self.one(Slot::Bool(source.clone()), Probe::Bool(false))
            }
            Pred::Text(source, matcher) if single(source) => match matcher.form() {
                Form::Equal(text) if text.is_empty() => {
                    self.one(Slot::Text(source.clone()), Probe::Text(TextProbe::NotEmpty))
                }
                _ => None,
            },
            Pred::Int(CompareOp::Eq, left, Num::Const(0)) => {
                let (num, mask) = masked(left);
                match num {
                    Num::Source(source) if single(source) => {
                        self.one(Slot::Int(num.clone()), Probe::Mask(mask))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn compared(&self, op: CompareOp, left: &Num, right: i64) -> Option<Key> {
        let (num, mask) = masked(left);
        let probe = match op {
            CompareOp::Eq if mask == -1 => Probe::Int(right),
            CompareOp::Eq if right != 0 => {
                // A bit outside the mask is never set.
                if right & mask != right {
                    return Some(Key::default());
                }
                Probe::Mask(right)
            }
            CompareOp::Gt if right >= 0 => Probe::Mask(mask),
            CompareOp::Ge if right > 0 => Probe::Mask(mask),
            _ => return None,
        };
        self.one(Slot::Int(self.num(num)?), probe)
    }

    fn one(&self, slot: Slot, probe: Probe) -> Option<Key> {
        self.any_of(slot, std::iter::once(probe))
    }

    fn any_of(&self, slot: Slot, probes: impl Iterator<Item = Probe>) -> Option<Key> {
        let mut key = Key::default();
        let many = slot.many();
        let slot = Arc::new(slot);
        for probe in probes {
            let chance = probe.chance() * if many { 6 } else { 1 };
            key.chance = key.chance.saturating_add(chance);
            key.atoms.push(Atom {
                slot: Arc::clone(&slot),
                probe,
            });
        }
        Some(key)
    }

    /// The source as it can be read for all rules at once.
    fn source(&self, source: &Source) -> Option<Source> {
        match source {
            Source::Field {
                iter: Iter::Register,
                weight,
                ..
            } if *weight <= DEAR => {
                let mut source = source.clone();
                if let Source::Field { iter, many, .. } = &mut source {
                    *iter = Iter::Any(self.register?);
                    *many = true;
                }
                Some(source)
            }
            Source::Field { weight, .. } if *weight > DEAR => None,
            Source::Field { .. } | Source::IterLength(_) => Some(source.clone()),
            Source::RootDomain(inner) => Some(Source::RootDomain(Box::new(self.source(inner)?))),
            Source::Length(inner) => Some(Source::Length(Box::new(self.source(inner)?))),
            // Not the same for all rules of an event, or put together anew for each question.
            Source::Variable { .. } | Source::Uuid | Source::Format(_) | Source::Texts(_) => None,
        }
    }

    fn num(&self, num: &Num) -> Option<Num> {
        match num {
            Num::Source(source) => Some(Num::Source(self.source(source)?)),
            _ => None,
        }
    }
}

/// Fields of a greater weight cost more than a few comparisons (a file is hashed, another program is asked): what needs them is
/// evaluated last, if all else holds, and never for every event.
const DEAR: u32 = 900;

/// Always yields exactly one value, and at little cost.
fn single(source: &Source) -> bool {
    matches!(
        source,
        Source::Field {
            many: false,
            iter: Iter::None,
            index: None,
            weight: ..=DEAR,
            ..
        }
    )
}

/// A number and the bits of it that count.
fn masked(num: &Num) -> (&Num, i64) {
    match num {
        Num::Arith(ArithOp::And, left, right) => match (&**left, &**right) {
            (Num::Const(mask), num) | (num, Num::Const(mask)) => (num, *mask),
            _ => (num, -1),
        },
        _ => (num, -1),
    }
}

/// What a text that matches must be, any of; `None` where nothing can be said.
fn probes_of(form: &Form, kind: TextKind, out: &mut Vec<TextProbe>) -> Option<()> {
    match form {
        Form::Equal(text) => out.push(TextProbe::Equal(text.to_string())),
        Form::Set(texts, others) => {
            out.extend(texts.iter().map(|text| TextProbe::Equal(text.to_string())));
            for other in others {
                probes_of(other, kind, out)?;
            }
        }
        Form::Star(star) => out.push(part_probe(star.part())?),
        Form::Glob(glob) => match glob.basename() {
            Some(name) => out.push(TextProbe::Name(name.to_owned())),
            None => out.push(part_probe(glob.part())?),
        },
        // The literals of a pattern without regard to case are not worth their number.
        Form::Regex(_) if kind == TextKind::DnsName => return None,
        Form::Regex(regex) => {
            out.extend(literals_of(regex.as_str())?);
        }
        Form::Fold(inner) => probes_of(inner, kind, out)?,
    }
    Some(())
}

fn part_probe(part: Part<'_>) -> Option<TextProbe> {
    match part {
        Part::Start("" | "/") | Part::End("") | Part::Inside("") => None,
        Part::Start(text) => Some(TextProbe::Start(text.to_owned())),
        Part::End(text) => Some(TextProbe::End(text.to_owned())),
        Part::Inside(text) => Some(TextProbe::Inside(text.to_owned())),
    }
}

/// How many literals of one regular expression are taken into the index.
const MAX_LITERALS: usize = 64;

/// Texts of which each text that matches has at least one.
fn literals_of(regex: &str) -> Option<Vec<TextProbe>> {
    let hir = regex_syntax::Parser::new().parse(regex).ok()?;
    // What a match begins with, the text begins with, if a match stands at its start only.
    if hir.properties().look_set_prefix().contains(Look::Start)
        && let Some(starts) = literals(&hir, ExtractKind::Prefix, 1)
    {
        return Some(starts.into_iter().map(TextProbe::Start).collect());
    }
    let shortest = |texts: &Vec<String>| texts.iter().map(String::len).min();
    let best = [ExtractKind::Prefix, ExtractKind::Suffix]
        .into_iter()
        .filter_map(|kind| literals(&hir, kind, 2))
        .max_by_key(shortest)?;
    Some(best.into_iter().map(TextProbe::Inside).collect())
}

/// What each match begins or ends with, if all of it is at least so long.
fn literals(hir: &Hir, kind: ExtractKind, length: usize) -> Option<Vec<String>> {
    let mut extractor = Extractor::new();
    extractor.kind(kind).limit_total(MAX_LITERALS);
    let found = extractor.extract(hir);
    let text = |literal: &Literal| {
        let text = std::str::from_utf8(literal.as_bytes()).ok()?;
        (text.len() >= length).then(|| text.to_owned())
    };
    found.literals()?.iter().map(text).collect()
}

impl Slot {
    fn many(&self) -> bool {
        match self {
            Self::Text(source) | Self::Bool(source) | Self::Int(Num::Source(source)) => {
                source.many()
            }
            Self::Int(_) => false,
        }
    }
}

impl Probe {
    /// How many of a million values are thought to be so. Guesses, for choosing among conditions: only their order counts.
    fn chance(&self) -> u64 {
        match self {
            Self::Text(probe) => probe.chance(),
            Self::Int(0) => 400_000,
            Self::Int(_) => 30_000,
            Self::Mask(-1) => 500_000,
            Self::Mask(mask) => 100_000 * u64::from(mask.count_ones().min(4)),
            Self::Bool(true) => 200_000,
            Self::Bool(false) => 800_000,
        }
    }
}

impl TextProbe {
    fn chance(&self) -> u64 {
        match self {
            Self::Equal(text) if text.is_empty() => 400_000,
            Self::Equal(text) if text.starts_with('/') => 100,
            Self::Equal(_) | Self::Name(_) => 1000,
            Self::Start(text) => match text.matches('/').count() {
                // `/tmp/`, `/usr/`
                2 if text.ends_with('/') => 100_000,
                _ if text.len() == 1 => 100_000,
                _ => part_chance(text.len()),
            },
            Self::End(text) | Self::Inside(text) => part_chance(text.len()),
            Self::NotEmpty => 500_000,
        }
    }
}

fn part_chance(length: usize) -> u64 {
    match length {
        0 | 1 => 300_000,
        2 => 100_000,
        3 => 30_000,
        4..8 => 10_000,
        _ => 3000,
    }
}

/// A slot, and how its value is looked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Lookup {
    slot: Arc<Slot>,
    way: u8,
}

impl Atom {
    pub(super) fn lookup(&self) -> Lookup {
        Lookup {
            slot: Arc::clone(&self.slot),
            way: self.way(),
        }
    }

    /// Whether the other one certainly needs no other look-up.
    pub(super) fn has_lookup_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.slot, &other.slot) && self.way() == other.way()
    }

    fn way(&self) -> u8 {
        match &self.probe {
            Probe::Text(TextProbe::Equal(_) | TextProbe::NotEmpty) => 0,
            Probe::Text(TextProbe::Name(_)) => 1,
            Probe::Text(TextProbe::Start(_)) => 2,
            Probe::Text(TextProbe::End(_)) => 3,
            Probe::Text(TextProbe::Inside(_)) => 4,
            Probe::Int(_) | Probe::Mask(_) | Probe::Bool(_) => 0,
        }
    }

    /// What it is thought to take to look the values of an event up, in nanoseconds.
    pub(super) fn cost(&self) -> u64 {
        let one = match &self.probe {
            Probe::Int(_) | Probe::Mask(_) | Probe::Bool(_) => 10,
            Probe::Text(TextProbe::Inside(_)) => 60,
            Probe::Text(_) => 20,
        };
        one * if self.slot.many() { 10 } else { 1 }
    }
}
