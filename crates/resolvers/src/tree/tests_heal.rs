//! The tree against a model of the kernel that forks, executes, ends and reparents, and whose records get lost.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::sync::Mutex;

use atalaya_model::capture::{Exec, FileFields, Fork, Task};
use proptest::prelude::*;

use super::*;

/// Pids that no process of the host has, so that /proc is of no help.
const BASE: u32 = 1 << 30;
const INIT: u32 = BASE + 1;

/// One process as the kernel knows it, and its history as nobody but the test does.
#[derive(Debug, Clone)]
struct Live {
    ppid: u32,
    start_ns: u64,
    exe: u32,
    is_fork: bool,
    /// Pid and program of each node before this one, nearest first.
    lineage: Vec<(u32, u32)>,
}

#[derive(Debug, Default)]
struct Kernel {
    live: BTreeMap<u32, Live>,
    now_ns: u64,
}

impl Kernel {
    fn boot() -> Self {
        let mut kernel = Self::default();
        kernel.tick();
        kernel.live.insert(
            INIT,
            Live {
                ppid: 0,
                start_ns: 1,
                exe: 1,
                is_fork: false,
                lineage: Vec::new(),
            },
        );
        kernel
    }

    fn tick(&mut self) -> u64 {
        self.now_ns = clock::boot_now_ns().max(self.now_ns + 1);
        self.now_ns
    }

    fn header(&self, pid: u32, time_ns: u64) -> Header {
        let live = &self.live[&pid];
        Header {
            pid,
            tid: pid,
            ppid: live.ppid,
            start_low: live.start_ns as u32,
            time_ns,
            ..Header::default()
        }
    }

    fn tasks(&self) -> Vec<Task> {
        let task = |(pid, live): (&u32, &Live)| Task {
            header: self.header(*pid, clock::boot_now_ns()),
            start_time_ns: live.start_ns,
            is_fork: live.is_fork,
            exe: file(live.exe),
            ..Task::default()
        };
        self.live.iter().map(task).collect()
    }
}

fn file(exe: u32) -> FileFields {
    FileFields {
        path: format!("/bin/{exe}"),
        inode: exe.into(),
        known: true,
        ..FileFields::default()
    }
}

struct List(Arc<Mutex<Kernel>>);

impl crate::TaskSource for List {
    fn scan(&mut self) -> Option<Vec<Task>> {
        Some(self.0.lock().unwrap().tasks())
    }
}

/// The kernel, and the tree that hears of it.
struct World {
    kernel: Arc<Mutex<Kernel>>,
    tree: ProcessTree,
}

impl World {
    fn new() -> Self {
        let kernel = Arc::new(Mutex::new(Kernel::boot()));
        let mut tree = ProcessTree::new(TreeOptions {
            procfs_per_second: 1_000_000,
            ..TreeOptions::default()
        });
        tree.set_task_source(Box::new(List(Arc::clone(&kernel))));
        tree.healer.is_unhurried = true;
        let time = kernel.lock().unwrap().tick();
        let header = kernel.lock().unwrap().header(INIT, time);
        let mut exec = Exec {
            file: file(1),
            start_time_ns: 1,
            ..Exec::default()
        };
        // It was there at start.
        tree.loaded_ns = time;
        tree.exec(&header, &mut exec);
        Self { kernel, tree }
    }

    fn fork(&mut self, parent: u32, child: u32, is_heard: bool) {
        let mut kernel = self.kernel.lock().unwrap();
        if !kernel.live.contains_key(&parent) || kernel.live.contains_key(&child) {
            return;
        }
        let start_ns = kernel.tick();
        let time_ns = kernel.tick();
        let forker = kernel.live[&parent].clone();
        let mut lineage = vec![(parent, forker.exe)];
        lineage.extend(forker.lineage);
        kernel.live.insert(
            child,
            Live {
                ppid: parent,
                start_ns,
                exe: forker.exe,
                is_fork: true,
                lineage,
            },
        );
        let header = kernel.header(parent, time_ns);
        drop(kernel);
        let fork = Fork {
            child_pid: child,
            parent_pid: parent,
            start_time_ns: start_ns,
            ..Fork::default()
        };
        if is_heard {
            self.tree.fork(&header, &fork);
        }
    }

    fn exec(&mut self, pid: u32, exe: u32, is_heard: bool) {
        let mut kernel = self.kernel.lock().unwrap();
        if !kernel.live.contains_key(&pid) {
            return;
        }
        let time_ns = kernel.tick();
        let live = kernel.live.get_mut(&pid).unwrap();
        if !live.is_fork {
            live.lineage.insert(0, (pid, live.exe));
        }
        live.exe = exe;
        live.is_fork = false;
        let mut exec = Exec {
            file: file(exe),
            ppid: live.ppid,
            start_time_ns: live.start_ns,
            ..Exec::default()
        };
        let header = kernel.header(pid, time_ns);
        drop(kernel);
        if is_heard {
            self.tree.exec(&header, &mut exec);
        }
    }

