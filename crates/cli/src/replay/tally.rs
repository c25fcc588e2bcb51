//! What rules did with recorded events, and what was recorded for them.

use std::collections::{BTreeMap, HashMap, VecDeque};

use atalaya_policy::{RateLimiter, Rule, RuleSet, Scratch, VariableStore};
use serde_json::Value;

use super::event::{Chunk, Holders, Parsed, Pids, Recorded};
use crate::line;

/// An event is recorded once per rule, one after the other; with hashes a little later. Among so many the same one is looked for.
const WINDOW: usize = 256;
/// So many programs are counted for a rule; the others together.
const MAX_PROGRAMS: usize = 1000;
/// So many rules that the policies do not have are counted; the others not at all.
const MAX_OTHERS: usize = 1000;

/// All that is counted.
pub(super) struct Replay<'a> {
    rules: &'a RuleSet,
    /// By the id in the policy file, in load order.
    pub(super) tallies: Vec<Tally>,
    by_id: HashMap<String, usize>,
    /// From a rule's number to its tally.
    of_rule: Vec<usize>,
    pub(super) totals: Totals,
    /// Recorded for rules that the policies do not have.
    pub(super) others: BTreeMap<String, u64>,
    samples: usize,
    store: VariableStore,
    limiter: RateLimiter,
    scratch: Scratch,
    pids: Pids,
    window: VecDeque<Seen>,
}

/// What the records were.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) records: u64,
    pub(super) events: u64,
    pub(super) duplicates: u64,
    pub(super) own: u64,
    pub(super) outside: u64,
    pub(super) unreadable: u64,
    /// Why, of the first.
    pub(super) why: Option<String>,
    pub(super) by_type: BTreeMap<String, u64>,
    pub(super) first_ns: Option<u64>,
    pub(super) last_ns: Option<u64>,
}

/// A rule of the policies: one, or several that were made of one.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) id: String,
    pub(super) policy: String,
    pub(super) types: Vec<String>,
    pub(super) silent: bool,
    expressions: Vec<String>,
    pub(super) matches: u64,
    /// Of these, those that its rate limit lets through.
    pub(super) sent: u64,
    pub(super) programs: HashMap<String, u64>,
    pub(super) other_programs: u64,
    pub(super) first_ns: Option<u64>,
    pub(super) last_ns: Option<u64>,
    pub(super) samples: VecDeque<Sample>,
    /// Recorded for the rule of this id, and what became of that.
    pub(super) recorded: u64,
    pub(super) kept: u64,
    pub(super) lost: u64,
    /// The rule says what it said, and still does not match: the record does not tell all that it saw.
    pub(super) unclear: u64,
    pub(super) lost_samples: VecDeque<Sample>,
}

/// An event that is shown.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) id: Option<u64>,
    pub(super) time_ns: u64,
    pub(super) summary: String,
}

impl Sample {
    fn new(event: &Recorded) -> Self {
        let comm = event.text("/process/comm");
        let pid = event.document.pointer("/process/pid");
        let pid = pid.and_then(Value::as_i64).unwrap_or(0);
        let name = event.event_type();
        Self {
            id: event.id,
            time_ns: event.time_ns,
            summary: format!(
                "{name} {} by {comm}({pid})",
                line::object(&event.document, name)
            ),
        }
    }
}

/// An event, and the tallies of the rules that matched it.
struct Seen {
    event: Box<Recorded>,
    matched: Vec<usize>,
}

impl<'a> Replay<'a> {
    /// Of these rules, with a rate limit for those without one of their own, keeping so many samples of each.
    pub(super) fn new(rules: &'a RuleSet, limiter: RateLimiter, samples: usize) -> Self {
        let mut tallies: Vec<Tally> = Vec::new();
        let mut by_id = HashMap::new();
        let mut of_rule = Vec::new();
        for rule in rules.rules() {
            let at = *by_id.entry(rule.written_id.clone()).or_insert_with(|| {
                tallies.push(Tally {
                    id: rule.written_id.clone(),
                    policy: rule.policy.name.clone(),
                    ..Tally::default()
                });
                tallies.len() - 1
            });
            of_rule.push(at);
            if let Some(tally) = tallies.get_mut(at) {
                tally.types.push(rule.event_type.clone());
                tally.expressions.push(rule.expression.clone());
                tally.silent = rule.silent;
            }
        }
        Self {
            rules,
            tallies,
            by_id,
            of_rule,
            totals: Totals::default(),
            others: BTreeMap::new(),
            samples,
            store: VariableStore::new(rules.variables()),
            limiter,
            scratch: Scratch::default(),
            pids: Pids::default(),
            window: VecDeque::new(),
        }
    }

