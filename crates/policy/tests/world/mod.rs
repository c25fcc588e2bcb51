//! Events as a server sees them thousands of times a second, and policies to hold against them.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test and bench is a crate of its own and uses a part"
)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use atalaya_model::{Cgroup, Container, Creds, Image, Process};
use atalaya_model::{Context, Event, EventData, ExecEvent, File, OpenEvent};
use atalaya_policy::{HostFacts, InternalPolicy, LoadOptions, LoadReport, RuleSet};

/// 2026-01-01.
pub const NOW: u64 = 1_767_225_600_000_000_000;

const MINUTE: u64 = 60_000_000_000;

/// The rules of the reference agent, where they are at hand.
pub fn reference_policy() -> Option<PathBuf> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/reference/default.policy");
    if path.exists() {
        return Some(path);
    }
    eprintln!("SKIPPED: {} is not here", path.display());
    None
}

/// The rules that come with the agent.
pub fn shipped_policy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/default.policy")
}

pub fn options() -> LoadOptions {
    let mut host = HostFacts::default();
    host.set_kernel_release("6.1.0-28-amd64");
    LoadOptions {
        host,
        ..LoadOptions::default()
    }
}

pub fn load(policy: &Path) -> (RuleSet, LoadReport) {
    load_text(&std::fs::read_to_string(policy).unwrap())
}

pub fn load_text(text: &str) -> (RuleSet, LoadReport) {
    let options = LoadOptions {
        internal: vec![InternalPolicy {
            name: "test.policy".to_owned(),
            source: "test".to_owned(),
            content: text.to_owned(),
        }],
        ..options()
    };
    RuleSet::load(atalaya_model::schema(), &options)
}

/// So many rules of the kinds that people write, no two alike, for exec and open events. Each has one condition that can keep
/// it from most events, so that ten rules are found in the same way as a thousand.
pub fn synthetic(count: usize) -> String {
    let mut text = "rules:\n".to_owned();
    for n in 0..count {
        let expression = match n % 10 {
            0 => format!("exec.file.name == \"tool{n}\""),
            1 => format!(
                "exec.file.path in [\"/opt/tool{n}\", \"/usr/local/bin/tool{n}\", ~\"/srv/tool{n}/*\"]"
            ),
            2 => format!("exec.file.path in [~\"/tmp/dir{n}/**\"] && process.container.id != \"\""),
            3 => format!("exec.args =~ \"*--secret{n}*\" && exec.file.name != \"git\""),
            4 => format!(
                "process.parent.file.name == \"server{n}\" && exec.file.name not in [\"sh\", \"git\"]"
            ),
            5 => format!(
                "open.file.path == \"/etc/app{n}.conf\" && open.flags & (O_WRONLY|O_RDWR) > 0"
            ),
            6 => format!(
                "open.file.path in [~\"/etc/app{n}/**\", ~\"/home/*/.app{n}/key\"] && process.file.name not in [\"app\", \"init\"]"
            ),
            7 => format!("open.file.name =~ \"*.crypt{n}\" && process.file.name != \"backup\""),
            8 => format!("open.file.path =~ \"/proc/*/fd{n}\" && process.file.name != \"lsof\""),
            _ => format!(
                "process.ancestors.file.name == \"agent{n}\" && open.file.path not in [~\"/usr/**\"]"
            ),
        };
        let _ = write!(text, "  - id: rule{n}\n    expression: '{expression}'\n");
    }
    text
}

fn file(path: &str) -> File {
    File {
        path: path.to_owned(),
        known: true,
        inode: 1_835_017,
        mount_id: 29,
        mode: 0o100_755,
        filesystem: "overlay".to_owned(),
        modification_time: NOW - 90 * 24 * 60 * MINUTE,
        change_time: NOW - 90 * 24 * 60 * MINUTE,
        ..File::default()
    }
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

const ENVS: [&str; 22] = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOSTNAME=shop-web-7d9c5b6f4-x2x8k",
    "LANG=C.UTF-8",
    "HOME=/home/app",
    "PYTHON_VERSION=3.11.9",
    "PYTHONUNBUFFERED=1",
    "DJANGO_SETTINGS_MODULE=shop.settings.production",
    "DATABASE_URL=postgres://db.internal:5432/shop",
    "REDIS_URL=redis://cache.internal:6379/0",
    "SECRET_KEY_FILE=/run/secrets/key",
    "GUNICORN_CMD_ARGS=--workers 4",
    "KUBERNETES_SERVICE_HOST=10.96.0.1",
    "KUBERNETES_SERVICE_PORT=443",
    "KUBERNETES_PORT=tcp://10.96.0.1:443",
    "KUBERNETES_PORT_443_TCP=tcp://10.96.0.1:443",
    "SHOP_SERVICE_HOST=10.96.44.3",
    "SHOP_SERVICE_PORT=80",
    "TZ=UTC",
    "PWD=/srv/shop",
    "SHLVL=0",
    "LC_CTYPE=C.UTF-8",
    "SENTRY_RELEASE=2026.1",
];

