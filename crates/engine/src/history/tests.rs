//! The records, who they belong to, and what they cost.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use atalaya_model::capture::{Exec, Exit, FileFields, Fork, Header};
use atalaya_model::json::Scrubber;
use atalaya_model::{Container, Context, Event, EventData, ExecEvent, OpenEvent, Process};
use atalaya_resolvers::ProcessTree;
use serde_json::Value;

use super::{History, HistoryOptions, Record};

/// 2^30 ns is about a second.
const SECOND: u64 = 1_000_000_000;
/// When the tests begin (boot time).
const START: u64 = 1000 * SECOND;

/// Processes that do things, and what is remembered of them.
struct World {
    tree: ProcessTree,
    history: History,
    now: u64,
}

impl World {
    fn new(options: HistoryOptions) -> Self {
        Self {
            tree: ProcessTree::default(),
            history: History::new(options),
            now: START,
        }
    }

    fn header(&mut self, pid: u32) -> Header {
        self.now += 1_000_000;
        Header {
            pid,
            tid: pid,
            time_ns: self.now,
            comm: format!("c{pid}"),
            ..Header::default()
        }
    }

    fn fork(&mut self, parent: u32, child: u32) -> u64 {
        let header = self.header(parent);
        let fork = Fork {
            child_pid: child,
            parent_pid: parent,
            start_time_ns: header.time_ns,
            ..Fork::default()
        };
        let process = self.tree.fork(&header, &fork);
        self.history.saw(Record::fork(header.time_ns, &process));
        header.time_ns
    }

    fn exec(&mut self, pid: u32, began: u64, path: &str, args: &[&str]) -> Arc<Process> {
        let header = self.header(pid);
        let mut exec = Exec {
            file: FileFields {
                path: path.to_owned(),
                known: true,
                ..FileFields::default()
            },
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            start_time_ns: began,
            ..Exec::default()
        };
        let process = self.tree.exec(&header, &mut exec);
        let data = EventData::Exec(ExecEvent::default());
        self.history
            .saw(Record::new(header.time_ns, &process, &data));
        process
    }

    fn open(&mut self, pid: u32, path: &str, retval: i64) {
        let header = self.header(pid);
        let (process, _) = self.tree.resolve(&header);
        self.history
            .saw(Record::new(header.time_ns, &process, &opened(path, retval)));
    }

    fn exit(&mut self, pid: u32) {
        let header = self.header(pid);
        let process = self.tree.exit(&header);
        let data = EventData::Exit(Exit::default().into());
        self.history
            .saw(Record::new(header.time_ns, &process, &data));
    }

    fn before(&mut self, pid: u32) -> Option<Value> {
        let header = self.header(pid);
        let (process, _) = self.tree.resolve(&header);
        self.before_of(process)
    }

    fn before_of(&mut self, process: Arc<Process>) -> Option<Value> {
        let event = event(process);
        let scrubber = Scrubber::default();
        let found = self
            .history
            .before(&event, self.now, &self.tree, &scrubber)?;
        assert!(found.len() <= 16 << 10, "{}", found.len());
        Some(serde_json::from_slice(&found).unwrap())
    }
}

fn event(process: Arc<Process>) -> Event {
    Event::new(Arc::new(Context::default()), 1, process, opened("/x", 3))
}

fn opened(path: &str, retval: i64) -> EventData {
    let mut open = OpenEvent::default();
    open.file.path = path.to_owned();
    open.retval = retval;
    EventData::Open(open)
}

/// `relation pid summary` of each.
fn told(context: &Value) -> Vec<String> {
    let events = context["events"].as_array().unwrap();
    let one = |event: &Value| {
        let [relation, summary] = ["relation", "summary"].map(|key| event[key].as_str().unwrap());
        format!("{relation} {} {summary}", event["pid"])
    };
    events.iter().map(one).collect()
}

