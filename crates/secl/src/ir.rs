//! The compiled form of an expression, and its evaluation. Evaluating has no side effect, never panics, and allocates only
//! where a text is put together.

use std::fmt::Write as _;
use std::hash::{Hash, Hasher};

use ipnet::IpNet;

use crate::ast::{ArithOp, CompareOp};
use crate::domain::root_domain;
use crate::ip::{canonical, overlap};
use crate::model::{EventView, FieldId, Item, IterId, TextKind, Type, Value};
use crate::pattern::{Literal, Matcher};
use crate::variables::{EvalContext, VariableId};

/// What one evaluation sees.
pub(crate) struct Cx<'a> {
    pub(crate) event: &'a dyn EventView,
    pub(crate) context: &'a EvalContext<'a>,
    /// The element that the named iterator stands at.
    pub(crate) register: usize,
}

/// Which elements of an iterator an operand means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Iter {
    /// The field is under no iterator.
    None,
    /// Any element.
    Any(IterId),
    /// The element that the named iterator stands at.
    Register,
}

/// A name that is only shown: what differs in nothing else is the same.
#[derive(Debug, Clone)]
pub(crate) struct Label(pub(crate) String);

impl PartialEq for Label {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Label {}

impl Hash for Label {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// Where values come from. A source yields none, one or many values; what is asked of it is asked of any of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    Field {
        id: FieldId,
        /// For what is derived from the compiled form.
        name: Label,
        ty: Type,
        text: TextKind,
        /// A list, or under an unnamed iterator.
        many: bool,
        iter: Iter,
        /// One element of the list.
        index: Option<usize>,
        weight: u32,
    },
    Variable {
        id: VariableId,
        name: Label,
        ty: Type,
        many: bool,
    },
    /// `${builtins.uuid4}`.
    Uuid,
    /// How many elements an iterator has.
    IterLength(IterId),
    /// Bytes of a text, elements of a list.
    Length(Box<Self>),
    RootDomain(Box<Self>),
    /// A text with parts from elsewhere.
    Format(Vec<Part>),
    /// Known when the rule was compiled.
    Texts(Vec<String>),
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    Text(String),
    Source(Source),
}

impl Source {
    pub(crate) fn ty(&self) -> Type {
        match self {
            Self::Field { ty, .. } | Self::Variable { ty, .. } => *ty,
            Self::IterLength(_) | Self::Length(_) => Type::Int,
            Self::Uuid | Self::RootDomain(_) | Self::Format(_) | Self::Texts(_) => Type::String,
        }
    }

    /// Whether it can yield another number of values than one.
    pub(crate) fn many(&self) -> bool {
        match self {
            Self::Field { many, .. } | Self::Variable { many, .. } => *many,
            Self::Texts(_) => true,
            Self::RootDomain(inner) => inner.many(),
            Self::Length(inner) => matches!(
                **inner,
                Self::Field {
                    iter: Iter::Any(_),
                    ..
                }
            ),
            Self::Uuid | Self::IterLength(_) | Self::Format(_) => false,
        }
    }

    pub(crate) fn text_kind(&self) -> TextKind {
        match self {
            Self::Field { text, .. } => *text,
            Self::RootDomain(_) => TextKind::DnsName,
            _ => TextKind::Plain,
        }
    }

    /// Whether it can yield something else when it is asked again for the same event.
    fn is_volatile(&self) -> bool {
        match self {
            Self::Variable { .. } | Self::Uuid => true,
            Self::Length(inner) | Self::RootDomain(inner) => inner.is_volatile(),
            Self::Format(parts) => parts
                .iter()
                .any(|part| matches!(part, Part::Source(source) if source.is_volatile())),
            Self::Field { .. } | Self::IterLength(_) | Self::Texts(_) => false,
        }
    }

    /// Adds the names of the variables that it reads.
    pub(crate) fn variable_names(&self, names: &mut Vec<String>) {
        match self {
            Self::Variable { name, .. } => names.push(name.0.clone()),
            Self::Length(inner) | Self::RootDomain(inner) => inner.variable_names(names),
            Self::Format(parts) => {
                for part in parts {
                    if let Part::Source(source) = part {
                        source.variable_names(names);
                    }
                }
            }
            Self::Field { .. } | Self::Uuid | Self::IterLength(_) | Self::Texts(_) => {}
        }
    }

