//! What the language needs to know of the world: the fields a rule may name ([`Schema`]) and the values an event has
//! for them ([`EventView`]). The language itself knows no event.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

/// A field, as the schema numbers it. Opaque to the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldId(pub u32);

/// An iterator (`process.ancestors`), as the schema numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IterId(pub u16);

/// The type of a field's value, or of each element where the field is a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// True or false.
    Bool,
    /// A signed 64-bit integer.
    Int,
    /// Text.
    String,
    /// An address or a network.
    Ip,
}

/// How text in a field compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TextKind {
    /// Case-sensitive, `*` crosses everything.
    #[default]
    Plain,
    /// A file path: `~"…"` is a glob whose `*` stays inside one element.
    Path,
    /// A host name: case-insensitive.
    DnsName,
    /// A file extension: a missing dot is added to the literal.
    Extension,
}

/// What literals a field takes. Others are errors when a rule is compiled: they could never match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Validator {
    /// Any.
    #[default]
    None,
    /// Numbers from 0 (process and user ids).
    NonNegative,
    /// Paths: absolute or beginning with `*`, clean, no regexps.
    Path,
    /// Texts of at most so many bytes.
    MaxLength(usize),
    /// A packet filter (`packet.filter`): one literal, compared by `==` alone.
    PacketFilter,
}

/// What the schema says of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldInfo {
    /// The number to ask the event with.
    pub id: FieldId,
    /// The canonical name; differs from the name asked for when that was a legacy name.
    pub name: Cow<'static, str>,
    /// The type of the value or of each element.
    pub ty: Type,
    /// Whether the field itself is a list (`process.argv`).
    pub list: bool,
    /// The iterator the field lives under (`process.ancestors.*`), if any.
    pub iterator: Option<IterId>,
    /// How its text compares.
    pub text: TextKind,
    /// The cost of reading it, on the scale of the reference (0 for a plain load, 9999 for a remote look-up).
    pub weight: u32,
    /// The only event type that has it (`open` for `open.flags`); `None` for common fields.
    pub event: Option<Cow<'static, str>>,
    /// For a field that is no event type's own, but that not all have: those that have it. Empty for all.
    pub restricted_to: &'static [&'static str],
    /// What it can be compared with.
    pub validator: Validator,
    /// Where this build knows the field but cannot fill it: why. Rules that name it compile; it reads as the zero value of its
    /// type.
    pub unavailable: Option<Cow<'static, str>>,
}

/// A constant such as `O_CREAT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Constant {
    /// `true`, `false`.
    Bool(bool),
    /// A number.
    Int(i64),
    /// Text (`NONE`, `GZIP` are numbers in the reference; session types are text).
    String(String),
}

