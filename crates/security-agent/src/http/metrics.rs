//! The metrics, as OpenMetrics text. Names of cgroups and processes are not in them: whoever starts processes could make as many time
//! series as he likes.

use std::fmt;
use std::sync::atomic::AtomicU64;

use atalaya_api::proto::Status;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::state::{State, Usage};

type Labels = Vec<(&'static str, String)>;
type Counts = Family<Labels, Counter<f64, AtomicU64>>;
type Values = Family<Labels, Gauge<f64, AtomicU64>>;

/// The metrics of both programs; of system-probe only that it does not answer where it does not.
pub(super) fn text(probe: Option<&Status>, agent: &State) -> Result<String, fmt::Error> {
    let mut page = Page(Registry::with_prefix("atalaya"));
    page.agent(agent);
    page.value(
        "probe_up",
        "Whether system-probe answers.",
        None,
        [(vec![], f64::from(probe.is_some()))],
    );
    if let Some(status) = probe {
        page.probe(status);
        page.events(status);
        page.rules(status);
        page.kernel(status);
        page.delivery(status);
        page.memory(status);
    }
    let mut text = String::new();
    encode(&mut text, &page.0)?;
    Ok(text)
}

struct Page(Registry);

/// A label with its value.
fn label(name: &'static str, value: &str) -> Labels {
    vec![(name, value.to_owned())]
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

impl Page {
    fn count(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        values: impl IntoIterator<Item = (Labels, f64)>,
    ) {
        let values: Vec<_> = values.into_iter().collect();
        if let [(labels, value)] = values.as_slice()
            && labels.is_empty()
        {
            let counter = Counter::<f64, AtomicU64>::default();
            counter.inc_by(*value);
            return self.register(name, help, unit, counter);
        }
        let family = Counts::default();
        for (labels, value) in values {
            family.get_or_create(&labels).inc_by(value);
        }
        self.register(name, help, unit, family);
    }

    fn value(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        values: impl IntoIterator<Item = (Labels, f64)>,
    ) {
        let values: Vec<_> = values.into_iter().collect();
        if let [(labels, value)] = values.as_slice()
            && labels.is_empty()
        {
            let gauge = Gauge::<f64, AtomicU64>::default();
            gauge.set(*value);
            return self.register(name, help, unit, gauge);
        }
        let family = Values::default();
        for (labels, value) in values {
            family.get_or_create(&labels).set(value);
        }
        self.register(name, help, unit, family);
    }

    fn register(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        metric: impl prometheus_client::registry::Metric,
    ) {
        // The library ends the sentence.
        let help = help.trim_end_matches('.');
        match unit {
            Some(unit) => self.0.register_with_unit(name, help, unit, metric),
            None => self.0.register(name, help, metric),
        }
    }

    fn agent(&mut self, agent: &State) {
        let (stored, missed, connections, connected) = agent.counters();
        let one = |value: f64| [(vec![], value)];
        self.count(
            "agent_events_stored",
            "Events that security-agent has stored.",
            None,
            one(stored as f64),
        );
        self.count(
            "agent_events_missed",
            "Events that were gone from the spool before security-agent could read them.",
            None,
            one(missed as f64),
        );
        self.count(
            "agent_connections",
            "Streams of events from system-probe that were begun.",
            None,
            one(connections as f64),
        );
        self.value(
            "agent_connected",
            "Whether there is a stream of events.",
            None,
            one(f64::from(connected)),
        );
        self.value(
            "agent_healthy",
            "Whether security-agent itself is well.",
            None,
            one(f64::from(agent.unhealthy_because().is_empty())),
        );
        let usage = Usage::read();
        self.count(
            "agent_cpu",
            "CPU time of security-agent.",
            Some(Unit::Seconds),
            one(usage.cpu_ms as f64 / 1e3),
        );
        self.value(
            "agent_resident_memory",
            "Resident memory of security-agent.",
            Some(Unit::Bytes),
            one(usage.rss_bytes as f64),
        );
    }

    fn probe(&mut self, status: &Status) {
        let one = |value: f64| [(vec![], value)];
        self.value(
            "probe_info",
            "Version, kernel and hook tier.",
            None,
            [(
                vec![
                    ("version", status.version.clone()),
                    ("kernel", status.kernel_version.clone()),
                    (
                        "tier",
                        status
                            .sensor
                            .as_ref()
                            .map(|sensor| sensor.tier.clone())
                            .unwrap_or_default(),
                    ),
                ],
                1.0,
            )],
        );
        self.value(
            "probe_healthy",
            "Whether system-probe is well.",
            None,
            one(f64::from(status.healthy)),
        );
        self.value(
            "probe_uptime",
            "For how long system-probe runs.",
            Some(Unit::Seconds),
            one(status.uptime_seconds as f64),
        );
        self.count(
            "probe_cpu",
            "CPU time of system-probe, its eBPF programs not included.",
            Some(Unit::Seconds),
            one(status.cpu_ms as f64 / 1e3),
        );
        self.value(
            "probe_resident_memory",
            "Resident memory of system-probe.",
            Some(Unit::Bytes),
            one(status.rss_bytes as f64),
        );
        self.value(
            "process_tree_processes",
            "Processes known.",
            None,
            one(status.process_tree_size as f64),
        );
        if let Some(beat) = &status.heartbeat {
            self.value(
                "heartbeat_age",
                "Since the last proof that events come through.",
                Some(Unit::Seconds),
                one(beat.age_ms as f64 / 1e3),
            );
            self.value(
                "heartbeat_latency",
                "How long it took from kernel to output.",
                Some(Unit::Seconds),
                one(beat.latency_ms / 1e3),
            );
        }
        if let Some(tests) = &status.self_tests {
            self.value(
                "self_test_events",
                "Events of the last self-test by whether they came.",
                None,
                [
                    (label("result", "seen"), tests.success.len() as f64),
                    (label("result", "not_seen"), tests.fails.len() as f64),
                ],
            );
        }
    }

    fn events(&mut self, status: &Status) {
        let each = |of: fn(&atalaya_api::proto::EventTypeStatus) -> f64| {
            let kinds = status.event_types.iter();
            kinds
                .map(|kind| (label("event_type", &kind.event_type), of(kind)))
                .collect::<Vec<_>>()
        };
        self.count(
            "events_received",
            "Events that came from the kernel.",
            None,
            each(|kind| kind.received as f64),
        );
        self.count(
            "events_lost",
            "Events lost between kernel and rules.",
            None,
            each(|kind| kind.lost as f64),
        );
        self.count(
            "events_matched",
            "Events that matched a rule.",
            None,
            each(|kind| kind.matched as f64),
        );
        self.count(
            "events_rate_limited",
            "Matches held back by a rule's rate limit.",
            None,
            each(|kind| kind.rate_limited as f64),
        );
        self.count(
            "events_sent",
            "Events written to the spool or the output.",
            None,
            each(|kind| kind.sent as f64),
        );
        self.count(
            "events_cost",
            "CPU time of the event loop, extrapolated from samples.",
            Some(Unit::Seconds),
            each(|kind| seconds(kind.cost_ns)),
        );
    }

    fn rules(&mut self, status: &Status) {
        self.value(
            "rules",
            "Rules by state.",
            None,
            [
                (label("state", "loaded"), f64::from(status.rules_loaded)),
                (label("state", "error"), f64::from(status.rules_failed)),
            ],
        );
        let each = |of: fn(&atalaya_api::proto::RuleStatus) -> f64| {
            let rules = status.policies_status.iter().flat_map(|p| &p.status);
            rules
                .filter(|rule| rule.status == "loaded")
                .map(|rule| (label("rule_id", &rule.id), of(rule)))
                .collect::<Vec<_>>()
        };
        self.count(
            "rule_matches",
            "How often a rule matched.",
            None,
            each(|rule| rule.matches as f64),
        );
        self.count(
            "rule_rate_limited",
            "How many matches sent no event because of the rule's rate limit.",
            None,
            each(|rule| rule.rate_limited as f64),
        );
        self.count(
            "rule_evaluations",
            "How often a rule was evaluated, extrapolated from samples.",
            None,
            each(|rule| rule.evaluations as f64),
        );
        self.count(
            "rule_cost",
            "CPU time for a rule's evaluation, actions and events, extrapolated from samples.",
            Some(Unit::Seconds),
            each(|rule| seconds(rule.evaluation_ns + rule.action_ns)),
        );
        self.value(
            "reduced_mode",
            "Rules that are off because their event type cannot be seen here.",
            None,
            status.reduced_modes.iter().map(|mode| {
                let rules = mode.rules.len();
                (label("event_type", &mode.event_type), rules as f64)
            }),
        );
    }

    fn kernel(&mut self, status: &Status) {
        let Some(sensor) = &status.sensor else {
            return;
        };
        let one = |value: f64| [(vec![], value)];
        self.value(
            "programs_attached",
            "Attached eBPF programs.",
            None,
            one(sensor.programs_attached.len() as f64),
        );
        self.value(
            "hooks_missing",
            "Hooks that could not be attached.",
            None,
            one(sensor.missing.len() as f64),
        );
        self.count(
            "records_malformed",
            "Records that could not be decoded.",
            None,
            one(sensor.malformed_records as f64),
        );
        let rings = || sensor.rings.iter();
        self.value(
            "ring_size",
            "Size of a ring buffer.",
            Some(Unit::Bytes),
            rings().map(|ring| (label("ring", &ring.name), ring.bytes as f64)),
        );
        let known = |of: fn(&atalaya_api::proto::RingStatus) -> Option<u64>| {
            rings().filter_map(move |ring| Some((label("ring", &ring.name), of(ring)? as f64)))
        };
        self.value(
            "ring_waiting",
            "What waited to be read when the reader last looked.",
            Some(Unit::Bytes),
            known(|ring| ring.waiting_bytes),
        );
        self.value(
            "ring_high_water",
            "The most that ever waited.",
            Some(Unit::Bytes),
            known(|ring| ring.high_water_bytes),
        );
        self.count(
            "ring_records_received",
            "Records read.",
            None,
            rings().map(|ring| (label("ring", &ring.name), ring.received as f64)),
        );
        self.count(
            "ring_records_lost",
            "Records that did not fit.",
            None,
            rings().map(|ring| (label("ring", &ring.name), ring.lost as f64)),
        );
        // Only where the kernel always counts.
        if let Some(cost) = &status.cost {
            let programs = || cost.programs.iter();
            self.count(
                "program_runs",
                "How often an eBPF program ran since it is counted.",
                None,
                programs().map(|one| (label("program", &one.name), one.runs as f64)),
            );
            self.count(
                "program_cost",
                "For how long an eBPF program ran since it is counted.",
                Some(Unit::Seconds),
                programs().map(|one| (label("program", &one.name), seconds(one.run_time_ns))),
            );
        }
    }

    fn delivery(&mut self, status: &Status) {
        let Some(spool) = &status.spool else { return };
        let one = |value: u64| [(vec![], value as f64)];
        self.value(
            "spool_size",
            "Events waiting on disk.",
            Some(Unit::Bytes),
            one(spool.bytes),
        );
        self.value(
            "spool_limit",
            "What may wait on disk.",
            Some(Unit::Bytes),
            one(spool.max_bytes),
        );
        self.value("spool_events", "Events kept.", None, one(spool.records));
        self.count(
            "spool_dropped",
            "Events deleted by the quota, or that found no place at all.",
            None,
            one(spool.dropped),
        );
        self.count(
            "spool_corrupt",
            "Damaged records found.",
            None,
            one(spool.corrupt),
        );
        self.value(
            "spool_in_memory",
            "Events in memory because the disk refuses them.",
            None,
            one(spool.in_memory),
        );
        let consumers = || spool.consumers.iter();
        self.value(
            "consumer_lag",
            "Events that a consumer has not acknowledged.",
            None,
            consumers().map(|one| (label("consumer", &one.name), one.lag as f64)),
        );
        self.count(
            "consumer_missed",
            "Events deleted before a consumer read them.",
            None,
            consumers().map(|one| (label("consumer", &one.name), one.missed as f64)),
        );
        self.value(
            "live_observers",
            "Observers connected now.",
            None,
            one(status.live_observers.into()),
        );
    }

    fn memory(&mut self, status: &Status) {
        let parts = || status.memory.iter();
        self.value(
            "memory",
            "Memory of a component.",
            Some(Unit::Bytes),
            parts().map(|part| (label("component", &part.component), part.bytes as f64)),
        );
        self.value(
            "memory_budget",
            "What a component may take.",
            Some(Unit::Bytes),
            parts().filter(|part| part.budget_bytes > 0).map(|part| {
                (
                    label("component", &part.component),
                    part.budget_bytes as f64,
                )
            }),
        );
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use atalaya_api::proto;

    #[test]
    fn a_rule_cannot_break_out_of_its_label() {
        let evil = "a\"} 1\natalaya_probe_up 7\n\\";
        let status = Status {
            policies_status: vec![proto::PolicyStatus {
                status: vec![proto::RuleStatus {
                    id: evil.into(),
                    status: "loaded".into(),
                    matches: 3,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let text = text(Some(&status), &State::new()).unwrap();
        let line = r#"atalaya_rule_matches_total{rule_id="a\"} 1\natalaya_probe_up 7\n\\"} 3.0"#;
        assert!(text.lines().any(|one| one == line), "{text}");
        assert!(
            !text.lines().any(|one| one == "atalaya_probe_up 7"),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn a_probe_that_does_not_answer_is_told() {
        let text = text(None, &State::new()).unwrap();
        assert!(text.contains("\natalaya_probe_up 0.0\n"), "{text}");
        assert!(
            text.contains("\natalaya_agent_events_stored_total 0.0\n"),
            "{text}"
        );
        assert!(!text.contains("atalaya_events_received"), "{text}");
    }
}
