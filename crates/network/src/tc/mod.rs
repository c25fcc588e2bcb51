//! Traffic control: the programs and filters that the kernel runs for each packet of an interface.
//!
//! A packet meets, in each direction, first the programs of tcx (6.6 and newer), in the order of their array, then the filters of the
//! `clsact` qdisc, by priority. A tcx program that returns `TCX_NEXT`, and a filter that returns `TC_ACT_UNSPEC` (both -1), pass the packet
//! on to the next one; any other verdict is the last word, and nobody behind sees the packet.

pub mod filter;
pub mod link;
mod listing;

use std::fmt;

pub use listing::{Lister, list};

/// Which way a packet goes, seen from the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Into the host.
    Ingress,
    /// Out of it.
    Egress,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What runs a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// The array of programs of a device, since 6.6: run first.
    Tcx,
    /// The filters of the `clsact` qdisc, or of the `ingress` qdisc that it replaced.
    Clsact,
}

impl Hook {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// An eBPF program that is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramRef {
    /// Its number, which no other program has as long as the host runs.
    pub id: u32,
    /// The kernel's hash of its instructions.
    pub tag: [u8; 8],
    /// The name that its loader gave it: at most 15 bytes, any of them.
    pub name: String,
    /// Whether its return value is the verdict. Always so in tcx; else a filter's classid is what it returns.
    pub direct_action: bool,
}

/// An action of a filter that is not direct: done for what the filter matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// `gact`, `mirred`, …
    pub kind: String,
    /// What a `gact` says: `TC_ACT_…`.
    pub control: Option<i32>,
}

/// One program or filter on one side of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// What runs it.
    pub hook: Hook,
    /// Which packets.
    pub direction: Direction,
    /// Its place in the order of its direction, from 0, over both hooks. Filters of chains other than 0 come last: they are run when an
    /// action sends a packet there.
    pub position: usize,
    /// A filter's priority: the lower number is run first. 0 in tcx.
    pub priority: u16,
    /// A filter's handle: distinguishes filters of one priority, of which the newest is run first. 0 in tcx.
    pub handle: u32,
    /// The `ETH_P_…` that a filter is run for; 3 (`ETH_P_ALL`) is all, and what tcx has.
    pub protocol: u16,
    /// A filter's chain; 0 is where each packet begins.
    pub chain: u32,
    /// The eBPF program; None of other kinds of filters and of classic BPF.
    pub program: Option<ProgramRef>,
    /// The link that holds a tcx program; None where it was attached without.
    pub link_id: Option<u32>,
    /// The kind of filter: `bpf`, `flower`, `matchall`, `u32`, …
    pub kind: String,
    /// The name that a `bpf` filter was given, by iproute2 `FILE:[SECTION]`.
    pub filter_name: Option<String>,
    /// The actions of a filter; empty of those that are direct.
    pub actions: Vec<Action>,
    /// Whether only the network card runs it (`skip_sw`): no packet meets it on the host.
    pub offloaded_only: bool,
    /// The block of filters that several interfaces share, where this filter is of one.
    pub shared_block: Option<u32>,
}

/// `ETH_P_ALL`: packets of all protocols.
pub const ETH_P_ALL: u16 = 3;
