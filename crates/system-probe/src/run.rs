//! `run`: joins sensor, engine, spool and server, in the order that leaves nothing behind when one of them refuses.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use atalaya_api::{Account, RunLock, Server, ServerOptions};
use atalaya_cli::logging::LogControl;
use atalaya_config::{Config, Loaded};
use atalaya_engine::{
    Engine, EngineOptions, FileWatcher, HistoryOptions, HostnameOptions, LiveOptions, Output,
    ProtectionOptions, SelfTestOptions,
};
use atalaya_host::Notifier;
use atalaya_model::capture::{Ownerless, PacketOptions};
use atalaya_model::json::Scrubber;
use atalaya_policy::HostFacts;
use atalaya_resolvers::{HashAlgorithm, HashOptions, TreeOptions};
use atalaya_sandbox::Outcome;
use atalaya_sandbox::seccomp::{self, Profile};
use atalaya_spool::{Limits, Spool};

use crate::costs::Costs;
use crate::doctor::Doctor;
use crate::flare::Flare;
use crate::network::Network;
use crate::preflight;
use crate::settings::{Read, Settings};
use crate::signals::{Asked, Signals};
use crate::source::SensorSource;
use crate::watchdog;

/// Runs until it is asked to stop.
/// `read` loads the configuration once more, for what a reload may change.
pub(crate) fn run(
    loaded: Loaded,
    output: Option<&Path>,
    log: LogControl,
    read: Read,
) -> Result<()> {
    let config = &loaded.config.clone();
    if !config.enabled {
        tracing::info!("runtime security is off (runtime_security_config.enabled): nothing to do");
        return Ok(());
    }
    // Before privileges are given up: the socket is the service manager's.
    let notifier = Notifier::from_environment();
    preflight::check()?;
    preflight::container();
    let lock = RunLock::acquire(&config.run_path)?;
    restrict(config)?;
    // Asks for a capability that is dropped below.
    let protection = protection(config, &loaded.files);
    // It keeps capabilities that the others have no use for.
    let network = Network::start(config).map_err(|error| format!("{error:#}"));
    if let Err(error) = &network {
        tracing::warn!("no events of packets: {error}");
    }
    let doctor = Arc::new(Doctor::start(config).context("cannot start the network doctor")?);
    let costs = Costs::start().context("cannot start the thread that measures costs")?;
    // Before any other thread is made, because capabilities belong to threads.
    let kept = preflight::drop_capabilities(config)?;
    tracing::debug!("capabilities kept: {kept:?}");
    let mut signals = Signals::install()?;
    let output = output
        .map(|path| {
            Output::open(path).with_context(|| format!("cannot write events to {}", path.display()))
        })
        .transpose()?;
    let spool = open_spool(config)?;
    let private = [&config.private_ip_ranges, &config.extra_private_ip_ranges];
    atalaya_model::set_private_networks(private.map(|networks| networks.get()).concat());
    let filters = Arc::new(AtomicBool::new(kernel_filters(config)));
    let sensor = SensorSource::open(config, network.clone(), costs, Arc::clone(&filters))
        .context("cannot start the sensor")?;
    let mut options = engine_options(config, spool.clone(), output);
    options.protection = protection;
    options.doctor = Some(Arc::<Doctor>::clone(&doctor));
    options.flare = Some(Arc::new(Flare::new(
        config,
        &loaded.files,
        Arc::clone(&doctor),
    )));
    let engine = Engine::start(options, Box::new(sensor)).context("cannot start the engine")?;
    let control = engine.control();
    let apply = {
        let (doctor, network, control) = (Arc::clone(&doctor), network.clone(), control.clone());
        Box::new(move |config: &Config| {
            doctor.configure(config);
            if let Ok(network) = &network {
                network.configure(config);
            }
            filters.store(kernel_filters(config), Ordering::Release);
            control.configure(live_options(config));
            control.reload().map_err(|error| error.to_string())
        })
    };
    let settings = Settings::new(loaded, log, read, apply);
    let server_options = ServerOptions {
        socket: config.socket.clone(),
        agent: Account::of_agent(&config.agent_user),
        settings: Some(Arc::<Settings>::clone(&settings)),
    };
    let server = Server::start(
        server_options,
        &lock,
        Arc::new(control.clone()),
        spool.clone(),
    )
    .context("cannot serve the security-agent")?;
    control.protect_agents(server.consumers());
    // Others wait for exactly these words.
    tracing::info!("system-probe is ready");
    notifier.ready("events are seen");
    let notifier = Arc::new(notifier);
    watchdog::start(&notifier, control.clone())?;
    while let Asked::Reload = signals.next() {
        notifier.reloading();
        settings.hangup();
        notifier.ready("events are seen");
    }
    notifier.stopping();
    tracing::info!("stopping");
    signals.end_at_next();
    // The engine first: what it has still seen goes to the spool, and from there to whoever is connected.
    engine.stop();
    server.stop();
    spool.close();
    tracing::info!("stopped");
    Ok(())
}

