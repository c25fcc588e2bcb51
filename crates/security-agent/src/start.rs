//! `start`: takes events from the probe and stores them, for as long as it lives.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use atalaya_api::proto::{AckEventsParams, GetEventStreamParams, SecurityEventMessage};
use atalaya_api::{Account, Backoff, Client, SPOOL_ID_HEADER};
use atalaya_config::{Config, Loaded};
use atalaya_host::Notifier;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::explorer;
use crate::http;
use crate::privileges;
use crate::reload::{Live, Read, Reloader};
use crate::sandbox;
use crate::state::State;
use crate::store::{self, Rotation, Store};
use atalaya_cli::ask::runtime;
use atalaya_cli::logging;

/// The name under which the probe knows how far the agent has come.
const CONSUMER: &str = "security-agent";
/// How many events are stored and acknowledged at once.
const BATCH: usize = 256;

/// Runs until SIGTERM or SIGINT. `read` loads the configuration once more, for what a reload may change.
pub(crate) fn run(loaded: Loaded, read: Read) -> Result<ExitCode> {
    let config = &loaded.config.clone();
    let log = logging::init(config.log_level);
    logging::problems(&loaded.problems);
    if !config.enabled {
        tracing::info!("runtime security is off (runtime_security_config.enabled): nothing to do");
        return Ok(ExitCode::SUCCESS);
    }
    let Live { rotation, host } = Live::of(config);
    let notifier = Notifier::from_environment();
    let listener = http::listen(config);
    let explorer = explorer::listen(config);
    give_up_root(config, rotation)?;
    sandbox::enter(&loaded)
        .context("cannot restrict itself (sandbox.enabled: false does without)")?;
    let store = Store::open(&config.events_file, rotation, host).with_context(|| {
        let (uid, gid) = Account::own();
        format!("cannot store events as user {uid}, group {gid} (see security_agent.user and security_agent.events_file)")
    })?;
    let state = Arc::new(State::new());
    if let Some(listener) = listener {
        http::serve(config, listener, Arc::clone(&state))?;
    }
    let live = watch::Sender::new(Live::of(config));
    if let Some(listeners) = explorer {
        explorer::start(config, listeners, &state, live.subscribe());
    }
    let reloader = Reloader {
        live,
        read,
        log,
        loaded,
    };
    runtime()?.block_on(serve(reloader, store, &notifier, &state))
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
        if config.explorer_enabled {
            // No reason not to store events in the file; that the explorer cannot be opened will be told as well.
            if let Err(error) = privileges::prepare_directory(&config.explorer_dir, &user) {
                tracing::warn!("{}", atalaya_api::chain(error.as_ref()));
            }
        }
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

async fn serve(
    reloader: Reloader,
    mut store: Store,
    notifier: &Notifier,
    state: &State,
) -> Result<ExitCode> {
    let config = &reloader.loaded.config.clone();
    let mut live = reloader.live.subscribe();
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    tracing::info!("storing events in {}", config.events_file.display());
    notifier.ready("storing events");
    tokio::select! {
        never = signs_of_life(notifier) => match never {},
        never = state.turn() => match never {},
        never = reloader.follow(notifier) => match never? {},
        never = consume(config, &mut store, &mut live, state) => match never {},
        // Between two batches only: `consume` waits nowhere while it writes one.
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    notifier.stopping();
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// For the service manager's watchdog: this loop goes round. That system-probe does not answer is no reason to restart.
async fn signs_of_life(notifier: &Notifier) -> std::convert::Infallible {
    let Some(interval) = notifier.watchdog_interval() else {
        return std::future::pending().await;
    };
    loop {
        notifier.alive();
        tokio::time::sleep(interval).await;
    }
}

/// Connects and stores, again and again.
async fn consume(
    config: &Config,
    store: &mut Store,
    live: &mut watch::Receiver<Live>,
    state: &State,
) -> std::convert::Infallible {
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
        let ended = stream(client, store, live, &mut backoff, state).await;
        state.connected(false);
        match ended {
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
async fn stream(
    mut client: Client,
    store: &mut Store,
    live: &mut watch::Receiver<Live>,
    backoff: &mut Backoff,
    state: &State,
) -> Result<()> {
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
    state.connected(true);
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
            if live.has_changed().unwrap_or(false) {
                let Live { rotation, host } = live.borrow_and_update().clone();
                store.configure(rotation, host);
            }
            store_batch(store, &spool, &batch, state).await;
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
async fn store_batch(
    store: &mut Store,
    spool: &str,
    batch: &[SecurityEventMessage],
    state: &State,
) {
    let missed = batch.iter().map(|message| message.missed).sum();
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
            Ok(written) => {
                state.stored(written, missed);
                if failed {
                    tracing::info!("events can be stored again");
                }
                return;
            }
            Err(e) => {
                state.failing(&atalaya_api::chain(e.as_ref()));
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
