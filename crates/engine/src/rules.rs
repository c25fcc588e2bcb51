//! The rules in force, and what they need from the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use atalaya_model::capture::{Approvers, CAPTURE_KINDS, CaptureKind, PacketFilters};
use atalaya_policy::{InternalPolicy, LoadOptions, LoadReport, Rule, RuleSet, Status, Texts};

use crate::options::{EngineOptions, LiveOptions};
use crate::source::{ApplyReport, Interest};
use crate::{packets, protection, pulse, selftest};

/// What a rule has done.
#[derive(Debug, Default)]
pub(crate) struct RuleCounters {
    /// How often it has matched.
    pub(crate) matched: AtomicU64,
    /// How many of these were held back by its rate limit.
    pub(crate) rate_limited: AtomicU64,
    /// How often it was evaluated, extrapolated from samples like the next two.
    pub(crate) evaluations: AtomicU64,
    /// CPU time of these evaluations.
    pub(crate) evaluation_ns: AtomicU64,
    /// CPU time of its actions and of writing its events.
    pub(crate) action_ns: AtomicU64,
}

/// One load of the policies: immutable but for its counters.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) ruleset: RuleSet,
    pub(crate) report: LoadReport,
    /// The counters of each rule, by [`Rule::index`].
    pub(crate) counters: Vec<Arc<RuleCounters>>,
    pub(crate) interest: Interest,
    pub(crate) applied: ApplyReport,
    /// Distinguishes loads.
    pub(crate) generation: u64,
    /// Kinds that some rule is about.
    wanted: [bool; CAPTURE_KINDS.len()],
}

impl Loaded {
    /// Reads and compiles the policies. Never fails: see the report. Of a file that is no policy any more, the `earlier` text
    /// counts.
    pub(crate) fn read(
        options: &EngineOptions,
        live: &LiveOptions,
        self_test: Option<InternalPolicy>,
        generation: u64,
        earlier: Texts,
        filters: &PacketFilters,
    ) -> Self {
        let mut internal = vec![pulse::policy()];
        if options.protection.enabled {
            internal.push(protection::policy());
        }
        internal.extend(self_test);
        let (ruleset, report) = RuleSet::load(
            atalaya_model::schema(),
            &LoadOptions {
                policies_dir: Some(live.policies_dir.clone()),
                internal,
                earlier,
                host: options.host.clone(),
                agent_version: live.agent_version.clone(),
                ..LoadOptions::default()
            },
        );
        let counters = ruleset.rules().iter().map(|_| Arc::default()).collect();
        let interest = interest(&ruleset, options, live, filters);
        let wanted = CAPTURE_KINDS.map(|kind| ruleset.has_rules(kind.name()));
        Self {
            ruleset,
            report,
            counters,
            interest,
            applied: ApplyReport::default(),
            generation,
            wanted,
        }
    }

    /// No rules at all: before the first load.
    pub(crate) fn none() -> Self {
        Self {
            ruleset: RuleSet::default(),
            report: LoadReport::default(),
            counters: Vec::new(),
            interest: Interest::default(),
            applied: ApplyReport::default(),
            generation: 0,
            wanted: [false; CAPTURE_KINDS.len()],
        }
    }

    /// Rules that are as they were go on with the counters that they had.
    pub(crate) fn keep_counters(&mut self, old: &Self) {
        let earlier: BTreeMap<&str, &Rule> = old
            .ruleset
            .rules()
            .iter()
            .map(|rule| (rule.id.as_str(), rule))
            .collect();
        for (rule, counters) in self.ruleset.rules().iter().zip(&mut self.counters) {
            if let Some(earlier) = earlier.get(rule.id.as_str())
                && rule.is_same_as(earlier)
                && let Some(known) = old.counters.get(earlier.index())
            {
                *counters = Arc::clone(known);
            }
        }
    }

    /// Whether some rule is about this kind.
    pub(crate) fn wants(&self, kind: CaptureKind) -> bool {
        CAPTURE_KINDS
            .iter()
            .position(|known| *known == kind)
            .is_some_and(|index| self.wanted[index])
    }

    /// Rules that can never match because their events cannot be seen here, by event type.
    pub(crate) fn turned_off(&self) -> BTreeMap<CaptureKind, Vec<&str>> {
        self.applied
            .unavailable
            .keys()
            .map(|kind| (*kind, self.rules_of(*kind)))
            .collect()
    }

    /// The ids of the rules about a kind.
    pub(crate) fn rules_of(&self, kind: CaptureKind) -> Vec<&str> {
        self.ruleset
            .rules_for(kind.name())
            .map(|rule| rule.id.as_str())
            .collect()
    }

