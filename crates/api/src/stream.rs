//! `SecurityModuleEvent`: events out of the spool, by offset, to named consumers and live observers.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atalaya_spool::{Error, Next, Reader, Record, Spool, valid_name};
use prost::Message;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status};

use crate::proto::security_module_event_server::SecurityModuleEvent;
use crate::proto::{AckEventsMessage, AckEventsParams, GetEventStreamParams, SecurityEventMessage};
use crate::{MAX_EVENT, SPOOL_ID_HEADER};

/// How many observers may look at once.
const MAX_OBSERVERS: usize = 16;
/// How many events an observer may lag before it loses some.
const OBSERVER_LAG: u64 = 4096;
/// How many events wait between the spool and one stream.
const IN_FLIGHT: usize = 64;
/// How often a stream without events looks whether somebody still listens.
const IDLE: Duration = Duration::from_millis(500);

type Out = mpsc::Sender<Result<SecurityEventMessage, Status>>;

pub(crate) struct Events {
    spool: Spool,
    streams: Arc<Mutex<Streams>>,
}

#[derive(Default)]
struct Streams {
    number: u64,
    /// By number: whose (empty for an observer), and what ends it.
    open: HashMap<u64, (String, watch::Sender<bool>)>,
    /// The processes behind them, as far as the kernel says who they are.
    pids: HashMap<u64, u32>,
    closed: bool,
}

impl Events {
    pub(crate) fn new(spool: Spool) -> Self {
        Self {
            spool,
            streams: Arc::default(),
        }
    }

    /// How many observers look.
    pub(crate) fn observers(&self) -> u32 {
        let streams = lock(&self.streams);
        streams
            .open
            .values()
            .filter(|(name, _)| name.is_empty())
            .count() as u32
    }

    /// The processes that are consumers now: security-agent, usually.
    pub(crate) fn consumers(&self) -> Vec<u32> {
        let streams = lock(&self.streams);
        let consumers = streams
            .open
            .iter()
            .filter(|(_, (name, _))| !name.is_empty());
        consumers
            .filter_map(|(number, _)| streams.pids.get(number).copied())
            .collect()
    }

    /// Ends all streams, and refuses new ones.
    pub(crate) fn end_all(&self) {
        let mut streams = lock(&self.streams);
        streams.closed = true;
        for (_, end) in streams.open.values() {
            end.send_replace(true);
        }
    }

    /// Notes a stream. A former one of the same consumer is ended: its client is dead, or soon will be.
    fn open(&self, name: &str) -> Result<(Registration, watch::Receiver<bool>), Status> {
        let mut streams = lock(&self.streams);
        if streams.closed {
            return Err(Status::unavailable("system-probe is stopping"));
        }
        let others = streams.open.values().filter(|(other, _)| other == name);
        if name.is_empty() {
            if others.count() >= MAX_OBSERVERS {
                let text = format!("there are already {MAX_OBSERVERS} observers");
                return Err(Status::resource_exhausted(text));
            }
        } else {
            for (_, end) in others {
                tracing::info!(consumer = name, "a new stream replaces the former one");
                end.send_replace(true);
            }
        }
        streams.number += 1;
        let number = streams.number;
        let (end, ended) = watch::channel(false);
        streams.open.insert(number, (name.to_owned(), end));
        let registration = Registration {
            streams: Arc::clone(&self.streams),
            number,
        };
        Ok((registration, ended))
    }
}

/// Forgets its stream when it goes.
struct Registration {
    streams: Arc<Mutex<Streams>>,
    number: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut streams = lock(&self.streams);
        streams.open.remove(&self.number);
        streams.pids.remove(&self.number);
    }
}

fn lock(streams: &Mutex<Streams>) -> MutexGuard<'_, Streams> {
    streams.lock().unwrap_or_else(PoisonError::into_inner)
}

#[tonic::async_trait]
impl SecurityModuleEvent for Events {
    type GetEventStreamStream =
        Pin<Box<dyn Stream<Item = Result<SecurityEventMessage, Status>> + Send>>;

