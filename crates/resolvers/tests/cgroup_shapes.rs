//! Every shape of cgroup path that a container runtime, a driver and a version of the cgroup interface make together.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use atalaya_resolvers::cgroup::{Manager, from_proc, parse, unified_path};

const ID: &str = "3f1c0b5a9d8e7f60112233445566778899aabbccddeeff00112233445566778a";
const POD_SANDBOX: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const UID: &str = "2f3a4b5c-1111-2222-3333-444455556666";
/// A static pod's uid is the hash of its manifest.
const STATIC: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
const TASK: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";

/// Path, container, who made it, pod.
type Shape = (String, String, Manager, String);

fn shape(path: String, manager: Manager) -> Shape {
    (path, ID.to_owned(), manager, String::new())
}

/// What needs no Kubernetes.
fn runtimes() -> Vec<Shape> {
    use Manager::{Containerd, CriO, Docker, Ecs, Garden, Lxc, Nspawn, Podman, Unknown};
    let named = |path: &str, name: &str, manager| {
        (path.to_owned(), name.to_owned(), manager, String::new())
    };
    let task_container = format!("{TASK}-1234567890");
    vec![
        // Docker: the cgroupfs driver, the systemd driver, a parent of one's own, rootless, Docker Desktop.
        shape(format!("/docker/{ID}"), Docker),
        shape(format!("/system.slice/docker-{ID}.scope"), Docker),
        shape(
            format!("/batch.slice/batch-night.slice/docker-{ID}.scope"),
            Docker,
        ),
        shape(format!("/mine/{ID}"), Unknown),
        shape(
            format!("/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope"),
            Docker,
        ),
        shape(format!("/podruntime/docker/docker/{ID}"), Docker),
        // GitHub's runners.
        shape(format!("/actions_job/{ID}"), Unknown),
        // containerd: by its namespace, nerdctl, by the cgroup that the client named.
        shape(format!("/default/{ID}"), Containerd),
        shape(format!("/k8s.io/{ID}"), Containerd),
        shape(format!("/system.slice/nerdctl-{ID}.scope"), Containerd),
        shape(format!("/system.slice/containerd-{ID}.scope"), Containerd),
        // CRI-O outside of Kubernetes (crictl).
        shape(format!("/crio-{ID}"), CriO),
        shape(format!("/system.slice/crio-{ID}.scope"), CriO),
        // podman: root, rootless, cgroupfs, and a pod under each driver.
        shape(format!("/machine.slice/libpod-{ID}.scope"), Podman),
        shape(
            format!("/machine.slice/libpod-{ID}.scope/container"),
            Podman,
        ),
        shape(
            format!(
                "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container"
            ),
            Podman,
        ),
        shape(
            format!("/machine.slice/machine-libpod_pod_{POD_SANDBOX}.slice/libpod-{ID}.scope"),
            Podman,
        ),
        shape(format!("/libpod_parent/libpod-{ID}"), Podman),
        shape(format!("/libpod_parent/{POD_SANDBOX}/libpod-{ID}"), Podman),
        // ECS: on EC2, with a cluster, under systemd, on Fargate.
        shape(format!("/ecs/{TASK}/{ID}"), Ecs),
        shape(format!("/ecs/cluster/{TASK}/{ID}"), Ecs),
        shape(
            format!("/ecs/2f3a4b5c-1111-2222-3333-444455556666/{ID}"),
            Ecs,
        ),
        shape(
            format!("/ecstasks.slice/ecstasks-{TASK}.slice/docker-{ID}.scope"),
            Docker,
        ),
        named(
            &format!("/ecs/{TASK}/{task_container}"),
            &task_container,
            Ecs,
        ),
        named(&format!("/ecs/{task_container}"), &task_container, Ecs),
        // LXC and LXD: names of any kind.
        named("/lxc/web", "web", Lxc),
        named("/lxc/100/ns/system.slice/cron.service", "100", Lxc),
        named("/lxc.payload/web/init.scope", "web", Lxc),
        named("/lxc.payload.web/system.slice/nginx.service", "web", Lxc),
        named("/lxc.payload.proj_web-1", "proj_web-1", Lxc),
        // Garden.
        named(
            "/garden/01234567-0123-0123-0123-0123",
            "01234567-0123-0123-0123-0123",
            Garden,
        ),
        named(&format!("/garden/{UID}"), UID, Garden),
        named(
            "/system.slice/garden.service/garden/01234567-0123-0123-0123-0123",
            "01234567-0123-0123-0123-0123",
            Garden,
        ),
        // systemd-nspawn, as a service and as a scope; a container that machined was told of.
        named(
            "/machine.slice/systemd-nspawn@web.service/payload/init.scope",
            "web",
            Nspawn,
        ),
        named("/machine.slice/machine-web.scope/payload", "web", Nspawn),
        named("/machine.slice/machine-web.scope", "web", Nspawn),
    ]
}

