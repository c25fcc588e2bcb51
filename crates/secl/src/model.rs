//! What the language needs to know of the world: the fields a rule may name ([`Schema`]) and the values an event has
//! for them ([`EventView`]). The language itself knows no event.

use std::borrow::Cow;

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
    /// Where the field is known but its event cannot be captured by this build: why.
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
}
