//! The table of all fields, built once from the derived descriptions.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

use atalaya_secl::model::{
    Constant, FieldId, FieldInfo, IterId, Schema, TextKind, Type, Validator,
};

use crate::capture::CaptureKind;
use crate::event::PacketContext;
use crate::fields::{FieldSpec, Fields};
use crate::process::{Process, Words};
use crate::types::{EVENT_TYPES, PACKET_TYPES};
use crate::{constants, legacy};

/// Where a field is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// The event itself.
    Common(Common),
    /// The process that caused it.
    Process,
    /// That process's parent.
    Parent,
    /// One of its ancestors.
    Ancestors,
    /// What only this event type has.
    Data(CaptureKind),
    /// The packet that the event is about.
    Packet,
    /// From nowhere: it belongs to event types that nothing captures.
    Declared,
}

/// The fields of the event itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the field of its name")]
pub enum Common {
    Async,
    Hostname,
    Origin,
    Os,
    Service,
    Signature,
    Source,
    Timestamp,
    RuleTags,
    AncestorsLength,
}

/// One field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is, with its full name.
    pub spec: FieldSpec,
    /// Where it is read from.
    pub root: Root,
    /// The only event type that has it.
    pub event: Option<&'static str>,
    /// For a field that is no event type's own: the event types that have it; empty for all.
    pub restricted_to: &'static [&'static str],
    /// The iterator that it is under.
    pub iterator: Option<IterId>,
    /// Why nothing fills it.
    pub unavailable: Option<String>,
    /// Which further spelling of the value must match too.
    pub alias: Alias,
    /// What it is made of when asked for.
    pub(crate) words: Option<Words>,
}

/// A further spelling of a value: how the program was started, where that was through a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alias {
    /// None.
    None,
    /// The path.
    InvokedPath,
    /// The path's last element.
    InvokedName,
}

/// The table.
#[derive(Debug)]
pub struct Table {
    entries: Vec<Entry>,
    by_name: HashMap<String, FieldId>,
    /// Their names, by id.
    iterators: Vec<String>,
    /// The fields of their lengths, by id.
    lengths: Vec<Option<FieldId>>,
}

/// The table of this build.
pub fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(Table::build)
}

/// `process.ancestors`.
const ANCESTORS: IterId = IterId(0);
const ANCESTORS_NAME: &str = "process.ancestors";

/// What all fields of one struct have in common.
#[derive(Clone, Copy)]
struct Place {
    prefix: &'static str,
    root: Root,
    event: Option<&'static str>,
    restricted_to: &'static [&'static str],
}

impl Place {
    fn new(prefix: &'static str, root: Root) -> Self {
        Self {
            prefix,
            root,
            event: None,
            restricted_to: &[],
        }
    }

    /// The fields are those of one event type.
    fn of(self, event: &'static str) -> Self {
        Self {
            event: Some(event),
            ..self
        }
    }
}

impl Table {
    fn build() -> Self {
        let mut table = Self {
            entries: Vec::new(),
            by_name: HashMap::new(),
            iterators: vec![ANCESTORS_NAME.to_owned()],
            lengths: Vec::new(),
        };
        table.add_common();
        let process = Process::describe;
        table.add(process, "", Place::new("process", Root::Process));
        table.add(process, "", Place::new("process.parent", Root::Parent));
        table.add(process, "", Place::new(ANCESTORS_NAME, Root::Ancestors));
        table.add(process, "", Place::new("exec", Root::Process).of("exec"));
        table.add(process, "", Place::new("exit", Root::Process).of("exit"));
        for event in EVENT_TYPES {
            let root = event.kind.map_or(Root::Declared, Root::Data);
            let reason = event.unavailable().unwrap_or_default();
            let place = Place::new(event.name, root).of(event.name);
            table.add(event.describe, &reason, place);
        }
        let network = Place {
            restricted_to: PACKET_TYPES,
            ..Place::new("network", Root::Packet)
        };
        table.add(PacketContext::describe, "", network);
        let iterators = table.iterators.iter();
        table.lengths = iterators
            .map(|name| table.id(&format!("{name}.length")))
            .collect();
        table
    }

    fn add(&mut self, describe: fn(&mut dyn FnMut(FieldSpec)), reason: &str, place: Place) {
        describe(&mut |mut spec| {
            let of_process = matches!(place.root, Root::Process | Root::Parent | Root::Ancestors);
            let words = match spec.name.as_str() {
                "args" if of_process => Some(Words::Joined),
                "args_flags" if of_process => Some(Words::Flags),
                "args_options" if of_process => Some(Words::Options),
                "envs" if of_process => Some(Words::Envs),
                _ => None,
            };
            let alias = match (place.root, spec.name.as_str()) {
                (Root::Process | Root::Parent, "file.path") => Alias::InvokedPath,
                (Root::Process | Root::Parent, "file.name") => Alias::InvokedName,
                _ => Alias::None,
            };
            spec.name = format!("{}.{}", place.prefix, spec.name);
            let iterator = match (place.root, &spec.iterator) {
                (Root::Ancestors, _) => Some(ANCESTORS),
                (_, Some(name)) => Some(self.iterator_id(&format!("{}.{name}", place.prefix))),
                (_, None) => None,
            };
            let unavailable = match (reason, spec.unavailable) {
                ("", "") => None,
                ("", why) | (why, _) => Some(why.to_owned()),
            };
            self.push(Entry {
                spec,
                root: place.root,
                event: place.event,
                restricted_to: place.restricted_to,
                iterator,
                unavailable,
                alias,
                words,
            });
        });
    }

