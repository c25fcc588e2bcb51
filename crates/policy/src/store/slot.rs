//! One variable with the values of all its holders.

use std::cell::Cell;
use std::time::Duration;

use atalaya_secl::model::{OwnedValue, Type, Value};
use rustc_hash::FxHashMap;

use super::sizes::{
    Counters, DEFAULT_SIZE, MAX_ELEMENTS, MAX_HOLDERS, MAX_LABEL, MAX_TEXT, MAX_VALUE, bytes_of,
    element_bytes, head,
};
use crate::variable::{VariableDef, VariableScopeKind};

/// One variable.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) def: VariableDef,
    values: FxHashMap<u64, Held>,
    /// Counts uses, for the order in which holders are forgotten.
    uses: Cell<u64>,
}

/// The value of one holder.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) value: OwnedValue,
    /// Who holds it, for people.
    pub(super) label: Box<str>,
    set_ns: u64,
    used: Cell<u64>,
    pub(super) bytes: usize,
}

impl Slot {
    pub(super) fn new(mut def: VariableDef) -> Self {
        // As the reference: zero is no limit.
        def.ttl = def.ttl.filter(|ttl| !ttl.is_zero());
        def.size = def.size.filter(|size| *size > 0);
        Self {
            def,
            values: FxHashMap::default(),
            uses: Cell::new(0),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.values.values().map(|held| held.bytes).sum()
    }

    /// All values that have not expired.
    pub(super) fn all(&self, now_ns: u64) -> impl Iterator<Item = (u64, &Held)> {
        self.values
            .iter()
            .filter(move |(_, held)| !self.is_over(held, now_ns))
            .map(|(key, held)| (*key, held))
    }

    fn is_over(&self, held: &Held, now_ns: u64) -> bool {
        let age = Duration::from_nanos(now_ns.saturating_sub(held.set_ns));
        self.def.ttl.is_some_and(|ttl| age >= ttl)
    }

    fn next_use(&self) -> u64 {
        self.uses.set(self.uses.get() + 1);
        self.uses.get()
    }

    /// The value of a holder, if it is set and has not expired.
    pub(super) fn read(&self, key: u64, now_ns: u64) -> Option<&OwnedValue> {
        let held = self.values.get(&key)?;
        if self.is_over(held, now_ns) {
            return None;
        }
        held.used.set(self.next_use());
        Some(&held.value)
    }

    /// What the variable is where nobody has set it.
    pub(super) fn unset(&self) -> Value<'static> {
        match (self.def.ty, self.def.list) {
            (Type::Bool, false) => Value::Bool(false),
            (Type::Int, false) => Value::Int(0),
            (Type::String, false) => Value::Str("".into()),
            // An address has no zero value that an event could not have: a list without members equals nothing.
            (Type::Ip, _) => Value::IpList([].as_slice().into()),
            (Type::Bool, true) => Value::BoolList([].as_slice().into()),
            (Type::Int, true) => Value::IntList([].as_slice().into()),
            (Type::String, true) => Value::StrList([].as_slice().into()),
        }
    }

    /// Sets or adds to the value of a holder. Returns `false` for a value that is not of the variable's type, and
    /// changes nothing then.
    pub(super) fn set(
        &mut self,
        key: u64,
        label: &str,
        value: Value<'_>,
        append: bool,
        now_ns: u64,
        counters: &mut Counters,
    ) -> bool {
        let limit = self.elements();
        let used = self.next_use();
        let ttl = self.def.ttl;
        let is_new = !self.values.contains_key(&key);
        if is_new {
            if !fits(&self.def, &value) {
                return false;
            }
            self.make_room(counters);
        }
        let held = self.values.entry(key).or_insert_with(|| Held {
            value: OwnedValue::zero(self.def.ty, self.def.list),
            label: head(label, MAX_LABEL).into(),
            set_ns: now_ns,
            used: Cell::new(used),
            bytes: 0,
        });
        let age = Duration::from_nanos(now_ns.saturating_sub(held.set_ns));
        let keeps = append && !is_new && ttl.is_none_or(|ttl| age < ttl);
        let before = held.bytes;
        let grown = store(&mut held.value, value, keeps, limit, counters);
        let Some(grown) = grown else {
            return false;
        };
        held.bytes = match grown {
            Grown::By(bytes) => before.saturating_add_signed(bytes),
            Grown::Count => bytes_of(&held.value, &held.label),
        };
        if held.bytes > MAX_VALUE {
            shrink(&mut held.value);
            held.bytes = bytes_of(&held.value, &held.label);
            counters.cut += 1;
        }
        held.set_ns = now_ns;
        held.used.set(used);
        counters.bytes = counters.bytes + held.bytes - before;
        true
    }

