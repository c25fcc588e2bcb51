//! What goes in and what comes out.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

/// An event to store.
#[derive(Debug, Clone, Copy)]
pub struct NewEvent<'a> {
    /// The name of the spool it came from.
    pub spool: &'a str,
    /// Its number there.
    pub offset: u64,
    /// When it happened, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The document: one JSON object.
    pub json: &'a [u8],
    /// What happened before it, as JSON; may be empty.
    pub context: &'a [u8],
}

/// How much the store may be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes on disk, all windows together.
    pub max_bytes: u64,
    /// How long an event is kept at least while there is room, and at most.
    pub max_age: Duration,
    /// Memory for events that are not committed yet.
    pub memory_bytes: usize,
    /// How many events a window has before the next is begun.
    pub window_events: u64,
    /// What stays free on the disk.
    pub min_free_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_bytes: 1 << 30,
            max_age: Duration::from_secs(7 * 24 * 3600),
            memory_bytes: 20 << 20,
            window_events: 250_000,
            min_free_bytes: 256 << 20,
        }
    }
}

/// In which order events come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The newest first.
    #[default]
    Newest,
    /// The oldest first.
    Oldest,
}

/// From when to when, in milliseconds since 1970, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Range {
    /// Not before.
    pub from_ms: Option<i64>,
    /// Not after.
    pub to_ms: Option<i64>,
}

/// What to find besides the query.
#[derive(Debug, Clone)]
pub struct Search {
    /// When.
    pub range: Range,
    /// In which order.
    pub order: Order,
    /// How many, at most.
    pub limit: usize,
    /// Go on where another search ended: [`Page::next`].
    pub cursor: Option<String>,
    /// How long it may take; what is found by then is the answer.
    pub timeout: Duration,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            range: Range::default(),
            order: Order::Newest,
            limit: 50,
            cursor: None,
            timeout: Duration::from_secs(5),
        }
    }
}

/// A stored event.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// The first eight characters of the spool's name, and the number of the event in it.
    pub id: String,
    /// When it happened, in milliseconds since 1970.
    pub timestamp: i64,
    /// The document as it was stored.
    pub document: Box<RawValue>,
    /// What happened before it.
    #[serde(skip)]
    pub context: Option<Box<RawValue>>,
}

/// A part of what was found.
#[derive(Debug, Serialize)]
pub struct Page {
    /// The events, in order.
    pub events: Vec<Event>,
    /// How many match in all.
    pub total: u64,
    /// Whether that is all; else there are at least so many.
    pub total_exact: bool,
    /// Whether the search came to its end within its time.
    pub complete: bool,
    /// For the next part; `None`: this was the last.
    pub next: Option<String>,
}

/// How often each value of some fields is there.
#[derive(Debug, Serialize)]
pub struct Facets {
    /// One a field.
    pub facets: Vec<Facet>,
    /// Whether everything was counted within the time.
    pub complete: bool,
}

/// The values of a field.
#[derive(Debug, Serialize)]
pub struct Facet {
    /// The field's full name.
    pub field: String,
    /// What it is called.
    pub title: String,
    /// The most frequent values.
    pub values: Vec<FacetValue>,
    /// How many events have other values.
    pub other: u64,
}

/// A value.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct FacetValue {
    /// The value.
    pub value: String,
    /// How many events have it.
    pub count: u64,
}

/// Events over time.
#[derive(Debug, Serialize)]
pub struct Timeline {
    /// Where the first bucket begins.
    pub from: i64,
    /// Where the last bucket ends.
    pub to: i64,
    /// How long a bucket is.
    pub interval_ms: i64,
    /// All of them, also empty ones.
    pub buckets: Vec<Bucket>,
    /// Whether everything was counted within the time.
    pub complete: bool,
}

/// A span of time.
#[derive(Debug, Serialize)]
pub struct Bucket {
    /// Where it begins.
    pub at: i64,
    /// How many events.
    pub count: u64,
    /// How many of each status.
    pub by_status: std::collections::BTreeMap<String, u64>,
}

/// What a commit has done.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Everything up to this number of the spool of that name is stored.
    pub upto: Option<(String, u64)>,
    /// How many events were removed to make room.
    pub dropped: u64,
}

/// The store's figures.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Stats {
    /// Events that can be found.
    pub events: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// How many it may be.
    pub max_bytes: u64,
    /// How many windows.
    pub windows: usize,
    /// The time of the oldest event.
    pub oldest: Option<i64>,
    /// The time of the newest event.
    pub newest: Option<i64>,
    /// Events that were removed since the start.
    pub dropped_events: u64,
    /// Why the last of them were.
    pub dropped_why: Option<&'static str>,
    /// Windows that could not be read at the start.
    pub damaged: usize,
}
