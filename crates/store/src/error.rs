//! What can go wrong.

use std::io;
use std::path::{Path, PathBuf};

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or directory.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The directory belongs to another process.
    #[error("{0} is in use by another security-agent")]
    InUse(PathBuf),
    /// The index.
    #[error("index: {0}")]
    Index(#[from] tantivy::TantivyError),
    /// The small database beside it.
    #[error("state: {0}")]
    State(#[from] rusqlite::Error),
    /// A cursor that was not made here.
    #[error("this is no cursor of a search")]
    Cursor,
}

impl StoreError {
    pub(crate) fn file(path: &Path, source: io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            source,
        }
    }

    /// Whether the disk is full, or a quota.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = next {
            if let Some(io) = error.downcast_ref::<io::Error>() {
                return matches!(
                    io.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                );
            }
            next = error.source();
        }
        // The index tells some errors of its threads by their text only.
        self.to_string().contains("No space left on device")
    }
}
