//! The state, for `status` and the doctor.

use std::collections::BTreeSet;

use super::Worker;
use crate::manager::device::Attachment;
use crate::manager::{InterfaceStatus, NamespaceStatus, NetworkStatus};

impl Worker {
    pub(super) fn status(&self) -> NetworkStatus {
        let mut placed = BTreeSet::new();
        let mut namespaces = Vec::new();
        let mut warnings: Vec<String> = self.warnings.values().cloned().collect();
        for (key, namespace) in &self.namespaces.by_key {
            let mut interfaces = Vec::new();
            for (index, device) in &namespace.devices {
                let mut status = InterfaceStatus {
                    index: *index,
                    name: device.name.clone(),
                    attached: Vec::new(),
                    errors: Vec::new(),
                };
                for (direction, side) in device.sides() {
                    if let Some(attachment) = side.attachment {
                        status.attached.push(direction);
                        if let Attachment::Link(id) = attachment {
                            placed.insert(id);
                        }
                    }
                    if let Some(error) = &side.error {
                        status.errors.push(format!("{direction}: {error}"));
                    }
                }
                interfaces.push(status);
            }
            if let Some(error) = &namespace.error {
                warnings.push(format!("network namespace {}: {error}", namespace.inum));
            }
            namespaces.push(NamespaceStatus {
                inum: namespace.inum,
                own: key.is_none(),
                lonely: namespace.lonely,
                interfaces,
            });
        }
        if !self.refused.is_empty() {
            warnings.push(format!(
                "{} network namespaces are not watched: there are more than {}",
                self.refused.len(),
                self.settings.max_namespaces
            ));
        }
        NetworkStatus {
            active: self.wanted.is_some(),
            hook: Some(self.hook),
            namespaces,
            refused: self.refused.len(),
            moved: self.links.keys().filter(|id| !placed.contains(id)).count(),
            taken_away: self.taken_away,
            overflows: self.overflows,
            warnings,
        }
    }
}
