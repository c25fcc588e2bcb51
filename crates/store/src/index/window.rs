//! A window: an index of its own, in a directory of its own.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::Value;
use tantivy::columnar::Column;
use tantivy::query::EnableScoring;
use tantivy::store::{Compressor, StoreReader, ZstdCompressor};
use tantivy::{
    DocId, Index, IndexReader, IndexSettings, ReloadPolicy, Searcher, SegmentReader,
    TantivyDocument,
};

use super::candidates::Asked;
use super::schema::{self, Fields, ORDER};
use crate::document::Stored;
use crate::error::StoreError;
use crate::query::Query;
use crate::text::{ANALYZER, analyzer};
use crate::types::Range;

/// How many blocks of documents are kept unpacked for each reader.
const BLOCKS: usize = 8;

/// An open window.
pub(crate) struct Window {
    pub(crate) number: u64,
    pub(crate) dir: PathBuf,
    pub(crate) index: Index,
    pub(crate) fields: Fields,
    reader: IndexReader,
    bytes: AtomicU64,
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl Window {
    /// Opens one, or makes it.
    pub(crate) fn open(dir: &Path, number: u64) -> Result<Self, StoreError> {
        let (schema, fields) = schema::schema();
        let new = !dir.join("meta.json").exists();
        let index = if new {
            // What a crash has left of one that was being made.
            if dir.exists() {
                std::fs::remove_dir_all(dir).map_err(|e| StoreError::file(dir, e))?;
            }
            std::fs::create_dir(dir).map_err(|e| StoreError::file(dir, e))?;
            Index::builder()
                .schema(schema)
                .settings(IndexSettings {
                    docstore_compression: Compressor::Zstd(ZstdCompressor {
                        compression_level: Some(3),
                    }),
                    docstore_blocksize: 128 << 10,
                    docstore_compress_dedicated_thread: true,
                    ..IndexSettings::default()
                })
                .create_in_dir(dir)?
        } else {
            let index = Index::open_in_dir(dir)?;
            if index.schema() != schema {
                let other = "it was made by another version".to_owned();
                return Err(tantivy::TantivyError::SchemaError(other).into());
            }
            index
        };
        index.tokenizers().register(ANALYZER, analyzer());
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .doc_store_cache_num_blocks(BLOCKS)
            .try_into()?;
        let window = Self {
            number,
            dir: dir.to_owned(),
            index,
            fields,
            reader,
            bytes: AtomicU64::new(0),
        };
        window.measure();
        Ok(window)
    }

    /// Shows what was committed since.
    pub(crate) fn refresh(&self) -> Result<(), StoreError> {
        self.reader.reload()?;
        self.measure();
        Ok(())
    }

    fn measure(&self) {
        let files = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let bytes = files
            .filter_map(|file| Some(file.metadata().ok()?.len()))
            .sum();
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Bytes on disk, when it was last committed.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn events(&self) -> u64 {
        self.reader.searcher().num_docs()
    }

    pub(crate) fn searcher(&self) -> Searcher {
        self.reader.searcher()
    }

    /// The first and the last order of its events.
    pub(crate) fn orders(&self) -> Option<(u64, u64)> {
        let searcher = self.searcher();
        let mut all: Option<(u64, u64)> = None;
        for segment in searcher.segment_readers() {
            if let Ok(column) = segment.fast_fields().u64(ORDER) {
                let (low, high) = (column.min_value(), column.max_value());
                all = Some(all.map_or((low, high), |(l, h)| (l.min(low), h.max(high))));
            }
        }
        all
    }

    /// Up to where the spool was stored: the name of the spool and a number.
    pub(crate) fn committed(&self) -> Result<Option<(String, u64)>, StoreError> {
        let payload = self.index.load_metas()?.payload.unwrap_or_default();
        let parts = payload.rsplit_once(' ');
        Ok(parts.and_then(|(spool, number)| Some((spool.to_owned(), number.parse().ok()?))))
    }
}

/// Documents of one segment.
pub(crate) struct Part<'a> {
    pub(crate) segment: &'a SegmentReader,
    /// In the order of the segment.
    pub(crate) docs: Vec<DocId>,
    pub(crate) order: Column<u64>,
    /// Documents are not tried yet.
    pub(crate) unsure: bool,
}

/// Documents of a window that may match, within the range.
pub(crate) fn select<'a>(
    searcher: &'a Searcher,
    fields: &Fields,
    query: &Query,
    range: Range,
) -> Result<Vec<Part<'a>>, StoreError> {
    let asked = Asked { fields, searcher };
    let candidates = asked.of(&query.expr)?;
    let (from, to) = schema::orders(range);
    let weight = candidates
        .query
        .weight(EnableScoring::disabled_from_searcher(searcher))?;
    let mut parts = Vec::new();
    for segment in searcher.segment_readers() {
        let order = segment.fast_fields().u64(ORDER)?;
        if order.min_value() > to || order.max_value() < from {
            continue;
        }
        let inside = order.min_value() >= from && order.max_value() <= to;
        let mut docs = Vec::new();
        weight.for_each_no_score(segment, &mut |block| {
            if inside {
                docs.extend_from_slice(block);
            } else {
                let within = |doc: &DocId| {
                    order
                        .first(*doc)
                        .is_some_and(|order| order >= from && order <= to)
                };
                docs.extend(block.iter().copied().filter(within));
            }
        })?;
        if !docs.is_empty() {
            parts.push(Part {
                segment,
                docs,
                order,
                unsure: !candidates.exact,
            });
        }
    }
    Ok(parts)
}

impl Part<'_> {
    pub(crate) fn order(&self, doc: DocId) -> u64 {
        self.order.first(doc).unwrap_or(0)
    }

    /// Who reads the documents.
    pub(crate) fn store(&self) -> Result<StoreReader, StoreError> {
        let reader = self.segment.get_store_reader(BLOCKS);
        reader.map_err(|e| tantivy::TantivyError::from(e).into())
    }

    /// Leaves only what does match. `false`: the time was over before all were tried, and the others are left out.
    pub(crate) fn verify(
        &mut self,
        query: &Query,
        fields: &Fields,
        deadline: Instant,
    ) -> Result<bool, StoreError> {
        if !self.unsure {
            return Ok(true);
        }
        self.unsure = false;
        let store = self.store()?;
        let mut kept = Vec::new();
        for doc in std::mem::take(&mut self.docs) {
            if Instant::now() > deadline {
                self.docs = kept;
                return Ok(false);
            }
            if matches(
                &store,
                doc,
                self.order.first(doc).unwrap_or(0),
                query,
                fields,
            )? {
                kept.push(doc);
            }
        }
        self.docs = kept;
        Ok(true)
    }
}

/// Whether a document matches, by reading it.
pub(crate) fn matches(
    store: &StoreReader,
    doc: DocId,
    order: u64,
    query: &Query,
    fields: &Fields,
) -> Result<bool, StoreError> {
    let document: TantivyDocument = store.get(doc)?;
    let stored = Stored::of(&document, fields);
    let value: Value = serde_json::from_str(&stored.source).unwrap_or_default();
    Ok(query.matches(&value, schema::time_of(order)))
}