/// What of the agent itself is looked after: the binary and the files of the configuration, beside the policies.
fn protection(config: &Config, files: &[PathBuf]) -> ProtectionOptions {
    if !config.self_protection_enabled {
        return ProtectionOptions::default();
    }
    let mut all: Vec<PathBuf> = std::env::current_exe().into_iter().collect();
    all.extend(
        files
            .iter()
            .filter_map(|file| std::path::absolute(file).ok()),
    );
    let mut watched = all.clone();
    watched.push(config.policies_dir.clone());
    let watcher = FileWatcher::open(&watched)
        .inspect_err(|error| tracing::info!(%error, "changes of the agent's files are seen without who made them"));
    ProtectionOptions {
        enabled: true,
        period: config.self_protection_period.get(),
        files: all,
        watcher: watcher.ok(),
        mark: Some(config.run_path.join("system-probe.running")),
    }
}

/// Gives up system calls, while there is one thread. Landlock is not for this program: the kernel then hides `/proc/PID` of all that are
/// not restricted in the same way.
fn restrict(config: &Config) -> Result<()> {
    atalaya_sandbox::hide_memory().context("cannot hide the own memory")?;
    if !config.sandbox_enabled {
        tracing::warn!("seccomp is off (sandbox.enabled)");
        return Ok(());
    }
    match seccomp::restrict(Profile::Probe)? {
        whole @ Outcome::Enforced(_) => tracing::info!("seccomp: {whole}"),
        other => tracing::warn!("seccomp: {other}"),
    }
    Ok(())
}

/// The spool; in memory where the directory refuses, because a full disk shall not blind the probe. Only another
/// process that has it open is an error.
fn open_spool(config: &Config) -> Result<Spool> {
    let dir = &config.spool_dir;
    let limits = Limits::with_max_bytes(config.spool_max_size_mb.saturating_mul(1 << 20));
    let begun = Instant::now();
    let opened = loop {
        match Spool::open(dir, limits) {
            // As with the run lock: a probe that was just killed may not have let go of it yet.
            Err(atalaya_spool::Error::Locked(_))
                if begun.elapsed() < Duration::from_millis(500) =>
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            other => break other,
        }
    };
    match opened {
        Ok(spool) => Ok(spool),
        Err(e @ atalaya_spool::Error::Locked(_)) => Err(e.into()),
        Err(e) => {
            tracing::error!("{e}; events wait in memory only, and are lost when system-probe ends");
            Ok(Spool::in_memory(limits, e.to_string())?)
        }
    }
}

/// For how long the policies must not change before they are read again.
const QUIET: Duration = Duration::from_secs(5);

/// One event each so often, and so many at once.
fn rule_limit(config: &Config) -> (Duration, u32) {
    let rate = config.event_server_rate.clamp(1, 1_000_000_000);
    let burst = u32::try_from(config.event_server_burst).unwrap_or(u32::MAX);
    (Duration::from_nanos(1_000_000_000 / rate), burst.max(1))
}

fn hash_options(config: &Config) -> Option<HashOptions> {
    if !config.hash_enabled {
        return None;
    }
    let names = config.hash_algorithms.names();
    if names.iter().any(|name| name == "ssdeep") {
        tracing::info!(
            "ssdeep hashes are not computed: there is no implementation that is not under the GPL"
        );
    }
    let algorithms: Vec<HashAlgorithm> = names
        .iter()
        .filter_map(|name| {
            let mut known = HashAlgorithm::ALL.into_iter();
            known.find(|algorithm| algorithm.name() == name)
        })
        .collect();
    (!algorithms.is_empty()).then(|| HashOptions {
        algorithms,
        max_file_size: config.hash_max_file_size,
        max_rate: u32::try_from(config.hash_max_rate).unwrap_or(u32::MAX),
        cache_size: usize::try_from(config.hash_cache_size).unwrap_or(usize::MAX),
    })
}