/// A process of a web application in a container, below its parent.
fn process(
    pid: u32,
    path: &str,
    argv: &[&str],
    parent: Option<Arc<Process>>,
    contained: bool,
) -> Arc<Process> {
    let name = path.rsplit('/').next().unwrap();
    let id = "4c01db0b339c9e1b8b3b7a5d1f5a2f8e6f3c2d1e0f9a8b7c6d5e4f3a2b1c0d9e";
    let mut process = Process {
        pid,
        tid: pid,
        ppid: parent.as_ref().map_or(0, |parent| parent.pid),
        comm: name.into(),
        is_exec: true,
        fork_time: NOW - 5 * MINUTE,
        exec_time: NOW - 5 * MINUTE,
        creds: Creds {
            uid: 1000,
            gid: 1000,
            euid: 1000,
            egid: 1000,
            fsuid: 1000,
            fsgid: 1000,
            auid: u32::MAX,
            ..Creds::default()
        },
        image: Arc::new(Image {
            file: file(path),
            filename: path.to_owned(),
            cwd: "/srv/shop".to_owned(),
            argv: strings(argv),
            envp: strings(&ENVS),
            ..Image::default()
        }),
        cgroup: Arc::new(Cgroup {
            path: format!("/kubepods/burstable/pod1d2c/{id}"),
            version: 2,
            ..Cgroup::default()
        }),
        container: contained.then(|| {
            Arc::new(Container {
                id: id.to_owned(),
                created_at: NOW - 600 * MINUTE,
                ..Container::default()
            })
        }),
        ..Process::default()
    };
    process.set_parent(parent);
    Arc::new(process)
}

/// systemd, the container runtime, the container's init, and a server with its worker.
fn server() -> Arc<Process> {
    let systemd = process(1, "/usr/lib/systemd/systemd", &["/sbin/init"], None, false);
    let shim = process(
        812,
        "/usr/bin/containerd-shim-runc-v2",
        &[
            "containerd-shim-runc-v2",
            "-namespace",
            "k8s.io",
            "-id",
            "4c01db0b",
        ],
        Some(systemd),
        false,
    );
    let init = process(
        4001,
        "/usr/bin/tini",
        &["tini", "--", "gunicorn"],
        Some(shim),
        true,
    );
    let python = "/usr/local/bin/python3.11";
    let argv = ["python3.11", "/usr/local/bin/gunicorn", "shop.wsgi"];
    let master = process(4007, python, &argv, Some(init), true);
    process(4022, python, &argv, Some(master), true)
}

pub fn event(process: Arc<Process>, data: EventData) -> Event {
    Event::new(Arc::new(Context::default()), NOW, process, data)
}

/// A program that no rule is about, with five processes and the node that it was before above it.
pub fn quiet_exec() -> Event {
    exec(
        "/usr/bin/identify",
        &[
            "identify",
            "-format",
            "%w %h",
            "-quiet",
            "--",
            "/srv/shop/media/4711/photo.jpeg",
        ],
    )
}

pub fn exec(path: &str, argv: &[&str]) -> Event {
    let forked = process(
        9120,
        "/usr/local/bin/python3.11",
        &["python3.11"],
        Some(server()),
        true,
    );
    let process = process(9120, path, argv, Some(forked), true);
    let syscall_path = path.to_owned();
    event(
        process,
        EventData::Exec(ExecEvent {
            syscall_path,
            ..ExecEvent::default()
        }),
    )
}

/// A file that no rule is about.
pub fn quiet_open() -> Event {
    open(
        "/srv/shop/templates/catalogue/product_list.html",
        0o2_000_000,
    )
}

pub fn open(path: &str, flags: u32) -> Event {
    event(
        server(),
        EventData::Open(OpenEvent {
            file: File {
                mode: 0o100_644,
                ..file(path)
            },
            flags,
            retval: 7,
            syscall_path: path.to_owned(),
            ..OpenEvent::default()
        }),
    )
}
