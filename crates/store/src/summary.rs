//! Counting: values of fields, and events over time.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::error::StoreError;
use crate::fields::{FIELDS, Field, title};
use crate::index::schema;
use crate::index::window::{self, Part};
use crate::query::Query;
use crate::search::overlaps;
use crate::store::Store;
use crate::types::{Bucket, Facet, FacetValue, Facets, Range, Timeline};

/// Which statuses a timeline tells apart.
const STATUSES: [&str; 3] = ["info", "warn", "error"];
/// Lengths of buckets that people can read, in milliseconds.
const STEPS: [i64; 23] = [
    1,
    10,
    100,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    15_000,
    30_000,
    60_000,
    120_000,
    300_000,
    600_000,
    900_000,
    1_800_000,
    3_600_000,
    7_200_000,
    14_400_000,
    21_600_000,
    43_200_000,
    86_400_000,
    7 * 86_400_000,
];
const MAX_BUCKETS: i64 = 1000;

impl Store {
    /// The most frequent values of fields; without names, of those that are shown unasked.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn facets(
        &self,
        query: &Query,
        range: Range,
        names: &[String],
        size: usize,
        timeout: Duration,
    ) -> Result<Facets, StoreError> {
        let shown = FIELDS
            .iter()
            .filter(|field| field.shown)
            .map(|field| field.name.to_owned());
        let names: Vec<String> = if names.is_empty() {
            shown.collect()
        } else {
            names.to_vec()
        };
        let fields: Vec<Field> = names.iter().map(|name| Field::new(name)).collect();
        let mut counts: Vec<HashMap<String, u64>> = vec![HashMap::new(); fields.len()];
        let deadline = Instant::now() + timeout;
        let complete = self.each(query, range, deadline, &mut |part, window| {
            let mut whole = true;
            for (field, counts) in fields.iter().zip(&mut counts) {
                if field.facet {
                    count(part, &field.name, counts)?;
                } else {
                    whole &= read_and_count(part, window, field, counts, deadline)?;
                }
            }
            Ok(whole)
        })?;
        let facets = fields.iter().zip(counts);
        Ok(Facets {
            facets: facets
                .map(|(field, counts)| facet(field, counts, size))
                .collect(),
            complete,
        })
    }

    /// How many events over time. Without a range: from the oldest to the newest event.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn timeline(
        &self,
        query: &Query,
        range: Range,
        buckets: usize,
        timeout: Duration,
    ) -> Result<Timeline, StoreError> {
        let range = query.within(range);
        let stats = self.stats();
        let now = crate::time::now_ms();
        let from = range.from_ms.or(stats.oldest).unwrap_or(now - 60_000);
        let to = range.to_ms.or(stats.newest).unwrap_or(now).max(from);
        let wanted = i64::try_from(buckets.max(1)).unwrap_or(1).min(MAX_BUCKETS);
        let least = (to - from) / wanted;
        let step = STEPS.iter().copied().find(|step| *step >= least);
        let interval = step.unwrap_or(least.max(1));
        let first = from.div_euclid(interval) * interval;
        let number = usize::try_from((to - first) / interval + 1).unwrap_or(1);
        let mut counted = vec![[0u64; STATUSES.len() + 1]; number];
        let deadline = Instant::now() + timeout;
        let complete = self.each(query, range, deadline, &mut |part, _| {
            let status = part.segment.fast_fields().str(&schema::column("status"))?;
            // Which number a status has in this segment.
            let known: Vec<Option<u64>> = match &status {
                Some(column) => STATUSES
                    .iter()
                    .map(|name| column.dictionary().term_ord(name.as_bytes()).ok().flatten())
                    .collect(),
                None => vec![None; STATUSES.len()],
            };
            for doc in &part.docs {
                let at = (schema::time_of(part.order(*doc)) - first) / interval;
                let Some(bucket) = usize::try_from(at).ok().and_then(|at| counted.get_mut(at))
                else {
                    continue;
                };
                bucket[STATUSES.len()] += 1;
                let ord = status.as_ref().and_then(|column| column.ords().first(*doc));
                if let Some(which) = ord.and_then(|ord| known.iter().position(|k| *k == Some(ord)))
                {
                    bucket[which] += 1;
                }
            }
            Ok(true)
        })?;
        let buckets = counted.iter().zip(0i64..).map(|(counts, at)| Bucket {
            at: first + at * interval,
            count: counts[STATUSES.len()],
            by_status: by_status(counts),
        });
        Ok(Timeline {
            from: first,
            to: first + interval * i64::try_from(number).unwrap_or(1),
            interval_ms: interval,
            buckets: buckets.collect(),
            complete,
        })
    }

    /// Shows what matches, the newest window first. Returns whether that was all.
    fn each(
        &self,
        query: &Query,
        range: Range,
        deadline: Instant,
        see: &mut dyn FnMut(&Part<'_>, &window::Window) -> Result<bool, StoreError>,
    ) -> Result<bool, StoreError> {
        let range = query.within(range);
        let mut complete = true;
        for window in self.windows().iter().rev() {
            if !overlaps(window, range) {
                continue;
            }
            let searcher = window.searcher();
            for mut part in window::select(&searcher, &window.fields, query, range)? {
                complete &= part.verify(query, &window.fields, deadline)?;
                complete &= see(&part, window)?;
            }
        }
        Ok(complete)
    }
}

