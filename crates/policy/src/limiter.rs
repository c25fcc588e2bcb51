//! How many events a rule may send: a token bucket per rule, or per distinct value of its `limiter_token` fields.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::time::Duration;

use atalaya_secl::model::{EventView, Value};
use rustc_hash::FxHashMap;

use crate::{Rule, RuleSet};

/// One token per this period, without `every`.
pub const DEFAULT_PERIOD: Duration = Duration::from_millis(100);
/// How many tokens a bucket holds, without `every`.
pub const DEFAULT_BURST: u32 = 40;
/// How many distinct `limiter_token` values a rule keeps a bucket for; the least recently used one is forgotten.
pub const MAX_TOKENS: usize = 500;

/// The rate limits of all rules of one rule set. Time is the caller's: any monotonic clock in nanoseconds.
#[derive(Debug)]
pub struct RateLimiter {
    /// By [`Rule::index`].
    rules: Vec<RuleLimit>,
    /// The limit of rules without `every`.
    period: Duration,
    burst: u32,
    /// Its keys are random, so that nobody can choose values that count as one.
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct RuleLimit {
    /// The bucket of a rule without `limiter_token`.
    single: Option<Bucket>,
    /// The hash of the values → bucket and the time of its last use.
    keyed: FxHashMap<u64, (Bucket, u64)>,
    /// Last use → hash; the first is the least recently used. The counter makes entries of one instant distinct.
    by_age: BTreeMap<u64, u64>,
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

impl Default for RateLimiter {
    fn default() -> Self {
        Self::with_limit(DEFAULT_PERIOD, DEFAULT_BURST)
    }
}

impl RateLimiter {
    /// No rule has used up anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`Self::new`], with another limit for the rules without `every`: a token each `period`, and `burst` at once.
    pub fn with_limit(period: Duration, burst: u32) -> Self {
        Self {
            rules: Vec::new(),
            period,
            burst,
            hasher: RandomState::new(),
        }
    }

    /// The limits after a reload: a rule that is still there, with the same limits, goes on where it was.
    #[must_use]
    pub fn carry_over(mut self, old: &RuleSet, new: &RuleSet) -> Self {
        let mut known: FxHashMap<&str, (&Rule, RuleLimit)> = old
            .rules()
            .iter()
            .zip(self.rules.drain(..))
            .map(|(rule, limit)| (rule.id.as_str(), (rule, limit)))
            .collect();
        self.rules = new
            .rules()
            .iter()
            .map(|rule| match known.remove(rule.id.as_str()) {
                Some((was, limit)) if limits(was) == limits(rule) => limit,
                _ => RuleLimit::default(),
            })
            .collect();
        self
    }

    /// Whether the rule may send an event now. Counts it if so.
    pub fn allow(&mut self, rule: &Rule, event: &dyn EventView, now_ns: u64) -> bool {
        if self.rules.len() <= rule.index {
            self.rules.resize_with(rule.index + 1, RuleLimit::default);
        }
        let Some(limit) = self.rules.get_mut(rule.index) else {
            return true;
        };
        let (period, burst) = (self.period, self.burst);
        let fresh = || match rule.every {
            Some(period) => Bucket::new(period, 1, now_ns),
            None => Bucket::new(period, burst, now_ns),
        };
        let allowed = if rule.limiter_fields.is_empty() {
            limit.single.get_or_insert_with(fresh).take(now_ns)
        } else {
            let mut hasher = self.hasher.build_hasher();
            for field in &rule.limiter_fields {
                hash_value(&event.get(field.id), &mut hasher);
            }
            limit.take_keyed(hasher.finish(), fresh, now_ns)
        };
        if !allowed {
            limit.dropped += 1;
        }
        allowed
    }

    /// How many events of the rule were held back so far.
    pub fn dropped(&self, rule: &Rule) -> u64 {
        self.rules.get(rule.index).map_or(0, |limit| limit.dropped)
    }
}

/// What makes the limits of a rule.
fn limits(rule: &Rule) -> (Option<Duration>, &[String]) {
    (rule.every, &rule.limiter_token)
}

impl RuleLimit {
    fn take_keyed(&mut self, key: u64, fresh: impl Fn() -> Bucket, now_ns: u64) -> bool {
        self.uses += 1;
        let (bucket, last_use) = self.keyed.entry(key).or_insert_with(|| (fresh(), 0));
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

fn hash_value(value: &Value<'_>, hasher: &mut impl Hasher) {
    match value {
        Value::Bool(value) => value.hash(hasher),
        Value::Int(value) => value.hash(hasher),
        Value::Str(value) => value.hash(hasher),
        Value::Ip(value) => value.hash(hasher),
        Value::BoolList(values) => values.hash(hasher),
        Value::IntList(values) => values.hash(hasher),
        Value::StrList(values) => values.hash(hasher),
        Value::IpList(values) => values.hash(hasher),
    }
}
