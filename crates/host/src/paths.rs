//! Where the host's own files are. In a container they are what was mounted for the agent, and these variables of the environment
//! say where: `HOST_PROC` (else `/proc`), `HOST_SYS` (else `/sys`), `HOST_ROOT` (else `/`), `HOST_ETC` (else `etc` below the root).
//!
//! A variable that names no directory is a mount that was forgotten: it is reported once, and the usual place is used.
//! Files about *this* process and switches of the kernel that are the same everywhere are read from `/proc` as ever.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The places of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPaths {
    /// The proc file system of the host's pid namespace.
    pub proc: PathBuf,
    /// The sysfs, for the mounts of cgroups below it.
    pub sys: PathBuf,
    /// The root directory.
    pub root: PathBuf,
    /// The directory of `passwd`, `group` and `os-release`.
    pub etc: PathBuf,
    /// What is wrong with the environment.
    pub problems: Vec<String>,
}

impl HostPaths {
    /// The places that these variables name.
    pub fn from(variable: impl Fn(&str) -> Option<String>) -> Self {
        let mut problems = Vec::new();
        let mut place = |name: &str, file: &str, usual: PathBuf| {
            let Some(dir) = variable(name).filter(|dir| !dir.is_empty()) else {
                return usual;
            };
            let dir = PathBuf::from(dir);
            if dir.join(file).exists() {
                return dir;
            }
            problems.push(format!(
                "{name} is {}, but {file} cannot be seen below it: it is not mounted, or may not be read; {} is used",
                dir.display(),
                usual.display()
            ));
            usual
        };
        let proc = place("HOST_PROC", "self/stat", "/proc".into());
        let sys = place("HOST_SYS", "fs", "/sys".into());
        let root = place("HOST_ROOT", "etc", "/".into());
        let etc = place("HOST_ETC", "", root.join("etc"));
        Self {
            proc,
            sys,
            root,
            etc,
            problems,
        }
    }
}

/// The places that the environment of this process names.
pub fn host() -> &'static HostPaths {
    static HOST: LazyLock<HostPaths> =
        LazyLock::new(|| HostPaths::from(|name| std::env::var(name).ok()));
    &HOST
}

/// A file or directory of the host's proc file system: `proc("1/mountinfo")`.
pub fn proc(file: &str) -> PathBuf {
    host().proc.join(file)
}

/// The directory of a process of the host, or a file in it.
pub fn process(pid: u32, file: &str) -> PathBuf {
    let mut path = host().proc.join(pid.to_string());
    if !file.is_empty() {
        path.push(file);
    }
    path
}

/// A file of the host's `/etc`.
pub fn etc(file: &str) -> PathBuf {
    host().etc.join(file)
}

/// What the distribution says of itself; links of `os-release` that lead out of `/etc` are followed below the host's root.
pub fn os_release() -> std::io::Result<String> {
    let below_root = host().root.join("usr/lib/os-release");
    std::fs::read_to_string(etc("os-release")).or_else(|_| std::fs::read_to_string(below_root))
}

/// Where cgroup hierarchies may be mounted, the host's mount first.
pub fn cgroup_mounts() -> Vec<PathBuf> {
    let mut found = vec![host().sys.join("fs/cgroup")];
    let usual = Path::new("/sys/fs/cgroup");
    if found[0] != usual {
        found.push(usual.to_owned());
    }
    found
}

/// The pid of this process in the host's pid namespace, as the host's proc file system tells it.
pub fn own_pid() -> u32 {
    static PID: LazyLock<u32> = LazyLock::new(|| {
        let link = std::fs::read_link(proc("self")).ok();
        link.and_then(|link| link.to_str()?.parse().ok())
            .unwrap_or_else(std::process::id)
    });
    *PID
}

/// The number of the first pid namespace (`PROC_PID_INIT_INO` of the kernel).
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Whether this process is in a pid namespace of its own: then numbers of processes in events are not those that its children have.
pub fn in_own_pid_namespace() -> bool {
    std::fs::read_link("/proc/self/ns/pid")
        .is_ok_and(|link| link.as_os_str() != FIRST_PID_NAMESPACE)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn without_variables_the_host_is_here() {
        let paths = HostPaths::from(|_| None);
        let usual = ["/proc", "/sys", "/", "/etc"].map(PathBuf::from);
        assert_eq!([paths.proc, paths.sys, paths.root, paths.etc], usual);
        assert!(paths.problems.is_empty());
    }

    #[test]
    fn variables_say_where_the_host_is() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["proc/self", "sys/fs/cgroup", "root/etc"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        std::fs::write(at("proc/self/stat"), "1").unwrap();
        let paths = HostPaths::from(|name| {
            let name = name.strip_prefix("HOST_")?.to_ascii_lowercase();
            (name != "etc").then(|| at(&name).display().to_string())
        });
        assert_eq!(
            [paths.proc, paths.sys, paths.root, paths.etc],
            [at("proc"), at("sys"), at("root"), at("root/etc")]
        );
        assert_eq!(paths.problems, Vec::<String>::new());
    }

    #[test]
    fn a_mount_that_was_forgotten_is_told_and_the_usual_place_used() {
        let paths = HostPaths::from(|name| Some(format!("/no/such/{name}")));
        assert_eq!(paths.proc, Path::new("/proc"));
        assert_eq!(paths.etc, Path::new("/etc"));
        assert_eq!(paths.problems.len(), 4, "{:?}", paths.problems);
        assert!(
            paths.problems[0].contains("HOST_PROC") && paths.problems[0].contains("/proc is used")
        );
    }

    #[test]
    fn the_own_pid_is_known_here() {
        assert_eq!(own_pid(), std::process::id());
    }
}
