//! What a cgroup's path says of the container or unit it belongs to.
//!
//! The path is the only thing that every container runtime leaves in the kernel, so it is what tells containers
//! apart. The first element that names a container wins: the elements above it belong to the host's runtime, those
//! below can be made by the container itself (a nested runtime, or somebody who wants to be taken for another
//! container), so the outer one is the only one that is true by construction.

use atalaya_model::capture::CgroupPath;

/// Which program made the cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Manager {
    /// The path does not tell.
    #[default]
    Unknown,
    /// Docker.
    Docker,
    /// containerd, through the CRI plug-in or nerdctl.
    Containerd,
    /// CRI-O.
    CriO,
    /// Podman (libpod).
    Podman,
    /// A pod of Kubernetes whose runtime the path does not tell (cgroupfs driver).
    Kubepods,
    /// Amazon ECS.
    Ecs,
    /// LXC and LXD.
    Lxc,
    /// Cloud Foundry's Garden.
    Garden,
    /// A container that systemd-nspawn started, or another that registered with systemd-machined.
    Nspawn,
    /// A unit of systemd, no container.
    Systemd,
}

impl Manager {
    /// The value of `cgroup.manager`; empty when unknown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Podman => "podman",
            Self::Kubepods => "kubepods",
            Self::Ecs => "ecs",
            Self::Lxc => "lxc",
            Self::Garden => "garden",
            Self::Nspawn => "systemd-nspawn",
            Self::Systemd => "systemd",
        }
    }
}

/// What a path was found to say. The strings are slices of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Placement<'a> {
    /// The container's id; empty outside containers.
    pub container_id: &'a str,
    /// Who made the cgroup.
    pub manager: Manager,
    /// The uid of the Kubernetes pod as it stands in the path (`_` instead of `-` under the systemd driver); empty
    /// outside pods.
    pub pod_uid: &'a str,
}

/// Prefixes of scope names, with the runtime that uses them.
const PREFIXES: [(&str, Manager); 8] = [
    ("docker", Manager::Docker),
    ("cri-containerd", Manager::Containerd),
    ("containerd", Manager::Containerd),
    ("nerdctl", Manager::Containerd),
    ("crio", Manager::CriO),
    ("libpod", Manager::Podman),
    ("ecs", Manager::Ecs),
    ("garden", Manager::Garden),
];

/// Reads a cgroup path. Total: any text is fine.
///
/// ```
/// use atalaya_resolvers::cgroup::{Manager, parse};
/// let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// let path = format!("/system.slice/docker-{id}.scope");
/// let found = parse(&path);
/// assert_eq!((found.container_id, found.manager), (id, Manager::Docker));
/// ```
pub fn parse(path: &str) -> Placement<'_> {
    let mut pod_uid = "";
    let mut parent = Parent::default();
    for element in path.split('/').filter(|e| !e.is_empty()) {
        if pod_uid.is_empty() {
            pod_uid = pod(element).unwrap_or("");
        }
        if let Some((container_id, manager)) = container(element, parent) {
            let manager = match manager {
                Manager::Unknown if !pod_uid.is_empty() => Manager::Kubepods,
                other => other,
            };
            return Placement {
                container_id,
                manager,
                pod_uid,
            };
        }
        parent = parent.below(element);
    }
    let manager = if !pod_uid.is_empty() {
        Manager::Kubepods
    } else if path
        .split('/')
        .any(|e| e.ends_with(".service") || e.ends_with(".scope") || e.ends_with(".slice"))
    {
        Manager::Systemd
    } else {
        Manager::Unknown
    };
    Placement {
        container_id: "",
        manager,
        pod_uid,
    }
}

/// What the directory says that an element is in: a runtime without systemd puts its containers in one that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Parent {
    manager: Manager,
    /// Containers here have any name, not only one that looks like an id.
    any_name: bool,
    /// Directories here are groups of containers (podman's pods), and have names that look like ids.
    groups: bool,
    /// systemd's slice of containers and virtual machines.
    machines: bool,
}

