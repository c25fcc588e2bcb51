//! Finding network namespaces: through processes and mounts, at once or again.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::{BLIND_EVERY, MOUNTS_EVERY, Scope, Sought, Worker};
use crate::manager::device::{Attachment, Device, Side};
use crate::manager::namespaces::{Namespace, number_of};
use crate::netns::NetNs;
use crate::tc::Hook;

/// Where a namespace was said to be and was not found: its process was quick, and a mount that keeps it may follow.
const LOOK_AGAIN: [Duration; 4] = [
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(250),
    Duration::from_secs(2),
];
/// Namespaces that are said to be there and cannot be found, at most.
const MAX_SOUGHT: usize = 1024;

impl Worker {
    pub(super) fn seen(&mut self, task: u32, inum: u32) {
        tracing::debug!("a network namespace is seen namespace={inum} task={task}");
        // What was there under this number before may be gone by now.
        self.read_news();
        let key = self.namespaces.key_of(inum);
        if let Some(key) = key
            && let Some(known) = self.namespaces.by_key.get_mut(&key)
        {
            known.met(task);
            if std::mem::take(&mut known.lonely) {
                known.lonely_since = None;
                self.dirty.insert(key, Scope::All);
            }
            return;
        }
        if !self.settings.admits(inum) {
            return;
        }
        match NetNs::of_task(&self.settings.places.proc, task) {
            Ok(namespace) if namespace.inum() == inum => self.take(&namespace, &[task]),
            _ if self.sought.len() < MAX_SOUGHT => {
                let first = Sought {
                    tries: 0,
                    next: Instant::now() + LOOK_AGAIN[0],
                };
                self.sought.entry(inum).or_insert(first);
            }
            _ => self.unknown(inum),
        }
    }

    /// Looks for the namespaces whose processes were quick.
    pub(super) fn seek(&mut self, now: Instant) {
        if now < self.search_after || !self.sought.values().any(|sought| sought.next <= now) {
            return;
        }
        self.discover();
        let mut given_up = Vec::new();
        self.sought.retain(|inum, sought| {
            if self.namespaces.key_of(*inum).is_some() {
                return false;
            }
            if sought.next > now {
                return true;
            }
            sought.tries += 1;
            match LOOK_AGAIN.get(sought.tries) {
                Some(wait) => sought.next = now + *wait,
                None => given_up.push(*inum),
            }
            sought.tries < LOOK_AGAIN.len()
        });
        for inum in given_up {
            self.unknown(inum);
        }
    }

    /// Looks for namespaces that are not known, through every process and mount. Returns the numbers that have a process, with some.
    pub(super) fn discover(&mut self) -> BTreeMap<u32, Vec<u32>> {
        let begun = Instant::now();
        self.search = false;
        let places = self.settings.places.clone();
        if self.namespaces.key_of(self.own).is_none()
            && self.settings.admits(self.own)
            && let Ok(own) = NetNs::own()
        {
            self.take(&own, &[]);
        }
        let processes = places.processes();
        for (inum, tasks) in &processes {
            let key = self.namespaces.key_of(*inum);
            match key.and_then(|key| self.namespaces.by_key.get_mut(&key)) {
                Some(known) => tasks.iter().for_each(|task| known.met(*task)),
                None if self.settings.admits(*inum) => {
                    let open = |task: &u32| NetNs::of_task(&places.proc, *task).ok();
                    let found = tasks
                        .iter()
                        .filter_map(open)
                        .find(|found| found.inum() == *inum);
                    if let Some(namespace) = found {
                        self.take(&namespace, tasks);
                    }
                }
                None => {}
            }
        }
        self.discover_mounts();
        // A tenth of one CPU at most.
        let took = begun.elapsed();
        self.search_after = begun + took * 10;
        processes
    }