    pub(super) fn remove(&mut self, key: u64, counters: &mut Counters) {
        if let Some(held) = self.values.remove(&key) {
            counters.bytes -= held.bytes;
        }
    }

    pub(super) fn retain(&mut self, is_needed: impl Fn(u64) -> bool, counters: &mut Counters) {
        self.values.retain(|key, held| {
            let stays = is_needed(*key);
            if !stays {
                counters.bytes -= held.bytes;
            }
            stays
        });
    }

    pub(super) fn expire(&mut self, now_ns: u64, counters: &mut Counters) {
        let Some(ttl) = self.def.ttl else { return };
        self.values.retain(|_, held| {
            let stays = Duration::from_nanos(now_ns.saturating_sub(held.set_ns)) < ttl;
            if !stays {
                counters.bytes -= held.bytes;
                counters.expired += 1;
            }
            stays
        });
    }

    pub(super) fn is_successor_of(&self, old: &Self) -> bool {
        let (new, old) = (&self.def, &old.def);
        new.name == old.name && new.scope == old.scope && new.ty == old.ty && new.list == old.list
    }

    /// Takes the values of the same variable of an older rule set.
    pub(super) fn take_over(&mut self, old: Self, counters: &mut Counters) {
        self.values = old.values;
        self.uses = old.uses;
        while self.values.len() > self.holders() {
            self.forget_oldest(counters);
        }
        let limit = self.elements();
        for held in self.values.values_mut() {
            let before = held.bytes;
            drop_first(&mut held.value, limit);
            held.bytes = bytes_of(&held.value, &held.label);
            counters.bytes = counters.bytes + held.bytes - before;
        }
    }

    fn size(&self) -> usize {
        self.def.size.unwrap_or(DEFAULT_SIZE)
    }

    /// How many elements a value may have.
    fn elements(&self) -> usize {
        self.size().min(MAX_ELEMENTS)
    }

    /// How many holders there may be.
    fn holders(&self) -> usize {
        match (self.def.scope, self.def.list) {
            (VariableScopeKind::Global, _) => 1,
            (_, true) => DEFAULT_SIZE,
            (_, false) => self.size().min(MAX_HOLDERS),
        }
    }

    fn make_room(&mut self, counters: &mut Counters) {
        while self.values.len() >= self.holders() {
            self.forget_oldest(counters);
        }
    }

    fn forget_oldest(&mut self, counters: &mut Counters) {
        let oldest = self.values.iter().min_by_key(|(_, held)| held.used.get());
        if let Some(key) = oldest.map(|(key, _)| *key) {
            self.remove(key, counters);
            counters.evicted += 1;
        }
    }
}

/// Whether a value may be put into the variable.
fn fits(def: &VariableDef, value: &Value<'_>) -> bool {
    let (ty, list) = match value {
        Value::Bool(_) => (Type::Bool, false),
        Value::Int(_) => (Type::Int, false),
        Value::Str(_) => (Type::String, false),
        Value::Ip(_) => (Type::Ip, false),
        Value::BoolList(_) => (Type::Bool, true),
        Value::IntList(_) => (Type::Int, true),
        Value::StrList(_) => (Type::String, true),
        Value::IpList(_) => (Type::Ip, true),
    };
    def.ty == ty && (def.list || !list)
}

/// By how much a value has grown.
enum Grown {
    /// By so many bytes, which may be negative.
    By(isize),
    /// It must be counted anew.
    Count,
}

