//! The event loop: capture → process → event → rules → output.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use atalaya_model::capture::{Body, Capture, CaptureKind, Header};
use atalaya_model::{Event, EventData, EventSource, ExecEvent, HeartbeatEvent, Process};
use atalaya_policy::{RateLimiter, Rule, Scratch};
use atalaya_resolvers::{ProcessTree, clock};
use atalaya_secl::NoVariables;

use crate::engine::Shared;
use crate::queue::kind_of;
use crate::rules::{Loaded, is_internal};
use crate::stats::add;
use crate::{pulse, selftest};

/// File captures between two looks at the life-cycle queue.
const BATCH: usize = 256;
/// How long the loop sleeps when there is nothing to do.
const IDLE: Duration = Duration::from_millis(500);
/// Life-cycle captures that may be ahead of the file captures in the queue. Beyond, they are not held back: the tree
/// knows who a process was a moment ago, but nothing helps against an exec that is not known yet.
const AHEAD: usize = 4096;

/// The loop's own state.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    vital: VecDeque<Capture>,
    bulk: VecDeque<Capture>,
    limiter: RateLimiter,
    scratch: Scratch,
    /// The load that the limiter belongs to.
    generation: u64,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            vital: VecDeque::new(),
            bulk: VecDeque::new(),
            limiter: RateLimiter::new(),
            scratch: Scratch::default(),
            generation: 0,
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
    ///
    /// The sensor delivers in the order of time, and both queues are taken under one lock: what explains a file capture
    /// is in `vital` when the capture is in `bulk`. The two are worked off in the order of time again, so that events
    /// come out as they happened.
    fn turn(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let timeout = if self.vital.is_empty() {
            IDLE
        } else {
            Duration::ZERO
        };
        let open = shared
            .queues
            .take(&mut self.vital, &mut self.bulk, BATCH, timeout);
        // Then nothing is in the queue that an early life-cycle capture could be ahead of.
        let is_all = self.bulk.len() < BATCH;
        let loaded = shared.rules.load_full();
        if loaded.generation != self.generation {
            self.generation = loaded.generation;
            self.limiter = RateLimiter::new();
        }
        let mut tree = shared.tree();
        loop {
            let is_vital = match (self.vital.front(), self.bulk.front()) {
                (Some(vital), Some(bulk)) => vital.header.time_ns <= bulk.header.time_ns,
                (None, Some(_)) => false,
                (Some(_), None) if is_all || self.vital.len() > AHEAD => true,
                (Some(_) | None, None) => break,
            };
            let queue = if is_vital {
                &mut self.vital
            } else {
                &mut self.bulk
            };
            let Some(capture) = queue.pop_front() else {
                break;
            };
            if is_vital {
                self.life_cycle(&mut tree, &loaded, capture);
            } else {
                self.file(&mut tree, &loaded, capture);
            }
        }
        open || !self.vital.is_empty()
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
                atalaya_resolvers::complete_script(&header, &mut exec);
                let data = EventData::Exec(ExecEvent {
                    syscall_path: exec.filename.clone(),
                    ..ExecEvent::default()
                });
                (tree.exec(&header, &mut exec), data)
            }
            Body::Exit(exit) => (tree.exit(&header), EventData::Exit(exit.into())),
            Body::Heartbeat(sequence) => {
                // Not `resolve`: how the sensor asks for one (a thread renames itself) is nothing to keep.
                let own = tree.get(header.pid).cloned();
                (
                    own.unwrap_or_else(|| tree.resolve(&header).0),
                    EventData::Heartbeat(HeartbeatEvent { sequence }),
                )
            }
            Body::File(_) => return,
        };
        if loaded.wants(kind) {
            let event = self.event(tree, &header, process, data);
            self.evaluate(loaded, &event, header.time_ns);
        }
    }

    fn file(&mut self, tree: &mut ProcessTree, loaded: &Loaded, capture: Capture) {
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
                    ..ExecEvent::default()
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
        // No `set` action is carried out yet.
        let variables = &mut NoVariables;
        let matched = loaded.ruleset.evaluate(
            event.event_type(),
            event,
            event.time_ns,
            variables,
            &mut self.scratch,
            |_, rule: &Rule| {
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
            },
        );
        if matched {
            add(&stats.matched, 1);
        }
        if sent {
            add(&stats.sent, 1);
        }
    }
}
