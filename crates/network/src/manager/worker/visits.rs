//! Going into a namespace, so that its interfaces have what is wanted.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{Scope, Worker};
use crate::manager::device::{Device, Visit, Wanted};
use crate::manager::namespaces::Key;
use crate::netlink::Netlink;
use crate::netns::NetNs;
use crate::{Error, interface};

impl Worker {
    /// Visits every namespace in which something is to be done.
    pub(super) fn work(&mut self) {
        for (key, index) in self.due_retries() {
            self.mark(key, index);
        }
        while let Some((key, scope)) = self.dirty.pop_first() {
            let Some(known) = self.namespaces.by_key.get(&key) else {
                continue;
            };
            let found = match key {
                None => NetNs::own().ok(),
                Some(_) => self.settings.places.find(known.inum, &known.tasks),
            };
            match found {
                Some(namespace) => self.visit(key, &namespace, &scope),
                None => {
                    self.could_not_enter(key, "nothing leads into it: no process, no mount".into())
                }
            }
        }
        self.release();
    }

    pub(super) fn could_not_enter(&mut self, key: Key, error: String) {
        if let Some(known) = self.namespaces.by_key.get_mut(&key) {
            let now = Instant::now();
            for (_, side) in known.devices.values_mut().flat_map(Device::sides_mut) {
                if side.due().is_some() {
                    side.put_off(now);
                }
            }
            tracing::debug!(namespace = known.inum, "{error}");
            known.error = Some(error);
        }
    }

    pub(super) fn due_retries(&self) -> Vec<(Key, u32)> {
        let now = Instant::now();
        let mut due = Vec::new();
        for (key, namespace) in &self.namespaces.by_key {
            for (index, device) in &namespace.devices {
                if device
                    .sides()
                    .iter()
                    .any(|(_, side)| side.due().is_some_and(|at| at <= now))
                {
                    due.push((*key, *index));
                }
            }
        }
        due
    }

    /// Goes into a namespace and makes its interfaces have what is wanted.
    pub(super) fn visit(&mut self, key: Key, namespace: &NetNs, scope: &Scope) {
        let Some(known) = self.namespaces.by_key.get_mut(&key) else {
            return;
        };
        let nothing = Wanted::default();
        let mut visit = Visit {
            settings: &self.settings,
            hook: self.hook,
            wanted: if known.lonely { &nothing } else { &self.wanted },
            ours: &self.ours,
            former: &self.former,
            links: &mut self.links,
            taken_away: &mut self.taken_away,
        };
        let devices = &mut known.devices;
        match namespace.run(|| settle(&mut visit, devices, scope)) {
            Ok(Ok(())) => known.error = None,
            Ok(Err(error)) | Err(error) => self.could_not_enter(key, error.to_string()),
        }
    }
}

/// Inside a namespace: makes its interfaces have what is wanted.
fn settle(
    visit: &mut Visit<'_>,
    devices: &mut BTreeMap<u32, Device>,
    scope: &Scope,
) -> Result<(), Error> {
    let mut netlink = Netlink::open()?;
    match scope {
        Scope::All => {
            let found = interface::interfaces()?;
            devices.retain(|index, _| found.iter().any(|interface| interface.index == *index));
            for interface in &found {
                let device = devices.entry(interface.index).or_default();
                device.name.clone_from(&interface.name);
                device.counts = visit.settings.counts(&interface.name, interface.mac);
                visit.clean(&mut netlink, interface)?;
                visit.settle(&mut netlink, interface.index, device);
            }
        }
        Scope::Interfaces(indices) => {
            for index in indices {
                if let Some(device) = devices.get_mut(index) {
                    visit.settle(&mut netlink, *index, device);
                }
            }
        }
    }
    Ok(())
}
