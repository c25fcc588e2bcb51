//! The sensor itself: loads the object, attaches what the rules want, and reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use atalaya_model::capture::{
    Approvers, CAPTURE_KINDS, Capture, CaptureKind, Loss, PacketFilters, PacketOptions,
};
use libbpf_rs::{Link, MapCore, MapFlags, MapHandle, Object};
use rustc_hash::FxHashMap;
use zerocopy::{FromBytes, IntoBytes};

use crate::error::{Context, Error};
use crate::facilities;
use crate::filters::{FilterMaps, name_key, name_value, number_key, path_key, path_value};
use crate::kernel_types::{KernelTypes, ObjectTypes};
use crate::layout::{self, COUNTERS, Filter, LossKey, Settings, SyscallShape};
use crate::loading::{MissingHook, belongs, is_life, load, load_those, miss, refuse};
use crate::log;
use crate::object::ObjectChoice;
use crate::packet_filter::InForce;
use crate::perf::{Inlet, PerfInlet};
use crate::programs::{Call, PROGRAMS, Program, is_replaced};
use crate::reader::{Reader, ReaderStats};
use crate::syscalls::{self, SOCKET_CALLS, Syscall};
use crate::tier::{self, Choice, Tier, Trials};

/// The comm that asks for a heartbeat starts with this.
const HEARTBEAT_TAG: &[u8; 4] = b"ahb:";
/// Entries of the loss map beyond which those that no longer change are removed.
const LOSSES_KEPT: usize = 2048;

/// How the sensor is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Size of the bulk ring in bytes; rounded up to a power of two of pages. 4 MiB hold ten thousand file events.
    pub bulk_bytes: u32,
    /// Size of the vital ring in bytes.
    pub vital_bytes: u32,
    /// Records come through ring buffers where the kernel has them; else, or where this is false, through perf buffers.
    pub ring_buffer: bool,
    /// The tier to use; `None` for the best that the kernel offers.
    pub tier: Option<Tier>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bulk_bytes: 4 << 20,
            vital_bytes: 8 << 20,
            ring_buffer: true,
            tier: None,
        }
    }
}

/// What the rules want to see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interest {
    /// The kinds that some rule is about, and what of each. Forks, execs and exits always come.
    pub approvers: BTreeMap<CaptureKind, Approvers>,
    /// Failed calls of every errno, not only EACCES and EPERM.
    pub capture_all_errors: bool,
    /// What is asked of the classifiers.
    pub packets: PacketOptions,
    /// The filters that they run.
    pub filters: PacketFilters,
}

/// Counters of one kind of event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records that the kernel side sent.
    pub sent: u64,
    /// Records that found no place in the ring.
    pub lost: u64,
    /// Of the lost, those that found no buffer to be built in.
    pub busy: u64,
    /// Of the lost, those of cgroups that had used up their share of the ring.
    pub over_budget: u64,
}

/// The sensor's state, for `status`.
#[derive(Debug, Clone)]
pub struct SensorReport {
    /// The tier and why.
    pub choice: Choice,
    /// Which compilation of the programs runs, how records come, and why.
    pub object: ObjectChoice,
    /// Programs that are attached.
    pub attached: Vec<&'static str>,
    /// What is missing.
    pub missing: Vec<MissingHook>,
    /// By kind.
    pub counters: BTreeMap<CaptureKind, Counters>,
    /// Records read, per ring (vital, bulk).
    pub received: [u64; 2],
    /// Records that the sequence numbers say were written and that were not read, per ring. With nothing in flight this is what the kernel
    /// counted as lost: more would be a loss that nobody counted.
    pub gaps: [u64; 2],
    /// Ring sizes in bytes (vital, bulk).
    pub ring_bytes: [u32; 2],
    /// Records that could not be decoded.
    pub malformed: u64,
    /// Parts that waited for a call that never ended.
    pub dropped_parts: u64,
}

