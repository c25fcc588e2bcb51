//! How the rule engine reads an event.

use atalaya_secl::model::{EventView, FieldId, IterId, Value};

use crate::event::{Event, EventData, EventSource};
use crate::fields::{Cx, Fields, zero};
use crate::process::Process;
use crate::table::{Alias, Common, Entry, Root, table};

impl EventView for Event {
    fn get(&self, field: FieldId) -> Value<'_> {
        let Some(entry) = table().entry(field) else {
            return Value::Bool(false);
        };
        self.read(entry, 0)
            .unwrap_or_else(|| zero(entry.spec.ty, entry.spec.list))
    }

    fn iter_len(&self, iter: IterId) -> usize {
        if iter == table().ancestors() {
            return self.process.parent.depth() as usize;
        }
        match table().length_of(iter).map(|length| self.get(length)) {
            Some(Value::Int(length)) => usize::try_from(length).unwrap_or(0),
            _ => 0,
        }
    }

    fn get_at(&self, field: FieldId, index: usize) -> Option<Value<'_>> {
        let entry = table().entry(field)?;
        let value = match entry.root {
            Root::Ancestors => self.read_process(self.ancestors().get(index)?, entry),
            _ if index >= self.iter_len(entry.iterator?) => return None,
            _ => self.read(entry, index),
        };
        Some(value.unwrap_or_else(|| zero(entry.spec.ty, entry.spec.list)))
    }

    /// The path, or name, that the program was started by where that is a symbolic link.
    fn alias(&self, field: FieldId) -> Option<Value<'_>> {
        let entry = table().entry(field)?;
        let process = match entry.root {
            Root::Process => &*self.process,
            Root::Parent => self.process.parent.parent()?,
            _ => return None,
        };
        let spelling = match entry.alias {
            Alias::None => None,
            Alias::InvokedPath => process.image.invoked_path(),
            Alias::InvokedName => process.image.invoked_name(),
        };
        spelling.map(|text| Value::Str(text.into()))
    }
}

impl Event {
    fn read<'a>(&'a self, entry: &Entry, index: usize) -> Option<Value<'a>> {
        match entry.root {
            Root::Common(field) => Some(self.read_common(field)),
            Root::Process if entry.event.is_some_and(|event| event != self.event_type()) => None,
            Root::Process => self.read_process(&self.process, entry),
            Root::Parent => self.read_process(self.process.parent.parent()?, entry),
            Root::Ancestors => None,
            Root::Data(kind) if kind == self.kind() => {
                let path = &entry.spec.path;
                let cx = Cx {
                    index,
                    ..Cx::new(&self.context, &self.process)
                };
                match &self.data {
                    EventData::Exec(event) => event.get(path, cx),
                    EventData::Exit(event) => event.get(path, cx),
                    EventData::Open(event) => event.get(path, cx),
                    EventData::Chmod(event) => event.get(path, cx),
                    EventData::Chown(event) => event.get(path, cx),
                    EventData::Unlink(event) => event.get(path, cx),
                    EventData::Rmdir(event) => event.get(path, cx),
                    EventData::Mkdir(event) => event.get(path, cx),
                    EventData::Rename(event) => event.get(path, cx),
                    EventData::Link(event) => event.get(path, cx),
                    EventData::Utimes(event) => event.get(path, cx),
                    EventData::Heartbeat(event) => event.get(path, cx),
                }
            }
            Root::Data(_) | Root::Declared => None,
        }
    }

    fn read_process<'a>(&'a self, process: &'a Process, entry: &Entry) -> Option<Value<'a>> {
        let cx = Cx::new(&self.context, process);
        process.get(&entry.spec.path, cx)
    }

    fn read_common(&self, field: Common) -> Value<'_> {
        match field {
            Common::Async => Value::Bool(self.is_async),
            Common::Hostname => Value::Str(self.context.hostname.as_str().into()),
            Common::Origin => Value::Str(self.context.origin.as_str().into()),
            Common::Os => Value::Str("linux".into()),
            Common::Service => Value::Str(self.service().into()),
            Common::Signature => Value::Str("".into()),
            Common::Source => Value::Str(self.source.name().into()),
            Common::Timestamp => Value::Int(i64::try_from(self.time_ns).unwrap_or(i64::MAX)),
            // The event knows no rule: the compiler puts the rule's tags in the field's place.
            Common::RuleTags => Value::StrList((&[][..]).into()),
            Common::AncestorsLength => Value::Int(i64::from(self.process.parent.depth())),
        }
    }
}

impl EventSource {
    /// The name in rules and in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Runtime => "runtime",
            Self::Snapshot => "snapshot",
        }
    }
}
