//! The installed package under a real systemd: what the units forbid is nothing that the programs need.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use atalaya_deploy::{all_installed, repository, run};
use atalaya_e2e::{skip, slow, wait_for};

use crate::packages::{debian, made};

/// A machine of its own, as far as namespaces go; ended when dropped.
struct Machine {
    child: Child,
    cgroup: PathBuf,
    dir: tempfile::TempDir,
}

impl Machine {
    fn boot() -> Option<Self> {
        all_installed(["unshare", "nsenter", "dpkg"])?;
        let unified = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
            .map(PathBuf::from)
            .into_iter()
            .find(|path| path.join("cgroup.procs").exists());
        let Some(unified) = unified else {
            skip("no second version of cgroups is mounted");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let root = debian(dir.path())?;
        let package = made(dir.path(), "deb", "0.1.0");
        fs::copy(package, root.join("atalaya.deb")).unwrap();
        let inside = |arguments: &[&str]| {
            run(Command::new("chroot")
                .arg(&root)
                .args(arguments)
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"))
        };
        inside(&["dpkg", "-i", "/atalaya.deb"]).unwrap();
        for name in ["system-probe.service", "security-agent.service"] {
            inside(&["systemctl", "enable", name]).unwrap();
        }
        // The classifiers stay away from the machine's own interfaces; a watchdog that a test can wait for.
        let environment = "DD_RUNTIME_SECURITY_CONFIG_NETWORK_NAMESPACES=1\nHOST_PROC=/host/proc\n";
        fs::write(root.join("etc/default/atalaya"), environment).unwrap();
        let dropin = root.join("etc/systemd/system/system-probe.service.d");
        fs::create_dir_all(&dropin).unwrap();
        fs::write(dropin.join("watchdog.conf"), "[Service]\nWatchdogSec=12s\n").unwrap();
        let cgroup = unified.join(format!("atalaya-boot-{}", std::process::id()));
        let script = repository().join("tests/deploy/tests/deploy/boot.sh");
        let log = fs::File::create(dir.path().join("boot.log")).unwrap();
        let child = Command::new("sh")
            .arg(script)
            .arg(&root)
            .arg(&cgroup)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let machine = Self { child, cgroup, dir };
        let up = wait_for(slow(Duration::from_secs(30)), || {
            let state = machine.inside(&["systemctl", "is-active", "multi-user.target"]);
            state.is_ok().then_some(())
        });
        if up.is_none() {
            let log = fs::read_to_string(machine.dir.path().join("boot.log")).unwrap_or_default();
            skip(&format!(
                "systemd does not boot here: {}",
                log.trim().lines().last().unwrap_or("")
            ));
            return None;
        }
        Some(machine)
    }

    /// Runs a command among the machine's processes: those of the child of unshare(1).
    fn inside(&self, arguments: &[&str]) -> Result<String, String> {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let first = fs::read_to_string(children).map_err(|error| error.to_string())?;
        let first = first.split_whitespace().next().ok_or("it has no process")?;
        run(Command::new("nsenter")
            .args(["-t", first, "-m", "-p", "-C", "-n", "-r", "-w"])
            .args(["env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"])
            .args(arguments))
    }

    fn journal(&self) -> String {
        let units = ["-u", "system-probe", "-u", "security-agent"];
        let arguments = [["journalctl", "--no-pager", "-o", "cat"].as_slice(), &units].concat();
        self.inside(&arguments).unwrap_or_else(|why| why)
    }

    fn property(&self, name: &str) -> String {
        let arguments = ["systemctl", "show", "system-probe", "--value", "-p", name];
        self.inside(&arguments).unwrap().trim().to_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- journal:\n{}", self.journal());
        }
        // unshare takes its child, the machine's first process, with it, and that all others.
        let _ = self.child.kill();
        let _ = self.child.wait();
        wait_for(Duration::from_secs(10), || {
            remove(&self.cgroup).then_some(())
        });
    }
}

/// Removes a cgroup and those below, once nobody is in them.
fn remove(cgroup: &PathBuf) -> bool {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove(&entry.path());
        }
    }
    fs::remove_dir(cgroup).is_ok() || !cgroup.exists()
}

#[test]
fn the_services_do_their_work_as_hardened_as_they_are() {
    let Some(machine) = Machine::boot() else {
        return;
    };
    let active = wait_for(slow(Duration::from_secs(30)), || {
        machine
            .inside(&["systemctl", "is-active", "system-probe", "security-agent"])
            .ok()
    });
    assert!(active.is_some(), "{}", machine.journal());
    // The kernel's signs of life come through, and a rule's event reaches the file that security-agent writes.
    let events = "grep -q password_hashes_read /var/log/atalaya/events.jsonl";
    let told = wait_for(slow(Duration::from_secs(20)), || {
        let read = format!("cat /etc/shadow > /dev/null; sleep 0.3; {events}");
        machine.inside(&["sh", "-c", &read]).ok()
    });
    assert!(told.is_some(), "{}", machine.journal());
    // And its explorer finds it.
    let search = [
        "security-agent",
        "events",
        "search",
        "password_hashes_read",
        "--json",
    ];
    let found = wait_for(slow(Duration::from_secs(10)), || {
        let found = machine.inside(&search).ok()?;
        found.contains("\"password_hashes_read\"").then_some(())
    });
    assert!(
        found.is_some(),
        "{:?}{}",
        machine.inside(&search),
        machine.journal()
    );
    std::thread::sleep(slow(Duration::from_secs(14)));
    assert_eq!(machine.property("NRestarts"), "0", "{}", machine.journal());

    machine
        .inside(&["systemctl", "reload", "system-probe"])
        .unwrap();
    let again = wait_for(slow(Duration::from_secs(15)), || {
        machine
            .journal()
            .contains("policies were read again")
            .then_some(())
    });
    assert!(again.is_some(), "{}", machine.journal());
    let journal = machine.journal().to_lowercase();
    for refused in ["permission denied", "operation not permitted", "panicked"] {
        assert!(!journal.contains(refused), "{refused}: {journal}");
    }

    // One that hangs is started again.
    machine
        .inside(&["systemctl", "kill", "--signal=STOP", "system-probe"])
        .unwrap();
    let restarted = wait_for(slow(Duration::from_secs(40)), || {
        (machine.property("NRestarts") == "1" && machine.property("ActiveState") == "active")
            .then_some(())
    });
    assert!(restarted.is_some(), "{}", machine.journal());

    machine.inside(&["dpkg", "--remove", "atalaya"]).unwrap();
    let state = machine.inside(&["systemctl", "is-active", "system-probe", "security-agent"]);
    assert!(state.is_err(), "they run on after the removal: {state:?}");
}
