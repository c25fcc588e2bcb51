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
    /// By the rule's number: its limit, and the lines held back since the last one.
    limits: FxHashMap<usize, (Bucket, u64)>,
}

impl RuleLog {
    /// Rules have other numbers from now on.
    pub(crate) fn clear(&mut self) {
        self.limits.clear();
    }

    /// Writes the line of an action, or counts it for the next one.
    pub(crate) fn write(&mut self, rule: &Rule, action: &LogAction, event: &Event, now_ns: u64) {
        let Some(missing) = self.allow(rule.index(), now_ns) else {
            return;
        };
        let text = text_of(rule.rule_id(), action);
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

    /// How many lines of the rule were held back before the one that may be written now; `None`: it may not.
    fn allow(&mut self, rule: usize, now_ns: u64) -> Option<u64> {
        let (bucket, held_back) = self
            .limits
            .entry(rule)
            .or_insert_with(|| (Bucket::new(PERIOD, BURST, now_ns), 0));
        if bucket.take(now_ns) {
            return Some(std::mem::take(held_back));
        }
        *held_back += 1;
        None
    }
}

/// The line. Its text is as the policy has it: nothing of the event is put into it.
fn text_of(rule_id: &str, action: &LogAction) -> String {
    match action.message.as_str() {
        "" => format!("Rule {rule_id} triggered"),
        message => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_limited_and_the_missing_are_counted() {
        const SECOND: u64 = 1_000_000_000;
        let mut log = RuleLog::default();
        let written = (0..100).filter_map(|_| log.allow(1, SECOND)).count();
        assert_eq!(written, 10);
        assert_eq!(log.allow(2, SECOND), Some(0), "another rule");
        assert_eq!(log.allow(1, 2 * SECOND), Some(90));
        assert_eq!(log.allow(1, 2 * SECOND), None);
    }

    #[test]
    fn the_default_text() {
        let mut action = LogAction {
            level: LogLevel::Info,
            message: String::new(),
        };
        assert_eq!(text_of("r", &action), "Rule r triggered");
        action.message = "seen: %{open.file.path}".to_owned();
        assert_eq!(text_of("r", &action), "seen: %{open.file.path}");
    }
}
