//! What the kernel tells of namespaces, interfaces and filters, and what is to be looked at because of it.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Instant;

use super::{Scope, Worker};
use crate::manager::device::{Attachment, Device};
use crate::manager::events::News;
use crate::manager::namespaces::{Key, known_number};
use crate::netns::NetNs;

/// How often a namespace of which there is news is looked for before everything is looked at again.
const STRANGER_TRIES: u32 = 5;
/// Interfaces that are gone and that nobody has asked for, at most.
const MAX_GONE: usize = 65_536;

impl Worker {
    /// Takes in what the kernel has told.
    pub(super) fn read_news(&mut self) {
        let mut all = Vec::new();
        self.events.read(|news| all.push(news));
        for news in all {
            self.hear(news);
        }
    }

    pub(super) fn hear(&mut self, news: News) {
        let own = self.own_number;
        let ours = |namespace: Key| {
            if namespace.is_some() && namespace == own {
                None
            } else {
                namespace
            }
        };
        match news {
            News::Link {
                namespace,
                index,
                name,
                mac,
            } => {
                self.link(ours(namespace), index, name, mac);
            }
            News::LinkGone { namespace, index } => {
                if let Some(known) = self.namespaces.by_key.get_mut(&ours(namespace))
                    && let Some(device) = known.devices.remove(&index)
                {
                    self.forget_device(&device);
                    let inum = self
                        .namespaces
                        .by_key
                        .get(&ours(namespace))
                        .map(|known| known.inum);
                    self.went(inum.unwrap_or_default(), [index]);
                }
            }
            News::FilterGone { namespace, index } => {
                let key = ours(namespace);
                if let Some(known) = self.namespaces.by_key.get(&key)
                    && known.devices.contains_key(&index)
                {
                    self.mark(key, index);
                }
            }
            News::NamespaceGone(number) => {
                self.strangers.remove(&number);
                self.forget(Some(number));
                // The kernel frees the number before it says so: by now it may be that of a new one, which we have just met.
                self.search |= self.wanted.is_some();
            }
            News::Lost => {
                self.overflows += 1;
                self.next_check = Instant::now();
                self.thorough = true;
            }
        }
    }

    pub(super) fn link(&mut self, key: Key, index: u32, name: String, mac: Option<[u8; 6]>) {
        let counts = self.settings.counts(&name, mac);
        let Some(known) = self.namespaces.by_key.get_mut(&key) else {
            if let Some(number) = key {
                self.stranger(number);
            }
            return;
        };
        let device = known.devices.entry(index).or_default();
        device.name = name;
        device.counts = counts;
        if counts {
            known.lonely = false;
            known.lonely_since = None;
        }
        let is_settled = known.lonely || device.is_settled(&self.wanted);
        if !is_settled {
            self.mark(key, index);
        }
    }

    /// An interface is to be looked at.
    pub(super) fn mark(&mut self, key: Key, index: u32) {
        match self
            .dirty
            .entry(key)
            .or_insert_with(|| Scope::Interfaces(BTreeSet::new()))
        {
            Scope::All => {}
            Scope::Interfaces(indices) => {
                indices.insert(index);
            }
        }
    }

    /// Of an interface that is gone: a link lives on if its interface has moved, and is found there again.
    pub(super) fn forget_device(&mut self, device: &Device) {
        for (_, side) in device.sides() {
            if let Some(Attachment::Link(id)) = side.attachment
                && self
                    .links
                    .get(&id)
                    .is_some_and(|held| held.link.interface().is_none())
            {
                self.links.remove(&id);
            }
        }
    }

    /// A namespace is no more. What it had for interfaces goes with it; hardware comes back to the first namespace, as news there.
    pub(super) fn forget(&mut self, key: Key) {
        self.dirty.remove(&key);
        let Some(gone) = self.namespaces.remove(key) else {
            return;
        };
        tracing::debug!(
            namespace = gone.inum,
            number = key,
            "a network namespace is gone"
        );
        for (_, side) in gone.devices.values().flat_map(Device::sides) {
            if let Some(Attachment::Link(id)) = side.attachment {
                self.links.remove(&id);
            }
        }
        self.went(gone.inum, gone.devices.into_keys());
        self.unknown(gone.inum);
    }

    /// Notes interfaces that are gone, for whoever has kept something about them.
    pub(super) fn went(&self, inum: u32, indices: impl IntoIterator<Item = u32>) {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_GONE.saturating_sub(gone.len());
        gone.extend(indices.into_iter().take(room).map(|index| (inum, index)));
    }

    /// From here on the number is news again.
    pub(super) fn unknown(&self, inum: u32) {
        self.known
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&inum);
    }

    /// News of a namespace that has a number and that we have not met: another program gave it one, or the kernel did for a veth pair.
    pub(super) fn stranger(&mut self, number: i32) {
        if !self.wanted.is_some() {
            return;
        }
        let tries = self.strangers.entry(number).or_default();
        if *tries >= STRANGER_TRIES {
            return; // until everything is looked at
        }
        *tries += 1;
        if let Ok(own) = NetNs::own() {
            self.own_number = known_number(&mut self.netlink, &own).unwrap_or_default();
        }
        if self.own_number == Some(number) {
            self.strangers.remove(&number);
            self.dirty.insert(None, Scope::All);
        } else {
            self.search = true;
        }
    }
}
