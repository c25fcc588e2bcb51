//! The nodes one pid has had of late.

use std::sync::Arc;

use atalaya_model::Process;

/// How many nodes of one pid are kept: a shell that execs in a loop must not fill memory.
const MAX_NODES: usize = 8;

/// One pid.
#[derive(Debug)]
pub(super) struct Slot {
    /// Node and the boot time it is valid from, oldest first. Never empty.
    nodes: Vec<(u64, Arc<Process>)>,
    /// Start of the process (boot time, ns); 0 when unknown.
    pub(super) start_ns: u64,
    /// The lower half of the exact start; 0 when unknown.
    pub(super) start_low: u32,
    /// When it ended; 0 while it lives.
    pub(super) ended_ns: u64,
    /// When its node was read from `/proc`; 0 when it was built from captures. Captures from before are already in the
    /// node.
    pub(super) read_at_ns: u64,
    /// Only the header is known, and `/proc` was not asked yet.
    pub(super) wants_procfs: bool,
    /// Heard of since eviction last looked.
    pub(super) referenced: bool,
}

impl Slot {
    pub(super) fn new(since_ns: u64, process: Arc<Process>) -> Self {
        Self {
            nodes: vec![(since_ns, process)],
            start_ns: 0,
            start_low: 0,
            ended_ns: 0,
            read_at_ns: 0,
            wants_procfs: false,
            referenced: true,
        }
    }

    /// The node now.
    pub(super) fn newest(&self) -> &Arc<Process> {
        // Never empty: `new` puts one in, and `push` keeps the newest.
        &self.nodes[self.nodes.len() - 1].1
    }

    /// The node at a time; the oldest kept where that is not old enough.
    pub(super) fn at(&self, time_ns: u64) -> &Arc<Process> {
        let index = self
            .nodes
            .iter()
            .rposition(|(since, _)| *since <= time_ns)
            .unwrap_or(0);
        &self.nodes[index].1
    }

    /// Whether what happened at this time happened to the newest node.
    pub(super) fn is_newest_at(&self, time_ns: u64) -> bool {
        self.nodes[self.nodes.len() - 1].0 <= time_ns || self.nodes.len() == 1
    }

    /// Whether the process had ended for sure by then: the pid has a new owner. The margin covers what a dying task
    /// still does after its exit hook (closing files, io_uring requests).
    pub(super) fn is_over(&self, time_ns: u64) -> bool {
        const MARGIN_NS: u64 = 100_000_000;
        self.ended_ns != 0 && time_ns > self.ended_ns + MARGIN_NS
    }

    /// Since when the newest node is valid.
    pub(super) fn newest_since(&self) -> u64 {
        self.nodes[self.nodes.len() - 1].0
    }

    /// Whether what happened at this time was done by another process than the pid's owner that is known here. `start_low` is the lower
    /// half of the start of who did it, 0 when unknown. What is older than the owner may be a former owner's.
    pub(super) fn is_of_another(&self, start_low: u32, time_ns: u64) -> bool {
        if start_low == 0 || time_ns < self.start_ns {
            return false;
        }
        if self.start_low != 0 {
            return self.start_low != start_low;
        }
        // Known to a clock tick only; the halves wrap around together.
        let tick = (1_000_000_000 / crate::procfs::clock_ticks()) as u32;
        let ahead = start_low.wrapping_sub(self.start_ns as u32);
        self.start_ns != 0 && ahead > tick && ahead.wrapping_neg() > tick
    }

    /// Exchanges the newest node for a changed copy.
    pub(super) fn replace_newest(&mut self, process: Arc<Process>) {
        let last = self.nodes.len() - 1;
        self.nodes[last].1 = process;
    }

    /// Adds a node, and forgets those that no event can be of any more.
    pub(super) fn push(&mut self, since_ns: u64, process: Arc<Process>, keep_ns: u64) {
        // A node is needed until `keep` after its successor began.
        let horizon = since_ns.saturating_sub(keep_ns);
        let first = self
            .nodes
            .iter()
            .rposition(|(since, _)| *since < horizon)
            .unwrap_or(0)
            .max((self.nodes.len() + 1).saturating_sub(MAX_NODES));
        self.nodes.drain(..first);
        self.nodes.push((since_ns, process));
    }

    /// The nodes of a former owner of the pid, carried over to the next for late events.
    pub(super) fn inherit(&mut self, former: Self, keep_ns: u64) {
        let Some((since_ns, process)) = self.nodes.pop() else {
            return;
        };
        self.nodes = former.nodes;
        self.push(since_ns, process, keep_ns);
    }
}
