//! The sensor, as the engine wants to see it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use atalaya_config::{Config, HookTier};
use atalaya_engine::{
    ApplyReport, ClassifiersSeen, Damage, EventSource, FilterTable, Integrity, Interest,
    MissingHook, PacketEnforcer, ProgramTime, Ring, Sink, SourceError, SourceReport,
};
use atalaya_model::capture::{
    Approvers, Capture, CaptureKind, Loss, PacketOrders, PacketSubject, Task,
};
use atalaya_resolvers::TaskSource;
use atalaya_sensor::{Options, PacketActions, Sensor, Tier};

use crate::costs::Costs;
use crate::network::Network;

/// Kinds from this number on go through the bulk ring; those below, the life cycle, through the vital one.
const BULK: u16 = 16;

/// The sensor and what configuration says of it.
pub(crate) struct SensorSource {
    sensor: Sensor,
    /// Let the kernel reject what no rule can match.
    filters: Arc<AtomicBool>,
    /// What attaches classifiers; why nothing does, where it could not be started.
    network: Result<Network, String>,
    /// What has the kernel count the programs' time.
    costs: Costs,
    /// How often classifiers had been taken away when that was last asked for.
    taken_away: u64,
}

impl SensorSource {
    /// Chooses the tier and loads the programs.
    pub(crate) fn open(
        config: &Config,
        network: Result<Network, String>,
        costs: Costs,
        filters: Arc<AtomicBool>,
    ) -> Result<Self, atalaya_sensor::Error> {
        let mut options = Options::default();
        if config.event_stream_buffer_size > 0 {
            options.bulk_bytes = u32::try_from(config.event_stream_buffer_size)
                .unwrap_or(1 << 30)
                .min(1 << 30);
        }
        options.ring_buffer = config.event_stream_use_ring_buffer;
        options.tier = match config.hook_tier {
            HookTier::Auto => None,
            HookTier::Lsm => Some(Tier::Lsm),
            HookTier::Tracepoint => Some(Tier::Tracepoint),
            HookTier::Kprobe => Some(Tier::Kprobe),
        };
        Ok(Self {
            sensor: Sensor::open(&options)?,
            filters,
            network,
            costs,
            taken_away: 0,
        })
    }
}

/// The kernel's list of processes, loaded when it is first asked for.
#[derive(Debug, Default)]
struct Tasks {
    loaded: Option<atalaya_sensor::Tasks>,
}

impl TaskSource for Tasks {
    fn scan(&mut self) -> Option<Vec<Task>> {
        if self.loaded.is_none() {
            self.loaded = atalaya_sensor::Tasks::open()
                .inspect_err(|error| tracing::warn!("processes are looked up in /proc: {error}"))
                .ok();
        }
        let tasks = self.loaded.as_ref()?;
        tasks
            .scan()
            .inspect_err(|error| tracing::warn!("processes are looked up in /proc: {error}"))
            .ok()
    }
}

fn refused(error: atalaya_sensor::Error) -> SourceError {
    SourceError(error.to_string())
}

/// The sensor's way to have packets dropped.
#[derive(Debug)]
struct Enforcer(PacketActions);

impl PacketEnforcer for Enforcer {
    fn set(&self, subject: PacketSubject, orders: PacketOrders) -> Result<(), SourceError> {
        self.0.set(subject, orders).map_err(refused)
    }
}

impl EventSource for SensorSource {
    fn apply(&mut self, interest: &Interest) -> Result<ApplyReport, SourceError> {
        let mut approvers = interest.approvers.clone();
        if !self.filters.load(Ordering::Acquire) {
            for accepted in approvers.values_mut() {
                *accepted = Approvers {
                    all: true,
                    ..Approvers::default()
                };
            }
        }
        let mut packets = interest.packets;
        packets.enabled &= self.network.as_ref().is_ok_and(Network::is_enabled);
        if let Ok(network) = self.network.as_ref()
            && !packets.enabled
        {
            network.detach();
        }
        // Who leaves a network namespace for a new one without an exec or a fork is told by this call only.
        let watches = packets.enabled && approvers.keys().any(|kind| kind.is_of_packets());
        let is_asked = approvers.contains_key(&CaptureKind::Unshare);
        if watches {
            approvers.entry(CaptureKind::Unshare).or_default().all = true;
        }
        let interest = atalaya_sensor::Interest {
            approvers,
            capture_all_errors: interest.capture_all_errors,
            packets,
            filters: interest.filters.clone(),
        };
        let mut unavailable = self.sensor.apply(&interest).map_err(refused)?;
        if !is_asked {
            unavailable.remove(&CaptureKind::Unshare);
        }
        match &self.network {
            Ok(network) => network.attach(&self.sensor),
            Err(error) => {
                let of_packets = |kind: &CaptureKind| kind.is_of_packets();
                for (_, why) in unavailable.iter_mut().filter(|(kind, _)| of_packets(kind)) {
                    why.clone_from(error);
                }
            }
        }
        Ok(ApplyReport { unavailable })
    }

    fn start(&mut self, mut sink: Sink) -> Result<(), SourceError> {
        let network = self.network.as_ref().ok().cloned();
        let watched = move |capture: Capture| {
            if let Some(network) = &network {
                network.saw(&capture);
            }
            sink(capture);
        };
        self.sensor.start(Box::new(watched)).map_err(refused)
    }

    fn take_losses(&mut self) -> Vec<Loss> {
        if let Ok(network) = &self.network {
            network.forget_gone(&self.sensor);
        }
        self.sensor.take_losses()
    }

    fn take_flows(&mut self) -> Vec<Capture> {
        self.sensor.take_flows()
    }

    fn packet_enforcer(&mut self) -> Option<Box<dyn PacketEnforcer>> {
        let actions = self.sensor.packet_actions()?;
        Some(Box::new(Enforcer(actions)))
    }

