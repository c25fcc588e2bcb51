//! The sensor itself: loads the object, attaches what the rules want, and reads.

mod apply;
mod attach;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use atalaya_model::capture::{Approvers, Capture, CaptureKind, PacketFilters, PacketOptions};
use libbpf_rs::{Link, MapCore, MapFlags, MapHandle, Object};
use rustc_hash::FxHashMap;

use crate::error::{Context, Error};
use crate::filters::FilterMaps;
use crate::integrity::Written;
use crate::kernel_types::{KernelTypes, ObjectTypes};
use crate::loading::{MissingHook, belongs, is_life, load, load_those, miss, refuse};
use crate::log;
use crate::object::ObjectChoice;
use crate::packet_filter::InForce;
use crate::perf::{Inlet, PerfInlet};
use crate::programs::{PROGRAMS, Program, is_replaced};
use crate::reader::{Reader, ReaderStats};
use crate::tier::{self, Choice, Tier, Trials};

/// The comm that asks for a heartbeat starts with this.
const HEARTBEAT_TAG: &[u8; 4] = b"ahb:";

pub(crate) use apply::syscall_table;
pub use report::{Counters, SensorReport};

/// How the sensor is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Size of the bulk ring in bytes; rounded up to a power of two of pages. 4 MiB hold ten thousand file events.
    /// By default 2 MiB for each CPU, from 4 to 64 MiB: what all CPUs write, one thread reads.
    pub bulk_bytes: u32,
    /// Size of the vital ring in bytes; by default as the bulk ring.
    pub vital_bytes: u32,
    /// Records come through ring buffers where the kernel has them; else, or where this is false, through perf buffers.
    pub ring_buffer: bool,
    /// The tier to use; `None` for the best that the kernel offers.
    pub tier: Option<Tier>,
}

impl Default for Options {
    fn default() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let bytes = u32::try_from(cpus).map_or(64 << 20, |cpus| {
            cpus.saturating_mul(2 << 20).clamp(4 << 20, 64 << 20)
        });
        Self {
            bulk_bytes: bytes,
            vital_bytes: bytes,
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

/// The sensor. Dropping it detaches everything and ends the reader.
pub struct Sensor {
    // Fields drop in this order: the hooks first, so that nothing is written that nobody reads.
    pub(crate) links: BTreeMap<&'static str, Link>,
    reader: Option<Reader>,
    /// Until there is a reader.
    inlets: Option<[Inlet; 2]>,
    /// The maps, and the programs of the process tree.
    pub(crate) object: Object,
    /// The programs that rules want, with the maps of the first: what no rule wants is not loaded.
    pub(crate) more: Vec<(Object, Vec<&'static Program>)>,
    pub(crate) choice: Choice,
    which: ObjectChoice,
    /// The kernel's types, as far as the programs name them.
    types: ObjectTypes,
    missing: Vec<MissingHook>,
    /// The programs of the tier that this kernel has hooks for and that it has not refused.
    here: Vec<&'static Program>,
    pub(crate) loaded: BTreeSet<&'static str>,
    pub(crate) maps: FilterMaps,
    /// What was put into the kernel, to be found there again.
    pub(crate) written: Written,
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
            written: Written::default(),
            stats,
            ring_bytes,
            seen_losses: FxHashMap::default(),
            sockets_found: false,
            filters: None,
        })
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

    pub(crate) fn map(&self, name: &str) -> Result<libbpf_rs::Map<'_>, Error> {
        self.object
            .maps()
            .find(|map| map.name() == name)
            .ok_or_else(|| Error::Load(format!("the object has no map '{name}'")))
    }

    pub(crate) fn update(&self, map: &str, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.map(map)?
            .update(key, value, MapFlags::ANY)
            .context(|| format!("update map {map}"))
    }

    pub(crate) fn delete(&self, map: &str, key: &[u8]) {
        if let Ok(map) = self.map(map) {
            let _ = map.delete(key); // already gone is as good
        }
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
