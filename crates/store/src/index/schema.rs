//! The fields of the index.

use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, STORED, Schema, TextFieldIndexing, TextOptions,
};

use crate::fields::FIELDS;
use crate::text::ANALYZER;

/// Longer values are indexed by their beginning.
pub(crate) const MAX_VALUE: usize = 1000;

/// By number.
#[derive(Debug, Clone)]
pub(crate) struct Fields {
    /// Time and number of the event, by which events are in order: see [`order`].
    pub(crate) order: Field,
    /// The number of the event in its spool.
    pub(crate) offset: Field,
    /// The first characters of the spool's name.
    pub(crate) spool: Field,
    /// Terms `NAME NUL VALUE`, and `NUL NAME` where the event has the field.
    pub(crate) attribute: Field,
    /// All words.
    pub(crate) text: Field,
    /// The document.
    pub(crate) source: Field,
    /// What was before it.
    pub(crate) context: Field,
    /// The columns to count values in, by the field's name.
    pub(crate) facets: Vec<(&'static str, Field)>,
}

/// The name of the column of a field.
pub(crate) fn column(name: &str) -> String {
    format!("f_{}", name.replace('.', "_"))
}

/// The column of [`Fields::order`].
pub(crate) const ORDER: &str = "order";

pub(crate) fn schema() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let terms = |tokenizer: &str| {
        let indexing = TextFieldIndexing::default()
            .set_tokenizer(tokenizer)
            .set_index_option(IndexRecordOption::Basic)
            .set_fieldnorms(false);
        TextOptions::default().set_indexing_options(indexing)
    };
    let facets = FIELDS.iter().filter(|field| field.facet);
    let fields = Fields {
        order: schema.add_u64_field(ORDER, FAST),
        offset: schema.add_u64_field("offset", INDEXED),
        spool: schema.add_text_field("spool", STORED),
        attribute: schema.add_text_field("attribute", terms("raw")),
        text: schema.add_text_field("text", terms(ANALYZER)),
        source: schema.add_text_field("source", STORED),
        context: schema.add_text_field("context", STORED),
        facets: facets
            .map(|field| {
                let options = TextOptions::default().set_fast("raw");
                (
                    field.name,
                    schema.add_text_field(&column(field.name), options),
                )
            })
            .collect(),
    };
    (schema.build(), fields)
}

/// How many bits of the order are the event's number.
const NUMBER: u32 = 20;

/// By time, and within a millisecond by number.
pub(crate) fn order(timestamp_ms: i64, offset: u64) -> u64 {
    (bounded(timestamp_ms) << NUMBER) | (offset & ((1 << NUMBER) - 1))
}

/// The time in it.
pub(crate) fn time_of(order: u64) -> i64 {
    i64::try_from(order >> NUMBER).unwrap_or(i64::MAX)
}

/// The first and the last order of a span of time.
pub(crate) fn orders(range: crate::Range) -> (u64, u64) {
    let from = range.from_ms.map_or(0, |from| bounded(from) << NUMBER);
    let to = range.to_ms.map_or(u64::MAX, |to| {
        if to < 0 {
            0
        } else {
            (bounded(to) << NUMBER) | ((1 << NUMBER) - 1)
        }
    });
    (from, to)
}

/// As much as fits above the number.
fn bounded(timestamp_ms: i64) -> u64 {
    u64::try_from(timestamp_ms)
        .unwrap_or(0)
        .min((1 << (64 - NUMBER)) - 1)
}

/// The term of a value, and whether it is all of it.
pub(crate) fn attribute(name: &str, value: &str) -> (String, bool) {
    let whole = value.len() < MAX_VALUE;
    let value = if whole { value } else { beginning(value) };
    (format!("{name}\0{value}"), whole)
}

/// The term of having the field.
pub(crate) fn presence(name: &str) -> String {
    format!("\0{name}")
}

pub(crate) fn beginning(value: &str) -> &str {
    &value[..value.floor_char_boundary(MAX_VALUE)]
}
