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
                    hashes: wait(answer, may_wait.then_some(deadline)),
                })
                .collect();
            sent |= shared.emitter.event(&self.event, rule, &extras);
        }
        if sent {
            add(&shared.stats.of(self.event.kind()).sent, 1);
        }
    }
}

/// The hashes, if they come until then; `None` does not wait at all.
fn wait(answer: Answer, until: Option<Instant>) -> FileHashes {
    match (answer, until) {
        (Err(state), _) => state.into(),
        (Ok(_), None) => HashState::HashWasRateLimited.into(),
        (Ok(answer), Some(until)) => answer
            .recv_deadline(until)
            .unwrap_or_else(|_| HashState::HashTimedOut.into()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::bounded;
    use std::time::Duration;

    #[test]
    fn nobody_waits_for_ever() {
        let soon = || Some(Instant::now() + Duration::from_millis(20));
        let begun = Instant::now();
        // A file system that does not answer.
        let (keep, answer) = bounded(1);
        assert_eq!(
            wait(Ok(answer.clone()), soon()).state,
            HashState::HashTimedOut
        );
        assert_eq!(
            wait(Ok(answer.clone()), None).state,
            HashState::HashWasRateLimited
        );
        assert!(begun.elapsed() < Duration::from_secs(2));
        assert!(keep.try_send(HashState::Done.into()).is_ok());
        assert_eq!(wait(Ok(answer.clone()), soon()).state, HashState::Done);
        // A thread that has ended.
        drop(keep);
        assert_eq!(wait(Ok(answer), soon()).state, HashState::HashTimedOut);
        assert_eq!(
            wait(Err(HashState::NoHash), soon()).state,
            HashState::NoHash
        );
    }
}
