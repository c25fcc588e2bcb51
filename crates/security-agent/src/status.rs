//! `status`: everything about the probe's state on a page.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use atalaya_api::proto::{GetStatusParams, Status};
use atalaya_api::{Client, Sanitized, sanitize_json};
use atalaya_config::Config;

use crate::cli::out;
use crate::line::Style;
use crate::policy::{errors, policy_line};
use crate::self_test;

/// Exit code when the probe cannot be asked.
const UNREACHABLE: u8 = 2;

/// Prints the state. 0: healthy, 1: not, 2: cannot be reached.
pub(crate) async fn run(config: &Config, json: bool, color: bool) -> Result<ExitCode> {
    let status = match ask(config).await {
        Ok(status) => status,
        Err(e) => {
            let error = atalaya_api::chain(e.as_ref());
            if json {
                let text =
                    serde_json::json!({"healthy": false, "reachable": false, "reasons": [error]});
                out(&format!("{}\n", sanitize_json(&text.to_string())));
            } else {
                eprintln!("Error: {}", Sanitized(&error));
            }
            return Ok(UNREACHABLE.into());
        }
    };
    if json {
        let mut value = serde_json::to_value(&status)?;
        if let Some(object) = value.as_object_mut() {
            object.insert("reachable".into(), true.into());
        }
        let text = serde_json::to_string_pretty(&value)?;
        out(&format!("{}\n", sanitize_json(&text)));
    } else {
        out(&page(&status, Style { color }));
    }
    Ok(if status.healthy {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn ask(config: &Config) -> Result<Status> {
    let mut client = Client::connect(&config.socket).await?;
    let params = GetStatusParams {
        include_secl_variables: true,
    };
    let asked = tokio::time::timeout(Duration::from_secs(10), client.commands.get_status(params));
    let answered = asked
        .await
        .context("system-probe does not answer within 10 s")?;
    Ok(answered
        .map_err(|s| anyhow::anyhow!("{}", s.message()))?
        .into_inner())
}

fn page(status: &Status, style: Style) -> String {
    let mut page = Page {
        text: String::new(),
        style,
    };
    page.head(status);
    page.self_tests(status);
    page.policies(status);
    page.environment(status);
    page.events(status);
    page.spool(status);
    page.variables(status);
    page.network(status);
    page.text
}

struct Page {
    text: String,
    style: Style,
}

// Writing to a String cannot fail, so results are dropped.
impl Page {
    fn title(&mut self, title: &str) {
        let title = self.style.paint("1", title);
        let _ = writeln!(
            self.text,
            "{}{title}",
            if self.text.is_empty() { "" } else { "\n" }
        );
    }

    fn row(&mut self, name: &str, value: impl std::fmt::Display) {
        let value = value.to_string();
        if !value.is_empty() {
            let _ = writeln!(self.text, "  {name}: {}", Sanitized(&value));
        }
    }

    fn item(&mut self, value: &str) {
        let _ = writeln!(self.text, "    - {}", Sanitized(value));
    }

    fn items(&mut self, name: &str, values: &[String]) {
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
            "  {:<12} {:>12} {:>8} {:>10} {:>12} {:>10}",
            "type", "received", "lost", "matched", "rate-limited", "sent"
        );
        for kind in &status.event_types {
            let _ = writeln!(
                self.text,
                "  {:<12} {:>12} {:>8} {:>10} {:>12} {:>10}",
                Sanitized(&kind.event_type).to_string(),
                kind.received,
                kind.lost,
                kind.matched,
                kind.rate_limited,
                kind.sent
            );
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

/// As `3d 4h 5m`: the two or three largest units.
fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, m) => format!("{m}m {}s", seconds % 60),
        (0, h, m) => format!("{h}h {m}m"),
        (d, h, m) => format!("{d}d {h}h {m}m"),
    }
}

fn bytes(n: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = "B";
    for next in units {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" {
        format!("{n} B")
    } else {
        format!("{value:.1} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atalaya_api::proto;

    #[test]
    fn numbers_for_people() {
        assert_eq!(
            [0, 59, 61, 7265, 90061].map(span),
            ["0s", "59s", "1m 1s", "2h 1m", "1d 1h 1m"]
        );
        assert_eq!(
            [0, 1023, 1024, 48 << 20].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "48.0 MiB"]
        );
    }

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
}
