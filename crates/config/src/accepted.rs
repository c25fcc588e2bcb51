//! Keys of the Datadog Agent that have no effect here, each with the reason: a file that was made for it is no cause for a heap of
//! warnings about unknown keys, and nobody has to guess why a setting does nothing.

use crate::keys::env_name;

/// A key that is known and has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Its full name with dots; everything below it is meant as well. `*` at the end stands for the rest of the word.
    pub name: &'static str,
    /// What it takes in the Datadog Agent: `bool`, `number`, `duration`, `text`, `list`, `map` or `any`.
    pub kind: &'static str,
    /// Its default there.
    pub default: &'static str,
    /// Why it has no effect.
    pub why: &'static str,
}

const fn key(
    name: &'static str,
    kind: &'static str,
    default: &'static str,
    why: &'static str,
) -> Accepted {
    Accepted {
        name,
        kind,
        default,
        why,
    }
}

/// The accepted key of this name, or the one that it lies below. What it may hold is not checked.
pub(crate) fn accepted(name: &str) -> Option<&'static Accepted> {
    let name = proper(name);
    let is_it = |key: &&Accepted| {
        let key = proper(key.name);
        if let Some(beginning) = key.strip_suffix('*') {
            return name.starts_with(beginning);
        }
        name.strip_prefix(&*key)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    ACCEPTED.iter().find(is_it)
}

/// The same for a variable. What was a dot and what an underscore cannot be told apart any more.
pub(crate) fn accepted_env(name: &str) -> Option<&'static Accepted> {
    let proper_env = |name: &str| {
        name.replacen(
            "DD_EVENT_MONITORING_CONFIG_",
            "DD_RUNTIME_SECURITY_CONFIG_",
            1,
        )
    };
    let name = proper_env(name);
    let is_it = |key: &&Accepted| {
        let key = proper_env(&env_name(key.name));
        if let Some(beginning) = key.strip_suffix('*') {
            return name.starts_with(beginning);
        }
        name.strip_prefix(&*key)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    };
    ACCEPTED.iter().find(is_it)
}

/// Whether accepted keys lie below this name.
pub(crate) fn is_above_accepted(name: &str) -> bool {
    let name = proper(name);
    ACCEPTED.iter().any(|key| {
        proper(key.name)
            .strip_prefix(&*name)
            .is_some_and(|rest| rest.starts_with('.'))
    })
}

/// All `event_monitoring_config.*` are also accepted as `runtime_security_config.*`.
fn proper(name: &str) -> String {
    match name.strip_prefix("event_monitoring_config") {
        Some(rest) if rest.is_empty() || rest.starts_with('.') => {
            format!("runtime_security_config{rest}")
        }
        _ => name.to_owned(),
    }
}

const DUMPS: &str = "there are no activity dumps";
const PROFILES: &str = "there are no security profiles";
const SBOM: &str = "there is no software inventory";
const SENDS: &str = "events go to system-probe's spool and from there to security-agent; there is no back end to send to";
const REMOTE: &str = "policies are files; there is no remote configuration";
const METRICS: &str = "nothing is sent to a metrics server; `status` tells the same";
const WIN: &str = "only Windows has it";
const KTYPE: &str =
    "what the kernel filters is found from the rules (`runtime discarders dump` shows it)";
const DENTRY: &str = "paths are walked in the kernel, in every event; nothing is looked up later";
const CONTAINER: &str = "rules select containers with `container.id` and `process.container.*`; no container is left out as a whole";
const OTHER: &str = "it belongs to another product of the Datadog Agent";
const SYSCTL: &str =
    "`sysctl` events come whenever a rule asks for them; there is no snapshot of all parameters";
const KILL: &str =
    "this build does not carry out `kill`; `policy check` tells which rules ask for it";

