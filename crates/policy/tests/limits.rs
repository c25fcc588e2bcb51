//! Rate limits across reloads, and what they cost.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::alloc::System;

use atalaya_policy::{RateLimiter, RuleSet};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use common::{Event, load_one};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SECOND: u64 = 1_000_000_000;

/// How many of a thousand events of the rule may go.
fn passed(limiter: &mut RateLimiter, rules: &RuleSet, id: &str, now: u64) -> usize {
    let rule = rules.rule(id).unwrap();
    let event = Event::default().with("open.file.path", "/a");
    (0..1000)
        .filter(|_| limiter.allow(rule, &event, now))
        .count()
}

// One test, because the allocator counts for all threads.
#[test]
fn limits() {
    let old = load_one(
        r#"
rules:
  - {id: gone, expression: open.file.path == "/z"}
  - {id: plain, expression: open.file.path == "/a"}
  - {id: slow, expression: open.file.path == "/a" && open.flags == 1, every: 10s}
  - {id: token, expression: open.file.path == "/a" && open.flags == 2, every: 10s, limiter_token: [open.file.path]}
  - {id: never, expression: open.file.path == "/a" && open.flags == 3, every: 0}
"#,
    )
    .0;
    let new = load_one(
        r#"
rules:
  - {id: token, expression: open.file.path == "/b", every: 10s, limiter_token: [open.file.path]}
  - {id: slow, expression: open.file.path == "/a" && open.flags == 1, every: 20s}
  - {id: plain, expression: open.file.path == "/b" && open.flags == 1}
  - {id: fresh, expression: open.file.path == "/c"}
"#,
    )
    .0;
    let mut limiter = RateLimiter::new();
    assert_eq!(passed(&mut limiter, &old, "plain", SECOND), 40);
    assert_eq!(passed(&mut limiter, &old, "slow", SECOND), 1);
    assert_eq!(passed(&mut limiter, &old, "token", SECOND), 1);
    // No period is no limit of its own.
    assert_eq!(passed(&mut limiter, &old, "never", SECOND), 40);

    // What is known costs no memory.
    let plain = old.rule("plain").unwrap();
    let event = Event::default().with("open.file.path", "/a");
    let region = Region::new(ALLOCATOR);
    for at in 0..1000 {
        limiter.allow(plain, &event, SECOND + at);
    }
    assert_eq!(region.change().allocations, 0);

    let dropped = limiter.dropped(plain);
    assert!(dropped >= 1960);
    let mut limiter = limiter.carry_over(&old, &new);
    // The same limits go on, wherever the rule is now and whatever it says.
    assert_eq!(passed(&mut limiter, &new, "plain", SECOND + SECOND / 2), 5);
    assert_eq!(limiter.dropped(new.rule("plain").unwrap()), dropped + 995);
    assert_eq!(passed(&mut limiter, &new, "token", 2 * SECOND), 0);
    // Other limits begin anew, as new rules do.
    assert_eq!(passed(&mut limiter, &new, "slow", 2 * SECOND), 1);
    assert_eq!(passed(&mut limiter, &new, "fresh", 2 * SECOND), 40);
    assert_eq!(passed(&mut limiter, &new, "token", 11 * SECOND), 1);
}
