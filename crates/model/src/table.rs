//! The table of all fields, built once from the derived descriptions.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

use atalaya_secl::model::{
    Constant, FieldId, FieldInfo, IterId, Schema, TextKind, Type, Validator,
};

use crate::capture::CaptureKind;
use crate::event::{
    ChmodEvent, ChownEvent, ExecEvent, ExitEvent, HeartbeatEvent, LinkEvent, MkdirEvent, OpenEvent,
    RenameEvent, RmdirEvent, UnlinkEvent, UtimesEvent,
};
use crate::fields::{FieldSpec, Fields};
use crate::process::Process;
use crate::{constants, legacy, unavailable};

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
    /// Which further spelling of the value must match too.
    pub alias: Alias,
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

/// An event type, as the table and the documentation know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventType {
    /// Its name in rules.
    pub name: &'static str,
    /// What happened.
    pub doc: &'static str,
    /// `File`, `Process` or `Internal`.
    pub category: &'static str,
    /// The version of the reference agent that brought it; empty for what is ours.
    pub since: &'static str,
    /// The kind of record it is made of.
    pub kind: CaptureKind,
}

/// The event types that rules can be written for.
pub const EVENT_TYPES: [EventType; 12] = {
    use CaptureKind as K;
    const fn event(
        kind: CaptureKind,
        name: &'static str,
        category: &'static str,
        since: &'static str,
        doc: &'static str,
    ) -> EventType {
        EventType {
            name,
            doc,
            category,
            since,
            kind,
        }
    }
    [
        event(
            K::Exec,
            "exec",
            "Process",
            "7.27",
            "A process executed a program.",
        ),
        event(K::Exit, "exit", "Process", "7.38", "A process ended."),
        event(K::Open, "open", "File", "7.27", "A file was opened."),
        event(
            K::Chmod,
            "chmod",
            "File",
            "7.27",
            "A file's permission bits were changed.",
        ),
        event(
            K::Chown,
            "chown",
            "File",
            "7.27",
            "A file's owner was changed.",
        ),
        event(
            K::Unlink,
            "unlink",
            "File",
            "7.27",
            "A name of a file was removed.",
        ),
        event(
            K::Rmdir,
            "rmdir",
            "File",
            "7.27",
            "A directory was removed.",
        ),
        event(K::Mkdir, "mkdir", "File", "7.27", "A directory was made."),
        event(
            K::Rename,
            "rename",
            "File",
            "7.27",
            "A file got another name.",
        ),
        event(
            K::Link,
            "link",
            "File",
            "7.27",
            "A file got a further name.",
        ),
        event(
            K::Utimes,
            "utimes",
            "File",
            "7.27",
            "A file's times were set.",
        ),
        event(
            K::Heartbeat,
            "heartbeat",
            "Internal",
            "",
            "The sensor's proof of life: a kernel hook answered the agent.",
        ),
    ]
};

/// The table.
#[derive(Debug)]
pub struct Table {
    entries: Vec<Entry>,
    by_name: HashMap<String, FieldId>,
}

/// The table of this build.
pub fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(Table::build)
}

/// A field that is known by name only.
fn unknown(name: &str) -> Option<FieldInfo> {
    let reason = unavailable::reason(name)?;
    Some(FieldInfo {
        id: FieldId(u32::MAX),
        name: Cow::Owned(name.to_owned()),
        ty: Type::String,
        list: false,
        iterator: None,
        text: TextKind::Plain,
        weight: 0,
        event: None,
        validator: Validator::None,
        unavailable: Some(Cow::Owned(reason)),
    })
}

/// The only iterator so far.
const ANCESTORS: IterId = IterId(0);
const ANCESTORS_NAME: &str = "process.ancestors";

impl Table {
    fn build() -> Self {
        let mut table = Self {
            entries: Vec::new(),
            by_name: HashMap::new(),
        };
        table.add_common();
        table.add::<Process>("process", Root::Process, None);
        table.add::<Process>("process.parent", Root::Parent, None);
        table.add::<Process>(ANCESTORS_NAME, Root::Ancestors, None);
        table.add::<Process>("exec", Root::Process, Some("exec"));
        table.add::<Process>("exit", Root::Process, Some("exit"));
        for event in EVENT_TYPES {
            let root = Root::Data(event.kind);
            let name = Some(event.name);
            match event.kind {
                CaptureKind::Exec => table.add::<ExecEvent>(event.name, root, name),
                CaptureKind::Exit => table.add::<ExitEvent>(event.name, root, name),
                CaptureKind::Open => table.add::<OpenEvent>(event.name, root, name),
                CaptureKind::Chmod => table.add::<ChmodEvent>(event.name, root, name),
                CaptureKind::Chown => table.add::<ChownEvent>(event.name, root, name),
                CaptureKind::Unlink => table.add::<UnlinkEvent>(event.name, root, name),
                CaptureKind::Rmdir => table.add::<RmdirEvent>(event.name, root, name),
                CaptureKind::Mkdir => table.add::<MkdirEvent>(event.name, root, name),
                CaptureKind::Rename => table.add::<RenameEvent>(event.name, root, name),
                CaptureKind::Link => table.add::<LinkEvent>(event.name, root, name),
                CaptureKind::Utimes => table.add::<UtimesEvent>(event.name, root, name),
                CaptureKind::Heartbeat => table.add::<HeartbeatEvent>(event.name, root, name),
                CaptureKind::Fork => {}
            }
        }
        table
    }

    fn add<T: Fields>(&mut self, prefix: &str, root: Root, event: Option<&'static str>) {
        T::describe(&mut |mut spec| {
            let alias = match (root, spec.name.as_str()) {
                (Root::Process | Root::Parent, "file.path") => Alias::InvokedPath,
                (Root::Process | Root::Parent, "file.name") => Alias::InvokedName,
                _ => Alias::None,
            };
            spec.name = format!("{prefix}.{}", spec.name);
            self.push(Entry {
                spec,
                root,
                event,
                alias,
            });
        });
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
            self.push(Entry {
                spec: FieldSpec {
                    name: name.to_owned(),
                    doc,
                    ty,
                    list: common == Common::RuleTags,
                    text: TextKind::Plain,
                    weight: 0,
                    constants: "",
                    since: "",
                    path: Vec::new(),
                },
                root: Root::Common(common),
                event: None,
                alias: Alias::None,
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
        let Some((id, entry)) = self.id(name).and_then(|id| Some((id, self.entry(id)?))) else {
            let present = legacy::canonical(name).unwrap_or(Cow::Borrowed(name));
            return unknown(&present);
        };
        Some(FieldInfo {
            id,
            name: Cow::Owned(entry.spec.name.clone()),
            ty: entry.spec.ty,
            list: entry.spec.list,
            iterator: (entry.root == Root::Ancestors).then_some(ANCESTORS),
            text: entry.spec.text,
            weight: entry.spec.weight,
            event: entry.event.map(Cow::Borrowed),
            validator: Validator::None,
            unavailable: None,
        })
    }

    fn iterator(&self, name: &str) -> Option<IterId> {
        (name == ANCESTORS_NAME).then_some(ANCESTORS)
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
