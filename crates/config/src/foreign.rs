//! Keys of the Datadog Agent that have no effect here (yet): a file that was made for it is no reason for a heap of
//! warnings about unknown keys.

use crate::keys::env_name;

/// Whether the Datadog Agent knows the key, or any key below it. Its name is enough: what it may hold is not checked.
pub(crate) fn is_foreign(name: &str) -> bool {
    let name = match name.strip_prefix("event_monitoring_config.") {
        // All of these are also accepted under the other name.
        Some(rest) => format!("runtime_security_config.{rest}"),
        None => name.to_owned(),
    };
    FOREIGN.iter().any(|key| {
        name.strip_prefix(key)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// The same for a variable. What was a dot and what an underscore cannot be told apart any more.
pub(crate) fn is_foreign_env(name: &str) -> bool {
    let name = name.replacen(
        "DD_EVENT_MONITORING_CONFIG_",
        "DD_RUNTIME_SECURITY_CONFIG_",
        1,
    );
    FOREIGN.iter().any(|key| {
        name.strip_prefix(&env_name(key))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    })
}

const FOREIGN: &[&str] = &[
    "api_key",
    "app_key",
    "cloud_provider_metadata",
    "cmd_port",
    "compliance_config",
    "container_exclude",
    "container_include",
    "dd_url",
    "env",
    "expvar_port",
    "extra_tags",
    "log_file",
    "log_format_json",
    "log_to_console",
    "log_to_syslog",
    "logs_config",
    "network_config",
    "process_config",
    "proxy",
    "remote_configuration",
    "runtime_security_config.activity_dump",
    "runtime_security_config.basename_approvers_size",
    "runtime_security_config.capabilities_monitoring",
    "runtime_security_config.cmd_socket",
    "runtime_security_config.compliance_module",
    "runtime_security_config.container_exclude",
    "runtime_security_config.container_include",
    "runtime_security_config.cookie_cache_size",
    "runtime_security_config.dentry_cache_size",
    "runtime_security_config.direct_send_from_system_probe",
    "runtime_security_config.ebpfless",
    "runtime_security_config.enable_all_probes",
    "runtime_security_config.enable_discarders",
    "runtime_security_config.endpoints",
    "runtime_security_config.enforcement",
    "runtime_security_config.env_as_tags",
    "runtime_security_config.env_vars_resolution",
    "runtime_security_config.erpc_dentry_resolution_enabled",
    "runtime_security_config.event_grpc_server",
    "runtime_security_config.event_retry_queue_threshold",
    "runtime_security_config.event_sampling",
    "runtime_security_config.event_stream.kretprobe_max_active",
    "runtime_security_config.event_stream.use_fentry",
    "runtime_security_config.event_stream.use_kprobe_fallback",
    "runtime_security_config.events_stats",
    "runtime_security_config.exclude_pause_container",
    "runtime_security_config.file_metadata_resolver",
    "runtime_security_config.fim_enabled",
    "runtime_security_config.flush_discarder_window",
    "runtime_security_config.hash_resolver.replace",
    "runtime_security_config.internal_monitoring",
    "runtime_security_config.log_patterns",
    "runtime_security_config.log_tags",
    "runtime_security_config.map_dentry_resolution_enabled",
    "runtime_security_config.network_monitoring",
    "runtime_security_config.network_process",
    "runtime_security_config.on_demand",
    "runtime_security_config.policies.monitor",
    "runtime_security_config.policies.rule_cache_enabled",
    "runtime_security_config.process",
    "runtime_security_config.reduced_proc_pid_cache_size",
    "runtime_security_config.remote_configuration",
    "runtime_security_config.runtime_compilation",
    "runtime_security_config.sbom",
    "runtime_security_config.security_profile",
    "runtime_security_config.snapshot_using_listmount",
    "runtime_security_config.span_tracking",
    "runtime_security_config.syscalls_monitor",
    "runtime_security_config.sysctl",
    "runtime_security_config.use_secruntime_track",
    "runtime_security_config.user_sessions",
    "security_agent.cmd_port",
    "security_agent.expvar_port",
    "security_agent.log_file",
    "service_monitoring_config",
    "site",
    "syslog_uri",
    "system_probe_config",
];
