#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use super::*;
use crate::procfs::ProcEntry;
use crate::snapshot::Snapshot;
use atalaya_model::capture::{CgroupMove, CgroupPath, Credentials, Exec, FileFields, Fork};
use proptest::prelude::*;

/// Pids that no process of the host has, so that /proc is of no help.
const BASE: u32 = 1 << 30;
const SECOND: u64 = 1_000_000_000;

fn header(pid: u32, time_ns: u64) -> Header {
    Header {
        pid: BASE + pid,
        tid: BASE + pid,
        time_ns,
        comm: "bash".to_owned(),
        ..Header::default()
    }
}

fn fork_of(child: u32, parent: u32, start_time_ns: u64) -> Fork {
    Fork {
        child_pid: BASE + child,
        parent_pid: BASE + parent,
        start_time_ns,
        ..Fork::default()
    }
}

fn exec_of(path: &str, start_time_ns: u64) -> Exec {
    Exec {
        file: FileFields {
            path: path.to_owned(),
            known: true,
            ..FileFields::default()
        },
        args: vec![path.to_owned()],
        start_time_ns,
        ..Exec::default()
    }
}

fn entry(pid: u32, ppid: u32, path: &str, start: u64, read_at_ns: u64) -> ProcEntry {
    ProcEntry {
        pid: BASE + pid,
        ppid: BASE + ppid,
        start_time_ns: start,
        read_at_ns,
        comm: "bash".to_owned(),
        exe: FileFields {
            path: path.to_owned(),
            known: true,
            ..FileFields::default()
        },
        args: vec![path.to_owned()],
        ..ProcEntry::default()
    }
}

fn load(tree: &mut ProcessTree, processes: Vec<ProcEntry>) -> Vec<Arc<Process>> {
    tree.load(Snapshot {
        processes,
        ..Snapshot::default()
    })
}

fn lineage(process: &Process) -> Vec<(u32, &str)> {
    std::iter::once(process)
        .chain(process.ancestors())
        .map(|p| (p.pid - BASE, p.image.file.path.as_str()))
        .collect()
}

#[test]
fn a_shell_runs_ls() {
    let mut tree = ProcessTree::default();
    load(&mut tree, vec![entry(10, 1, "/bin/bash", 5, 50)]);
    let child = tree.fork(&header(10, 100), &fork_of(11, 10, 100));
    assert!(child.is_thread && !child.is_exec);
    assert_eq!(lineage(&child), [(11, "/bin/bash"), (10, "/bin/bash")]);
    let ls = tree.exec(&header(11, 200), &mut exec_of("/bin/ls", 100));
    assert!(ls.is_exec && !ls.is_thread && !ls.from_snapshot);
    assert_eq!(lineage(&ls), [(11, "/bin/ls"), (10, "/bin/bash")]);
    // An exec after an exec has the image before as its parent.
    let sh = tree.exec(&header(11, 300), &mut exec_of("/bin/sh", 100));
    assert_eq!(
        lineage(&sh),
        [(11, "/bin/sh"), (11, "/bin/ls"), (10, "/bin/bash")]
    );
    assert_eq!(tree.get(BASE + 11).unwrap().image.argv, ["/bin/sh"]);
}

#[test]
fn late_events_find_the_node_of_their_time() {
    let mut tree = ProcessTree::default();
    load(&mut tree, vec![entry(10, 1, "/bin/bash", 5, 50)]);
    tree.fork(&header(10, 100), &fork_of(11, 10, 100));
    tree.exec(&header(11, 200), &mut exec_of("/bin/ls", 100));
    tree.exit(&header(11, 300));
    let at = |tree: &mut ProcessTree, time| {
        let (process, how) = tree.resolve(&header(11, time));
        assert_eq!(how, Resolved::Known);
        (process.image.file.path.clone(), process.is_thread)
    };
    assert_eq!(at(&mut tree, 150), ("/bin/bash".to_owned(), true));
    assert_eq!(at(&mut tree, 250), ("/bin/ls".to_owned(), false));
    assert_eq!(at(&mut tree, 301), ("/bin/ls".to_owned(), false));
    assert_eq!(tree.resolve(&header(11, 250)).0.exit_time, 0);
    assert_ne!(tree.resolve(&header(11, 301)).0.exit_time, 0);
    // The pid gets a new owner; the former one's events may still come.
    let later = 300 + SECOND;
    tree.fork(&header(10, later), &fork_of(11, 10, later));
    assert_eq!(at(&mut tree, 250), ("/bin/ls".to_owned(), false));
    assert_eq!(at(&mut tree, later + 1), ("/bin/bash".to_owned(), true));
    assert_eq!(tree.get(BASE + 11).unwrap().exit_time, 0);
}

