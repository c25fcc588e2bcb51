//! The image under a real dockerd: the line of docs/install.md as it stands there, and the commands of the troubleshooting pages.

use std::path::Path;
use std::time::Duration;

use atalaya_deploy::{Block, Docker, all_installed, blocks, commands, dist};
use atalaya_e2e::{skip, slow, wait_for};

use crate::pages::{self, Outcome};

/// What a test adds to `docker run`: the classifiers stay away from the machine's own interfaces.
const RUN: &str = "run --network none -e DD_RUNTIME_SECURITY_CONFIG_NETWORK_NAMESPACES=1 -e DD_FLARE_URL=https://127.0.0.1:1";

/// dockerd and the image; `None`, and a skipped test, where dockerd does not run.
pub(crate) fn docker_with_image(dir: &Path) -> Option<Docker> {
    let [dockerd, client] = all_installed(["dockerd", "docker"])?;
    let docker = match Docker::start(dir, &dockerd, &client) {
        Ok(docker) => docker,
        Err(why) => {
            skip(&format!("docker does not run here: {why}"));
            return None;
        }
    };
    let files = dist(dir, &["--only", "image"]);
    let [image] = files.as_slice() else {
        panic!("one image was expected: {files:?}");
    };
    // What some machines cannot do is no fault of the image: a container that does nothing.
    docker
        .run(&["load", "-i", &image.to_string_lossy()])
        .unwrap();
    let version = format!("atalaya:{}", env!("CARGO_PKG_VERSION"));
    let trial = [
        "run",
        "--rm",
        "--network",
        "none",
        "--entrypoint",
        "/usr/bin/system-probe",
        &version,
        "version",
    ];
    match docker.run(&trial) {
        Ok(text) => assert!(text.starts_with("system-probe "), "{text}"),
        Err(why) => {
            skip(&format!("docker runs no containers here: {why}"));
            return None;
        }
    }
    Some(docker)
}

/// Waits until system-probe in this container has passed its first self-test, or has not.
pub(crate) fn wait_until_ready(docker: &Docker, container: &str) {
    let ready = wait_for(slow(Duration::from_secs(40)), || {
        let log = docker.run(&["logs", container]).ok()?;
        (log.contains("self-test passed") || log.contains("self-test failed")).then_some(())
    });
    assert!(
        ready.is_some(),
        "{}",
        docker.run(&["logs", container]).unwrap_or_else(|why| why)
    );
}

fn start(docker: &Docker, dir: &Path) {
    let page = blocks("docs/install.md");
    let block = page
        .iter()
        .find(|block| block.place == "docker" && block.text.contains("docker run"))
        .expect("docs/install.md has the line");
    for line in commands(block) {
        let line = line.replacen("docker run", &format!("docker {RUN}{}", root()), 1);
        let line = format!("cd {}; {line}", dir.display());
        docker.shell(&line).unwrap();
    }
    wait_until_ready(docker, "atalaya");
}

/// Some machines' first process may not be looked into, not even by root: then the page's other way to the host's root.
fn root() -> &'static str {
    if Path::new("/proc/1/root/etc").exists() {
        ""
    } else {
        " -v /:/host/root:ro -e HOST_ROOT=/host/root"
    }
}

#[test]
fn the_line_of_the_page_runs_and_its_commands_work() {
    let dir = tempfile::tempdir().unwrap();
    let Some(docker) = docker_with_image(dir.path()) else {
        return;
    };
    start(&docker, dir.path());
    // Nobody is privileged, and the agent is nobody.
    let log = docker.run(&["logs", "atalaya"]).unwrap();
    assert!(
        log.contains("running as atalaya (uid 10001) without any capability"),
        "{log}"
    );
    assert!(!log.contains("is not mounted"), "{log}");
    let run = |_: &Block, command: &str| {
        let line = command.replacen("docker exec -it", "docker exec -i", 1);
        match docker.shell(&format!("printf 'me@example.com\\nn\\n' | {line}")) {
            Ok(text) => Outcome {
                success: true,
                text,
            },
            Err(text) => Outcome {
                success: false,
                text,
            },
        }
    };
    for page in [
        "docs/install.md",
        "docs/troubleshooting.md",
        "docs/es/troubleshooting.md",
    ] {
        let exec =
            |block: &Block| block.place.starts_with("docker") && !block.text.contains("docker run");
        pages::check(page, exec, run);
    }
    host_files_are_the_hosts(&docker);
    one_program_dies_alone(&docker);
    docker.run(&["stop", "-t", "10", "atalaya"]).unwrap();
    let status = docker
        .run(&["inspect", "-f", "{{.State.ExitCode}}", "atalaya"])
        .unwrap();
    assert_eq!(status.trim(), "0", "it stops when it is asked to");
}

/// The distribution in events is that of the host, not that of the image.
fn host_files_are_the_hosts(docker: &Docker) {
    let host = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let id = host.lines().find_map(|line| line.strip_prefix("ID="));
    let id = id.unwrap_or_default().trim_matches('"');
    let events = docker
        .shell("docker cp atalaya:/var/log/atalaya/events.jsonl - | tar xO")
        .unwrap();
    assert!(
        events.contains(&format!("\"distribution\":\"{id} - ")),
        "the image has no os-release: this can only be the host's"
    );
}

/// security-agent is started again; the container goes on.
fn one_program_dies_alone(docker: &Docker) {
    let top = docker.run(&["top", "atalaya", "-o", "pid,comm"]).unwrap();
    let pid = |top: &str| {
        top.lines()
            .find(|line| line.contains("security-agent"))
            .and_then(|line| line.split_whitespace().next()?.parse::<i32>().ok())
    };
    let first = pid(&top).expect("security-agent runs");
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(first),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    let second = wait_for(slow(Duration::from_secs(20)), || {
        let top = docker.run(&["top", "atalaya", "-o", "pid,comm"]).ok()?;
        pid(&top).filter(|pid| *pid != first)
    });
    assert!(second.is_some(), "it was not started again");
}