fn packet_options(config: &Config) -> PacketOptions {
    PacketOptions {
        enabled: true,
        flows: config.flow_monitor_enabled,
        imds_ipv4: Some(config.imds_ipv4),
        ownerless: match config.raw_packet_filter {
            atalaya_config::Ownerless::All => Ownerless::All,
            atalaya_config::Ownerless::TcpSyn => Ownerless::TcpSyn,
            atalaya_config::Ownerless::None => Ownerless::None,
        },
        filters: config.raw_packet_enabled,
        rate: u32::try_from(config.raw_packet_limiter_rate).unwrap_or(u32::MAX),
    }
}

/// Whether the kernel rejects what no rule can match.
fn kernel_filters(config: &Config) -> bool {
    config.enable_kernel_filters && config.enable_approvers
}

/// What of the engine's options follows a reload.
fn live_options(config: &Config) -> LiveOptions {
    LiveOptions {
        policies_dir: config.policies_dir.clone(),
        agent_version: config.policies_agent_version.get().clone(),
        capture_all_errors: config.capture_all_errors,
        packets: packet_options(config),
        rule_limit: rule_limit(config),
    }
}

fn engine_options(config: &Config, spool: Spool, output: Option<Output>) -> EngineOptions {
    let uname = rustix::system::uname();
    let hostname = match config.hostname.as_str() {
        "" => uname.nodename().to_string_lossy().into_owned(),
        name => name.to_owned(),
    };
    let mut host = HostFacts {
        envs: std::env::vars()
            .map(|(name, value)| format!("{name}={value}"))
            .collect(),
        hostname: hostname.clone(),
        ..HostFacts::default()
    };
    host.set_kernel_release(&uname.release().to_string_lossy());
    if let Ok(text) = atalaya_host::paths::os_release() {
        host.set_os_release(&text);
    }
    let scrubber = Scrubber::new(
        &config.custom_sensitive_words,
        &config.custom_sensitive_regexps,
    );
    EngineOptions {
        policies_dir: config.policies_dir.clone(),
        spool: Some(spool),
        output,
        hostname,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host,
        agent_version: config.policies_agent_version.get().clone(),
        hash: hash_options(config),
        hash_event_types: config.hash_event_types.clone(),
        rule_limit: rule_limit(config),
        watch_policies: config.policies_watch_dir.then_some(QUIET),
        capture_all_errors: config.capture_all_errors,
        envs_with_value: Some(config.envs_with_value.clone()),
        scrubber: scrubber.unwrap_or_else(|e| {
            tracing::error!("event_monitoring_config.custom_sensitive_*: {e}; only the built-in words hide secrets");
            Scrubber::default()
        }),
        self_test: SelfTestOptions {
            enabled: config.self_test_enabled,
            send_report: config.self_test_send_report,
            timeout: config.self_test_timeout.get(),
            period: config.self_test_period.get(),
            ..SelfTestOptions::default()
        },
        packets: packet_options(config),
        count_program_times: config.bpf_stats_enabled,
        flow_period: config.flow_monitor_period.get(),
        history: HistoryOptions {
            window: Duration::from_secs(config.history_seconds.min(3600)),
            max_events: usize::try_from(config.history_max_events.min(1 << 20)).unwrap_or(usize::MAX),
        },
        hostnames: HostnameOptions {
            enabled: config.dns_resolution_enabled,
            addresses: usize::try_from(config.dns_resolution_cache_size).unwrap_or(usize::MAX),
            aliases: usize::try_from(config.dns_resolution_cname_max_depth).unwrap_or(usize::MAX),
        },
        tree: TreeOptions {
            max_processes: usize::try_from(config.pid_cache_size).unwrap_or(usize::MAX).max(64),
            ..TreeOptions::default()
        },
        ..EngineOptions::default()
    }
}