    fn exit(&mut self, pid: u32, is_heard: bool) {
        let mut kernel = self.kernel.lock().unwrap();
        if pid == INIT || !kernel.live.contains_key(&pid) {
            return;
        }
        let time_ns = kernel.tick();
        let header = kernel.header(pid, time_ns);
        kernel.live.remove(&pid);
        for live in kernel.live.values_mut() {
            if live.ppid == pid {
                live.ppid = INIT;
            }
        }
        drop(kernel);
        if is_heard {
            self.tree.exit(&header);
        }
    }

    /// Who is alive, and what each is in the tree at its next sign of life.
    fn signs_of_life(&mut self) -> Vec<(u32, Live, Arc<Process>)> {
        let pids: Vec<u32> = self.kernel.lock().unwrap().live.keys().copied().collect();
        pids.into_iter()
            .map(|pid| {
                let mut kernel = self.kernel.lock().unwrap();
                let time_ns = kernel.tick();
                let header = kernel.header(pid, time_ns);
                let live = kernel.live[&pid].clone();
                drop(kernel);
                (pid, live, self.tree.resolve(&header).0)
            })
            .collect()
    }

    /// What the engine does after a loss, and the time it takes.
    fn compare(&mut self) {
        self.tree.lost();
        let now = self.kernel.lock().unwrap().tick();
        self.tree.saw(now);
        self.tree.saw(clock::boot_now_ns() + 1_000_000_000);
    }
}

fn program(process: &Process) -> u32 {
    process.image.file.inode as u32
}

fn lineage(process: &Process) -> Vec<(u32, u32)> {
    process.ancestors().map(|p| (p.pid, program(p))).collect()
}

#[derive(Debug, Clone)]
enum Step {
    Fork(u32, u32),
    Exec(u32, u32),
    Exit(u32),
    Look,
}

fn steps() -> impl Strategy<Value = Vec<(Step, bool)>> {
    let pid = 1_u32..14;
    let step = prop_oneof![
        4 => (pid.clone(), pid.clone()).prop_map(|(a, b)| Step::Fork(BASE + a, BASE + b)),
        3 => (pid.clone(), 1_u32..6).prop_map(|(pid, exe)| Step::Exec(BASE + pid, exe)),
        2 => pid.prop_map(|pid| Step::Exit(BASE + pid)),
        1 => Just(Step::Look),
    ];
    proptest::collection::vec((step, prop::bool::weighted(0.7)), 0..80)
}

fn play(world: &mut World, steps: Vec<(Step, bool)>, loses: bool) {
    for (step, is_heard) in steps {
        let is_heard = is_heard || !loses;
        match step {
            Step::Fork(parent, child) => world.fork(parent, child, is_heard),
            Step::Exec(pid, exe) => world.exec(pid, exe, is_heard),
            Step::Exit(pid) => world.exit(pid, is_heard),
            Step::Look => drop(world.signs_of_life()),
        }
    }
}

proptest! {
    /// With nothing lost the tree is the history of the kernel, exactly, whoever adopted whom.
    #[test]
    fn the_lineage_is_that_of_forks_and_execs(steps in steps()) {
        let mut world = World::new();
        play(&mut world, steps, false);
        for (pid, live, process) in world.signs_of_life() {
            prop_assert_eq!((process.pid, program(&process), process.ppid), (pid, live.exe, live.ppid));
            prop_assert_eq!(process.is_thread, live.is_fork);
            prop_assert_eq!(lineage(&process), live.lineage);
        }
        prop_assert_eq!(world.tree.stats().broken, 0);
    }

    /// Whatever is lost: at the next sign of life a process has the parent that the kernel knows, and after a comparison
    /// the tree has who lives, with their programs, each with a lineage up to the first process, and nobody else.
    #[test]
    fn what_was_lost_is_healed(steps in steps()) {
        let mut world = World::new();
        play(&mut world, steps, true);
        for (pid, live, process) in world.signs_of_life() {
            prop_assert_eq!((process.pid, process.ppid), (pid, live.ppid));
            let last = lineage(&process).last().map_or(process.pid, |(pid, _)| *pid);
            prop_assert_eq!(last, INIT, "{:?}", lineage(&process));
        }
        world.compare();
        let living: Vec<u32> = world.tree.living().iter().map(|process| process.pid).collect();
        let there: Vec<u32> = world.kernel.lock().unwrap().live.keys().copied().collect();
        prop_assert_eq!(living, there);
        for (pid, live, process) in world.signs_of_life() {
            prop_assert_eq!((pid, program(&process)), (pid, live.exe), "the program");
        }
        let stats = world.tree.stats();
        prop_assert!(stats.healed <= stats.broken);
        // A second comparison finds nothing.
        world.compare();
        prop_assert_eq!(world.tree.stats().broken, stats.broken);
    }
}