#[test]
fn the_family_in_the_order_of_time_and_nobody_else() {
    let mut world = World::new(HistoryOptions::default());
    let shell = world.fork(1, 100);
    world.exec(100, shell, "/bin/bash", &["bash"]);
    let other = world.fork(1, 300);
    world.exec(300, other, "/bin/other", &["other"]);
    world.open(100, "/etc/profile", 3);
    let own = world.fork(100, 101);
    world.exec(
        101,
        own,
        "/usr/bin/curl",
        &["curl", "--password=hunter2", "x"],
    );
    world.open(101, "/etc/hosts", -2);
    world.open(300, "/etc/other", 3);
    // A grandchild whose parent did nothing that was seen but begin, and is gone.
    world.fork(101, 102);
    let grandchild = world.fork(102, 103);
    world.exec(103, grandchild, "/bin/sh", &["sh"]);
    world.exit(102);
    world.exit(103);
    let context = world.before(101).unwrap();
    assert_eq!(context["seconds"], 30);
    assert_eq!(context["truncated"], false);
    assert_eq!(
        told(&context),
        [
            "ancestor 100 fork",
            "ancestor 100 exec /bin/bash: bash",
            "ancestor 100 open /etc/profile",
            "same process 101 fork",
            "same process 101 exec /usr/bin/curl: curl --password=******** x",
            "same process 101 open /etc/hosts (failed, errno 2)",
            "descendant 102 fork",
            "descendant 103 fork",
            "descendant 103 exec /bin/sh: sh",
            "descendant 102 exit EXITED 0",
            "descendant 103 exit EXITED 0",
        ]
    );
    let open = &context["events"][5];
    assert_eq!(open["path"], "/usr/bin/curl");
    assert_eq!(
        (&open["comm"], &open["event_type"]),
        (&"c101".into(), &"open".into())
    );
    let times = context["events"].as_array().unwrap().iter();
    let times: Vec<u64> = times
        .map(|event| event["timestamp"].as_u64().unwrap())
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!(!context.to_string().contains("hunter2"));
    // For who did other things it is another.
    assert!(
        told(&world.before(300).unwrap()).contains(&"same process 300 open /etc/other".to_owned())
    );
}

#[test]
fn what_is_too_old_and_who_had_the_pid_before_is_not_told() {
    let mut world = World::new(HistoryOptions::default());
    let first = world.fork(1, 100);
    world.exec(100, first, "/bin/old", &["old"]);
    world.open(100, "/a", 3);
    world.exit(100);
    world.now += SECOND;
    let second = world.fork(1, 100);
    world.exec(100, second, "/bin/new", &["new"]);
    let context = world.before(100).unwrap();
    assert_eq!(
        told(&context),
        [
            "same process 100 fork",
            "same process 100 exec /bin/new: new"
        ]
    );
    world.now += 29 * SECOND;
    assert_eq!(told(&world.before(100).unwrap()).len(), 2);
    world.now += 2 * SECOND;
    assert_eq!(told(&world.before(100).unwrap()).len(), 0);
}

#[test]
fn a_container_is_told_apart_and_its_noise_does_not_push_out_the_family() {
    let mut world = World::new(HistoryOptions::default());
    let contained = |pid: u32, container: &str| {
        Arc::new(Process {
            pid,
            fork_time: 5 * SECOND,
            comm: "c".into(),
            container: Some(Arc::new(Container {
                id: container.to_owned(),
                ..Container::default()
            })),
            ..Process::default()
        })
    };
    let [own, neighbour, stranger] =
        [(10, "a"), (11, "a"), (12, "b")].map(|(pid, id)| contained(pid, id));
    for (process, path) in [
        (&own, "/own"),
        (&neighbour, "/neighbour"),
        (&stranger, "/stranger"),
    ] {
        world.now += 1;
        world
            .history
            .saw(Record::new(world.now, process, &opened(path, 3)));
    }
    let context = world.before_of(Arc::clone(&own)).unwrap();
    assert_eq!(
        told(&context),
        [
            "same process 10 open /own",
            "same container 11 open /neighbour"
        ]
    );
    for _ in 0..1000 {
        world.now += 1;
        world
            .history
            .saw(Record::new(world.now, &neighbour, &opened("/noise", 3)));
    }
    let context = world.before_of(own).unwrap();
    let told = told(&context);
    assert_eq!(
        (told.len(), context["truncated"].as_bool()),
        (100, Some(true))
    );
    assert_eq!(told[0], "same process 10 open /own");
}

