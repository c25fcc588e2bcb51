//! What the classifiers cost, as `./dev bench --network` asks: a stream of TCP and questions of DNS between two namespaces, with and without them, in turns. As root.
//!
//! `cargo run -p atalaya-sensor --example packets [SECONDS [ROUNDS]]`
#![allow(
    clippy::unwrap_used,
    unsafe_code,
    reason = "a tool of developers: what fails ends it; the kernel's statistics have no safe wrapper"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use atalaya_model::capture::{Approvers, CaptureKind, PacketOptions};
use atalaya_sensor::{Classifiers, Interest, Options, Sensor};
use libbpf_rs::{TC_EGRESS, TC_INGRESS, TcHookBuilder};

const SERVER: &str = "10.77.0.1";

/// A namespace with a thread in it that does what it is told.
struct Place {
    tell: Sender<Box<dyn FnOnce() + Send>>,
}

impl Place {
    fn new() -> Self {
        let (tell, told) = channel::<Box<dyn FnOnce() + Send>>();
        std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            told.into_iter().for_each(|work| work());
        });
        Self { tell }
    }

    fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, result) = channel();
        self.tell
            .send(Box::new(move || drop(sender.send(work()))))
            .unwrap();
        result.recv().unwrap()
    }

    fn path(&self) -> String {
        self.run(|| {
            let (pid, tid) = (std::process::id(), nix::unistd::gettid());
            format!("/proc/{pid}/task/{tid}/ns/net")
        })
    }

    /// Attaches the classifiers, or takes them off.
    fn set(&self, classifiers: &Option<(OwnedFd, OwnedFd)>) {
        let fds = classifiers
            .as_ref()
            .map(|(egress, ingress)| [egress, ingress].map(|fd| fd.try_clone().unwrap()));
        self.run(move || {
            ip("tc", "qdisc del dev eth0 clsact", true);
            let Some(fds) = fds else { return };
            let index = nix::net::if_::if_nametoindex("eth0").unwrap();
            for (fd, point) in fds.iter().zip([TC_EGRESS, TC_INGRESS]) {
                let mut hook = TcHookBuilder::new(fd.as_fd())
                    .ifindex(i32::try_from(index).unwrap())
                    .handle(1)
                    .priority(10)
                    .hook(point);
                let _ = hook.create(); // the second time it is there
                hook.attach().unwrap();
            }
        });
    }
}

fn ip(program: &str, arguments: &str, may_fail: bool) {
    let status = Command::new(program)
        .args(arguments.split(' '))
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(may_fail || status.success(), "{program} {arguments}");
}

/// The processor's time that this thread has had, in seconds: unlike the clock's it does not count what others do meanwhile.
fn cpu() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Gigabits of a stream for each second of the processor's, both ends together: what the network costs, in which a packet is taken through both
/// interfaces by who sends it.
fn stream(server: &Place, client: &Place, time: Duration) -> f64 {
    let listener = server.run(|| TcpListener::bind((SERVER, 0)).unwrap());
    let port = listener.local_addr().unwrap().port();
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut bytes, mut total) = (vec![0; 256 << 10], 0);
        while let Ok(read @ 1..) = stream.read(&mut bytes) {
            total += read;
        }
        (total, cpu())
    });
    let mut stream = client.run(move || TcpStream::connect((SERVER, port)).unwrap());
    let (bytes, begun, before) = (vec![7; 128 << 10], Instant::now(), cpu());
    while begun.elapsed() < time {
        stream.write_all(&bytes).unwrap();
    }
    let sent = cpu() - before;
    drop(stream);
    let (total, received) = reader.join().unwrap();
    total as f64 * 8.0 / (sent + received) / 1e9
}

/// Packets for each second of the processor's, each answered: to a port that nobody is interested in, or to that of DNS.
fn questions(server: &Place, client: &Place, port: u16, time: Duration) -> f64 {
    let listener = server.run(move || UdpSocket::bind((SERVER, port)).unwrap());
    listener
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let answers = std::thread::spawn(move || {
        let mut bytes = [0; 512];
        while let Ok((length, from)) = listener.recv_from(&mut bytes) {
            bytes[2] |= 0x80;
            listener.send_to(&bytes[..length], from).unwrap();
        }
        cpu()
    });
    let socket = client.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x03com\0\0\x01\0\x01";
    let (mut count, begun, before, mut bytes) = (0, Instant::now(), cpu(), [0; 512]);
    while begun.elapsed() < time {
        socket.send_to(question, (SERVER, port)).unwrap();
        socket.recv(&mut bytes).unwrap();
        count += 1;
    }
    let asked = cpu() - before;
    f64::from(count) / (asked + answers.join().unwrap())
}

fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// How often a program ran, and for how many nanoseconds; counted while statistics are on.
fn run_time(program: &OwnedFd) -> (u64, u64) {
    let path = format!("/proc/self/fdinfo/{}", program.as_raw_fd());
    let text = std::fs::read_to_string(path).unwrap();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |line| {
            line.trim_matches([':', '\t', ' ']).parse().unwrap()
        })
    };
    (field("run_cnt"), field("run_time_ns"))
}

/// A packet of IPv4 with ports that no rule is about.
fn packet(protocol: u8) -> Vec<u8> {
    let mut bytes = vec![2; 12];
    bytes.extend([8, 0, 0x45, 0, 0, 86, 0, 1, 0, 0, 64, protocol, 0, 0]);
    bytes.extend([10, 77, 0, 1, 10, 77, 0, 2]);
    bytes.extend([0x27, 0x0f, 0x13, 0x88]); // 9999 to 5000
    if protocol == 6 {
        bytes.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
    }
    bytes.resize(100, 0);
    bytes
}

