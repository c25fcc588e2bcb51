//! What it costs: eBPF programs, rules, memory; and what was lost.

use std::fmt::Write;

use atalaya_api::Sanitized;
use atalaya_api::proto::{CostStatus, RuleStatus, Status};

use super::numbers::{bytes, count, each, of_a_core, time};
use super::page::Page;

/// So many programs, and so many rules, are shown on a page; `--json` has all.
const SHOWN: usize = 15;

// Writing to a String cannot fail, so results are dropped.
impl Page {
    /// What was lost, by type and cgroup.
    pub(super) fn losses(&mut self, status: &Status) {
        if status.losses.is_empty() {
            return;
        }
        self.title("Losses");
        for loss in status.losses.iter().take(SHOWN) {
            let place = match (loss.cgroup.as_str(), loss.cgroup_id) {
                ("", 0) => "several cgroups".to_owned(),
                ("", id) => format!("cgroup {id}"),
                (path, _) => path.to_owned(),
            };
            let text = format!(
                "{} in {place}, last {} s ago",
                loss.count,
                loss.age_ms / 1000
            );
            self.row(&Sanitized(&loss.event_type).to_string(), text);
        }
        self.more(status.losses.len());
    }

    /// What programs and rules cost.
    pub(super) fn costs(&mut self, status: &Status) {
        self.title("Cost");
        let uptime_ms = status.uptime_seconds.saturating_mul(1000);
        let own = status.cpu_ms.saturating_mul(1_000_000);
        let own = of_a_core(own, uptime_ms);
        self.row("system-probe", format!("{own} of a core since it started"));
        match &status.cost {
            Some(cost) => self.programs(cost),
            None => self.row(
                "Programs",
                "not measured: the kernel counts on request (status --cost)",
            ),
        }
        let mut rules: Vec<&RuleStatus> = status
            .policies_status
            .iter()
            .flat_map(|policy| &policy.status)
            .filter(|rule| rule.evaluations > 0)
            .collect();
        if rules.is_empty() {
            return;
        }
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.evaluation_ns + rule.action_ns));
        let _ = writeln!(
            self.text,
            "  {:<44} {:>11} {:>9} {:>9} {:>9} {:>9}",
            "rule (estimated from samples)", "evaluated", "each", "matched", "action", "% core"
        );
        for rule in rules.iter().take(SHOWN) {
            let _ = writeln!(
                self.text,
                "  {:<44} {:>11} {:>9} {:>9} {:>9} {:>9}",
                Sanitized(&rule.id).to_string(),
                count(rule.evaluations),
                each(rule.evaluation_ns, rule.evaluations),
                count(rule.matches),
                each(rule.action_ns, rule.matches),
                of_a_core(rule.evaluation_ns + rule.action_ns, uptime_ms)
            );
        }
        self.more(rules.len());
    }

    fn programs(&mut self, cost: &CostStatus) {
        self.row(
            "In the interval",
            format!(
                "{} of a core by system-probe, {} by its programs in {:.1} s",
                of_a_core(cost.own_ns, cost.interval_ms),
                of_a_core(
                    cost.programs.iter().map(|p| p.run_time_ns).sum(),
                    cost.interval_ms
                ),
                cost.interval_ms as f64 / 1000.0
            ),
        );
        if !cost.error.is_empty() {
            self.row("Programs", format!("not counted: {}", cost.error));
        }
        if cost.programs.is_empty() {
            return;
        }
        let _ = writeln!(
            self.text,
            "  {:<44} {:>11} {:>9} {:>9} {:>9}",
            "program", "runs", "each", "total", "% core"
        );
        for program in cost.programs.iter().take(SHOWN) {
            let _ = writeln!(
                self.text,
                "  {:<44} {:>11} {:>9} {:>9} {:>9}",
                Sanitized(&program.name).to_string(),
                count(program.runs),
                each(program.run_time_ns, program.runs),
                time(program.run_time_ns),
                of_a_core(program.run_time_ns, cost.interval_ms)
            );
        }
        self.more(cost.programs.len());
    }

    /// Memory by component, and the rings' fill.
    pub(super) fn memory(&mut self, status: &Status) {
        self.title("Memory");
        for part in &status.memory {
            let budget = match part.budget_bytes {
                0 => String::new(),
                budget => format!(" of {}", bytes(budget)),
            };
            let whose = if part.kernel { " (kernel)" } else { "" };
            let text = format!("{}{budget}{whose}", bytes(part.bytes));
            self.row(&Sanitized(&part.component).to_string(), text);
        }
        for ring in status.sensor.iter().flat_map(|sensor| &sensor.rings) {
            let fill = match (ring.waiting_bytes, ring.high_water_bytes) {
                (Some(waiting), Some(most)) => format!(
                    "{:.1} % full, at most {:.1} %",
                    percent(waiting, ring.bytes),
                    percent(most, ring.bytes)
                ),
                _ => "fill not known (perf buffers)".to_owned(),
            };
            let name = format!("ring {}", Sanitized(&ring.name));
            self.row(&name, format!("{fill}, {} records lost", ring.lost));
        }
    }

    fn more(&mut self, all: usize) {
        if all > SHOWN {
            self.item(&format!("{} more (--json has all)", all - SHOWN));
        }
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64 * 100.0
}
