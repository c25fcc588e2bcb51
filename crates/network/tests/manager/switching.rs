//! On, off, other programs, and what a killed process has left.

use std::os::fd::AsFd;
use std::time::Duration;

use atalaya_network::manager::{Manager, Settings};
use atalaya_network::netns::NetNs;
use atalaya_network::tc::link::ProgramId;

use crate::support::{in_namespace, run};
use crate::world::{
    Counter, Ours, PATIENCE, SIDES, World, attach_clsact, both, clsact, connect, eventually,
    interface, listed, of_program, traffic,
};

#[test]
fn off_leaves_no_classifier_anywhere() {
    both(|settings| {
        World::run(settings, |world| {
            world.on();
            let pod = world.pod();
            connect(&pod, "lxc1", 93);
            world.attached("lxc1");
            for _ in 0..3 {
                world.off();
                for name in ["lo", "lxc1"] {
                    assert!(listed(name).is_empty(), "{name}: {:?}", listed(name));
                }
                for name in ["lo", "eth0"] {
                    assert!(pod.inside(|| listed(name)).is_empty());
                }
                let status = world.status();
                assert!(!status.active && status.namespaces.is_empty(), "{status:?}");
                world.on();
                assert_eq!(world.places("lxc1").len(), 2);
                assert_eq!(pod.inside(|| world.places("eth0")).len(), 2);
            }
            traffic(&pod, 93, 5);
        });
    });
}

#[test]
fn the_end_of_the_manager_leaves_no_classifier() {
    both(|settings| {
        in_namespace(move || {
            run("ip link set lo up");
            let world = World::start(settings);
            world.on();
            assert_eq!(world.places("lo").len(), 2);
            drop(world);
            assert!(listed("lo").is_empty());
        });
    });
}

#[test]
fn other_programs_take_the_places_without_a_gap() {
    both(|settings| {
        World::run(settings, |world| {
            world.on();
            let pod = world.pod();
            connect(&pod, "lxc1", 93);
            world.attached("lxc1");
            let next = Ours::new();
            let before = (world.ours.egress.count(), next.egress.count());
            let node = NetNs::own().unwrap();
            std::thread::scope(|scope| {
                let sender = scope.spawn(|| node.run(|| traffic(&pod, 93, 500)).unwrap());
                world.manager.set_programs(Some(next.programs())).unwrap();
                assert!(world.manager.settle(PATIENCE));
                sender.join().unwrap();
            });
            let seen = world.ours.egress.count() - before.0 + next.egress.count() - before.1;
            // 500 there and 500 back, each out of one interface.
            assert!(seen >= 1000, "{seen}");
            assert!(world.places("lxc1").is_empty());
            let all = listed("lxc1");
            assert_eq!(of_program(&all, next.egress.id()).len(), 1);
            assert_eq!(of_program(&all, next.ingress.id()).len(), 1);
            // Ingress is wanted no more.
            let only = atalaya_network::manager::Programs {
                egress: next.egress.fd(),
                ingress: None,
            };
            world.manager.set_programs(Some(only)).unwrap();
            assert!(world.manager.settle(PATIENCE));
            assert_eq!(listed("lxc1").len(), 1);
        });
    });
}

#[test]
fn what_a_killed_process_has_left_is_deleted_and_nothing_else() {
    in_namespace(|| {
        run("ip link set lo up");
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("classifiers");
        let left = Counter::new("classifier", -1);
        let twin = Counter::new("classifier", -1);
        let other = Counter::new("bpf_lxc", 0);
        for (program, priority) in [(&left, 10), (&twin, 10), (&other, 1)] {
            for side in SIDES {
                attach_clsact(&interface("lo"), side, program.fd(), priority, 0);
            }
        }
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let line = |program: &Counter, tag: u64| {
            let id = ProgramId::of(program.program.as_fd()).unwrap();
            format!(
                "{} {} {:016x}\n",
                boot.trim(),
                id.id,
                u64::from_be_bytes(id.tag) ^ tag
            )
        };
        // A number that another program has by now is not enough: the instructions must be the same, too.
        let text = line(&left, 0) + &line(&other, 1);
        std::fs::write(&journal, text).unwrap();
        let only = std::collections::BTreeSet::from([NetNs::own().unwrap().inum()]);
        let settings = Settings {
            journal: Some(journal.clone()),
            only: Some(std::sync::Arc::new(std::sync::RwLock::new(only))),
            ..clsact()
        };
        let manager = Manager::start(settings, || {}).unwrap();
        assert!(manager.settle(PATIENCE));
        let all = listed("lo");
        assert!(of_program(&all, left.id()).is_empty(), "{all:?}");
        assert_eq!(of_program(&all, twin.id()).len(), 2);
        assert_eq!(of_program(&all, other.id()).len(), 2);
        // Nothing was wanted, so nothing is watched.
        assert!(manager.status().unwrap().namespaces.is_empty());
        let ours = Ours::new();
        manager.set_programs(Some(ours.programs())).unwrap();
        assert!(manager.settle(PATIENCE));
        let text = std::fs::read_to_string(&journal).unwrap();
        assert!(text.contains(&format!(" {} ", ours.egress.id())), "{text}");
    });
}

#[test]
fn what_is_gone_by_force_comes_back() {
    // `bpftool link detach`, which nobody does by accident.
    if !crate::world::has_tcx() {
        return;
    }
    let settings = Settings {
        check_every: Duration::from_millis(200),
        ..Settings::default()
    };
    World::run(settings, |world| {
        world.on();
        let place = world.places("lo").remove(0);
        run(&format!(
            "bpftool link detach id {}",
            place.link_id.unwrap()
        ));
        assert_eq!(world.places("lo").len(), 1);
        eventually("it is back", || world.places("lo").len() == 2);
        assert_eq!(world.status().taken_away, 1);
    });
}
