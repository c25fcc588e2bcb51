//! Events that wait for hashes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use atalaya_model::Event;
use atalaya_resolvers::{FileHashes, HashState};
use crossbeam_channel::Receiver;

use super::{FileRef, WAIT};
use crate::emit::{Extras, Hashed};
use crate::engine::Shared;
use crate::rules::Loaded;
use crate::stats::add;

/// An event that has matched rules with a `hash` action.
pub(crate) struct Pending {
    event: Event,
    loaded: Arc<Loaded>,
    rules: Vec<Deferred>,
    since: Instant,
}

/// One of these rules.
pub(crate) struct Deferred {
    /// Its number in the rule set.
    pub(crate) rule: usize,
    pub(crate) extras: Extras,
    pub(crate) files: Vec<(FileRef, Answer)>,
}

/// The hashes of a file: on their way, or known, or known not to come.
pub(crate) type Answer = Result<Receiver<FileHashes>, HashState>;

impl Pending {
    pub(crate) fn new(event: Event, loaded: Arc<Loaded>, rules: Vec<Deferred>) -> Self {
        Self {
            event,
            loaded,
            rules,
            since: Instant::now(),
        }
    }

    /// Sends the event for each of its rules, as soon as the hashes are there or the time is over.
    pub(crate) fn send(self, shared: &Shared, may_wait: bool) {
        let deadline = self.since + WAIT;
        let mut sent = false;
        for Deferred {
            rule,
            mut extras,
            files,
        } in self.rules
        {
            let Some(rule) = self.loaded.ruleset.rules().get(rule) else {
                continue;
            };
            extras.hashed = files
                .into_iter()
                .map(|(file, answer)| Hashed {
                    file,
                    hashes: match answer {
                        Err(state) => state.into(),
                        Ok(_) if !may_wait => HashState::HashWasRateLimited.into(),
                        Ok(answer) => answer
                            .recv_deadline(deadline)
                            .unwrap_or_else(|_| HashState::HashTimedOut.into()),
                    },
                })
                .collect();
            sent |= shared.emitter.event(&self.event, rule, &extras);
        }
        if sent {
            add(&shared.stats.of(self.event.kind()).sent, 1);
        }
    }
}

/// Sends events until no more can come.
pub(crate) fn send_all(shared: &Shared, pending: &Receiver<Pending>) {
    for event in pending {
        if catch_unwind(AssertUnwindSafe(|| event.send(shared, true))).is_err() {
            add(&shared.stats.panics, 1);
            tracing::error!("sending an event with hashes failed; it is dropped");
        }
    }
}
