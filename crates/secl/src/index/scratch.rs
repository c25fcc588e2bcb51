//! What an evaluation writes down.

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

    /// Forgets what the last evaluation found. Allocates only the first time that so many rules are asked for.
    pub(super) fn start(&mut self, rules: &[u64], nodes: usize) {
        self.candidates.clear();
        self.candidates.extend_from_slice(rules);
        if self.memo.len() < nodes {
            self.memo.resize(nodes, 0);
        }
        self.epoch += 1;
        self.effort = Effort::default();
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