/// Runtime × driver × quality of service × kind of pod.
fn kubernetes() -> Vec<Shape> {
    let mut shapes = Vec::new();
    for uid in [UID, STATIC] {
        let escaped = uid.replace('-', "_");
        for class in ["", "burstable", "besteffort"] {
            // The cgroupfs driver names the runtime only for CRI-O.
            let dir = if class.is_empty() {
                format!("/kubepods/pod{uid}")
            } else {
                format!("/kubepods/{class}/pod{uid}")
            };
            for (leaf, manager) in [
                (ID.to_owned(), Manager::Kubepods),
                (format!("crio-{ID}"), Manager::CriO),
            ] {
                for below in ["", "/init.scope", "/sub/deeper"] {
                    let path = format!("{dir}/{leaf}{below}");
                    shapes.push((path, ID.to_owned(), manager, uid.to_owned()));
                }
            }
            for (root, prefix) in [
                ("", ""),
                ("/kubelet.slice", "kubelet-"),
                ("/docker.slice", ""),
            ] {
                let kubepods = format!("{prefix}kubepods");
                let slices = if class.is_empty() {
                    format!("{root}/{kubepods}.slice/{kubepods}-pod{escaped}.slice")
                } else {
                    format!(
                        "{root}/{kubepods}.slice/{kubepods}-{class}.slice/{kubepods}-{class}-pod{escaped}.slice"
                    )
                };
                for (runtime, manager) in [
                    ("cri-containerd", Manager::Containerd),
                    ("crio", Manager::CriO),
                    ("docker", Manager::Docker),
                ] {
                    let path = format!("{slices}/{runtime}-{ID}.scope");
                    shapes.push((path, ID.to_owned(), manager, escaped.clone()));
                }
            }
            // containerd with the cgroupfs driver under a kubelet with the systemd driver: one element.
            let class = if class.is_empty() {
                String::new()
            } else {
                format!("-{class}")
            };
            let path = format!(
                "/system.slice/containerd.service/kubepods{class}-pod{escaped}.slice:cri-containerd:{ID}"
            );
            shapes.push((path, ID.to_owned(), Manager::Containerd, escaped.clone()));
        }
    }
    shapes
}

#[test]
fn every_shape_of_path() {
    let shapes = [runtimes(), kubernetes()].concat();
    assert!(shapes.len() > 100, "{}", shapes.len());
    for (path, id, manager, pod) in shapes {
        let found = parse(&path);
        assert_eq!(
            (found.container_id, found.manager, found.pod_uid),
            (id.as_str(), manager, pod.as_str()),
            "{path}"
        );
    }
}