    /// Rules loaded and refused, internal ones not counted.
    pub(crate) fn counts(&self) -> (u32, u32) {
        let mut counts = (0, 0);
        for rule in self
            .report
            .policies
            .iter()
            .filter(|policy| !policy.internal)
            .flat_map(|policy| &policy.rules)
        {
            match rule.status {
                // What changes a rule of an earlier policy is none of its own.
                Status::Loaded if rule.merged_into.is_some() => {}
                Status::Loaded | Status::PartiallyLoaded => counts.0 += 1,
                Status::Error => counts.1 += 1,
                Status::Filtered => {}
            }
        }
        counts
    }
}

/// Whether the rule is one of the agent's own with this source.
pub(crate) fn is_internal(rule: &Rule, source: &str) -> bool {
    rule.policy.internal && rule.policy.source == source
}

/// What the kernel must send so that no rule misses an event: file events by their necessary conditions. Life-cycle
/// captures come always, for the process tree.
fn interest(
    ruleset: &RuleSet,
    options: &EngineOptions,
    live: &LiveOptions,
    before: &PacketFilters,
) -> Interest {
    let kinds: BTreeSet<CaptureKind> = ruleset
        .event_types()
        .filter_map(CaptureKind::from_name)
        .filter(|kind| *kind >= CaptureKind::Open)
        .chain(follows_capabilities(ruleset).then_some(CaptureKind::Capabilities))
        .collect();
    let mut approvers: BTreeMap<CaptureKind, Approvers> = kinds
        .into_iter()
        .map(|kind| (kind, convert(ruleset.approvers(kind.name()))))
        .collect();
    if live.packets.enabled && options.hostnames.enabled && follows_hostnames(ruleset) {
        let answers = approvers.entry(CaptureKind::Dns).or_default();
        answers.all = true;
        answers
            .all_because
            .push("the names of addresses come from the answers".to_owned());
    }
    let (filters, left) = packets::filters(ruleset, before);
    if !left.is_empty() {
        tracing::warn!(
            filters = ?left,
            "there are more packet filters than {} of rules and {} of actions: these are not run",
            PacketFilters::RULES,
            PacketFilters::ACTIONS
        );
    }
    if !filters.actions.is_empty() {
        // Who has packets dropped is the classifiers, which are there while packets are wanted.
        approvers.entry(CaptureKind::Packet).or_insert(Approvers {
            all: true,
            ..Approvers::default()
        });
    }
    Interest {
        approvers,
        capture_all_errors: live.capture_all_errors,
        packets: live.packets,
        filters,
    }
}

/// Whether rules ask for the names of addresses: they are known from the answers of DNS.
fn follows_hostnames(ruleset: &RuleSet) -> bool {
    let names = ["connect.addr.hostname", "accept.addr.hostname"];
    let is_of = |field: &str| names.iter().any(|name| field.starts_with(name));
    ruleset.fields(None).iter().any(|field| is_of(&field.name))
}

/// Whether rules of other events ask for what capabilities a process has used: it is known from the events of their use.
fn follows_capabilities(ruleset: &RuleSet) -> bool {
    ruleset.fields(None).iter().any(|field| {
        let field = field.name.rsplit('.').next();
        matches!(field, Some("caps_used" | "caps_attempted"))
    })
}

fn convert(approvers: atalaya_policy::Approvers) -> Approvers {
    let atalaya_policy::Approvers {
        all,
        all_because,
        basenames,
        paths,
        directories,
        flags,
        numbers,
        masks,
    } = approvers;
    Approvers {
        all,
        all_because,
        basenames,
        paths,
        directories,
        flags,
        numbers,
        masks,
    }
}

/// A policy of the agent's own, as YAML. The strings are quoted by the rules of JSON, of which YAML takes all.
pub(crate) fn internal_policy(
    name: &str,
    source: &str,
    rules: &[(&str, String, &str, bool)],
) -> InternalPolicy {
    let rules: Vec<serde_json::Value> = rules
        .iter()
        .map(|(id, expression, description, silent)| {
            serde_json::json!({
                "id": id,
                "version": "1.0.0",
                "description": description,
                "expression": expression,
                "silent": silent,
            })
        })
        .collect();
    InternalPolicy {
        name: name.to_owned(),
        source: source.to_owned(),
        content: serde_json::json!({ "version": "1.0.0", "rules": rules }).to_string(),
    }
}

/// The policies' names, for the `heartbeat` event: those that people wrote.
pub(crate) fn policy_infos(report: &LoadReport) -> Vec<atalaya_model::json::PolicyInfo> {
    report
        .policies
        .iter()
        .filter(|policy| policy.source != selftest::SOURCE && policy.source != pulse::SOURCE)
        .map(|policy| atalaya_model::json::PolicyInfo {
            name: policy.name.clone(),
            version: policy.version.clone(),
            source: policy.source.clone(),
        })
        .collect()
}
