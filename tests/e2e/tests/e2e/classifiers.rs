//! The built system-probe attaches classifiers in namespaces of the test's own, beside a second vendor's, and takes them away again. What
//! is about the manager alone is tested in crates/network.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use atalaya_e2e::{Probe, Setup, program};
use atalaya_network::netns::NetNs;
use atalaya_network::tc::{Attached, Direction, Hook, list};
use nix::sys::signal::Signal;

use crate::support::{attach_clsact, interface, load, returns, run};

/// What is waited for at most.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process in a network namespace of its own, which stands for a node or a pod.
pub(crate) struct Host {
    child: Child,
    netns: u32,
}

impl Host {
    fn start() -> Self {
        let own = NetNs::own().unwrap().inum();
        let child = Command::new("unshare")
            .args(["-n", "sleep", "600"])
            .spawn()
            .unwrap();
        let host = || NetNs::of_task("/proc".as_ref(), child.id()).map_or(own, |it| it.inum());
        eventually("a namespace", || host() != own);
        let host = Self {
            netns: host(),
            child,
        };
        host.run("ip link set lo up");
        host
    }

    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        NetNs::of_task("/proc".as_ref(), self.child.id())
            .unwrap()
            .run(work)
            .unwrap()
    }

    pub(crate) fn run(&self, command: &str) {
        self.inside(|| run(command));
    }

    /// All that is on an interface.
    fn listed(&self, name: &str) -> Vec<Attached> {
        self.inside(|| {
            let all = atalaya_network::interfaces().unwrap();
            let found = all.into_iter().find(|interface| interface.name == name);
            found
                .map(|interface| list(&interface).unwrap_or_default())
                .unwrap_or_default()
        })
    }

    /// The probe's on an interface.
    fn ours(&self, name: &str) -> Vec<Attached> {
        let is_ours = |one: &Attached| {
            one.program
                .as_ref()
                .is_some_and(|program| program.name.starts_with("classifier_"))
        };
        self.listed(name).into_iter().filter(is_ours).collect()
    }

    /// Another vendor's on both sides of an interface.
    fn vendor(&self, name: &str, priority: u32, handle: u32) -> u32 {
        self.inside(|| {
            let program = load("bpf_lxc", &returns(0)).unwrap();
            for side in Direction::ALL {
                attach_clsact(&interface(name), side, program.as_fd(), priority, handle);
            }
            atalaya_network::bpf::info(program.as_fd()).unwrap().id
        })
    }

    fn has(&self, name: &str, program: u32) -> bool {
        let is_it = |one: &Attached| one.program.as_ref().is_some_and(|it| it.id == program);
        self.listed(name).into_iter().filter(is_it).count() == 2
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(
            begun.elapsed() < PATIENCE,
            "not so within {PATIENCE:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A node, and a pod that is connected to it: `lxc1` here, `eth0` there.
pub(crate) fn node_and_pod() -> (Host, Host) {
    let (node, pod) = (Host::start(), Host::start());
    node.run(&format!(
        "ip link add lxc1 type veth peer name eth0 netns {}",
        pod.child.id()
    ));
    node.run("ip addr add 10.97.0.1/24 dev lxc1");
    node.run("ip link set lxc1 up");
    pod.run("ip addr add 10.97.0.2/24 dev eth0");
    pod.run("ip link set eth0 up");
    (node, pod)
}

/// Datagrams there and back; all of them arrive.
fn traffic(node: &Host, pod: &Host) {
    let socket = |host: &Host, address: &str| {
        let socket = host.inside(|| UdpSocket::bind(address).unwrap());
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        socket
    };
    let (here, there) = (socket(node, "10.97.0.1:0"), socket(pod, "10.97.0.2:0"));
    let mut room = [0; 8];
    for number in 0..100u64 {
        here.send_to(&number.to_be_bytes(), there.local_addr().unwrap())
            .unwrap();
        let (_, from) = there
            .recv_from(&mut room)
            .expect("a packet to the pod is lost");
        there.send_to(&room, from).unwrap();
        here.recv_from(&mut room)
            .expect("a packet from the pod is lost");
        assert_eq!(room, number.to_be_bytes());
    }
}

/// A probe that watches these namespaces only, and has a rule on packets.
fn setup(hosts: &[&Host], more: &str) -> Setup {
    setup_of(hosts, more).rule("asked", r#"dns.question.name == "classifiers.example""#)
}

pub(crate) fn setup_of(hosts: &[&Host], more: &str) -> Setup {
    let numbers: Vec<_> = hosts
        .iter()
        .map(|host| format!("\"{}\"", host.netns))
        .collect();
    let numbers = if numbers.is_empty() {
        vec!["\"1\"".to_owned()]
    } else {
        numbers
    };
    Setup::new().config(&format!(
        "  network:\n    namespaces: [{}]\n{more}",
        numbers.join(", ")
    ))
}

const CLSACT: &str = "    tcx: {enabled: false}\n";

pub(crate) fn attached(probe: &Probe, host: &Host, name: &str) {
    let begun = Instant::now();
    while host.ours(name).len() != 2 {
        assert!(
            begun.elapsed() < PATIENCE,
            "{name}: {:?}\n{}",
            host.listed(name),
            probe.log()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Changes a line of the probe's configuration and tells it.
fn reconfigure(probe: &Probe, from: &str, to: &str) {
    let text = std::fs::read_to_string(probe.config()).unwrap();
    // Other sections have such lines, too.
    let (before, network) = text.split_once("  network:\n").unwrap();
    assert!(network.contains(from), "{text}");
    let network = network.replacen(from, to, 1);
    std::fs::write(probe.config(), format!("{before}  network:\n{network}")).unwrap();
    probe.signal(Signal::SIGHUP);
}

#[test]
fn classifiers_the_doctor_tells_of_a_vendor_that_is_run_first() {
    let (node, pod) = node_and_pod();
    let mut probe = setup(&[&node, &pod], CLSACT).start();
    attached(&probe, &node, "lxc1");
    // The answer and the exit code of the running probe's doctor, by way of the agent.
    let ask = || {
        let (well, out, err) = probe.agent(&["runtime", "network", "doctor", "--json"]);
        let report: serde_json::Value = serde_json::from_str(&out).expect(&err);
        assert_eq!(report["trouble"], !well, "{report:#}");
        report
    };
    let of_lxc1 = |report: &serde_json::Value| {
        let namespaces = report["namespaces"].as_array().unwrap().iter();
        let mut all = namespaces.flat_map(|one| one["interfaces"].as_array().unwrap());
        all.find(|one| one["name"] == "lxc1").unwrap().clone()
    };
    let report = ask();
    assert_eq!(report["trouble"], false, "{report:#}");
    let ours = of_lxc1(&report)["classifiers"].clone();
    assert!(
        ours.as_array()
            .unwrap()
            .iter()
            .all(|one| one["ours"] == true),
        "{ours:#}"
    );
    node.vendor("lxc1", 5, 1);
    let report = ask();
    let interface = of_lxc1(&report);
    assert_eq!(interface["verdict"], "blind", "{interface:#}");
    assert_eq!(report["right_priority"], 4);
    let advice = interface["advice"][0].as_str().unwrap();
    assert!(advice.contains("strictly lower than 5"), "{advice}");
    // The same is a warning and a line of the state.
    let status = probe.status();
    let line = status["details"]["network.doctor"].as_str().unwrap();
    assert!(line.contains("traffic is missed on 1"), "{line}");
    assert!(
        status["environment"]["warnings"]
            .to_string()
            .contains("network doctor"),
        "{status:#}"
    );
    node.run("tc filter del dev lxc1 egress prio 5");
    node.run("tc filter del dev lxc1 ingress prio 5");
    assert_eq!(ask()["trouble"], false);
    // Each change is one event, and asking twice is none.
    assert_eq!(ask()["trouble"], false);
    let told = |event: &serde_json::Value, trouble: bool| event["trouble"] == trouble;
    let event = probe.events.expect("network_doctor", |one| told(one, true));
    assert_eq!(event["right_priority"], 4, "{event:#}");
    assert_eq!(event["interfaces"][0]["name"], "lxc1", "{event:#}");
    assert_eq!(event["verdict"], "traffic is missed", "{event:#}");
    probe
        .events
        .expect("network_doctor", |one| told(one, false));
    assert_eq!(probe.events.of_rule("network_doctor").len(), 2);
}

#[test]
fn classifiers_beside_a_second_vendor() {
    let (node, pod) = node_and_pod();
    let before = node.vendor("lxc1", 1, 1);
    let mut probe = setup(&[&node, &pod], CLSACT).start();
    for (host, name) in [(&node, "lo"), (&node, "lxc1"), (&pod, "lo"), (&pod, "eth0")] {
        attached(&probe, host, name);
        for one in host.ours(name) {
            assert_eq!((one.hook, one.priority), (Hook::Clsact, 10), "{one:?}");
            assert!(one.program.is_some_and(|program| program.direct_action));
        }
    }
    let after = node.vendor("lxc1", 5, 1);
    // New interfaces on both sides at once, theirs and ours.
    for round in 0..20 {
        node.run(&format!(
            "ip link add c{round} type veth peer name c{round} netns {}",
            pod.child.id()
        ));
        let theirs = node.vendor(&format!("c{round}"), 1, 1);
        attached(&probe, &node, &format!("c{round}"));
        attached(&probe, &pod, &format!("c{round}"));
        assert!(node.has(&format!("c{round}"), theirs));
    }
    traffic(&node, &pod);
    let status = probe.stop();
    assert!(
        status.is_some_and(|status| status.success()),
        "{}",
        probe.log()
    );
    assert!(node.has("lxc1", before) && node.has("lxc1", after));
    for (host, name) in [
        (&node, "lo"),
        (&node, "lxc1"),
        (&pod, "lo"),
        (&pod, "eth0"),
        (&pod, "c7"),
    ] {
        assert!(host.ours(name).is_empty(), "{name}: {:?}", host.ours(name));
    }
    traffic(&node, &pod);
}

#[test]
fn classifiers_of_a_killed_probe_are_taken_away_by_the_next() {
    let (node, pod) = node_and_pod();
    let theirs = node.vendor("lxc1", 10, 77);
    let mut probe = setup(&[&node, &pod], CLSACT).start();
    attached(&probe, &node, "lxc1");
    attached(&probe, &pod, "eth0");
    probe.kill();
    assert_eq!(node.ours("lxc1").len(), 2, "filters outlive a kill");
    // Also a probe that is to attach none.
    let text = std::fs::read_to_string(probe.config()).unwrap();
    std::fs::write(
        probe.config(),
        text.replace("  network:\n", "  network:\n    enabled: false\n"),
    )
    .unwrap();
    probe.start();
    eventually("they are gone", || {
        node.ours("lxc1").is_empty() && node.ours("lo").is_empty() && pod.ours("eth0").is_empty()
    });
    assert!(node.has("lxc1", theirs));
}

#[test]
fn classifiers_go_and_come_with_network_enabled() {
    let (node, pod) = node_and_pod();
    let mut probe = setup(&[&node, &pod], "    enabled: true\n").start();
    for _ in 0..2 {
        attached(&probe, &node, "lxc1");
        attached(&probe, &pod, "eth0");
        reconfigure(&probe, "    enabled: true\n", "    enabled: false\n");
        eventually("none is left", || {
            [&node, &pod].iter().all(|host| host.ours("lo").is_empty())
                && node.ours("lxc1").is_empty()
                && pod.ours("eth0").is_empty()
        });
        reconfigure(&probe, "    enabled: false\n", "    enabled: true\n");
    }
    attached(&probe, &node, "lxc1");
    traffic(&node, &pod);
    let output = probe.agent_command(&["status"]).output().unwrap();
    let status = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(status.contains(&format!("{}.lxc1", node.netns)), "{status}");
    assert!(status.contains("packets seen: "), "{status}");
    // Without a rule about packets there is nothing to attach.
    probe.write_policy("e2e.policy", "version: 1.0.0\nrules:\n  - id: e2e_unused\n    expression: exec.file.path == \"/nonexistent/e2e\"\n");
    probe.signal(Signal::SIGHUP);
    eventually("none is left", || {
        node.ours("lxc1").is_empty() && pod.ours("eth0").is_empty()
    });
    assert!(probe.stop().is_some_and(|status| status.success()));
}

#[test]
fn classifiers_are_off_by_the_environment() {
    let (node, pod) = node_and_pod();
    let probe = setup(&[&node, &pod], "")
        .env("DD_RUNTIME_SECURITY_CONFIG_NETWORK_ENABLED", "false")
        .start();
    std::thread::sleep(Duration::from_millis(500));
    assert!(
        node.ours("lxc1").is_empty() && pod.ours("eth0").is_empty(),
        "{}",
        probe.log()
    );
}

#[test]
fn a_classifier_of_egress_only() {
    let (node, pod) = node_and_pod();
    let probe = setup(&[&node, &pod], "    ingress: {enabled: false}\n").start();
    let sides = || -> BTreeSet<_> {
        node.ours("lxc1")
            .into_iter()
            .map(|one| one.direction)
            .collect()
    };
    eventually("egress", || sides().contains(&Direction::Egress));
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(
        sides(),
        BTreeSet::from([Direction::Egress]),
        "{}",
        probe.log()
    );
}

#[test]
fn a_namespace_that_is_made_by_unshare_alone_is_seen() {
    // Seen, and not watched: no namespace of this machine is named.
    let probe = setup_of(&[], "")
        .env("DD_LOG_LEVEL", "debug")
        .rule("asked", r#"dns.question.name == "classifiers.example""#)
        .start();
    let unshare = [libc::SYS_unshare, libc::CLONE_NEWNET.into()].map(|number| number.to_string());
    let mut helper = Command::new(program("e2e-helper"))
        .args([
            "sys-then",
            &unshare[0],
            &format!("i:{}", unshare[1]),
            "then",
        ])
        .arg(libc::SYS_pause.to_string())
        .spawn()
        .unwrap();
    let own = NetNs::own().unwrap().inum();
    let inum = || NetNs::of_task("/proc".as_ref(), helper.id()).map_or(own, |it| it.inum());
    eventually("the helper has a namespace", || inum() != own);
    let told = format!(
        "a network namespace is seen namespace={} task={}",
        inum(),
        helper.id()
    );
    let begun = Instant::now();
    while !probe.log().contains(&told) && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = helper.kill();
    let _ = helper.wait();
    assert!(probe.log().contains(&told), "{told}:\n{}", probe.log());
}
