//! Which hooks this kernel offers.

use libbpf_rs::ObjectBuilder;

use crate::error::Error;
use crate::log;

static PROBES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/probe.bpf.o"));

/// A set of hooks that sees the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Trampolines on the functions that do the work, and the security hooks.
    Lsm,
    /// Tracepoints only.
    Tracepoint,
}

impl Tier {
    /// Its name in configuration and in `status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lsm => "lsm",
            Self::Tracepoint => "tracepoint",
        }
    }

    /// The tier of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Lsm, Self::Tracepoint]
            .into_iter()
            .find(|tier| tier.name() == name)
    }
}

/// The tier that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The tier.
    pub tier: Tier,
    /// Whether BPF is an active LSM, so that its hooks are called. Without it fentry sees the same.
    pub bpf_lsm: bool,
    /// Why this tier and not a better one.
    pub reason: String,
}

/// Chooses by loading a tiny real program of each kind.
pub(crate) fn choose(wanted: Option<Tier>) -> Result<Choice, Error> {
    load("probe_tracepoint").map_err(Error::NoBpf)?;
    let fentry = load("probe_fentry");
    let lsm_list = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    let bpf_lsm = fentry.is_ok()
        && lsm_list.trim().split(',').any(|lsm| lsm == "bpf")
        && load("probe_lsm").is_ok();
    match (wanted, fentry) {
        (Some(Tier::Tracepoint), _) => Ok(Choice {
            tier: Tier::Tracepoint,
            bpf_lsm: false,
            reason: "set by configuration".into(),
        }),
        (Some(Tier::Lsm), Err(reason)) => Err(Error::Tier {
            wanted: "lsm",
            reason,
        }),
        (_, Ok(())) => {
            let reason = if bpf_lsm {
                "fentry programs load and BPF is an active LSM"
            } else {
                "fentry programs load; BPF is not in the list of active LSMs"
            };
            Ok(Choice {
                tier: Tier::Lsm,
                bpf_lsm,
                reason: reason.into(),
            })
        }
        (None, Err(reason)) => Ok(Choice {
            tier: Tier::Tracepoint,
            bpf_lsm: false,
            reason: format!("the kernel refuses fentry programs: {reason}"),
        }),
    }
}

fn load(program: &str) -> Result<(), String> {
    let mut builder = ObjectBuilder::default();
    let mut object = builder
        .open_memory(PROBES)
        .map_err(|error| error.to_string())?;
    for mut candidate in object.progs_mut() {
        let autoload = candidate.name() == program;
        candidate.set_autoload(autoload);
    }
    log::clear();
    object
        .load()
        .map(drop)
        .map_err(|error| log::explain(&error))
}
