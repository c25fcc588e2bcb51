//! Which hooks this kernel offers.

use std::collections::BTreeSet;

use libbpf_rs::ObjectBuilder;

use crate::error::Error;
use crate::log;

static PROBES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/probe.bpf.o"));

/// A set of hooks that sees the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Trampolines on the functions that do the work, and the security hooks.
    Lsm,
    /// Breakpoints on the same functions: dearer, and without a word in what the kernel decides.
    Kprobe,
    /// Tracepoints only.
    Tracepoint,
}

impl Tier {
    /// Every tier, the best first.
    pub const ALL: [Self; 3] = [Self::Lsm, Self::Kprobe, Self::Tracepoint];

    /// Its name in configuration and in `status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lsm => "lsm",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
        }
    }

    /// The tier of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.name() == name)
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
pub(crate) fn choose(wanted: Option<Tier>, trials: &mut Trials) -> Result<Choice, Error> {
    if wanted.is_none_or(|wanted| wanted == Tier::Lsm) {
        trials.load_together(&BEST);
    }
    trials.load("probe_tracepoint").map_err(Error::NoBpf)?;
    let mut refusals = Vec::new();
    for tier in Tier::ALL {
        if wanted.is_some_and(|wanted| wanted != tier) {
            continue;
        }
        match offered(tier, trials) {
            Ok(()) => {
                let bpf_lsm = tier == Tier::Lsm && lsm_is_active(trials);
                let reason = match (wanted, refusals.is_empty()) {
                    (Some(_), _) => "set by configuration".into(),
                    (None, true) if bpf_lsm => {
                        "fentry programs load and BPF is an active LSM".into()
                    }
                    (None, true) => {
                        "fentry programs load; BPF is not in the list of active LSMs".into()
                    }
                    (None, false) => format!("the kernel refuses {}", refusals.join(", and ")),
                };
                return Ok(Choice {
                    tier,
                    bpf_lsm,
                    reason,
                });
            }
            Err(reason) if wanted.is_some() => {
                return Err(Error::Tier {
                    wanted: tier.name(),
                    reason,
                });
            }
            Err(reason) => refusals.push(reason),
        }
    }
    Err(Error::NoBpf(refusals.join(", and ")))
}

/// Whether the kernel has the hooks of a tier, or what it refuses.
fn offered(tier: Tier, trials: &mut Trials) -> Result<(), String> {
    match tier {
        Tier::Lsm => trials
            .load("probe_fentry")
            .map_err(|reason| format!("fentry programs: {reason}")),
        // The kernel loads these programs even where it was built without kprobes.
        Tier::Kprobe => load(&["probe_kprobe", "probe_kretprobe"], true)
            .map_err(|reason| format!("kprobes: {reason}")),
        Tier::Tracepoint => Ok(()), // its program has been loaded already
    }
}

/// An LSM program loads even where nobody calls it.
fn lsm_is_active(trials: &mut Trials) -> bool {
    let active = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    active.trim().split(',').any(|lsm| lsm == "bpf") && trials.load("probe_lsm").is_ok()
}

/// What a kernel that refuses nothing takes.
const BEST: [&str; 4] = [
    "probe_tracepoint",
    "probe_fentry",
    "probe_lsm",
    "probe_current",
];

/// The programs of `probe.bpf.c` that have been tried.
#[derive(Debug, Default)]
pub(crate) struct Trials {
    taken: BTreeSet<&'static str>,
}

impl Trials {
    /// Loads programs at once, since each load reads all types of the kernel. Where one is refused nothing is known of the others.
    fn load_together(&mut self, programs: &[&'static str]) {
        if load(programs, false).is_ok() {
            self.taken.extend(programs);
        }
    }

    /// Loads one program, if it has not been taken before.
    pub(crate) fn load(&mut self, program: &'static str) -> Result<(), String> {
        if !self.taken.contains(program) {
            load(&[program], false)?;
            self.taken.insert(program);
        }
        Ok(())
    }
}

/// Loads programs, and attaches them for a moment where that is asked for.
fn load(programs: &[&str], attach: bool) -> Result<(), String> {
    let mut builder = ObjectBuilder::default();
    let mut object = builder
        .open_memory(PROBES)
        .map_err(|error| error.to_string())?;
    let is_asked = |name: &std::ffi::OsStr| programs.iter().any(|program| name == *program);
    for mut candidate in object.progs_mut() {
        let autoload = is_asked(candidate.name());
        candidate.set_autoload(autoload);
    }
    log::clear();
    let object = object.load().map_err(|error| log::explain(&error))?;
    if attach {
        for candidate in object.progs_mut().filter(|p| is_asked(p.name())) {
            candidate
                .attach()
                .map(drop)
                .map_err(|error| log::explain(&error))?;
        }
    }
    Ok(())
}