/// Every key that is accepted without effect, in the order of the documentation.
pub static ACCEPTED: &[Accepted] = &[
    key(
        "runtime_security_config.fim_enabled",
        "bool",
        "false",
        "file events are among those that rules ask for; there is no mode without the others",
    ),
    key(
        "runtime_security_config.cmd_socket",
        "text",
        "",
        "commands and events share runtime_security_config.socket",
    ),
    key(
        "runtime_security_config.event_grpc_server",
        "text",
        "",
        "security-agent connects to system-probe, never the other way round",
    ),
    key(
        "runtime_security_config.policies.monitor.enabled",
        "bool",
        "false",
        METRICS,
    ),
    key(
        "runtime_security_config.policies.monitor.per_rule_enabled",
        "bool",
        "false",
        "`status` counts the matches of each rule",
    ),
    key(
        "runtime_security_config.policies.monitor.report_internal_policies",
        "bool",
        "false",
        METRICS,
    ),
    key(
        "runtime_security_config.policies.rule_cache_enabled",
        "bool",
        "true",
        "rules are compiled at each load, in milliseconds",
    ),
    key(
        "runtime_security_config.event_retry_queue_threshold",
        "number",
        "512",
        "events wait in the spool, see runtime_security_config.spool.*",
    ),
    key(
        "runtime_security_config.cookie_cache_size",
        "number",
        "100",
        "processes are known by pid and start time, not by cookies",
    ),
    key(
        "runtime_security_config.internal_monitoring.enabled",
        "bool",
        "false",
        "internal events are always sent",
    ),
    key(
        "runtime_security_config.log_patterns",
        "list",
        "[]",
        "log_level says how much is logged",
    ),
    key(
        "runtime_security_config.log_tags",
        "list",
        "[]",
        "log_level says how much is logged",
    ),
    key(
        "runtime_security_config.remote_configuration.enabled",
        "bool",
        "true",
        REMOTE,
    ),
    key(
        "runtime_security_config.remote_configuration.dump_policies",
        "bool",
        "false",
        REMOTE,
    ),
    key(
        "runtime_security_config.direct_send_from_system_probe",
        "bool",
        "false",
        "system-probe opens no connection to another machine, ever",
    ),
    key(
        "runtime_security_config.use_secruntime_track",
        "bool",
        "true",
        SENDS,
    ),
    key(
        "runtime_security_config.compliance_module.enabled",
        "bool",
        "false",
        OTHER,
    ),
    key(
        "runtime_security_config.on_demand.enabled",
        "bool",
        "true",
        "rules cannot define probes of their own",
    ),
    key(
        "runtime_security_config.on_demand.rate_limiter.enabled",
        "bool",
        "true",
        "rules cannot define probes of their own",
    ),
    key(
        "runtime_security_config.reduced_proc_pid_cache_size",
        "bool",
        "false",
        "event_monitoring_config.pid_cache_size bounds the process tree",
    ),
    key(
        "runtime_security_config.container_exclude",
        "list",
        "[]",
        CONTAINER,
    ),
    key(
        "runtime_security_config.container_include",
        "list",
        "[]",
        CONTAINER,
    ),
    key(
        "runtime_security_config.exclude_pause_container",
        "bool",
        "true",
        CONTAINER,
    ),
    key(
        "runtime_security_config.activity_dump.enabled",
        "bool",
        "true",
        DUMPS,
    ),
    key(
        "runtime_security_config.activity_dump.trace_systemd_cgroups",
        "bool",
        "false",
        DUMPS,
    ),
    key(
        "runtime_security_config.activity_dump.host_dump.enabled",
        "bool",
        "false",
        DUMPS,
    ),
    key(
        "runtime_security_config.activity_dump.cleanup_period",
        "duration",
        "30s",
        DUMPS,
    ),
    key(
        "runtime_security_config.activity_dump.tags_resolution_period",
        "duration",
        "60s",
        DUMPS,
    ),
    key(
        "runtime_security_config.activity_dump.load_controller_period",
        "duration",
        "60s",
        DUMPS,
    ),
    key(
        "runtime_security_config.activity_dump.min_timeout",
        "duration",
        "10m",
        DUMPS,
    ),
    key(
        "runtime_security_config.activity_dump.dump_duration",
        "duration",
        "900s",
        DUMPS,
    ),
    key(
        "runtime_security_config.activity_dump.cgroup_dump_timeout",
        "number",
        "900",
        DUMPS,
    ),
    key(
        "runtime_security_config.activity_dump.max_dump_size",
        "number",
        "1750",
        DUMPS,
    ),
    key(
        "runtime_security_config.activity_dump.traced_cgroups_count",
        "number",
        "5",
        DUMPS,
    ),
    key(
        "runtime_security_config.activity_dump.traced_event_types",
        "list",
        "[exec, open, dns, imds]",
        DUMPS,
    ),
    key(
        "runtime_security_config.activity_dump.rate_limiter",
        "number",
        "500",
        DUMPS,
    ),
    key(
        "runtime_security_config.activity_dump.cgroup_wait_list_timeout",
        "duration",
        "4500s",
        DUMPS,
    ),
    key(
        "runtime_security_config.activity_dump.cgroup_differentiate_args",
        "bool",
        "false",
        DUMPS,
    ),
    key(
        "runtime_security_config.activity_dump.local_storage.max_dumps_count",
        "number",
        "100",
        DUMPS,
    ),
    key(
        "runtime_security_config.activity_dump.local_storage.output_directory",
        "text",
        "/var/lib/atalaya/profiles",
        DUMPS,
    ),
    key(
        "runtime_security_config.activity_dump.local_storage.formats",
        "list",
        "[profile]",
        DUMPS,
    ),
    key(
        "runtime_security_config.activity_dump.local_storage.compression",
        "bool",
        "false",
        DUMPS,
    ),
    key(
        "runtime_security_config.activity_dump.syscall_monitor.period",
        "duration",
        "60s",
        DUMPS,
    ),
    key(
        "runtime_security_config.activity_dump.max_dump_count_per_workload",
        "number",
        "25",
        DUMPS,
    ),
    key(
        "runtime_security_config.activity_dump.tag_rules.enabled",
        "bool",
        "true",
        DUMPS,
    ),
    key(
        "runtime_security_config.activity_dump.auto_suppression.enabled",
        "bool",
        "true",
        DUMPS,
    ),
    key(
        "runtime_security_config.activity_dump.silent_workloads.delay",
        "duration",
        "10s",
        DUMPS,
    ),
    key(
        "runtime_security_config.activity_dump.silent_workloads.ticker",
        "duration",
        "10s",
        DUMPS,
    ),
    key(
        "runtime_security_config.activity_dump.workload_deny_list",
        "list",
        "[]",
        DUMPS,
    ),
    key(
        "runtime_security_config.sbom.enabled",
        "bool",
        "false",
        SBOM,
    ),
    key(
        "runtime_security_config.sbom.host.enabled",
        "bool",
        "false",
        SBOM,
    ),
    key(
        "runtime_security_config.sbom.workloads_cache_size",
        "number",
        "10",
        SBOM,
    ),
    key(
        "runtime_security_config.sbom.enrichment_interval",
        "duration",
        "1m",
        SBOM,
    ),
    key(
        "runtime_security_config.sbom.refresh_interval",
        "duration",
        "3s",
        SBOM,
    ),
    key(
        "runtime_security_config.sbom.forward_interval",
        "duration",
        "20s",
        SBOM,
    ),
    key(
        "runtime_security_config.sbom.generate_policies",
        "bool",
        "false",
        SBOM,
    ),
    key(
        "runtime_security_config.event_sampling.open.enabled",
        "bool",
        "false",
        "events are filtered by the rules, not sampled",
    ),
    key(
        "runtime_security_config.event_sampling.open.rate",
        "number",
        "500",
        "events are filtered by the rules, not sampled",
    ),
    key(
        "runtime_security_config.event_sampling.connect.enabled",
        "bool",
        "false",
        "events are filtered by the rules, not sampled",
    ),
    key(
        "runtime_security_config.event_sampling.connect.rate",
        "number",
        "500",
        "events are filtered by the rules, not sampled",
    ),
    key(
        "runtime_security_config.event_sampling.bind.enabled",
        "bool",
        "false",
        "events are filtered by the rules, not sampled",
    ),
    key(
        "runtime_security_config.event_sampling.bind.rate",
        "number",
        "500",
        "events are filtered by the rules, not sampled",
    ),
    key(
        "runtime_security_config.event_sampling.dns.enabled",
        "bool",
        "false",
        "events are filtered by the rules, not sampled",
    ),
    key(
        "runtime_security_config.event_sampling.dns.rate",
        "number",
        "500",
        "events are filtered by the rules, not sampled",
    ),
    key(
        "runtime_security_config.security_profile.enabled",
        "bool",
        "true",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.max_image_tags",
        "number",
        "20",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.dir",
        "text",
        "/var/lib/atalaya/profiles",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.watch_dir",
        "bool",
        "true",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.cache_size",
        "number",
        "10",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.max_count",
        "number",
        "400",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.dns_match_max_depth",
        "number",
        "3",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.node_eviction_timeout",
        "duration",
        "0s",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.profile_cleanup_delay",
        "duration",
        "60m",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.v2.enabled",
        "bool",
        "false",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.v2.event_types",
        "list",
        "[exec, dns, bind, connect, open]",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.v2.sample_refresh_period",
        "duration",
        "30s",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.v2.excluded_images",
        "list",
        "[]",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.v2.max_dump_size",
        "number",
        "5120",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.auto_suppression.enabled",
        "bool",
        "true",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.auto_suppression.event_types",
        "list",
        "[exec, dns]",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.anomaly_detection.enabled",
        "bool",
        "true",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.anomaly_detection.event_types",
        "list",
        "[exec]",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.anomaly_detection.default_minimum_stable_period",
        "duration",
        "900s",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.anomaly_detection.minimum_stable_period.exec",
        "duration",
        "900s",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.anomaly_detection.minimum_stable_period.dns",
        "duration",
        "900s",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.anomaly_detection.workload_warmup_period",
        "duration",
        "180s",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.anomaly_detection.unstable_profile_time_threshold",
        "duration",
        "1h",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.anomaly_detection.unstable_profile_size_threshold",
        "number",
        "5000000",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.anomaly_detection.rate_limiter.period",
        "duration",
        "1m",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.anomaly_detection.rate_limiter.num_keys",
        "number",
        "256",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.anomaly_detection.rate_limiter.num_events_allowed",
        "number",
        "10",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.anomaly_detection.tag_rules.enabled",
        "bool",
        "true",
        PROFILES,
    ),
    key(
        "runtime_security_config.security_profile.anomaly_detection.silent_rule_events.enabled",
        "bool",
        "false",
        PROFILES,
    ),
    key(
        "runtime_security_config.hash_resolver.replace",
        "map",
        "{}",
        "files are hashed where they are",
    ),
    key(
        "runtime_security_config.sysctl.enabled",
        "bool",
        "true",
        SYSCTL,
    ),
    key(
        "runtime_security_config.sysctl.ebpf.enabled",
        "bool",
        "true",
        SYSCTL,
    ),
    key(
        "runtime_security_config.sysctl.snapshot.enabled",
        "bool",
        "true",
        SYSCTL,
    ),
    key(
        "runtime_security_config.sysctl.snapshot.period",
        "duration",
        "1h",
        SYSCTL,
    ),
    key(
        "runtime_security_config.sysctl.snapshot.ignored_base_names",
        "list",
        "[netdev_rss_key, stable_secret]",
        SYSCTL,
    ),
    key(
        "runtime_security_config.sysctl.snapshot.kernel_compilation_flags",
        "list",
        "[]",
        SYSCTL,
    ),
    key(
        "runtime_security_config.user_sessions.ssh.enabled",
        "bool",
        "true",
        "sessions are not followed; the process tree shows the sshd that a process descends from",
    ),
    key(
        "runtime_security_config.user_sessions.cache_size",
        "number",
        "1024",
        "sessions are not followed; the process tree shows the sshd that a process descends from",
    ),
    key(
        "runtime_security_config.ebpfless.enabled",
        "bool",
        "false",
        "there is no mode without eBPF",
    ),
    key(
        "runtime_security_config.ebpfless.socket",
        "text",
        "localhost:5678",
        "there is no mode without eBPF",
    ),
    key(
        "runtime_security_config.enforcement.enabled",
        "bool",
        "true",
        KILL,
    ),
    key(
        "runtime_security_config.enforcement.raw_syscall.enabled",
        "bool",
        "false",
        KILL,
    ),
    key(
        "runtime_security_config.enforcement.exclude_binaries",
        "list",
        "[]",
        KILL,
    ),
    key(
        "runtime_security_config.enforcement.rule_source_allowed",
        "list",
        "[file, remote-config]",
        KILL,
    ),
    key(
        "runtime_security_config.enforcement.disarmer.container.enabled",
        "bool",
        "true",
        KILL,
    ),
    key(
        "runtime_security_config.enforcement.disarmer.container.max_allowed",
        "number",
        "5",
        KILL,
    ),
    key(
        "runtime_security_config.enforcement.disarmer.container.period",
        "duration",
        "1m",
        KILL,
    ),
    key(
        "runtime_security_config.enforcement.disarmer.executable.enabled",
        "bool",
        "true",
        KILL,
    ),
    key(
        "runtime_security_config.enforcement.disarmer.executable.max_allowed",
        "number",
        "5",
        KILL,
    ),
    key(
        "runtime_security_config.enforcement.disarmer.executable.period",
        "duration",
        "1m",
        KILL,
    ),
    key(
        "runtime_security_config.file_metadata_resolver.enabled",
        "bool",
        "false",
        "metadata of files come with the events",
    ),
    key(
        "runtime_security_config.network_monitoring.enabled",
        "bool",
        "false",
        "event_monitoring_config.network.flow_monitor.* counts flows",
    ),
    key("runtime_security_config.windows_*", "map", "", WIN),
    key("runtime_security_config.etw_*", "map", "", WIN),
    key("runtime_security_config.endpoints", "map", "", SENDS),
    key(
        "event_monitoring_config.enable_all_probes",
        "bool",
        "false",
        "only the hooks that the rules and the process tree need are attached",
    ),
    key(
        "event_monitoring_config.enable_discarders",
        "bool",
        "true",
        KTYPE,
    ),
    key(
        "event_monitoring_config.basename_approvers_size",
        "number",
        "4096",
        "the tables of the kernel's filters grow with the rules",
    ),
    key(
        "event_monitoring_config.flush_discarder_window",
        "number",
        "3",
        "there are no discarders to flush: the kernel accepts by what the rules ask for",
    ),
    key(
        "event_monitoring_config.events_stats.tags_cardinality",
        "text",
        "high",
        METRICS,
    ),
    key(
        "event_monitoring_config.events_stats.polling_interval",
        "number",
        "20",
        METRICS,
    ),
    key(
        "event_monitoring_config.erpc_dentry_resolution_enabled",
        "bool",
        "true",
        DENTRY,
    ),
    key(
        "event_monitoring_config.map_dentry_resolution_enabled",
        "bool",
        "true",
        DENTRY,
    ),
    key(
        "event_monitoring_config.dentry_cache_size",
        "number",
        "8000",
        DENTRY,
    ),
    key(
        "event_monitoring_config.event_stream.use_fentry",
        "bool",
        "false",
        "event_monitoring_config.hook_tier chooses the hooks",
    ),
    key(
        "event_monitoring_config.event_stream.use_kprobe_fallback",
        "bool",
        "true",
        "event_monitoring_config.hook_tier chooses the hooks",
    ),
    key(
        "event_monitoring_config.event_stream.kretprobe_max_active",
        "number",
        "512",
        "the kernel's default holds",
    ),
    key(
        "event_monitoring_config.runtime_compilation.enabled",
        "bool",
        "false",
        "nothing is compiled on the host: the programs adapt to the kernel by its type information",
    ),
    key(
        "event_monitoring_config.syscalls_monitor.enabled",
        "bool",
        "false",
        "`status` tells what each program costs",
    ),
    key(
        "event_monitoring_config.span_tracking.enabled",
        "bool",
        "false",
        "spans of tracers are not joined with events",
    ),
    key(
        "event_monitoring_config.span_tracking.cache_size",
        "number",
        "4096",
        "spans of tracers are not joined with events",
    ),
    key(
        "event_monitoring_config.capabilities_monitoring.enabled",
        "bool",
        "false",
        "`capabilities` events come whenever a rule asks for them",
    ),
    key(
        "event_monitoring_config.capabilities_monitoring.period",
        "duration",
        "5s",
        "`capabilities` events come whenever a rule asks for them",
    ),
    key(
        "event_monitoring_config.snapshot_using_listmount",
        "bool",
        "false",
        "mounts are read by the kernel at each event",
    ),
    key(
        "event_monitoring_config.env_vars_resolution.enabled",
        "bool",
        "true",
        "variables come with each exec, see event_monitoring_config.envs_with_value",
    ),
    key(
        "event_monitoring_config.process.enabled",
        "bool",
        "true",
        OTHER,
    ),
    key(
        "event_monitoring_config.network_process.enabled",
        "bool",
        "true",
        OTHER,
    ),
    key(
        "event_monitoring_config.network_process.max_processes_tracked",
        "number",
        "1024",
        OTHER,
    ),
    key(
        "event_monitoring_config.network_process.container_store",
        "map",
        "",
        OTHER,
    ),
    key(
        "security_agent.cmd_port",
        "number",
        "5010",
        "commands go through runtime_security_config.socket",
    ),
    key(
        "security_agent.log_file",
        "text",
        "/var/log/datadog/security-agent.log",
        "logs go to standard error, for the service manager to keep",
    ),
    key(
        "system_probe_config",
        "map",
        "",
        "the module runs in a system-probe of its own; runtime_security_config.socket and run_path say where",
    ),
    key("cloud_provider_metadata", "any", "", OTHER),
    key("cmd_port", "any", "", OTHER),
    key("compliance_config", "any", "", OTHER),
    key("container_exclude", "any", "", OTHER),
    key("container_include", "any", "", OTHER),
    key("dd_url", "any", "", OTHER),
    key("env", "any", "", OTHER),
    key("expvar_port", "any", "", OTHER),
    key("extra_tags", "any", "", OTHER),
    key("logs_config", "any", "", OTHER),
    key("network_config", "any", "", OTHER),
    key("process_config", "any", "", OTHER),
    key("proxy", "any", "", OTHER),
    key("remote_configuration", "any", "", OTHER),
    key("service_monitoring_config", "any", "", OTHER),
    key(
        "log_file",
        "any",
        "",
        "logs go to standard error, for the service manager to keep",
    ),
    key(
        "log_format_json",
        "any",
        "",
        "logs go to standard error, for the service manager to keep",
    ),
    key(
        "log_to_console",
        "any",
        "",
        "logs go to standard error, for the service manager to keep",
    ),
    key(
        "log_to_syslog",
        "any",
        "",
        "logs go to standard error, for the service manager to keep",
    ),
    key(
        "syslog_uri",
        "any",
        "",
        "logs go to standard error, for the service manager to keep",
    ),
];