    pub(crate) fn uses_register(&self) -> bool {
        match self {
            Self::Field { iter, .. } => *iter == Iter::Register,
            Self::Length(inner) | Self::RootDomain(inner) => inner.uses_register(),
            Self::Format(parts) => parts
                .iter()
                .any(|part| matches!(part, Part::Source(source) if source.uses_register())),
            _ => false,
        }
    }

    pub(crate) fn weight(&self) -> u32 {
        match self {
            Self::Field { weight, iter, .. } => {
                weight.saturating_add(if *iter == Iter::None { 0 } else { 2000 })
            }
            Self::Variable { .. } => 50,
            Self::Uuid => 100,
            Self::IterLength(_) => 50,
            Self::Length(inner) | Self::RootDomain(inner) => inner.weight().saturating_add(5),
            Self::Texts(_) => 10,
            Self::Format(parts) => parts.iter().fold(5, |sum: u32, part| match part {
                Part::Text(_) => sum,
                Part::Source(source) => sum.saturating_add(source.weight()),
            }),
        }
    }

    /// Whether `test` holds for any of the values.
    pub(crate) fn any(&self, cx: &Cx<'_>, test: &mut dyn FnMut(Item<'_>) -> bool) -> bool {
        match self {
            Self::Field {
                id,
                ty,
                iter,
                index: None,
                ..
            } if *iter != Iter::Register => {
                let iter = match iter {
                    Iter::Any(iter) => Some(*iter),
                    Iter::None | Iter::Register => None,
                };
                // Addresses are compared in one spelling.
                if *ty == Type::Ip {
                    cx.event
                        .any(*id, iter, &mut |item| test(in_one_spelling(item)))
                } else {
                    cx.event.any(*id, iter, test)
                }
            }
            Self::Field {
                id,
                iter: Iter::None,
                index,
                ..
            } => any_item(&cx.event.get(*id), *index, test),
            Self::Field {
                id,
                iter: Iter::Register,
                index,
                ..
            } => cx
                .event
                .get_at(*id, cx.register)
                .is_some_and(|value| any_item(&value, *index, test)),
            Self::Field {
                id,
                iter: Iter::Any(iter),
                index,
                ..
            } => (0..cx.event.iter_len(*iter))
                .map_while(|at| cx.event.get_at(*id, at))
                .any(|value| any_item(&value, *index, test)),
            Self::Variable { id, ty, many, .. } => {
                any_item(&variable(cx, *id, *ty, *many), None, test)
            }
            Self::Uuid => test(Item::Str(&cx.context.variables.uuid4())),
            Self::IterLength(iter) => test(Item::Int(to_int(cx.event.iter_len(*iter)))),
            Self::Length(inner) => inner.any_value(cx, &mut |value| test(Item::Int(length(value)))),
            Self::RootDomain(inner) => inner.any(cx, &mut |item| match item {
                Item::Str(text) => test(Item::Str(root_domain(text))),
                _ => false,
            }),
            Self::Format(parts) => test(Item::Str(&format_parts(parts, cx))),
            Self::Texts(texts) => texts.iter().any(|text| test(Item::Str(text))),
        }
    }

    /// Whether `test` holds for any of the whole values, lists as lists.
    fn any_value(&self, cx: &Cx<'_>, test: &mut dyn FnMut(&Value<'_>) -> bool) -> bool {
        match self {
            Self::Field {
                id,
                iter: Iter::None,
                ..
            } => test(&cx.event.get(*id)),
            Self::Field {
                id,
                iter: Iter::Register,
                ..
            } => cx
                .event
                .get_at(*id, cx.register)
                .is_some_and(|value| test(&value)),
            Self::Field {
                id,
                iter: Iter::Any(iter),
                ..
            } => (0..cx.event.iter_len(*iter))
                .map_while(|at| cx.event.get_at(*id, at))
                .any(|value| test(&value)),
            Self::Variable { id, ty, many, .. } => test(&variable(cx, *id, *ty, *many)),
            _ => self.any(cx, &mut |item| match item {
                Item::Str(text) => test(&Value::Str(text.into())),
                _ => false,
            }),
        }
    }
}

/// The value of a variable; its zero value where whoever keeps the values does not know the variable.
fn variable<'a>(cx: &Cx<'a>, id: VariableId, ty: Type, many: bool) -> Value<'a> {
    match (cx.context.variables.get(id, cx.event), ty) {
        (value @ (Value::Bool(_) | Value::BoolList(_)), Type::Bool)
        | (value @ (Value::Int(_) | Value::IntList(_)), Type::Int)
        | (value @ (Value::Str(_) | Value::StrList(_)), Type::String)
        | (value @ (Value::Ip(_) | Value::IpList(_)), Type::Ip) => value,
        _ => zero(ty, many),
    }
}

