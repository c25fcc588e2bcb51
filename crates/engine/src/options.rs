//! What an engine is started with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use atalaya_model::capture::PacketOptions;
use atalaya_model::json::Scrubber;
use atalaya_policy::{DEFAULT_BURST, DEFAULT_PERIOD, EMULATED_AGENT_VERSION, HostFacts};
use atalaya_resolvers::{HashOptions, TreeOptions};
use atalaya_spool::Spool;

use atalaya_api::FlareSource;

use crate::doctor::ClassifierDoctor;
use crate::history::HistoryOptions;
use crate::hostnames::HostnameOptions;
use crate::output::Output;
use crate::protection::ProtectionOptions;
use crate::queue::QueueLimits;

/// What an engine is started with. Durations and limits have defaults that fit a host of any size.
#[derive(Debug)]
pub struct EngineOptions {
    /// The directory of the `*.policy` files.
    pub policies_dir: PathBuf,
    /// Where finished events go for the security-agent; `None` keeps them from it.
    pub spool: Option<Spool>,
    /// Where finished events go as JSON lines besides.
    pub output: Option<Output>,
    /// The host's name, for rules and events.
    pub hostname: String,
    /// This program's version, for events and status.
    pub version: String,
    /// The version that `agent_version` constraints of policies are checked against.
    pub agent_version: semver::Version,
    /// What `filters` of policies are checked against.
    pub host: HostFacts,
    /// Report failed calls of every errno, not only of denied access.
    pub capture_all_errors: bool,
    /// The variables whose values `process.envs` keeps (`envs_with_value`); `None` for the usual ones.
    pub envs_with_value: Option<Vec<String>>,
    /// What hides secrets in the arguments and variables that events carry.
    pub scrubber: Scrubber,
    /// How files are hashed; `None`: not at all.
    pub hash: Option<HashOptions>,
    /// The types of events whose files the `hash` action hashes.
    pub hash_event_types: Vec<String>,
    /// The rate limit of rules without `every`: one event a period, and so many at once.
    pub rule_limit: (Duration, u32),
    /// Read the policies again when their directory has not changed any more for so long; `None`: only when told to.
    pub watch_policies: Option<Duration>,
    /// The self-test.
    pub self_test: SelfTestOptions,
    /// The heartbeat.
    pub heartbeat: HeartbeatOptions,
    /// Bounds of the process tree.
    pub tree: TreeOptions,
    /// Bounds of the queues between the sensor and the event loop.
    pub queues: QueueLimits,
    /// What is asked of the classifiers of packets.
    pub packets: PacketOptions,
    /// How often the flows that were counted become events.
    pub flow_period: Duration,
    /// The names of addresses.
    pub hostnames: HostnameOptions,
    /// Who looks at the classifiers of the host; `None`: nobody does.
    pub doctor: Option<Arc<dyn ClassifierDoctor>>,
    /// Who collects what goes into a flare; `None`: nobody does.
    pub flare: Option<Arc<dyn FlareSource>>,
    /// Have the kernel count the time of programs all the time, not only while somebody asks for it.
    pub count_program_times: bool,
    /// How the agent protects itself.
    pub protection: ProtectionOptions,
    /// What is remembered of the seconds before an event.
    pub history: HistoryOptions,
    /// Evaluate the exec rules on the processes that are there at start (`event.source == "snapshot"`).
    pub replay_snapshot: bool,
}

/// Those of the options that can be changed while the engine runs: [`crate::Control::configure`].
#[derive(Debug, Clone, PartialEq)]
pub struct LiveOptions {
    /// [`EngineOptions::policies_dir`]
    pub policies_dir: PathBuf,
    /// [`EngineOptions::agent_version`]
    pub agent_version: semver::Version,
    /// [`EngineOptions::capture_all_errors`]
    pub capture_all_errors: bool,
    /// [`EngineOptions::packets`]
    pub packets: PacketOptions,
    /// [`EngineOptions::rule_limit`]
    pub rule_limit: (Duration, u32),
}

impl EngineOptions {
    /// What of it can be changed while the engine runs.
    pub fn live(&self) -> LiveOptions {
        LiveOptions {
            policies_dir: self.policies_dir.clone(),
            agent_version: self.agent_version.clone(),
            capture_all_errors: self.capture_all_errors,
            packets: self.packets,
            rule_limit: self.rule_limit,
        }
    }
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            policies_dir: PathBuf::from("/etc/atalaya/runtime-security.d"),
            spool: None,
            output: None,
            hostname: String::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            agent_version: EMULATED_AGENT_VERSION,
            host: HostFacts::default(),
            capture_all_errors: false,
            envs_with_value: None,
            scrubber: Scrubber::default(),
            hash: Some(HashOptions::default()),
            hash_event_types: vec!["exec".to_owned(), "open".to_owned()],
            rule_limit: (DEFAULT_PERIOD, DEFAULT_BURST),
            watch_policies: None,
            self_test: SelfTestOptions::default(),
            heartbeat: HeartbeatOptions::default(),
            tree: TreeOptions::default(),
            queues: QueueLimits::default(),
            packets: PacketOptions::default(),
            flow_period: Duration::from_secs(10),
            hostnames: HostnameOptions::default(),
            doctor: None,
            flare: None,
            count_program_times: false,
            protection: ProtectionOptions::default(),
            history: HistoryOptions::default(),
            replay_snapshot: true,
        }
    }
}

/// How the self-test runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfTestOptions {
    /// Run it at all.
    pub enabled: bool,
    /// Send the `self_test` event.
    pub send_report: bool,
    /// How long each of its events is waited for.
    pub timeout: Duration,
    /// How long after the start the first run is. `None` runs it on demand only.
    pub first_after: Option<Duration>,
    /// How long after a failed run the next one is, until one has passed.
    pub retry_after: Duration,
    /// How often a failed run is repeated.
    pub retries: u32,
    /// How long after a passed run, or the last repetition, the next one is.
    pub period: Duration,
    /// Where its private directory is made; `None` for `$TMPDIR`, else `/tmp`.
    pub parent_dir: Option<PathBuf>,
}

impl Default for SelfTestOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            send_report: true,
            timeout: Duration::from_secs(3),
            first_after: Some(Duration::from_secs(1)),
            retry_after: Duration::from_secs(15),
            retries: 25,
            period: Duration::from_secs(3600),
            parent_dir: None,
        }
    }
}

/// How the proof of life is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatOptions {
    /// How often the kernel is asked for one.
    pub period: Duration,
    /// How many may be missed before the status is unhealthy.
    pub misses: u32,
    /// The `heartbeat` event is sent this often at first …
    pub announce_early: Duration,
    /// … so many times …
    pub announce_early_count: u32,
    /// … and this often from then on.
    pub announce_late: Duration,
}

impl Default for HeartbeatOptions {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(5),
            misses: 3,
            announce_early: Duration::from_secs(60),
            announce_early_count: 5,
            announce_late: Duration::from_secs(600),
        }
    }
}
