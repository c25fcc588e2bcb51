//! What the sensor has to do with packets beside reading their records: its classifiers, which others attach, and the maps that they count in.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use atalaya_model::capture::{Body, Capture, Header, Ownerless, PacketOptions};
use atalaya_model::{
    Device, Endpoint, EventData, Flow, FlowEvent, Traffic, interface_name, packet_address,
};
use libbpf_rs::{MapCore, MapFlags, Object};
use zerocopy::{FromBytes, IntoBytes};

use crate::error::{Context, Error};
use crate::layout::{self, FlowKey, FlowValue, INTERFACE_BITS, PACKET_COUNTERS, PacketSettings};
use crate::programs::{Call, PROGRAMS, Program};
use crate::sensor::{Sensor, u64_of};
use crate::sockets;

/// The maps that only programs on packets use.
const MAPS: &[&str] = &[
    "socket_owners",
    "port_owners",
    "packet_settings",
    "packet_counts",
    "interface_packets",
    "packet_verdict",
    "packet_filters",
    "packet_after",
    "packet_actions",
    "packet_rates",
    "flows",
    "told_last",
];

/// Whether the map is one that only programs on packets use.
pub(crate) fn is_of_packets(map: &str) -> bool {
    MAPS.contains(&map)
}

/// The classifiers, loaded and attached to nothing.
#[derive(Debug)]
pub struct Classifiers {
    /// For what goes out.
    pub egress: OwnedFd,
    /// For what comes in.
    pub ingress: OwnedFd,
}

/// What the classifiers have seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PacketCounts {
    /// Packets, at each interface that they passed.
    pub seen: u64,
    /// Of what rules want, what no process here sends or receives: it is told where one does.
    pub forwarded: u64,
    /// Of what was told, what no process is known of.
    pub unattributed: u64,
    /// Of what rules want, what another interface of the same way had told.
    pub repeated: u64,
    /// Of what rules want, what was more than the rate of its filter and process.
    pub limited: u64,
    /// Dropped by `network_filter` actions.
    pub dropped: u64,
}

/// What the classifiers have seen at an interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InterfacePackets {
    /// The inode number of its network namespace.
    pub netns: u32,
    /// Its number in there.
    pub ifindex: u32,
    /// Packets that went out.
    pub egress: u64,
    /// Packets that came in.
    pub ingress: u64,
}

impl Sensor {
    /// The classifiers; `None` while no rule wants them, or where this kernel refuses them. They are to be asked for again after each
    /// [`Sensor::apply`].
    pub fn classifiers(&self) -> Option<Classifiers> {
        let object = self.packets()?;
        let program = |name: &str| -> Option<OwnedFd> {
            let found = object.progs().find(|program| program.name() == name)?;
            found.as_fd().try_clone_to_owned().ok()
        };
        Some(Classifiers {
            egress: program("classifier_egress")?,
            ingress: program("classifier_ingress")?,
        })
    }

    /// What the classifiers have seen since they were loaded.
    pub fn packet_counts(&self) -> PacketCounts {
        let count = |at: u32| self.packet_sum("packet_counts", &at.to_ne_bytes(), 0);
        debug_assert_eq!(PACKET_COUNTERS, 5);
        let interfaces = self.interface_packets();
        PacketCounts {
            seen: interfaces.iter().map(|i| i.egress + i.ingress).sum(),
            forwarded: count(0),
            unattributed: count(1),
            repeated: count(2),
            limited: count(3),
            dropped: count(4),
        }
    }

    /// What the classifiers have seen, by interface. What found no place in their table is counted under namespace 0.
    pub fn interface_packets(&self) -> Vec<InterfacePackets> {
        let Some(map) = self.packet_map("interface_packets") else {
            return Vec::new();
        };
        let mut all: BTreeMap<(u32, u32), [u64; 2]> = BTreeMap::new();
        for at in map.keys() {
            let values = map.lookup_percpu(&at, MapFlags::ANY).ok().flatten();
            for value in values.iter().flatten() {
                let Ok(found) = layout::InterfacePackets::read_from_bytes(value) else {
                    continue;
                };
                if found.n != [0; 2] {
                    let n = all.entry((found.key.netns, found.key.ifindex)).or_default();
                    *n = [n[0] + found.n[0], n[1] + found.n[1]];
                }
            }
        }
        let told = all
            .into_iter()
            .map(|((netns, ifindex), n)| InterfacePackets {
                netns,
                ifindex,
                egress: n[0],
                ingress: n[1],
            });
        told.collect()
    }

    /// Forgets an interface that is gone, so that others are counted in its place.
    pub fn forget_interface(&self, netns: u32, ifindex: u32) {
        let Some(map) = self.packet_map("interface_packets") else {
            return;
        };
        // As `count_interface()` finds its places.
        let mixed = netns.wrapping_mul(31).wrapping_add(ifindex);
        let at = mixed.wrapping_mul(0x9e37_79b1) >> (32 - INTERFACE_BITS);
        for at in [at, at ^ 1].map(u32::to_ne_bytes) {
            let Ok(Some(mut values)) = map.lookup_percpu(&at, MapFlags::ANY) else {
                continue;
            };
            let mut changed = false;
            for value in &mut values {
                let found = layout::InterfacePackets::read_from_bytes(value);
                if found.is_ok_and(|it| (it.key.netns, it.key.ifindex) == (netns, ifindex)) {
                    value.fill(0);
                    changed = true;
                }
            }
            if changed {
                // What is counted on other CPUs for another interface meanwhile is lost; it is a number to look at.
                let _ = map.update_percpu(&at, &values, MapFlags::ANY);
            }
        }
    }

