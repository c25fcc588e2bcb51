//! Finding events.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use tantivy::query::TermQuery;
use tantivy::schema::IndexRecordOption;
use tantivy::{DocAddress, DocId, Searcher, TantivyDocument, Term};

use crate::document::{Stored, short};
use crate::error::StoreError;
use crate::index::schema;
use crate::index::window::{self, Window};
use crate::query::Query;
use crate::store::Store;
use crate::types::{Event, Order, Page, Range, Search};

/// After what was asked for is found, others are counted for so long.
const COUNTING: Duration = Duration::from_millis(150);

impl Store {
    /// The events that match.
    ///
    /// # Errors
    /// The index cannot be read, or the cursor is none.
    pub fn search(&self, query: &Query, search: &Search) -> Result<Page, StoreError> {
        let began = Instant::now();
        let deadline = began + search.timeout;
        let range = query.within(search.range);
        let cursor = search.cursor.as_deref().map(parse_cursor).transpose()?;
        let mut windows = self.windows();
        if search.order == Order::Newest {
            windows.reverse();
        }
        let mut found = Found {
            order: search.order,
            after: cursor,
            limit: search.limit.max(1),
            best: BinaryHeap::new(),
            total: 0,
        };
        let searchers: Vec<Searcher> = windows.iter().map(|window| window.searcher()).collect();
        let (mut complete, mut exact) = (true, true);
        for (number, (window, searcher)) in windows.iter().zip(&searchers).enumerate() {
            if Instant::now() > deadline {
                complete = false;
                break;
            }
            if !overlaps(window, range) {
                continue;
            }
            let parts = window::select(searcher, &window.fields, query, range)?;
            let mut unsure: Vec<(u64, usize, DocId)> = Vec::new();
            for (at, part) in parts.iter().enumerate() {
                if part.unsure {
                    unsure.extend(part.docs.iter().map(|doc| (part.order(*doc), at, *doc)));
                    continue;
                }
                found.total += part.docs.len() as u64;
                let segment = segment_of(searcher, part.segment.segment_id());
                for doc in &part.docs {
                    found.offer(part.order(*doc), number, DocAddress::new(segment, *doc));
                }
            }
            if unsure.is_empty() {
                continue;
            }
            unsure.sort_unstable();
            if search.order == Order::Newest {
                unsure.reverse();
            }
            let stores = parts.iter().map(window::Part::store);
            let stores = stores.collect::<Result<Vec<_>, _>>()?;
            for (order, at, doc) in unsure {
                let now = Instant::now();
                // Windows go from one end of time to the other: what comes now is behind what is found.
                if now > deadline || found.is_full() && now > began + COUNTING {
                    exact = false;
                    complete &= found.is_full();
                    break;
                }
                if window::matches(&stores[at], doc, order, query, &window.fields)? {
                    found.total += 1;
                    let segment = segment_of(searcher, parts[at].segment.segment_id());
                    found.offer(order, number, DocAddress::new(segment, doc));
                }
            }
        }
        let (places, more) = found.finish();
        let mut events = Vec::with_capacity(places.len());
        for (order, number, address) in &places {
            events.push(read(
                &searchers[*number],
                &windows[*number],
                *address,
                *order,
            )?);
        }
        let last = places.last().map(|(order, ..)| format!("{order:x}"));
        Ok(Page {
            next: last.filter(|_| more),
            events,
            total: found_total(found.total),
            total_exact: exact && complete,
            complete,
        })
    }

    /// One event by its id.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn get(&self, id: &str) -> Result<Option<Event>, StoreError> {
        let Some((spool, number)) = id.rsplit_once('-') else {
            return Ok(None);
        };
        let Ok(number) = number.parse::<u64>() else {
            return Ok(None);
        };
        // By number alone: the newest spool is meant.
        let any = spool.is_empty();
        for window in self.windows().iter().rev() {
            let searcher = window.searcher();
            let term = Term::from_field_u64(window.fields.offset, number);
            let query = TermQuery::new(term, IndexRecordOption::Basic);
            let docs = searcher.search(&query, &tantivy::collector::DocSetCollector)?;
            for address in docs {
                let document: TantivyDocument = searcher.doc(address)?;
                let stored = Stored::of(&document, &window.fields);
                if any || stored.spool == short(spool) {
                    let segment = searcher.segment_reader(address.segment_ord);
                    let order = segment.fast_fields().u64(schema::ORDER)?;
                    let order = order.first(address.doc_id).unwrap_or(0);
                    return Ok(Some(stored.into_event(order)));
                }
            }
        }
        Ok(None)
    }
}

const fn found_total(total: u64) -> u64 {
    total
}

pub(crate) fn overlaps(window: &Window, range: Range) -> bool {
    let (from, to) = schema::orders(range);
    window
        .orders()
        .is_some_and(|(low, high)| low <= to && high >= from)
}

fn segment_of(searcher: &Searcher, id: tantivy::index::SegmentId) -> u32 {
    let at = searcher
        .segment_readers()
        .iter()
        .position(|segment| segment.segment_id() == id);
    u32::try_from(at.unwrap_or(0)).unwrap_or(0)
}

fn read(
    searcher: &Searcher,
    window: &Window,
    address: DocAddress,
    order: u64,
) -> Result<Event, StoreError> {
    let document: TantivyDocument = searcher.doc(address)?;
    Ok(Stored::of(&document, &window.fields).into_event(order))
}

fn parse_cursor(text: &str) -> Result<u64, StoreError> {
    u64::from_str_radix(text, 16).map_err(|_| StoreError::Cursor)
}

/// The first so many in the wanted order, behind the cursor.
struct Found {
    order: Order,
    after: Option<u64>,
    limit: usize,
    /// The worst on top, by a key that is smaller the earlier it comes.
    best: BinaryHeap<(u64, usize, Reverse<DocAddress>)>,
    total: u64,
}

impl Found {
    fn key(&self, order: u64) -> u64 {
        match self.order {
            Order::Newest => u64::MAX - order,
            Order::Oldest => order,
        }
    }

    fn offer(&mut self, order: u64, window: usize, address: DocAddress) {
        let key = self.key(order);
        if self.after.is_some_and(|after| key <= self.key(after)) {
            return;
        }
        if self.best.len() > self.limit {
            if self.best.peek().is_some_and(|worst| worst.0 <= key) {
                return;
            }
            self.best.pop();
        }
        self.best.push((key, window, Reverse(address)));
    }

    fn is_full(&self) -> bool {
        self.best.len() > self.limit
    }

    /// In order, and whether there are more.
    fn finish(&mut self) -> (Vec<(u64, usize, DocAddress)>, bool) {
        let mut all = std::mem::take(&mut self.best).into_sorted_vec();
        let more = all.len() > self.limit;
        all.truncate(self.limit);
        let back = |key| match self.order {
            Order::Newest => u64::MAX - key,
            Order::Oldest => key,
        };
        let all = all.into_iter();
        (
            all.map(|(key, window, Reverse(address))| (back(key), window, address))
                .collect(),
            more,
        )
    }
}