impl Parent {
    fn below(self, element: &str) -> Self {
        let of = |manager| Self {
            manager,
            ..Self::default()
        };
        match element {
            "docker" => of(Manager::Docker),
            "ecs" => of(Manager::Ecs),
            // containerd's namespaces, where a client names no cgroup of its own.
            "k8s.io" | "default" => of(Manager::Containerd),
            "lxc" | "lxc.payload" => Self {
                any_name: true,
                ..of(Manager::Lxc)
            },
            "garden" => Self {
                any_name: true,
                ..of(Manager::Garden)
            },
            "libpod_parent" | "libpod" => Self {
                groups: true,
                ..of(Manager::Podman)
            },
            "machine.slice" => Self {
                machines: true,
                ..Self::default()
            },
            // A slice in the slice of machines: a pod of podman.
            _ if self.machines && element.ends_with(".slice") => self,
            // An ECS task: /ecs/<task>/<container>, /ecs/<cluster>/<task>/<container>.
            _ if self.manager == Manager::Ecs => self,
            _ => Self::default(),
        }
    }
}

/// The name of a container that systemd started or was told of: `systemd-nspawn@NAME.service`, `machine-NAME.scope`.
fn machine(element: &str) -> Option<&str> {
    if let Some(instance) = element
        .strip_prefix("systemd-nspawn@")
        .and_then(|rest| rest.strip_suffix(".service"))
    {
        return Some(instance).filter(|name| !name.is_empty());
    }
    let name = element
        .strip_prefix("machine-")
        .and_then(|rest| rest.strip_suffix(".scope"))?;
    // libvirt's virtual machines are no containers. A dash in a name is written `\x2d`.
    (!name.is_empty() && !name.starts_with(r"qemu\x2d")).then_some(name)
}

/// The container that one path element names.
fn container(element: &str, parent: Parent) -> Option<(&str, Manager)> {
    let unit = element.strip_suffix(".scope").unwrap_or(element);
    // A runtime that is told to use systemd where there is none writes `slice:prefix:id` as one element.
    let unit = unit.rsplit_once(".slice:").map_or(unit, |(_, rest)| rest);
    // LXC names its cgroups after the container, which can be any word. The monitor runs outside of it.
    if let Some(name) = unit.strip_prefix("lxc.payload.")
        && !name.is_empty()
    {
        return Some((name, Manager::Lxc));
    }
    if parent.any_name {
        return Some((unit, parent.manager));
    }
    if parent.machines
        && let Some(name) = machine(element)
    {
        return Some((name, Manager::Nspawn));
    }
    for (prefix, manager) in PREFIXES {
        if let Some(rest) = unit.strip_prefix(prefix)
            && let Some(id) = rest.strip_prefix(['-', ':'])
            && is_id(id)
        {
            // conmon, the runtimes' helper, has `libpod-conmon-<id>`: it is outside of the container and fails is_id.
            return Some((id, manager));
        }
    }
    (!parent.groups && is_id(unit)).then_some((unit, parent.manager))
}

/// The uid in `pod<uid>` or `kubepods-burstable-pod<uid>.slice`.
fn pod(element: &str) -> Option<&str> {
    let unit = element.strip_suffix(".slice").unwrap_or(element);
    let unit = unit.split_once(".slice:").map_or(unit, |(slice, _)| slice);
    let uid = match unit.strip_prefix("pod") {
        Some(uid) => uid,
        // `kubelet-kubepods…` where the kubelet was told of a cgroup root of its own (kind).
        None if unit.starts_with("kubepods") || unit.starts_with("kubelet-kubepods") => {
            unit.rsplit_once("-pod")?.1
        }
        None => return None,
    };
    // A UUID, or the 32 hex digits of a static pod's hash.
    let digits = uid.bytes().filter(|b| !matches!(b, b'-' | b'_'));
    let mut count = 0_usize;
    for byte in digits {
        if !byte.is_ascii_hexdigit() {
            return None;
        }
        count += 1;
    }
    (count == 32).then_some(uid)
}

/// The three shapes of container ids: 64 hex digits; 32 hex digits, a dash and a number (ECS on Fargate); Garden's
/// five groups of 8, 4, 4, 4 and 4.
fn is_id(text: &str) -> bool {
    let bytes = text.as_bytes();
    let hex = |part: &[u8]| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if bytes.len() == 64 {
        return hex(bytes);
    }
    if bytes.len() > 33 && bytes.len() <= 33 + 20 && bytes[32] == b'-' {
        return hex(&bytes[..32]) && bytes[33..].iter().all(u8::is_ascii_digit);
    }
    if bytes.len() == 28 {
        return [8, 13, 18, 23].iter().all(|at| bytes[*at] == b'-')
            && [0..8, 9..13, 14..18, 19..23, 24..28]
                .into_iter()
                .all(|range| hex(&bytes[range]));
    }
    false
}

