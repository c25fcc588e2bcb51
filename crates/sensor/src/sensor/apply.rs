//! Filters and hooks, brought in line with the rules.

use std::collections::BTreeMap;

use atalaya_model::capture::{CaptureKind, PacketFilters};
use zerocopy::{FromBytes, IntoBytes};

use super::{HEARTBEAT_TAG, Interest, Sensor};
use crate::error::Error;
use crate::facilities;
use crate::filters::{FilterMaps, name_key, name_value, number_key, path_key, path_value};
use crate::layout::{Filter, Settings, SyscallShape};
use crate::syscalls::{self, SOCKET_CALLS, Syscall};
impl Sensor {
    /// Brings filters and hooks in line with the rules. New filters are in force before old ones go. Gives the kinds that are wanted and that
    /// this kernel cannot show.
    pub fn apply(&mut self, interest: &Interest) -> Result<BTreeMap<CaptureKind, String>, Error> {
        let settings = Settings {
            own_pid: atalaya_host::paths::own_pid(),
            all_errors: interest.capture_all_errors.into(),
            heartbeat_tag: u32::from_le_bytes(*HEARTBEAT_TAG),
            reserved: 0,
        };
        self.update("settings", &0u32.to_le_bytes(), settings.as_bytes())?;
        self.written.settings = settings.as_bytes().to_vec();

        let mut approvers = interest.approvers.clone();
        let mut lacking = BTreeMap::new();
        let packets = interest.packets;
        let off = |kind: CaptureKind| {
            if kind.is_of_packets() && !packets.enabled {
                Some("packets are not looked at: network.enabled is false")
            } else if kind == CaptureKind::NetworkFlowMonitor && !packets.flows {
                Some("flows are not counted: network.flow_monitor.enabled is false")
            } else {
                None
            }
        };
        // What is no message of DNS is sent as one that is.
        if let Some(failed) = approvers.get(&CaptureKind::FailedDns).cloned() {
            approvers.entry(CaptureKind::Dns).or_insert(failed);
        }
        approvers.retain(|kind, _| match facilities::missing(*kind).or(off(*kind)) {
            Some(why) => {
                lacking.insert(*kind, why.to_owned());
                false
            }
            None => true,
        });
        let new = FilterMaps::new(&approvers);
        for ((kind, role, name), value) in &new.names {
            // A name that stays may lose flags only after the filter has changed; until then it has both.
            let old = self
                .maps
                .names
                .get(&(*kind, *role, name.clone()))
                .copied()
                .unwrap_or_default();
            self.update(
                "names",
                name_key(*kind, *role, name).as_bytes(),
                name_value((value.0 | old.0, value.1 | old.1)).as_bytes(),
            )?;
        }
        for ((kind, hash, len), value) in &new.paths {
            let old = self
                .maps
                .paths
                .get(&(*kind, *hash, *len))
                .copied()
                .unwrap_or_default();
            self.update(
                "paths",
                path_key(*kind, *hash, *len).as_bytes(),
                path_value((value.0 | old.0, value.1 | old.1)).as_bytes(),
            )?;
        }
        for key in &new.numbers {
            self.update("numbers", number_key(*key).as_bytes(), &[1])?;
        }
        for (kind, filter) in &new.filters {
            self.update(
                "filters",
                &kind.to_le_bytes(),
                filter.to_layout().as_bytes(),
            )?;
        }
        self.update_syscalls(&new)?;
        let mut unavailable = self.attach(&approvers)?;
        self.written.approvers.clone_from(&approvers);
        unavailable.extend(lacking);
        self.set_packets(&interest.packets)?;
        self.find_sockets();
        let filters = if packets.filters {
            interest.filters.clone()
        } else {
            PacketFilters::default()
        };
        if let Err(error) = self.set_filters(&filters) {
            unavailable.insert(CaptureKind::Packet, error.to_string());
        }

        let off: Filter = FromBytes::read_from_bytes(&[0; size_of::<Filter>()])
            .unwrap_or_else(|_| unreachable!("a filter of zeroes is a filter"));
        for kind in self
            .maps
            .filters
            .keys()
            .filter(|kind| !new.filters.contains_key(kind))
        {
            self.update("filters", &kind.to_le_bytes(), off.as_bytes())?;
        }
        for key in self
            .maps
            .names
            .keys()
            .filter(|key| !new.names.contains_key(key))
        {
            self.delete("names", name_key(key.0, key.1, &key.2).as_bytes());
        }
        for key in self
            .maps
            .paths
            .keys()
            .filter(|key| !new.paths.contains_key(key))
        {
            self.delete("paths", path_key(key.0, key.1, key.2).as_bytes());
        }
        for key in self.maps.numbers.difference(&new.numbers) {
            self.delete("numbers", number_key(*key).as_bytes());
        }
        for ((kind, role, name), value) in new
            .names
            .iter()
            .filter(|(key, value)| self.maps.names.get(*key).is_some_and(|old| old != *value))
        {
            self.update(
                "names",
                name_key(*kind, *role, name).as_bytes(),
                name_value(*value).as_bytes(),
            )?;
        }
        for ((kind, hash, len), value) in new
            .paths
            .iter()
            .filter(|(key, value)| self.maps.paths.get(*key).is_some_and(|old| old != *value))
        {
            self.update(
                "paths",
                path_key(*kind, *hash, *len).as_bytes(),
                path_value(*value).as_bytes(),
            )?;
        }
        self.maps = new;
        Ok(unavailable)
    }

    /// Fills the table that says in one load whether a system call is of interest.
    fn update_syscalls(&self, new: &FilterMaps) -> Result<(), Error> {
        for (number, shape) in syscall_table(new) {
            self.update("syscalls", &number.to_le_bytes(), shape.as_bytes())?;
        }
        Ok(())
    }
}

/// What that table is to be: of each system call that is known, its shape, or that it is of no interest.
pub(crate) fn syscall_table(new: &FilterMaps) -> BTreeMap<u32, SyscallShape> {
    let has = |kind: &CaptureKind| new.filters.contains_key(&(*kind as u32));
    let wanted = |call: &Syscall| {
        has(&call.kind)
            || call.kind == CaptureKind::Unlink && has(&CaptureKind::Rmdir)
            || call.is_socketcall() && SOCKET_CALLS.iter().any(has)
    };
    let mut table: BTreeMap<u32, SyscallShape> = BTreeMap::new();
    let empty = SyscallShape {
        native: 0,
        compat: 0,
        native_kind: 0,
        compat_kind: 0,
    };
    for call in syscalls::NATIVE {
        let entry = table.entry(call.number).or_insert(empty);
        if wanted(call) {
            (entry.native, entry.native_kind) = (call.shape, call.kind as u8);
        }
    }
    for call in syscalls::COMPAT {
        let entry = table.entry(call.number).or_insert(empty);
        if wanted(call) {
            (entry.compat, entry.compat_kind) = (call.shape, call.kind as u8);
        }
    }
    table
}
