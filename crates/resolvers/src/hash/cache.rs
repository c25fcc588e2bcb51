//! Hashes that were computed before.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustc_hash::FxHashMap;

/// What a file is known by. Whoever changes its content changes this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub(super) dev: u64,
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) modified_ns: u64,
    pub(super) changed_ns: u64,
}

/// File systems stamp with the time of the last timer tick; two seconds is the coarsest that is in use (FAT).
const GRANULARITY_NS: u64 = 2_000_000_000;

impl Identity {
    /// The last change is long enough ago that another one would have another time. Only then is the identity proof that
    /// the content is the same.
    pub(super) fn is_settled(&self) -> bool {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| {
                u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
            });
        let last = self.changed_ns.max(self.modified_ns);
        now.saturating_sub(last) > GRANULARITY_NS
    }
}

/// The hashes of the files that were asked for last.
#[derive(Debug)]
pub(super) struct Cache {
    size: usize,
    known: FxHashMap<Identity, (Arc<[String]>, u64)>,
    uses: u64,
}

impl Cache {
    pub(super) fn new(size: usize) -> Self {
        Self {
            size: size.min(100_000),
            known: FxHashMap::default(),
            uses: 0,
        }
    }

    pub(super) fn get(&mut self, identity: &Identity) -> Option<Arc<[String]>> {
        let (hashes, used) = self.known.get_mut(identity)?;
        self.uses += 1;
        *used = self.uses;
        Some(Arc::clone(hashes))
    }

    pub(super) fn put(&mut self, identity: Identity, hashes: Arc<[String]>) {
        if self.size == 0 {
            return;
        }
        if self.known.len() >= self.size {
            // Half at once: finding them costs as much as finding one.
            let mut uses: Vec<u64> = self.known.values().map(|(_, used)| *used).collect();
            let middle = uses.len() / 2;
            let (_, limit, _) = uses.select_nth_unstable(middle);
            let limit = *limit;
            self.known.retain(|_, (_, used)| *used > limit);
        }
        self.uses += 1;
        self.known.insert(identity, (hashes, self.uses));
    }
}
