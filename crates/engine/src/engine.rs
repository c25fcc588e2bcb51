//! The engine: its threads, and what they share.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use atalaya_model::capture::{CaptureKind, Loss, PacketFilters};
use atalaya_model::json::{
    AgentContext, BrokenLineage, BrokenProcess, CustomEvent, Heartbeat, LostEvents, LostIn,
};
use atalaya_model::{Context, Event, EventData};
use atalaya_policy::{Rule, Texts, VariableStore};
use atalaya_resolvers::{Broken, ProcessTree, Snapshot, UserTables, cgroup, clock};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::control::Control;
use crate::costs::Measure;
use crate::doctor;
use crate::emit::{Emitter, epoch_now_ns};
use crate::hashing::{self, Hashing, Names};
use crate::holders::key_of;
use crate::ledger::Ledger;
use crate::options::{EngineOptions, LiveOptions};
use crate::packets::Orders;
use crate::protection::{self, Protection};
use crate::pulse::{self, Pulse};
use crate::queue::Queues;
use crate::report;
use crate::rules::{Loaded, policy_infos};
use crate::selftest::SelfTest;
use crate::source::{EventSource, SourceError};
use crate::stats::{Stats, add};
use crate::top::Top;
use crate::watch::{self, Watch};
use crate::worker::Worker;

/// Why an engine could not be started, or new rules not be put in force.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The sensor refused.
    #[error("the sensor: {0}")]
    Source(#[from] SourceError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
    /// The directory of the policies cannot be read.
    #[error("{0}")]
    Policies(String),
    /// It is being stopped.
    #[error("the engine is stopping")]
    Stopping,
}

/// What all threads share.
pub(crate) struct Shared {
    pub(crate) options: EngineOptions,
    /// What of the options has changed since.
    pub(crate) live: ArcSwap<LiveOptions>,
    pub(crate) started: Instant,
    pub(crate) context: Arc<Context>,
    pub(crate) emitter: Emitter,
    pub(crate) queues: Queues,
    pub(crate) rules: ArcSwap<Loaded>,
    pub(crate) stats: Stats,
    pub(crate) pulse: Pulse,
    pub(crate) self_test: SelfTest,
    pub(crate) doctor: doctor::Findings,
    pub(crate) protection: Protection,
    pub(crate) hashing: Arc<Hashing>,
    /// Losses since the start.
    pub(crate) ledger: Ledger,
    /// Who causes events, while somebody watches.
    pub(crate) top: Top,
    /// What it costs since the start, where that is always counted.
    pub(crate) costs: OnceLock<Measure>,
    /// What `network_filter` actions have dropped.
    pub(crate) orders: Orders,
    /// Held by the event loop for a batch at a time, and by whoever dumps it.
    tree: Mutex<ProcessTree>,
    variables: Mutex<VariableStore>,
    reload_error: Mutex<Option<String>>,
    /// What sees the policies change, where that is wanted and possible.
    watch: Mutex<Option<Watch>>,
    /// `None` once the engine is stopping. Its lock is also what keeps two reloads apart.
    source: Mutex<Option<Box<dyn EventSource>>>,
    /// Closed when the engine stops.
    pub(crate) stop: Receiver<()>,
    pub(crate) loop_alive: AtomicBool,
}

