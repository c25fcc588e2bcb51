//! Events as they come, by server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use atalaya_store::Query;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query as Parameters, State};
use axum::response::Sse;
use axum::response::sse::Event as Sent;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;

use super::Shared;
use super::events::now_ms;
use crate::error::ApiError;

/// How many events wait for who reads slowly; then they wait in the channel of all, and are skipped there.
const WAITING: usize = 64;
/// How often it is said that nothing happens.
const HEARTBEAT: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    query: String,
}

pub(super) async fn tail(
    State(explorer): State<Shared>,
    asked: Result<Parameters<Asked>, QueryRejection>,
) -> Result<Sse<ReceiverStream<Result<Sent, Infallible>>>, ApiError> {
    let Parameters(asked) = asked?;
    let query = Query::parse(&asked.query, now_ms())?;
    let mut arriving = explorer.live.watch();
    let (send, receive) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let sent = tokio::select! {
                _ = heartbeat.tick() => Some(named("heartbeat", &json!({"now": now_ms()}))),
                arrived = arriving.recv() => match arrived {
                    Ok(arrived) => matching(&query, &arrived),
                    Err(RecvError::Lagged(skipped)) => Some(named("lag", &json!({"skipped": skipped}))),
                    Err(RecvError::Closed) => return,
                },
            };
            if let Some(sent) = sent
                && send.send(Ok(sent)).await.is_err()
            {
                return;
            }
        }
    });
    Ok(Sse::new(ReceiverStream::new(receive)))
}

fn named(name: &str, data: &serde_json::Value) -> Sent {
    Sent::default().event(name).data(data.to_string())
}

fn matching(query: &Query, arrived: &Arc<crate::live::Arrived>) -> Option<Sent> {
    if !query.matches(&arrived.document, arrived.event.timestamp) {
        return None;
    }
    let data = serde_json::to_string(&arrived.event).ok()?;
    Some(
        Sent::default()
            .event("event")
            .id(&arrived.event.id)
            .data(data),
    )
}
