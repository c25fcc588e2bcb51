//! The `log` action.

use std::time::Duration;

use atalaya_api::sanitize;
use atalaya_model::Event;
use atalaya_policy::{Bucket, LogAction, LogLevel, Rule};
use rustc_hash::FxHashMap;

/// Lines that a rule may write at once, and how soon one more may follow.
const BURST: u32 = 10;
const PERIOD: Duration = Duration::from_secs(1);

/// Writes the lines of `log` actions, so many a rule: whoever can make a rule match shall not fill the disk.
#[derive(Debug, Default)]
pub(crate) struct RuleLog {
    limits: FxHashMap<usize, (Bucket, u64)>,
}

impl RuleLog {
    /// Rules have other numbers from now on.
    pub(crate) fn clear(&mut self) {
        self.limits.clear();
    }

    /// Writes the line of an action, or counts it for the next one.
    pub(crate) fn write(&mut self, rule: &Rule, action: &LogAction, event: &Event, now_ns: u64) {
        let (bucket, held_back) = self
            .limits
            .entry(rule.index())
            .or_insert_with(|| (Bucket::new(PERIOD, BURST, now_ns), 0));
        if !bucket.take(now_ns) {
            *held_back += 1;
            return;
        }
        let missing = std::mem::take(held_back);
        let text = match action.message.as_str() {
            "" => format!("Rule {} triggered", rule.rule_id()),
            message => message.to_owned(),
        };
        let text = sanitize(&text);
        let rule = rule.rule_id();
        let pid = event.process.pid;
        // What the process calls itself is its own choice.
        let executable = sanitize(&event.process.image.file.path).into_owned();
        match action.level {
            LogLevel::Debug => tracing::debug!(rule, pid, executable, missing, "{text}"),
            LogLevel::Info => tracing::info!(rule, pid, executable, missing, "{text}"),
            LogLevel::Warning => tracing::warn!(rule, pid, executable, missing, "{text}"),
            LogLevel::Error => tracing::error!(rule, pid, executable, missing, "{text}"),
        }
    }
}
