//! The protocol of `sd_notify(3)`: datagrams to the socket that `NOTIFY_SOCKET` names. Without that variable nothing is sent.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Tells the service manager about this process. Cheap; every method does nothing where nobody listens.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// What the environment of this process says (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`). To be called before
    /// privileges are given up: the socket belongs to the service manager.
    pub fn from_environment() -> Self {
        let variable = |name| std::env::var(name).ok();
        let name = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let socket = name.and_then(|name| match connect(&name) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!("cannot tell the service manager anything: {name}: {error}");
                None
            }
        });
        let watchdog = socket.as_ref().and_then(|_| {
            watchdog(
                variable("WATCHDOG_USEC").as_deref(),
                variable("WATCHDOG_PID").as_deref(),
                std::process::id(),
            )
        });
        Self { socket, watchdog }
    }

    /// The program is ready to do its work.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// The configuration is being read again; to be followed by [`Notifier::ready`].
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec.saturating_mul(1_000_000) + now.tv_nsec / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The program is about to end.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// A line for `systemctl status`.
    pub fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", one_line(status)));
    }

    /// How often [`Notifier::alive`] is to be called: a third of the time after which the service manager restarts the
    /// program. `None` where it does not watch.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|time| time / 3)
    }

    /// A sign of life for the watchdog.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// Lost where nobody takes it: a service manager that hangs must not stop the program.
    fn send(&self, text: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(text.as_bytes())
        {
            tracing::debug!("the service manager does not take a message: {error}");
        }
    }
}

fn connect(name: &str) -> std::io::Result<UnixDatagram> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The time of the watchdog, where it is meant for this process.
fn watchdog(micros: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own)) {
        return None;
    }
    let micros: u64 = micros?.parse().ok()?;
    (micros > 0).then(|| Duration::from_micros(micros))
}

/// A line feed would begin another assignment.
fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn listening(name: &str) -> (UnixDatagram, Notifier) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        let manager = UnixDatagram::bind(&path).unwrap();
        let time = Some(Duration::from_secs(5));
        manager.set_read_timeout(time).unwrap();
        let notifier = Notifier {
            socket: Some(connect(path.to_str().unwrap()).unwrap()),
            watchdog: Some(Duration::from_secs(30)),
        };
        (manager, notifier)
    }

    fn next(manager: &UnixDatagram) -> String {
        let mut bytes = [0; 512];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn messages_are_those_of_the_protocol() {
        let (manager, notifier) = listening("n");
        notifier.ready("3 rules\nMAINPID=1");
        assert_eq!(next(&manager), "READY=1\nSTATUS=3 rules MAINPID=1");
        notifier.reloading();
        let reloading = next(&manager);
        let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
        assert!(micros.unwrap().parse::<u64>().unwrap() > 0, "{reloading}");
        notifier.alive();
        assert_eq!(next(&manager), "WATCHDOG=1");
        notifier.stopping();
        assert_eq!(next(&manager), "STOPPING=1");
        assert_eq!(notifier.watchdog_interval(), Some(Duration::from_secs(10)));
    }

    #[test]
    fn abstract_sockets_are_reached() {
        let name = format!("atalaya-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        manager
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        connect(&format!("@{name}"))
            .unwrap()
            .send(b"READY=1")
            .unwrap();
        assert_eq!(next(&manager), "READY=1");
    }

    #[test]
    fn a_manager_that_reads_nothing_does_not_stop_us() {
        let (_manager, notifier) = listening("full");
        for _ in 0..10_000 {
            notifier.alive();
        }
    }

    #[test]
    fn the_watchdog_of_another_process_is_not_ours() {
        let time = Some(Duration::from_secs(3));
        assert_eq!(watchdog(Some("3000000"), None, 7), time);
        assert_eq!(watchdog(Some("3000000"), Some("7"), 7), time);
        for (micros, pid) in [
            (Some("3000000"), Some("8")),
            (Some("3000000"), Some("x")),
            (Some("0"), None),
            (Some("x"), None),
            (None, None),
        ] {
            assert_eq!(watchdog(micros, pid, 7), None, "{micros:?} {pid:?}");
        }
    }
}
