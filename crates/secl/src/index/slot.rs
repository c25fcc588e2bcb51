//! The fields that the keys of rules are about, each read once.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::Scratch;
use super::key::{Key, Probe, Slot};
use super::text::{self, TextIndex};
use crate::ir::{Cx, Num, Source};
use crate::model::{Item, TextKind};
use crate::pattern::in_lower_case;

/// The fields, and what their values lead to.
#[derive(Debug, Default)]
pub(super) struct Slots {
    texts: Vec<(Source, TextIndex)>,
    ints: Vec<(Num, IntIndex)>,
    bools: Vec<(Source, BoolIndex)>,
}

/// Collects keys.
#[derive(Debug, Default)]
pub(super) struct Builder {
    numbers: FxHashMap<Arc<Slot>, usize>,
    fields: Vec<Field>,
}

#[derive(Debug)]
enum Field {
    Text(Source, text::Builder),
    Int(Num, IntBuilder),
    Bool(Source, BoolIndex),
}

#[derive(Debug, Default)]
struct IntBuilder {
    equal: FxHashMap<i64, Vec<u32>>,
    masks: FxHashMap<i64, Vec<u32>>,
}

#[derive(Debug, Default)]
struct IntIndex {
    equal: FxHashMap<i64, Box<[u32]>>,
    masks: Vec<(i64, Box<[u32]>)>,
}

#[derive(Debug, Default)]
struct BoolIndex {
    yes: Vec<u32>,
    no: Vec<u32>,
}

impl Builder {
    pub(super) fn add(&mut self, key: Key, rule: u32) {
        for atom in key.atoms {
            let number = match self.numbers.get(&atom.slot) {
                Some(number) => *number,
                None => {
                    self.fields.push(match &*atom.slot {
                        Slot::Text(source) => Field::Text(source.clone(), text::Builder::default()),
                        Slot::Int(num) => Field::Int(num.clone(), IntBuilder::default()),
                        Slot::Bool(source) => Field::Bool(source.clone(), BoolIndex::default()),
                    });
                    self.numbers.insert(atom.slot, self.fields.len() - 1);
                    self.fields.len() - 1
                }
            };
            match (self.fields.get_mut(number), atom.probe) {
                (Some(Field::Text(_, index)), Probe::Text(probe)) => index.add(probe, rule),
                (Some(Field::Int(_, index)), Probe::Int(value)) => {
                    index.equal.entry(value).or_default().push(rule);
                }
                (Some(Field::Int(_, index)), Probe::Mask(mask)) => {
                    index.masks.entry(mask).or_default().push(rule);
                }
                (Some(Field::Bool(_, index)), Probe::Bool(true)) => index.yes.push(rule),
                (Some(Field::Bool(_, index)), Probe::Bool(false)) => index.no.push(rule),
                // A probe is of the type of its slot.
                _ => debug_assert!(false, "a probe of another type"),
            }
        }
    }

    pub(super) fn finish(self) -> Slots {
        let mut slots = Slots::default();
        for field in self.fields {
            match field {
                Field::Text(source, index) => slots.texts.push((source, index.finish())),
                Field::Int(num, index) => {
                    let boxed = |(value, rules): (i64, Vec<u32>)| (value, rules.into());
                    let index = IntIndex {
                        equal: index.equal.into_iter().map(boxed).collect(),
                        masks: index.masks.into_iter().map(boxed).collect(),
                    };
                    slots.ints.push((num, index));
                }
                Field::Bool(source, index) => slots.bools.push((source, index)),
            }
        }
        slots
    }
}

impl Slots {
    /// Reads every field and marks the rules that its values can concern.
    pub(super) fn read(&self, cx: &Cx<'_>, scratch: &mut Scratch) {
        for (num, index) in &self.ints {
            num.any(cx, &mut |value| {
                if let Some(rules) = index.equal.get(&value) {
                    scratch.set(rules);
                }
                for (mask, rules) in &index.masks {
                    if value & mask != 0 {
                        scratch.set(rules);
                    }
                }
                false
            });
        }
        for (source, index) in &self.bools {
            source.any(cx, &mut |item| {
                match item {
                    Item::Bool(true) => scratch.set(&index.yes),
                    Item::Bool(false) => scratch.set(&index.no),
                    _ => {}
                }
                false
            });
        }
        for (source, index) in &self.texts {
            let fold = source.text_kind() == TextKind::DnsName;
            source.any(cx, &mut |item| {
                match item {
                    Item::Str(text) if fold => {
                        in_lower_case(text, |text| index.find(text, scratch))
                    }
                    Item::Str(text) => index.find(text, scratch),
                    _ => {}
                }
                false
            });
        }
    }
}

/// What the index looks at for a rule: any of these values of this field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyCondition {
    /// The field.
    pub field: String,
    /// What it must be or have.
    pub values: Vec<String>,
}

impl Slots {
    /// What leads to the rule.
    pub(super) fn conditions(&self, rule: u32) -> Vec<KeyCondition> {
        let mut all = Vec::new();
        let mut add = |field: String, mut values: Vec<String>| {
            values.sort();
            if !values.is_empty() {
                all.push(KeyCondition { field, values });
            }
        };
        for (source, index) in &self.texts {
            add(source.to_string(), index.conditions(rule));
        }
        for (num, index) in &self.ints {
            let equal = index
                .equal
                .iter()
                .filter(|(_, rules)| rules.contains(&rule));
            let masks = index
                .masks
                .iter()
                .filter(|(_, rules)| rules.contains(&rule));
            let values = equal.map(|(value, _)| format!("== {value}"));
            let values = values.chain(masks.map(|(mask, _)| match mask {
                -1 => "!= 0".to_owned(),
                mask => format!("& {mask:#x} != 0"),
            }));
            add(num.to_string(), values.collect());
        }
        for (source, index) in &self.bools {
            let yes = index.yes.contains(&rule).then(|| "true".to_owned());
            let no = index.no.contains(&rule).then(|| "false".to_owned());
            add(source.to_string(), yes.into_iter().chain(no).collect());
        }
        all
    }
}
