//! What can go wrong, in words for the person at the terminal.

/// Why the sensor could not start or change. The message says what; the hint, where there is one, how to fix it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel has no type information.
    #[error(
        "this kernel has no BTF: {0}. Hint: a kernel with CONFIG_DEBUG_INFO_BTF=y is needed (5.8 or newer; every current distribution's has it)"
    )]
    NoBtf(String),
    /// The kernel refuses even the simplest program.
    #[error(
        "the kernel refuses eBPF programs: {0}. Hint: {hint}", hint = hint()
    )]
    NoBpf(String),
    /// A tier was asked for that the kernel does not offer.
    #[error(
        "the hook tier '{wanted}' was asked for and the kernel refuses it: {reason}. Hint: set event_monitoring_config.hook_tier to auto"
    )]
    Tier {
        /// The tier.
        wanted: &'static str,
        /// What the kernel said.
        reason: String,
    },
    /// The programs did not load.
    #[error("the sensor's programs do not load: {0}")]
    Load(String),
    /// A map or program is missing from the object, or an update of it failed.
    #[error("{what}: {source}")]
    Bpf {
        /// What was being done.
        what: String,
        /// libbpf's error.
        source: libbpf_rs::Error,
    },
    /// The reader thread did not start.
    #[error("the reader thread did not start: {0}")]
    Thread(std::io::Error),
}

/// What most likely stands in the way: something must, where the simplest program does not load.
fn hint() -> &'static str {
    let own = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if own
        .lines()
        .any(|line| line.starts_with("Seccomp:") && line.ends_with('2'))
    {
        "a seccomp filter is in force, which may refuse bpf(2): let the container runtime's profile, or SystemCallFilter= of the systemd unit, allow bpf and perf_event_open"
    } else {
        "run as root with CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN), and see that kernel lockdown is not 'confidentiality'"
    }
}

pub(crate) trait Context<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Context<T> for Result<T, libbpf_rs::Error> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Bpf {
            what: what(),
            source,
        })
    }
}
