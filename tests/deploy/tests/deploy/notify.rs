//! Both programs tell a service manager how they are (`sd_notify(3)`).

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use atalaya_e2e::{Probe, Setup, program, slow};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A service manager's end of the protocol.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        let time = Some(Duration::from_millis(200));
        socket.set_read_timeout(time).unwrap();
        Self(socket)
    }

    /// The next message that has this line.
    fn expect(&self, line: &str) -> String {
        let end = Instant::now() + slow(Duration::from_secs(30));
        let mut seen = Vec::new();
        while Instant::now() < end {
            let mut bytes = [0; 1024];
            let Ok(length) = self.0.recv(&mut bytes) else {
                continue;
            };
            let message = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if message.lines().any(|l| l == line) {
                return message;
            }
            seen.push(message);
        }
        panic!("no {line}; there was {seen:?}");
    }
}

fn terminate(child: &mut Child) {
    kill(
        Pid::from_raw(child.id().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
}

fn setup(watchdog: Duration) -> (Manager, Setup) {
    let setup = Setup::new();
    let socket = setup.dir().join("notify");
    let manager = Manager::at(&socket);
    let micros = watchdog.as_micros().to_string();
    let setup = setup
        .env("NOTIFY_SOCKET", &socket.to_string_lossy())
        .env("WATCHDOG_USEC", &micros);
    (manager, setup)
}

#[test]
fn system_probe_tells_when_it_is_ready_lives_reloads_and_stops() {
    let (manager, setup) = setup(Duration::from_secs(3));
    let mut probe: Probe = setup.start();
    manager.expect("READY=1");
    manager.expect("WATCHDOG=1");
    manager.expect("WATCHDOG=1");
    probe.signal(Signal::SIGHUP);
    let reloading = manager.expect("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    manager.expect("READY=1");
    assert!(probe.stop().unwrap().success());
    manager.expect("STOPPING=1");
}

#[test]
fn security_agent_tells_too_and_needs_no_probe_for_it() {
    let (manager, setup) = setup(Duration::from_secs(3));
    setup.write();
    let mut child = Command::new(program("security-agent"))
        .arg("-c")
        .arg(setup.dir().join("atalaya.yaml"))
        .arg("start")
        .envs(setup.env.iter().cloned())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    manager.expect("READY=1");
    manager.expect("WATCHDOG=1");
    manager.expect("WATCHDOG=1");
    terminate(&mut child);
    manager.expect("STOPPING=1");
    assert!(child.wait().unwrap().success());
}