/// What a program takes for a packet, by the kernel's own measurement of many in a row: the best of some tries, since whatever else the machine
/// does only adds to it.
fn alone(program: &OwnedFd, packet: &[u8]) -> u32 {
    let once = || {
        // SAFETY: all zeroes are the options with nothing set.
        let mut options: libbpf_sys::bpf_test_run_opts = unsafe { std::mem::zeroed() };
        options.sz = size_of_val(&options) as _;
        options.data_in = packet.as_ptr().cast();
        options.data_size_in = packet.len() as u32;
        options.repeat = 20_000;
        // SAFETY: the packet outlives the call, and nothing is asked to be written.
        let error =
            unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &mut options) };
        assert_eq!(
            (error, options.retval),
            (0, u32::MAX),
            "the next filter is asked"
        );
        options.duration
    };
    (0..50).map(|_| once()).min().unwrap_or_default()
}

fn main() {
    let mut numbers = std::env::args()
        .skip(1)
        .map(|number| number.parse().unwrap());
    let time = Duration::from_secs_f64(numbers.next().unwrap_or(1.5));
    let rounds = numbers.next().unwrap_or(5.0) as usize;
    let (server, client) = (Place::new(), Place::new());
    let peer = client.path();
    server.run(move || {
        ip(
            "ip",
            &format!("link add eth0 type veth peer name eth0 netns {peer}"),
            false,
        );
        ip("ip", &format!("addr add {SERVER}/24 dev eth0"), false);
        ip("ip", "link set eth0 up", false);
    });
    client.run(|| {
        ip("ip", "addr add 10.77.0.2/24 dev eth0", false);
        ip("ip", "link set eth0 up", false);
    });
    let all = Approvers {
        all: true,
        ..Approvers::default()
    };
    for (name, kinds) in [
        (
            "rules of dns and imds",
            &[CaptureKind::Dns, CaptureKind::Imds][..],
        ),
        (
            "and flows",
            &[
                CaptureKind::Dns,
                CaptureKind::Imds,
                CaptureKind::NetworkFlowMonitor,
            ],
        ),
    ] {
        let mut sensor = Sensor::open(&Options::default()).unwrap();
        let interest = Interest {
            approvers: kinds.iter().map(|kind| (*kind, all.clone())).collect(),
            capture_all_errors: false,
            packets: PacketOptions::default(),
            ..Interest::default()
        };
        sensor.apply(&interest).unwrap();
        sensor.start(Box::new(drop)).unwrap();
        let Classifiers { egress, ingress } = sensor.classifiers().unwrap();
        let on = Some((egress, ingress));
        println!("{name}");
        let (egress, ingress) = on.as_ref().unwrap();
        for (what, packet) in [("TCP", packet(6)), ("UDP", packet(17))] {
            let (out, into) = (alone(egress, &packet), alone(ingress, &packet));
            println!("  a packet of {what} that no rule wants: {out} ns out, {into} ns in");
        }
        if rounds == 0 {
            continue;
        }
        let (mut streams, mut others, mut asked) =
            ([vec![], vec![]], [vec![], vec![]], [vec![], vec![]]);
        for _ in 0..rounds {
            for (at, classifiers) in [&None, &on].into_iter().enumerate() {
                for place in [&server, &client] {
                    place.set(classifiers);
                }
                streams[at].push(stream(&server, &client, time));
                others[at].push(questions(&server, &client, 9999, time));
                asked[at].push(questions(&server, &client, 53, time));
            }
        }
        println!("  {:38} {:>12} {:>12}", "", "without", "with");
        for (what, samples) in [
            ("TCP stream, Gbit for a CPU second", &mut streams),
            ("UDP that no rule wants, exchanges", &mut others),
            ("DNS, exchanges", &mut asked),
        ] {
            let [without, with] = samples.each_mut().map(|samples| median(samples));
            let difference = (with / without - 1.0) * 100.0;
            println!("  {what:38} {without:12.2} {with:12.2} {difference:+7.2} %");
        }
        // SAFETY: takes a number and gives a descriptor, or an error.
        let statistics = unsafe { libbpf_sys::bpf_enable_stats(libbpf_sys::BPF_STATS_RUN_TIME) };
        assert!(statistics >= 0, "no statistics: {statistics}");
        let (egress, ingress) = on.as_ref().unwrap();
        let mut before = [egress, ingress].map(run_time);
        for (what, port) in [
            ("TCP stream", 0),
            ("UDP that no rule wants", 9999),
            ("DNS", 53),
        ] {
            match port {
                0 => drop(stream(&server, &client, time)),
                port => drop(questions(&server, &client, port, time)),
            }
            let after = [egress, ingress].map(run_time);
            let cost = [0, 1].map(|at| {
                let (count, ns) = (after[at].0 - before[at].0, after[at].1 - before[at].1);
                ns as f64 / count.max(1) as f64
            });
            println!(
                "  {what:38} {:8.0} ns a packet out, {:6.0} in",
                cost[0], cost[1]
            );
            before = after;
        }
        nix::unistd::close(statistics).unwrap();
        for place in [&server, &client] {
            place.set(&None);
        }
        println!("  {:?}", sensor.packet_counts());
    }
}
