//! The store from outside: what is found, what survives, what goes.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use atalaya_store::{NewEvent, Options, Order, Query, Range, Search, Store};
use proptest::prelude::*;
use serde_json::{Value, json};

const SPOOL: &str = "0123456789abcdef";

/// An event with a few values that repeat and one that does not.
fn document(offset: u64) -> Value {
    json!({
        "ddsource": "runtime-security-agent", "service": "svc", "hostname": "box", "status": if offset.is_multiple_of(10) { "warn" } else { "info" },
        "timestamp": time(offset), "ddtags": format!("env:test,n:{}", offset % 3), "event_id": offset,
        "message": {
            "evt": {"name": if offset.is_multiple_of(2) { "open" } else { "exec" }, "outcome": "Success"},
            "agent": {"rule_id": format!("rule_{}", offset % 5)},
            "file": {"path": format!("/tmp/dir{}/file-{offset}", offset % 7), "inode": offset},
            "process": {"pid": 1000 + offset, "comm": "cat", "args": [format!("--number={offset}"), "some words"],
                "ancestors": [{"comm": "bash"}, {"comm": "sshd"}]},
        },
    })
}

fn time(offset: u64) -> i64 {
    1_763_980_000_000 + i64::try_from(offset).unwrap() * 100
}

fn add(store: &Store, offsets: impl IntoIterator<Item = u64>) {
    for offset in offsets {
        let json = document(offset).to_string();
        let event = NewEvent {
            spool: SPOOL,
            offset,
            timestamp_ms: time(offset),
            json: json.as_bytes(),
            context: b"{\"seconds\":30}",
        };
        store.append(&[event]).unwrap();
    }
}

fn small() -> Options {
    Options {
        window_events: 40,
        min_free_bytes: 0,
        max_age: Duration::from_secs(100 * 365 * 24 * 3600),
        ..Options::default()
    }
}

/// A store of several windows.
fn filled(dir: &std::path::Path, count: u64) -> Store {
    let store = Store::open(dir, small()).unwrap();
    for start in (1..=count).step_by(25) {
        add(&store, start..(start + 25).min(count + 1));
        store.commit().unwrap();
    }
    store
}

fn numbers(store: &Store, query: &str, search: &Search) -> (Vec<u64>, u64) {
    let query = Query::parse(query, time(1000)).unwrap();
    let page = store.search(&query, search).unwrap();
    assert!(page.complete);
    let number = |id: &str| id.rsplit_once('-').unwrap().1.parse().unwrap();
    (
        page.events.iter().map(|event| number(&event.id)).collect(),
        page.total,
    )
}

#[test]
fn the_newest_come_first_and_a_cursor_goes_through_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), 200);
    assert!(store.stats().windows > 3, "{:?}", store.stats());
    for order in [Order::Newest, Order::Oldest] {
        for query in [
            "type:open",
            "inode:x OR evt.name:open",
            "process.args:\"some words\" type:open",
        ] {
            let mut all = Vec::new();
            let mut search = Search {
                order,
                limit: 30,
                ..Search::default()
            };
            let parsed = Query::parse(query, 0).unwrap();
            loop {
                let page = store.search(&parsed, &search).unwrap();
                all.extend(page.events.iter().map(|event| event.timestamp));
                match page.next {
                    Some(next) => search.cursor = Some(next),
                    None => break,
                }
            }
            let mut expected: Vec<i64> = (1..=200).filter(|n| n % 2 == 0).map(time).collect();
            if order == Order::Newest {
                expected.reverse();
            }
            assert_eq!(all, expected, "{query}");
        }
    }
    let (last, total) = numbers(
        &store,
        "",
        &Search {
            limit: 3,
            ..Search::default()
        },
    );
    assert_eq!((last, total), (vec![200, 199, 198], 200));
    let bad = Search {
        cursor: Some("x".into()),
        ..Search::default()
    };
    assert!(store.search(&Query::all(), &bad).is_err());
}

#[test]
fn one_event_is_found_by_its_id_with_what_was_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), 100);
    let event = store.get("01234567-77").unwrap().unwrap();
    let stored: Value = serde_json::from_str(event.document.get()).unwrap();
    assert_eq!(stored, document(77));
    assert_eq!(event.context.unwrap().get(), "{\"seconds\":30}");
    assert!(store.get("01234567-101").unwrap().is_none());
    assert!(store.get("otherspo-77").unwrap().is_none());
    assert!(store.get("nonsense").unwrap().is_none());
}

