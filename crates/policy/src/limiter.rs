//! How many events a rule may send: a token bucket per rule, or per distinct value of its `limiter_token` fields.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use atalaya_secl::model::{EventView, Value};
use rustc_hash::FxHashMap;

use crate::Rule;

/// One token per this period, without `every`.
pub const DEFAULT_PERIOD: Duration = Duration::from_millis(100);
/// How many tokens a bucket holds, without `every`.
pub const DEFAULT_BURST: u32 = 40;
/// How many distinct `limiter_token` values a rule keeps a bucket for; the least recently used one is forgotten.
pub const MAX_TOKENS: usize = 500;

/// The rate limits of all rules of one rule set. Time is the caller's: any monotonic clock in nanoseconds.
#[derive(Debug, Default)]
pub struct RateLimiter {
    rules: FxHashMap<usize, RuleLimit>,
}

#[derive(Debug, Default)]
struct RuleLimit {
    /// The bucket of a rule without `limiter_token`.
    single: Option<Bucket>,
    /// Key → bucket and the time of its last use.
    keyed: FxHashMap<String, (Bucket, u64)>,
    /// Last use → key; the front is the least recently used. The counter makes entries of one instant distinct.
    by_age: BTreeMap<u64, String>,
    uses: u64,
    dropped: u64,
}

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    period_ns: u64,
    burst: u32,
    tokens: u32,
    /// When the last whole token was added.
    refilled_ns: u64,
}

impl Bucket {
    /// A full bucket that gains a token each `period` and holds `burst`.
    pub fn new(period: Duration, burst: u32, now_ns: u64) -> Self {
        let period_ns = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX).max(1);
        Self {
            period_ns,
            burst,
            tokens: burst,
            refilled_ns: now_ns,
        }
    }

    /// Takes a token, if there is one.
    pub fn take(&mut self, now_ns: u64) -> bool {
        let gained = now_ns.saturating_sub(self.refilled_ns) / self.period_ns;
        if gained > 0 {
            let tokens = u64::from(self.tokens)
                .saturating_add(gained)
                .min(u64::from(self.burst));
            self.tokens = u32::try_from(tokens).unwrap_or(self.burst);
            self.refilled_ns = self
                .refilled_ns
                .saturating_add(gained.saturating_mul(self.period_ns));
        }
        if self.tokens == 0 {
            return false;
        }
        if self.tokens == self.burst {
            // A full bucket gains nothing, so the period starts when it is first drawn from.
            self.refilled_ns = now_ns;
        }
        self.tokens -= 1;
        true
    }
}

impl RateLimiter {
    /// No rule has used up anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the rule may send an event now. Counts it if so.
    pub fn allow(&mut self, rule: &Rule, event: &dyn EventView, now_ns: u64) -> bool {
        let fresh = || match rule.every {
            Some(period) => Bucket::new(period, 1, now_ns),
            None => Bucket::new(DEFAULT_PERIOD, DEFAULT_BURST, now_ns),
        };
        let limit = self.rules.entry(rule.index).or_default();
        let allowed = if rule.limiter_fields.is_empty() {
            limit.single.get_or_insert_with(fresh).take(now_ns)
        } else {
            let mut key = String::new();
            for field in &rule.limiter_fields {
                push_value(&mut key, &event.get(field.id));
                key.push('\u{1f}');
            }
            limit.take_keyed(key, fresh, now_ns)
        };
        if !allowed {
            limit.dropped += 1;
        }
        allowed
    }

    /// How many events of the rule were held back so far.
    pub fn dropped(&self, rule: &Rule) -> u64 {
        self.rules.get(&rule.index).map_or(0, |limit| limit.dropped)
    }
}

impl RuleLimit {
    fn take_keyed(&mut self, key: String, fresh: impl Fn() -> Bucket, now_ns: u64) -> bool {
        self.uses += 1;
        let (bucket, last_use) = self
            .keyed
            .entry(key.clone())
            .or_insert_with(|| (fresh(), 0));
        let allowed = bucket.take(now_ns);
        self.by_age.remove(last_use);
        *last_use = self.uses;
        self.by_age.insert(self.uses, key);
        if self.keyed.len() > MAX_TOKENS
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.keyed.remove(&oldest);
        }
        allowed
    }
}

fn push_value(out: &mut String, value: &Value<'_>) {
    // Writing to a string cannot fail.
    let _ = match value {
        Value::Bool(value) => write!(out, "{value}"),
        Value::Int(value) => write!(out, "{value}"),
        Value::Str(value) => out.write_str(value),
        Value::Ip(value) => write!(out, "{value}"),
        Value::BoolList(values) => write!(out, "{values:?}"),
        Value::IntList(values) => write!(out, "{values:?}"),
        Value::StrList(values) => write!(out, "{values:?}"),
        Value::IpList(values) => write!(out, "{values:?}"),
    };
}
