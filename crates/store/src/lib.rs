//! The explorer's embedded store: every event findable, on one node, with nothing to install.
//!
//! ```no_run
//! use atalaya_store::{NewEvent, Options, Query, Search, Store};
//!
//! let store = Store::open("/var/lib/atalaya/explorer", Options::default())?;
//! let line = br#"{"event_id":7,"timestamp":1763980000123,"message":{"evt":{"name":"open"}}}"#;
//! store.append(&[NewEvent { spool: "a1b2c3d4", offset: 7, timestamp_ms: 1_763_980_000_123, json: line, context: b"" }])?;
//! store.commit()?;
//! let query = Query::parse("type:open", 1_763_980_001_000)?;
//! assert_eq!(store.search(&query, &Search::default())?.events.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is promised
//! - What [`Store::commit`] has returned for is there after a `kill -9`, and an event that is given again is not stored twice: the offset of
//!   the spool up to which everything is stored is a part of the commit.
//! - The store is as large as its [`Options`] say. The oldest events go first, a *window* (an index in a directory of its own) at once; and so
//!   they do when the disk is full. What went is counted, and an event of the store's own says so.
//! - A window that cannot be read is put aside; the others are searched.
//! - The store is derived: whoever deletes it loses search, not events.
//!
//! # How a query is answered
//! A [`Query`] is an expression over the event's JSON, and [`Query::matches`] is what it means. The index gives for each expression documents
//! that may match: exactly those where words and the fields of [`FIELDS`] decide, else more, and these are read and tried. So the answer does
//! not depend on what is indexed; only its time does. Time is bounded, and an answer that is not whole says so.
//!
//! # Files
//! `w-NNNNNNNN/`: a window, a tantivy index. `damaged-…/`: one that could not be opened. `state.sqlite`: views and self-tests
//! ([`StateDb`]). `lock`: one process a directory.
#![forbid(unsafe_code)]

mod document;
mod error;
mod fields;
mod glob;
mod index;
mod query;
mod search;
mod state;
mod store;
mod summary;
mod text;
mod time;
mod types;

pub use error::StoreError;
pub use fields::{FIELDS, FieldInfo};
pub use query::{Query, QueryError, Suggestion, suggest};
pub use state::{SelfTestRun, StateDb, View};
pub use store::Store;
pub use time::{parse_duration_ms, parse_time_ms};
pub use types::{
    Bucket, Committed, Event, Facet, FacetValue, Facets, NewEvent, Options, Order, Page, Range,
    Search, Stats, Timeline,
};
