//! The table of keys.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use crate::load::Program;
use crate::names::{AgentVersion, HashNames};
use crate::networks::Networks;
use crate::secret::Secret;
use crate::value::{Positive, Setting, words};
use crate::yaml::Node;

words! {
    /// Which kernel hooks are used.
    HookTier: "auto, lsm, kprobe or tracepoint" {
        /// The best that this kernel can do.
        Auto = "auto",
        /// BPF LSM or fentry.
        Lsm = "lsm",
        /// kprobes.
        Kprobe = "kprobe",
        /// Tracepoints only.
        Tracepoint = "tracepoint",
    }
}

words! {
    /// Which packets are told of those that pass a rule's filter and that no process is known of.
    Ownerless: "all, no_pid_tcp_syn or none" {
        /// All.
        All = "all",
        /// Those that open a connection of TCP.
        TcpSyn = "no_pid_tcp_syn",
        /// None.
        None = "none",
    }
}

words! {
    /// How much is logged.
    LogLevel: "off, error, warn, info, debug or trace" {
        /// Nothing.
        Off = "off",
        /// What failed.
        Error = "error",
        /// And what may be wrong.
        Warn = "warn",
        /// And what happens.
        Info = "info",
        /// And how.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

/// When a change of a key has an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// At the next start of the program.
    Restart,
    /// At once when the configuration is read again: SIGHUP, `config reload`.
    Live,
    /// Never: it is accepted, and its documentation says why.
    Never,
}

impl Effect {
    /// As the documentation says it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Restart => "with a restart",
            Self::Live => "at once, with `config reload` or SIGHUP",
            Self::Never => "never",
        }
    }
}

/// One key, as files, environment and documentation know it.
pub struct Key {
    /// Its full name with dots.
    pub name: &'static str,
    /// The same key under another name, as `event_monitoring_config.*` under `runtime_security_config.*`.
    pub alias: Option<&'static str>,
    /// What it takes, for people.
    pub expected: &'static str,
    /// The unit of a number; empty when it has none.
    pub unit: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// In whose file it belongs; `None`: in either.
    pub home: Option<Program>,
    /// When a change of it has an effect.
    pub effect: Effect,
    /// Its value is never shown.
    pub secret: bool,
    pub(crate) show: fn(&Config) -> String,
    pub(crate) set_node: fn(&mut Config, &Node) -> bool,
    pub(crate) set_text: fn(&mut Config, &str) -> bool,
    pub(crate) differs: fn(&Config, &Config) -> bool,
    pub(crate) copy: fn(&mut Config, &Config),
}

impl Key {
    /// Its name in the environment.
    pub fn env(&self) -> String {
        env_name(self.name)
    }

    /// Its default as it would be written in a file.
    pub fn default(&self) -> String {
        (self.show)(&Config::default())
    }

    /// Its value as it would be written in a file.
    pub fn value(&self, config: &Config) -> String {
        (self.show)(config)
    }
}

/// `a.b_c` is `DD_A_B_C` in the environment.
pub(crate) fn env_name(name: &str) -> String {
    format!("DD_{}", name.to_ascii_uppercase().replace('.', "_"))
}