    pub(super) fn discover_mounts(&mut self) {
        self.mounts_changed = false;
        self.mounts_at = Some(Instant::now());
        for (inum, path) in self.settings.places.mounts() {
            if self.namespaces.key_of(inum).is_none()
                && self.settings.admits(inum)
                && let Ok(namespace) = NetNs::open(&path)
                && namespace.inum() == inum
            {
                self.take(&namespace, &[]);
            }
        }
    }

    pub(super) fn mounts_after(&self) -> Instant {
        self.mounts_at
            .map_or_else(Instant::now, |at| at + MOUNTS_EVERY)
    }

    /// From here on a namespace is watched.
    pub(super) fn take(&mut self, namespace: &NetNs, tasks: &[u32]) {
        let inum = namespace.inum();
        if self.namespaces.len() >= self.settings.max_namespaces {
            self.refused.insert(inum);
            return;
        }
        let key = if inum == self.own {
            None
        } else {
            match number_of(&mut self.netlink, namespace) {
                Ok(number) => Some(number),
                Err(error) => {
                    tracing::warn!(
                        namespace = inum,
                        "a network namespace is not watched: {error}"
                    );
                    self.unknown(inum);
                    return;
                }
            }
        };
        tracing::debug!(
            namespace = inum,
            number = key,
            "a network namespace is watched"
        );
        self.known
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(inum);
        self.refused.remove(&inum);
        // A number that was another's: its end has not been told yet, or was lost.
        self.forget(key);
        let mut new = Namespace::new(inum);
        tasks.iter().for_each(|task| new.met(*task));
        self.namespaces.insert(key, new);
        // After it has a number: an interface that comes now is told.
        self.visit(key, namespace, &Scope::All);
    }

    /// Looks at everything: for namespaces, and whether ours is where it was. Links tell without entering a namespace.
    pub(super) fn check_all(&mut self, now: Instant) {
        let is_blind = self.events.limited.is_some();
        let every = if is_blind {
            BLIND_EVERY.min(self.settings.check_every)
        } else {
            self.settings.check_every
        };
        self.next_check = now + every;
        let thorough = std::mem::take(&mut self.thorough) || is_blind || self.hook == Hook::Clsact;
        self.strangers.clear();
        self.refused.clear();
        let processes = self.discover();
        self.cleaned = true;
        if self.refused.len() != self.refused_told {
            self.refused_told = self.refused.len();
            tracing::warn!(
                refused = self.refused.len(),
                limit = self.settings.max_namespaces,
                "there are more network namespaces than are watched"
            );
        }
        let mut marks = Vec::new();
        for (key, namespace) in &mut self.namespaces.by_key {
            let has_process = processes.contains_key(&namespace.inum);
            if namespace.is_lonely(has_process, now, self.settings.lonely_after) {
                for (_, side) in namespace.devices.values_mut().flat_map(Device::sides_mut) {
                    if let Some(Attachment::Link(id)) = side.attachment {
                        self.links.remove(&id);
                        *side = Side::default();
                    }
                }
            }
            if thorough || namespace.error.is_some() {
                self.dirty.insert(*key, Scope::All);
                continue;
            }
            for (index, device) in &namespace.devices {
                let is_there = |(_, side): (_, &Side)| match side.attachment {
                    Some(Attachment::Link(id)) => {
                        let held = self.links.get(&id);
                        held.and_then(|held| held.link.interface()) == Some(*index)
                    }
                    _ => true,
                };
                let is_settled = namespace.lonely || device.is_settled(&self.wanted);
                if !is_settled || !device.sides().into_iter().all(is_there) {
                    marks.push((*key, *index));
                }
            }
        }
        for (key, index) in marks {
            self.mark(key, index);
        }
        // Of interfaces that have moved to where nobody told of them, and are gone by now.
        self.links.retain(|_, held| held.link.interface().is_some());
        self.count_known();
    }

    /// Numbers that are known no more are news again.
    pub(super) fn count_known(&self) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|inum| {
            let is_kept = self
                .namespaces
                .by_key
                .values()
                .any(|known| known.inum == *inum && !known.lonely);
            is_kept || self.sought.contains_key(inum) || self.refused.contains(inum)
        });
    }
}