/// The fields, constants and event types that rules may name.
pub trait Schema {
    /// Looks a field up by its name, canonical or legacy, without register (`process.ancestors.file.path`).
    fn field(&self, name: &str) -> Option<FieldInfo>;
    /// The field that has the same value wherever this one has any (`process.pid` for `exec.pid`), or the field itself. What
    /// rules ask of the two is asked once.
    fn same_as(&self, field: FieldId) -> FieldId {
        field
    }
    /// The iterator whose name this is exactly (`process.ancestors`).
    fn iterator(&self, name: &str) -> Option<IterId>;
    /// Looks a constant up.
    fn constant(&self, name: &str) -> Option<Constant>;
    /// Every field name, for suggestions.
    fn field_names(&self) -> Vec<Cow<'static, str>>;
    /// Every constant name, for suggestions.
    fn constant_names(&self) -> Vec<Cow<'static, str>>;
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// True or false.
    Bool(bool),
    /// A number.
    Int(i64),
    /// Text.
    Str(Cow<'a, str>),
    /// An address or network.
    Ip(IpNet),
    /// A list of booleans.
    BoolList(Cow<'a, [bool]>),
    /// A list of numbers.
    IntList(Cow<'a, [i64]>),
    /// A list of texts.
    StrList(Cow<'a, [String]>),
    /// A list of addresses or networks.
    IpList(Cow<'a, [IpNet]>),
}

/// A value of its own: of a variable, or what an expression yields.
#[derive(Debug, Clone, PartialEq)]
pub enum OwnedValue {
    /// True or false.
    Bool(bool),
    /// A number.
    Int(i64),
    /// Text.
    Str(String),
    /// An address or network.
    Ip(IpNet),
    /// A list of booleans.
    BoolList(Vec<bool>),
    /// A list of numbers.
    IntList(Vec<i64>),
    /// A list of texts.
    StrList(Vec<String>),
    /// A list of addresses or networks.
    IpList(Vec<IpNet>),
}

impl OwnedValue {
    /// What a variable or field of this type has when nothing set it: false, 0, "", `0.0.0.0`, or an empty list.
    pub fn zero(ty: Type, list: bool) -> Self {
        match (ty, list) {
            (Type::Bool, false) => Self::Bool(false),
            (Type::Int, false) => Self::Int(0),
            (Type::String, false) => Self::Str(String::new()),
            (Type::Ip, false) => Self::Ip(IpNet::from(IpAddr::from(Ipv4Addr::UNSPECIFIED))),
            (Type::Bool, true) => Self::BoolList(Vec::new()),
            (Type::Int, true) => Self::IntList(Vec::new()),
            (Type::String, true) => Self::StrList(Vec::new()),
            (Type::Ip, true) => Self::IpList(Vec::new()),
        }
    }

    /// The same without a copy.
    pub fn as_value(&self) -> Value<'_> {
        match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Str(text) => Value::Str(Cow::Borrowed(text)),
            Self::Ip(net) => Value::Ip(*net),
            Self::BoolList(list) => Value::BoolList(Cow::Borrowed(list)),
            Self::IntList(list) => Value::IntList(Cow::Borrowed(list)),
            Self::StrList(list) => Value::StrList(Cow::Borrowed(list)),
            Self::IpList(list) => Value::IpList(Cow::Borrowed(list)),
        }
    }

    /// The type of the value, or of each element.
    pub fn ty(&self) -> Type {
        match self {
            Self::Bool(_) | Self::BoolList(_) => Type::Bool,
            Self::Int(_) | Self::IntList(_) => Type::Int,
            Self::Str(_) | Self::StrList(_) => Type::String,
            Self::Ip(_) | Self::IpList(_) => Type::Ip,
        }
    }

    /// Whether it is a list.
    pub fn is_list(&self) -> bool {
        matches!(
            self,
            Self::BoolList(_) | Self::IntList(_) | Self::StrList(_) | Self::IpList(_)
        )
    }
}

impl From<Value<'_>> for OwnedValue {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::Bool(value) => Self::Bool(value),
            Value::Int(value) => Self::Int(value),
            Value::Str(text) => Self::Str(text.into_owned()),
            Value::Ip(net) => Self::Ip(net),
            Value::BoolList(list) => Self::BoolList(list.into_owned()),
            Value::IntList(list) => Self::IntList(list.into_owned()),
            Value::StrList(list) => Self::StrList(list.into_owned()),
            Value::IpList(list) => Self::IpList(list.into_owned()),
        }
    }
}

/// One of the values of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Item<'a> {
    /// True or false.
    Bool(bool),
    /// A number.
    Int(i64),
    /// Text.
    Str(&'a str),
    /// An address or network.
    Ip(IpNet),
}

impl Value<'_> {
    /// Whether the test holds for any of the values: the elements of a list, else the value itself.
    pub fn any(&self, test: &mut dyn FnMut(Item<'_>) -> bool) -> bool {
        match self {
            Self::Bool(value) => test(Item::Bool(*value)),
            Self::Int(value) => test(Item::Int(*value)),
            Self::Str(text) => test(Item::Str(text)),
            Self::Ip(net) => test(Item::Ip(*net)),
            Self::BoolList(items) => items.iter().any(|item| test(Item::Bool(*item))),
            Self::IntList(items) => items.iter().any(|item| test(Item::Int(*item))),
            Self::StrList(items) => items.iter().any(|item| test(Item::Str(item))),
            Self::IpList(items) => items.iter().any(|item| test(Item::Ip(*item))),
        }
    }
}

/// One event, as the evaluator sees it. Reading a field must be free of side effects that a rule could notice.
pub trait EventView {
    /// The value of a field that is under no iterator.
    fn get(&self, field: FieldId) -> Value<'_>;
    /// How many elements the iterator has.
    fn iter_len(&self, iter: IterId) -> usize;
    /// The value of an iterated field for the element `index`; `None` past the end.
    fn get_at(&self, field: FieldId, index: usize) -> Option<Value<'_>>;
    /// A further spelling of the same field that must match as well as the value does (a path through the symlinks a
    /// process was started by); usually none. The files of file events must have none: what the kernel is told to send is
    /// derived from the path alone.
    fn alias(&self, field: FieldId) -> Option<Value<'_>> {
        let _ = field;
        None
    }

    /// Whether the test holds for any value of the field: for an element of a list, for the [`Self::alias`], for an element of
    /// the iterator that the field is under. What rules are evaluated by: an event that keeps its values in another form than
    /// [`Value`] has can show them here without making one.
    fn any(
        &self,
        field: FieldId,
        iter: Option<IterId>,
        test: &mut dyn FnMut(Item<'_>) -> bool,
    ) -> bool {
        match iter {
            None => {
                self.get(field).any(test) || self.alias(field).is_some_and(|value| value.any(test))
            }
            Some(iter) => (0..self.iter_len(iter))
                .map_while(|at| self.get_at(field, at))
                .any(|value| value.any(test)),
        }
    }
}