    fn heartbeat(&mut self, number: u64) -> Result<(), SourceError> {
        self.sensor.heartbeat(number).map_err(refused)
    }

    fn tasks(&mut self) -> Option<Box<dyn TaskSource>> {
        Some(Box::new(Tasks::default()))
    }

    fn integrity(&mut self) -> Integrity {
        let damages = self.sensor.verify().into_iter().map(|damage| Damage {
            what: damage.what,
            left: damage.left,
        });
        let mut damages: Vec<Damage> = damages.collect();
        if let Ok(network) = &self.network {
            let taken = network.taken_away();
            let new = taken.saturating_sub(self.taken_away);
            self.taken_away = taken;
            damages.extend((new > 0).then(|| Damage {
                what: format!("classifiers were taken away from network interfaces {new} times"),
                left: None,
            }));
        }
        Integrity {
            maps: self.sensor.own_maps(),
            damages,
        }
    }

    fn classifiers_seen(&self) -> ClassifiersSeen {
        let number = |program: OwnedFd| atalaya_network::bpf::info(program.as_fd()).ok();
        let programs = self
            .sensor
            .classifiers()
            .map(|own| [own.egress, own.ingress]);
        let packets = self.sensor.interface_packets().into_iter();
        ClassifiersSeen {
            programs: programs
                .into_iter()
                .flatten()
                .filter_map(number)
                .map(|info| info.id)
                .collect(),
            packets: packets
                .map(|one| ((one.netns, one.ifindex), one.egress + one.ingress))
                .collect(),
        }
    }

    fn count_program_times(&self) -> Result<OwnedFd, SourceError> {
        self.costs.count().map_err(SourceError)
    }

    fn program_times(&self) -> Vec<ProgramTime> {
        let mut times = Vec::new();
        self.sensor.each_program(|name, kinds, program| {
            if let Ok(info) = atalaya_network::bpf::info(program) {
                times.push(ProgramTime {
                    name: name.to_owned(),
                    kinds: kinds.to_vec(),
                    runs: info.runs,
                    run_time_ns: info.run_time,
                });
            }
        });
        times
    }

    fn filter_tables(&self) -> Result<BTreeMap<String, FilterTable>, SourceError> {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let tables = self.sensor.filter_tables().map_err(refused)?;
        let table = |(name, entries, expected): (&str, usize, usize)| {
            let table = FilterTable {
                entries: count(entries),
                expected: count(expected),
            };
            (name.to_owned(), table)
        };
        Ok(tables.into_iter().map(table).collect())
    }

    fn report(&self) -> SourceReport {
        let report = self.sensor.report();
        let (mut sent, mut lost, mut busy) = (0, [0; 2], 0);
        let mut details = BTreeMap::new();
        for (kind, counters) in &report.counters {
            sent += counters.sent;
            busy += counters.busy;
            lost[usize::from(*kind as u16 >= BULK)] += counters.lost;
            if counters.sent > 0 || counters.lost > 0 {
                let text = format!("{} sent, {} lost", counters.sent, counters.lost);
                details.insert(format!("kernel.{}", kind.name()), text);
            }
        }
        details.insert("kernel.sent".into(), sent.to_string());
        details.insert("kernel.lost_without_buffer".into(), busy.to_string());
        details.insert(
            "reader.dropped_parts".into(),
            report.dropped_parts.to_string(),
        );
        details.insert("sensor.object".into(), report.object.object().into());
        details.insert("sensor.transport".into(), report.object.transport().into());
        details.insert("bpf_lsm".into(), report.choice.bpf_lsm.to_string());
        for (name, gaps) in ["vital", "bulk"].iter().zip(report.gaps) {
            details.insert(format!("sequence_gaps.{name}"), gaps.to_string());
        }
        let packets = self.sensor.packet_counts();
        if packets.seen > 0 {
            let text = format!(
                "{} seen, {} dropped by actions, {} not told for their rate, {} nobody's, {} forwarded",
                packets.seen,
                packets.dropped,
                packets.limited,
                packets.unattributed,
                packets.forwarded
            );
            details.insert("packets".into(), text);
        }
        let of = |values: Option<[u64; 2]>, index: usize| values.map(|values| values[index]);
        let ring = |index: usize, name: &str| Ring {
            waiting: of(report.waiting, index),
            high_water: of(report.high_water, index),
            name: name.to_owned(),
            bytes: report.ring_bytes[index].into(),
            received: report.received[index],
            lost: lost[index],
        };
        let mut warnings = Vec::new();
        match &self.network {
            Ok(network) => {
                let packets = self.sensor.interface_packets();
                network.report(&packets, &mut details, &mut warnings);
            }
            Err(error) => warnings.push(format!("no classifiers are attached: {error}")),
        }
        if let Some(reason) = &report.object.perf {
            warnings.push(format!("records come through perf buffers: {reason}"));
        } else if let Some(reason) = &report.object.legacy {
            warnings.push(format!(
                "the programs for kernels before 5.17 are used: {reason}"
            ));
        }
        if !self.filters.load(Ordering::Acquire) {
            warnings.push("kernel filters are off by configuration: every event of a wanted type is evaluated".into());
        }
        SourceReport {
            tier: report.choice.tier.name().to_owned(),
            tier_reason: report.choice.reason.clone(),
            programs: report
                .attached
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
            missing: report
                .missing
                .iter()
                .map(|missing| MissingHook {
                    hook: missing.hook.to_owned(),
                    reason: missing.reason.clone(),
                    kinds: missing.kinds.clone(),
                })
                .collect(),
            rings: vec![ring(0, "vital"), ring(1, "bulk")],
            malformed: report.malformed,
            warnings,
            details,
        }
    }
}
