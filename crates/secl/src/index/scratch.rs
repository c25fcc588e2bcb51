//! What an evaluation writes down.

use std::time::Instant;

/// The working memory of evaluations. One for each thread, used for one event after the other, so that an event needs no
/// memory of its own.
#[derive(Debug, Default)]
pub struct Scratch {
    /// One bit for each rule that can still match.
    pub(super) candidates: Vec<u64>,
    /// For each shared predicate: the evaluation that it was last evaluated in, times two, plus one if it held.
    pub(super) memo: Vec<u64>,
    /// The number of this evaluation.
    pub(super) epoch: u64,
    pub(super) effort: Effort,
    /// Measure the next evaluation.
    armed: bool,
    timing: Timing,
}

/// How long the rules of one evaluation took.
#[derive(Debug, Default)]
struct Timing {
    on: bool,
    /// The rules in the order in which they were evaluated, and the nanoseconds that each took.
    samples: Vec<(usize, u64)>,
    /// What reading the clock takes, which is part of every sample; found out when it is first needed.
    clock_ns: Option<u64>,
}

/// What the last evaluation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Effort {
    /// Rules that the index let through.
    pub candidates: usize,
    /// Comparisons of fields that were carried out for them.
    pub predicates: usize,
}

impl Scratch {
    /// What the last evaluation did.
    pub fn effort(&self) -> Effort {
        self.effort
    }

    /// Has the next evaluation measured: what each rule takes. It costs two looks at the clock a rule, so it is for samples.
    pub fn measure_next(&mut self) {
        self.armed = true;
    }

    /// What each rule that the last evaluation looked at took, in nanoseconds: rules by their position in the index. Empty where it was
    /// not measured.
    pub fn samples(&self) -> &[(usize, u64)] {
        &self.timing.samples
    }

    /// The time, while it is measured.
    pub(super) fn now(&self) -> Option<Instant> {
        self.timing.on.then(Instant::now)
    }

    /// A rule was evaluated since `began`.
    pub(super) fn took(&mut self, rule: usize, began: Option<Instant>) {
        if let Some(began) = began {
            let ns = nanoseconds(began).saturating_sub(self.timing.clock_ns.unwrap_or(0));
            self.timing.samples.push((rule, ns));
        }
    }

    /// Forgets what the last evaluation found. Allocates only the first time that so many rules are asked for.
    pub(super) fn start(&mut self, rules: &[u64], nodes: usize) {
        self.candidates.clear();
        self.candidates.extend_from_slice(rules);
        if self.memo.len() < nodes {
            self.memo.resize(nodes, 0);
        }
        self.epoch += 1;
        self.effort = Effort::default();
        self.timing.samples.clear();
        self.timing.on = std::mem::take(&mut self.armed);
        if self.timing.on && self.timing.clock_ns.is_none() {
            // The shortest of some: others were interrupted.
            let looks = (0..32).map(|_| nanoseconds(Instant::now()));
            self.timing.clock_ns = looks.min();
        }
    }

    pub(super) fn set(&mut self, rules: &[u32]) {
        for rule in rules {
            if let Some(word) = self.candidates.get_mut(*rule as usize / 64) {
                *word |= 1 << (rule % 64);
            }
        }
    }

    /// The first candidate at or after `from`.
    pub(super) fn next_candidate(&self, from: usize) -> Option<usize> {
        let mut at = from / 64;
        let mut word = self.candidates.get(at)? & (u64::MAX << (from % 64));
        while word == 0 {
            at += 1;
            word = *self.candidates.get(at)?;
        }
        Some(at * 64 + word.trailing_zeros() as usize)
    }
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