/// The sensor. Dropping it detaches everything and ends the reader.
pub struct Sensor {
    // Fields drop in this order: the hooks first, so that nothing is written that nobody reads.
    links: BTreeMap<&'static str, Link>,
    reader: Option<Reader>,
    /// Until there is a reader.
    inlets: Option<[Inlet; 2]>,
    /// The maps, and the programs of the process tree.
    pub(crate) object: Object,
    /// The programs that rules want, with the maps of the first: what no rule wants is not loaded.
    pub(crate) more: Vec<(Object, Vec<&'static Program>)>,
    choice: Choice,
    which: ObjectChoice,
    /// The kernel's types, as far as the programs name them.
    types: ObjectTypes,
    missing: Vec<MissingHook>,
    /// The programs of the tier that this kernel has hooks for and that it has not refused.
    here: Vec<&'static Program>,
    pub(crate) loaded: BTreeSet<&'static str>,
    maps: FilterMaps,
    stats: Arc<ReaderStats>,
    ring_bytes: [u32; 2],
    seen_losses: FxHashMap<(u64, u32), u64>,
    /// The owners of the sockets that there were before were looked for, since there are classifiers.
    pub(crate) sockets_found: bool,
    /// The filters of packets that are in force.
    pub(crate) filters: Option<InForce>,
}

impl fmt::Debug for Sensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sensor")
            .field("choice", &self.choice)
            .field("attached", &self.links.keys())
            .finish_non_exhaustive()
    }
}