fn zero(ty: Type, list: bool) -> Value<'static> {
    match (ty, list) {
        (Type::Bool, false) => Value::Bool(false),
        (Type::Int, false) => Value::Int(0),
        (Type::String, false) => Value::Str("".into()),
        (Type::Bool, true) => Value::BoolList([].as_slice().into()),
        (Type::Int, true) => Value::IntList([].as_slice().into()),
        (Type::String, true) => Value::StrList([].as_slice().into()),
        // No address stands for none: a list without members equals nothing.
        (Type::Ip, _) => Value::IpList([].as_slice().into()),
    }
}

fn to_int(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn length(value: &Value<'_>) -> i64 {
    to_int(match value {
        Value::Str(text) => text.len(),
        Value::BoolList(list) => list.len(),
        Value::IntList(list) => list.len(),
        Value::StrList(list) => list.len(),
        Value::IpList(list) => list.len(),
        Value::Bool(_) | Value::Int(_) | Value::Ip(_) => 1,
    })
}

fn any_item(
    value: &Value<'_>,
    index: Option<usize>,
    test: &mut dyn FnMut(Item<'_>) -> bool,
) -> bool {
    let mut test = |item: Item<'_>| test(in_one_spelling(item));
    match (value, index) {
        (Value::BoolList(items), Some(index)) => {
            items.get(index).is_some_and(|item| test(Item::Bool(*item)))
        }
        (Value::IntList(items), Some(index)) => {
            items.get(index).is_some_and(|item| test(Item::Int(*item)))
        }
        (Value::StrList(items), Some(index)) => {
            items.get(index).is_some_and(|item| test(Item::Str(item)))
        }
        (Value::IpList(items), Some(index)) => {
            items.get(index).is_some_and(|item| test(Item::Ip(*item)))
        }
        _ => value.any(&mut test),
    }
}

fn in_one_spelling(item: Item<'_>) -> Item<'_> {
    match item {
        Item::Ip(net) => Item::Ip(canonical(net)),
        other => other,
    }
}

/// Where a text that is put together ends, in bytes: lists of the event may be long, and a rule may name one many times. The
/// value that passes it is still whole.
const MAX_TEXT: usize = 64 << 10;

fn format_parts(parts: &[Part], cx: &Cx<'_>) -> String {
    let mut out = String::new();
    for part in parts {
        if out.len() > MAX_TEXT {
            break;
        }
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Source(source) => {
                let mut first = true;
                source.any(cx, &mut |item| {
                    if !std::mem::take(&mut first) {
                        out.push(',');
                    }
                    // Writing to a string cannot fail.
                    let _ = match item {
                        Item::Bool(value) => write!(out, "{value}"),
                        Item::Int(value) => write!(out, "{value}"),
                        Item::Str(text) => out.write_str(text),
                        Item::Ip(net) if net.prefix_len() == net.max_prefix_len() => {
                            write!(out, "{}", net.addr())
                        }
                        Item::Ip(net) => write!(out, "{net}"),
                    };
                    // Going on to the next value; but an alias is no value of its own.
                    out.len() > MAX_TEXT
                        || matches!(
                            source,
                            Source::Field {
                                iter: Iter::None,
                                many: false,
                                ..
                            }
                        )
                });
            }
        }
    }
    out
}

/// A number, or any of several.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Num {
    Const(i64),
    Source(Source),
    Neg(Box<Self>),
    BitNot(Box<Self>),
    Arith(ArithOp, Box<Self>, Box<Self>),
}

impl Num {
    pub(crate) fn any(&self, cx: &Cx<'_>, test: &mut dyn FnMut(i64) -> bool) -> bool {
        match self {
            Self::Const(value) => test(*value),
            Self::Source(source) => source.any(cx, &mut |item| match item {
                Item::Int(value) => test(value),
                _ => false,
            }),
            Self::Neg(inner) => inner.any(cx, &mut |value| test(value.wrapping_neg())),
            Self::BitNot(inner) => inner.any(cx, &mut |value| test(!value)),
            Self::Arith(op, left, right) => left.any(cx, &mut |left| {
                right.any(cx, &mut |right| test(arith(*op, left, right)))
            }),
        }
    }

    /// Whether it can yield another number of values than one.
    pub(crate) fn many(&self) -> bool {
        let mut many = false;
        self.each_source(&mut |source| many |= source.many());
        many
    }

    pub(crate) fn uses_register(&self) -> bool {
        let mut found = false;
        self.each_source(&mut |source| found |= source.uses_register());
        found
    }

    fn each_source(&self, f: &mut dyn FnMut(&Source)) {
        match self {
            Self::Const(_) => {}
            Self::Source(source) => f(source),
            Self::Neg(inner) | Self::BitNot(inner) => inner.each_source(f),
            Self::Arith(_, left, right) => {
                left.each_source(f);
                right.each_source(f);
            }
        }
    }
}

pub(crate) fn arith(op: ArithOp, left: i64, right: i64) -> i64 {
    match op {
        ArithOp::Add => left.wrapping_add(right),
        ArithOp::Sub => left.wrapping_sub(right),
        ArithOp::And => left & right,
        ArithOp::Or => left | right,
        ArithOp::Xor => left ^ right,
    }
}

/// A truth value as an operand.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Truth {
    Pred(Box<Pred>),
    Source(Source),
}

