//! What reading the configuration again changes: some of it at once, the rest with the next start.

use crate::keys::{Config, Effect, KEYS, Key};
use crate::load::Loaded;

/// A setting that is different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub key: &'static str,
    /// What it was.
    pub before: String,
    /// What it is to be.
    pub after: String,
    /// Whether it was taken over; if not, it counts after a restart.
    pub in_force: bool,
}

impl Loaded {
    /// Takes over what a newer reading says: values that count at once, and where all values come from. What counts only after a restart
    /// stays, and [`Loaded::pending`] tells it.
    pub fn take_over(&mut self, newer: Self) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut config = newer.config.clone();
        for key in KEYS {
            if !(key.differs)(&self.config, &newer.config) {
                continue;
            }
            let in_force = key.effect == Effect::Live;
            changes.push(Change {
                key: key.name,
                before: key.value(&self.config),
                after: key.value(&newer.config),
                in_force,
            });
            if !in_force {
                (key.copy)(&mut config, &self.config);
            }
        }
        *self = Self {
            config,
            written: newer.config,
            ..newer
        };
        changes
    }

    /// The value that a key will have after a restart, where that is another one.
    pub fn pending(&self, key: &Key) -> Option<String> {
        (key.differs)(&self.config, &self.written).then(|| key.value(&self.written))
    }

    /// What it would be after a restart.
    pub fn written(&self) -> &Config {
        &self.written
    }
}
