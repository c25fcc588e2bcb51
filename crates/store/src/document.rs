//! An event as a document of the index, and back.

use serde_json::Value;
use serde_json::value::RawValue;
use tantivy::TantivyDocument;
use tantivy::schema::Value as _;

use crate::fields::{self, FIELDS};
use crate::index::schema::{self, Fields};
use crate::types::{Event, NewEvent};

/// How much of a spool's name is in the number of an event.
pub(crate) const SPOOL: usize = 8;
/// How much text of an event is searched for words, in bytes: an argument of a megabyte must not be the index.
const MAX_TEXT: usize = 256 << 10;
/// How many values of a field are counted and indexed.
const MAX_VALUES: usize = 64;

/// The beginning of a spool's name, as it is in ids.
pub(crate) fn short(spool: &str) -> &str {
    &spool[..spool.floor_char_boundary(SPOOL)]
}

/// The document of an event.
pub(crate) fn build(event: &NewEvent<'_>, fields: &Fields) -> TantivyDocument {
    let mut document = TantivyDocument::new();
    document.add_u64(
        fields.order,
        schema::order(event.timestamp_ms, event.offset),
    );
    document.add_u64(fields.offset, event.offset);
    document.add_text(fields.spool, short(event.spool));
    let source = String::from_utf8_lossy(event.json);
    let source = source.trim_end();
    let mut parsed: Value = serde_json::from_str(source).unwrap_or_default();
    if parsed.is_object() {
        document.add_text(fields.source, source);
    } else {
        // What is no JSON is text.
        parsed = serde_json::json!({"message": source, "timestamp": event.timestamp_ms});
        document.add_text(fields.source, parsed.to_string());
    }
    if !event.context.is_empty() {
        document.add_text(fields.context, String::from_utf8_lossy(event.context));
    }
    let mut facets = fields.facets.iter();
    for field in FIELDS {
        let column = if field.facet { facets.next() } else { None };
        if field.name == fields::NUMBER {
            continue;
        }
        let mut left = MAX_VALUES;
        fields::values(&parsed, field.name, &mut |value, _| {
            if left == 0 {
                return;
            }
            if left == MAX_VALUES {
                document.add_text(fields.attribute, schema::presence(field.name));
            }
            left -= 1;
            document.add_text(fields.attribute, schema::attribute(field.name, value).0);
            if let Some((_, column)) = column {
                document.add_text(*column, schema::beginning(value));
            }
        });
    }
    let mut text = String::with_capacity(source.len());
    fields::texts(&parsed, &mut |value| {
        let room = MAX_TEXT.saturating_sub(text.len());
        text.push_str(&value[..value.floor_char_boundary(room)]);
        text.push('\n');
    });
    document.add_text(fields.text, text);
    document
}

/// What is stored of one.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) spool: String,
    pub(crate) source: String,
    pub(crate) context: Option<String>,
}

impl Stored {
    pub(crate) fn of(document: &TantivyDocument, fields: &Fields) -> Self {
        let text = |field| {
            let value = document.get_first(field)?;
            Some(value.as_str()?.to_owned())
        };
        Self {
            spool: text(fields.spool).unwrap_or_default(),
            source: text(fields.source).unwrap_or_default(),
            context: text(fields.context),
        }
    }

    /// The event, of which the index has the order.
    pub(crate) fn into_event(self, order: u64) -> Event {
        let parsed: Value = serde_json::from_str(&self.source).unwrap_or_default();
        let number = parsed["event_id"].as_u64().unwrap_or(0);
        Event {
            id: format!("{}-{number}", self.spool),
            timestamp: schema::time_of(order),
            document: raw(self.source),
            context: self.context.map(raw),
        }
    }
}

fn raw(text: String) -> Box<RawValue> {
    RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