/// Puts `new` into `value`, or adds it. `None`: it is of another type.
fn store(
    value: &mut OwnedValue,
    new: Value<'_>,
    append: bool,
    limit: usize,
    counters: &mut Counters,
) -> Option<Grown> {
    use OwnedValue as Old;
    match (value, new) {
        (Old::Bool(old), Value::Bool(new)) => *old = new,
        (Old::Int(old), Value::Int(new)) => {
            *old = if append { old.saturating_add(new) } else { new };
        }
        (Old::Str(old), Value::Str(new)) => {
            if !append {
                old.clear();
            }
            let room = MAX_TEXT.saturating_sub(old.len());
            let fitting = head(&new, room);
            counters.cut += u64::from(fitting.len() < new.len());
            old.push_str(fitting);
        }
        (Old::Ip(old), Value::Ip(new)) => *old = new,
        (Old::BoolList(old), Value::Bool(new)) => add(old, &[new], append, limit),
        (Old::BoolList(old), Value::BoolList(new)) => add(old, &new, append, limit),
        (Old::IntList(old), Value::Int(new)) => add(old, &[new], append, limit),
        (Old::IntList(old), Value::IntList(new)) => add(old, &new, append, limit),
        (Old::IpList(old), Value::Ip(new)) => add(old, &[new], append, limit),
        (Old::IpList(old), Value::IpList(new)) => add(old, &new, append, limit),
        (Old::StrList(old), Value::Str(new)) => {
            if append {
                return Some(add_text(old, &new, limit, counters));
            }
            old.clear();
            add_text(old, &new, limit, counters);
        }
        (Old::StrList(old), Value::StrList(new)) => {
            if !append {
                old.clear();
            }
            for text in new.iter() {
                add_text(old, text, limit, counters);
            }
        }
        _ => return None,
    }
    Some(Grown::Count)
}

/// Adds elements, each once, the newest last.
fn add<T: PartialEq + Copy>(list: &mut Vec<T>, new: &[T], append: bool, limit: usize) {
    if !append {
        list.clear();
    }
    for item in new {
        match list.iter().position(|known| known == item) {
            Some(at) => list[at..].rotate_left(1),
            None => {
                if list.len() >= limit {
                    list.remove(0);
                }
                list.push(*item);
            }
        }
    }
}

/// As [`add`], for text. The place of the oldest element is used again, so that a full list allocates only for text
/// that is longer than what it replaces.
fn add_text(list: &mut Vec<String>, new: &str, limit: usize, counters: &mut Counters) -> Grown {
    let fitting = head(new, MAX_TEXT);
    counters.cut += u64::from(fitting.len() < new.len());
    // Mostly it is the one that came last.
    if list.last().is_some_and(|last| last == fitting) {
        return Grown::By(0);
    }
    if let Some(at) = list.iter().position(|known| known == fitting) {
        list[at..].rotate_left(1);
        return Grown::By(0);
    }
    let bytes = |text: &str| isize::try_from(element_bytes(text)).unwrap_or(isize::MAX);
    let mut grown = bytes(fitting);
    if list.len() < limit {
        list.push(fitting.to_owned());
        return Grown::By(grown);
    }
    list.rotate_left(1);
    if let Some(oldest) = list.last_mut() {
        grown -= bytes(oldest);
        // A text that was once long does not keep its memory.
        if oldest.capacity() > 2 * fitting.len() + 64 {
            *oldest = fitting.to_owned();
        } else {
            oldest.clear();
            oldest.push_str(fitting);
        }
    }
    Grown::By(grown)
}

/// Removes the first elements of a list until it has so many.
fn drop_first(value: &mut OwnedValue, limit: usize) {
    fn cut<T>(list: &mut Vec<T>, limit: usize) {
        let surplus = list.len().saturating_sub(limit);
        list.drain(..surplus);
    }
    match value {
        OwnedValue::BoolList(list) => cut(list, limit),
        OwnedValue::IntList(list) => cut(list, limit),
        OwnedValue::StrList(list) => cut(list, limit),
        OwnedValue::IpList(list) => cut(list, limit),
        OwnedValue::Bool(_) | OwnedValue::Int(_) | OwnedValue::Str(_) | OwnedValue::Ip(_) => {}
    }
}

/// Removes the first elements of a list of texts until it is well below what a value may take. No other value can be
/// too large.
fn shrink(value: &mut OwnedValue) {
    let OwnedValue::StrList(list) = value else {
        return;
    };
    let mut left = MAX_VALUE * 7 / 8;
    let fitting = list
        .iter()
        .rev()
        .take_while(|text| {
            let fits = element_bytes(text) <= left;
            left = left.saturating_sub(element_bytes(text));
            fits
        })
        .count();
    let surplus = list.len() - fitting;
    list.drain(..surplus);
}