/// The `/proc/PID/cgroup` of a process in each kind of hierarchy.
fn proc_files(path: &str) -> [(&'static str, String); 5] {
    let v1 = |path: &str| {
        format!(
            "12:pids:{path}\n11:cpuset:{path}\n9:cpu,cpuacct:{path}\n4:memory:{path}\n1:name=systemd:{path}\n"
        )
    };
    [
        ("v2", format!("0::{path}\n")),
        ("v1", v1(path)),
        ("hybrid, in both", format!("{}0::{path}\n", v1(path))),
        ("hybrid, v2 at the root", format!("{}0::/\n", v1(path))),
        (
            "hybrid, v2 in the runtime's own service",
            format!("{}0::/system.slice/containerd.service\n", v1(path)),
        ),
    ]
}

#[test]
fn every_shape_in_every_hierarchy() {
    for (path, id, manager, _) in [runtimes(), kubernetes()].concat() {
        for (hierarchy, file) in proc_files(&path) {
            let found = from_proc(file.as_bytes());
            assert_eq!(
                (parse(&found).container_id, parse(&found).manager),
                (id.as_str(), manager),
                "{hierarchy}: {path}"
            );
            // A process whose cgroup was removed under it.
            let deleted = file.replace('\n', " (deleted)\n");
            assert_eq!(from_proc(deleted.as_bytes()), found, "{hierarchy}");
        }
    }
    // A controller that is mounted alone and a memory cgroup below the machine's own, as under a sandbox.
    let file = format!(
        "8:pids:/docker/{ID}\n4:memory:/machine/{POD_SANDBOX}x/docker/{ID}\n0::/docker/{ID}\n"
    );
    assert_eq!(from_proc(file.as_bytes()), format!("/docker/{ID}"));
    assert_eq!(unified_path(file.as_bytes()), format!("/docker/{ID}"));
}

#[test]
fn what_is_no_container() {
    for path in [
        "/",
        "/init.scope",
        "/user.slice/user-1000.slice/session-3.scope",
        "/user.slice/user-1000.slice/user@1000.service/app.slice/app-firefox-1234.scope",
        "/system.slice/docker.service",
        "/system.slice/containerd.service",
        "/system.slice/system-getty.slice/getty@tty1.service",
        "/kubepods.slice",
        "/kubepods/burstable",
        "/docker",
        "/docker/buildkit",
        "/lxc",
        "/lxc.monitor.web",
        "/lxc.pivot",
        "/garden",
        "/machine.slice",
        // A virtual machine, the helpers of runtimes, a pod of podman without a container.
        r"/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt/emulator",
        "/machine-web.scope",
        &format!("/machine.slice/libpod-conmon-{ID}.scope"),
        &format!("/kubepods.slice/crio-conmon-{ID}.scope"),
        &format!("/libpod_parent/{ID}"),
        &format!("/libpod_parent/conmon-{ID}"),
        &format!("/machine.slice/machine-libpod_pod_{ID}.slice"),
        // One digit more or less, capitals, what is no hexadecimal digit.
        &format!("/docker/{}", &ID[1..]),
        &format!("/docker/{ID}0"),
        &format!("/docker/{}", ID.to_uppercase()),
        &format!("/docker/{}g", &ID[1..]),
        &format!("/ecs/{TASK}"),
        &format!("/ecs/{TASK}-"),
        &format!("/ecs/{TASK}-12a"),
    ] {
        assert_eq!(parse(path).container_id, "", "{path}");
    }
}

#[test]
fn who_made_it_is_the_outermost() {
    // kind: a node is a container of Docker, and has pods.
    let nested = format!(
        "/docker/{ID}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{}.slice/cri-containerd-{POD_SANDBOX}.scope",
        UID.replace('-', "_")
    );
    assert_eq!(parse(&nested).container_id, ID);
    for inner in [
        format!("docker/{POD_SANDBOX}"),
        format!("machine.slice/libpod-{POD_SANDBOX}.scope"),
        "lxc.payload.web".to_owned(),
        format!("ecs/{TASK}/{POD_SANDBOX}"),
    ] {
        let path = format!("/system.slice/docker-{ID}.scope/{inner}");
        assert_eq!(
            (parse(&path).container_id, parse(&path).manager),
            (ID, Manager::Docker),
            "{path}"
        );
    }
}
