//! What the server asks of the engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use atalaya_api::{ControlError, RuntimeControl, proto};
use atalaya_model::capture::CaptureKind;

use crate::costs::{self, Measure};
use crate::emit::{epoch_now_ns, timestamp};
use crate::engine::{EngineError, Shared};
use crate::holders::key_of;
use crate::memory::{self, Usage};
use crate::options::LiveOptions;
use crate::protection::Agents;
use crate::selftest::Outcome;
use crate::source::SourceReport;
use crate::stats::get;
use crate::{doctor, dump, reload, report, top, variables};
use crate::{filters, namespaces, watch};

/// The commands of a running engine. Clones are the same engine; after it has stopped, commands that need the sensor
/// fail and the others tell the last state.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}

/// Unacknowledged events from which on `status` warns: seconds of a storm, hours of a quiet host.
const LAG: u64 = 2000;

impl Control {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Takes over what has changed of the options. It is in force with the next [`Control::reload`].
    pub fn configure(&self, live: LiveOptions) {
        let before = self.shared.live.swap(Arc::new(live));
        let now = self.shared.live.load();
        if now.policies_dir != before.policies_dir && self.shared.options.watch_policies.is_some() {
            *self.shared.watch() = watch::begin(&now.policies_dir);
        }
    }

    /// Reads the policies again (SIGHUP). Returns how many rules are loaded and how many were refused.
    pub fn reload(&self) -> Result<(u32, u32), EngineError> {
        Ok(self.shared.reload()?.0.counts())
    }

    /// Whether events still come through: the loop runs, and the kernel's last sign of life is not older than it may be. For the
    /// watchdog, so nothing that only hurts is asked.
    pub fn is_alive(&self) -> bool {
        let shared = &self.shared;
        shared.loop_alive.load(Ordering::Acquire)
            && shared.pulse.vital(Instant::now()).reason.is_none()
    }

    /// Why the engine is not healthy, one line each; empty when it is.
    pub fn unhealthy_because(&self) -> Vec<String> {
        let shared = &self.shared;
        let mut reasons = Vec::new();
        if shared.source().is_none() {
            reasons.push("the engine is stopped".to_owned());
        }
        if !shared.loop_alive.load(Ordering::Acquire) {
            reasons.push("the event loop has ended".to_owned());
        }
        reasons.extend(shared.pulse.vital(Instant::now()).reason);
        if let Some(last) = shared.self_test.last()
            && !last.passed()
        {
            reasons.push(format!("the last self-test failed: {}", last.reason()));
        }
        if let Some(error) = shared
            .emitter
            .spool
            .as_ref()
            .and_then(|spool| spool.stats().error)
        {
            reasons.push(format!("the spool cannot write to disk: {error}"));
        }
        if let Some(output) = &shared.emitter.output {
            let (_, failed) = output.losses();
            if failed > 0 {
                reasons.push(format!(
                    "{failed} events could not be written to {}",
                    output.name()
                ));
            }
        }
        reasons
    }

    /// From here on, these processes of security-agent are protected too.
    pub fn protect_agents(&self, agents: Agents) {
        self.shared.protection.set_agents(agents);
    }

    fn warnings(&self, source: &SourceReport) -> Vec<String> {
        let loaded = self.shared.rules.load();
        let mut warnings = source.warnings.clone();
        let report = &loaded.report;
        warnings.extend(report.errors.iter().map(ToString::to_string));
        // Not rejected rules, which have their own lines: whole files that are without effect.
        let files = report.policies.iter().filter(|p| p.rules.is_empty());
        warnings.extend(
            files
                .filter_map(|p| p.errors.first())
                .map(ToString::to_string),
        );
        if loaded.generation > 0 && loaded.counts().0 == 0 {
            warnings.push(format!(
                "no rule is loaded from {}: there will be no events",
                self.shared.live.load().policies_dir.display()
            ));
        }
        for ring in &source.rings {
            let most = ring.high_water.unwrap_or(0);
            if most > ring.bytes / 10 * 9 {
                warnings.push(format!(
                    "the {} ring was {} % full at some time: larger rings (event_stream.buffer_size) lose less in a storm",
                    ring.name,
                    most.saturating_mul(100) / ring.bytes.max(1)
                ));
            }
        }
        if self.shared.hashing.is_stuck() {
            warnings.push(
                "no file can be hashed: every thread waits for a file system that does not answer"
                    .to_owned(),
            );
        }
        if let Some(error) = self.shared.reload_error() {
            warnings.push(format!(
                "the last reload of the policies failed: {error}; the former rules stay"
            ));
        }
        for (kind, rules) in loaded.turned_off() {
            let why = loaded
                .applied
                .unavailable
                .get(&kind)
                .map_or("", String::as_str);
            warnings.push(format!(
                "reduced mode: {} events cannot be seen ({why}); turned off: {}",
                kind.name(),
                rules.join(", ")
            ));
        }
        let spool = self.shared.options.spool.as_ref();
        for consumer in spool
            .map(|spool| spool.stats().consumers)
            .unwrap_or_default()
        {
            if consumer.lag > LAG {
                warnings.push(format!(
                    "{} is {} events behind: it is stopped, slow, or cannot store them",
                    consumer.name, consumer.lag
                ));
            }
            if consumer.missed > 0 {
                warnings.push(format!(
                    "{} events were deleted from the full spool before {} read them",
                    consumer.missed, consumer.name
                ));
            }
        }
        if let Some(output) = &self.shared.emitter.output {
            let (dropped, _) = output.losses();
            if dropped > 0 {
                warnings.push(format!(
                    "{dropped} events were not written to {}: its reader is too slow",
                    output.name()
                ));
            }
        }
        warnings.extend(self.shared.doctor.warning());
        warnings.extend(self.shared.protection.warning());
        warnings
    }

