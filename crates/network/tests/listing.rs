//! What is attached, in the order that the kernel runs it, in private namespaces.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

mod support;

use std::os::fd::AsFd;

use atalaya_network::tc::{Direction, Hook, list};
use support::{attach_clsact, attach_tcx, in_namespace, interface, load, returns, run, veth};

#[test]
fn interfaces_are_read() {
    in_namespace(|| {
        let veth = veth("watch");
        assert_eq!(veth.kind.as_deref(), Some("veth"));
        assert!(veth.mac.is_some());
        assert_eq!(veth.peer, Some(interface("watch-peer").index));
        assert_eq!(veth.peer_namespace, None);
        assert!(interface("lo").is_loopback());
        assert!(list(&veth).unwrap().is_empty());
    });
}

#[test]
fn clsact_is_listed_by_priority_and_newest_first() {
    in_namespace(|| {
        let veth = veth("watch");
        let program = load("passes_all", &returns(0)).unwrap();
        for (priority, handle) in [(10, 1), (5, 1), (5, 7), (11, 1)] {
            attach_clsact(&veth, Direction::Egress, program.as_fd(), priority, handle);
        }
        run("tc filter add dev watch egress prio 7 protocol ip u32 match u32 0 0 flowid 1:1");
        run(
            "tc filter add dev watch ingress prio 3 u32 match u32 0 0 action mirred egress mirror dev lo",
        );
        let all = list(&veth).unwrap();
        let egress: Vec<_> = all
            .iter()
            .filter(|one| one.direction == Direction::Egress)
            .collect();
        let order: Vec<_> = egress
            .iter()
            .map(|one| (one.position, one.priority, one.handle))
            .collect();
        assert_eq!(
            order,
            [
                (0, 5, 7),
                (1, 5, 1),
                (2, 7, 0x8000_0800),
                (3, 10, 1),
                (4, 11, 1)
            ]
        );
        let first = egress[0].program.as_ref().unwrap();
        assert_eq!(first.name, "passes_all");
        assert!(first.direct_action && first.tag != [0; 8]);
        assert!(
            egress
                .iter()
                .all(|one| one.hook == Hook::Clsact && one.chain == 0)
        );
        assert_eq!(
            (egress[2].kind.as_str(), egress[2].protocol),
            ("u32", 0x800)
        );
        assert!(egress[2].actions.is_empty() && egress[2].program.is_none());
        let ingress: Vec<_> = all
            .iter()
            .filter(|one| one.direction == Direction::Ingress)
            .collect();
        assert_eq!(ingress.len(), 1);
        assert_eq!((ingress[0].kind.as_str(), ingress[0].priority), ("u32", 3));
        assert_eq!(ingress[0].actions[0].kind, "mirred");
    });
}

#[test]
fn filters_of_the_ingress_qdisc_are_not_listed_for_egress() {
    in_namespace(|| {
        let veth = veth("watch");
        run("tc qdisc add dev watch ingress");
        run("tc filter add dev watch ingress prio 3 u32 match u32 0 0 flowid 1:1");
        let all = list(&veth).unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].direction, Direction::Ingress);
    });
}

#[test]
fn filters_of_a_shared_block_are_listed() {
    in_namespace(|| {
        let veth = veth("watch");
        run("tc qdisc add dev watch ingress_block 22 clsact");
        run("tc filter add block 22 prio 3 u32 match u32 0 0 flowid 1:1");
        let all = list(&veth).unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].shared_block, Some(22));
    });
}

#[test]
fn tcx_is_listed_before_clsact() {
    in_namespace(|| {
        let veth = veth("watch");
        let first = load("first", &returns(-1)).unwrap();
        let second = load("second", &returns(0)).unwrap();
        attach_clsact(&veth, Direction::Ingress, second.as_fd(), 1, 1);
        let link = match attach_tcx(&veth, Direction::Ingress, first.as_fd()) {
            Ok(link) => link,
            Err(error) => return eprintln!("SKIPPED: no tcx on this kernel: {error}"),
        };
        let other = attach_tcx(&veth, Direction::Ingress, second.as_fd()).unwrap();
        let all = list(&veth).unwrap();
        let order: Vec<_> = all
            .iter()
            .map(|one| {
                (
                    one.hook,
                    one.position,
                    one.program.as_ref().unwrap().name.as_str(),
                )
            })
            .collect();
        assert_eq!(
            order,
            [
                (Hook::Tcx, 0, "first"),
                (Hook::Tcx, 1, "second"),
                (Hook::Clsact, 2, "second")
            ]
        );
        assert!(all[0].link_id.is_some() && all[0].link_id != all[1].link_id);
        drop((link, other));
        // A busy kernel takes them away a moment after the last descriptor is closed.
        let left = || list(&veth).unwrap().len();
        for _ in 0..100 {
            if left() == 1 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert_eq!(left(), 1);
    });
}