#[test]
fn headers_refresh_and_share() {
    let mut tree = ProcessTree::default();
    load(&mut tree, vec![entry(10, 1, "/bin/bash", 5, 50)]);
    let (first, _) = tree.resolve(&header(10, 100));
    let (again, _) = tree.resolve(&header(10, 101));
    assert!(Arc::ptr_eq(&first, &again), "nothing new, nothing copied");
    let mut changed = header(10, 102);
    changed.creds = Credentials {
        euid: 1000,
        ..Credentials::default()
    };
    changed.comm = "worker".to_owned();
    changed.tid = 99;
    let (worker, _) = tree.resolve(&changed);
    assert_eq!(
        (worker.creds.euid, &*worker.comm, worker.tid),
        (1000, "worker", 99)
    );
    assert_eq!(first.creds.euid, 0);
    assert!(Arc::ptr_eq(&worker.image, &first.image));
    // A child is forked by that thread.
    let child = tree.fork(&changed, &fork_of(11, 10, 103));
    assert_eq!((child.creds.euid, &*child.comm), (1000, "worker"));
}

#[test]
fn ended_processes_go_after_a_while() {
    let mut tree = ProcessTree::default();
    tree.exec(&header(10, 100), &mut exec_of("/bin/a", 90));
    let ended = tree.exit(&header(10, 200));
    assert_eq!(ended.exit_time, tree.epoch_ns(200));
    assert_eq!(tree.living().len(), 0);
    tree.expire(SECOND);
    assert!(tree.get(BASE + 10).is_some());
    tree.expire(200 + 5 * SECOND);
    assert!(tree.get(BASE + 10).is_none());
}

#[test]
fn the_snapshot_and_captures_meet_without_gap_or_duplicate() {
    let mut tree = ProcessTree::default();
    // Attached at 100. Process 11 was forked at 150 and exec'd /bin/ls at 160; /proc was read at 200; all of that is in
    // the queue as well. It exec'd again at 250.
    let loaded = load(
        &mut tree,
        vec![
            entry(10, 1, "/bin/bash", 5, 190),
            entry(11, 10, "/bin/ls", 140, 200),
        ],
    );
    assert!(loaded.iter().all(|p| p.from_snapshot && p.is_exec));
    let child = tree.fork(&header(10, 150), &fork_of(11, 10, 150));
    assert_eq!(
        lineage(&child),
        [(11, "/bin/ls"), (10, "/bin/bash")],
        "what /proc said is kept in case the exec was lost"
    );
    let ls = tree.exec(&header(11, 160), &mut exec_of("/bin/ls", 150));
    assert_eq!(lineage(&ls), [(11, "/bin/ls"), (10, "/bin/bash")]);
    let sh = tree.exec(&header(11, 250), &mut exec_of("/bin/sh", 150));
    assert_eq!(
        lineage(&sh),
        [(11, "/bin/sh"), (11, "/bin/ls"), (10, "/bin/bash")]
    );
    // Process 12 was read before anything of it was captured; its exec in the queue is older than the reading.
    load(&mut tree, vec![entry(12, 10, "/bin/cat", 5, 400)]);
    let cat = tree.exec(&header(12, 350), &mut exec_of("/bin/cat", 5));
    assert_eq!(lineage(&cat), [(12, "/bin/cat"), (10, "/bin/bash")]);
}

#[test]
fn an_exit_of_the_pids_former_owner_is_not_the_new_ones() {
    let mut tree = ProcessTree::default();
    load(&mut tree, vec![entry(11, 10, "/bin/new", 500, 600)]);
    tree.exit(&header(11, 300));
    assert_eq!(tree.living().len(), 1);
    assert_eq!(tree.stats().unknown, 1);
}

#[test]
fn unknown_processes() {
    let mut tree = ProcessTree::new(TreeOptions {
        procfs_per_second: 2,
        ..TreeOptions::default()
    });
    // This very process is found in /proc.
    let me = Header {
        pid: std::process::id(),
        tid: std::process::id(),
        time_ns: clock::boot_now_ns(),
        ..Header::default()
    };
    let (process, how) = tree.resolve(&me);
    assert_eq!(how, Resolved::Found);
    assert_eq!(
        process.image.file.path,
        std::env::current_exe().unwrap().to_str().unwrap()
    );
    assert!(process.parent.parent().is_some());
    assert!(!process.from_snapshot);
    assert_eq!(tree.resolve(&me).1, Resolved::Known);
    // One that is gone is known by its header only, and /proc is not asked again and again.
    let now = me.time_ns;
    for pid in 1..10 {
        let (process, how) = tree.resolve(&header(pid, now));
        assert_eq!((how, process.pid), (Resolved::Incomplete, BASE + pid));
        assert!(process.image.file.path.is_empty() && &*process.comm == "bash");
    }
    assert_eq!(tree.stats().incomplete, 9);
    // A process that started after the event cannot have caused it.
    let mut early = ProcessTree::default();
    let (_, how) = early.resolve(&Header { time_ns: 1, ..me });
    assert_eq!(how, Resolved::Incomplete);
}

