//! `start`: takes events from the probe and stores them, for as long as it lives.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use atalaya_api::proto::{AckEventsParams, GetEventStreamParams, SecurityEventMessage};
use atalaya_api::{Account, Backoff, Client, SPOOL_ID_HEADER};
use atalaya_config::{Config, Loaded, Severity};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::cli::runtime;
use crate::privileges;
use crate::record::Host;
use crate::store::{self, Rotation, Store};

/// The name under which the probe knows how far the agent has come.
const CONSUMER: &str = "security-agent";
/// How many events are stored and acknowledged at once.
const BATCH: usize = 256;

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(loaded: Loaded) -> Result<ExitCode> {
    let config = &loaded.config;
    init_logging(config);
    for problem in &loaded.problems {
        match problem.severity {
            Severity::Note => tracing::info!("{problem}"),
            Severity::Warning => tracing::warn!("{problem}"),
            Severity::Error => tracing::error!("{problem}"),
        }
    }
    if !config.enabled {
        tracing::info!("runtime security is off (runtime_security_config.enabled): nothing to do");
        return Ok(ExitCode::SUCCESS);
    }
    let rotation = Rotation {
        max_bytes: config.events_file_max_size_mb.saturating_mul(1 << 20),
        max_files: config.events_file_max_files,
    };
    give_up_root(config, rotation)?;
    let host = Host {
        name: match config.hostname.as_str() {
            "" => rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            name => name.to_owned(),
        },
        tags: config.tags.clone(),
    };
    let store = Store::open(&config.events_file, rotation, host).with_context(|| {
        let (uid, gid) = Account::own();
        format!("cannot store events as user {uid}, group {gid} (see security_agent.user and security_agent.events_file)")
    })?;
    runtime()?.block_on(serve(config, store))
}

fn init_logging(config: &Config) {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .with_env_filter(config.log_level.as_str())
        .init();
}

/// From here on nothing is done as root.
fn give_up_root(config: &Config, rotation: Rotation) -> Result<()> {
    let (uid, gid) = Account::own();
    let user = if uid == 0 {
        let Some(user) = Account::of_agent(&config.agent_user) else {
            bail!(
                "neither user `{}` nor `nobody` exists; set security_agent.user",
                config.agent_user
            );
        };
        let files = store::files(&config.events_file, rotation);
        privileges::prepare(&config.events_file, &files, &user)?;
        user
    } else {
        let name = uid.to_string();
        Account { name, uid, gid }
    };
    privileges::drop_to(&user).context("cannot give up privileges")?;
    if user.uid == 0 {
        tracing::warn!("security_agent.user is root: only its capabilities were given up");
    }
    tracing::info!(
        "running as {} (uid {}) without any capability",
        user.name,
        user.uid
    );
    Ok(())
}

async fn serve(config: &Config, mut store: Store) -> Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    tracing::info!("storing events in {}", config.events_file.display());
    tokio::select! {
        never = consume(config, &mut store) => match never {},
        // Between two batches only: `consume` waits nowhere while it writes one.
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Connects and stores, again and again.
async fn consume(config: &Config, store: &mut Store) -> std::convert::Infallible {
    let mut backoff = Backoff::default();
    loop {
        let mut told = None::<Instant>;
        let client = Client::connect_patiently(&config.socket, |e, _| {
            // At once, and then once a minute.
            if told.is_none_or(|at| at.elapsed() > Duration::from_secs(60)) {
                tracing::warn!("waiting for system-probe: {e}");
                told = Some(Instant::now());
            }
        })
        .await;
        match stream(client, store, &mut backoff).await {
            Ok(()) => tracing::warn!("system-probe ended the stream of events; connecting again"),
            Err(e) => tracing::warn!(
                "lost the stream of events: {}; connecting again",
                atalaya_api::chain(e.as_ref())
            ),
        }
        tokio::time::sleep(backoff.pause()).await;
    }
}

/// Stores the events of one stream until it ends.
async fn stream(mut client: Client, store: &mut Store, backoff: &mut Backoff) -> Result<()> {
    let params = GetEventStreamParams {
        consumer: CONSUMER.to_owned(),
        live: false,
    };
    let response = client
        .events
        .get_event_stream(params)
        .await
        .map_err(plain)?;
    let spool = response
        .metadata()
        .get(SPOOL_ID_HEADER)
        .and_then(|v| v.to_str().ok());
    let spool = spool.unwrap_or("unknown").replace(char::is_whitespace, "_");
    tracing::info!("connected to system-probe");
    let mut incoming = response.into_inner();
    // A task of its own reads ahead, so that a batch is what came while the former was written.
    let (forward, mut events) = mpsc::channel(BATCH);
    let reader = tokio::spawn(async move {
        loop {
            let next = incoming.message().await;
            let end = !matches!(next, Ok(Some(_)));
            if forward.send(next).await.is_err() || end {
                return;
            }
        }
    });
    let _end_reader = AbortOnDrop(reader);
    let mut received = Vec::with_capacity(BATCH);
    while events.recv_many(&mut received, BATCH).await > 0 {
        let mut batch = Vec::with_capacity(received.len());
        let mut end = None;
        for next in received.drain(..) {
            match next {
                Ok(Some(message)) => batch.push(message),
                Ok(None) => end = Some(Ok(())),
                Err(status) => end = Some(Err(plain(status))),
            }
        }
        if let Some(last) = batch.last().map(|m| m.offset) {
            store_batch(store, &spool, &batch).await;
            let ack = AckEventsParams {
                consumer: CONSUMER.to_owned(),
                offset: last,
            };
            client
                .events
                .ack_events(ack)
                .await
                .map_err(plain)
                .context("cannot acknowledge")?;
            backoff.reset();
        }
        if let Some(end) = end {
            return end;
        }
    }
    Ok(())
}

/// Stores a batch, however long it takes: what is not stored is not acknowledged, and waits in the probe's spool.
async fn store_batch(store: &mut Store, spool: &str, batch: &[SecurityEventMessage]) {
    for message in batch.iter().filter(|m| m.missed > 0) {
        tracing::error!(
            "{} events before offset {} are lost: they were gone from the spool before they could be read",
            message.missed,
            message.offset
        );
    }
    let mut backoff = Backoff::default();
    let mut failed = false;
    loop {
        match store.write(spool, batch) {
            Ok(_) if failed => return tracing::info!("events can be stored again"),
            Ok(_) => return,
            Err(e) => {
                if !failed {
                    tracing::error!(
                        "{}; events wait in system-probe's spool",
                        atalaya_api::chain(e.as_ref())
                    );
                }
                failed = true;
                tokio::time::sleep(backoff.pause()).await;
            }
        }
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn plain(status: tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{}", status.message())
}