macro_rules! keys {
    ($($(#[doc = $doc:literal])+ $name:literal $(or $alias:literal)? => $field:ident: $kind:ty = $default:expr, $unit:literal, $home:expr $(, $effect:ident)?;)+) => {
        /// Every setting with its value.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Config {
            $($(#[doc = $doc])+ #[doc = ""] #[doc = concat!("`", $name, "`")] pub $field: $kind,)+
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        /// Every key, in the order of the documentation.
        pub static KEYS: &[Key] = &[$(Key {
            name: $name,
            alias: keys!(@alias $($alias)?),
            expected: <$kind as Setting>::EXPECTED,
            unit: $unit,
            doc: concat!($($doc, "\n"),+),
            home: $home,
            effect: keys!(@effect $($effect)?),
            secret: <$kind as Setting>::SECRET,
            show: |config| config.$field.show(),
            set_node: |config, node| match <$kind as Setting>::from_node(node) {
                Some(value) => { config.$field = value; true }
                None => false,
            },
            differs: |a, b| a.$field != b.$field,
            copy: |to, from| to.$field.clone_from(&from.$field),
            set_text: |config, text| match <$kind as Setting>::from_text(text) {
                Some(value) => { config.$field = value; true }
                None => false,
            },
        },)+];
    };
    (@effect) => { Effect::Restart };
    (@effect $effect:ident) => { Effect::$effect };
    (@alias) => { None };
    (@alias $alias:literal) => { Some($alias) };
}

const PROBE: Option<Program> = Some(Program::SystemProbe);
const AGENT: Option<Program> = Some(Program::SecurityAgent);
const EITHER: Option<Program> = None;

keys! {
    /// Main switch. When it is off, both programs say so and end.
    "runtime_security_config.enabled" => enabled: bool = true, "", EITHER;

    /// The unix socket between the two programs: mode 0660, group of `security_agent.user`.
    "runtime_security_config.socket" => socket: PathBuf = "/run/atalaya/runtime-security.sock".into(), "", EITHER;

    /// Directory of the policy files: `default.policy` first, then the other `*.policy` files by name.
    "runtime_security_config.policies.dir" => policies_dir: PathBuf = "/etc/atalaya/runtime-security.d".into(), "", EITHER, Live;

    /// Read the policies again when a file of that directory changes, 5 s after the last change. Only what happens in the
    /// directory itself is seen, not a change of a file elsewhere that a link leads to.
    "runtime_security_config.policies.watch_dir" => policies_watch_dir: bool = true, "", PROBE;

    /// The version of the Datadog Agent whose rules are understood: what the `agent_version` of rules and macros is checked
    /// against.
    "runtime_security_config.policies.agent_version" => policies_agent_version: AgentVersion = AgentVersion::DEFAULT, "", EITHER, Live;

    /// Run the self-test at start and every hour, and allow `runtime self-test`.
    "runtime_security_config.self_test.enabled" => self_test_enabled: bool = true, "", PROBE;

    /// Send the result of a self-test as a `self_test` event.
    "runtime_security_config.self_test.send_report" => self_test_send_report: bool = true, "", PROBE;

    /// How long the self-test waits for its events.
    "runtime_security_config.self_test.timeout" => self_test_timeout: Positive = Positive::seconds(10), "", PROBE;

    /// How long after a self-test that passed the next one runs.
    "runtime_security_config.self_test.period" => self_test_period: Positive = Positive::seconds(3600), "", PROBE;

    /// Report every failed system call that a rule asks for. When off, only those that failed with EACCES or EPERM.
    "runtime_security_config.syscalls.capture_all_errors.enabled" => capture_all_errors: bool = false, "", PROBE, Live;

    /// The address of the cloud's metadata service (`imds` events).
    "runtime_security_config.imds_ipv4" => imds_ipv4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254), "", PROBE, Live;

    /// Keep what names DNS answers give addresses: for `connect.addr.hostname` and `accept.addr.hostname`.
    "event_monitoring_config.dns_resolution.enabled" or "runtime_security_config.dns_resolution.enabled" => dns_resolution_enabled: bool = true, "", PROBE;

    /// Of how many addresses the names are kept.
    "event_monitoring_config.dns_resolution.cache_size" or "runtime_security_config.dns_resolution.cache_size" => dns_resolution_cache_size: u64 = 1024, "addresses", PROBE;

    /// How many aliases may lie between a name and the address that it gets.
    "event_monitoring_config.dns_resolution.cname_max_depth" or "runtime_security_config.dns_resolution.cname_max_depth" => dns_resolution_cname_max_depth: u64 = 2, "aliases", PROBE;

    /// Attach classifiers to network interfaces while a rule needs them. When off there are none anywhere, and no events of packets. SIGHUP
    /// to system-probe puts a change in force.
    "event_monitoring_config.network.enabled" or "runtime_security_config.network.enabled" => network_enabled: bool = true, "", PROBE, Live;

    /// Attach them to what comes in as well: without it answers of DNS are not seen.
    "event_monitoring_config.network.ingress.enabled" or "runtime_security_config.network.ingress.enabled" => network_ingress_enabled: bool = true, "", PROBE, Live;

    /// Attach by tcx links where the kernel has them (6.6 and newer): before all others, and nobody replaces them. Off, or on older kernels:
    /// by filters of clsact, which the next two keys are about.
    "runtime_security_config.network.tcx.enabled" => network_tcx_enabled: bool = true, "", PROBE;

    /// The priority of the filters, 1 to 65535. The kernel runs those of lower numbers first, and one that returns TC_ACT_OK is the last.
    "event_monitoring_config.network.classifier_priority" or "runtime_security_config.network.classifier_priority" => network_classifier_priority: u64 = 10, "", PROBE;

    /// Their handle within the priority; 0: the kernel's choice.
    "event_monitoring_config.network.classifier_handle" or "runtime_security_config.network.classifier_handle" => network_classifier_handle: u64 = 0, "", PROBE;

    /// Accepted, without effect: one classifier a direction does all, raw packets included.
    "event_monitoring_config.network.raw_classifier_handle" or "runtime_security_config.network.raw_classifier_handle" => network_raw_classifier_handle: u64 = 0, "", PROBE, Never;

    /// Interfaces whose names begin so do not make a namespace worth watching that has no process.
    "event_monitoring_config.network.lazy_interface_prefixes"
        or "runtime_security_config.network.lazy_interface_prefixes"
        => network_lazy_interface_prefixes: Vec<String> = Vec::new(), "", PROBE;

    /// So many network namespaces are watched. What is beyond is reported, and taken when there is room.
    "runtime_security_config.network.max_namespaces" => network_max_namespaces: u64 = 1024, "namespaces", PROBE;

    /// Watch only these network namespaces, by the numbers that `readlink /proc/PID/ns/net` shows; empty: all. To try it on a single pod.
    "runtime_security_config.network.namespaces" => network_namespaces: Vec<String> = Vec::new(), "", PROBE;

    /// Count what goes over network interfaces, for `network_flow_monitor` events.
    "event_monitoring_config.network.flow_monitor.enabled" or "runtime_security_config.network.flow_monitor.enabled" => flow_monitor_enabled: bool = false, "", PROBE, Live;

    /// How often that becomes events.
    "event_monitoring_config.network.flow_monitor.period" or "runtime_security_config.network.flow_monitor.period" => flow_monitor_period: Positive = Positive::seconds(10), "", PROBE;

    /// Accepted, without effect: whose a flow is, is found in one way on all kernels.
    "event_monitoring_config.network.flow_monitor.sk_storage.enabled" or "runtime_security_config.network.flow_monitor.sk_storage.enabled" => flow_monitor_sk_storage: bool = false, "", PROBE, Never;

    /// Run the packet filters of rules (`packet.filter`) and of `network_filter` actions. Without, neither does anything.
    "event_monitoring_config.network.raw_packet.enabled" or "runtime_security_config.network.raw_packet.enabled" => raw_packet_enabled: bool = true, "", PROBE, Live;

    /// How many packets that pass a rule's filter are told in a second, of each filter and process; 0 for all. Actions are carried out on all.
    "event_monitoring_config.network.raw_packet.limiter_rate" or "runtime_security_config.network.raw_packet.limiter_rate" => raw_packet_limiter_rate: u64 = 10, "packets", PROBE, Live;

    /// Which packets are told of those that pass a rule's filter (`packet.filter`) and that no process is known of.
    "event_monitoring_config.network.raw_packet.filter" or "runtime_security_config.network.raw_packet.filter" => raw_packet_filter: Ownerless = Ownerless::TcpSyn, "", PROBE, Live;

    /// The networks whose addresses are not public (`*.is_public`).
    "event_monitoring_config.network.private_ip_ranges"
        or "runtime_security_config.network.private_ip_ranges"
        => private_ip_ranges: Networks = Networks::private(), "", PROBE;

    /// Further such networks.
    "event_monitoring_config.network.extra_private_ip_ranges"
        or "runtime_security_config.network.extra_private_ip_ranges"
        => extra_private_ip_ranges: Networks = Networks::default(), "", PROBE;

    /// How many events a rule without `every` may send at once before its rate limit counts; 0 counts as 1.
    "runtime_security_config.event_server.burst" => event_server_burst: u64 = 40, "events", PROBE, Live;

    /// How many events a second a rule without `every` may send after that; 0 counts as 1.
    "runtime_security_config.event_server.rate" => event_server_rate: u64 = 10, "events/s", PROBE, Live;

    /// How long an event waits at most for what is resolved late, as container tags. Accepted, without effect: an event is told when
    /// everything that it carries is known, and nothing is resolved late.
    "runtime_security_config.event_server.retention" => event_server_retention: Duration = Duration::from_secs(6), "", PROBE, Never;

    /// Compute hashes of files: for the `hash` action, and for `*.file.hashes` in rules.
    "runtime_security_config.hash_resolver.enabled" => hash_enabled: bool = true, "", PROBE;

    /// The types of events whose files the `hash` action hashes.
    "runtime_security_config.hash_resolver.event_types" => hash_event_types: Vec<String> = vec!["exec".into(), "open".into()], "", PROBE;

    /// Which hashes. `ssdeep`, which the Datadog Agent has besides, is accepted and without effect: there is no
    /// implementation that is not under the GPL.
    "runtime_security_config.hash_resolver.hash_algorithms" => hash_algorithms: HashNames = HashNames::default(), "", PROBE;

    /// Larger files are not hashed.
    "runtime_security_config.hash_resolver.max_file_size" => hash_max_file_size: u64 = 5 << 20, "bytes", PROBE;

    /// How many files are read to be hashed. Those whose hashes are remembered do not count.
    "runtime_security_config.hash_resolver.max_hash_rate" => hash_max_rate: u64 = 500, "files/s", PROBE;

    /// Of how many files the hashes are remembered.
    "runtime_security_config.hash_resolver.cache_size" => hash_cache_size: u64 = 500, "files", PROBE;

    /// Directory where matched events wait until they are acknowledged.
    "runtime_security_config.spool.dir" => spool_dir: PathBuf = "/var/lib/atalaya/spool".into(), "", PROBE;

    /// How much the spool may hold before the oldest events are deleted.
    "runtime_security_config.spool.max_size_mb" => spool_max_size_mb: u64 = 256, "MiB", PROBE;

    /// Which kernel hooks are used. `auto` takes the best that this kernel can do; `status` tells which and why.
    "event_monitoring_config.hook_tier" or "runtime_security_config.hook_tier" => hook_tier: HookTier = HookTier::Auto, "", PROBE;

    /// Size of the bulk ring buffer; rounded up to a power of two. 0: chosen by the number of CPUs.
    "event_monitoring_config.event_stream.buffer_size" or "runtime_security_config.event_stream.buffer_size" => event_stream_buffer_size: u64 = 0, "bytes", PROBE;

    /// Take records through ring buffers. Off, or where the kernel has none (before 5.8) or refuses them: through a perf buffer for each CPU,
    /// which together are as large.
    "event_monitoring_config.event_stream.use_ring_buffer" or "runtime_security_config.event_stream.use_ring_buffer" => event_stream_use_ring_buffer: bool = true, "", PROBE;

    /// Have the kernel count the time of every eBPF program all the time, not only while `status --cost` or `runtime top` asks for it. It costs
    /// each run of every program of the host some 20 ns.
    "runtime_security_config.bpf_stats.enabled" => bpf_stats_enabled: bool = false, "", PROBE;

    /// Let the kernel reject events that no rule can match.
    "event_monitoring_config.enable_kernel_filters" or "runtime_security_config.enable_kernel_filters" => enable_kernel_filters: bool = true, "", PROBE, Live;

    /// Let the kernel accept only the values that rules ask for. Has no effect when `enable_kernel_filters` is off.
    "event_monitoring_config.enable_approvers" or "runtime_security_config.enable_approvers" => enable_approvers: bool = true, "", PROBE, Live;

    /// Environment variables whose values are kept; of the others only the names.
    "event_monitoring_config.envs_with_value" or "runtime_security_config.envs_with_value" => envs_with_value: Vec<String> = [
        "LD_PRELOAD", "LD_LIBRARY_PATH", "PATH", "HISTSIZE", "HISTFILESIZE", "GLIBC_TUNABLES", "SSH_CLIENT",
        "DD_SERVICE", "OTEL_SERVICE_NAME", "CLAUDECODE", "RUNNER_TRACKING_ID",
    ].map(str::to_owned).into(), "", PROBE;

    /// Words that, in the name of an argument or a variable, hide its value, beyond the built-in ones.
    "event_monitoring_config.custom_sensitive_words" or "runtime_security_config.custom_sensitive_words" => custom_sensitive_words: Vec<String> = Vec::new(), "", PROBE;

    /// Regular expressions of what is hidden in arguments and values: the last group, or everything when there is none.
    "event_monitoring_config.custom_sensitive_regexps"
        or "runtime_security_config.custom_sensitive_regexps"
        => custom_sensitive_regexps: Vec<String> = Vec::new(), "", PROBE;

    /// How many processes the process tree holds before dead ones without living children are forgotten first.
    "event_monitoring_config.pid_cache_size" or "runtime_security_config.pid_cache_size" => pid_cache_size: u64 = 16_384, "processes", PROBE;

    /// Directory of the lock file. A second system-probe with the same one refuses to start.
    "run_path" => run_path: PathBuf = "/run/atalaya".into(), "", PROBE;

    /// The user that security-agent becomes after it has started; `nobody` where this one does not exist. It and root
    /// may talk to system-probe.
    "security_agent.user" => agent_user: String = "atalaya".into(), "", EITHER;

    /// Let both programs give up what they need no more after the start: system calls (seccomp) and, in security-agent, files and ports
    /// (Landlock). The log tells what this kernel enforces of it.
    "sandbox.enabled" => sandbox_enabled: bool = true, "", EITHER;

    /// Where security-agent answers `/metrics`, `/healthz`, `/livez` and `/status` by HTTP; 0: nowhere. Where the port is taken, as by a Datadog
    /// Agent beside this one, it says so and goes on without.
    "security_agent.expvar_port" => agent_expvar_port: u64 = 5011, "", AGENT;

    /// The address for it. Everybody who reaches it can read the numbers, and the names of rules and programs; nothing can be changed by it.
    "security_agent.expvar_host" => agent_expvar_host: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST), "", AGENT;

    /// Tell of attacks on the agent itself as `self_protection` events, with who makes them: ptrace and signals, changes of what it has in the
    /// kernel, of its binaries, configuration and policies. What can be put right is.
    "runtime_security_config.self_protection.enabled" => self_protection_enabled: bool = true, "", PROBE;

    /// How often everything is looked at. What is seen otherwise, as opening a map of the sensor, makes it look at once.
    "runtime_security_config.self_protection.period" => self_protection_period: Positive = Positive::seconds(10), "", PROBE;

    /// For how long it is remembered what processes did, so that an event tells what came before it; 0: not at all. Only events are
    /// remembered that some rule or the process tree wants from the kernel.
    "runtime_security_config.history.seconds" => history_seconds: u64 = 30, "seconds", PROBE;

    /// So many events are remembered at most, of 120 bytes each; memory is taken as they come.
    "runtime_security_config.history.max_events" => history_max_events: u64 = 8192, "events", PROBE;

    /// Where security-agent writes events, one JSON object a line.
    "security_agent.events_file" => events_file: PathBuf = "/var/log/atalaya/events.jsonl".into(), "", AGENT;

    /// How large that file may grow before it is renamed to `….1` and a new one is begun.
    "security_agent.events_file_max_size_mb" => events_file_max_size_mb: u64 = 100, "MiB", AGENT, Live;

    /// How many renamed files are kept.
    "security_agent.events_file_max_files" => events_file_max_files: u64 = 5, "files", AGENT, Live;

    /// Keep every event findable on this node, and show it in a web page and to `security-agent events`.
    "explorer.enabled" => explorer_enabled: bool = true, "", AGENT;

    /// The address of the web page. It asks for a token, but has no TLS: anything but loopback is for networks of your own.
    "explorer.host" => explorer_host: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST), "", AGENT;

    /// The port of the web page; 0: any that is free, which `security-agent explorer url` tells.
    "explorer.port" => explorer_port: u64 = 5012, "", AGENT;

    /// The socket for `security-agent events` and `security-agent explorer`, which root and `security_agent.user` may use.
    "explorer.socket" => explorer_socket: PathBuf = "/var/lib/atalaya/explorer/explorer.sock".into(), "", AGENT;

    /// The directory of the index. Whoever deletes it loses search, not events.
    "explorer.dir" => explorer_dir: PathBuf = "/var/lib/atalaya/explorer".into(), "", AGENT;

    /// How large the index may grow before its oldest part is deleted.
    "explorer.max_size_mb" => explorer_max_size_mb: u64 = 1024, "MiB", AGENT;

    /// How long events are kept there at most.
    "explorer.max_age" => explorer_max_age: Positive = Positive::seconds(7 * 24 * 3600), "", AGENT;

    /// How much stays free on its disk: the oldest part is deleted before.
    "explorer.min_free_mb" => explorer_min_free_mb: u64 = 256, "MiB", AGENT;

    /// Memory for events that are being indexed, at least 15.
    "explorer.memory_mb" => explorer_memory_mb: u64 = 20, "MiB", AGENT;

    /// Where `security-agent flare` sends archives: `https://HOST`; empty: the site's support, if there is an `api_key`.
    "flare.url" => flare_url: String = String::new(), "", AGENT;

    /// Names of further keys, variables and arguments whose values are hidden in flares.
    "flare_stripped_keys" or "scrubber.additional_keys" => flare_stripped_keys: Vec<String> = Vec::new(), "", EITHER;

    /// How much is logged (to standard error).
    "log_level" => log_level: LogLevel = LogLevel::Info, "", EITHER, Live;

    /// The name of this host in events; empty: what the kernel says.
    "hostname" => hostname: String = String::new(), "", EITHER;

    /// Tags put on every event, `key:value` each.
    "tags" => tags: Vec<String> = Vec::new(), "", EITHER, Live;

    /// Environment variables of security-agent that become tags, each as `name:value`.
    "runtime_security_config.env_as_tags" => env_as_tags: Vec<String> = Vec::new(), "", AGENT, Live;

    /// The key of the account that flares and downloads of policies belong to. Better given as `DD_API_KEY` than in a file.
    "api_key" => api_key: Secret = Secret::default(), "", EITHER;

    /// The application key that downloads of policies need besides. Better given as `DD_APP_KEY` than in a file.
    "app_key" => app_key: Secret = Secret::default(), "", EITHER;

    /// The site of that account, as `datadoghq.eu`: where flares go to and policies come from, unless their own keys say so.
    "site" => site: String = "datadoghq.com".into(), "", EITHER;

    /// Where `runtime policy download` gets policies from, `https://…` or, on this machine only, `http://…`; empty: the site's.
    "runtime_security_config.policies.download_url" => policies_download_url: String = String::new(), "", EITHER;

    /// Certificates (PEM) of the authorities that `https` connections of security-agent trust; empty: those of the system.
    "security_agent.ca_file" => ca_file: String = String::new(), "", EITHER;
}