impl Shared {
    pub(crate) fn tree(&self) -> MutexGuard<'_, ProcessTree> {
        // The tree is a cache: after a panic in the middle of a change it may know less, nothing worse.
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn source(&self) -> MutexGuard<'_, Option<Box<dyn EventSource>>> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The values of the rules' variables. Whoever locks the tree as well locks it first.
    pub(crate) fn variables(&self) -> MutexGuard<'_, VariableStore> {
        self.variables
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn watch(&self) -> MutexGuard<'_, Option<Watch>> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the last reload failed, if it did.
    pub(crate) fn reload_error(&self) -> Option<String> {
        let error = self.reload_error.lock();
        error.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_reload_error(&self, error: Option<String>) {
        let mut known = self.reload_error.lock();
        **known.as_mut().unwrap_or_else(|error| error.get_mut()) = error;
    }

    pub(crate) fn custom(&self, event: &CustomEvent) {
        add(&self.stats.custom, 1);
        self.emitter.custom(event);
    }

    /// A heartbeat has made the whole way.
    pub(crate) fn heartbeat_came_out(&self, event: &Event, rule: &Rule) {
        let EventData::Heartbeat(heartbeat) = &event.data else {
            return;
        };
        if rule.id == pulse::RULE && self.pulse.seen(heartbeat.sequence, Instant::now()) {
            self.custom(&CustomEvent::Heartbeat(Heartbeat {
                sequence: heartbeat.sequence,
                policies: policy_infos(&self.rules.load().report),
            }));
        }
    }

    /// Collects what was lost since the last time, and tells.
    fn report_losses(&self) {
        let mut losses = self.queues.take_losses();
        if let Some(source) = self.source().as_mut() {
            losses.extend(source.take_losses());
        }
        losses.retain(|loss| loss.count > 0);
        if losses.is_empty() {
            return;
        }
        for loss in &losses {
            add(&self.stats.of(loss.kind).lost, loss.count);
        }
        let mut tree = self.tree();
        if losses.iter().any(|loss| loss.kind < CaptureKind::Open) {
            tree.lost();
        }
        let path_of = |id| tree.cgroup_path(id).unwrap_or("").to_owned();
        self.ledger.add(&losses, path_of, Instant::now());
        let events = lost_events(&losses, path_of);
        drop(tree);
        for event in events {
            tracing::warn!(map = event.map, lost = ?event.per_event, "events were lost");
            self.custom(&CustomEvent::LostEvents(event));
        }
    }

    /// Makes events of the flows that were counted since the last time.
    fn report_flows(&self) {
        if !self.rules.load().wants(CaptureKind::NetworkFlowMonitor) {
            return;
        }
        let flows = match self.source().as_mut() {
            Some(source) => source.take_flows(),
            None => return,
        };
        for capture in flows {
            self.queues.push(capture);
        }
    }

    /// Tells of broken lineages: of one as an example, and how many there were since the last time.
    fn report_broken(&self, unreported: &mut Vec<Broken>, told: &mut Option<Instant>) {
        let (new, count) = {
            let mut tree = self.tree();
            (tree.take_broken(), tree.stats().broken)
        };
        for broken in &new {
            tracing::debug!(
                pid = broken.process.pid,
                reason = broken.reason.name(),
                healed = broken.healed,
                "the lineage of a process was broken"
            );
        }
        unreported.extend(new);
        unreported.truncate(BROKEN_LISTED);
        let is_due = told.is_none_or(|at| at.elapsed() >= BROKEN_EVERY);
        let Some(first) = unreported.first().filter(|_| is_due) else {
            return;
        };
        let event = BrokenLineage {
            error: first.reason.name().to_owned(),
            total: count,
            processes: unreported.iter().map(broken_process).collect(),
        };
        unreported.clear();
        *told = Some(Instant::now());
        self.custom(&CustomEvent::BrokenLineage(event));
    }

    fn beat(&self) {
        let number = self.pulse.ask(Instant::now());
        let result = match self.source().as_mut() {
            Some(source) => source.heartbeat(number).map_err(|error| error.to_string()),
            None => return,
        };
        if let Err(error) = &result {
            tracing::warn!(error, "cannot ask the kernel for a heartbeat");
        }
        self.pulse.asked(result);
    }

    /// Runs the self-test and reports it.
    pub(crate) fn run_self_test(&self, report: bool) -> Result<crate::Outcome, String> {
        let outcome = self.self_test.run(&self.stop)?;
        if outcome.passed() {
            tracing::info!("self-test passed");
        } else {
            tracing::warn!(reason = outcome.reason(), "self-test failed");
        }
        if self.options.self_test.send_report && (report || outcome.passed()) {
            self.custom(&outcome.event());
        }
        Ok(outcome)
    }
}

/// So many processes one event about broken lineages lists, and there is at most one in so much time.
const BROKEN_LISTED: usize = 16;
const BROKEN_EVERY: Duration = Duration::from_secs(30);

fn broken_process(broken: &Broken) -> BrokenProcess {
    let process = &broken.process;
    BrokenProcess {
        pid: process.pid,
        ppid: process.ppid,
        comm: process.comm.to_string(),
        path: process.image.file.path.clone(),
        container_id: process.container_id().to_owned(),
        reason: broken.reason.name().to_owned(),
        healed: broken.healed,
        ancestors: process.parent.depth(),
    }
}

/// One event a ring that lost something.
fn lost_events(losses: &[Loss], path_of: impl Fn(u64) -> String) -> Vec<LostEvents> {
    let mut by_ring: BTreeMap<&str, BTreeMap<(CaptureKind, u64), u64>> = BTreeMap::new();
    for loss in losses {
        let ring = if loss.kind < CaptureKind::Open {
            "vital"
        } else {
            "bulk"
        };
        *by_ring
            .entry(ring)
            .or_default()
            .entry((loss.kind, loss.cgroup_id))
            .or_default() += loss.count;
    }
    by_ring
        .into_iter()
        .map(|(ring, counts)| {
            let mut event = LostEvents {
                map: ring.to_owned(),
                ..LostEvents::default()
            };
            for ((kind, cgroup_id), count) in counts {
                *event.per_event.entry(kind.name().to_owned()).or_default() += count;
                let path = path_of(cgroup_id);
                event.per_cgroup.push(LostIn {
                    event: kind.name().to_owned(),
                    container_id: cgroup::parse(&path).container_id.to_owned(),
                    cgroup: path,
                    cgroup_id,
                    count,
                });
            }
            // One line for each of the worst: an event has a size.
            event
                .per_cgroup
                .sort_by_key(|lost| std::cmp::Reverse(lost.count));
            event.per_cgroup.truncate(64);
            event
        })
        .collect()
}

/// A running engine. [`Engine::stop`] ends it; dropping it does the same.
pub struct Engine {
    shared: Arc<Shared>,
    stopper: Option<Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// Loads the policies, attaches the sensor, takes the snapshot of `/proc`, and starts the event loop. When it
    /// returns, events flow.
    ///
    /// The order leaves no gap and makes no duplicate: the sensor is attached and its queue fills before `/proc` is
    /// read, and the queue is worked off only afterwards; see [`Snapshot::take`].
    pub fn start(
        options: EngineOptions,
        source: Box<dyn EventSource>,
    ) -> Result<Self, EngineError> {
        let (stopper, stop) = bounded(0);
        let shared = Arc::new(new_shared(options, source, stop));
        if shared.options.watch_policies.is_some() {
            *shared.watch() = watch::begin(&shared.options.policies_dir);
        }
        let loaded = {
            let mut loaded = Loaded::read(
                &shared.options,
                &shared.live.load(),
                shared.self_test.policy(),
                1,
                Texts::default(),
                &PacketFilters::default(),
            );
            let mut source = shared.source();
            let source = source.as_mut().ok_or(EngineError::Stopping)?;
            loaded.applied = source.apply(&loaded.interest)?;
            shared
                .orders
                .renew(source.as_mut(), &loaded.interest.filters);
            let sink = Arc::clone(&shared);
            source.start(Box::new(move |capture| sink.queues.push(capture)))?;
            if let Some(tasks) = source.tasks() {
                shared.tree().set_task_source(tasks);
            }
            Arc::new(loaded)
        };
        shared.rules.store(Arc::clone(&loaded));
        if shared.options.count_program_times {
            let measure = Measure::begin(&shared);
            let _ = shared.costs.set(measure); // there is none yet
        }
        let processes = shared.tree().load(Snapshot::take());
        let mut engine = Self {
            shared: Arc::clone(&shared),
            stopper: Some(stopper),
            threads: Vec::new(),
        };
        shared.announce_rules(&loaded, None);
        let mut worker = Worker::new(Arc::clone(&shared));
        if shared.options.replay_snapshot {
            worker.replay(&processes);
        }
        drop(processes);
        let alive = Arc::clone(&shared);
        engine.spawn("events", move || {
            worker.run();
            alive.loop_alive.store(false, Ordering::Release);
        })?;
        if let Some(pending) = shared.hashing.take_receiver() {
            let sender = Arc::clone(&shared);
            engine.spawn("hashed-events", move || {
                hashing::send_all(&sender, &pending);
            })?;
        }
        if let Some(quiet) = shared.options.watch_policies {
            let watcher = Arc::clone(&shared);
            engine.spawn("policy-watch", move || watch::watch(&watcher, quiet))?;
        }
        let housekeeper = Arc::clone(&shared);
        engine.spawn("housekeeping", move || keep_house(&housekeeper))?;
        if shared.options.self_test.enabled && shared.options.self_test.first_after.is_some() {
            let tester = Arc::clone(&shared);
            engine.spawn("self-test", move || test_regularly(&tester))?;
        }
        if shared.options.protection.enabled {
            let guard = Arc::clone(&shared);
            engine.spawn("protection", move || protection::run(&guard))?;
        }
        if shared.options.doctor.is_some() {
            let looker = Arc::clone(&shared);
            engine.spawn("network-doctor", move || doctor::examine_regularly(&looker))?;
        }
        Ok(engine)
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(body)?;
        self.threads.push(thread);
        Ok(())
    }

