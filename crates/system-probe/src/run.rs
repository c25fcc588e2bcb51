//! `run`: joins sensor, engine, spool and server, in the order that leaves nothing behind when one of them refuses.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use atalaya_api::{Account, RunLock, Server, ServerOptions};
use atalaya_config::Config;
use atalaya_engine::{Engine, EngineOptions, HostnameOptions, Output, SelfTestOptions};
use atalaya_model::capture::{Ownerless, PacketOptions};
use atalaya_model::json::Scrubber;
use atalaya_policy::HostFacts;
use atalaya_resolvers::{HashAlgorithm, HashOptions, TreeOptions};
use atalaya_spool::{Limits, Spool};

use crate::doctor::Doctor;
use crate::network::Network;
use crate::preflight;
use crate::signals::{Asked, Signals};
use crate::source::SensorSource;

/// Runs until it is asked to stop.
/// `again` loads the configuration once more, for what a reload may change.
pub(crate) fn run(
    config: &Config,
    output: Option<&Path>,
    again: impl Fn() -> Result<Config>,
) -> Result<()> {
    if !config.enabled {
        tracing::info!("runtime security is off (runtime_security_config.enabled): nothing to do");
        return Ok(());
    }
    preflight::check()?;
    let lock = RunLock::acquire(&config.run_path)?;
    // It keeps capabilities that the others have no use for.
    let network = Network::start(config).map_err(|error| format!("{error:#}"));
    if let Err(error) = &network {
        tracing::warn!("no events of packets: {error}");
    }
    let doctor = Arc::new(Doctor::start(config).context("cannot start the network doctor")?);
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
    let sensor = SensorSource::open(config, network.clone()).context("cannot start the sensor")?;
    let mut options = engine_options(config, spool.clone(), output);
    options.doctor = Some(Arc::<Doctor>::clone(&doctor));
    let engine = Engine::start(options, Box::new(sensor)).context("cannot start the engine")?;
    let control = engine.control();
    let server_options = ServerOptions {
        socket: config.socket.clone(),
        agent: Account::of_agent(&config.agent_user),
    };
    let server = Server::start(
        server_options,
        &lock,
        Arc::new(control.clone()),
        spool.clone(),
    )
    .context("cannot serve the security-agent")?;
    // Others wait for exactly these words.
    tracing::info!("system-probe is ready");
    while let Asked::Reload = signals.next() {
        match again() {
            Ok(config) => {
                doctor.configure(&config);
                if let Ok(network) = &network {
                    network.configure(&config);
                }
            }
            Err(error) => tracing::error!(
                "cannot read the configuration again: {error:#}; the former one stays"
            ),
        }
        match control.reload() {
            Ok((loaded, failed)) => {
                tracing::info!(
                    "policies were read again: {loaded} rules loaded, {failed} rejected"
                );
            }
            Err(e) => tracing::error!("cannot read the policies again: {e}; the former rules stay"),
        }
    }
    tracing::info!("stopping");
    signals.end_at_next();
    // The engine first: what it has still seen goes to the spool, and from there to whoever is connected.
    engine.stop();
    server.stop();
    spool.close();
    tracing::info!("stopped");
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
    if let Ok(text) = std::fs::read_to_string("/etc/os-release") {
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
        flow_period: config.flow_monitor_period.get(),
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
