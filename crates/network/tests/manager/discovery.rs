//! Namespaces and interfaces that come, move, are renamed and go.

use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use atalaya_network::manager::Settings;
use atalaya_network::netns::NetNs;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::CloneFlags;

use crate::support::{in_namespace, run};
use crate::world::{World, both, clsact, connect, descriptors, eventually, has_tcx, traffic};

#[test]
fn everything_that_is_there_at_start_is_attached() {
    both(|settings| {
        World::run(settings, |world| {
            let pod = crate::world::Pod::start();
            world.admit(pod.netns);
            connect(&pod, "lxc1", 91);
            world.on();
            for name in ["lo", "lxc1"] {
                assert_eq!(world.places(name).len(), 2, "{name}: {:?}", world.status());
            }
            for name in ["lo", "eth0"] {
                let places = pod.inside(|| world.places(name));
                assert_eq!(places.len(), 2, "{name}: {:?}", world.status());
            }
            let before = world.ours.count();
            traffic(&pod, 91, 10);
            let after = world.ours.count();
            // 10 there and 10 back, each out of one interface and into another; there may be others, as of ARP.
            assert!(
                after.0 >= before.0 + 20 && after.1 >= before.1 + 20,
                "{before:?} {after:?}"
            );
        });
    });
}

#[test]
fn a_new_pod_is_attached_within_100_ms() {
    both(|settings| {
        World::run(settings, |world| {
            world.on();
            let mut waits = Vec::new();
            for n in 0..5 {
                let pod = world.pod();
                run(&format!("ip link add lxc{n} type veth peer name tmp{n}"));
                run(&format!("ip link set tmp{n} netns {}", pod.pid()));
                let begun = Instant::now();
                eventually("the pod's end has ours", || {
                    pod.inside(|| world.places(&format!("tmp{n}"))).len() == 2
                });
                waits.push(begun.elapsed());
                // A runtime renames it at once; the program is the interface's, not the name's.
                pod.run(&format!("ip link set tmp{n} name eth0"));
                eventually("the new name is known", || {
                    world.interface(pod.netns, "eth0").is_some()
                });
                assert_eq!(pod.inside(|| world.places("eth0")).len(), 2);
                world.attached(&format!("lxc{n}"));
            }
            // 6 ms on a machine that is idle; the middle one of five, because this one may not be.
            waits.sort();
            assert!(waits[2] < Duration::from_millis(100), "{waits:?}");
        });
    });
}

