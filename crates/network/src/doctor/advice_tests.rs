#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;

use super::*;
use crate::doctor::Finding;
use crate::doctor::owner::Owner;

const PLACE: Place = Place {
    hook: Hook::Clsact,
    priority: 10,
    ingress: true,
};

/// A classifier of another vendor, or ours.
fn classifier(hook: Hook, priority: u16, class: Class, ours: bool) -> Classifier {
    let filter = hook == Hook::Clsact;
    Classifier {
        hook,
        direction: Direction::Egress,
        position: 0,
        priority: filter.then_some(priority),
        handle: filter.then_some(1),
        protocol: None,
        chain: 0,
        kind: "bpf".into(),
        program: Some(1),
        name: "cil_from_lxc".into(),
        tag: String::new(),
        link: None,
        filter_name: None,
        ours,
        direct_action: true,
        owner: Owner::default(),
        finding: Finding {
            class,
            verdicts: BTreeSet::new(),
            reasons: BTreeSet::new(),
        },
        tail_calls: Vec::new(),
    }
}

fn other(priority: u16, class: Class) -> Judgement {
    judge(&[classifier(Hook::Clsact, priority, class, false)], PLACE)
}

#[test]
fn priority_1_is_not_seen_inside_the_containers() {
    let judged = other(1, Class::CanEnd);
    assert_eq!(
        (judged.verdict, judged.right_priority),
        (Verdict::Blind, None)
    );
    assert!(judged.advice[0].contains("do not see traffic inside these containers"));
    assert!(judged.advice[0].contains("network.enabled: false"));
}

#[test]
fn priorities_2_to_10_want_ours_strictly_lower() {
    for priority in 2..=10 {
        let judged = other(priority, Class::CanEnd);
        assert_eq!(judged.verdict, Verdict::Blind);
        assert_eq!(judged.right_priority, Some(priority - 1));
        assert!(judged.advice[0].contains(&format!("strictly lower than {priority}")));
        // And with that priority it is well.
        let place = Place {
            priority: priority - 1,
            ..PLACE
        };
        let judged = judge(
            &[classifier(Hook::Clsact, priority, Class::CanEnd, false)],
            place,
        );
        assert!(!judged.verdict.is_trouble() && judged.advice.is_empty());
    }
}

#[test]
fn priority_11_and_more_is_fine() {
    for priority in [11, 12, 49152] {
        let judged = other(priority, Class::CanEnd);
        assert_eq!(
            (judged.verdict, judged.right_priority),
            (Verdict::NotAttached, Some(10))
        );
        assert!(judged.advice.is_empty());
    }
}

#[test]
fn unspec_is_fine_at_any_priority() {
    for priority in [1, 5, 10, 11] {
        let judged = other(priority, Class::Continues);
        assert_eq!(
            (judged.verdict, judged.right_priority),
            (Verdict::NotAttached, Some(10))
        );
        assert!(judged.advice.is_empty());
    }
}

#[test]
fn what_is_not_known_is_trouble_before_ours_only() {
    assert_eq!(other(5, Class::Unknown).verdict, Verdict::MayBeBlind);
    assert!(!other(11, Class::Unknown).verdict.is_trouble());
}

#[test]
fn the_order_that_is_there_counts_and_not_the_setting() {
    let ours = classifier(Hook::Clsact, 10, Class::Continues, true);
    let theirs = classifier(Hook::Clsact, 10, Class::CanEnd, false);
    let judged = judge(&[ours.clone(), theirs.clone()], PLACE);
    assert_eq!(judged.verdict, Verdict::InPeace);
    let judged = judge(&[theirs, ours], PLACE);
    assert_eq!(
        (judged.verdict, judged.right_priority),
        (Verdict::Blind, Some(9))
    );
}

#[test]
fn tcx_is_run_before_all_filters() {
    let theirs = classifier(Hook::Tcx, 0, Class::CanEnd, false);
    let ours = classifier(Hook::Clsact, 1, Class::Continues, true);
    let judged = judge(&[theirs.clone(), ours], PLACE);
    assert_eq!(judged.verdict, Verdict::Blind);
    assert!(judged.advice[0].contains("tcx"));
    // Ours in tcx are before both.
    let ours = classifier(Hook::Tcx, 0, Class::Continues, true);
    let filter = classifier(Hook::Clsact, 1, Class::CanEnd, false);
    let place = Place {
        hook: Hook::Tcx,
        ..PLACE
    };
    assert_eq!(
        judge(&[ours, theirs, filter.clone()], place).verdict,
        Verdict::InPeace
    );
    assert_eq!(judge(&[filter], place).verdict, Verdict::NotAttached);
}

#[test]
fn what_drops_packets_before_others_is_told() {
    let ours = classifier(Hook::Tcx, 0, Class::CanEnd, true);
    let theirs = classifier(Hook::Tcx, 0, Class::Continues, false);
    assert_eq!(
        judge(&[ours.clone(), theirs], PLACE).verdict,
        Verdict::Blinds
    );
    assert_eq!(judge(&[ours], PLACE).verdict, Verdict::Alone);
}

#[test]
fn ingress_counts_only_where_it_is_looked_at() {
    let theirs = Classifier {
        direction: Direction::Ingress,
        ..classifier(Hook::Clsact, 1, Class::CanEnd, false)
    };
    assert_eq!(
        judge(std::slice::from_ref(&theirs), PLACE).verdict,
        Verdict::Blind
    );
    let place = Place {
        ingress: false,
        ..PLACE
    };
    assert!(!judge(&[theirs], place).verdict.is_trouble());
}