    async fn get_event_stream(
        &self,
        request: Request<GetEventStreamParams>,
    ) -> Result<Response<Self::GetEventStreamStream>, Status> {
        let peer = request.extensions().get::<UdsConnectInfo>();
        let peer = peer.and_then(|peer| peer.peer_cred?.pid());
        let GetEventStreamParams { consumer, live } = request.into_inner();
        if live && !consumer.is_empty() {
            return Err(Status::invalid_argument(
                "a stream is either live or a consumer's",
            ));
        }
        if !consumer.is_empty() && !valid_name(&consumer) {
            return Err(status(Error::BadName(consumer)));
        }
        let (registration, ended) = self.open(&consumer)?;
        if let Some(pid) = peer.and_then(|pid| u32::try_from(pid).ok()) {
            lock(&self.streams).pids.insert(registration.number, pid);
        }
        let reader = if consumer.is_empty() {
            self.spool.observer(OBSERVER_LAG)
        } else {
            self.spool.reader(&consumer).map_err(status)?
        };
        let (out, stream) = mpsc::channel(IN_FLIGHT);
        let runtime = Handle::current();
        tokio::task::spawn_blocking(move || {
            pump(reader, &out, &ended, &runtime);
            drop(registration);
        });
        let stream: Self::GetEventStreamStream = Box::pin(ReceiverStream::new(stream));
        let mut response = Response::new(stream);
        if let Ok(id) = self.spool.id().parse() {
            response.metadata_mut().insert(SPOOL_ID_HEADER, id);
        }
        Ok(response)
    }

    async fn ack_events(
        &self,
        request: Request<AckEventsParams>,
    ) -> Result<Response<AckEventsMessage>, Status> {
        let AckEventsParams { consumer, offset } = request.into_inner();
        let spool = self.spool.clone();
        // It writes a small file.
        let acked = tokio::task::spawn_blocking(move || spool.ack(&consumer, offset)).await;
        let next_offset = acked
            .map_err(|e| Status::internal(e.to_string()))?
            .map_err(status)?;
        Ok(Response::new(AckEventsMessage { next_offset }))
    }
}

fn status(error: Error) -> Status {
    let text = error.to_string();
    match error {
        Error::BadName(_) => Status::invalid_argument(text),
        Error::TooManyConsumers(_) => Status::resource_exhausted(text),
        Error::UnknownConsumer(_) => Status::not_found(text),
        Error::AckBeyondEnd { .. } => Status::out_of_range(text),
        Error::Io { .. } | Error::Locked(_) => Status::internal(text),
    }
}

/// Carries records from the spool to one stream until somebody ends it.
fn pump(mut reader: Reader, out: &Out, ended: &watch::Receiver<bool>, runtime: &Handle) {
    // Missed before a record that was itself not sent.
    let mut missed = 0;
    loop {
        if *ended.borrow() {
            let _ = out.try_send(Err(Status::aborted(
                "the stream was replaced, or system-probe is stopping",
            )));
            return;
        }
        match reader.next(IDLE) {
            Next::Record(record) => {
                missed += record.missed;
                match message(&record, missed) {
                    Some(message) => {
                        missed = 0;
                        if !send(out, message, ended, runtime) {
                            return;
                        }
                    }
                    None => missed += 1,
                }
            }
            Next::Timeout if out.is_closed() => return,
            Next::Timeout => {}
            Next::Closed => {
                let _ = out.try_send(Err(Status::unavailable("system-probe is stopping")));
                return;
            }
        }
    }
}

/// The record as a message. `None`: it is none, or too long for a client.
fn message(record: &Record, missed: u64) -> Option<SecurityEventMessage> {
    match SecurityEventMessage::decode(record.data.as_slice()) {
        Ok(mut message) if record.data.len() < MAX_EVENT - 64 => {
            message.offset = record.offset;
            message.missed = missed;
            Some(message)
        }
        Ok(_) => {
            tracing::error!(
                offset = record.offset,
                bytes = record.data.len(),
                "the event is too long to be sent"
            );
            None
        }
        Err(e) => {
            tracing::error!(
                offset = record.offset,
                "the spooled event cannot be decoded: {e}"
            );
            None
        }
    }
}

/// Waits for a slow client, but not beyond the stream's end.
fn send(
    out: &Out,
    message: SecurityEventMessage,
    ended: &watch::Receiver<bool>,
    runtime: &Handle,
) -> bool {
    let message = match out.try_send(Ok(message)) {
        Ok(()) => return true,
        Err(mpsc::error::TrySendError::Closed(_)) => return false,
        Err(mpsc::error::TrySendError::Full(message)) => message,
    };
    let mut ended = ended.clone();
    runtime.block_on(async {
        tokio::select! {
            sent = out.send(message) => sent.is_ok(),
            _ = ended.wait_for(|e| *e) => false,
        }
    })
}