    /// What it costs: since the start where that is always counted, else over the next milliseconds, if any.
    fn cost(&self, measure_ms: u32) -> Option<proto::CostStatus> {
        let shared = &self.shared;
        if measure_ms == 0 {
            return shared.costs.get().map(|costs| costs.read(shared));
        }
        let measure = Measure::begin(shared);
        costs::wait(shared, Duration::from_millis(measure_ms.into()));
        Some(measure.read(shared))
    }

    fn sinks(&self) -> Vec<proto::SinkStatus> {
        let output = self.shared.emitter.output.iter();
        output
            .map(|output| {
                let (dropped, failed) = output.losses();
                proto::SinkStatus {
                    name: output.name().to_owned(),
                    kind: "output".to_owned(),
                    dropped,
                    failed,
                }
            })
            .collect()
    }

    fn variables(
        &self,
    ) -> (
        Vec<proto::SeclVariableState>,
        BTreeMap<String, proto::ScopedVariableStore>,
    ) {
        let processes = self.shared.tree().living();
        let pids = processes
            .iter()
            .map(|process| (key_of(process), process.pid))
            .collect();
        let store = self.shared.variables();
        let scrubber = &self.shared.emitter.agent.scrubber;
        variables::for_status(store.states(epoch_now_ns()), &pids, scrubber)
    }

    fn sensor(&self, source: &SourceReport) -> proto::SensorStatus {
        let loaded = self.shared.rules.load();
        proto::SensorStatus {
            tier: source.tier.clone(),
            tier_reason: source.tier_reason.clone(),
            programs_attached: source.programs.clone(),
            missing: source
                .missing
                .iter()
                .map(|missing| proto::MissingHook {
                    hook: missing.hook.clone(),
                    reason: missing.reason.clone(),
                    turns_off: missing
                        .kinds
                        .iter()
                        .flat_map(|kind| {
                            let rules = loaded.rules_of(*kind);
                            std::iter::once(format!("{} events", kind.name()))
                                .chain(rules.into_iter().map(|rule| format!("rule {rule}")))
                                .collect::<Vec<_>>()
                        })
                        .collect(),
                })
                .collect(),
            rings: source
                .rings
                .iter()
                .map(|ring| proto::RingStatus {
                    name: ring.name.clone(),
                    bytes: ring.bytes,
                    received: ring.received,
                    lost: ring.lost,
                    waiting_bytes: ring.waiting,
                    high_water_bytes: ring.high_water,
                })
                .collect(),
            malformed_records: source.malformed + get(&self.shared.stats.malformed),
        }
    }

    fn details(&self, source: &SourceReport) -> BTreeMap<String, String> {
        let shared = &self.shared;
        let tree = shared.tree().stats();
        let (waiting, most) = shared.queues.depth();
        let mut details: BTreeMap<String, String> = source.details.clone();
        let mut add = |name: &str, value: String| {
            details.insert(name.to_owned(), value);
        };
        add("queue.waiting", waiting.to_string());
        add("queue.high_water", most.to_string());
        add("events.failed", get(&shared.stats.panics).to_string());
        add("events.custom", get(&shared.stats.custom).to_string());
        let variables = shared.variables().stats();
        add("variables.values", variables.values.to_string());
        add("variables.bytes", variables.bytes.to_string());
        add("variables.evicted", variables.evicted.to_string());
        add("variables.cut", variables.cut.to_string());
        add("process_tree.ended", tree.exited.to_string());
        add("process_tree.cgroups", tree.cgroups.to_string());
        add("process_tree.image_bytes", tree.image_bytes.to_string());
        add("process_tree.trimmed", tree.trimmed.to_string());
        add("process_tree.evicted", tree.evicted.to_string());
        add("process_tree.broken", tree.broken.to_string());
        add("process_tree.healed", tree.healed.to_string());
        add("process_tree.scans", tree.scans.to_string());
        add("process_tree.slow_strings", tree.slow_strings.to_string());
        add("process_tree.incomplete", tree.incomplete.to_string());
        add("process_tree.unknown", tree.unknown.to_string());
        let seen = shared
            .source()
            .as_ref()
            .map(|source| source.classifiers_seen());
        for (name, value) in shared.protection.details() {
            add(&name, value);
        }
        for (name, value) in shared.doctor.details(&seen.unwrap_or_default().packets) {
            add(&name, value);
        }
        details
    }
}

