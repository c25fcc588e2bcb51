//! Events as they come, for who watches.

use std::sync::Arc;

use atalaya_store::Event;
use serde_json::Value;
use tokio::sync::broadcast;

/// How many events one who watches may be behind before the oldest are skipped.
const BEHIND: usize = 1024;

/// An event that has just come.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) event: Event,
    pub(crate) document: Value,
}

/// Gives each event to all who watch.
#[derive(Debug)]
pub(crate) struct Live(broadcast::Sender<Arc<Arrived>>);

impl Default for Live {
    fn default() -> Self {
        Self(broadcast::Sender::new(BEHIND))
    }
}

impl Live {
    /// Whether anybody watches: else nothing needs to be made for them.
    pub(crate) fn is_watched(&self) -> bool {
        self.0.receiver_count() > 0
    }

    pub(crate) fn send(&self, arrived: Arrived) {
        let _ = self.0.send(Arc::new(arrived));
    }

    pub(crate) fn watch(&self) -> broadcast::Receiver<Arc<Arrived>> {
        self.0.subscribe()
    }
}
