//! Another vendor's classifiers, before ours, after ours, in place of ours: their filters are never touched, no packet is lost, and ours
//! return when theirs go.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use atalaya_network::doctor::Verdict;
use atalaya_network::manager::Settings;
use atalaya_network::tc::{Attached, Direction, Hook};

use crate::replace::prepend_tcx;
use crate::support::run;
use crate::world::{
    Counter, Pod, SIDES, World, attach_clsact, attach_tcx, both, clsact, connect, eventually,
    has_tcx, interface, listed, of_program, persistent, traffic,
};

/// `TC_ACT_OK`, `TC_ACT_UNSPEC`; in tcx `TCX_PASS`, `TCX_NEXT`.
const OK: i32 = 0;
const UNSPEC: i32 = -1;

/// Adds theirs to both sides of an interface.
fn theirs(name: &str, program: &Counter, priority: u32, handle: u32) {
    for side in SIDES {
        attach_clsact(&interface(name), side, program.fd(), priority, handle);
    }
}

fn delete(name: &str, priority: u32, handle: u32) {
    for side in SIDES {
        run(&format!(
            "tc filter del dev {name} {side} prio {priority} handle {handle} bpf"
        ));
    }
}

/// `tc filter replace`, as Cilium did: whatever is at this priority and handle is theirs from now on.
fn replace(name: &str, program: &Counter, priority: u32, handle: u32) {
    crate::replace::replace(&interface(name), program.fd(), priority, handle);
}

fn pod(world: &World) -> Pod {
    let pod = world.pod();
    connect(&pod, "lxc1", 92);
    world.attached("lxc1");
    pod
}

/// How many packets ours saw of 10 datagrams to the pod and 10 back: 20 a side, or 10 where it is blind on the node's interface.
fn seen(world: &World, pod: &Pod) -> (u64, u64) {
    let before = world.ours.count();
    traffic(pod, 92, 10);
    let after = world.ours.count();
    (after.0 - before.0, after.1 - before.1)
}

fn shape(all: &[Attached], id: u32) -> Vec<(Hook, Direction, u16, u32)> {
    let one = |one: &&Attached| (one.hook, one.direction, one.priority, one.handle);
    of_program(all, id).iter().map(one).collect()
}

#[test]
fn theirs_at_priority_1_by_replace_is_never_touched() {
    World::run(clsact(), |world| {
        world.on();
        let pod = pod(world);
        let before = seen(world, &pod);
        assert!(before.0 >= 20 && before.1 >= 20, "{before:?}");
        let cilium = Counter::new("bpf_lxc", OK);
        replace("lxc1", &cilium, 1, 1);
        let there = shape(&listed("lxc1"), cilium.id());
        assert_eq!(there.len(), 2);
        let blind = seen(world, &pod);
        // Ours on the pod's own eth0 still see; on the node's side theirs has the last word.
        assert!(
            blind.0 < 20 && cilium.count() >= 20,
            "{blind:?} {}",
            cilium.count()
        );
        assert_eq!(world.verdict("lxc1"), Verdict::Blind);
        // Ours are switched off, on and off beside them.
        world.off();
        assert_eq!(shape(&listed("lxc1"), cilium.id()), there);
        world.on();
        replace("lxc1", &cilium, 1, 1);
        assert_eq!(shape(&listed("lxc1"), cilium.id()), there);
        assert_eq!(world.places("lxc1").len(), 2);
        delete("lxc1", 1, 1);
        assert_eq!(world.verdict("lxc1"), Verdict::Alone);
        let again = seen(world, &pod);
        assert!(again.0 >= 20 && again.1 >= 20, "{again:?}");
        world.off();
        assert!(listed("lxc1").is_empty());
        traffic(&pod, 92, 5);
    });
}

#[test]
fn theirs_at_priority_5_and_11_is_never_touched() {
    World::run(clsact(), |world| {
        world.on();
        let pod = pod(world);
        for (priority, verdict) in [(5, OK), (5, UNSPEC), (11, OK), (11, UNSPEC), (10, UNSPEC)] {
            let other = Counter::new("other", verdict);
            theirs("lxc1", &other, priority, 7);
            let there = shape(&listed("lxc1"), other.id());
            let counted = other.count();
            let seen = seen(world, &pod);
            let is_blind = priority < 10 && verdict == OK;
            assert_eq!(seen.0 < 20, is_blind, "{priority} {verdict}: {seen:?}");
            assert!(other.count() >= counted + 20);
            let right = if is_blind {
                Verdict::Blind
            } else {
                Verdict::InPeace
            };
            assert_eq!(world.verdict("lxc1"), right, "{priority} {verdict}");
            world.off();
            assert_eq!(shape(&listed("lxc1"), other.id()), there);
            world.on();
            delete("lxc1", priority, 7);
            assert_eq!(world.places("lxc1").len(), 2);
        }
    });
}

