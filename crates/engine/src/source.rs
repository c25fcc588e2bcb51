//! Where captures come from: what the engine asks of the sensor, and nothing more, so that tests can feed it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

use atalaya_model::capture::{
    Approvers, Capture, CaptureKind, Loss, PacketFilters, PacketOptions, PacketOrders,
    PacketSubject,
};
use atalaya_resolvers::TaskSource;

/// Where the source delivers to, in the order of time. It is called by the source's own thread and does not block for file
/// captures.
pub type Sink = Box<dyn FnMut(Capture) + Send>;

/// What the rules want to see.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interest {
    /// The file events that some rule is about, and which of them can match. Process life-cycle captures are wanted
    /// always, all of them, and are not in here.
    pub approvers: BTreeMap<CaptureKind, Approvers>,
    /// Failed calls of every errno, not only of denied access.
    pub capture_all_errors: bool,
    /// What is asked of the classifiers of packets.
    pub packets: PacketOptions,
    /// The filters that they run.
    pub filters: PacketFilters,
}

/// What became of an [`Interest`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApplyReport {
    /// Kinds that are wanted and cannot be seen on this host, and why.
    pub unavailable: BTreeMap<CaptureKind, String>,
}

/// A hook that could not be attached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MissingHook {
    /// Its name.
    pub hook: String,
    /// Why.
    pub reason: String,
    /// The kinds of events that are not seen, or not wholly, without it.
    pub kinds: Vec<CaptureKind>,
}

/// One ring buffer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ring {
    /// `vital`, `bulk`.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Records read.
    pub received: u64,
    /// Records that found no place.
    pub lost: u64,
    /// Bytes that waited to be read at the last look, and the most that ever did; `None` where it cannot be known.
    pub waiting: Option<u64>,
    /// See [`waiting`](Self::waiting).
    pub high_water: Option<u64>,
}

/// What a program of the kernel side has done since it was loaded, for as long as the kernel counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProgramTime {
    /// Its name.
    pub name: String,
    /// The kinds of events that it serves.
    pub kinds: Vec<CaptureKind>,
    /// How often it ran.
    pub runs: u64,
    /// For how long, in nanoseconds.
    pub run_time_ns: u64,
}

/// The state of the source, for `status`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceReport {
    /// `lsm`, `kprobe`, `tracepoint`.
    pub tier: String,
    /// Why this tier.
    pub tier_reason: String,
    /// Programs attached now.
    pub programs: Vec<String>,
    /// Hooks that are missing.
    pub missing: Vec<MissingHook>,
    /// Ring buffers.
    pub rings: Vec<Ring>,
    /// Records that could not be decoded.
    pub malformed: u64,
    /// What could be better, one line each.
    pub warnings: Vec<String>,
    /// What else people may want to know.
    pub details: BTreeMap<String, String>,
}

/// A table of the kernel's filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FilterTable {
    /// How many entries the kernel has in it now.
    pub entries: u64,
    /// How many were written.
    pub expected: u64,
}

/// Our classifiers, and what they have seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClassifiersSeen {
    /// The numbers of our programs; none while no rule wants packets.
    pub programs: BTreeSet<u32>,
    /// Packets, by network namespace and interface.
    pub packets: BTreeMap<(u32, u32), u64>,
}

/// Whether the kernel still has what the source has put there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Integrity {
    /// The numbers of its maps.
    pub maps: BTreeSet<u32>,
    /// What was not as it had been left.
    pub damages: Vec<Damage>,
}

/// Something in the kernel that was not as it had been left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Damage {
    /// What, and how.
    pub what: String,
    /// Why it could not be put right, if so.
    pub left: Option<String>,
}

/// Why the source refused. The message is what the person at the terminal reads.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

/// Who has packets dropped.
pub trait PacketEnforcer: std::fmt::Debug + Send {
    /// What is done from here on to the packets of somebody that pass the filters of actions; nothing removes the orders.
    ///
    /// # Errors
    /// There are too many, or the kernel says no.
    fn set(&self, subject: PacketSubject, orders: PacketOrders) -> Result<(), SourceError>;
}

/// A source of captures: the sensor, or a test's own.
///
/// The order of use is `apply`, `start`, then the rest in any order, `apply` again at each reload. Dropping it detaches
/// everything and ends its thread.
pub trait EventSource: Send {
    /// Attaches what is needed for `interest` and sets the kernel's filters; the new filters are active before those
    /// that are needed no more are removed. On an error the former interest stays in force.
    fn apply(&mut self, interest: &Interest) -> Result<ApplyReport, SourceError>;
    /// Begins to deliver. What was captured since `apply` is delivered as well.
    fn start(&mut self, sink: Sink) -> Result<(), SourceError>;
    /// The losses since the last call.
    fn take_losses(&mut self) -> Vec<Loss>;
    /// The flows of packets since the last call, as captures.
    fn take_flows(&mut self) -> Vec<Capture> {
        Vec::new()
    }
    /// Who has packets dropped; `None` while nobody can. To be asked for again after each `apply`.
    fn packet_enforcer(&mut self) -> Option<Box<dyn PacketEnforcer>> {
        None
    }
    /// Asks the kernel for a sign of life that comes back as a heartbeat capture with this number.
    fn heartbeat(&mut self, number: u64) -> Result<(), SourceError>;
    /// Who lists all processes, for a process tree that has lost its thread; `None` where nobody can.
    fn tasks(&mut self) -> Option<Box<dyn TaskSource>> {
        None
    }
    /// Looks whether the kernel still has what was put there, and puts right what it has not.
    fn integrity(&mut self) -> Integrity {
        Integrity::default()
    }
    /// What the classifiers are and have seen, for the network doctor.
    fn classifiers_seen(&self) -> ClassifiersSeen {
        ClassifiersSeen::default()
    }
    /// Has the kernel count the time of programs until what this returns is dropped.
    ///
    /// # Errors
    /// It cannot, or it is not permitted.
    fn count_program_times(&self) -> Result<OwnedFd, SourceError> {
        Err(SourceError("there are no programs here".to_owned()))
    }
    /// What each program has done.
    fn program_times(&self) -> Vec<ProgramTime> {
        Vec::new()
    }
    /// The kernel's filter tables, by name.
    ///
    /// # Errors
    /// They cannot be read.
    fn filter_tables(&self) -> Result<BTreeMap<String, FilterTable>, SourceError> {
        Ok(BTreeMap::new())
    }
    /// The state of the source.
    fn report(&self) -> SourceReport;
}