#[test]
fn hostile_bytes_and_long_texts_stay_json_of_bounded_size() {
    let mut world = World::new(HistoryOptions::default());
    let began = world.fork(1, 100);
    let long = format!("/{}", "\u{1b}\"\\é".repeat(1000));
    world.exec(100, began, &long, &[&long, &long]);
    for number in 0..300 {
        world.open(100, &format!("/{number}/{}", "\u{0}\u{7}ü".repeat(50)), 3);
    }
    // As text is cut in bytes, a character may be cut as well.
    for length in 60..80 {
        world.open(100, &"é".repeat(length), 3);
    }
    let context = world.before(100).unwrap();
    assert_eq!(context["truncated"], true);
    let events = context["events"].as_array().unwrap();
    assert!(events.len() > 20 && events.len() <= 100, "{}", events.len());
    let newest = events.last().unwrap()["summary"].as_str().unwrap();
    assert!(
        newest.starts_with("open éé") && newest.contains('…'),
        "{newest}"
    );
}

#[test]
fn memory_grows_with_what_happens_up_to_the_bound() {
    assert_eq!(size_of::<Record>(), 120);
    let options = HistoryOptions {
        max_events: 1024,
        ..HistoryOptions::default()
    };
    let mut world = World::new(options);
    assert_eq!(
        world.history.ring.chunks(),
        0,
        "nothing is taken before something happens"
    );
    world.fork(1, 100);
    assert_eq!(world.history.ring.chunks(), 1);
    for _ in 0..5000 {
        world.open(100, "/a", 3);
    }
    assert_eq!(world.history.ring.chunks(), 4);
    assert_eq!(world.before(100).unwrap()["truncated"], true);
    // Quiet again: what is over is given back.
    world.now += 60 * SECOND;
    for _ in 0..256 {
        world.open(100, "/b", 3);
    }
    assert!(
        world.history.ring.chunks() <= 2,
        "{}",
        world.history.ring.chunks()
    );
    let context = world.before(100).unwrap();
    assert!(
        told(&context)
            .iter()
            .all(|line| line == "same process 100 open /b")
    );
}

#[test]
fn a_storm_of_alerts_has_a_budget() {
    let mut world = World::new(HistoryOptions::default());
    world.fork(1, 100);
    world.fork(1, 101);
    let answers = |world: &mut World, pid| (0..50).filter(|_| world.before(pid).is_some()).count();
    assert_eq!(answers(&mut world, 100), 5);
    assert_eq!(answers(&mut world, 101), 5, "another process has its own");
    world.now += 3 * SECOND;
    assert_eq!(answers(&mut world, 100), 3);
    let all: usize = (200..900)
        .map(|pid| usize::from(world.before(pid).is_some()))
        .sum();
    // 40 at once, and 20 a second; 700 ms pass.
    assert!((20..=60).contains(&all), "{all}");
}

#[test]
fn off_is_off() {
    for options in [
        HistoryOptions {
            window: Duration::ZERO,
            ..HistoryOptions::default()
        },
        HistoryOptions {
            max_events: 0,
            ..HistoryOptions::default()
        },
    ] {
        let mut world = World::new(options);
        world.fork(1, 100);
        assert!(!world.history.is_on());
        assert_eq!(world.before(100), None);
    }
}

/// Prints what a record and a search cost: `cargo test --release -p atalaya-engine history::tests::costs -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn costs() {
    let mut world = World::new(HistoryOptions::default());
    let began = world.fork(1, 100);
    world.exec(100, began, "/usr/bin/curl", &["curl"]);
    let header = world.header(100);
    let (process, _) = world.tree.resolve(&header);
    let data = opened("/usr/share/zoneinfo/Europe/Berlin", 3);
    let rounds = 5_000_000;
    let begun = Instant::now();
    for round in 0..rounds {
        let record = Record::new(START + round, &process, &data);
        world.history.saw(std::hint::black_box(record));
    }
    let each = begun.elapsed().as_nanos() as f64 / rounds as f64;
    println!(
        "a record: {each:.1} ns; {} kB",
        world.history.ring.chunks() * 30
    );
    world.now = START + rounds;
    let event = event(process);
    let scrubber = Scrubber::default();
    let mut times: Vec<Duration> = (0..5)
        .map(|_| {
            let begun = Instant::now();
            let found = world
                .history
                .before(&event, world.now, &world.tree, &scrubber);
            assert!(found.is_some());
            begun.elapsed()
        })
        .collect();
    times.sort();
    println!("a search of a full ring: {:?}", times[2]);
}