    /// The commands that the server carries out.
    pub fn control(&self) -> Control {
        Control::new(Arc::clone(&self.shared))
    }

    /// Detaches the sensor, works off what it has delivered, and ends every thread. The spool stays open.
    pub fn stop(mut self) {
        self.shut_down();
    }

    fn shut_down(&mut self) {
        // Whoever waits for time to pass wakes up.
        self.stopper = None;
        // First the queues: the sensor's reader may be waiting for room, and detaching waits for the reader.
        self.shared.queues.close();
        let source = self.shared.source().take();
        drop(source);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the engine has panicked");
            }
            // The event loop is the first: nobody hands over any more.
            self.shared.hashing.close();
        }
        if let Some(output) = &self.shared.emitter.output {
            output.close();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.stopper.is_some() {
            self.shut_down();
        }
    }
}

fn new_shared(options: EngineOptions, source: Box<dyn EventSource>, stop: Receiver<()>) -> Shared {
    let now = Instant::now();
    let hashing = Arc::new(Hashing::new(
        options.hash.clone(),
        options.hash_event_types.clone(),
    ));
    let names = Names {
        users: UserTables::default(),
        hashing: Arc::clone(&hashing),
    };
    let mut context = Context {
        hostname: options.hostname.clone(),
        lookup: Box::new(names),
        ..Context::default()
    };
    if let Some(names) = &options.envs_with_value {
        context.envs_with_value = names.iter().cloned().collect();
    }
    let emitter = Emitter {
        spool: options.spool.clone(),
        output: options.output.clone(),
        agent: AgentContext {
            version: options.version.clone(),
            os: "linux".to_owned(),
            arch: report::architecture().to_owned(),
            origin: "ebpf".to_owned(),
            kernel_version: report::kernel_release(),
            distribution: report::distribution(&options.host),
            scrubber: options.scrubber.clone(),
        },
    };
    Shared {
        started: now,
        context: Arc::new(context),
        emitter,
        queues: Queues::new(options.queues),
        rules: ArcSwap::from_pointee(Loaded::none()),
        stats: Stats::default(),
        pulse: Pulse::new(options.heartbeat.clone(), now),
        self_test: SelfTest::new(options.self_test.clone()),
        doctor: doctor::Findings::default(),
        protection: Protection::default(),
        hashing,
        ledger: Ledger::default(),
        top: Top::default(),
        costs: OnceLock::new(),
        orders: Orders::default(),
        tree: Mutex::new(ProcessTree::new(options.tree)),
        variables: Mutex::new(VariableStore::new(&[])),
        reload_error: Mutex::new(None),
        watch: Mutex::new(None),
        source: Mutex::new(Some(source)),
        stop,
        loop_alive: AtomicBool::new(true),
        live: ArcSwap::from_pointee(options.live()),
        options,
    }
}