#[test]
fn an_exec_of_an_unknown_process_finds_its_parent() {
    let mut tree = ProcessTree::default();
    load(&mut tree, vec![entry(10, 1, "/bin/bash", 5, 50)]);
    let mut exec = exec_of("/bin/ls", 90);
    exec.ppid = BASE + 10;
    let ls = tree.exec(&header(11, 100), &mut exec);
    assert_eq!(lineage(&ls), [(11, "/bin/ls"), (10, "/bin/bash")]);
    // The same pid with another start: the exit and the fork between were lost.
    let mut exec = exec_of("/bin/cat", 3 * SECOND);
    exec.ppid = BASE + 10;
    let cat = tree.exec(&header(11, 3 * SECOND + 5), &mut exec);
    assert_eq!(lineage(&cat), [(11, "/bin/cat"), (10, "/bin/bash")]);
}

#[test]
fn memory_is_bounded() {
    let mut tree = ProcessTree::new(TreeOptions {
        max_processes: 100,
        procfs_per_second: 0,
        ..TreeOptions::default()
    });
    load(&mut tree, vec![entry(0, 0, "/bin/init", 1, 1)]);
    for pid in 1..1000 {
        let time = u64::from(pid) * 1000;
        tree.fork(&header(0, time), &fork_of(pid, 0, time));
        assert!(tree.slots.len() <= 100);
    }
    assert!(tree.stats().evicted >= 899);
    assert!(
        tree.get(BASE).is_some(),
        "what is heard of all the time stays"
    );
    // Exec after exec: the history of a pid is bounded, and so is its lineage.
    for round in 0..2000 {
        tree.exec(&header(0, 2_000_000 + round), &mut exec_of("/bin/x", 1));
    }
    let process = tree.get(BASE).unwrap();
    assert!(process.parent.depth() <= 256);
    // Forks and exits of one pid, over and over.
    for round in 0..2000_u64 {
        let time = 3_000_000 + round * 10;
        tree.fork(&header(0, time), &fork_of(7, 0, time));
        tree.exit(&header(7, time + 5));
    }
    assert!(tree.clock_hand.len() <= 300, "{}", tree.clock_hand.len());
    tree.expire(60 * SECOND);
    assert!(tree.ended.is_empty());
}

#[test]
fn containers_come_from_the_cgroup() {
    let mut tree = ProcessTree::default();
    load(&mut tree, vec![entry(10, 1, "/usr/bin/runc", 5, 50)]);
    let id = "b".repeat(64);
    let mut fork = fork_of(11, 10, 100);
    fork.cgroup_id = 77;
    fork.cgroup.unified = format!("/system.slice/docker-{id}.scope");
    let child = tree.fork(&header(10, 100), &fork);
    assert_eq!(child.container_id(), id);
    assert_eq!(child.cgroup.manager, "docker");
    // Another process is moved there after its fork; its next record has the number.
    tree.fork(&header(10, 110), &fork_of(12, 10, 110));
    let mut moved = header(12, 120);
    moved.cgroup_id = 77;
    // Its node has no number to compare with yet.
    assert_eq!(tree.resolve(&moved).0.container_id(), "");
    let mut exec = exec_of("/bin/x", 110);
    exec.cgroup.unified = "/elsewhere".to_owned();
    let mut at = header(12, 130);
    at.cgroup_id = 5;
    tree.exec(&at, &mut exec);
    moved.time_ns = 140;
    assert_eq!(tree.resolve(&moved).0.container_id(), id);
}

#[test]
fn a_process_is_followed_into_another_cgroup() {
    let mut tree = ProcessTree::default();
    load(&mut tree, vec![entry(10, 1, "/usr/bin/runc", 5, 50)]);
    tree.fork(&header(10, 100), &fork_of(11, 10, 100));
    tree.exec(&header(11, 110), &mut exec_of("/init", 100));
    let id = "c".repeat(64);
    let moved = |unified: &str, v1: &str, cgroup_id| CgroupMove {
        cgroup_id,
        cgroup: CgroupPath {
            unified: unified.to_owned(),
            v1: v1.to_owned(),
        },
    };
    // A v1 hierarchy: the number in the default one stays.
    tree.cgroup_moved(
        &header(11, 200),
        &moved("/system.slice/x.service", &format!("/docker/{id}"), 0),
    );
    assert_eq!(tree.resolve(&header(11, 210)).0.container_id(), id);
    assert_eq!(tree.resolve(&header(11, 150)).0.container_id(), "", "late");
    assert_eq!(tree.resolve(&header(11, 220)).0.container_id(), id);
    assert_eq!(tree.resolve(&header(10, 220)).0.container_id(), "");
    let child = tree.fork(&header(11, 230), &{
        let mut fork = fork_of(12, 11, 230);
        fork.cgroup.v1 = format!("/docker/{id}");
        fork
    });
    assert_eq!(child.container_id(), id);
    // And out again. Nobody known, nothing kept.
    tree.cgroup_moved(&header(11, 300), &moved("/", "", 0));
    tree.cgroup_moved(&header(99, 300), &moved("/", "", 0));
    assert_eq!(tree.resolve(&header(11, 310)).0.container_id(), "");
    assert_eq!(tree.resolve(&header(12, 310)).0.container_id(), id);
    assert!(tree.get(BASE + 99).is_none());
}

