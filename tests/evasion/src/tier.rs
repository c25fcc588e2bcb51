//! What can be seen depends on the hooks that the kernel lets system-probe use.

use std::fs::File;
use std::io::Read;

use atalaya_e2e::Probe;

/// A tier, as a bit of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tier {
    /// Its bit.
    pub bit: u8,
    /// What the page calls it.
    pub name: &'static str,
}

/// Trampolines: LSM programs or fentry.
pub const LSM: u8 = 1;
/// The same functions by kprobe.
pub const KPROBE: u8 = 2;
/// Tracepoints, among them those of changed inodes (6.13 and newer).
pub const TRACEPOINT: u8 = 4;
/// Tracepoints of older kernels: of changes only the caller's string is known.
pub const TRACEPOINT_OLD: u8 = 8;
/// Both kinds of tracepoint tier.
pub const TRACEPOINTS: u8 = TRACEPOINT | TRACEPOINT_OLD;
/// Every tier.
pub const ALL: u8 = LSM | KPROBE | TRACEPOINTS;

impl Tier {
    /// The tiers in the order of the page's columns.
    pub const LIST: [Self; 4] = [
        Self {
            bit: LSM,
            name: "lsm",
        },
        Self {
            bit: KPROBE,
            name: "kprobe",
        },
        Self {
            bit: TRACEPOINT,
            name: "tracepoint",
        },
        Self {
            bit: TRACEPOINT_OLD,
            name: "tracepoint before 6.13",
        },
    ];

    /// The tier that a probe has chosen.
    #[must_use]
    pub fn of(probe: &Probe) -> Self {
        let (_, status, error) = probe.agent(&["status", "--json"]);
        let status: serde_json::Value =
            serde_json::from_str(&status).unwrap_or_else(|_| panic!("no status: {error}"));
        let bit = match status["sensor"]["tier"].as_str() {
            Some("lsm") => LSM,
            Some("kprobe") => KPROBE,
            Some("tracepoint") if tells_changed_inodes() => TRACEPOINT,
            Some("tracepoint") => TRACEPOINT_OLD,
            other => panic!("not a tier: {other:?}"),
        };
        Self::LIST[bit.trailing_zeros() as usize]
    }
}

/// Whether the kernel has the tracepoints of changed inodes: their types are part of its BTF.
fn tells_changed_inodes() -> bool {
    let mut types = Vec::new();
    let read =
        File::open("/sys/kernel/btf/vmlinux").and_then(|mut file| file.read_to_end(&mut types));
    let name = b"btf_trace_ctime_ns_xchg\0";
    read.is_ok() && types.windows(name.len()).any(|window| window == name)
}
