//! Finished events as JSON lines, to a file or to stdout.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

/// Lines that wait for a slow reader; then lines are dropped and counted. The event loop never waits for a pipe.
const QUEUE: usize = 4096;

/// Where lines go. A thread of its own writes them; clones share it.
#[derive(Debug, Clone)]
pub struct Output {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    lines: Mutex<Option<Sender<Vec<u8>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    counters: Arc<Counters>,
    name: String,
}

#[derive(Debug, Default)]
struct Counters {
    dropped: AtomicU64,
    failed: AtomicU64,
}

impl Output {
    /// Appends to a file, made with mode 0600 where it is missing: events tell secrets. `-` is stdout.
    pub fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Self::to_writer("stdout", Box::new(io::stdout()));
        }
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        Self::to_writer(&path.display().to_string(), Box::new(file))
    }

    /// Writes to anything. `name` is what it is called in reports.
    pub fn to_writer(name: &str, writer: Box<dyn Write + Send>) -> io::Result<Self> {
        let (lines, received) = bounded(QUEUE);
        let counters = Arc::new(Counters::default());
        let shared = Arc::clone(&counters);
        let thread = std::thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || write_lines(writer, &received, &shared))?;
        Ok(Self {
            inner: Arc::new(Inner {
                lines: Mutex::new(Some(lines)),
                thread: Mutex::new(Some(thread)),
                counters,
                name: name.to_owned(),
            }),
        })
    }

    /// Hands a line over, without its line feed.
    pub fn line(&self, json: &[u8]) {
        let lines = self
            .inner
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(lines) = &*lines else { return };
        if lines.is_full() {
            self.inner.counters.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut line = Vec::with_capacity(json.len() + 1);
        line.extend_from_slice(json);
        line.push(b'\n');
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = lines.try_send(line) {
            self.inner.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Lines dropped because the reader was too slow, and lines that could not be written.
    pub fn losses(&self) -> (u64, u64) {
        (
            self.inner.counters.dropped.load(Ordering::Relaxed),
            self.inner.counters.failed.load(Ordering::Relaxed),
        )
    }

    /// Writes what waits, and ends. Lines handed over afterwards are ignored.
    pub fn close(&self) {
        let lines = self
            .inner
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(lines);
        let thread = self
            .inner
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!(output = self.name(), "the output's thread has panicked");
        }
    }
}

fn write_lines(mut writer: Box<dyn Write + Send>, lines: &Receiver<Vec<u8>>, counters: &Counters) {
    let mut told = false;
    while let Ok(line) = lines.recv() {
        let mut result = writer.write_all(&line);
        // Flush when there is no more: a reader sees each event at once, and a storm is written in one go.
        if result.is_ok() && lines.is_empty() {
            result = writer.flush();
        }
        if let Err(error) = result {
            counters.failed.fetch_add(1, Ordering::Relaxed);
            if !told {
                told = true;
                tracing::warn!(%error, "cannot write events to the output");
            }
        }
    }
    let _ = writer.flush();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn lines_in_order_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        for round in 0..2 {
            let output = Output::open(&path).unwrap();
            for line in 0..10 {
                output.line(format!("{round}{line}").as_bytes());
            }
            output.close();
            output.line(b"late");
            assert_eq!(output.losses(), (0, 0));
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines.len(), lines[0], lines[19]), (20, "00", "19"));
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_stuck_reader_costs_lines_not_time() {
        let (reader, writer) = io::pipe().unwrap();
        let output = Output::to_writer("pipe", Box::new(writer)).unwrap();
        let line = vec![b'x'; 4096];
        for _ in 0..QUEUE * 2 {
            output.line(&line);
        }
        assert!(output.losses().0 > 0);
        drop(reader);
        output.close();
        assert!(output.losses().1 > 0, "a reader that is gone is a failure");
    }
}