#[test]
fn a_lost_fork_is_found_at_the_next_sign_of_life() {
    let mut world = World::new();
    let (shell, child) = (BASE + 2, BASE + 3);
    world.fork(INIT, shell, true);
    world.exec(shell, 7, true);
    world.fork(shell, child, false);
    let found = world.signs_of_life();
    let process = &found.iter().find(|(pid, ..)| *pid == child).unwrap().2;
    assert_eq!(lineage(process), [(shell, 7), (INIT, 1)]);
    assert!(
        process.is_thread && Arc::ptr_eq(&process.image, &world.tree.get(shell).unwrap().image)
    );
    let broken = world.tree.take_broken();
    assert_eq!(broken.len(), 1);
    assert_eq!(
        (broken[0].reason, broken[0].healed),
        (BreakReason::UnknownProcess, true)
    );
    assert_eq!(
        (broken[0].process.pid, world.tree.stats().healed),
        (child, 1)
    );
}

#[test]
fn a_pid_whose_new_owner_nobody_announced_is_not_taken_for_the_former() {
    let mut world = World::new();
    let (first, second) = (BASE + 2, BASE + 3);
    world.fork(INIT, first, true);
    world.exec(first, 5, true);
    world.fork(INIT, second, true);
    world.exec(second, 6, true);
    // The end of the first, and the fork of another with its pid, by the second, are lost.
    world.exit(first, false);
    world.fork(second, first, false);
    let found = world.signs_of_life();
    let process = &found.iter().find(|(pid, ..)| *pid == first).unwrap().2;
    assert_eq!((program(process), process.is_thread), (6, true));
    assert_eq!(lineage(process), [(second, 6), (INIT, 1)]);
    assert_eq!(world.tree.take_broken()[0].reason, BreakReason::ReusedPid);
}

#[test]
fn whole_families_that_were_lost_are_found() {
    let mut world = World::new();
    for pid in 2..9 {
        world.fork(BASE + pid - 1, BASE + pid, false);
        world.exec(BASE + pid, pid, false);
    }
    // Only the youngest gives a sign, by an exec.
    world.exec(BASE + 8, 20, true);
    let process = Arc::clone(world.tree.get(BASE + 8).unwrap());
    let expected: Vec<_> = (2..8)
        .rev()
        .map(|pid| (BASE + pid, pid))
        .chain([(INIT, 1)])
        .collect();
    assert_eq!(lineage(&process), expected);
    assert_eq!(program(&process), 20);
}

#[test]
fn an_end_that_was_lost_is_noticed() {
    let mut world = World::new();
    world.fork(INIT, BASE + 2, true);
    world.exit(BASE + 2, false);
    assert_eq!(world.tree.living().len(), 2);
    world.compare();
    assert_eq!(world.tree.living().len(), 1);
    let broken = world.tree.take_broken();
    assert_eq!((broken.len(), broken[0].reason), (1, BreakReason::LostExit));
}

#[test]
fn what_waits_in_the_queue_is_no_loss() {
    let mut world = World::new();
    world.fork(INIT, BASE + 2, true);
    world.tree.lost();
    let early = world.kernel.lock().unwrap().tick();
    world.tree.saw(early);
    // The list is made, and only now these are worked off.
    world.exec(BASE + 2, 9, true);
    world.fork(BASE + 2, BASE + 3, true);
    world.exit(BASE + 2, true);
    world.tree.saw(clock::boot_now_ns() + 1_000_000_000);
    assert_eq!(world.tree.stats().broken, 0);
    let living: Vec<u32> = world.tree.living().iter().map(|p| p.pid).collect();
    assert_eq!(living, [INIT, BASE + 3]);
}

#[test]
fn a_storm_of_unknown_processes_is_no_storm_of_lists() {
    let mut world = World::new();
    world.tree.healer.is_unhurried = false;
    for pid in 0..10_000 {
        let header = Header {
            pid: BASE + 100 + pid,
            time_ns: clock::boot_now_ns(),
            ppid: INIT,
            ..Header::default()
        };
        let (process, how) = world.tree.resolve(&header);
        assert_eq!(how, Resolved::Incomplete);
        assert_eq!(process.parent.parent().map(|parent| parent.pid), Some(INIT));
    }
    let stats = world.tree.stats();
    assert!(stats.scans <= 100, "{}", stats.scans);
    assert!(world.tree.take_broken().len() <= 32);
}