    /// Tells the classifiers what they are asked, where they are loaded.
    pub(crate) fn set_packets(&self, options: &PacketOptions) -> Result<(), Error> {
        let Some(object) = self.packets() else {
            return Ok(());
        };
        let settings = PacketSettings {
            rate: options.rate,
            imds_ipv4: options
                .imds_ipv4
                .map_or(0, |address| u32::from_ne_bytes(address.octets())),
            ownerless: match options.ownerless {
                Ownerless::All => 0,
                Ownerless::TcpSyn => 1,
                Ownerless::None => 2,
            },
            ..self.packet_settings().unwrap_or_else(no_settings)
        };
        self.update_packets("packet_settings", &0u32.to_ne_bytes(), settings.as_bytes())?;
        for program in PROGRAMS.iter().filter(|p| self.loaded.contains(p.name)) {
            let Call::After(map, at) = program.call else {
                continue;
            };
            if let Some(loaded) = object.progs().find(|p| p.name() == program.name) {
                let fd = loaded.as_fd().as_raw_fd();
                self.update_packets(map, &at.to_ne_bytes(), &fd.to_ne_bytes())?;
            }
        }
        Ok(())
    }

    /// Looks for the owners of the sockets that were there before the hooks, once the hooks are there.
    pub(crate) fn find_sockets(&mut self) {
        let Some(object) = self.packets() else {
            self.sockets_found = false;
            return;
        };
        if self.sockets_found {
            return;
        }
        if let Err(error) = sockets::scan(object) {
            tracing::warn!(
                "packets of sockets that are open already may be told without their process: {error}"
            );
        }
        self.sockets_found = true;
    }

    pub(crate) fn packet_settings(&self) -> Option<PacketSettings> {
        let map = self.packet_map("packet_settings")?;
        let value = map.lookup(&0u32.to_ne_bytes(), MapFlags::ANY).ok()??;
        PacketSettings::read_from_bytes(&value).ok()
    }

    /// The object that has the classifiers.
    fn packets(&self) -> Option<&Object> {
        let has = |programs: &[&Program]| programs.iter().any(|p| p.call == Call::Classifier);
        let mut more = self.more.iter();
        more.find(|(_, programs)| has(programs))
            .map(|(object, _)| object)
    }

    pub(crate) fn packet_map(&self, name: &str) -> Option<libbpf_rs::Map<'_>> {
        self.packets()?.maps().find(|map| map.name() == name)
    }

    pub(crate) fn update_packets(&self, map: &str, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.packet_map(map)
            .ok_or_else(|| Error::Load(format!("the object has no map '{map}'")))?
            .update(key, value, MapFlags::ANY)
            .context(|| format!("update map {map}"))
    }

    /// The sum over all CPUs of the number at `at` of a map's value.
    fn packet_sum(&self, map: &str, key: &[u8], at: usize) -> u64 {
        let map = self.packet_map(map);
        let values = map.and_then(|map| map.lookup_percpu(key, MapFlags::ANY).ok()?);
        let numbers = values.iter().flatten();
        numbers
            .filter_map(|value| value.get(at * 8..))
            .map(u64_of)
            .sum()
    }
}

impl Sensor {
    /// The flows since the last call, as events: one for each interface and process.
    pub fn take_flows(&self) -> Vec<Capture> {
        let Some(map) = self.packet_map("flows") else {
            return Vec::new();
        };
        let mut by_owner: BTreeMap<(u32, u32, u32), (FlowValue, Vec<Flow>)> = BTreeMap::new();
        // What another CPU counts between the look and the removal is not told; it is a packet or two.
        for key in map.keys() {
            let Ok(flow) = FlowKey::read_from_bytes(&key) else {
                continue;
            };
            let value = map.lookup(&key, MapFlags::ANY).ok().flatten();
            // Gone already: thrown out for newer flows.
            let _ = map.delete(&key);
            let Some(value) = value.and_then(|value| FlowValue::read_from_bytes(&value).ok())
            else {
                continue;
            };
            let owner = (flow.netns, flow.ifindex, value.owner.pid);
            let entry = by_owner.entry(owner).or_insert((value, Vec::new()));
            entry.1.push(told(&flow, &value));
        }
        let time_ns = boot_now_ns();
        let captures = by_owner
            .into_iter()
            .map(|((netns, ifindex, pid), (first, flows))| Capture {
                header: Header {
                    time_ns,
                    pid,
                    tid: pid,
                    cgroup_id: first.owner.cgroup_id,
                    start_low: first.owner.start_low,
                    netns,
                    no_task: true,
                    ..Header::default()
                },
                body: Body::Event(Box::new(EventData::NetworkFlowMonitor(FlowEvent {
                    device: Device {
                        ifname: interface_name(&first.ifname),
                        netns,
                        ifindex,
                    },
                    flows,
                }))),
            });
        captures.collect()
    }
}

fn told(key: &FlowKey, value: &FlowValue) -> Flow {
    let end = |bytes, port| Endpoint::new(packet_address(key.l3_protocol, bytes), port);
    let traffic = |at: usize| Traffic {
        data_size: value.bytes.get(at).copied().unwrap_or_default(),
        packet_count: value.packets.get(at).copied().unwrap_or_default(),
    };
    Flow {
        source: end(&key.source, key.source_port),
        destination: end(&key.destination, key.destination_port),
        l3_protocol: key.l3_protocol,
        l4_protocol: key.l4_protocol,
        egress: traffic(0),
        ingress: traffic(1),
    }
}

fn boot_now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or_default()
}

pub(crate) fn no_settings() -> PacketSettings {
    PacketSettings {
        imds_ipv4: 0,
        ownerless: 0,
        filters: 0,
        rate: 0,
    }
}

#[cfg(test)]
#[path = "packets_tests.rs"]
pub(crate) mod tests;
