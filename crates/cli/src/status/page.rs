//! The page that `status` prints.

use std::fmt::Write;

use atalaya_api::Sanitized;
use atalaya_api::proto::Status;
use serde_json::Value;

use super::numbers::{bytes, each, span};
use crate::line::Style;
use crate::policy::{errors, policy_line};
use crate::self_test;

/// The whole page.
pub(super) fn page(status: &Status, style: Style) -> String {
    let mut page = Page {
        text: String::new(),
        style,
    };
    page.head(status);
    page.self_tests(status);
    page.policies(status);
    page.environment(status);
    page.events(status);
    page.losses(status);
    page.costs(status);
    page.memory(status);
    page.spool(status);
    page.variables(status);
    page.network(status);
    page.text
}

/// What security-agent says of itself, or why it says nothing.
pub(super) fn agent(agent: &Value, style: Style) -> String {
    let mut page = Page {
        text: String::new(),
        style,
    };
    page.title("Security agent");
    if let Some(error) = agent["error"].as_str() {
        page.row("State", format!("not known: {error}"));
        return page.text;
    }
    let number = |name: &str| agent[name].as_u64().unwrap_or(0);
    let word = |name: &str| agent[name].as_str().unwrap_or_default().to_owned();
    let healthy = agent["healthy"] == true;
    page.row("State", if healthy { "healthy" } else { "NOT HEALTHY" });
    let reasons = agent["reasons"].as_array().into_iter().flatten();
    let reasons: Vec<String> = reasons
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    page.items("Because", &reasons);
    page.row("Version", word("version"));
    page.row("PID", format!("{}, user {}", number("pid"), number("uid")));
    page.row("Up for", span(number("uptime_seconds")));
    page.row("Memory", bytes(number("rss_bytes")));
    let cpu = number("cpu_ms") as f64 / 1000.0;
    page.row("CPU time", format!("{cpu:.1} s"));
    let stream = if agent["connected"] == true {
        "connected"
    } else {
        "not connected"
    };
    page.row("Stream of events", stream);
    let last = match agent["last_stored_seconds_ago"].as_u64() {
        Some(seconds) => format!(", the last {} ago", span(seconds)),
        None => String::new(),
    };
    page.row(
        "Events stored",
        format!("{}{last}", number("events_stored")),
    );
    match number("events_missed") {
        0 => {}
        missed => page.row("Events missed", missed),
    }
    page.text
}

/// A page that grows.
pub(super) struct Page {
    pub(super) text: String,
    pub(super) style: Style,
}

// Writing to a String cannot fail, so results are dropped.
impl Page {
    pub(super) fn title(&mut self, title: &str) {
        let title = self.style.paint("1", title);
        let _ = writeln!(
            self.text,
            "{}{title}",
            if self.text.is_empty() { "" } else { "\n" }
        );
    }

    pub(super) fn row(&mut self, name: &str, value: impl std::fmt::Display) {
        let value = value.to_string();
        if !value.is_empty() {
            let _ = writeln!(self.text, "  {name}: {}", Sanitized(&value));
        }
    }

    pub(super) fn item(&mut self, value: &str) {
        let _ = writeln!(self.text, "    - {}", Sanitized(value));
    }