    /// The id of the iterator of this name, which gets one if it has none.
    fn iterator_id(&mut self, name: &str) -> IterId {
        let known = self.iterators.iter().position(|known| known == name);
        let at = known.unwrap_or_else(|| {
            self.iterators.push(name.to_owned());
            self.iterators.len() - 1
        });
        IterId(u16::try_from(at).unwrap_or(u16::MAX))
    }

    fn add_common(&mut self) {
        let fields = [
            (
                Common::Async,
                Type::Bool,
                "event.async",
                "Whether the call came through io_uring instead of a system call.",
            ),
            (
                Common::Hostname,
                Type::String,
                "event.hostname",
                "The name of the host.",
            ),
            (
                Common::Origin,
                Type::String,
                "event.origin",
                "How the event was captured: `ebpf`.",
            ),
            (
                Common::Os,
                Type::String,
                "event.os",
                "The operating system: `linux`.",
            ),
            (
                Common::Service,
                Type::String,
                "event.service",
                "The service of the process: `DD_SERVICE` of its environment or of the nearest ancestor's in the same container, else the configured one.",
            ),
            (
                Common::Signature,
                Type::String,
                "event.signature",
                "A mark of the process and its cgroup, made with a secret of the agent, that tells whether two events are of the same process.",
            ),
            (
                Common::Source,
                Type::String,
                "event.source",
                "`runtime` for what was seen to happen, `snapshot` for a process that was already there when the agent started.",
            ),
            (
                Common::Timestamp,
                Type::Int,
                "event.timestamp",
                "When it happened (ns since the epoch).",
            ),
            (
                Common::RuleTags,
                Type::String,
                "event.rule.tags",
                "The product tags of the rule that is being evaluated; the rule engine fills it in.",
            ),
            (
                Common::AncestorsLength,
                Type::Int,
                "process.ancestors.length",
                "The number of ancestors.",
            ),
        ];
        for (common, ty, name, doc) in fields {
            let unsigned = common == Common::Signature;
            self.push(Entry {
                spec: FieldSpec {
                    name: name.to_owned(),
                    doc,
                    ty,
                    list: common == Common::RuleTags,
                    text: TextKind::Plain,
                    weight: if unsigned { 500 } else { 0 },
                    constants: "",
                    since: "",
                    validator: Validator::None,
                    iterator: None,
                    unavailable: "",
                    path: Vec::new(),
                },
                root: Root::Common(common),
                event: None,
                restricted_to: &[],
                iterator: None,
                unavailable: unsigned.then(|| "events are not signed by this version".to_owned()),
                alias: Alias::None,
                words: None,
            });
        }
    }

    fn push(&mut self, entry: Entry) {
        let id = FieldId(u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        let former = self.by_name.insert(entry.spec.name.clone(), id);
        debug_assert!(former.is_none(), "two fields named {}", entry.spec.name);
        self.entries.push(entry);
    }

    /// All fields, in the order of their ids.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The field with this id.
    pub fn entry(&self, field: FieldId) -> Option<&Entry> {
        self.entries.get(field.0 as usize)
    }

    /// The id of `process.ancestors`.
    pub fn ancestors(&self) -> IterId {
        ANCESTORS
    }

    /// The names of the iterators, by id.
    pub fn iterators(&self) -> &[String] {
        &self.iterators
    }

    /// The field that tells how many elements an iterator has.
    pub fn length_of(&self, iter: IterId) -> Option<FieldId> {
        *self.lengths.get(usize::from(iter.0))?
    }

    /// The id of a field by its name, canonical or legacy.
    pub fn id(&self, name: &str) -> Option<FieldId> {
        self.by_name
            .get(name)
            .or_else(|| self.by_name.get(legacy::canonical(name)?.as_ref()))
            .copied()
    }
}

impl Schema for Table {
    fn field(&self, name: &str) -> Option<FieldInfo> {
        let id = self.id(name)?;
        let entry = self.entry(id)?;
        Some(FieldInfo {
            id,
            name: Cow::Owned(entry.spec.name.clone()),
            ty: entry.spec.ty,
            list: entry.spec.list,
            iterator: entry.iterator,
            text: entry.spec.text,
            weight: entry.spec.weight,
            event: entry.event.map(Cow::Borrowed),
            restricted_to: entry.restricted_to,
            validator: entry.spec.validator,
            unavailable: entry.unavailable.clone().map(Cow::Owned),
        })
    }

    /// The process of an exec or exit is the process that the event is of.
    fn same_as(&self, field: FieldId) -> FieldId {
        let same = self.entry(field).and_then(|entry| {
            let event = entry.event.filter(|_| entry.root == Root::Process)?;
            let name = entry.spec.name.strip_prefix(event)?;
            self.by_name.get(&format!("process{name}")).copied()
        });
        same.unwrap_or(field)
    }

    fn iterator(&self, name: &str) -> Option<IterId> {
        let at = self.iterators.iter().position(|known| known == name)?;
        u16::try_from(at).ok().map(IterId)
    }

    fn constant(&self, name: &str) -> Option<Constant> {
        constants::lookup(name)
    }

    fn field_names(&self) -> Vec<Cow<'static, str>> {
        self.entries
            .iter()
            .map(|entry| Cow::Owned(entry.spec.name.clone()))
            .collect()
    }

    fn constant_names(&self) -> Vec<Cow<'static, str>> {
        constants::names().map(Cow::Borrowed).collect()
    }
}
