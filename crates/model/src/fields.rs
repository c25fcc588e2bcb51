//! What `#[derive(Fields)]` implements, and the types it speaks in.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use atalaya_secl::model::{TextKind, Type, Validator, Value};
use ipnet::IpNet;

use crate::context::Context;
use crate::process::Process;

/// What a field needs besides its struct: the run's context, and the process whose view of users and groups holds.
#[derive(Clone, Copy)]
pub struct Cx<'a> {
    /// The run's context.
    pub context: &'a Context,
    /// The process that the field belongs to, or that caused the event.
    pub process: &'a Process,
    /// The element that is asked for, where the field is one of an iterator.
    pub index: usize,
}

impl<'a> Cx<'a> {
    /// For fields that are under no iterator.
    #[must_use]
    pub fn new(context: &'a Context, process: &'a Process) -> Self {
        Self {
            context,
            process,
            index: 0,
        }
    }
}

/// One line of the table, with its name still relative to the struct it was derived for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldSpec {
    /// The SECL name.
    pub name: String,
    /// One sentence or two.
    pub doc: &'static str,
    /// The type of the value or of each element.
    pub ty: Type,
    /// Whether the value is a list.
    pub list: bool,
    /// How text compares.
    pub text: TextKind,
    /// The cost of reading it.
    pub weight: u32,
    /// The group of constants its values come from, or empty.
    pub constants: &'static str,
    /// The version of the reference agent that brought it, or empty.
    pub since: &'static str,
    /// What it can be compared with.
    pub validator: Validator,
    /// The iterator it is under: one value an element.
    pub iterator: Option<String>,
    /// Why nothing fills it yet, or empty.
    pub unavailable: &'static str,
    /// The indexes that lead to it.
    pub path: Vec<u16>,
}

impl FieldSpec {
    /// The same field, seen from the struct that nests this one as its entry `index`.
    #[must_use]
    pub fn under(mut self, prefix: &str, index: u16) -> Self {
        if !prefix.is_empty() {
            self.name = format!("{prefix}.{}", self.name);
            if let Some(iterator) = &mut self.iterator {
                *iterator = match iterator.as_str() {
                    "" => prefix.to_owned(),
                    inner => format!("{prefix}.{inner}"),
                };
            }
        }
        self.path.insert(0, index);
        self
    }

    /// The same field of each element of a list.
    #[must_use]
    pub fn each(mut self) -> Self {
        self.iterator = Some(String::new());
        self
    }

    /// The same field, which nothing fills for this reason; unchanged when the reason is empty.
    #[must_use]
    pub fn without(mut self, reason: &'static str) -> Self {
        if !reason.is_empty() {
            self.unavailable = reason;
        }
        self
    }
}

/// A struct whose fields rules can read.
pub trait Fields {
    /// Calls `into` for each field.
    fn describe(into: &mut dyn FnMut(FieldSpec));
    /// The value of the field at `path`; `None` where an optional part is absent or the path leads nowhere.
    fn get<'a>(&'a self, path: &[u16], cx: Cx<'a>) -> Option<Value<'a>>;
}

impl<T: Fields> Fields for Arc<T> {
    fn describe(into: &mut dyn FnMut(FieldSpec)) {
        T::describe(into);
    }

    fn get<'a>(&'a self, path: &[u16], cx: Cx<'a>) -> Option<Value<'a>> {
        (**self).get(path, cx)
    }
}

impl<T: Fields> Fields for Option<T> {
    fn describe(into: &mut dyn FnMut(FieldSpec)) {
        T::describe(into);
    }

    fn get<'a>(&'a self, path: &[u16], cx: Cx<'a>) -> Option<Value<'a>> {
        self.as_ref()?.get(path, cx)
    }
}

impl<T: Fields> Fields for Box<T> {
    fn describe(into: &mut dyn FnMut(FieldSpec)) {
        T::describe(into);
    }

    fn get<'a>(&'a self, path: &[u16], cx: Cx<'a>) -> Option<Value<'a>> {
        (**self).get(path, cx)
    }
}

/// The element that is asked for.
impl<T: Fields> Fields for Vec<T> {
    fn describe(into: &mut dyn FnMut(FieldSpec)) {
        T::describe(into);
    }

    fn get<'a>(&'a self, path: &[u16], cx: Cx<'a>) -> Option<Value<'a>> {
        self.as_slice().get(cx.index)?.get(path, cx)
    }
}

