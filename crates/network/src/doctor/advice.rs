//! The verdict on one interface, and what to do: the checklist of vendors' classifiers, done for what is there.
//!
//! A classifier that is proved to continue (`TC_ACT_UNSPEC`, `TCX_NEXT`) is in nobody's way, whatever its priority. Of the others, those
//! that the kernel runs before ours can hide traffic: everything in tcx before our link, and where ours are filters, all of tcx and
//! every filter whose priority is not higher than `classifier_priority`.

use super::report::{Classifier, Verdict};
use super::verdict::Class;
use crate::tc::{Direction, Hook};

const PRIORITY: &str = "runtime_security_config.network.classifier_priority";
const ENABLED: &str = "runtime_security_config.network.enabled";

/// Where our classifiers are, or would be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// How they are attached on this kernel.
    pub(crate) hook: Hook,
    /// `classifier_priority`
    pub(crate) priority: u16,
    /// Whether packets that come in are looked at, too.
    pub(crate) ingress: bool,
}

/// What it comes to for some classifiers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    pub(crate) reasons: Vec<String>,
    pub(crate) advice: Vec<String>,
    /// The highest priority that would be right; None where none is.
    pub(crate) right_priority: Option<u16>,
}

/// Judges an interface.
pub(crate) fn judge(classifiers: &[Classifier], place: Place) -> Judgement {
    let mut all = Judgement {
        verdict: Verdict::Alone,
        reasons: Vec::new(),
        advice: Vec::new(),
        right_priority: Some(place.priority),
    };
    let mut attached = false;
    for direction in Direction::ALL {
        // What is in another chain is only reached through a filter of the first one, which is judged for that.
        let side: Vec<&Classifier> = classifiers
            .iter()
            .filter(|one| one.direction == direction && one.chain == 0)
            .collect();
        attached |= side.iter().any(|one| one.ours);
        if direction == Direction::Egress || place.ingress {
            judge_side(&side, direction, place, &mut all);
        }
    }
    if !attached && all.verdict < Verdict::NotAttached {
        all.verdict = Verdict::NotAttached;
    }
    all.reasons.dedup();
    all.advice.sort();
    all.advice.dedup();
    all
}

fn judge_side(side: &[&Classifier], direction: Direction, place: Place, all: &mut Judgement) {
    let ours = side.iter().position(|one| one.ours);
    for (position, other) in side.iter().enumerate().filter(|(_, one)| !one.ours) {
        all.verdict = all.verdict.max(Verdict::InPeace);
        let first = ours.map_or_else(|| would_be_first(other, place), |ours| position < ours);
        if other.finding.class == Class::Continues {
            continue;
        }
        if let (Hook::Clsact, Some(priority)) = (other.hook, other.priority) {
            let below = priority.checked_sub(1).filter(|below| *below > 0);
            all.right_priority = all
                .right_priority
                .and_then(|right| below.map(|below| right.min(below)));
        }
        let who = describe(other);
        if !first {
            all.reasons.push(format!(
                "{direction}: {who} is run after ours: it is not in the way"
            ));
            continue;
        }
        all.verdict = all.verdict.max(match other.finding.class {
            Class::CanEnd => Verdict::Blind,
            _ => Verdict::MayBeBlind,
        });
        let does = match other.finding.class {
            Class::CanEnd => "can end the chain",
            _ => "may end the chain (not known)",
        };
        let tense = if ours.is_some() {
            "is run"
        } else {
            "would be run"
        };
        all.reasons
            .push(format!("{direction}: {who} {tense} before ours and {does}"));
        all.advice.push(advise(other, place));
    }
    // What is behind ours sees what ours let pass.
    let Some(at) = ours else { return };
    let behind = side[at + 1..].iter().any(|one| !one.ours);
    if side[at].finding.class == Class::CanEnd && behind {
        all.verdict = all.verdict.max(Verdict::Blinds);
        all.reasons.push(format!(
            "{direction}: ours drops packets that a rule's network_filter names; classifiers behind it do not see those"
        ));
    }
}

/// Whether a classifier would be run before ours, if ours were attached now.
fn would_be_first(other: &Classifier, place: Place) -> bool {
    match (place.hook, other.hook) {
        // Ours are put before all others there.
        (Hook::Tcx, _) => false,
        (Hook::Clsact, Hook::Tcx) => true,
        // Of one priority the newest is first, and which that is, is chance.
        (Hook::Clsact, Hook::Clsact) => other
            .priority
            .is_none_or(|priority| priority <= place.priority),
    }
}

/// What to do about a classifier that is run before ours.
fn advise(other: &Classifier, place: Place) -> String {
    let last = format!(
        "let its vendor return TC_ACT_UNSPEC, or switch network detections off ({ENABLED}: false)"
    );
    match (other.hook, place.hook, other.priority) {
        (Hook::Tcx, Hook::Tcx, _) => {
            "restart system-probe: it attaches its tcx links before all others".into()
        }
        (Hook::Tcx, Hook::Clsact, _) => format!(
            "its vendor uses tcx, which is run before all filters, whatever their priority: {last}"
        ),
        (Hook::Clsact, _, Some(priority @ 2..)) => format!(
            "set {PRIORITY} to a number strictly lower than {priority}, as {}",
            priority - 1
        ),
        (Hook::Clsact, _, _) => format!(
            "its vendor uses priority 1: network detections do not see traffic inside these containers. No {PRIORITY} is right: {last}"
        ),
    }
}

/// A classifier in a few words.
pub(crate) fn describe(one: &Classifier) -> String {
    let name = match (&one.filter_name, one.name.as_str()) {
        (_, name) if !name.is_empty() => name,
        (Some(name), _) if !name.is_empty() => name,
        _ => &one.kind,
    };
    match one.priority {
        Some(priority) => format!("'{name}' ({} priority {priority})", one.hook),
        None => format!("'{name}' ({})", one.hook),
    }
}

#[cfg(test)]
#[path = "advice_tests.rs"]
mod tests;