impl RuntimeControl for Control {
    fn status(&self, params: &proto::GetStatusParams) -> proto::Status {
        let shared = &self.shared;
        let (global_variables, scoped_variables) = if params.include_secl_variables {
            self.variables()
        } else {
            Default::default()
        };
        let source = shared
            .source()
            .as_ref()
            .map(|source| source.report())
            .unwrap_or_default();
        let loaded = shared.rules.load_full();
        let (rules_loaded, rules_failed) = loaded.counts();
        let reasons = self.unhealthy_because();
        let vital = shared.pulse.vital(Instant::now());
        let age_ms = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let usage = Usage::read();
        let cost = self.cost(params.measure_ms);
        let rates = shared.stats.rates(Instant::now());
        // Apart from the rest: the lock would be held to the end of the statement, and `details` takes it too.
        let process_tree_size = shared.tree().stats().processes as u64;
        proto::Status {
            environment: Some(proto::EnvironmentStatus {
                warnings: self.warnings(&source),
                constants: None,
                kernel_lockdown: lockdown(),
                use_mmapable_maps: true,
                use_ring_buffer: true,
                use_fentry: source.tier == "lsm",
            }),
            self_tests: match shared.self_test.last() {
                Some(last) => Some(self_tests(&last)),
                None => shared
                    .self_test
                    .impossible()
                    .map(|why| proto::SelfTestsStatus {
                        error: why.to_owned(),
                        ..Default::default()
                    }),
            },
            policies_status: report::policies(&loaded),
            direct_sender_status: None,
            global_variables,
            scoped_variables: scoped_variables.into_iter().collect(),
            version: shared.options.version.clone(),
            uptime_seconds: shared.started.elapsed().as_secs(),
            pid: std::process::id(),
            healthy: reasons.is_empty(),
            reasons,
            sensor: Some(self.sensor(&source)),
            event_types: shared
                .stats
                .all()
                // A heartbeat is no event for people; it has its own place.
                .zip(rates)
                .filter(|((kind, _), _)| *kind != CaptureKind::Heartbeat)
                .map(|((kind, stats), rate)| proto::EventTypeStatus {
                    event_type: kind.name().to_owned(),
                    received: get(&stats.received),
                    lost: get(&stats.lost),
                    matched: get(&stats.matched),
                    rate_limited: get(&stats.rate_limited),
                    sent: get(&stats.sent),
                    rate_per_second: rate,
                    cost_ns: get(&stats.cost_ns),
                })
                .collect(),
            heartbeat: Some(proto::HeartbeatStatus {
                last: vital.age.map(|age| {
                    let age_ns = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
                    timestamp(epoch_now_ns().saturating_sub(age_ns))
                }),
                age_ms: vital.age.map_or(0, age_ms),
                healthy: vital.healthy,
                latency_ms: vital.latency.as_secs_f64() * 1000.0,
            }),
            spool: None,
            process_tree_size,
            rss_bytes: usage.rss_bytes,
            rules_loaded,
            rules_failed,
            live_observers: 0,
            cpu_ms: usage.cpu_ms,
            kernel_version: shared.emitter.agent.kernel_version.clone(),
            details: self.details(&source).into_iter().collect(),
            losses: shared.ledger.worst(Instant::now()),
            memory: memory::components(shared),
            sinks: self.sinks(),
            cost,
            reduced_modes: loaded
                .turned_off()
                .into_iter()
                .map(|(kind, rules)| proto::ReducedMode {
                    event_type: kind.name().to_owned(),
                    reason: loaded
                        .applied
                        .unavailable
                        .get(&kind)
                        .cloned()
                        .unwrap_or_default(),
                    rules: rules.into_iter().map(str::to_owned).collect(),
                })
                .collect(),
        }
    }

    fn run_self_test(&self) -> proto::SecuritySelfTestResultMessage {
        match self.shared.run_self_test(true) {
            Ok(outcome) => proto::SecuritySelfTestResultMessage {
                ok: outcome.passed(),
                error: outcome.reason(),
                tests: rows(&outcome),
            },
            Err(error) => proto::SecuritySelfTestResultMessage {
                ok: false,
                error,
                tests: Vec::new(),
            },
        }
    }