#[test]
fn values_and_times_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), 100);
    let names = ["rule_id", "status", "tag", "process.args"].map(str::to_owned);
    let all = Range::default();
    let patience = Duration::from_secs(20);
    let facets = store
        .facets(&Query::all(), all, &names, 2, patience)
        .unwrap();
    assert!(facets.complete);
    let [rule, status, tag, args] = facets.facets.as_slice() else {
        panic!("{facets:?}")
    };
    assert_eq!(
        (rule.field.as_str(), rule.values[0].count, rule.other),
        ("agent.rule_id", 20, 60)
    );
    assert_eq!(
        (
            status.values[0].value.as_str(),
            status.values[0].count,
            status.values[1].count
        ),
        ("info", 90, 10)
    );
    assert_eq!(
        (tag.values[0].value.as_str(), tag.values[0].count),
        ("env:test", 100)
    );
    assert_eq!(
        (args.values[0].value.as_str(), args.values[0].count),
        ("some words", 100)
    );
    let query = Query::parse("type:open status:warn", 0).unwrap();
    let timeline = store.timeline(&query, all, 20, patience).unwrap();
    assert_eq!(timeline.buckets.iter().map(|b| b.count).sum::<u64>(), 10);
    assert_eq!(
        timeline
            .buckets
            .iter()
            .map(|b| b.by_status["warn"])
            .sum::<u64>(),
        10
    );
    let half = Range {
        from_ms: Some(time(51)),
        to_ms: None,
    };
    let timeline = store.timeline(&Query::all(), half, 20, patience).unwrap();
    assert_eq!(timeline.buckets.iter().map(|b| b.count).sum::<u64>(), 50);
    assert!(timeline.buckets.len() <= 22, "{}", timeline.buckets.len());
}

#[test]
fn what_is_given_again_is_not_stored_twice() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), small()).unwrap();
    add(&store, 1..=60);
    assert_eq!(store.commit().unwrap().upto, Some((SPOOL.to_owned(), 60)));
    add(&store, 50..=70);
    // Never committed.
    drop(store);
    let store = Store::open(dir.path(), small()).unwrap();
    assert_eq!(store.upto(SPOOL), Some(60));
    assert_eq!(store.upto("another"), None);
    add(&store, 55..=65);
    store.commit().unwrap();
    assert_eq!(numbers(&store, "", &Search::default()).1, 65);
    assert!(matches!(
        Store::open(dir.path(), small()),
        Err(atalaya_store::StoreError::InUse(_))
    ));
}

#[test]
fn the_oldest_go_when_there_are_too_many_and_an_event_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        max_bytes: 250_000,
        ..small()
    };
    let store = Store::open(dir.path(), options).unwrap();
    let mut dropped = 0;
    for start in (1..4000).step_by(20) {
        add(&store, start..start + 20);
        dropped += store.commit().unwrap().dropped;
    }
    let stats = store.stats();
    assert!(
        stats.bytes < 400_000 && dropped > 0 && stats.dropped_events == dropped,
        "{stats:?}"
    );
    let (found, _) = numbers(
        &store,
        "rule_id:rule_1",
        &Search {
            order: Order::Oldest,
            ..Search::default()
        },
    );
    assert!(found[0] > 100, "{found:?}");
    assert!(
        numbers(
            &store,
            "rule_id:explorer_events_dropped removed",
            &Search::default()
        )
        .1 > 0
    );
}

#[test]
fn what_is_too_old_goes() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), 200));
    let options = Options {
        max_age: Duration::from_secs(3600),
        ..small()
    };
    let store = Store::open(dir.path(), options).unwrap();
    store.commit().unwrap();
    let stats = store.stats();
    assert!(
        stats.windows <= 2 && stats.dropped_events >= 150,
        "{stats:?}"
    );
}

#[test]
fn a_damaged_window_is_put_aside_and_the_others_are_searched() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), 200));
    std::fs::write(dir.path().join("w-00000002/meta.json"), "rubbish").unwrap();
    let store = Store::open(dir.path(), small()).unwrap();
    assert_eq!(store.stats().damaged, 1);
    let (_, total) = numbers(&store, "", &Search::default());
    assert!((100..200).contains(&total), "{total}");
    add(&store, 201..=210);
    store.commit().unwrap();
    assert_eq!(numbers(&store, "", &Search::default()).1, total + 10);
}

