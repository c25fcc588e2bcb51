//! Events, processes, and the one table of their fields.
//!
//! - [`capture`]: what the sensor delivers.
//! - [`record`]: how an event is made of the record of its kind.
//! - [`Process`] and [`Event`]: what rules read. A struct field with a `#[field]` attribute is a field of the rule
//!   language; [`schema`] is the table of all of them, and [`Event`] implements
//!   [`EventView`](atalaya_secl::model::EventView) over it.
//! - [`constants`]: the names that rules may use for numbers.
//! - [`ValueEvent`]: an event made of values, to try rules on.
//! - [`json`]: the one serializer of events.
//! - [`docs`]: the reference pages.
//!
//! All times are nanoseconds since the Unix epoch, except in [`capture`].
#![forbid(unsafe_code)]

pub mod capture;
pub mod constants;
mod context;
pub mod docs;
mod event;
mod fields;
mod file;
mod filter;
pub mod json;
mod legacy;
mod process;
pub mod record;
mod table;
mod text;
mod types;
mod values;

pub use context::{Context, ENVS_WITH_VALUE, Lookup, NameSet, NoLookup};
pub use event::*;
pub use fields::{Cx, FieldSpec, FieldValue, Fields, IntoValue, zero};
pub use file::{File, Package};
pub use filter::Filter;
pub use process::{
    Ancestors, Cgroup, Container, Creds, Image, Lineage, MAX_LINEAGE, Process, SessionKind,
    SshAuth, Target, UserSession,
};
pub use table::{Alias, Common, Entry, Root, Table, table as schema};
pub use types::{Category, EVENT_TYPES, EventType, event_type};
pub use values::{EventReader, ValueError, ValueEvent};
