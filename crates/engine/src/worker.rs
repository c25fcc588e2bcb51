//! The event loop: capture → process → event → rules → output.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use atalaya_model::capture::{Body, Capture, CaptureKind, Header};
use atalaya_model::{Event, EventData, EventSource, ExecEvent, HeartbeatEvent, Process};
use atalaya_policy::{RateLimiter, Rule};
use atalaya_resolvers::{ProcessTree, clock};

use crate::engine::Shared;
use crate::queue::kind_of;
use crate::rules::{Loaded, is_internal};
use crate::stats::add;
use crate::{pulse, selftest};

/// File captures between two looks at the life-cycle queue.
const BATCH: usize = 256;
/// How long the loop sleeps when there is nothing to do.
const IDLE: Duration = Duration::from_millis(500);
/// How long a file capture waits for the fork or exec that explains it. The sensor reads the two rings one after the
/// other, so what is missing comes within one of its rounds.
const PATIENCE: Duration = Duration::from_millis(10);
/// After so many waits for nothing …
const VAIN_WAITS: u32 = 8;
/// … there is no waiting for so long: forks were lost, and waiting would lose more.
const NO_PATIENCE: Duration = Duration::from_secs(1);

/// The loop's own state.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    vital: VecDeque<Capture>,
    bulk: VecDeque<Capture>,
    limiter: RateLimiter,
    /// The load that the limiter belongs to.
    generation: u64,
    /// Since when the first file capture waits for a life-cycle capture.
    waits_since: Option<Instant>,
    vain_waits: u32,
    impatient_until: Option<Instant>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            vital: VecDeque::new(),
            bulk: VecDeque::new(),
            limiter: RateLimiter::new(),
            generation: 0,
            waits_since: None,
            vain_waits: 0,
            impatient_until: None,
        }
    }

    /// Runs until the queues are closed and empty. A capture whose processing panics is dropped and counted: one bad
    /// event must not blind the agent.
    pub(crate) fn run(mut self) {
        loop {
            match catch_unwind(AssertUnwindSafe(|| self.turn())) {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => {
                    add(&self.shared.stats.panics, 1);
                    tracing::error!("processing an event failed; it is dropped");
                }
            }
        }
    }

    /// One round. Returns whether there will be another.
    fn turn(&mut self) -> bool {
        let (most, timeout) = match self.waits_since {
            // Only what is missing is wanted now.
            Some(since) => (0, PATIENCE.saturating_sub(since.elapsed())),
            None if self.bulk.is_empty() => (BATCH, IDLE),
            None => (0, Duration::ZERO),
        };
        let shared = Arc::clone(&self.shared);
        let more = shared
            .queues
            .take(&mut self.vital, &mut self.bulk, most, timeout);
        let loaded = shared.rules.load_full();
        if loaded.generation != self.generation {
            self.generation = loaded.generation;
            self.limiter = RateLimiter::new();
        }
        let mut tree = shared.tree();
        while let Some(capture) = self.vital.pop_front() {
            self.life_cycle(&mut tree, &loaded, capture);
        }
        for _ in 0..BATCH {
            let Some(capture) = self.bulk.front() else {
                break;
            };
            if tree.seems_behind(&capture.header) && self.waits(more) {
                break;
            }
            if let Some(capture) = self.bulk.pop_front() {
                self.file(&mut tree, &loaded, capture);
            }
        }
        more || !self.bulk.is_empty() || !self.vital.is_empty()
    }

    /// Whether the first file capture should wait (on) for a life-cycle capture.
    fn waits(&mut self, more: bool) -> bool {
        if !more {
            return false;
        }
        let now = Instant::now();
        if self.impatient_until.is_some_and(|until| now < until) {
            return false;
        }
        let since = match self.waits_since {
            Some(since) => since,
            None => {
                add(&self.shared.stats.deferred, 1);
                self.waits_since = Some(now);
                return true;
            }
        };
        if now.saturating_duration_since(since) < PATIENCE {
            return true;
        }
        self.waits_since = None;
        self.vain_waits += 1;
        if self.vain_waits >= VAIN_WAITS {
            self.vain_waits = 0;
            self.impatient_until = Some(now + NO_PATIENCE);
        }
        false
    }

    fn life_cycle(&mut self, tree: &mut ProcessTree, loaded: &Loaded, capture: Capture) {
        let kind = kind_of(&capture);
        add(&self.shared.stats.of(kind).received, 1);
        let Capture { header, body } = capture;
        let (process, data) = match body {
            // No rule can be about a fork; the tree is what it is for.
            Body::Fork(fork) => {
                tree.fork(&header, &fork);
                return;
            }
            Body::Exec(mut exec) => {
                let data = EventData::Exec(ExecEvent {
                    syscall_path: exec.filename.clone(),
                });
                (tree.exec(&header, &mut exec), data)
            }
            Body::Exit(exit) => (tree.exit(&header), EventData::Exit(exit.into())),
            Body::Heartbeat(sequence) => (
                tree.resolve(&header).0,
                EventData::Heartbeat(HeartbeatEvent { sequence }),
            ),
            Body::File(_) => return,
        };
        if loaded.wants(kind) {
            let event = self.event(tree, &header, process, data);
            self.evaluate(loaded, &event, header.time_ns);
        }
    }

    fn file(&mut self, tree: &mut ProcessTree, loaded: &Loaded, capture: Capture) {
        if self.waits_since.take().is_some() {
            // What was waited for has come.
            self.vain_waits = 0;
        }
        let kind = kind_of(&capture);
        add(&self.shared.stats.of(kind).received, 1);
        let Capture { header, body } = capture;
        // A record that was on its way when the last rule about it was unloaded.
        if !loaded.wants(kind) {
            return;
        }
        let Body::File(call) = body else { return };
        let Some(data) = EventData::from_file_call(*call) else {
            add(&self.shared.stats.malformed, 1);
            return;
        };
        let (process, _) = tree.resolve(&header);
        let event = self.event(tree, &header, process, data);
        self.evaluate(loaded, &event, header.time_ns);
    }

    fn event(
        &self,
        tree: &ProcessTree,
        header: &Header,
        process: Arc<Process>,
        data: EventData,
    ) -> Event {
        let time_ns = tree.epoch_ns(header.time_ns);
        let mut event = Event::new(Arc::clone(&self.shared.context), time_ns, process, data);
        event.is_async = header.is_async;
        event
    }

    /// Evaluates the exec rules on the processes that were there at start.
    pub(crate) fn replay(&mut self, processes: &[Arc<Process>]) {
        let loaded = self.shared.rules.load_full();
        self.generation = loaded.generation;
        if !loaded.wants(CaptureKind::Exec) {
            return;
        }
        let now = clock::boot_now_ns();
        for process in processes.iter().filter(|process| process.is_exec) {
            let mut event = Event::new(
                Arc::clone(&self.shared.context),
                process.exec_time,
                Arc::clone(process),
                EventData::Exec(ExecEvent {
                    syscall_path: process.image.filename.clone(),
                }),
            );
            event.source = EventSource::Snapshot;
            let evaluated = catch_unwind(AssertUnwindSafe(|| self.evaluate(&loaded, &event, now)));
            if evaluated.is_err() {
                add(&self.shared.stats.panics, 1);
            }
        }
    }

    fn evaluate(&mut self, loaded: &Loaded, event: &Event, monotonic_ns: u64) {
        let shared = &self.shared;
        let limiter = &mut self.limiter;
        let stats = shared.stats.of(event.kind());
        let mut sent = false;
        let matched =
            loaded
                .ruleset
                .evaluate(event.event_type(), event, event.time_ns, |rule: &Rule| {
                    if let Some(counter) = loaded.matches.get(rule.index()) {
                        add(counter, 1);
                    }
                    if is_internal(rule, pulse::SOURCE) {
                        shared.heartbeat_came_out(event, rule);
                        return;
                    }
                    if rule.silent {
                        return;
                    }
                    if !limiter.allow(rule, event, monotonic_ns) {
                        add(&stats.rate_limited, 1);
                        return;
                    }
                    sent |= shared.emitter.event(event, rule);
                    if is_internal(rule, selftest::SOURCE) {
                        shared.self_test.seen(&rule.id, event.process.pid);
                    }
                });
        if matched {
            add(&stats.matched, 1);
        }
        if sent {
            add(&stats.sent, 1);
        }
    }
}