    /// Takes what came of a batch. Batches must come in the order of the file.
    pub(super) fn take(&mut self, chunk: Chunk) {
        let totals = &mut self.totals;
        totals.outside += chunk.outside;
        totals.unreadable += chunk.too_long;
        if chunk.too_long > 0 && totals.why.is_none() {
            totals.why = Some("a line is too long".to_owned());
        }
        for parsed in chunk.lines {
            match parsed {
                Parsed::Outside => self.totals.outside += 1,
                Parsed::Own => self.totals.own += 1,
                Parsed::Unreadable(why) => {
                    self.totals.unreadable += 1;
                    self.totals.why.get_or_insert(why);
                }
                Parsed::Event(event) => self.event(event),
            }
        }
    }

    fn event(&mut self, mut event: Box<Recorded>) {
        self.totals.records += 1;
        let mut newest_first = self.window.iter().rev();
        let known = newest_first.find(|seen| seen.event.is_same(&event));
        let is_new = known.is_none();
        let matched = match known {
            Some(seen) => {
                self.totals.duplicates += 1;
                seen.matched.clone()
            }
            None => {
                self.count(&event);
                self.evaluate(&event)
            }
        };
        self.compare(&event, &matched);
        if is_new {
            if self.window.len() >= WINDOW {
                self.window.pop_front();
            }
            event.event = None;
            self.window.push_back(Seen { event, matched });
        }
    }

    /// What was recorded for a rule, against what the rule of the same id matches.
    fn compare(&mut self, event: &Recorded, matched: &[usize]) {
        let at = self.by_id.get(&event.rule).copied();
        let Some((at, tally)) = at.and_then(|at| Some((at, self.tallies.get_mut(at)?))) else {
            if let Some(count) = self.others.get_mut(&event.rule) {
                *count += 1;
            } else if self.others.len() < MAX_OTHERS {
                self.others.insert(event.rule.clone(), 1);
            }
            return;
        };
        tally.recorded += 1;
        if matched.contains(&at) {
            tally.kept += 1;
            return;
        }
        let said = event.text("/evt/rule_context/expression");
        match tally.expressions.iter().any(|now| now == said) {
            true => tally.unclear += 1,
            false => tally.lost += 1,
        }
        keep(&mut tally.lost_samples, event, self.samples);
    }

    fn count(&mut self, event: &Recorded) {
        let totals = &mut self.totals;
        totals.events += 1;
        let name = event.event_type();
        match totals.by_type.get_mut(name) {
            Some(count) => *count += 1,
            None => {
                totals.by_type.insert(name.to_owned(), 1);
            }
        }
        widen(&mut totals.first_ns, &mut totals.last_ns, event.time_ns);
    }

    /// The tallies of the rules that match. Variables are set, nothing else is done.
    fn evaluate(&mut self, event: &Recorded) -> Vec<usize> {
        let Some(made) = &event.event else {
            return Vec::new();
        };
        self.pids.saw(made);
        let holders = Holders {
            event: made,
            pids: &self.pids,
        };
        let (tallies, of_rule) = (&mut self.tallies, &self.of_rule);
        let (limiter, samples) = (&mut self.limiter, self.samples);
        let mut matched = Vec::new();
        self.rules.evaluate(
            made.view.event_type(),
            &made.view,
            event.time_ns,
            &mut self.store.bind(&holders, event.time_ns),
            &mut self.scratch,
            |variables, rule: &Rule| {
                variables.act(rule, &made.view, |_, _| {});
                let Some(at) = of_rule.get(rule.index()).copied() else {
                    return;
                };
                matched.push(at);
                if let Some(tally) = tallies.get_mut(at) {
                    tally.matched(event, samples);
                    let is_sent = !rule.silent && limiter.allow(rule, &made.view, event.time_ns);
                    tally.sent += u64::from(is_sent);
                }
            },
        );
        if made.view.event_type() == "exit" {
            self.store.process_ended(made.process());
        }
        matched
    }
}

impl Tally {
    fn matched(&mut self, event: &Recorded, samples: usize) {
        self.matches += 1;
        let program = event.program();
        let is_full = self.programs.len() >= MAX_PROGRAMS;
        match self.programs.get_mut(program) {
            Some(count) => *count += 1,
            None if is_full => self.other_programs += 1,
            None => {
                self.programs.insert(program.to_owned(), 1);
            }
        }
        widen(&mut self.first_ns, &mut self.last_ns, event.time_ns);
        keep(&mut self.samples, event, samples);
    }

    /// Matches that were not recorded for the rule of this id.
    pub(super) fn added(&self) -> u64 {
        self.matches.saturating_sub(self.kept)
    }
}

/// Keeps the newest.
fn keep(samples: &mut VecDeque<Sample>, event: &Recorded, number: usize) {
    if number == 0 {
        return;
    }
    if samples.len() >= number {
        samples.pop_front();
    }
    samples.push_back(Sample::new(event));
}

fn widen(first: &mut Option<u64>, last: &mut Option<u64>, ns: u64) {
    *first = Some(first.map_or(ns, |known| known.min(ns)));
    *last = Some(last.map_or(ns, |known| known.max(ns)));
}