    fn reload_policies(&self) -> Result<proto::ReloadPoliciesResultMessage, ControlError> {
        let (loaded, diff) = self
            .shared
            .reload()
            .map_err(|error| ControlError::Failed(format!("{error}; the former rules stay")))?;
        let (rules_loaded, rules_failed) = loaded.counts();
        Ok(proto::ReloadPoliciesResultMessage {
            policies: report::policies(&loaded),
            rules_loaded,
            rules_failed,
            difference: Some(reload::to_proto(diff)),
        })
    }

    fn ruleset_report(&self) -> Result<proto::GetRuleSetReportMessage, ControlError> {
        let loaded = self.shared.rules.load_full();
        Ok(proto::GetRuleSetReportMessage {
            rule_set_report_message: Some(proto::RuleSetReportMessage {
                filters: Some(report::filters(&loaded)),
            }),
            error: String::new(),
            policies: report::policies(&loaded),
        })
    }

    fn dump_process_cache(
        &self,
        params: &proto::DumpProcessCacheParams,
    ) -> Result<proto::SecurityDumpProcessCacheMessage, ControlError> {
        // The lock is held only while the list is made; the nodes are shared.
        let mut processes = self.shared.tree().living();
        if params.pid != 0 {
            processes = dump::family(processes, params.pid).ok_or_else(|| {
                ControlError::Invalid(format!("no process {} is known", params.pid))
            })?;
        }
        let scrubber = params
            .with_args
            .then_some(&self.shared.emitter.agent.scrubber);
        let content = match params.format.as_str() {
            "" | "dot" => dump::dot(&processes, scrubber),
            "json" => dump::json(&processes, scrubber),
            other => {
                return Err(ControlError::Invalid(format!(
                    "unknown format `{other}`: it is `dot` or `json`"
                )));
            }
        };
        Ok(proto::SecurityDumpProcessCacheMessage {
            filename: String::new(),
            content,
            processes: processes.len() as u64,
        })
    }

    fn top(&self, params: &proto::TopParams) -> Result<proto::TopMessage, ControlError> {
        top::watch(&self.shared, params)
    }

    fn dump_network_namespace(
        &self,
        params: &proto::DumpNetworkNamespaceParams,
    ) -> Result<proto::DumpNetworkNamespaceMessage, ControlError> {
        namespaces::dump(&self.shared, params.snapshot_interfaces)
    }

    fn dump_discarders(&self) -> Result<proto::DumpDiscardersMessage, ControlError> {
        filters::dump(&self.shared)
    }

    fn network_doctor(&self) -> Result<proto::NetworkDoctorMessage, ControlError> {
        let report = doctor::examine(&self.shared).map_err(ControlError::Failed)?;
        let json = serde_json::to_vec(&report)
            .map_err(|error| ControlError::Failed(format!("cannot write the report: {error}")))?;
        Ok(proto::NetworkDoctorMessage {
            report: json,
            text: atalaya_network::doctor::text(&report, false),
            trouble: report.trouble,
        })
    }

    fn flare(&self, send: &mut dyn FnMut(proto::FlareMessage) -> bool) -> Result<(), ControlError> {
        let source = self.shared.options.flare.as_ref();
        let source = source.ok_or_else(|| {
            ControlError::Unavailable("this system-probe collects nothing for flares".into())
        })?;
        source.collect(Arc::new(self.clone()), send);
        Ok(())
    }

    fn config(&self) -> proto::SecurityConfigMessage {
        proto::SecurityConfigMessage {
            runtime_enabled: true,
            fim_enabled: false,
            activity_dump_enabled: false,
        }
    }
}

fn rows(outcome: &Outcome) -> Vec<proto::SelfTestRow> {
    outcome
        .rows
        .iter()
        .map(|row| proto::SelfTestRow {
            rule_id: row.rule_id.to_owned(),
            event_type: row.event_type.to_owned(),
            seen: row.latency.is_some(),
            latency_ms: row
                .latency
                .map_or(0.0, |latency| latency.as_secs_f64() * 1000.0),
            error: row.error.clone(),
        })
        .collect()
}

fn self_tests(outcome: &Outcome) -> proto::SelfTestsStatus {
    let ids = |passed: bool| {
        outcome
            .rows
            .iter()
            .filter(|row| row.latency.is_some() == passed)
            .map(|row| row.rule_id.to_owned())
            .collect()
    };
    let at = jiff::Timestamp::from_nanosecond(i128::from(outcome.at_ns)).unwrap_or_default();
    proto::SelfTestsStatus {
        last_timestamp: format!("{at:.0}"),
        success: ids(true),
        fails: ids(false),
        tests: rows(outcome),
        error: outcome.error.clone(),
    }
}

/// The word in brackets of the kernel's list.
fn lockdown() -> String {
    let text = std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    text.split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map(|(word, _)| word.to_owned())
        .unwrap_or_default()
}
