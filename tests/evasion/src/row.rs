//! What a row is.

use crate::{Check, Seen};

/// A way to evade, and what must be told of it all the same.
pub struct Row {
    /// Its name, and that of the helper's arm.
    pub id: &'static str,
    /// What the program does.
    pub attack: &'static str,
    /// What must be told.
    pub expected: &'static str,
    /// The event types that this takes.
    pub events: &'static [&'static str],
    /// Rules: the end of their id, and their expression. `{dir}` is the row's own directory, `{me}` the condition that the row's program, or
    /// a fork of it, did it, and `{old}` that an opened file was not created.
    pub rules: &'static [(&'static str, &'static str)],
    /// Whether what was told is right.
    pub check: fn(&Seen<'_>) -> Check,
    /// Where it is not, and why.
    pub limits: &'static [Limit],
    /// Runs by itself, with the machine's cores for its own threads.
    pub alone: bool,
}

impl Row {
    /// A row with nothing in it, to be completed.
    pub const NEW: Self = Self {
        id: "",
        attack: "",
        expected: "",
        events: &["open"],
        rules: &[],
        check: |_| Ok(String::new()),
        limits: &[],
        alone: false,
    };

    /// The limit that a tier has.
    #[must_use]
    pub fn limit(&self, tier: u8) -> Option<&'static Limit> {
        self.limits.iter().find(|limit| limit.tiers & tier != 0)
    }

    /// The id of one of its rules.
    #[must_use]
    pub fn rule_id(&self, rule: &str) -> String {
        format!("{}__{rule}", self.id)
    }

    /// The event types that nothing captures.
    pub fn not_captured(&self) -> impl Iterator<Item = &'static str> {
        self.events.iter().copied().filter(|name| {
            atalaya_model::event_type(name).is_none_or(|known| known.unavailable().is_some())
        })
    }
}

/// What a tier cannot see.
#[derive(Debug)]
pub struct Limit {
    /// The tiers that cannot.
    pub tiers: u8,
    /// Why.
    pub why: &'static str,
    /// It depends on who is faster: at times it is seen.
    pub by_chance: bool,
}

impl Limit {
    /// What these tiers never see.
    #[must_use]
    pub const fn new(tiers: u8, why: &'static str) -> Self {
        Self {
            tiers,
            why,
            by_chance: false,
        }
    }

    /// What these tiers do not always see.
    #[must_use]
    pub const fn by_chance(tiers: u8, why: &'static str) -> Self {
        Self {
            tiers,
            why,
            by_chance: true,
        }
    }
}
