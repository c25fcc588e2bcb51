//! A node and its pods, a manager that sees nothing else, and classifiers that count.
#![allow(
    dead_code,
    unreachable_pub,
    unsafe_code,
    clippy::unwrap_used,
    reason = "each suite uses a part; maps are made by libbpf; a test fails by panic"
)]

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use atalaya_network::doctor::{self, Verdict};
use atalaya_network::manager::{InterfaceStatus, Manager, NetworkStatus, Programs, Settings};
use atalaya_network::netns::NetNs;
use atalaya_network::tc::{Attached, Direction, Hook, list};

use crate::support::{self, in_namespace, insn, load, run};

/// What is waited for at most.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until something is so.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(
            begun.elapsed() < PATIENCE,
            "not so within {PATIENCE:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A classifier that counts its packets and always returns the same.
pub struct Counter {
    pub program: OwnedFd,
    map: OwnedFd,
}

impl Counter {
    pub fn new(name: &str, verdict: i32) -> Self {
        // SAFETY: no names, no options; the kernel has just made the descriptor.
        let map = unsafe {
            let fd = libbpf_sys::bpf_map_create(
                libbpf_sys::BPF_MAP_TYPE_ARRAY,
                std::ptr::null(),
                4,
                8,
                1,
                std::ptr::null(),
            );
            assert!(fd >= 0, "a map: {fd}");
            OwnedFd::from_raw_fd(fd)
        };
        let program = [
            insn(0x18, 1, 2, 0, map.as_raw_fd()), // r1 = the map's value
            insn(0, 0, 0, 0, 0),
            insn(0xb7, 2, 0, 0, 1),
            insn(0xdb, 1, 2, 0, 0), // lock *(u64 *)r1 += 1
            insn(0xb7, 0, 0, 0, verdict),
            insn(0x95, 0, 0, 0, 0),
        ];
        Self {
            program: load(name, &program).unwrap(),
            map,
        }
    }

    pub fn count(&self) -> u64 {
        let (key, mut value) = (0u32, 0u64);
        // SAFETY: key and value have the sizes that the map was made with.
        let result = unsafe {
            libbpf_sys::bpf_map_lookup_elem(
                self.map.as_raw_fd(),
                (&raw const key).cast(),
                (&raw mut value).cast(),
            )
        };
        assert_eq!(result, 0);
        value
    }

    pub fn id(&self) -> u32 {
        atalaya_network::bpf::info(self.program.as_fd()).unwrap().id
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }
}

/// Our two classifiers.
pub struct Ours {
    pub ingress: Counter,
    pub egress: Counter,
}

impl Ours {
    pub fn new() -> Self {
        Self {
            ingress: Counter::new("ours_in", -1),
            egress: Counter::new("ours_out", -1),
        }
    }

    pub fn programs(&self) -> Programs<'_> {
        Programs {
            egress: self.egress.fd(),
            ingress: Some(self.ingress.fd()),
        }
    }

    pub fn count(&self) -> (u64, u64) {
        (self.ingress.count(), self.egress.count())
    }
}

/// A process in a network namespace of its own.
pub struct Pod {
    child: Child,
    pub netns: u32,
}

impl Pod {
    pub fn start() -> Self {
        let child = Command::new("unshare")
            .args(["-n", "sleep", "300"])
            .spawn()
            .unwrap();
        let node = NetNs::own().unwrap().inum();
        let mut netns = node;
        eventually("the pod has a namespace", || {
            netns = NetNs::of_task("/proc".as_ref(), child.id()).map_or(node, |pod| pod.inum());
            netns != node
        });
        Self { child, netns }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        NetNs::of_task("/proc".as_ref(), self.pid())
            .unwrap()
            .run(work)
            .unwrap()
    }