impl Truth {
    fn any(&self, cx: &Cx<'_>, test: &mut dyn FnMut(bool) -> bool) -> bool {
        match self {
            Self::Pred(pred) => test(pred.eval(cx)),
            Self::Source(source) => source.any(cx, &mut |item| match item {
                Item::Bool(value) => test(value),
                _ => false,
            }),
        }
    }
}

/// Something that holds or does not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Pred {
    Const(bool),
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    /// A field that is true.
    True(Source),
    BoolEq(Truth, Truth),
    /// `Eq`, `Lt`, `Le`, `Gt` or `Ge` for any pair of values.
    Int(CompareOp, Num, Num),
    /// Any value is one of these, which are sorted.
    IntIn(Num, Vec<i64>),
    /// now − left, compared with right.
    Age(CompareOp, Num, Num),
    /// Any value matches.
    Text(Source, Matcher),
    /// Any value of the one equals any of the other; in any case of letters if so set.
    TextEq(Source, Source, bool),
    /// Any value lies in any of the networks, or holds it.
    IpAny(Source, Vec<IpNet>),
    /// All values lie in all of the networks.
    IpAll(Source, Vec<IpNet>),
    /// Any value of the one overlaps any of the other.
    IpEq(Source, Source),
}

impl Pred {
    /// The texts that a field is compared with, by equality.
    pub(crate) fn texts_of<'p>(&'p self, field: &str, texts: &mut Vec<&'p str>) {
        match self {
            Self::And(terms) | Self::Or(terms) => {
                terms.iter().for_each(|term| term.texts_of(field, texts));
            }
            Self::Not(inner) => inner.texts_of(field, texts),
            Self::Text(Source::Field { name, .. }, matcher) if name.0 == field => {
                let literals = matcher.literals().iter();
                texts.extend(literals.filter_map(|literal| match literal {
                    Literal::Text(text) => Some(text.as_str()),
                    _ => None,
                }));
            }
            _ => {}
        }
    }

    pub(crate) fn eval(&self, cx: &Cx<'_>) -> bool {
        match self {
            Self::Const(value) => *value,
            Self::And(terms) => terms.iter().all(|term| term.eval(cx)),
            Self::Or(terms) => terms.iter().any(|term| term.eval(cx)),
            Self::Not(inner) => !inner.eval(cx),
            Self::True(source) => source.any(cx, &mut |item| matches!(item, Item::Bool(true))),
            Self::BoolEq(left, right) => {
                left.any(cx, &mut |left| right.any(cx, &mut |right| left == right))
            }
            Self::Int(op, left, right) => left.any(cx, &mut |left| {
                right.any(cx, &mut |right| compare(*op, left, right))
            }),
            Self::IntIn(num, set) => num.any(cx, &mut |value| set.binary_search(&value).is_ok()),
            Self::Age(op, num, limit) => {
                let now = i64::try_from(cx.context.now_ns).unwrap_or(i64::MAX);
                num.any(cx, &mut |time| {
                    limit.any(cx, &mut |limit| compare(*op, now.wrapping_sub(time), limit))
                })
            }
            Self::Text(source, matcher) => source.any(cx, &mut |item| match item {
                Item::Str(text) => matcher.matches(text),
                _ => false,
            }),
            Self::TextEq(left, right, fold) => left.any(cx, &mut |left| {
                right.any(cx, &mut |right| match (left, right) {
                    (Item::Str(left), Item::Str(right)) if *fold => {
                        left.eq_ignore_ascii_case(right)
                    }
                    (Item::Str(left), Item::Str(right)) => left == right,
                    _ => false,
                })
            }),
            Self::IpAny(source, nets) => source.any(cx, &mut |item| match item {
                Item::Ip(ip) => nets.iter().any(|net| overlap(net, &ip)),
                _ => false,
            }),
            Self::IpAll(source, nets) => !source.any(cx, &mut |item| match item {
                Item::Ip(ip) => !nets.iter().all(|net| overlap(net, &ip)),
                _ => true,
            }),
            Self::IpEq(left, right) => left.any(cx, &mut |left| {
                right.any(cx, &mut |right| match (left, right) {
                    (Item::Ip(left), Item::Ip(right)) => overlap(&left, &right),
                    _ => false,
                })
            }),
        }
    }

    /// What it costs to evaluate, on the scale of the reference, for ordering.
    pub(crate) fn weight(&self) -> u32 {
        let mut sum = match self {
            Self::And(terms) | Self::Or(terms) => {
                return terms
                    .iter()
                    .fold(0, |sum: u32, term| sum.saturating_add(term.weight()));
            }
            Self::Not(inner) => return inner.weight(),
            Self::IntIn(..) | Self::IpAny(..) | Self::IpAll(..) => 10,
            Self::Text(_, matcher) => matcher.weight(),
            _ => 0,
        };
        self.each_source(&mut |source| sum = sum.saturating_add(source.weight()));
        sum
    }

    /// Calls `f` on every source below.
    pub(crate) fn each_source(&self, f: &mut dyn FnMut(&Source)) {
        match self {
            Self::Const(_) => {}
            Self::And(terms) | Self::Or(terms) => terms.iter().for_each(|term| term.each_source(f)),
            Self::Not(inner) => inner.each_source(f),
            Self::True(source)
            | Self::Text(source, _)
            | Self::IpAny(source, _)
            | Self::IpAll(source, _) => f(source),
            Self::BoolEq(left, right) => {
                for side in [left, right] {
                    match side {
                        Truth::Pred(pred) => pred.each_source(f),
                        Truth::Source(source) => f(source),
                    }
                }
            }
            Self::Int(_, left, right) | Self::Age(_, left, right) => {
                left.each_source(f);
                right.each_source(f);
            }
            Self::IntIn(num, _) => num.each_source(f),
            Self::TextEq(left, right, _) | Self::IpEq(left, right) => {
                f(left);
                f(right);
            }
        }
    }

    /// Whether it has one value for an event: it looks neither at variables nor at the element of a register.
    pub(crate) fn is_pure(&self) -> bool {
        let mut pure = true;
        self.each_source(&mut |source| pure &= !source.is_volatile() && !source.uses_register());
        pure
    }

    pub(crate) fn uses_register(&self) -> bool {
        let mut found = false;
        self.each_source(&mut |source| found |= source.uses_register());
        found
    }

    /// All of the terms, cheap ones first; nested conjunctions and constants are dissolved.
    pub(crate) fn and(terms: Vec<Self>) -> Self {
        let mut flat = Vec::with_capacity(terms.len());
        for term in terms {
            match term {
                Self::Const(true) => {}
                Self::Const(false) => return Self::Const(false),
                Self::And(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        flat.sort_by_cached_key(Self::weight);
        match flat.len() {
            0 => Self::Const(true),
            1 => flat.swap_remove(0),
            _ => Self::And(flat),
        }
    }

    /// Any of the terms, cheap ones first; nested disjunctions and constants are dissolved.
    pub(crate) fn or(terms: Vec<Self>) -> Self {
        let mut flat = Vec::with_capacity(terms.len());
        for term in terms {
            match term {
                Self::Const(false) => {}
                Self::Const(true) => return Self::Const(true),
                Self::Or(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        flat.sort_by_cached_key(Self::weight);
        match flat.len() {
            0 => Self::Const(false),
            1 => flat.swap_remove(0),
            _ => Self::Or(flat),
        }
    }

    pub(crate) fn not(inner: Self) -> Self {
        match inner {
            Self::Const(value) => Self::Const(!value),
            Self::Not(inner) => *inner,
            other => Self::Not(Box::new(other)),
        }
    }
}

pub(crate) fn compare(op: CompareOp, left: i64, right: i64) -> bool {
    match op {
        CompareOp::Eq => left == right,
        CompareOp::Ne => left != right,
        CompareOp::Lt => left < right,
        CompareOp::Le => left <= right,
        CompareOp::Gt => left > right,
        CompareOp::Ge => left >= right,
        _ => false,
    }
}
