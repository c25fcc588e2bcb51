//! What a cgroup's path says of the container or unit it belongs to.
//!
//! The path is the only thing that every container runtime leaves in the kernel, so it is what tells containers
//! apart. The first element that names a container wins: the elements above it belong to the host's runtime, those
//! below can be made by the container itself (a nested runtime, or somebody who wants to be taken for another
//! container), so the outer one is the only one that is true by construction.

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
    let mut parent = Manager::Unknown;
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
        // The directory a runtime without systemd puts its containers in names it.
        parent = match element {
            "docker" => Manager::Docker,
            "ecs" => Manager::Ecs,
            "lxc" | "lxc.payload" => Manager::Lxc,
            "libpod_parent" | "libpod" => Manager::Podman,
            "garden" => Manager::Garden,
            // An ECS task: /ecs/<task>/<container>, /ecs/<cluster>/<task>/<container>.
            _ if parent == Manager::Ecs => Manager::Ecs,
            _ => Manager::Unknown,
        };
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

/// The container that one path element names.
fn container(element: &str, parent: Manager) -> Option<(&str, Manager)> {
    let unit = element.strip_suffix(".scope").unwrap_or(element);
    // A runtime that is told to use systemd where there is none writes `slice:prefix:id` as one element.
    let unit = unit.rsplit_once(".slice:").map_or(unit, |(_, rest)| rest);
    // LXC names its cgroups after the container, which can be any word. The monitor runs outside of it.
    if let Some(name) = unit.strip_prefix("lxc.payload.")
        && !name.is_empty()
    {
        return Some((name, Manager::Lxc));
    }
    if parent == Manager::Lxc {
        return Some((unit, Manager::Lxc));
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
    is_id(unit).then_some((unit, parent))
}

/// The uid in `pod<uid>` or `kubepods-burstable-pod<uid>.slice`.
fn pod(element: &str) -> Option<&str> {
    let unit = element.strip_suffix(".slice").unwrap_or(element);
    let unit = unit.split_once(".slice:").map_or(unit, |(slice, _)| slice);
    let uid = match unit.strip_prefix("pod") {
        Some(uid) => uid,
        None if unit.starts_with("kubepods") => unit.rsplit_once("-pod")?.1,
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
/// five groups.
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
    fn runtimes() {
        let uid = "2f3a4b5c-1111-2222-3333-444455556666";
        let uid_ = uid.replace('-', "_");
        for (path, id, manager, pod) in [
            (format!("/docker/{ID}"), ID, Manager::Docker, ""),
            (
                format!("/system.slice/docker-{ID}.scope"),
                ID,
                Manager::Docker,
                "",
            ),
            (
                format!("/system.slice/docker-{ID}.scope/init.scope"),
                ID,
                Manager::Docker,
                "",
            ),
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid_}.slice/cri-containerd-{ID}.scope"
                ),
                ID,
                Manager::Containerd,
                uid_.as_str(),
            ),
            (
                format!("/kubepods.slice/kubepods-pod{uid_}.slice/crio-{ID}.scope"),
                ID,
                Manager::CriO,
                uid_.as_str(),
            ),
            (
                format!("/kubepods/besteffort/pod{uid}/{ID}"),
                ID,
                Manager::Kubepods,
                uid,
            ),
            (
                format!("/system.slice/kubepods-besteffort-pod{uid_}.slice:cri-containerd:{ID}"),
                ID,
                Manager::Containerd,
                uid_.as_str(),
            ),
            (
                format!("/machine.slice/libpod-{ID}.scope/container"),
                ID,
                Manager::Podman,
                "",
            ),
            (
                format!("/libpod_parent/libpod-{ID}"),
                ID,
                Manager::Podman,
                "",
            ),
            (
                format!("/system.slice/nerdctl-{ID}.scope"),
                ID,
                Manager::Containerd,
                "",
            ),
            (format!("/default/{ID}"), ID, Manager::Unknown, ""),
            (
                format!("/ecs/0f1e2d3c4b5a69788796a5b4c3d2e1f0/{ID}"),
                ID,
                Manager::Ecs,
                "",
            ),
            (
                "/ecs/0f1e2d3c4b5a69788796a5b4c3d2e1f0/0f1e2d3c4b5a69788796a5b4c3d2e1f0-1234567890"
                    .to_owned(),
                "0f1e2d3c4b5a69788796a5b4c3d2e1f0-1234567890",
                Manager::Ecs,
                "",
            ),
            (
                "/lxc.payload.web/system.slice/nginx.service".to_owned(),
                "web",
                Manager::Lxc,
                "",
            ),
            ("/lxc/web/init.scope".to_owned(), "web", Manager::Lxc, ""),
            (
                "/garden/01234567-0123-0123-0123-0123".to_owned(),
                "01234567-0123-0123-0123-0123",
                Manager::Garden,
                "",
            ),
        ] {
            let found = parse(&path);
            assert_eq!(
                (found.container_id, found.manager, found.pod_uid),
                (id, manager, pod),
                "{path}"
            );
        }
    }

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