    pub(super) fn items(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            let _ = writeln!(self.text, "  {name}:");
            for value in values {
                self.item(value);
            }
        }
    }

    fn head(&mut self, status: &Status) {
        self.title("Runtime security");
        let health = if status.healthy {
            self.style.paint("32", "healthy")
        } else {
            self.style.paint("31", "NOT HEALTHY")
        };
        let _ = writeln!(self.text, "  State: {health}");
        self.items("Because", &status.reasons);
        if let Some(environment) = &status.environment {
            self.items("Warnings", &environment.warnings);
        }
        self.row("Version", &status.version);
        self.row("PID", status.pid);
        self.row("Up for", span(status.uptime_seconds));
        self.row("Memory", bytes(status.rss_bytes));
        self.row(
            "CPU time",
            format!("{:.1} s", status.cpu_ms as f64 / 1000.0),
        );
        self.row("Processes known", status.process_tree_size);
        if let Some(beat) = &status.heartbeat {
            let last = match &beat.last {
                Some(_) => format!(
                    "{:.1} s ago, took {:.1} ms",
                    beat.age_ms as f64 / 1000.0,
                    beat.latency_ms
                ),
                None => "none yet".to_owned(),
            };
            let health = if beat.healthy { "" } else { " (TOO OLD)" };
            self.row("Heartbeat", format!("{last}{health}"));
        }
    }

    fn self_tests(&mut self, status: &Status) {
        self.title("Self-test");
        let Some(tests) = &status.self_tests else {
            return self.row("Last run", "none yet");
        };
        match tests.last_timestamp.as_str() {
            // Where there will be none, the error says why.
            "" if !tests.error.is_empty() => self.row("Last run", "none"),
            "" => self.row("Last run", "none yet"),
            time => self.row("Last run", time),
        }
        self.row("Error", &tests.error);
        if tests.tests.is_empty() {
            self.items("Succeeded", &tests.success);
            self.items("Failed", &tests.fails);
        } else {
            self.text.push_str(&self_test::rows(&tests.tests));
        }
    }

    fn policies(&mut self, status: &Status) {
        self.title("Policies");
        self.row("Rules loaded", status.rules_loaded);
        self.row("Rules rejected", status.rules_failed);
        for policy in &status.policies_status {
            let _ = writeln!(self.text, "  {}", policy_line(policy));
        }
        for error in errors(&status.policies_status) {
            let first = error.lines().next().unwrap_or_default();
            let _ = writeln!(
                self.text,
                "    {} {first}",
                self.style.paint("31", "error:")
            );
        }
    }

    fn environment(&mut self, status: &Status) {
        self.title("Kernel");
        self.row("Version", &status.kernel_version);
        if let Some(environment) = &status.environment {
            self.row("Lockdown", &environment.kernel_lockdown);
        }
        let Some(sensor) = &status.sensor else { return };
        self.row("Hook tier", &sensor.tier);
        self.row("Because", &sensor.tier_reason);
        self.row("Programs attached", sensor.programs_attached.len());
        for mode in &status.reduced_modes {
            let rules = match mode.rules.as_slice() {
                [] => "no rule".to_owned(),
                rules => format!("rules {}", rules.join(", ")),
            };
            self.item(&format!(
                "reduced mode, no {} events: {}; turned off: {rules}",
                mode.event_type, mode.reason
            ));
        }
        for missing in &sensor.missing {
            let off = match missing.turns_off.as_slice() {
                [] => String::new(),
                off => format!("; turned off: {}", off.join(", ")),
            };
            self.item(&format!(
                "missing {}: {}{off}",
                missing.hook, missing.reason
            ));
        }
        for ring in &sensor.rings {
            let (size, received, lost) = (bytes(ring.bytes), ring.received, ring.lost);
            self.row(
                &format!("Ring {}", Sanitized(&ring.name)),
                format!("{size}, {received} received, {lost} lost"),
            );
        }
        if sensor.malformed_records > 0 {
            self.row("Malformed records", sensor.malformed_records);
        }
    }

    fn events(&mut self, status: &Status) {
        if status.event_types.is_empty() {
            return;
        }
        self.title("Events");
        let _ = writeln!(
            self.text,
            "  {:<20} {:>12} {:>8} {:>8} {:>10} {:>12} {:>10} {:>9}",
            "type", "received", "per s", "lost", "matched", "rate-limited", "sent", "each"
        );
        let (busy, quiet): (Vec<_>, Vec<_>) = status
            .event_types
            .iter()
            .partition(|kind| kind.received + kind.lost > 0);
        for kind in busy {
            let _ = writeln!(
                self.text,
                "  {:<20} {:>12} {:>8.1} {:>8} {:>10} {:>12} {:>10} {:>9}",
                Sanitized(&kind.event_type).to_string(),
                kind.received,
                kind.rate_per_second,
                kind.lost,
                kind.matched,
                kind.rate_limited,
                kind.sent,
                each(kind.cost_ns, kind.received)
            );
        }
        if !quiet.is_empty() {
            self.item(&format!("{} more types, of which none came", quiet.len()));
        }
    }

    fn spool(&mut self, status: &Status) {
        let Some(spool) = &status.spool else { return };
        self.title("Delivery");
        self.row("Spool", &spool.dir);
        self.row(
            "Size",
            format!(
                "{} of {}, {} events",
                bytes(spool.bytes),
                bytes(spool.max_bytes),
                spool.records
            ),
        );
        if spool.dropped + spool.corrupt + spool.in_memory > 0 {
            let text = format!(
                "{} dropped, {} damaged, {} in memory",
                spool.dropped, spool.corrupt, spool.in_memory
            );
            self.row("Trouble", text);
        }
        self.row("Error", &spool.error);
        for consumer in &spool.consumers {
            let state = if consumer.connected {
                "connected"
            } else {
                "not connected"
            };
            let text = format!(
                "{state}, {} events behind, {} missed",
                consumer.lag, consumer.missed
            );
            self.row(&format!("Consumer {}", Sanitized(&consumer.name)), text);
        }
        if spool.consumers.is_empty() {
            self.row("Consumers", "none has come yet");
        }
        self.row("Live observers", status.live_observers);
        for sink in &status.sinks {
            let text = format!(
                "{} dropped because its reader is too slow, {} not written",
                sink.dropped, sink.failed
            );
            self.row(&Sanitized(&sink.name).to_string(), text);
        }
    }

    /// Classifiers, and the packets that they have seen at each interface.
    fn network(&mut self, status: &Status) {
        let mut rows: Vec<_> = status
            .details
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix("network.")?, value)))
            .collect();
        if rows.is_empty() {
            return;
        }
        rows.sort();
        self.title("Network");
        for (name, value) in rows {
            self.row(&Sanitized(name).to_string(), value);
        }
    }

    fn variables(&mut self, status: &Status) {
        if status.global_variables.is_empty() && status.scoped_variables.is_empty() {
            return;
        }
        self.title("Variables");
        for variable in &status.global_variables {
            self.row(&Sanitized(&variable.name).to_string(), &variable.value);
        }
        for (scope, store) in &status.scoped_variables {
            for (holder, list) in &store.key_values {
                for variable in &list.variables {
                    let name = format!("{scope}[{holder}].{}", variable.name);
                    self.row(&Sanitized(&name).to_string(), &variable.value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atalaya_api::proto;

    #[test]
    fn the_page_tells_what_is_wrong_and_is_safe() {
        let evil = "\x1b[2J\u{202e}";
        let status = Status {
            healthy: false,
            reasons: vec!["no heartbeat for 20 s".into(), evil.into()],
            version: "0.1.0".into(),
            sensor: Some(proto::SensorStatus {
                tier: "tracepoint".into(),
                missing: vec![proto::MissingHook {
                    hook: "io_uring_submit_req".into(),
                    reason: "not in this kernel".into(),
                    turns_off: vec!["open by io_uring".into()],
                }],
                ..Default::default()
            }),
            policies_status: vec![proto::PolicyStatus {
                name: "default.policy".into(),
                source: "file".into(),
                status: vec![
                    proto::RuleStatus {
                        id: evil.into(),
                        status: "error".into(),
                        error: "unknown field `x`\n  x == 1\n  ^".into(),
                        ..Default::default()
                    },
                    proto::RuleStatus {
                        id: "off".into(),
                        status: "disabled".into(),
                        filter_type: "disabled".into(),
                        ..Default::default()
                    },
                ],
                ..Default::default()
            }],
            ..Default::default()
        };
        let text = page(&status, Style { color: false });
        for part in [
            "State: NOT HEALTHY",
            "- no heartbeat for 20 s",
            "missing io_uring_submit_req: not in this kernel; turned off: open by io_uring",
            "default.policy (file): 0 rules loaded, 1 filtered out, 1 rejected",
            "unknown field `x`\n",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains(|c| c != '\n' && atalaya_api::is_dangerous(c)));
    }

    #[test]
    fn costs_losses_and_memory_are_told() {
        let status = Status {
            uptime_seconds: 100,
            cpu_ms: 1000,
            policies_status: vec![proto::PolicyStatus {
                status: vec![proto::RuleStatus {
                    id: "my_rule".into(),
                    status: "loaded".into(),
                    evaluations: 1000,
                    evaluation_ns: 250_000,
                    matches: 10,
                    action_ns: 100_000,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            losses: vec![proto::LossStatus {
                event_type: "open".into(),
                cgroup: "/a\x1b[2J".into(),
                count: 77,
                ..Default::default()
            }],
            memory: vec![proto::MemoryStatus {
                component: "variables".into(),
                bytes: 1 << 20,
                budget_bytes: 16 << 20,
                kernel: false,
            }],
            cost: Some(proto::CostStatus {
                interval_ms: 2000,
                own_ns: 20_000_000,
                programs: vec![proto::ProgramCost {
                    name: "open__exit".into(),
                    runs: 4000,
                    run_time_ns: 2_000_000,
                    ..Default::default()
                }],
                error: String::new(),
            }),
            sensor: Some(proto::SensorStatus {
                rings: vec![proto::RingStatus {
                    name: "bulk".into(),
                    bytes: 1000,
                    waiting_bytes: Some(0),
                    high_water_bytes: Some(250),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            reduced_modes: vec![proto::ReducedMode {
                event_type: "mount".into(),
                reason: "no hook".into(),
                rules: vec!["a".into(), "b".into()],
            }],
            ..Default::default()
        };
        let text = page(&status, Style { color: false });
        let squeezed = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "reduced mode, no mount events: no hook; turned off: rules a, b",
            "open: 77 in /a\\x1b[2J, last 0 s ago",
            "system-probe: 1.00 % of a core since it started",
            "1.00 % of a core by system-probe, 0.10 % by its programs in 2.0 s",
            "open__exit 4000 500 ns 2.0 ms 0.10 %",
            "my_rule 1000 250 ns 10 10.0 µs 0.00 %",
            "variables: 1.0 MiB of 16.0 MiB",
            "ring bulk: 0.0 % full, at most 25.0 %",
        ] {
            assert!(squeezed.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains(|c| c != '\n' && atalaya_api::is_dangerous(c)));
    }
}