#[test]
fn theirs_in_the_place_of_ours_stays_and_ours_returns_after_it() {
    let settings = Settings {
        handle: 1,
        check_every: Duration::from_secs(1),
        ..clsact()
    };
    World::run(settings, |world| {
        world.on();
        let pod = pod(world);
        let places = world.places("lxc1");
        assert!(
            places
                .iter()
                .all(|one| (one.priority, one.handle) == (10, 1))
        );
        let other = Counter::new("other", OK);
        replace("lxc1", &other, 10, 1);
        assert!(world.places("lxc1").is_empty());
        // This is where an agent once deleted the network's filter: it finds its own gone, and cleans up.
        std::thread::sleep(Duration::from_millis(2500));
        assert_eq!(shape(&listed("lxc1"), other.id()).len(), 2);
        world.off();
        assert_eq!(shape(&listed("lxc1"), other.id()).len(), 2);
        world.on();
        assert_eq!(shape(&listed("lxc1"), other.id()).len(), 2);
        let state = world
            .interface(atalaya_network::netns::NetNs::own().unwrap().inum(), "lxc1")
            .unwrap();
        assert_eq!(state.errors.len(), 2, "{state:?}");
        assert_eq!(world.verdict("lxc1"), Verdict::Blind);
        traffic(&pod, 92, 5);
        delete("lxc1", 10, 1);
        world.attached("lxc1");
    });
}

#[test]
fn a_discipline_that_is_deleted_is_made_again() {
    World::run(clsact(), |world| {
        world.on();
        let _pod = pod(world);
        run("tc qdisc del dev lxc1 clsact");
        world.attached("lxc1");
        assert_eq!(world.status().taken_away, 2);
    });
}

#[test]
fn the_older_discipline_gets_no_filter_of_egress() {
    // The kernel takes a filter for its egress and runs it on ingress.
    World::run(clsact(), |world| {
        run("ip link add d0 type veth peer name d1");
        run("tc qdisc add dev d0 ingress");
        world.on();
        let all = listed("d0");
        assert_eq!(world.own(all).len(), 1);
        let own = atalaya_network::netns::NetNs::own().unwrap().inum();
        let state = world.interface(own, "d0").unwrap();
        assert_eq!(state.attached, [Direction::Ingress]);
        assert!(state.errors[0].contains("ingress"), "{state:?}");
        world.off();
        assert!(listed("d0").is_empty());
    });
}

#[test]
fn theirs_in_tcx_before_and_after_ours() {
    if !has_tcx() {
        return;
    }
    World::run(Settings::default(), |world| {
        // Theirs was there before: ours goes before it, and sees what it ends.
        let cilium = Counter::new("cil_lxc", OK);
        world.on();
        let pod = world.pod();
        run("ip link add early type veth peer name earlyp");
        world.off();
        let early: Vec<_> = SIDES
            .iter()
            .map(|side| attach_tcx(&interface("early"), *side, cilium.fd()).unwrap())
            .collect();
        world.on();
        let places = world.places("early");
        assert!(
            places.len() == 2 && places.iter().all(|one| one.position == 0),
            "{places:?}"
        );
        assert_eq!(world.verdict("early"), Verdict::InPeace);
        drop(early);
        // Theirs comes after ours, at the end, as Cilium does.
        connect(&pod, "lxc1", 92);
        world.attached("lxc1");
        let late: Vec<_> = SIDES
            .iter()
            .map(|side| attach_tcx(&interface("lxc1"), *side, cilium.fd()).unwrap())
            .collect();
        let seen = seen(world, &pod);
        assert!(seen.0 >= 20 && seen.1 >= 20, "{seen:?}");
        assert!(cilium.count() >= 20);
        assert_eq!(world.verdict("lxc1"), Verdict::InPeace);
        world.off();
        assert_eq!(of_program(&listed("lxc1"), cilium.id()).len(), 2);
        world.on();
        assert_eq!(of_program(&listed("lxc1"), cilium.id()).len(), 2);
        drop(late);
        // Who goes before ours on purpose is told of, and not fought.
        let first: Vec<_> = SIDES
            .iter()
            .map(|side| prepend_tcx(&interface("lxc1"), *side, cilium.fd()))
            .collect();
        assert_eq!(world.verdict("lxc1"), Verdict::Blind);
        world.on();
        assert_eq!(world.verdict("lxc1"), Verdict::Blind);
        drop(first);
        assert_eq!(world.verdict("lxc1"), Verdict::Alone);
        traffic(&pod, 92, 5);
    });
}

