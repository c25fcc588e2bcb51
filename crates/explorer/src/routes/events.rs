//! Finding and counting.

use std::time::{Duration, Instant};

use atalaya_store::{Event, Facets, Order, Page, Query, Range, Search, Suggestion, Timeline};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query as Parameters, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Answer, Shared};
use crate::Explorer;
use crate::error::ApiError;

/// How long a search may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long counting may take.
const COUNTING: Duration = Duration::from_secs(2);

/// What is asked for, of all that look for events.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Asked {
    query: String,
    from: Option<i64>,
    to: Option<i64>,
    limit: Option<usize>,
    cursor: Option<String>,
    order: Option<String>,
    fields: String,
    size: Option<usize>,
    buckets: Option<usize>,
}

type Parsed = Result<Parameters<Asked>, QueryRejection>;

pub(super) fn now_ms() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Asked {
    fn range(&self) -> Range {
        Range {
            from_ms: self.from,
            to_ms: self.to,
        }
    }

    fn query(&self) -> Result<Query, ApiError> {
        Ok(Query::parse(&self.query, now_ms())?)
    }
}

/// Reads the store on a thread that may wait.
pub(super) async fn reading<T: Send + 'static>(
    explorer: Shared,
    work: impl FnOnce(&Explorer) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(move || work(&explorer)).await;
    done.unwrap_or_else(|error| Err(ApiError::internal(error.to_string())))
}

#[derive(Serialize)]
pub(super) struct Found {
    #[serde(flatten)]
    page: Page,
    took_ms: u64,
}

pub(super) async fn search(State(explorer): State<Shared>, asked: Parsed) -> Answer<Found> {
    let Parameters(asked) = asked?;
    let query = asked.query()?;
    let limit = asked.limit.unwrap_or(50);
    if !(1..=500).contains(&limit) {
        return Err(ApiError::bad("limit is from 1 to 500"));
    }
    let order = match asked.order.as_deref() {
        None | Some("newest") => Order::Newest,
        Some("oldest") => Order::Oldest,
        Some(_) => return Err(ApiError::bad("order is newest or oldest")),
    };
    let search = Search {
        range: asked.range(),
        order,
        limit,
        cursor: asked.cursor.filter(|cursor| !cursor.is_empty()),
        timeout: PATIENCE,
    };
    let began = Instant::now();
    let page = reading(explorer, move |explorer| {
        Ok(explorer.store.search(&query, &search)?)
    })
    .await?;
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Json(Found { page, took_ms }))
}

/// The event of an id.
pub(super) async fn find(explorer: Shared, id: String) -> Result<Event, ApiError> {
    let missing = format!("there is no event {id}");
    let found = reading(explorer, move |explorer| Ok(explorer.store.get(&id)?)).await?;
    found.ok_or_else(|| {
        ApiError::not_found(missing)
            .hint("it may be gone: explorer.max_size_mb and explorer.max_age say how much is kept")
    })
}

pub(super) async fn one(State(explorer): State<Shared>, Path(id): Path<String>) -> Answer<Event> {
    Ok(Json(find(explorer, id).await?))
}

/// What happened before it.
pub(super) async fn context(
    State(explorer): State<Shared>,
    Path(id): Path<String>,
) -> Answer<Value> {
    let event = find(explorer, id).await?;
    let context = event
        .context
        .as_deref()
        .and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
    let available = context.as_ref().is_some_and(Value::is_object);
    let mut context = context
        .filter(Value::is_object)
        .unwrap_or_else(|| json!({"seconds": 0, "truncated": false, "events": []}));
    context["event_id"] = event.id.into();
    context["available"] = available.into();
    Ok(Json(context))
}

pub(super) async fn facets(State(explorer): State<Shared>, asked: Parsed) -> Answer<Facets> {
    let Parameters(asked) = asked?;
    let query = asked.query()?;
    let names: Vec<String> = asked
        .fields
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    if names.len() > 32 {
        return Err(ApiError::bad("not more than 32 fields at once"));
    }
    let (range, size) = (asked.range(), asked.size.unwrap_or(10).clamp(1, 1000));
    let facets = reading(explorer, move |explorer| {
        Ok(explorer
            .store
            .facets(&query, range, &names, size, COUNTING)?)
    });
    Ok(Json(facets.await?))
}

pub(super) async fn timeline(State(explorer): State<Shared>, asked: Parsed) -> Answer<Timeline> {
    let Parameters(asked) = asked?;
    let query = asked.query()?;
    let (range, buckets) = (asked.range(), asked.buckets.unwrap_or(60).clamp(1, 500));
    let timeline = reading(explorer, move |explorer| {
        Ok(explorer.store.timeline(&query, range, buckets, COUNTING)?)
    });
    Ok(Json(timeline.await?))
}

#[derive(Deserialize)]
pub(super) struct Writing {
    #[serde(default)]
    text: String,
    at: Option<usize>,
}

#[derive(Serialize)]
pub(super) struct Suggested {
    start: usize,
    end: usize,
    suggestions: Vec<Suggestion>,
}

pub(super) async fn suggest(
    State(explorer): State<Shared>,
    writing: Result<Parameters<Writing>, QueryRejection>,
) -> Answer<Suggested> {
    let Parameters(writing) = writing?;
    let at = writing.at.unwrap_or(writing.text.len());
    let suggested = reading(explorer, move |explorer| {
        let values = |field: &str, begun: &str| values(explorer, field, begun);
        let (place, suggestions) = atalaya_store::suggest(&writing.text, at, values);
        Ok(Suggested {
            start: place.start,
            end: place.end,
            suggestions,
        })
    });
    Ok(Json(suggested.await?))
}

/// The most frequent values of a field that begin so.
fn values(explorer: &Explorer, field: &str, begun: &str) -> Vec<(String, String)> {
    // Others are not counted: reading all events while somebody writes takes too long.
    if !atalaya_store::FIELDS
        .iter()
        .any(|known| known.name == field && known.facet)
    {
        return Vec::new();
    }
    let names = [field.to_owned()];
    let counted = explorer.store.facets(
        &Query::all(),
        Range::default(),
        &names,
        500,
        Duration::from_millis(300),
    );
    let facet = counted
        .ok()
        .and_then(|counted| counted.facets.into_iter().next());
    let values = facet
        .map(|facet| facet.values)
        .unwrap_or_default()
        .into_iter();
    let events = |count| {
        if count == 1 {
            "1 event".to_owned()
        } else {
            format!("{count} events")
        }
    };
    values
        .filter(|value| value.value.starts_with(begun))
        .map(|value| (value.value, events(value.count)))
        .collect()
}
