//! The event loop: capture → process → event → rules → output.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use atalaya_model::capture::{Body, Capture, CaptureKind, Header};
use atalaya_model::{
    AcceptEvent, ConnectEvent, Event, EventData, EventSource, ExecEvent, HeartbeatEvent, Process,
    Target,
};
use atalaya_policy::{ActionBody, RateLimiter, Rule, RuleSet, Scratch, VariableStore};
use atalaya_resolvers::{ProcessTree, clock};

use crate::emit::{Extras, epoch_now_ns};
use crate::engine::Shared;
use crate::hashing::{Deferred, Pending};
use crate::history::{History, Record};
use crate::holders::{Holders, key_of};
use crate::hostnames::Hostnames;
use crate::logging::RuleLog;
use crate::meter::{Meter, Sample, ns};
use crate::packets::Actor;
use crate::queue::kind_of;
use crate::rules::{Loaded, is_internal};
use crate::stats::add;
use crate::{packets, protection, pulse, selftest};

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
    /// That of rules without one of their own: a period, and how many at once.
    limit: (Duration, u32),
    log: RuleLog,
    scratch: Scratch,
    hostnames: Hostnames,
    meter: Meter,
    history: History,
    /// The event that is worked on is measured.
    sample: Option<Sample>,
    /// The load that the above, and the variables, belong to.
    loaded: Arc<Loaded>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let (period, burst) = shared.options.rule_limit;
        let limiter = RateLimiter::with_limit(period, burst);
        let hostnames = Hostnames::new(shared.options.hostnames);
        let history = History::new(shared.options.history);
        Self {
            shared,
            vital: VecDeque::new(),
            bulk: VecDeque::new(),
            limiter,
            limit: (period, burst),
            log: RuleLog::default(),
            scratch: Scratch::default(),
            hostnames,
            meter: Meter::default(),
            history,
            sample: None,
            loaded: Arc::new(Loaded::none()),
        }
    }

    /// From here on the newest rules count. Variables, rate limits and counters go on where the rules are the same.
    fn take_rules(&mut self, store: &mut VariableStore) -> Arc<Loaded> {
        let loaded = self.shared.rules.load_full();
        if loaded.generation != self.loaded.generation {
            let new = VariableStore::new(loaded.ruleset.variables());
            *store = new.carry_over(std::mem::replace(store, VariableStore::new(&[])));
            let limiter = std::mem::take(&mut self.limiter);
            let limit = self.shared.live.load().rule_limit;
            self.limiter = if limit == self.limit {
                limiter.carry_over(&self.loaded.ruleset, &loaded.ruleset)
            } else {
                // Another limit for all: they begin anew.
                let (period, burst) = limit;
                RateLimiter::with_limit(period, burst)
                    .carry_over(&RuleSet::default(), &loaded.ruleset)
            };
            self.limit = limit;
            self.log.clear();
            self.scratch = Scratch::default();
            self.loaded = Arc::clone(&loaded);
        }
        loaded
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
        let mut tree = shared.tree();
        let mut store = shared.variables();
        let loaded = self.take_rules(&mut store);
        let mut top = shared.top.watched();
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
            let (pid, kind) = (capture.header.pid, kind_of(&capture));
            self.sample = self.meter.begin(top.is_some());
            if is_vital {
                self.life_cycle(&mut tree, &mut store, &loaded, capture);
            } else {
                self.event_of(&mut tree, &mut store, &loaded, capture);
            }
            let cost = self.measured(kind);
            if let Some(top) = &mut top
                && kind != CaptureKind::Heartbeat
            {
                top.count(pid, kind, cost);
            }
        }
        open || !self.vital.is_empty()
    }

    /// Ends the measurement of an event, where it was measured. Returns what it says of all events that it stands for, in nanoseconds.
    fn measured(&mut self, kind: CaptureKind) -> u64 {
        let Some((sample, time)) = self
            .sample
            .take()
            .and_then(|sample| Some((sample, sample.elapsed()?)))
        else {
            return 0;
        };
        sample.add(&self.shared.stats.of(kind).cost_ns, ns(time));
        ns(time).saturating_mul(sample.weight())
    }

    fn life_cycle(
        &mut self,
        tree: &mut ProcessTree,
        store: &mut VariableStore,
        loaded: &Arc<Loaded>,
        capture: Capture,
    ) {
        let kind = kind_of(&capture);
        add(&self.shared.stats.of(kind).received, 1);
        let Capture { header, body } = capture;
        let (process, data) = match body {
            // No rule can be about a fork; the tree is what it is for.
            Body::Fork(fork) => {
                let child = tree.fork(&header, &fork);
                if self.history.is_on() {
                    self.history.saw(Record::fork(header.time_ns, &child));
                }
                return;
            }
            Body::Cgroup(moved) => {
                tree.cgroup_moved(&header, &moved);
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
                tree.saw(header.time_ns);
                // Not `resolve`: how the sensor asks for one (a thread renames itself) is nothing to keep.
                let own = tree.get(header.pid).cloned();
                (
                    own.unwrap_or_else(|| tree.resolve(&header).0),
                    EventData::Heartbeat(HeartbeatEvent { sequence }),
                )
            }
            Body::File(_) | Body::Event(_) => return,
        };
        let over = over(kind, &process);
        let record = match kind {
            CaptureKind::Heartbeat => None,
            _ => self.record(&header, &process, &data),
        };
        if loaded.wants(kind) {
            let event = self.event(tree, &header, process, data);
            self.evaluate(loaded, tree, store, event, header.time_ns, (&header).into());
        }
        self.remember(record);
        // Only now: the last event of a process still sees its variables.
        if let Some(over) = over {
            store.process_ended(over);
        }
        if kind == CaptureKind::Exit {
            self.shared.orders.ended(&header);
        }
    }

    /// What is no part of the process tree.
    fn event_of(
        &mut self,
        tree: &mut ProcessTree,
        store: &mut VariableStore,
        loaded: &Arc<Loaded>,
        capture: Capture,
    ) {
        let kind = kind_of(&capture);
        add(&self.shared.stats.of(kind).received, 1);
        let Capture { mut header, body } = capture;
        if let Body::Event(data) = &body
            && let EventData::Capabilities(uses) = &**data
        {
            tree.capabilities_used(&header, uses.attempted, uses.used);
        }
        if let Body::Event(data) = &body
            && let EventData::Dns(answer) = &**data
        {
            self.hostnames.learn(header.netns, answer);
        }
        // A record that was on its way when the last rule about it was unloaded.
        if !loaded.wants(kind) {
            return;
        }
        let mut data = match body {
            Body::File(call) => match EventData::from_file_call(*call) {
                Some(data) => data,
                None => {
                    add(&self.shared.stats.malformed, 1);
                    return;
                }
            },
            Body::Event(data) => *data,
            _ => return,
        };
        packets::name_filter(&mut data, &loaded.interest.filters);
        if let Some(target) = data.target_pid().and_then(|pid| tree.get(pid)) {
            data.set_target(Target::new(Arc::clone(target)));
        }
        if let EventData::Connect(ConnectEvent { addr, .. })
        | EventData::Accept(AcceptEvent { addr, .. }) = &mut data
            && let Some(ip) = addr.address.ip
        {
            addr.hostnames = self.hostnames.of(header.netns, ip.addr());
        }
        if header.no_task {
            let process = tree.owner(&header);
            let record = self.record(&header, &process, &data);
            let event = self.event(tree, &header, process, data);
            self.evaluate(loaded, tree, store, event, header.time_ns, (&header).into());
            self.remember(record);
            return;
        }
        // Who changes its credentials is told with those it had: as the tree knows them, where the hook came too late.
        let made = header.creds_after.then_some(header.creds);
        if made.is_some()
            && let Some(known) = tree.get(header.pid)
        {
            header.creds = known.creds.into();
        }
        let (process, _) = tree.resolve(&header);
        let record = self.record(&header, &process, &data);
        let event = self.event(tree, &header, process, data);
        self.evaluate(loaded, tree, store, event, header.time_ns, (&header).into());
        self.remember(record);
        if let Some(made) = made {
            header.creds = made;
            tree.resolve(&header);
        }
    }

    fn record(&self, header: &Header, process: &Process, data: &EventData) -> Option<Record> {
        let is_on = self.history.is_on();
        is_on.then(|| Record::new(header.time_ns, process, data))
    }

    /// After the event was decided: it does not come before itself.
    fn remember(&mut self, record: Option<Record>) {
        if let Some(record) = record {
            self.history.saw(record);
        }
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
        let shared = Arc::clone(&self.shared);
        let tree = shared.tree();
        let mut store = shared.variables();
        let loaded = self.take_rules(&mut store);
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
            let evaluated = catch_unwind(AssertUnwindSafe(|| {
                self.evaluate(&loaded, &tree, &mut store, event, now, Actor::default());
            }));
            if evaluated.is_err() {
                add(&self.shared.stats.panics, 1);
            }
        }
    }

    /// Evaluates the rules on the event: variables are set, lines are logged, and events sent, rule by rule.
    fn evaluate(
        &mut self,
        loaded: &Arc<Loaded>,
        tree: &ProcessTree,
        store: &mut VariableStore,
        event: Event,
        monotonic_ns: u64,
        actor: Actor,
    ) {
        let shared = &self.shared;
        let (limiter, log) = (&mut self.limiter, &mut self.log);
        // Looked for once for all rules that match the event.
        let (history, mut before) = (&mut self.history, None);
        let stats = shared.stats.of(event.kind());
        let mut sent = false;
        let mut deferred = Vec::new();
        let holders = Holders::new(&event.process, tree);
        // What was there at start began long ago; what it sets is set now.
        let now_ns = match event.source {
            EventSource::Runtime => event.time_ns,
            EventSource::Snapshot => epoch_now_ns(),
        };
        if self.sample.is_some() {
            self.scratch.measure_next();
        }
        // What matched rules did, where it is measured.
        let mut acted = Vec::new();
        let is_measured = self.sample.is_some();
        let matched = loaded.ruleset.evaluate(
            event.event_type(),
            &event,
            event.time_ns,
            &mut store.bind(&holders, now_ns),
            &mut self.scratch,
            |variables, rule: &Rule| {
                let _action = is_measured.then(|| Action::begin(rule.index(), &mut acted));
                let counters = loaded.counters.get(rule.index());
                if let Some(counters) = counters {
                    add(&counters.matched, 1);
                }
                if is_internal(rule, pulse::SOURCE) {
                    if protection::is_own(rule) {
                        shared.protection.saw(&event);
                    } else {
                        shared.heartbeat_came_out(&event, rule);
                    }
                    return;
                }
                let mut hashes = Vec::new();
                let mut actions = Vec::new();
                variables.act(rule, &event, |_, action| match &action.body {
                    ActionBody::Log(line) => log.write(rule, line, &event, monotonic_ns),
                    ActionBody::Hash(hash) => hashes.push(hash),
                    ActionBody::NetworkFilter(action) => {
                        let filters = &loaded.interest.filters;
                        actions.push(shared.orders.act(action, actor, filters));
                    }
                    // Told once, when the policy was loaded.
                    _ => {}
                });
                if rule.silent {
                    return;
                }
                if !limiter.allow(rule, &event, monotonic_ns) {
                    add(&stats.rate_limited, 1);
                    if let Some(counters) = counters {
                        add(&counters.rate_limited, 1);
                    }
                    return;
                }
                if !shared.emitter.is_connected() {
                    return;
                }
                let scrubber = &shared.emitter.agent.scrubber;
                let before = before
                    .get_or_insert_with(|| history.before(&event, monotonic_ns, tree, scrubber));
                let extras = Extras {
                    variables: variables.values(),
                    actions,
                    before: before.clone(),
                    ..Extras::default()
                };
                if hashes.is_empty() {
                    sent |= shared.emitter.event(&event, rule, &extras);
                } else {
                    let files = hashes.iter().map(|hash| shared.hashing.file(hash, &event));
                    deferred.push(Deferred {
                        rule: rule.index(),
                        extras,
                        files: files.collect(),
                    });
                }
                if is_internal(rule, selftest::SOURCE) {
                    shared.self_test.seen(&rule.id, event.process.pid);
                }
            },
        );
        if let Some(sample) = &self.sample
            && sample.elapsed().is_some()
        {
            let scratch = &self.scratch;
            for (rule, ns) in loaded.ruleset.samples(event.event_type(), scratch) {
                if let Some(counters) = loaded.counters.get(rule.index()) {
                    sample.add(&counters.evaluations, 1);
                    sample.add(&counters.evaluation_ns, ns);
                }
            }
            for (rule, ns) in acted {
                if let Some(counters) = loaded.counters.get(rule) {
                    sample.add(&counters.action_ns, ns);
                }
            }
        }
        if matched {
            add(&stats.matched, 1);
        }
        if sent {
            add(&stats.sent, 1);
        }
        if !deferred.is_empty() {
            let pending = Pending::new(event, Arc::clone(loaded), deferred);
            if let Err(pending) = shared.hashing.submit(pending) {
                pending.send(shared, false);
            }
        }
    }
}

/// What follows from a match, while it is measured: its time is noted when it ends, in whichever way.
struct Action<'a> {
    rule: usize,
    began: Instant,
    to: &'a mut Vec<(usize, u64)>,
}

impl<'a> Action<'a> {
    fn begin(rule: usize, to: &'a mut Vec<(usize, u64)>) -> Self {
        Self {
            rule,
            began: Instant::now(),
            to,
        }
    }
}

impl Drop for Action<'_> {
    fn drop(&mut self) {
        self.to.push((self.rule, ns(self.began.elapsed())));
    }
}

/// The node of the process tree that is over with this event: the process that ended, or what it was before its exec.
fn over(kind: CaptureKind, process: &Process) -> Option<u64> {
    match kind {
        CaptureKind::Exit => Some(key_of(process)),
        CaptureKind::Exec => {
            let before = process.parent.parent()?;
            (before.pid == process.pid).then(|| key_of(before))
        }
        _ => None,
    }
}
