//! Writing: windows, commits, and what goes when there is no room.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustix::fs::FlockOperation;
use serde_json::json;
use tantivy::IndexWriter;
use tantivy::indexer::LogMergePolicy;

use crate::document;
use crate::error::StoreError;
use crate::index::schema;
use crate::index::window::Window;
use crate::time::now_ms;
use crate::types::{Committed, NewEvent, Options, Stats};

/// The writer of tantivy wants no less.
const MIN_MEMORY: usize = 15_000_000;
/// The spool of the store's own events.
const OWN: &str = "explorer";

/// The events of this node.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    options: Options,
    /// The oldest first; the last one is written to.
    windows: RwLock<Vec<Arc<Window>>>,
    writer: Mutex<Writer>,
    dropped: AtomicU64,
    dropped_why: Mutex<Option<&'static str>>,
    damaged: usize,
    _lock: File,
}

struct Writer {
    writer: IndexWriter,
    window: Arc<Window>,
    /// Up to where the spool is stored, with what is not committed yet.
    upto: Option<(String, u64)>,
    uncommitted: u64,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("upto", &self.upto)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store of a directory, which is made where it is missing.
    ///
    /// # Errors
    /// The directory cannot be written to, or another process has it.
    pub fn open(dir: impl Into<PathBuf>, options: Options) -> Result<Self, StoreError> {
        let dir = dir.into();
        std::fs::create_dir_all(&dir).map_err(|e| StoreError::file(&dir, e))?;
        let lock = lock(&dir)?;
        let mut windows: Vec<Arc<Window>> = Vec::new();
        let mut damaged = 0;
        for (number, path) in numbered(&dir)? {
            match Window::open(&path, number) {
                Ok(window) => windows.push(Arc::new(window)),
                Err(error) => {
                    tracing::error!("{} is put aside: {error}", path.display());
                    put_aside(&dir, &path)?;
                    damaged += 1;
                }
            }
        }
        // The last window may have been begun right before a crash, and say nothing yet.
        let mut upto = None;
        for window in windows.iter().rev() {
            upto = window.committed()?;
            if upto.is_some() {
                break;
            }
        }
        let writer = match windows
            .last()
            .map(|window| Writer::new(Arc::clone(window), upto.clone(), &options))
        {
            Some(Ok(writer)) => writer,
            // Cannot be written to any more, but may be read.
            Some(Err(_)) | None => {
                let number = windows.last().map_or(0, |window| window.number) + 1;
                let window = Arc::new(Window::open(&place(&dir, number), number)?);
                windows.push(Arc::clone(&window));
                Writer::new(window, upto, &options)?
            }
        };
        Ok(Self {
            dir,
            options,
            windows: RwLock::new(windows),
            writer: Mutex::new(writer),
            dropped: AtomicU64::new(0),
            dropped_why: Mutex::new(None),
            damaged,
            _lock: lock,
        })
    }

    /// Up to where the spool of this name is stored: what is to be given next is behind.
    #[must_use]
    pub fn upto(&self, spool: &str) -> Option<u64> {
        let writer = self.writer();
        let (name, number) = writer.upto.as_ref()?;
        (name == spool).then_some(*number)
    }