fn by_status(counts: &[u64; STATUSES.len() + 1]) -> BTreeMap<String, u64> {
    let named = STATUSES.iter().zip(counts);
    named
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

/// From the column.
fn count(part: &Part<'_>, name: &str, counts: &mut HashMap<String, u64>) -> Result<(), StoreError> {
    let Some(column) = part.segment.fast_fields().str(&schema::column(name))? else {
        return Ok(());
    };
    let mut by_number = vec![0u64; column.num_terms()];
    let ords = column.ords();
    for doc in &part.docs {
        for ord in ords.values_for_doc(*doc) {
            if let Some(count) = usize::try_from(ord)
                .ok()
                .and_then(|ord| by_number.get_mut(ord))
            {
                *count += 1;
            }
        }
    }
    let mut value = String::new();
    for (ord, count) in (0u64..).zip(by_number).filter(|(_, count)| *count > 0) {
        value.clear();
        column
            .ord_to_str(ord, &mut value)
            .map_err(tantivy::TantivyError::from)?;
        *counts.entry(value.clone()).or_default() += count;
    }
    Ok(())
}

/// From the documents, which takes longer.
fn read_and_count(
    part: &Part<'_>,
    window: &window::Window,
    field: &Field,
    counts: &mut HashMap<String, u64>,
    deadline: Instant,
) -> Result<bool, StoreError> {
    let store = part.store()?;
    for doc in &part.docs {
        if Instant::now() > deadline {
            return Ok(false);
        }
        let document: tantivy::TantivyDocument = store.get(*doc)?;
        let stored = crate::document::Stored::of(&document, &window.fields);
        let value: serde_json::Value = serde_json::from_str(&stored.source).unwrap_or_default();
        crate::fields::values(&value, &field.name, &mut |text, _| {
            *counts.entry(text.to_owned()).or_default() += 1;
        });
    }
    Ok(true)
}

fn facet(field: &Field, counts: HashMap<String, u64>, size: usize) -> Facet {
    let mut values: Vec<(u64, String)> = counts
        .into_iter()
        .map(|(value, count)| (count, value))
        .collect();
    values.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let other = values.iter().skip(size).map(|(count, _)| count).sum();
    values.truncate(size);
    let values = values.into_iter();
    Facet {
        title: title(&field.name).to_owned(),
        field: field.name.clone(),
        values: values
            .map(|(count, value)| FacetValue { value, count })
            .collect(),
        other,
    }
}
