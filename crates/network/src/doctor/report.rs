//! What the doctor reports: facts of each classifier, and one verdict for each interface. The form of `--json`.

use serde::Serialize;

use super::owner::Owner;
use super::verdict::Finding;
use crate::tc::{Direction, Hook};

/// The version of the form: grows when a field changes its meaning or goes.
pub(crate) const VERSION: u32 = 1;

/// What is told of the whole host.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// See [`VERSION`].
    pub version: u32,
    /// Whether a person should do something; the exit code of the command is 1 then.
    pub trouble: bool,
    /// The worst verdict of all interfaces.
    pub verdict: Verdict,
    /// In one sentence.
    pub summary: String,
    /// Whether network detections are on (`network.enabled`).
    pub enabled: bool,
    /// Whether packets that come in are looked at, too (`network.ingress.enabled`).
    pub ingress: bool,
    /// Whether system-probe has its classifiers attached somewhere at present.
    pub attached: bool,
    /// The hook that its classifiers use on this kernel.
    pub hook: Hook,
    /// `classifier_priority` as it is set.
    pub classifier_priority: u16,
    /// The highest one that would be right for all interfaces; None where none is.
    pub right_priority: Option<u16>,
    /// What to do, each once.
    pub advice: Vec<String>,
    /// What limits this report.
    pub notes: Vec<String>,
    /// The namespaces, this one first.
    pub namespaces: Vec<NamespaceReport>,
}

/// One network namespace.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NamespaceReport {
    /// The kernel's number of it.
    pub inum: u32,
    /// Whether it is the doctor's own.
    pub own: bool,
    /// Where it is bind-mounted, as `ip netns add` does.
    pub path: Option<String>,
    /// Some of its processes.
    pub pids: Vec<u32>,
    /// Why it could not be looked at.
    pub error: Option<String>,
    /// Its interfaces.
    pub interfaces: Vec<InterfaceReport>,
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InterfaceReport {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `veth`, `bridge`, …
    pub kind: Option<String>,
    /// What it comes to.
    pub verdict: Verdict,
    /// Why, one sentence each.
    pub reasons: Vec<String>,
    /// What to do.
    pub advice: Vec<String>,
    /// Packets that our classifiers have seen there since they were attached; None where that is not counted.
    pub packets: Option<u64>,
    /// Ingress first, each direction in the order in which the kernel runs it.
    pub classifiers: Vec<Classifier>,
    /// Why it could not be looked at.
    pub error: Option<String>,
}

/// One program or filter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Classifier {
    /// What runs it.
    pub hook: Hook,
    /// Which packets.
    pub direction: Direction,
    /// Its place in the order of its direction, from 0.
    pub position: usize,
    /// Its priority; None in tcx.
    pub priority: Option<u16>,
    /// Its handle; None in tcx.
    pub handle: Option<u32>,
    /// The `ETH_P_…` that it is run for; None of all.
    pub protocol: Option<u16>,
    /// Its chain.
    pub chain: u32,
    /// `bpf`, `flower`, …
    pub kind: String,
    /// Its program's number; None of what is no eBPF program.
    pub program: Option<u32>,
    /// Its program's name.
    pub name: String,
    /// Its program's tag, 16 hexadecimal digits.
    pub tag: String,
    /// The number of its tcx link.
    pub link: Option<u32>,
    /// The filter's name, by `tc` `FILE:[SECTION]`.
    pub filter_name: Option<String>,
    /// Whether it is system-probe's.
    pub ours: bool,
    /// Whether its return value is the verdict.
    pub direct_action: bool,
    /// Who holds its program.
    #[serde(flatten)]
    pub owner: Owner,
    /// What its verdicts can be.
    #[serde(flatten)]
    pub finding: Finding,
    /// The programs that it tail-calls at present.
    pub tail_calls: Vec<u32>,
}

/// What it comes to for one interface, or the worst of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Network detections are off.
    Off,
    /// Nobody else is there.
    Alone,
    /// Others are there, and it is proved that neither is in the way of the other.
    InPeace,
    /// Ours are not attached although they would be, with no other in their way: no rule wants packets, or system-probe is not running.
    NotAttached,
    /// A classifier that is run before ours may end the chain: it is not known.
    MayBeBlind,
    /// A classifier of ours drops packets (a rule's `network_filter`), which those behind it do not see.
    Blinds,
    /// A classifier that is run before ours can end the chain: such packets are not seen.
    Blind,
    /// It could not be looked at.
    Failed,
}

impl Verdict {
    /// Whether a person should do something.
    pub const fn is_trouble(self) -> bool {
        matches!(self, Self::MayBeBlind | Self::Blind | Self::Failed)
    }

    /// In words.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Alone => "all traffic is seen; no other classifier",
            Self::InPeace => "all traffic is seen; other classifiers are not in the way",
            Self::NotAttached => "nothing is attached; nothing would be in the way",
            Self::MayBeBlind => "traffic may be missed",
            Self::Blinds => "traffic is hidden from other classifiers",
            Self::Blind => "traffic is missed",
            Self::Failed => "not known",
        }
    }
}