    /// Adds events, which must come in the order of their numbers. Those that are stored already are left out. They can be found after
    /// the next [`Self::commit`].
    ///
    /// # Errors
    /// The index refuses them.
    pub fn append(&self, events: &[NewEvent<'_>]) -> Result<(), StoreError> {
        let mut writer = self.writer();
        for event in events {
            let known = writer
                .upto
                .as_ref()
                .is_some_and(|(spool, number)| spool == event.spool && *number >= event.offset);
            if known {
                continue;
            }
            writer.add(event)?;
            writer.upto = Some((event.spool.to_owned(), event.offset));
        }
        Ok(())
    }

    /// Makes what was added durable and findable, and makes room where that is due.
    ///
    /// # Errors
    /// The disk refuses. What was added since the last commit is to be given again.
    pub fn commit(&self) -> Result<Committed, StoreError> {
        let mut writer = self.writer();
        let mut dropped = 0;
        if let Err(error) = writer.commit() {
            // The writer is of no use any more once one of its threads has failed.
            let full = error.is_full();
            if full {
                dropped = self.drop_oldest("the disk is full")?;
            }
            self.begin_again(&mut writer)?;
            if full && dropped > 0 {
                tracing::warn!(
                    "the disk is full: {dropped} of the oldest events went from the explorer"
                );
            }
            return Err(error);
        }
        dropped += self.make_room(&mut writer)?;
        if dropped > 0 {
            self.tell(&mut writer, dropped)?;
        }
        if writer.window.events() >= self.options.window_events
            || writer.window.bytes() >= self.options.max_bytes / 6
        {
            self.next_window(&mut writer)?;
        }
        Ok(Committed {
            upto: writer.upto.clone(),
            dropped,
        })
    }

    /// The figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let windows = self.windows();
        let orders: Vec<(u64, u64)> = windows
            .iter()
            .filter_map(|window| window.orders())
            .collect();
        Stats {
            events: windows.iter().map(|window| window.events()).sum(),
            bytes: windows.iter().map(|window| window.bytes()).sum(),
            max_bytes: self.options.max_bytes,
            windows: windows.len(),
            oldest: orders.iter().map(|o| schema::time_of(o.0)).min(),
            newest: orders.iter().map(|o| schema::time_of(o.1)).max(),
            dropped_events: self.dropped.load(Ordering::Relaxed),
            dropped_why: *self
                .dropped_why
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
            damaged: self.damaged,
        }
    }

