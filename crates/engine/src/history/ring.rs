//! A ring of records in chunks: an idle host has one of them, a busy one as many as the window or the bound takes.

use std::collections::VecDeque;

use super::record::Record;

/// Records of a chunk: 30 kB.
const CHUNK: usize = 256;

#[derive(Debug)]
pub(super) struct Ring {
    /// The oldest first. All but the last are full.
    chunks: VecDeque<Vec<Record>>,
    max_chunks: usize,
    window_ns: u64,
    /// The time of the newest record that had to go before its time.
    lost_ns: u64,
}

impl Ring {
    pub(super) fn new(max_records: usize, window_ns: u64) -> Self {
        Self {
            chunks: VecDeque::new(),
            max_chunks: max_records.div_ceil(CHUNK),
            window_ns,
            lost_ns: 0,
        }
    }

    pub(super) fn max_records(&self) -> usize {
        self.max_chunks * CHUNK
    }

    pub(super) fn push(&mut self, record: Record) {
        if let Some(last) = self.chunks.back_mut()
            && last.len() < CHUNK
        {
            last.push(record);
            return;
        }
        if self.max_chunks == 0 {
            return;
        }
        let mut chunk = self.free(record.time_ns);
        chunk.push(record);
        self.chunks.push_back(chunk);
    }

    /// An empty chunk: one that is over, one that there is still room for, or the oldest.
    fn free(&mut self, now_ns: u64) -> Vec<Record> {
        let mut spare = None;
        while let Some(newest) = self.chunks.front().and_then(|chunk| chunk.last()) {
            let is_over = now_ns.saturating_sub(newest.time_ns) > self.window_ns;
            if !is_over && self.chunks.len() < self.max_chunks {
                break;
            }
            if !is_over {
                self.lost_ns = self.lost_ns.max(newest.time_ns);
            }
            // Of those that are over one is used again; the memory of the others is given back.
            spare = self.chunks.pop_front();
        }
        let mut chunk = spare.unwrap_or_else(|| Vec::with_capacity(CHUNK));
        chunk.clear();
        chunk
    }

    /// The newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Record> {
        self.chunks
            .iter()
            .rev()
            .flat_map(|chunk| chunk.iter().rev())
    }

    /// Whether records since then are missing.
    pub(super) fn has_lost_since(&self, ns: u64) -> bool {
        self.lost_ns >= ns && self.lost_ns > 0
    }

    #[cfg(test)]
    pub(super) fn chunks(&self) -> usize {
        self.chunks.len()
    }
}