#[test]
fn a_churn_of_200_pairs_with_both_sides_attaching() {
    both(|settings| {
        World::run(settings, |world| {
            world.on();
            let cilium = Counter::new("bpf_lxc", OK);
            let steady = pod(world);
            let pods: Vec<Pod> = (0..4).map(|_| world.pod()).collect();
            let node = atalaya_network::netns::NetNs::own().unwrap();
            let stop = AtomicBool::new(false);
            let (sent, made, again) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
            std::thread::scope(|scope| {
                // Traffic that goes on all the time, through an interface on which theirs comes and goes.
                scope.spawn(|| {
                    node.run(|| {
                        while !stop.load(Ordering::Relaxed) {
                            again.fetch_add(persistent(&steady, 92, 20), Ordering::Relaxed);
                            sent.fetch_add(20, Ordering::Relaxed);
                        }
                    })
                    .unwrap();
                });
                scope.spawn(|| {
                    node.run(|| {
                        while !stop.load(Ordering::Relaxed) {
                            replace("lxc1", &cilium, 1, 1);
                            let all = listed("lxc1");
                            assert_eq!(shape(&all, cilium.id()).len(), 2, "theirs is gone");
                            delete("lxc1", 1, 1);
                        }
                    })
                    .unwrap();
                });
                // Ours are switched off and on meanwhile.
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(300));
                        world.off();
                        world.on();
                    }
                });
                let mut churn = Vec::new();
                for (part, pod) in pods.iter().enumerate() {
                    let (node, cilium, made) = (&node, &cilium, &made);
                    churn.push(scope.spawn(move || {
                        node.run(|| {
                            for round in 0..50 {
                                let name = format!("c{part}x{round}");
                                run(&format!(
                                    "ip link add {name} type veth peer name {name}p netns {}",
                                    pod.pid()
                                ));
                                theirs(&name, cilium, 1, 1);
                                run(&format!("ip link set {name} up"));
                                let all = listed(&name);
                                assert_eq!(
                                    shape(&all, cilium.id()).len(),
                                    2,
                                    "theirs is gone: {all:?}"
                                );
                                if round % 2 == 0 {
                                    delete(&name, 1, 1);
                                }
                                run(&format!("ip link del {name}"));
                                made.fetch_add(1, Ordering::Relaxed);
                            }
                        })
                        .unwrap();
                    }));
                }
                for thread in churn {
                    let result = thread.join();
                    if result.is_err() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    result.unwrap();
                }
                stop.store(true, Ordering::Relaxed);
            });
            assert_eq!(made.load(Ordering::Relaxed), 200);
            let (sent, again) = (sent.load(Ordering::Relaxed), again.load(Ordering::Relaxed));
            // The kernel itself drops about one packet in a million while filters of its interface are changed all the time, ours or not.
            assert!(sent > 0 && again <= 5, "{again} of {sent} were sent again");
            world.on();
            world.attached("lxc1");
            eventually("only what is there is known", || {
                let status = world.status();
                let names: Vec<_> = status.interfaces().map(|it| it.name.clone()).collect();
                names.iter().all(|name| !name.starts_with('c')) && status.moved == 0
            });
            world.off();
            assert!(world.places("lxc1").is_empty());
            traffic(&steady, 92, 5);
        });
    });
}

#[test]
fn theirs_with_our_name_and_instructions_is_not_ours() {
    // Two instances of one program have one tag; only the number tells them apart.
    World::run(clsact(), |world| {
        world.on();
        let _pod = pod(world);
        let twin = Counter::new("ours_out", UNSPEC);
        theirs("lxc1", &twin, 10, 99);
        world.off();
        assert_eq!(of_program(&listed("lxc1"), twin.id()).len(), 2);
        let _ = twin.program.as_fd();
    });
}
