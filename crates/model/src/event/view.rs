//! How the rule engine reads an event.

use atalaya_secl::model::{EventView, FieldId, Item, IterId, Value};

use crate::event::{Event, EventSource};
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
        spelling(process, entry).map(|text| Value::Str(text.into()))
    }

    /// Without the lists that [`Self::get`] and [`Self::get_at`] make of ancestors, arguments and environment: an event that no
    /// rule matches must not cost memory.
    fn any(
        &self,
        field: FieldId,
        iter: Option<IterId>,
        test: &mut dyn FnMut(Item<'_>) -> bool,
    ) -> bool {
        let Some(entry) = table().entry(field) else {
            return false;
        };
        match (entry.root, iter) {
            (Root::Process, _) if entry.event.is_none_or(|event| event == self.event_type()) => {
                self.any_of_process(&self.process, entry, test)
                    || spelling(&self.process, entry).is_some_and(|text| test(Item::Str(text)))
            }
            (Root::Parent, _) => match self.process.parent.parent() {
                Some(parent) => {
                    self.any_of_process(parent, entry, test)
                        || spelling(parent, entry).is_some_and(|text| test(Item::Str(text)))
                }
                None => zero(entry.spec.ty, entry.spec.list).any(test),
            },
            (Root::Ancestors, _) => self
                .process
                .ancestors()
                .any(|process| self.any_of_process(process, entry, test)),
            (_, None) => self.get(field).any(test),
            (_, Some(iter)) => (0..self.iter_len(iter))
                .map_while(|at| self.get_at(field, at))
                .any(|value| value.any(test)),
        }
    }
}

/// How the program was started, where that was through a symbolic link and the field is one that this can be asked of.
fn spelling<'a>(process: &'a Process, entry: &Entry) -> Option<&'a str> {
    match entry.alias {
        Alias::None => None,
        Alias::InvokedPath => process.image.invoked_path(),
        Alias::InvokedName => process.image.invoked_name(),
    }
}

impl Event {
    fn any_of_process(
        &self,
        process: &Process,
        entry: &Entry,
        test: &mut dyn FnMut(Item<'_>) -> bool,
    ) -> bool {
        match entry.words {
            Some(words) => {
                let mut test = |text: &str| test(Item::Str(text));
                process.image.any_word(words, &self.context, &mut test)
            }
            None => self
                .read_process(process, entry)
                .unwrap_or_else(|| zero(entry.spec.ty, entry.spec.list))
                .any(test),
        }
    }

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
                self.data.get(path, cx)
            }
            Root::Packet => {
                let cx = Cx::new(&self.context, &self.process);
                self.data.packet()?.get(&entry.spec.path, cx)
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
