//! What a load starts from: where the policies are, and what is known of this host.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// The texts of policy files by path.
pub type Texts = BTreeMap<PathBuf, Arc<str>>;

/// What [`crate::RuleSet::load`] reads.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Policies that were pushed to the agent. They come before the files, and a default policy among them stands for the
    /// file's.
    pub remote: Vec<InternalPolicy>,
    /// The directory whose `*.policy` files are read; `None` reads none.
    pub policies_dir: Option<PathBuf>,
    /// More policy files, whatever their extension, and directories of `*.policy` files; read in this order after
    /// `policies_dir`.
    pub paths: Vec<PathBuf>,
    /// Texts of files from an earlier load ([`crate::RuleSet::texts`]): where a file is there but cannot be read as a policy at
    /// all, the earlier text counts on.
    pub earlier: Texts,
    /// Policies that the agent itself brings (self-test, heartbeat). They come after the directory's.
    pub internal: Vec<InternalPolicy>,
    /// What `filters` are evaluated against.
    pub host: HostFacts,
    /// The agent version that `agent_version` constraints are checked against. Pre-release and build parts are dropped.
    pub agent_version: semver::Version,
    /// The event types that are enabled; a rule of another type is an error. `None`: every type the schema
    /// has.
    pub event_types: Option<BTreeSet<String>>,
    /// Whether rules may act on processes (`kill`); such actions are errors where not.
    pub enforcement: bool,
}

/// The version of the reference agent whose language this one speaks.
pub const EMULATED_AGENT_VERSION: semver::Version = semver::Version::new(7, 83, 0);

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            remote: Vec::new(),
            policies_dir: None,
            paths: Vec::new(),
            earlier: Texts::default(),
            internal: Vec::new(),
            host: HostFacts::default(),
            agent_version: EMULATED_AGENT_VERSION,
            event_types: None,
            enforcement: true,
        }
    }
}

/// A policy from memory.
#[derive(Debug, Clone)]
pub struct InternalPolicy {
    /// The policy's name in reports and events.
    pub name: String,
    /// Where it says it is from (`self-test`, `bundled`).
    pub source: String,
    /// The YAML text.
    pub content: String,
}

/// What `filters` of rules and macros may ask of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// `os`: `linux`.
    pub os: String,
    /// `os.id`, as in `os-release` (`debian`).
    pub os_id: String,
    /// `os.platform_id` of `os-release`.
    pub os_platform_id: String,
    /// `os.version_id` of `os-release` (`12`).
    pub os_version_id: String,
    /// `ID_LIKE` of `os-release`, for the `os.is_*` facts.
    pub os_id_like: Vec<String>,
    /// `kernel.version.major`.
    pub kernel_major: i64,
    /// `kernel.version.minor`.
    pub kernel_minor: i64,
    /// `kernel.version.patch`.
    pub kernel_patch: i64,
    /// `kernel.version.abi` (`28` in `6.1.0-28-amd64`).
    pub kernel_abi: String,
    /// `kernel.version.flavor` (`amd64` in `6.1.0-28-amd64`).
    pub kernel_flavor: String,
    /// `kernel.core.enabled`: the probes are CO-RE.
    pub core_enabled: bool,
    /// `envs`: the agent's own environment (`NAME=value`).
    pub envs: Vec<String>,
    /// `origin`: `ebpf`.
    pub origin: String,
    /// `hostname`.
    pub hostname: String,
}

impl Default for HostFacts {
    fn default() -> Self {
        Self {
            os: "linux".to_owned(),
            os_id: String::new(),
            os_platform_id: String::new(),
            os_version_id: String::new(),
            os_id_like: Vec::new(),
            kernel_major: 0,
            kernel_minor: 0,
            kernel_patch: 0,
            kernel_abi: String::new(),
            kernel_flavor: String::new(),
            core_enabled: true,
            envs: Vec::new(),
            origin: "ebpf".to_owned(),
            hostname: String::new(),
        }
    }
}

impl HostFacts {
    /// Fills the kernel facts from a release as `uname -r` gives it (`6.1.0-28-amd64`).
    pub fn set_kernel_release(&mut self, release: &str) {
        let mut parts = release.splitn(3, '-');
        let mut numbers = parts.next().unwrap_or_default().split('.').map(|part| {
            part.chars()
                .take_while(char::is_ascii_digit)
                .collect::<String>()
                .parse()
                .unwrap_or(0)
        });
        self.kernel_major = numbers.next().unwrap_or(0);
        self.kernel_minor = numbers.next().unwrap_or(0);
        self.kernel_patch = numbers.next().unwrap_or(0);
        self.kernel_abi = parts.next().unwrap_or_default().to_owned();
        self.kernel_flavor = parts.next().unwrap_or_default().to_owned();
    }

    /// Fills the distribution facts from the text of `/etc/os-release`.
    pub fn set_os_release(&mut self, text: &str) {
        for line in text.lines() {
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            let value = value.trim().trim_matches(['"', '\'']);
            match key.trim() {
                "ID" => value.clone_into(&mut self.os_id),
                "PLATFORM_ID" => value.clone_into(&mut self.os_platform_id),
                "VERSION_ID" => value.clone_into(&mut self.os_version_id),
                "ID_LIKE" => {
                    self.os_id_like = value.split_whitespace().map(str::to_owned).collect();
                }
                _ => {}
            }
        }
    }
}
