//! Containers of real runtimes: each is started with folders of its own, runs one program, and is ended.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use atalaya_e2e::{Probe, Setup, skip, slow, text, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::tiny_program;

/// A daemon in mounts of its own, so that none is left; ended when dropped.
struct Daemon(Child);

impl Daemon {
    fn start(program: &Path, arguments: &[&str], log: &Path) -> Option<Self> {
        let log = std::fs::File::create(log).ok()?;
        Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .ok()
            .map(Self)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.0.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let ended = wait_for(Duration::from_secs(15), || self.0.try_wait().ok().flatten());
        if ended.is_none() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

fn installed(program: &str) -> Option<PathBuf> {
    ["/usr/bin", "/usr/sbin", "/usr/local/bin"]
        .into_iter()
        .map(|dir| Path::new(dir).join(program))
        .find(|path| path.exists())
}

/// The programs, or a skipped test.
fn all_installed<const N: usize>(programs: [&str; N]) -> Option<[PathBuf; N]> {
    let found = programs.map(installed);
    if let Some(missing) = found.iter().position(Option::is_none) {
        skip(&format!("{} is not installed", programs[missing]));
        return None;
    }
    Some(found.map(Option::unwrap_or_default))
}

/// A probe that waits for the program of a container, and a root directory with that program.
fn prepare(runtime: &str) -> (Probe, String, PathBuf) {
    let name = format!("in-{runtime}-{}", std::process::id());
    let probe = Setup::new()
        .rule(
            "in",
            &format!(r#"exec.file.path == "/{name}" && exec.container.id != """#),
        )
        .rule("any", &format!(r#"exec.file.name == "{name}""#))
        .start();
    let root = probe.dir().join("rootfs");
    std::fs::create_dir(&root).unwrap();
    tiny_program(&root.join(&name));
    (probe, name, root)
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{command:?}: {}", text(&output.stderr)))
    }
}

/// Removes the cgroups that a runtime leaves behind, where they are empty.
fn remove_empty_cgroups(name: &str) {
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten()
    {
        let _ = std::fs::remove_dir(hierarchy.path().join(name));
    }
    let _ = std::fs::remove_dir(Path::new("/sys/fs/cgroup").join(name));
}

fn expect_in_container(probe: &mut Probe, id: &str, manager: &str) {
    let event = probe.events.expect_rule("any");
    assert_eq!(text(&event, "/process/container/id"), id, "{event:#}");
    assert_eq!(text(&event, "/container/id"), id, "{event:#}");
    assert!(text(&event, "/process/cgroup/id").contains(id), "{event:#}");
    assert_eq!(
        text(&event, "/process/cgroup/manager"),
        manager,
        "{event:#}"
    );
    assert!(
        !text(&event, "/container/created_at").is_empty(),
        "{event:#}"
    );
    probe.events.expect_rule("in");
}

fn pack(root: &Path, tar: &Path) {
    run(Command::new("tar")
        .arg("-C")
        .arg(root)
        .arg("-cf")
        .arg(tar)
        .arg("."))
    .unwrap();
}

#[test]
fn docker() {
    let Some([dockerd, docker]) = all_installed(["dockerd", "docker"]) else {
        return;
    };
    let (mut probe, name, root) = prepare("docker");
    let dir = probe.dir().join("docker");
    std::fs::create_dir(&dir).unwrap();
    let at = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let host = format!("unix://{}", at("d.sock"));
    let arguments = [
        "--data-root",
        &at("data"),
        "--exec-root",
        &at("exec"),
        "-p",
        &at("pid"),
        "-H",
        &host,
        "--storage-driver",
        "vfs",
        "--iptables=false",
        "--ip6tables=false",
        "--bridge=none",
    ];
    let daemon = Daemon::start(&dockerd, &arguments, &dir.join("log"));
    let client =
        |arguments: &[&str]| run(Command::new(&docker).args(["-H", &host]).args(arguments));
    let ready = wait_for(slow(Duration::from_secs(30)), || client(&["version"]).ok());
    let tar = dir.join("image.tar");
    pack(&root, &tar);
    let ran = ready
        .ok_or("dockerd does not answer".to_owned())
        .and_then(|_| {
            client(&["import", &tar.to_string_lossy(), "e2e"])?;
            let program = format!("/{name}");
            client(&[
                "run",
                "--rm",
                "--network",
                "none",
                "--cidfile",
                &at("id"),
                "e2e",
                &program,
            ])
        });
    let id = std::fs::read_to_string(dir.join("id")).unwrap_or_default();
    drop(daemon);
    remove_empty_cgroups("docker");
    if let Err(why) = ran {
        skip(&format!("docker does not run here: {why}"));
        return;
    }
    expect_in_container(&mut probe, id.trim(), "docker");
}

#[test]
fn containerd() {
    let Some([containerd, ctr, _]) =
        all_installed(["containerd", "ctr", "containerd-shim-runc-v2"])
    else {
        return;
    };
    let (mut probe, name, root) = prepare("containerd");
    let dir = probe.dir().join("containerd");
    std::fs::create_dir(&dir).unwrap();
    let at = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let config = format!(
        "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {:?}\n",
        at("root"),
        at("state"),
        at("c.sock")
    );
    std::fs::write(dir.join("config.toml"), config).unwrap();
    let daemon = Daemon::start(&containerd, &["-c", &at("config.toml")], &dir.join("log"));
    let client = |arguments: &[&str]| {
        run(Command::new(&ctr)
            .args(["-a", &at("c.sock")])
            .args(arguments))
    };
    let ready = wait_for(slow(Duration::from_secs(30)), || client(&["version"]).ok());
    let id = format!("{:x}", std::process::id()).repeat(64)[..64].to_owned();
    let pod = "/kubepods/burstable/pod2f3a4b5c-1111-2222-3333-444455556666";
    let group = format!("{pod}/{id}");
    let root = root.to_string_lossy().into_owned();
    let program = format!("/{name}");
    // As a client of containerd alone, and where a kubelet with the cgroupfs driver would put it.
    let run_one = |more: &[&str]| {
        let mut arguments = vec!["run", "--rm", "--null-io"];
        arguments.extend(more);
        arguments.extend(["--rootfs", &root, &id, &program]);
        client(&arguments)
    };
    let ran = ready
        .ok_or("containerd does not answer".to_owned())
        .and_then(|_| run_one(&[]));
    if ran.is_ok() {
        expect_in_container(&mut probe, &id, "containerd");
    }
    let in_pod = ran.clone().and_then(|_| run_one(&["--cgroup", &group]));
    let event = in_pod.as_ref().ok().map(|_| {
        probe.events.expect("any", |event| {
            text(event, "/process/cgroup/id").starts_with("/kubepods/")
        })
    });
    drop(daemon);
    for left in ["default", &pod[1..], "kubepods/burstable", "kubepods"] {
        remove_empty_cgroups(left);
    }
    match (ran, in_pod) {
        (Err(why), _) => skip(&format!("containerd does not run here: {why}")),
        (_, Err(why)) => panic!("in a pod: {why}"),
        (Ok(_), Ok(_)) => {
            let event = event.expect("the event of the pod's container");
            assert_eq!(text(&event, "/container/id"), id, "{event:#}");
            assert_eq!(
                text(&event, "/process/cgroup/manager"),
                "kubepods",
                "{event:#}"
            );
        }
    }
}

#[test]
fn podman() {
    let Some([podman, runc, _]) = all_installed(["podman", "runc", "conmon"]) else {
        return;
    };
    let (mut probe, name, root) = prepare("podman");
    let dir = probe.dir().join("podman");
    std::fs::create_dir(&dir).unwrap();
    let at = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let tar = dir.join("image.tar");
    pack(&root, &tar);
    let (storage, state, scratch) = (at("root"), at("run"), at("tmp"));
    let client = |arguments: &[&str]| {
        // In mounts of its own, as the daemons are.
        run(Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .arg(&podman)
            .args([
                "--root",
                &storage,
                "--runroot",
                &state,
                "--tmpdir",
                &scratch,
            ])
            .args(["--storage-driver", "vfs", "--events-backend", "none"])
            .args(["--cgroup-manager", "cgroupfs", "--runtime"])
            .arg(&runc)
            .args(arguments))
    };
    let program = format!("/{name}");
    let ran = client(&["import", &tar.to_string_lossy(), "e2e"]).and_then(|image| {
        let image = image.lines().last().unwrap_or_default().to_owned();
        client(&[
            "run",
            "--rm",
            "--network",
            "none",
            "--cidfile",
            &at("id"),
            "--ulimit",
            "nofile=1024:1024",
            "--ulimit",
            "nproc=1024:1024",
            &image,
            &program,
        ])
    });
    let id = std::fs::read_to_string(dir.join("id")).unwrap_or_default();
    for left in ["libpod_parent/conmon", "libpod_parent"] {
        remove_empty_cgroups(left);
    }
    if let Err(why) = ran {
        skip(&format!("podman does not run here: {why}"));
        return;
    }
    expect_in_container(&mut probe, id.trim(), "podman");
}