    /// `ip` or `tc` inside.
    pub fn run(&self, command: &str) {
        self.inside(|| run(command));
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

static ALONE: Mutex<()> = Mutex::new(());

/// A manager in a node's namespace.
pub struct World {
    pub manager: Manager,
    pub ours: Ours,
    pub only: Arc<RwLock<BTreeSet<u32>>>,
    prefers_tcx: bool,
    /// A process, so that the node is found where others look for namespaces.
    _resident: Resident,
}

struct Resident(Child);

impl Resident {
    fn here() -> Self {
        Self(Command::new("sleep").arg("300").spawn().unwrap())
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl World {
    /// Runs a test on a node of its own.
    pub fn run(settings: Settings, test: impl FnOnce(&World) + Send + 'static) {
        // One at a time: some measure how long something takes.
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        in_namespace(move || {
            run("ip link set lo up");
            test(&World::start(settings));
        });
    }

    pub fn start(settings: Settings) -> Self {
        let node = NetNs::own().unwrap().inum();
        let only = Arc::new(RwLock::new(BTreeSet::from([node])));
        let prefers_tcx = settings.prefer_tcx;
        let settings = Settings {
            only: Some(Arc::clone(&only)),
            ..settings
        };
        Self {
            manager: Manager::start(settings, || {}).unwrap(),
            ours: Ours::new(),
            only,
            prefers_tcx,
            _resident: Resident::here(),
        }
    }

    /// What the doctor says of an interface of the node.
    pub fn verdict(&self, name: &str) -> Verdict {
        let options = doctor::Options {
            ours: BTreeSet::from([self.ours.ingress.id(), self.ours.egress.id()]),
            only: Some(BTreeSet::from([NetNs::own().unwrap().inum()])),
            prefer_tcx: self.prefers_tcx,
            ..doctor::Options::default()
        };
        let report = doctor::examine(&options);
        let mut interfaces = report
            .namespaces
            .iter()
            .flat_map(|namespace| &namespace.interfaces);
        let found = interfaces.find(|interface| interface.name == name);
        found
            .unwrap_or_else(|| panic!("{name} is not in {report:?}"))
            .verdict
    }

    pub fn admit(&self, netns: u32) {
        self.only.write().unwrap().insert(netns);
    }

    /// A pod that the sensor has told of.
    pub fn pod(&self) -> Pod {
        let pod = Pod::start();
        self.admit(pod.netns);
        self.manager.namespace_seen(pod.pid(), pod.netns);
        pod
    }

    pub fn on(&self) {
        self.manager
            .set_programs(Some(self.ours.programs()))
            .unwrap();
        assert!(self.manager.settle(PATIENCE));
    }

    pub fn off(&self) {
        self.manager.set_programs(None).unwrap();
        assert!(self.manager.settle(PATIENCE));
    }

    pub fn status(&self) -> NetworkStatus {
        self.manager.status().unwrap()
    }

    /// What the manager says of an interface.
    pub fn interface(&self, netns: u32, name: &str) -> Option<InterfaceStatus> {
        let status = self.status();
        let namespace = status
            .namespaces
            .into_iter()
            .find(|namespace| namespace.inum == netns)?;
        namespace
            .interfaces
            .into_iter()
            .find(|interface| interface.name == name)
    }

    /// Waits until both sides of an interface have ours, by the kernel's own word.
    pub fn attached(&self, name: &str) {
        eventually(&format!("{name} has ours: {:?}", self.status()), || {
            self.places(name).len() == 2
        });
    }

    /// Where ours are on an interface of this namespace.
    pub fn places(&self, name: &str) -> Vec<Attached> {
        self.own(listed(name))
    }

    pub fn own(&self, all: Vec<Attached>) -> Vec<Attached> {
        let ids = [self.ours.ingress.id(), self.ours.egress.id()];
        let is_ours = |one: &Attached| one.program.as_ref().is_some_and(|p| ids.contains(&p.id));
        all.into_iter().filter(is_ours).collect()
    }
}

/// All that is on an interface of this namespace; nothing if it is not there.
pub fn listed(name: &str) -> Vec<Attached> {
    let all = atalaya_network::interfaces().unwrap();
    let found = all.into_iter().find(|interface| interface.name == name);
    found
        .map(|interface| list(&interface).unwrap_or_default())
        .unwrap_or_default()
}

/// Those of one program.
pub fn of_program(all: &[Attached], id: u32) -> Vec<&Attached> {
    all.iter()
        .filter(|one| one.program.as_ref().is_some_and(|p| p.id == id))
        .collect()
}

/// Connects a pod with the node: `name` here with 10.N.0.1, `eth0` there with 10.N.0.2.
pub fn connect(pod: &Pod, name: &str, n: u8) {
    run(&format!("ip link add {name} type veth peer name {name}p"));
    run(&format!("ip link set {name}p netns {}", pod.pid()));
    run(&format!("ip addr add 10.{n}.0.1/24 dev {name}"));
    run(&format!("ip link set {name} up"));
    pod.run(&format!("ip link set {name}p name eth0"));
    pod.run(&format!("ip addr add 10.{n}.0.2/24 dev eth0"));
    pod.run("ip link set eth0 up");
    pod.run("ip link set lo up");
}

/// Sends datagrams from the node to the pod and back; all of them must arrive.
pub fn traffic(pod: &Pod, n: u8, count: u32) {
    let there = pod.inside(|| UdpSocket::bind((format!("10.{n}.0.2"), 0)).unwrap());
    let here = UdpSocket::bind((format!("10.{n}.0.1"), 0)).unwrap();
    let to = there.local_addr().unwrap();
    for socket in [&here, &there] {
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
    }
    let mut room = [0; 16];
    for number in 0..count {
        here.send_to(&number.to_be_bytes(), to).unwrap();
        let (length, from) = there
            .recv_from(&mut room)
            .expect("a packet to the pod is lost");
        assert_eq!(room[..length], number.to_be_bytes());
        there.send_to(&number.to_be_bytes(), from).unwrap();
        here.recv_from(&mut room)
            .expect("a packet from the pod is lost");
    }
}

/// The same, for an interface whose filters change all the time: each datagram gets there at the third try at the latest. Returns how many
/// had to be sent again.
pub fn persistent(pod: &Pod, n: u8, count: u32) -> u64 {
    let there = pod.inside(|| UdpSocket::bind((format!("10.{n}.0.2"), 0)).unwrap());
    let here = UdpSocket::bind((format!("10.{n}.0.1"), 0)).unwrap();
    let to = there.local_addr().unwrap();
    there
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let (mut room, mut again) = ([0; 4], 0);
    for number in 0..count {
        let arrives = || {
            here.send_to(&number.to_be_bytes(), to).unwrap();
            // What comes late was sent again, and is no more than that.
            while there.recv_from(&mut room).is_ok() {
                if room == number.to_be_bytes() {
                    return true;
                }
            }
            false
        };
        let tries = std::iter::repeat_with(arrives)
            .take(3)
            .take_while(|arrived| !arrived)
            .count();
        assert!(tries < 3, "a packet is lost for good");
        again += tries as u64;
    }
    again
}

/// How many descriptors this process has.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Whether tcx can be tested.
pub fn has_tcx() -> bool {
    let has = atalaya_network::tc::link::has_tcx();
    if !has {
        eprintln!("SKIPPED: this kernel has no tcx");
    }
    has
}

/// Settings that use filters of clsact, and look again soon.
pub fn clsact() -> Settings {
    Settings {
        prefer_tcx: false,
        ..Settings::default()
    }
}

/// Both ways, where there are two.
pub fn both(test: fn(Settings)) {
    test(clsact());
    if has_tcx() {
        test(Settings::default());
    }
}

pub const SIDES: [Direction; 2] = Direction::ALL;
pub use support::{attach_clsact, attach_tcx, interface};
pub const CLSACT: Hook = Hook::Clsact;