    /// The oldest first.
    pub(crate) fn windows(&self) -> Vec<Arc<Window>> {
        self.windows
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes windows that are too old, or too many for the space; never the one that is written to.
    fn make_room(&self, writer: &mut Writer) -> Result<u64, StoreError> {
        let mut dropped = 0;
        let age = i64::try_from(self.options.max_age.as_millis()).unwrap_or(i64::MAX);
        let oldest_allowed = now_ms().saturating_sub(age);
        loop {
            let windows = self.windows();
            let Some(oldest) = windows.first().filter(|w| w.number != writer.window.number) else {
                break;
            };
            let bytes: u64 = windows.iter().map(|window| window.bytes()).sum();
            let newest_in_it = oldest
                .orders()
                .map_or(i64::MIN, |orders| schema::time_of(orders.1));
            let why = if bytes > self.options.max_bytes {
                "explorer.max_size is reached"
            } else if newest_in_it < oldest_allowed {
                "they were older than explorer.max_age"
            } else if free(&self.dir).is_some_and(|free| free < self.options.min_free_bytes) {
                "the disk is nearly full"
            } else {
                break;
            };
            dropped += self.drop_oldest(why)?;
        }
        Ok(dropped)
    }

    /// Removes the oldest window that is not written to. Returns how many events it had.
    fn drop_oldest(&self, why: &'static str) -> Result<u64, StoreError> {
        let mut windows = self.windows.write().unwrap_or_else(PoisonError::into_inner);
        if windows.len() < 2 {
            return Ok(0);
        }
        let oldest = windows.remove(0);
        let events = oldest.events();
        // Who searches in it now has its files open.
        std::fs::remove_dir_all(&oldest.dir).map_err(|e| StoreError::file(&oldest.dir, e))?;
        drop(windows);
        self.dropped.fetch_add(events, Ordering::Relaxed);
        *self
            .dropped_why
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(why);
        Ok(events)
    }

    /// An event of the store's own says what went.
    fn tell(&self, writer: &mut Writer, dropped: u64) -> Result<(), StoreError> {
        let why = *self
            .dropped_why
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let why = why.unwrap_or_default();
        tracing::info!("{dropped} of the oldest events went from the explorer: {why}");
        let now = now_ms();
        // Numbers of another spool: by time, so that each is new.
        let number = u64::try_from(now).unwrap_or(0);
        let document = json!({
            "ddsource": "runtime-security-agent", "service": "runtime-security-agent", "status": "warn",
            "timestamp": now, "event_id": number, "ddtags": "rule_id:explorer_events_dropped",
            "message": {
                "agent": {"rule_id": "explorer_events_dropped"},
                "title": format!("{dropped} of the oldest events were removed from the explorer: {why}"),
                "dropped": dropped, "reason": why,
            },
        });
        let text = document.to_string();
        let event = NewEvent {
            spool: OWN,
            offset: number,
            timestamp_ms: now,
            json: text.as_bytes(),
            context: b"",
        };
        writer.add(&event)?;
        writer.commit()
    }

    fn next_window(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let number = writer.window.number + 1;
        let window = Arc::new(Window::open(&place(&self.dir, number), number)?);
        let next = Writer::new(Arc::clone(&window), writer.upto.clone(), &self.options)?;
        let last = std::mem::replace(writer, next);
        // So that an empty window knows as well how far it is.
        writer.commit()?;
        self.windows
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(window);
        let before = Arc::clone(&last.window);
        last.writer.wait_merging_threads()?;
        before.refresh()
    }

    /// After a failure: from the last commit on.
    fn begin_again(&self, writer: &mut Writer) -> Result<(), StoreError> {
        if let Err(error) = writer.writer.rollback() {
            tracing::debug!("cannot roll back: {error}");
            return self.next_window(writer);
        }
        let upto = writer.window.committed()?;
        writer.upto = upto;
        writer.uncommitted = 0;
        Ok(())
    }
}

impl Writer {
    fn new(
        window: Arc<Window>,
        upto: Option<(String, u64)>,
        options: &Options,
    ) -> Result<Self, StoreError> {
        let memory = options.memory_bytes.max(MIN_MEMORY);
        // One thread: the agent has a machine to share.
        let writer: IndexWriter = window.index.writer_with_num_threads(1, memory)?;
        let mut policy = LogMergePolicy::default();
        policy.set_max_docs_before_merge(150_000);
        policy.set_min_num_segments(6);
        policy.set_min_layer_size(2_000);
        writer.set_merge_policy(Box::new(policy));
        Ok(Self {
            writer,
            window,
            upto,
            uncommitted: 0,
        })
    }

    fn add(&mut self, event: &NewEvent<'_>) -> Result<(), StoreError> {
        self.writer
            .add_document(document::build(event, &self.window.fields))?;
        self.uncommitted += 1;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let mut prepared = self.writer.prepare_commit()?;
        if let Some((spool, number)) = &self.upto {
            prepared.set_payload(&format!("{spool} {number}"));
        }
        prepared.commit()?;
        self.uncommitted = 0;
        self.window.refresh()
    }
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|e| StoreError::file(&path, e))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::InUse(dir.to_owned())),
        Err(error) => Err(StoreError::file(&path, error.into())),
    }
}

fn place(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("w-{number:08}"))
}

/// The windows that are there, the oldest first.
fn numbered(dir: &Path) -> Result<Vec<(u64, PathBuf)>, StoreError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| StoreError::file(dir, e))? {
        let entry = entry.map_err(|e| StoreError::file(dir, e))?;
        let name = entry.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix("w-")?.parse().ok());
        if let Some(number) = number {
            found.push((number, entry.path()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Keeps one damaged window, the last, for who wants to look.
fn put_aside(dir: &Path, path: &Path) -> Result<(), StoreError> {
    let aside = dir.join("damaged");
    if aside.exists() {
        std::fs::remove_dir_all(&aside).map_err(|e| StoreError::file(&aside, e))?;
    }
    std::fs::rename(path, &aside).map_err(|e| StoreError::file(path, e))
}

fn free(dir: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}