impl Sensor {
    /// Chooses the tier and loads its programs; nothing is attached yet.
    pub fn open(options: &Options) -> Result<Self, Error> {
        log::install();
        let kernel = KernelTypes::of_this_kernel()?;
        let mut trials = Trials::default();
        let choice = tier::choose(options.tier, &mut trials)?;
        let which = ObjectChoice::new(options.ring_buffer, &mut trials);
        let types = which.types(&kernel);
        let here = PROGRAMS.iter().filter(|p| belongs(p.place, &choice));
        let hooks = kernel.hooks(here.clone().map(|program| program.needs.hook()));
        let (mut wanted, absent): (Vec<&'static Program>, Vec<_>) =
            here.partition(|program| program.needs.met(&hooks));
        // Known beforehand, since finding it out costs a load of everything.
        let no_structs = which.legacy.is_some() && choice.tier == Tier::Lsm;
        let given_structs: Vec<&'static Program> = wanted
            .extract_if(.., |program| {
                no_structs && program.needs.takes_struct(&hooks)
            })
            .collect();
        drop(kernel);
        let mut missing = Vec::new();
        for program in absent {
            if !is_replaced(program, &wanted) {
                miss(&mut missing, program, "this kernel has no such hook".into());
            }
        }
        for program in given_structs {
            let reason = "before 6.1 no program hooks a function that is given a struct";
            refuse(&mut missing, program, &wanted, reason.into());
        }
        let ring_bytes = [
            ring_size(options.vital_bytes),
            ring_size(options.bulk_bytes),
        ];
        let mut here = wanted;
        let life: Vec<_> = here.iter().copied().filter(|p| is_life(p)).collect();
        let loaded = load_those(&life, &mut here, &mut missing, |programs| {
            load(programs, &which, &types, ring_bytes, None)
        })?;
        let (object, life) = loaded.ok_or_else(|| {
            Error::NoBpf("the kernel refuses every program of the process tree".into())
        })?;
        let stats: Arc<ReaderStats> = Arc::default();
        let inlets = inlets(&object, &which, ring_bytes)?;
        Ok(Self {
            links: BTreeMap::new(),
            reader: None,
            inlets: Some(inlets),
            object,
            more: Vec::new(),
            choice,
            which,
            types,
            missing,
            here,
            loaded: life.iter().map(|p| p.name).collect(),
            maps: FilterMaps::default(),
            stats,
            ring_bytes,
            seen_losses: FxHashMap::default(),
            sockets_found: false,
            filters: None,
        })
    }

    /// Brings filters and hooks in line with the rules. New filters are in force before old ones go. Gives the kinds that are wanted and that
    /// this kernel cannot show.
    pub fn apply(&mut self, interest: &Interest) -> Result<BTreeMap<CaptureKind, String>, Error> {
        let settings = Settings {
            own_pid: std::process::id(),
            all_errors: interest.capture_all_errors.into(),
            heartbeat_tag: u32::from_le_bytes(*HEARTBEAT_TAG),
            reserved: 0,
        };
        self.update("settings", &0u32.to_le_bytes(), settings.as_bytes())?;

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

    /// Starts to deliver, on a thread of its own. What was captured since `apply` comes, too.
    pub fn start(&mut self, sink: Box<dyn FnMut(Capture) + Send>) -> Result<(), Error> {
        let inlets = match self.inlets.take() {
            Some(inlets) => inlets,
            None => inlets(&self.object, &self.which, self.ring_bytes)?,
        };
        self.reader = Some(Reader::start(inlets, Arc::clone(&self.stats), sink)?);
        Ok(())
    }

    /// The losses since the last call.
    pub fn take_losses(&mut self) -> Vec<Loss> {
        let Ok(map) = self.map("losses") else {
            return Vec::new();
        };
        let mut losses = Vec::new();
        let mut now = FxHashMap::default();
        for key in map.keys().collect::<Vec<_>>() {
            let Ok(k) = LossKey::read_from_bytes(&key) else {
                continue;
            };
            let Ok(Some(value)) = map.lookup(&key, MapFlags::ANY) else {
                continue;
            };
            let count = u64_of(&value);
            let before = self.seen_losses.get(&(k.cgroup_id, k.kind)).copied();
            if let Some(kind) = reported_kind(k.kind)
                && count > before.unwrap_or(0)
            {
                losses.push(Loss {
                    kind,
                    cgroup_id: k.cgroup_id,
                    count: count - before.unwrap_or(0),
                });
            }
            if before == Some(count) && self.seen_losses.len() > LOSSES_KEPT {
                let _ = map.delete(&key); // a cgroup that is gone, most likely
            } else {
                now.insert((k.cgroup_id, k.kind), count);
            }
        }
        self.seen_losses = now;
        losses
    }

    /// Has the kernel send a heartbeat with this number (up to 10^11): the calling thread renames itself for a moment.
    pub fn heartbeat(&self, number: u64) -> Result<(), Error> {
        let set = |name: &std::ffi::CStr| nix::sys::prctl::set_name(name);
        let former = nix::sys::prctl::get_name().unwrap_or_default();
        let tag = String::from_utf8_lossy(HEARTBEAT_TAG);
        let name = std::ffi::CString::new(format!("{tag}{}", number % 100_000_000_000))
            .unwrap_or_default();
        set(&name).map_err(|errno| Error::Thread(errno.into()))?;
        set(&former).map_err(|errno| Error::Thread(errno.into()))
    }

    /// The state, for `status`.
    pub fn report(&self) -> SensorReport {
        let mut counters = BTreeMap::new();
        for kind in CAPTURE_KINDS {
            if let Some(count) = self.counters(kind as u32) {
                counters.insert(kind, count);
            }
        }
        SensorReport {
            choice: self.choice.clone(),
            object: self.which.clone(),
            attached: self.links.keys().copied().collect(),
            missing: self.missing.clone(),
            counters,
            received: [0, 1].map(|ring| self.stats.received[ring].load(Ordering::Relaxed)),
            gaps: [0, 1].map(|ring| self.stats.gaps[ring].load(Ordering::Relaxed)),
            ring_bytes: self.ring_bytes,
            malformed: self.stats.malformed.load(Ordering::Relaxed),
            dropped_parts: self.stats.dropped_parts.load(Ordering::Relaxed),
        }
    }

    fn counters(&self, kind: u32) -> Option<Counters> {
        let per_cpu = self
            .map("counts")
            .ok()?
            .lookup_percpu(&kind.to_le_bytes(), MapFlags::ANY)
            .ok()??;
        let mut sum = [0u64; COUNTERS];
        for cpu in per_cpu {
            for (total, value) in sum.iter_mut().zip(cpu.chunks_exact(8)) {
                *total += u64_of(value);
            }
        }
        Some(Counters {
            sent: sum[0],
            lost: sum[1],
            busy: sum[2],
            over_budget: sum[3],
        })
    }

    fn map(&self, name: &str) -> Result<libbpf_rs::Map<'_>, Error> {
        self.object
            .maps()
            .find(|map| map.name() == name)
            .ok_or_else(|| Error::Load(format!("the object has no map '{name}'")))
    }

    fn update(&self, map: &str, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.map(map)?
            .update(key, value, MapFlags::ANY)
            .context(|| format!("update map {map}"))
    }

    fn delete(&self, map: &str, key: &[u8]) {
        if let Ok(map) = self.map(map) {
            let _ = map.delete(key); // already gone is as good
        }
    }

    /// The table that says in one load whether a system call is of interest.
    fn update_syscalls(&self, new: &FilterMaps) -> Result<(), Error> {
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
        for (number, shape) in table {
            self.update("syscalls", &number.to_le_bytes(), shape.as_bytes())?;
        }
        Ok(())
    }

    /// Loads what is needed and not loaded yet, on the maps that are there.
    fn load_more(&mut self, needed: impl Fn(&Program) -> bool) {
        let new = self.here.iter().copied();
        let new: Vec<_> = new
            .filter(|p| needed(p) && !self.loaded.contains(p.name))
            .collect();
        if new.is_empty() {
            return;
        }
        // Tried again, so not missed for what was the reason before.
        let is_tried = |m: &MissingHook| new.iter().any(|program| m.is_of(program));
        self.missing.retain(|m| !is_tried(m));
        let (which, ring_bytes, shared) = (&self.which, self.ring_bytes, &self.object);
        let types = &self.types;
        let loaded = load_those(&new, &mut self.here, &mut self.missing, |programs| {
            load(programs, which, types, ring_bytes, Some(shared))
        });
        match loaded {
            Ok(Some((object, programs))) => {
                self.loaded.extend(programs.iter().map(|p| p.name));
                self.more.push((object, programs));
            }
            Ok(None) => {}
            // What the rest of the rules is about goes on without them.
            Err(error) => {
                for program in new {
                    miss(&mut self.missing, program, error.to_string());
                }
            }
        }
    }

    /// Lets go of what was loaded for rules that are gone.
    fn unload(&mut self, needed: impl Fn(&Program) -> bool) {
        let loaded = &mut self.loaded;
        self.more.retain(|(_, programs)| {
            let keep = programs.iter().any(|p| needed(p));
            if !keep {
                for program in programs {
                    loaded.remove(program.name);
                }
            }
            keep
        });
    }

    /// Puts a program where the one on all system calls finds it, or takes it away.
    fn let_jump(&self, program: &Program, map: &str, needed: bool) -> Result<(), Error> {
        let mut more = self.more.iter();
        let more = more.find(|(_, programs)| programs.iter().any(|p| p.name == program.name));
        let mut found = more.into_iter().flat_map(|(object, _)| object.progs());
        let Some(loaded) = found.find(|p| p.name() == program.name) else {
            return Ok(());
        };
        let fd = loaded.as_fd().as_raw_fd().to_ne_bytes();
        for kind in &program.kinds {
            let key = (*kind as u32).to_ne_bytes();
            if needed {
                self.update(map, &key, &fd)?;
            } else {
                self.delete(map, &key);
            }
        }
        Ok(())
    }

    /// Attaches the programs that the wanted kinds need, and detaches the others.
    fn attach(
        &mut self,
        approvers: &BTreeMap<CaptureKind, Approvers>,
    ) -> Result<BTreeMap<CaptureKind, String>, Error> {
        let needed = |program: &Program| {
            is_life(program)
                || program
                    .kinds
                    .iter()
                    .any(|kind| approvers.contains_key(kind))
        };
        self.load_more(needed);
        let mut unavailable = BTreeMap::new();
        for program in PROGRAMS.iter().filter(|p| self.loaded.contains(p.name)) {
            match program.call {
                Call::From(map) => {
                    self.let_jump(program, map, needed(program))?;
                    continue;
                }
                // Attached elsewhere, or jumped to for as long as they are loaded.
                Call::Classifier | Call::After(..) => continue,
                Call::Attached | Call::OfCgroups => {}
            }
            if !needed(program) {
                self.links.remove(program.name);
                continue;
            }
            if self.links.contains_key(program.name) {
                continue;
            }
            let mut more = self.more.iter_mut();
            let more = more.find(|(_, programs)| programs.iter().any(|p| p.name == program.name));
            let object = more.map_or(&mut self.object, |(object, _)| object);
            let mut found = object.progs_mut();
            let Some(p) = found.find(|p| p.name() == program.name) else {
                continue;
            };
            let attached = match program.call {
                Call::OfCgroups => facilities::cgroup_root()
                    .map_err(|error| error.to_string())
                    .and_then(|root| {
                        p.attach_cgroup(root.as_raw_fd())
                            .map_err(|error| error.to_string())
                    }),
                _ => p.attach().map_err(|error| error.to_string()),
            };
            match attached {
                Ok(link) => {
                    self.links.insert(program.name, link);
                }
                Err(error) => miss(
                    &mut self.missing,
                    program,
                    format!("it does not attach: {error}"),
                ),
            }
        }
        self.unload(needed);
        for missing in self.missing.iter().filter(|m| m.fatal) {
            for kind in missing
                .kinds
                .iter()
                .filter(|kind| approvers.contains_key(kind))
            {
                unavailable.insert(
                    *kind,
                    format!("{} is missing: {}", missing.hook, missing.reason),
                );
            }
        }
        Ok(unavailable)
    }
}

/// The two ways in. Perf buffers must be there before the first record; ring buffers keep what was written before.
fn inlets(
    object: &Object,
    which: &ObjectChoice,
    ring_bytes: [u32; 2],
) -> Result<[Inlet; 2], Error> {
    let inlet = |name: &str, bytes: u32| {
        let map = object
            .maps()
            .find(|map| map.name() == name)
            .ok_or_else(|| Error::Load(format!("the object has no map '{name}'")))?;
        let map = MapHandle::try_from(&map).context(|| format!("open the map '{name}'"))?;
        if which.perf.is_some() {
            Ok(Inlet::Perf(PerfInlet::open(&map, bytes)?))
        } else {
            Ok(Inlet::Ring(map))
        }
    };
    Ok([
        inlet("vital", ring_bytes[0])?,
        inlet("bulk", ring_bytes[1])?,
    ])
}

fn ring_size(bytes: u32) -> u32 {
    bytes.clamp(256 << 10, 1 << 30).next_power_of_two()
}

pub(crate) fn u64_of(bytes: &[u8]) -> u64 {
    bytes
        .first_chunk()
        .map(|b| u64::from_ne_bytes(*b))
        .unwrap_or_default()
}

/// Parts of a capture are not known outside: a lost part makes its capture poorer, and counts as a lost one of its kind.
fn reported_kind(kind: u32) -> Option<CaptureKind> {
    match u16::try_from(kind).ok()? {
        layout::KIND_SCRIPT => Some(CaptureKind::Exec),
        layout::KIND_OBJECT | layout::KIND_URING => Some(CaptureKind::Open),
        kind => CaptureKind::from_number(kind),
    }
}