#[test]
fn hostile_events_are_stored_and_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), small()).unwrap();
    let long = "word".repeat(50_000);
    let many: String = (0..20_000).map(|n| format!("w{n} ")).collect();
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    let documents = [
        json!({"message": {"process": {"comm": long, "args": [many]}}}).to_string(),
        json!({"message": {"process": {"comm": "a\u{0}b\u{202e}\u{1b}[2J<script>"}}}).to_string(),
        "no json at all \u{fffd}".to_owned(),
        format!("{{\"message\":{deep}}}"),
        "[1,2]".to_owned(),
        String::new(),
    ];
    for (offset, json) in (1..).zip(&documents) {
        let event = NewEvent {
            spool: SPOOL,
            offset,
            timestamp_ms: time(offset),
            json: json.as_bytes(),
            context: b"",
        };
        store.append(&[event]).unwrap();
    }
    store.commit().unwrap();
    let search = Search::default();
    assert_eq!(numbers(&store, "", &search).1, 6);
    assert_eq!(numbers(&store, "script", &search).1, 1);
    assert_eq!(numbers(&store, "\"no json\"", &search).1, 1);
    let query = format!("comm:\"{}\"", "word".repeat(3000));
    assert_eq!(numbers(&store, &query, &search).1, 0);
    assert_eq!(numbers(&store, "comm:word*", &search).1, 1);
}

/// Queries over what [`document`] has.
fn query() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "open",
        "exec",
        "cat",
        "words",
        "\"some words\"",
        "file-7",
        "fil*",
        "*dir3*",
        "type:open",
        "rule_id:rule_3",
        "rule_id:rule_*",
        "rule_id:*_2",
        "path:/tmp/dir1/*",
        "path:/tmp/*/file-1?",
        "pid:>1050",
        "pid:[1010 TO 1020}",
        "process.args:*",
        "process.args:--number=33",
        "container:*",
        "status:warn",
        "tag:n\\:1",
        "file.inode:12",
        "file.inode:<20",
        "event_id:44",
        "secl(\"open.file.path =~ \\\"/tmp/dir2/**\\\"\")",
        "time:<2025-11-24T10:26:45",
        "comm:(cat OR dog)",
        "host:box",
        "nothing",
        "*",
        "process.ancestors.comm:ssh?",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4)
                .prop_map(|parts| format!("({})", parts.join(" "))),
            prop::collection::vec(inner.clone(), 2..4)
                .prop_map(|parts| format!("({})", parts.join(" OR "))),
            inner.prop_map(|part| format!("NOT {part}")),
        ]
    })
}

/// The index is only faster: what is found is what the query means.
#[test]
fn what_is_found_is_what_the_query_means() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path(), 100);
    let documents: Vec<Value> = (1..=100).map(document).collect();
    let config = ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner
        .run(&query(), |text| {
            let query = Query::parse(&text, time(1000)).unwrap();
            let expected: BTreeSet<u64> = (1u64..)
                .zip(&documents)
                .filter(|(n, d)| query.matches(d, time(*n)))
                .map(|(n, _)| n)
                .collect();
            let (found, total) = numbers(
                &store,
                &text,
                &Search {
                    limit: 1000,
                    ..Search::default()
                },
            );
            prop_assert_eq!(total, expected.len() as u64, "{}", text);
            prop_assert_eq!(
                found.into_iter().collect::<BTreeSet<_>>(),
                expected,
                "{}",
                text
            );
            Ok(())
        })
        .unwrap();
}

/// What the child process of the next test does.
#[test]
fn child_that_is_killed() {
    let Ok(dir) = std::env::var("ATALAYA_STORE_CHILD") else {
        return;
    };
    let store = Store::open(dir, small()).unwrap();
    let mut next = store.upto(SPOOL).unwrap_or(0) + 1;
    loop {
        add(&store, next..next + 7);
        next += 7;
        store.commit().unwrap();
        println!("committed {}", next - 1);
    }
}

#[test]
fn what_was_committed_survives_a_kill_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let mut committed = 0u64;
    for round in 0..12u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_is_killed", "--nocapture"])
            .env("ATALAYA_STORE_CHILD", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut left = 2 + round;
        while left > 0 {
            let line = lines.next().expect("it goes on for ever").unwrap();
            if let Some(number) = line.strip_prefix("committed ") {
                committed = number.parse().unwrap();
                left -= 1;
            }
        }
        std::thread::sleep(Duration::from_micros(round * 1700));
        child.kill().unwrap();
        child.wait().unwrap();
        // What it still said before it died.
        for line in lines.map_while(Result::ok) {
            if let Some(number) = line.strip_prefix("committed ") {
                committed = number.parse().unwrap();
            }
        }
        let store = Store::open(dir.path(), small()).unwrap();
        assert_eq!(store.stats().damaged, 0);
        let upto = store.upto(SPOOL).unwrap();
        assert!(upto >= committed, "{upto} {committed}");
        let (found, total) = numbers(
            &store,
            "",
            &Search {
                limit: 100_000,
                ..Search::default()
            },
        );
        assert_eq!(total, upto, "each once");
        assert_eq!(
            found.into_iter().collect::<BTreeSet<_>>(),
            (1..=upto).collect()
        );
    }
    assert!(committed > 100);
}