/// Of a process's paths in the default hierarchy and in a v1 one, that which says more.
pub fn telling(paths: &CgroupPath) -> &str {
    let CgroupPath { unified, v1 } = paths;
    let names_container = |path: &str| !parse(path).container_id.is_empty();
    if !v1.is_empty() && !names_container(unified) && (names_container(v1) || unified == "/") {
        v1
    } else {
        unified
    }
}

/// Picks the most telling path of a `/proc/<pid>/cgroup` file: the line that names a container, else the default
/// hierarchy's (v2), else the first of the others that is not the root.
pub fn from_proc(file: &[u8]) -> String {
    let mut unified = None;
    let mut first = None;
    for line in file.split(|b| *b == b'\n') {
        // hierarchy-id ':' controllers ':' path; the path may contain colons.
        let mut parts = line.splitn(3, |b| *b == b':');
        let (Some(id), Some(_), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let path = String::from_utf8_lossy(path);
        // The file says so when the directory was removed under the process.
        let path = path.strip_suffix(" (deleted)").unwrap_or(&path);
        if !parse(path).container_id.is_empty() {
            return path.to_owned();
        }
        if id == b"0" {
            unified = Some(path.to_owned());
        } else if first.is_none() && path != "/" {
            first = Some(path.to_owned());
        }
    }
    match (unified, first) {
        (Some(unified), Some(first)) if unified == "/" => first,
        (Some(unified), _) => unified,
        (None, Some(first)) => first,
        (None, None) => String::new(),
    }
}

/// The path in the default hierarchy (v2), by a `/proc/<pid>/cgroup` file; empty when there is none.
pub fn unified_path(file: &[u8]) -> String {
    file.split(|b| *b == b'\n')
        .find_map(|line| line.strip_prefix(b"0::"))
        .map(|path| String::from_utf8_lossy(path).into_owned())
        .map(|path| match path.strip_suffix(" (deleted)") {
            Some(path) => path.to_owned(),
            None => path,
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "3f1c0b5a9d8e7f60112233445566778899aabbccddeeff00112233445566778a";
    const OTHER: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn no_container() {
        for (path, manager) in [
            ("", Manager::Unknown),
            ("/", Manager::Unknown),
            ("/system.slice/ssh.service", Manager::Systemd),
            ("/user.slice/user-0.slice/session-1.scope", Manager::Systemd),
            ("/lxc.monitor.web", Manager::Unknown),
            ("/../..", Manager::Unknown),
            // 63 and 65 digits, upper case.
            (&format!("/docker/{}", &ID[1..]), Manager::Unknown),
            (&format!("/docker/{ID}0"), Manager::Unknown),
            (&format!("/docker/{}", ID.to_uppercase()), Manager::Unknown),
            (
                &format!("/machine.slice/libpod-conmon-{ID}.scope"),
                Manager::Systemd,
            ),
        ] {
            let found = parse(path);
            assert_eq!((found.container_id, found.manager), ("", manager), "{path}");
        }
    }

    #[test]
    fn a_container_cannot_rename_itself() {
        let path = format!("/docker/{ID}/docker/{OTHER}");
        assert_eq!(parse(&path).container_id, ID);
    }

    #[test]
    fn proc_file() {
        assert_eq!(from_proc(b""), "");
        assert_eq!(from_proc(b"junk\n\n:\n"), "");
        assert_eq!(from_proc(b"0::/init.scope\n"), "/init.scope");
        assert_eq!(
            from_proc(b"4:memory:/a:b\n3:cpu:/\n0::/\n"),
            "/a:b",
            "v1 says more than the root"
        );
        let file =
            format!("4:memory:/\n2:pids:/docker/{ID}\n0::/system.slice/x.service (deleted)\n");
        assert_eq!(from_proc(file.as_bytes()), format!("/docker/{ID}"));
        assert_eq!(from_proc(b"0::/x.service (deleted)\n"), "/x.service");
        assert_eq!(from_proc(b"0::/\xff\xfe\n"), "/\u{fffd}\u{fffd}");
    }

    proptest! {
        #[test]
        fn total(path in "\\PC{0,200}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let found = parse(&path);
            prop_assert!(path.contains(found.container_id));
            from_proc(&bytes);
        }

        #[test]
        fn total_on_likely_shapes(path in "(/(docker|lxc|pod|ecs|kubepods-pod)?[-.:a-f0-9é]{0,70}(\\.scope|\\.slice)?){0,4}") {
            parse(&path);
        }
    }
}