/// A Rust type that a struct field can have and a rule can read.
pub trait FieldValue {
    /// Its type in rules.
    const TYPE: Type;
    /// Whether it is a list.
    const LIST: bool = false;
    /// The value, without a copy.
    fn value(&self) -> Value<'_>;
}

/// What a computed field may return.
pub trait IntoValue<'a> {
    /// The value.
    fn into_value(self) -> Value<'a>;
}

macro_rules! integers {
    ($($ty:ty),*) => {$(
        impl FieldValue for $ty {
            const TYPE: Type = Type::Int;
            fn value(&self) -> Value<'_> {
                #[allow(clippy::cast_possible_wrap, clippy::cast_lossless, clippy::unnecessary_cast,
                    reason = "rules see numbers as 64-bit signed ones; inode numbers above 2^63 wrap as in the reference")]
                Value::Int(*self as i64)
            }
        }
    )*};
}

integers!(u8, u16, u32, u64, i32, i64);

impl FieldValue for bool {
    const TYPE: Type = Type::Bool;
    fn value(&self) -> Value<'_> {
        Value::Bool(*self)
    }
}

impl FieldValue for String {
    const TYPE: Type = Type::String;
    fn value(&self) -> Value<'_> {
        Value::Str(Cow::Borrowed(self))
    }
}

impl FieldValue for Arc<str> {
    const TYPE: Type = Type::String;
    fn value(&self) -> Value<'_> {
        Value::Str(Cow::Borrowed(self))
    }
}

impl FieldValue for Vec<String> {
    const TYPE: Type = Type::String;
    const LIST: bool = true;
    fn value(&self) -> Value<'_> {
        Value::StrList(Cow::Borrowed(self))
    }
}

impl FieldValue for Vec<i64> {
    const TYPE: Type = Type::Int;
    const LIST: bool = true;
    fn value(&self) -> Value<'_> {
        Value::IntList(Cow::Borrowed(self))
    }
}

impl FieldValue for Vec<IpNet> {
    const TYPE: Type = Type::Ip;
    const LIST: bool = true;
    fn value(&self) -> Value<'_> {
        Value::IpList(Cow::Borrowed(self))
    }
}

/// An address that may be unknown.
impl FieldValue for Option<IpNet> {
    const TYPE: Type = Type::Ip;
    fn value(&self) -> Value<'_> {
        self.map_or_else(|| zero(Type::Ip, false), Value::Ip)
    }
}

impl<'a> IntoValue<'a> for i64 {
    fn into_value(self) -> Value<'a> {
        Value::Int(self)
    }
}

impl<'a> IntoValue<'a> for bool {
    fn into_value(self) -> Value<'a> {
        Value::Bool(self)
    }
}

impl<'a> IntoValue<'a> for &'a str {
    fn into_value(self) -> Value<'a> {
        Value::Str(Cow::Borrowed(self))
    }
}

impl<'a> IntoValue<'a> for String {
    fn into_value(self) -> Value<'a> {
        Value::Str(Cow::Owned(self))
    }
}

impl<'a> IntoValue<'a> for Arc<str> {
    fn into_value(self) -> Value<'a> {
        Value::Str(Cow::Owned(self.as_ref().to_owned()))
    }
}

impl<'a> IntoValue<'a> for Vec<String> {
    fn into_value(self) -> Value<'a> {
        Value::StrList(Cow::Owned(self))
    }
}

impl<'a> IntoValue<'a> for &'a [String] {
    fn into_value(self) -> Value<'a> {
        Value::StrList(Cow::Borrowed(self))
    }
}

/// What a field reads as where its event or its optional part is absent: as in the reference, never an error.
#[must_use]
pub fn zero(ty: Type, list: bool) -> Value<'static> {
    match (ty, list) {
        (Type::Bool, false) => Value::Bool(false),
        (Type::Int, false) => Value::Int(0),
        (Type::String, false) => Value::Str(Cow::Borrowed("")),
        (Type::Bool, true) => Value::BoolList(Cow::Borrowed(&[])),
        (Type::Int, true) => Value::IntList(Cow::Borrowed(&[])),
        (Type::String, true) => Value::StrList(Cow::Borrowed(&[])),
        (Type::Ip, false) => Value::Ip(IpNet::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED))),
        (Type::Ip, true) => Value::IpList(Cow::Borrowed(&[])),
    }
}