#[test]
fn a_namespace_without_a_process_is_found_by_its_mount() {
    in_namespace(|| {
        // As `ip netns add` and container runtimes do, in a mount namespace of our own.
        nix::sched::unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        let world = World::start(clsact());
        world.on();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a pod");
        std::fs::write(&file, "").unwrap();
        let (netns, kept) = std::thread::scope(|scope| {
            let made = scope.spawn(|| {
                nix::sched::unshare(CloneFlags::CLONE_NEWNET).unwrap();
                let own = NetNs::own().unwrap();
                (own.inum(), own)
            });
            made.join().unwrap()
        });
        world.admit(netns);
        // Its process has gone: only the number is told.
        world.manager.namespace_seen(u32::MAX, netns);
        let source = format!("/proc/self/fd/{}", kept.as_fd().as_raw_fd());
        mount(
            Some(source.as_str()),
            &file,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .unwrap();
        drop(kept);
        let begun = Instant::now();
        eventually("it is found", || {
            world
                .interface(netns, "lo")
                .is_some_and(|lo| lo.attached.len() == 2)
        });
        assert!(
            begun.elapsed() < Duration::from_millis(500),
            "{:?}",
            begun.elapsed()
        );
        umount2(&file, MntFlags::MNT_DETACH).unwrap();
        eventually("it is gone with its mount", || {
            world
                .status()
                .namespaces
                .iter()
                .all(|namespace| namespace.inum != netns)
        });
    });
}

#[test]
fn a_link_follows_its_interface_into_another_namespace() {
    if !has_tcx() {
        return;
    }
    World::run(Settings::default(), |world| {
        world.on();
        run("ip link add lxc1 type veth peer name lxc1p");
        world.attached("lxc1p");
        let links = |places: Vec<atalaya_network::tc::Attached>| {
            places
                .into_iter()
                .map(|one| one.link_id)
                .collect::<Vec<_>>()
        };
        let before = links(world.places("lxc1p"));
        let pod = world.pod();
        run(&format!("ip link set lxc1p netns {}", pod.pid()));
        eventually("it is known where it is", || {
            world
                .interface(pod.netns, "lxc1p")
                .is_some_and(|it| it.attached.len() == 2)
        });
        assert_eq!(links(pod.inside(|| world.places("lxc1p"))), before);
        assert_eq!(world.status().moved, 0);
    });
}

#[test]
fn a_thousand_namespaces_leave_nothing() {
    both(|settings| {
        World::run(settings, |world| {
            world.on();
            let netns = |count: usize| world.status().namespaces.len() == count;
            eventually("the node only", || netns(1));
            let before = descriptors();
            std::thread::scope(|scope| {
                for part in 0..4 {
                    scope.spawn(move || {
                        for round in 0..250 {
                            let made = std::thread::scope(|inner| {
                                let made = inner.spawn(|| {
                                    nix::sched::unshare(CloneFlags::CLONE_NEWNET).unwrap();
                                    let own = NetNs::own().unwrap().inum();
                                    world.admit(own);
                                    let task = nix::unistd::gettid().as_raw() as u32;
                                    world.manager.namespace_seen(task, own);
                                    if (part + round) % 5 == 0 {
                                        run("ip link add v0 type veth peer name v1");
                                        run("ip link set v0 up");
                                    }
                                    own
                                });
                                made.join().unwrap()
                            });
                            world.only.write().unwrap().remove(&made);
                        }
                    });
                }
            });
            // The kernel takes namespaces down in its own time, all at once.
            let begun = Instant::now();
            while !netns(1) && begun.elapsed() < Duration::from_secs(60) {
                std::thread::sleep(Duration::from_millis(50));
            }
            let status = world.status();
            assert_eq!(status.namespaces.len(), 1, "{status:?}");
            assert_eq!(status.moved, 0);
            assert!(descriptors() <= before + 2, "{before} {}", descriptors());
        });
    });
}

#[test]
fn what_is_beyond_the_limit_is_told_and_taken_when_there_is_room() {
    let settings = Settings {
        max_namespaces: 2,
        check_every: Duration::from_millis(200),
        ..Settings::default()
    };
    World::run(settings, |world| {
        world.on();
        let first = world.pod();
        assert!(world.manager.settle(crate::world::PATIENCE));
        let second = world.pod();
        eventually("it is told", || {
            let status = world.status();
            status.refused == 1
                && status
                    .warnings
                    .iter()
                    .any(|line| line.contains("more than 2"))
        });
        drop(first);
        eventually("there is room", || {
            world.interface(second.netns, "lo").is_some()
        });
        eventually("nothing to tell", || world.status().warnings.is_empty());
    });
}

#[test]
fn lazy_interfaces_do_not_keep_a_namespace_watched() {
    let settings = Settings {
        check_every: Duration::from_millis(100),
        lonely_after: Duration::from_millis(300),
        lazy_prefixes: vec!["lazy".into()],
        ..Settings::default()
    };
    World::run(settings, |world| {
        world.on();
        let pod = world.pod();
        run(&format!(
            "ip link add busy type veth peer name busyp netns {}",
            pod.pid()
        ));
        run(&format!(
            "ip link add lazy type veth peer name lazyp netns {}",
            pod.pid()
        ));
        // Only this keeps it: no process.
        let kept = NetNs::of_task("/proc".as_ref(), pod.pid()).unwrap();
        eventually("all has ours", || {
            ["busyp", "lazyp", "lo"]
                .iter()
                .all(|name| kept.run(|| world.places(name)).unwrap().len() == 2)
        });
        drop(pod);
        std::thread::sleep(Duration::from_millis(600));
        assert_eq!(kept.run(|| world.places("busyp")).unwrap().len(), 2);
        run("ip link del busy");
        eventually("it is let go", || {
            kept.run(|| world.places("lazyp")).unwrap().is_empty()
        });
        run("ip link del lazy");
    });
}
