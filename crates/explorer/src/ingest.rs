//! From system-probe's spool to the store.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use atalaya_api::proto::{AckEventsParams, GetEventStreamParams, SecurityEventMessage};
use atalaya_api::{Backoff, Client, SPOOL_ID_HEADER};
use atalaya_store::{Committed, Event, NewEvent, StoreError};
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout_at};

use crate::Explorer;
use crate::live::Arrived;

/// The name under which system-probe knows how far the explorer has come.
pub const CONSUMER: &str = "explorer";
/// How many events are committed at once, at most.
const BATCH: usize = 8192;
/// How long an event waits for others before it can be found.
const PATIENCE: Duration = Duration::from_millis(700);

/// Connects and stores, again and again.
pub(crate) async fn run(explorer: Arc<Explorer>) {
    let mut backoff = Backoff::default();
    loop {
        // That system-probe is away is told where the events file is written.
        let client = Client::connect_patiently(explorer.probe.socket(), |_, _| {}).await;
        if let Err(error) = stream(&explorer, client, &mut backoff).await {
            tracing::debug!("explorer: {error}");
        }
        sleep(backoff.pause()).await;
    }
}

/// Stores the events of one stream until it ends.
async fn stream(
    explorer: &Arc<Explorer>,
    mut client: Client,
    backoff: &mut Backoff,
) -> Result<(), tonic::Status> {
    let params = GetEventStreamParams {
        consumer: CONSUMER.to_owned(),
        live: false,
    };
    let response = client.events.get_event_stream(params).await?;
    let id = response
        .metadata()
        .get(SPOOL_ID_HEADER)
        .and_then(|id| id.to_str().ok());
    let spool: Arc<str> = id
        .unwrap_or("unknown")
        .replace(char::is_whitespace, "_")
        .into();
    let mut incoming = response.into_inner();
    // Reads ahead, so that a batch is what came while the one before was written.
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
    let ended = store(explorer, &mut client, &spool, &mut events, backoff).await;
    reader.abort();
    ended
}

type Incoming = mpsc::Receiver<Result<Option<SecurityEventMessage>, tonic::Status>>;

async fn store(
    explorer: &Arc<Explorer>,
    client: &mut Client,
    spool: &Arc<str>,
    events: &mut Incoming,
    backoff: &mut Backoff,
) -> Result<(), tonic::Status> {
    let mut received = Vec::new();
    while events.recv_many(&mut received, BATCH).await > 0 {
        let until = tokio::time::Instant::now() + PATIENCE;
        while received.len() < BATCH {
            let room = BATCH - received.len();
            if !matches!(timeout_at(until, events.recv_many(&mut received, room)).await, Ok(more) if more > 0)
            {
                break;
            }
        }
        let mut batch = Vec::with_capacity(received.len());
        let mut end = None;
        for next in received.drain(..) {
            match next {
                Ok(Some(message)) => batch.push(message),
                Ok(None) => end = Some(Ok(())),
                Err(status) => end = Some(Err(status)),
            }
        }
        if let Some(offset) = batch.last().map(|message| message.offset) {
            show(explorer, spool, &batch);
            commit(explorer, spool, batch).await;
            let ack = AckEventsParams {
                consumer: CONSUMER.to_owned(),
                offset,
            };
            client.events.ack_events(ack).await?;
            backoff.reset();
        }
        if let Some(end) = end {
            return end;
        }
    }
    Ok(())
}

/// To who watches, at once.
fn show(explorer: &Explorer, spool: &str, batch: &[SecurityEventMessage]) {
    if !explorer.live.is_watched() {
        return;
    }
    for message in batch {
        let line = (explorer.hooks.document)(message);
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        let document = serde_json::from_str(&text).unwrap_or_default();
        let Ok(raw) = RawValue::from_string(text) else {
            continue;
        };
        let event = Event {
            id: format!("{}-{}", beginning(spool), message.offset),
            timestamp: milliseconds(message),
            document: raw,
            context: None,
        };
        explorer.live.send(Arrived { event, document });
    }
}

fn beginning(spool: &str) -> &str {
    &spool[..spool.floor_char_boundary(8)]
}

fn milliseconds(message: &SecurityEventMessage) -> i64 {
    message.timestamp.as_ref().map_or(0, |at| {
        at.seconds
            .saturating_mul(1000)
            .saturating_add(i64::from(at.nanos) / 1_000_000)
    })
}

/// However long it takes: what is not stored is not acknowledged, and waits in system-probe's spool.
async fn commit(explorer: &Arc<Explorer>, spool: &Arc<str>, batch: Vec<SecurityEventMessage>) {
    let batch = Arc::new(batch);
    let mut backoff = Backoff::default();
    let mut told = None::<Instant>;
    loop {
        let (own, spool, events) = (Arc::clone(explorer), Arc::clone(spool), Arc::clone(&batch));
        let written = tokio::task::spawn_blocking(move || write(&own, &spool, &events)).await;
        let error = match written {
            Ok(Ok(_)) => {
                if trouble(explorer, None).is_some() {
                    tracing::info!("the explorer can store events again");
                }
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        if told.is_none_or(|at| at.elapsed() > Duration::from_secs(60)) {
            tracing::error!(
                "the explorer cannot store events: {error}; they wait in system-probe's spool"
            );
            told = Some(Instant::now());
        }
        trouble(explorer, Some(error));
        sleep(backoff.pause()).await;
    }
}

fn trouble(explorer: &Explorer, now: Option<String>) -> Option<String> {
    let mut trouble = explorer
        .trouble
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    std::mem::replace(&mut *trouble, now)
}

fn write(
    explorer: &Explorer,
    spool: &str,
    batch: &[SecurityEventMessage],
) -> Result<Committed, StoreError> {
    for message in batch {
        let line = (explorer.hooks.document)(message);
        let event = NewEvent {
            spool,
            offset: message.offset,
            timestamp_ms: milliseconds(message),
            json: &line,
            context: &message.context,
        };
        explorer.store.append(&[event])?;
    }
    explorer.store.commit()
}
