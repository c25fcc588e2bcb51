//! What `start` gives up beside root: files, ports and system calls that it has no use for.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use atalaya_config::{Config, Loaded};
use atalaya_sandbox::landlock::{self, Rules};
use atalaya_sandbox::seccomp::{self, Profile};
use atalaya_sandbox::{Outcome, hide_memory};

/// What the C library, name resolution and TLS read, and what a program may know of itself.
const READ: [&str; 20] = [
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/passwd",
    "/etc/group",
    "/etc/localtime",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ld.so.cache",
    "/usr/share/zoneinfo",
    "/usr/share/ca-certificates",
    "/usr/lib",
    "/dev/null",
    "/dev/urandom",
    "/proc/self",
    "/sys/fs/cgroup",
];

/// Puts all of it in force, and says in the log what came of it.
pub(crate) fn enter(loaded: &Loaded) -> Result<()> {
    let config = &loaded.config;
    hide_memory().context("cannot hide the own memory")?;
    if !config.sandbox_enabled {
        tracing::warn!("Landlock and seccomp are off (sandbox.enabled)");
        return Ok(());
    }
    let files = landlock::restrict(&rules(config, &loaded.files)).context("Landlock")?;
    tell("Landlock", &files);
    let calls = seccomp::restrict(Profile::Agent)?;
    tell("seccomp", &calls);
    Ok(())
}

fn tell(what: &str, outcome: &Outcome) {
    match outcome {
        Outcome::Enforced(_) => tracing::info!("{what}: {outcome}"),
        Outcome::Partly(_) | Outcome::Absent(_) => tracing::warn!("{what}: {outcome}"),
    }
}

fn rules(config: &Config, files: &[PathBuf]) -> Rules {
    let mut read: Vec<PathBuf> = READ.iter().map(PathBuf::from).collect();
    // By directory: an editor, or Kubernetes, puts another file in the place of the one that is there now.
    read.extend(files.iter().map(|file| directory(file)));
    // Where the socket is: the probe makes another one when it starts again.
    read.push(directory(&config.socket));
    let mut write = vec![directory(&config.events_file)];
    if config.explorer_enabled {
        write.push(config.explorer_dir.clone());
    }
    Rules {
        read,
        write,
        listen: Vec::new(),
        // The service manager's is connected to already.
        abstract_sockets: false,
    }
}

fn directory(file: &Path) -> PathBuf {
    match file.parent() {
        Some(dir) if dir.as_os_str().is_empty() => ".".into(),
        Some(dir) => dir.to_owned(),
        None => file.to_owned(),
    }
}
