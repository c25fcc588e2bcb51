//! Which of the two compilations of the programs is loaded, and by what way their records come.

use libbpf_rs::{MapHandle, MapType, ObjectBuilder, OpenObject};

use crate::kernel_types::{KernelTypes, ObjectTypes};
use crate::tier::Trials;

static CURRENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/atalaya.bpf.o"));
static LEGACY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/legacy.bpf.o"));

/// The types that each of them names.
static CURRENT_TYPES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/atalaya.btf"));
static LEGACY_TYPES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/legacy.btf"));

/// See `bpf/record.h`.
const BUFFERS_PER_CPU: usize = 3;
const BUFFERS_PER_CPU_LEGACY: usize = 6;

/// The object that was chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectChoice {
    /// The object for kernels before 5.17 is used, for this reason.
    pub legacy: Option<String>,
    /// Records come through perf buffers, for this reason; else through ring buffers.
    pub perf: Option<String>,
}

impl ObjectChoice {
    /// Finds out what the kernel takes, by trying it.
    pub(crate) fn new(ring_buffer: bool, trials: &mut Trials) -> Self {
        let perf = if ring_buffer {
            refuses_ring_buffer().map(|error| format!("the kernel refuses ring buffers: {error}"))
        } else {
            Some("set by configuration".to_owned())
        };
        let legacy = match &perf {
            // Its programs hand their context on to where the record is sent, which the others do not.
            Some(_) => Some("perf buffers need it".to_owned()),
            None => trials.load("probe_current").err().map(|error| {
                format!("the kernel refuses what the one for current kernels uses: {error}")
            }),
        };
        Self { legacy, perf }
    }

    /// `current` or `legacy`.
    pub fn object(&self) -> &'static str {
        match self.legacy {
            None => "current",
            Some(_) => "legacy",
        }
    }

    /// How records come.
    pub fn transport(&self) -> &'static str {
        match self.perf {
            None => "ring buffer",
            Some(_) => "perf buffer",
        }
    }

    /// The kernel's types, as far as the object names them.
    pub(crate) fn types(&self, kernel: &KernelTypes) -> ObjectTypes {
        let own = match self.legacy {
            None => CURRENT_TYPES,
            Some(_) => LEGACY_TYPES,
        };
        ObjectTypes::new(kernel, own)
    }

    /// Opens the object and gives its maps their sizes and types. Nothing is loaded.
    pub(crate) fn open(
        &self,
        types: &ObjectTypes,
        ring_bytes: [u32; 2],
    ) -> Result<OpenObject, String> {
        let text = |error: libbpf_rs::Error| error.to_string();
        let bytes = if self.legacy.is_some() {
            LEGACY
        } else {
            CURRENT
        };
        let mut builder = ObjectBuilder::default();
        types.set(&mut builder).map_err(text)?;
        let mut open = builder.open_memory(bytes).map_err(text)?;
        let cpus = libbpf_rs::num_possible_cpus().map_err(text)?;
        let buffers = if self.legacy.is_some() {
            BUFFERS_PER_CPU_LEGACY
        } else {
            BUFFERS_PER_CPU
        };
        for mut map in open.maps_mut() {
            let ring = match map.name().to_str() {
                Some("vital") => ring_bytes[0],
                Some("bulk") => ring_bytes[1],
                Some("buffers") => {
                    map.set_max_entries((cpus * buffers) as u32).map_err(text)?;
                    continue;
                }
                Some(".rodata.types") => {
                    map.set_initial_value(types.numbers()).map_err(text)?;
                    continue;
                }
                Some(".rodata.perf") => {
                    map.set_initial_value(&[self.perf.is_some().into()])
                        .map_err(text)?;
                    continue;
                }
                _ => continue,
            };
            if self.perf.is_some() {
                map.set_type(MapType::PerfEventArray).map_err(text)?;
                map.set_key_size(4).map_err(text)?;
                map.set_value_size(4).map_err(text)?;
                map.set_max_entries(cpus as u32).map_err(text)?;
            } else {
                map.set_max_entries(ring).map_err(text)?;
            }
        }
        Ok(open)
    }
}

/// Whether records will have to come through perf buffers.
pub fn perf_buffers_needed() -> bool {
    refuses_ring_buffer().is_some()
}

/// Why no ring buffer can be made. They came with 5.8.
fn refuses_ring_buffer() -> Option<String> {
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as _,
        ..Default::default()
    };
    MapHandle::create(MapType::RingBuf, Some("probe"), 0, 0, 4096, &options)
        .err()
        .map(|error| error.to_string())
}

/// The object for current kernels, to see what programs there are: the other has the same.
pub(crate) fn bytes() -> &'static [u8] {
    CURRENT
}