/// Losses each second, heartbeats each few, the clocks now and then.
fn keep_house(shared: &Shared) {
    const TICK: Duration = Duration::from_secs(1);
    const CLOCKS: Duration = Duration::from_secs(10);
    let tick = TICK
        .min(shared.pulse.period())
        .min(shared.options.flow_period);
    shared.beat();
    shared.stats.note(Instant::now());
    let (mut broken, mut told_broken) = (Vec::new(), None);
    let (mut beaten, mut told, mut clocks) = (Instant::now(), Instant::now(), Instant::now());
    let mut flows = Instant::now();
    while let Err(RecvTimeoutError::Timeout) = shared.stop.recv_timeout(tick) {
        if told.elapsed() >= TICK {
            told = Instant::now();
            shared.stats.note(told);
            shared.report_losses();
            shared.report_broken(&mut broken, &mut told_broken);
        }
        if flows.elapsed() >= shared.options.flow_period {
            flows = Instant::now();
            shared.report_flows();
        }
        if beaten.elapsed() >= shared.pulse.period() {
            beaten = Instant::now();
            shared.beat();
        }
        if clocks.elapsed() >= CLOCKS {
            clocks = Instant::now();
            let now = clock::boot_now_ns();
            let mut tree = shared.tree();
            tree.set_epoch_offset(clock::boot_to_epoch_ns());
            // With no exits nothing else forgets; the margin leaves what is still in the queue its time.
            tree.expire(now.saturating_sub(10_000_000_000));
            forget_variables(&tree, &mut shared.variables());
        }
    }
    shared.report_losses();
}

/// Forgets what has expired, and what belongs to processes that have ended and have no descendants.
fn forget_variables(tree: &ProcessTree, variables: &mut VariableStore) {
    variables.expire(epoch_now_ns());
    if !variables.has_processes() {
        return;
    }
    let mut needed = HashSet::new();
    for process in tree.living() {
        needed.insert(key_of(&process));
        // Families have most of their ancestors in common.
        for ancestor in process.ancestors() {
            if !needed.insert(key_of(ancestor)) {
                break;
            }
        }
    }
    variables.retain_processes(|process| needed.contains(&process));
}

/// At start, again soon until it has passed once, then every hour.
fn test_regularly(shared: &Shared) {
    let options = &shared.options.self_test;
    let mut wait = options.first_after.unwrap_or(options.retry_after);
    let mut failures = 0;
    let mut has_passed = false;
    while let Err(RecvTimeoutError::Timeout) = shared.stop.recv_timeout(wait) {
        let is_last = failures >= options.retries;
        // A run on demand at the same time makes this one an error: look again soon.
        let passed = shared
            .run_self_test(is_last || has_passed)
            .is_ok_and(|outcome| outcome.passed());
        has_passed |= passed;
        if passed || is_last {
            failures = 0;
            wait = options.period;
        } else {
            failures += 1;
            wait = options.retry_after;
        }
    }
}
