//! The commands of the pages on a host: both programs run with the usual paths, in mounts of their own, where those paths lead to folders of
//! the test.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use atalaya_deploy::{Block, blocks, repository, run};
use atalaya_e2e::{bin_dir, skip, slow, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::pages::{self, Outcome};

/// The user of this host that the package would make.
const AGENT: u32 = 61_001;

/// Makes the mounts, says so, and keeps them until its input ends. `$1` is the test's directory.
const MOUNTS: &str = r#"
mount --bind "$1/etc" /etc
for dir in /run /var/log /var/lib; do mount -t tmpfs -o mode=755 none $dir; done
mkdir -m 755 /run/atalaya /var/lib/atalaya
mkdir -m 750 /var/log/atalaya
chown 61001:61001 /var/log/atalaya
echo mounted
exec cat
"#;

/// What a shell on that host has besides: `sudo`, as root has it, and `systemctl` for the two services.
const SHELL: &str = r#"
sudo() { "$@"; }
systemctl() {
    case "$1 $2" in
        "reload system-probe") kill -HUP "$PROBE" ;;
        "reload security-agent") kill -HUP "$AGENT" ;;
        *) echo "no such service or verb: $*" >&2; return 1 ;;
    esac
}
"#;

struct Host {
    holder: Child,
    programs: Vec<(&'static str, Child)>,
    dir: tempfile::TempDir,
}

impl Host {
    fn start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path());
        let holder = Command::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-euc",
                MOUNTS,
                "sh",
            ])
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(fs::File::create(dir.path().join("mounts.log")).unwrap())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut host = Self {
            holder,
            programs: Vec::new(),
            dir,
        };
        let mounted = wait_for(slow(Duration::from_secs(10)), || {
            let ended = host.holder.try_wait().ok()?.is_some();
            let done = host.log("mounts").contains("mounted");
            (ended || done).then_some(done)
        });
        if mounted != Some(true) {
            skip("no mounts of one's own here");
            return None;
        }
        for (name, arguments) in [("system-probe", ["run"]), ("security-agent", ["start"])] {
            let log = fs::File::create(host.dir.path().join(format!("{name}.log"))).unwrap();
            let child = host
                .command(bin_dir().join(name).to_str().unwrap())
                .args(arguments)
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .unwrap();
            host.programs.push((name, child));
        }
        let tested = wait_for(slow(Duration::from_secs(40)), || {
            let log = host.log("system-probe");
            (log.contains("self-test passed") || log.contains("self-test failed")).then_some(())
        });
        assert!(tested.is_some(), "{}", host.log("system-probe"));
        Some(host)
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(format!("{name}.log"))).unwrap_or_default()
    }

    /// A command among these mounts. It takes the place of nsenter(1), so that its pid is the program's.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--mount", "--target", &self.holder.id().to_string(), "--"])
            .arg(program)
            .env(
                "PATH",
                format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", bin_dir().display()),
            )
            // The classifiers stay away from the machine's own interfaces.
            .env("DD_RUNTIME_SECURITY_CONFIG_NETWORK_NAMESPACES", "1")
            // Nobody listens there; nothing is sent.
            .env("DD_FLARE_URL", "https://127.0.0.1:1")
            // Two tests may want the usual port.
            .env("DD_SECURITY_AGENT_EXPVAR_PORT", "15011")
            .stdin(Stdio::null());
        command
    }

    fn pid(&self, name: &str) -> String {
        let found = self.programs.iter().find(|(program, _)| *program == name);
        found.expect("it was started").1.id().to_string()
    }

    /// Runs a line of a page.
    fn shell(&self, line: &str) -> Outcome {
        let line = line.replacen("timeout --signal INT 4 sudo", "timeout --signal INT 4", 1);
        let script = format!("{SHELL}\nprintf 'me@example.com\\nn\\n' | {line}");
        let mut command = self.command("sh");
        command
            .args(["-uc", &script])
            // Flares stay there, and go with it.
            .env("TMPDIR", self.dir.path())
            .env("PROBE", self.pid("system-probe"))
            .env("AGENT", self.pid("security-agent"));
        match run(&mut command) {
            Ok(text) => Outcome {
                success: true,
                text,
            },
            Err(text) => Outcome {
                success: false,
                text,
            },
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for (name, child) in &mut self.programs {
            let _ = kill(
                Pid::from_raw(child.id().try_into().unwrap()),
                Signal::SIGTERM,
            );
            let ended = wait_for(slow(Duration::from_secs(10)), || {
                child.try_wait().ok().flatten()
            });
            if ended.is_none() {
                eprintln!("{name} did not stop");
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
        if std::thread::panicking() {
            for name in ["system-probe", "security-agent"] {
                eprintln!("--- {name}:\n{}", self.log(name));
            }
        }
    }
}

/// This machine's `/etc` with what the package would put there.
fn fill(dir: &Path) {
    run(Command::new("cp")
        .arg("-a")
        .arg("/etc")
        .arg(dir.join("etc")))
    .unwrap();
    let etc = dir.join("etc");
    let append = |name: &str, line: &str| {
        let mut text = fs::read_to_string(etc.join(name)).unwrap();
        if !text.contains("\natalaya:") {
            text.push_str(line);
        }
        fs::write(etc.join(name), text).unwrap();
    };
    append(
        "passwd",
        &format!("atalaya:x:{AGENT}:{AGENT}::/nonexistent:/usr/sbin/nologin\n"),
    );
    append("group", &format!("atalaya:x:{AGENT}:\n"));
    let policies = etc.join("atalaya/runtime-security.d");
    fs::create_dir_all(&policies).unwrap();
    for name in ["system-probe.yaml", "security-agent.yaml"] {
        let to = etc.join("atalaya").join(name);
        fs::copy(repository().join("deploy/package").join(name), &to).unwrap();
        chown(&to, Some(0), Some(AGENT)).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o640)).unwrap();
    }
    let policy = repository().join("policies/default.policy");
    fs::copy(policy, policies.join("default.policy")).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn every_command_of_the_page_works() {
    let Some(host) = Host::start() else {
        return;
    };
    let here = |block: &Block| block.place.starts_with("host");
    for page in ["docs/troubleshooting.md", "docs/es/troubleshooting.md"] {
        pages::check(page, here, |_, line| host.shell(line));
        turning_the_network_off(&host, page);
    }
}

/// By the lines for system-probe.yaml, and the command after them.
fn turning_the_network_off(host: &Host, page: &str) {
    let config = host.dir.path().join("etc/atalaya/system-probe.yaml");
    let found = blocks(page);
    let at = found.iter().position(|b| b.place == "system-probe.yaml");
    let at = at.unwrap_or_else(|| panic!("{page}: no lines for system-probe.yaml"));
    let enabled = || {
        let shown = host.shell("security-agent config get runtime_security_config.network.enabled");
        assert!(shown.success, "{page}: {}", shown.text);
        shown.text
    };
    assert!(enabled().contains("true"), "{page}: {}", enabled());
    let former = fs::read_to_string(&config).unwrap();
    fs::write(&config, &found[at].text).unwrap();
    let reload = found[at + 1].text.trim().to_owned();
    let outcome = host.shell(&reload);
    assert!(outcome.success, "{page}: {reload}: {}", outcome.text);
    let off = wait_for(slow(Duration::from_secs(20)), || {
        enabled().contains("false").then_some(())
    });
    assert!(off.is_some(), "{page}: {}", enabled());
    fs::write(&config, former).unwrap();
    host.shell(&reload);
    let on = wait_for(slow(Duration::from_secs(20)), || {
        enabled().contains("true").then_some(())
    });
    assert!(on.is_some(), "{page}: {}", enabled());
}