#[test]
fn who_adopts_an_orphan_is_its_parent_but_not_its_lineage() {
    let mut tree = ProcessTree::default();
    load(&mut tree, vec![entry(10, 1, "/bin/bash", 5, 50)]);
    tree.fork(&header(10, 100), &fork_of(11, 10, 100));
    tree.fork(&header(11, 110), &fork_of(12, 11, 110));
    tree.exit(&header(11, 120));
    let mut orphan = header(12, 130);
    orphan.ppid = BASE + 10;
    let (process, _) = tree.resolve(&orphan);
    assert_eq!(process.ppid, BASE + 10);
    assert_eq!(
        process.parent.parent().map(|parent| parent.pid),
        Some(BASE + 11)
    );
    let mut exec = exec_of("/bin/ls", 110);
    exec.ppid = BASE + 10;
    orphan.time_ns = 140;
    let process = tree.exec(&orphan, &mut exec);
    assert_eq!(
        (process.ppid, process.parent.parent().unwrap().pid),
        (BASE + 10, BASE + 11)
    );
}

#[test]
fn long_arguments_do_not_fill_memory() {
    let mut tree = ProcessTree::new(TreeOptions {
        max_image_bytes: 1 << 20,
        ..TreeOptions::default()
    });
    for pid in 0..500 {
        let mut exec = exec_of("/bin/x", 1);
        exec.args.push("y".repeat(20_000));
        let event = tree.exec(&header(pid, 100), &mut exec);
        assert_eq!(event.image.argv[1].len(), 20_000, "the event has all");
        assert!(!event.image.args_truncated);
    }
    let kept = tree.get(BASE + 499).unwrap();
    assert!(kept.image.args_truncated && kept.image.argv[1].len() < 1024);
    assert!(tree.stats().trimmed > 400);
}

#[test]
fn a_storm_of_short_processes_is_not_kept() {
    let mut tree = ProcessTree::new(TreeOptions {
        max_ended: 100,
        procfs_per_second: 0,
        ..TreeOptions::default()
    });
    for pid in 1..5000 {
        tree.exec(&header(pid, 1000), &mut exec_of("/bin/true", 1000));
        tree.exit(&header(pid, 1000));
    }
    assert!(tree.stats().processes <= 101 && tree.stats().exited <= 101);
}

#[derive(Debug, Clone)]
enum Step {
    Fork(u32, u32),
    Exec(u32),
    Exit(u32),
    Resolve(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let pid = 0_u32..12;
    prop_oneof![
        (pid.clone(), pid.clone()).prop_map(|(a, b)| Step::Fork(a, b)),
        pid.clone().prop_map(Step::Exec),
        pid.clone().prop_map(Step::Exit),
        pid.prop_map(Step::Resolve),
    ]
}

proptest! {
    /// Whatever comes in whatever order: no panic, the bound holds, who acts is who the record says.
    #[test]
    fn any_order(steps in proptest::collection::vec((step(), 0_u64..10 * SECOND), 0..200)) {
        let mut tree = ProcessTree::new(TreeOptions { max_processes: 8, procfs_per_second: 0, ..TreeOptions::default() });
        for (step, time) in steps {
            match step {
                Step::Fork(parent, child) => {
                    let process = tree.fork(&header(parent, time), &fork_of(child, parent, time));
                    prop_assert_eq!(process.pid, BASE + child);
                }
                Step::Exec(pid) => {
                    let process = tree.exec(&header(pid, time), &mut exec_of("/x", time));
                    prop_assert_eq!(process.pid, BASE + pid);
                }
                Step::Exit(pid) => prop_assert_eq!(tree.exit(&header(pid, time)).pid, BASE + pid),
                Step::Resolve(pid) => {
                    let (process, _) = tree.resolve(&header(pid, time));
                    prop_assert_eq!(process.pid, BASE + pid);
                }
            }
            prop_assert!(tree.slots.len() <= 8);
        }
    }
}
