//! The sensor: eBPF programs that see what processes do, and the thread that reads what they say.
//!
//! [`Sensor::open`] chooses the [`Tier`] by loading a tiny real program of each kind and loads the programs of that tier;
//! [`Sensor::apply`] attaches those that the rules need and sets the kernel's filters; [`Sensor::start`] begins to deliver
//! [`Capture`](atalaya_model::capture::Capture)s in the order of time. `bpf/` holds the programs, one topic a file; `bpf/atalaya.h` is the
//! only definition of what crosses the boundary.
//!
//! The kernel side writes records into two rings: life-cycle records into *vital*, all else into *bulk*, so that a flood of file events
//! cannot push an exec out. [`decode`](mod@decode) turns bytes into records, and `assemble` joins what one call left in several.

pub mod assemble;
pub mod decode;
mod error;
mod facilities;
mod filters;
mod integrity;
mod iterator;
#[allow(
    missing_docs,
    reason = "mirrors bpf/atalaya.h, where each field is explained"
)]
mod kernel_types;
mod layout;
mod loading;
mod log;
mod object;
mod packet_filter;
mod packets;
mod perf;
mod programs;
mod reader;
mod sensor;
mod sockets;
pub mod syscalls;
mod tasks;
mod tier;

pub use error::Error;
pub use integrity::Damage;
pub use kernel_types::ObjectTypes;
pub use loading::MissingHook;
pub use object::{ObjectChoice, perf_buffers_needed};
pub use packet_filter::PacketActions;
pub use packets::{Classifiers, InterfacePackets, PacketCounts};
pub use sensor::{Counters, Interest, Options, Sensor, SensorReport};
pub use tasks::Tasks;
pub use tier::{Choice, Tier};
