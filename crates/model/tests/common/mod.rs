//! Sample processes and events.
#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "a failed unwrap is a failed test; each test file uses its part"
)]

use std::path::PathBuf;
use std::sync::Arc;

use atalaya_model::capture::{
    CaptureKind, Credentials, Exec, Exit, FileCall, FileFields, Namespaces, PathOrigin,
};
use atalaya_model::{
    Cgroup, Container, Context, Creds, Event, EventData, ExecEvent, ExitEvent, HeartbeatEvent,
    Image, Lookup, Process,
};

pub(crate) const START: u64 = 1_700_000_000_000_000_000;

/// The file kinds.
pub(crate) const FILE_KINDS: [CaptureKind; 9] = [
    CaptureKind::Open,
    CaptureKind::Chmod,
    CaptureKind::Chown,
    CaptureKind::Unlink,
    CaptureKind::Rmdir,
    CaptureKind::Mkdir,
    CaptureKind::Rename,
    CaptureKind::Link,
    CaptureKind::Utimes,
];

struct Names;

impl Lookup for Names {
    fn user(&self, uid: u32, process: &Process) -> Option<Arc<str>> {
        let user = if uid == 0 {
            "root".to_owned()
        } else {
            format!("u{uid}")
        };
        Some(match process.container_id() {
            "" => user.into(),
            _ => format!("container-{user}").into(),
        })
    }

    fn group(&self, gid: u32, _: &Process) -> Option<Arc<str>> {
        (gid != 999).then(|| format!("g{gid}").into())
    }
}

pub(crate) fn context() -> Arc<Context> {
    Arc::new(Context {
        hostname: "host".to_owned(),
        service: "default-service".to_owned(),
        lookup: Box::new(Names),
        ..Context::default()
    })
}

pub(crate) fn file_fields(path: &str) -> FileFields {
    FileFields {
        path: path.to_owned(),
        known: true,
        inode: 77,
        dev: 5,
        mount_id: 29,
        mode: 0o104_755,
        uid: 0,
        gid: 12,
        nlink: 1,
        mtime_ns: START - 5,
        ctime_ns: START - 4,
        filesystem: "ext4".to_owned(),
        ..FileFields::default()
    }
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

pub(crate) fn exec_record() -> Exec {
    Exec {
        file: file_fields("/usr/bin/script.sh"),
        interpreter: Some(file_fields("/usr/bin/dash")),
        filename: "../link/script".to_owned(),
        cwd: "/usr/bin".to_owned(),
        args: strings(&[
            "script",
            "-la",
            "--password",
            "hunter2",
            "--width=8",
            "file",
        ]),
        args_truncated: true,
        envs: strings(&["PATH=/bin", "API_KEY=abc", "DD_SERVICE=shop"]),
        ..Exec::default()
    }
}

/// A process with everything, below a shell, below init.
pub(crate) fn process() -> Arc<Process> {
    let mut init = Process {
        pid: 1,
        tid: 1,
        comm: "init".into(),
        from_snapshot: true,
        ..Process::default()
    };
    init.image = Arc::new(Image {
        file: file_fields("/sbin/init").into(),
        argv: strings(&["/sbin/init", "--token=t0p"]),
        ..Image::default()
    });
    let mut shell = Process {
        pid: 40,
        tid: 40,
        ppid: 1,
        comm: "dash".into(),
        is_exec: true,
        ..init.clone()
    };
    shell.set_parent(Some(Arc::new(init)));
    shell.is_exec = true;
    let mut process = Process {
        pid: 42,
        tid: 43,
        ppid: 40,
        sid: 40,
        ns_pid: 2,
        comm: "script.sh".into(),
        tty: "pts0".into(),
        is_exec: true,
        fork_time: START - 1000,
        exec_time: START - 500,
        creds: Creds::from(Credentials {
            uid: 1000,
            gid: 1000,
            euid: 0,
            egid: 999,
            fsuid: 0,
            fsgid: 1000,
            auid: u32::MAX,
            cap_effective: 1 << 21,
            cap_permitted: 1 << 21 | 1,
        }),
        namespaces: Namespaces {
            mnt: 11,
            net: 12,
            ..Namespaces::default()
        },
        image: Arc::new(Image::take(&mut exec_record())),
        cgroup: Arc::new(Cgroup {
            path: "/docker/0123".to_owned(),
            version: 2,
            inode: 1234,
            created_at: START - 9000,
            manager: "docker".to_owned(),
            ..Cgroup::default()
        }),
        container: Some(Arc::new(Container {
            id: "0123".to_owned(),
            created_at: START - 9000,
            ..Container::default()
        })),
        ..Process::default()
    };
    process.set_parent(Some(Arc::new(shell)));
    Arc::new(process)
}

pub(crate) fn file_call(kind: CaptureKind) -> FileCall {
    FileCall {
        kind,
        retval: 0,
        file: file_fields("/etc/app/conf.d/x.conf"),
        destination: matches!(kind, CaptureKind::Rename | CaptureKind::Link).then(|| FileFields {
            path: "/tmp/new name".to_owned(),
            origin: PathOrigin::KernelCopy,
            ..FileFields::default()
        }),
        flags: if kind == CaptureKind::Unlink {
            0x200
        } else {
            0o101
        },
        mode: 0o2644,
        uid: 33,
        gid: -1,
        atime_ns: START + 1,
        mtime_ns: START + 2,
        arg_path: "x.conf".to_owned(),
        arg_path2: "new name".to_owned(),
        dirfd: -100,
    }
}

/// An empty call: what is left when the kernel side saw next to nothing.
pub(crate) fn empty_call(kind: CaptureKind) -> FileCall {
    FileCall {
        kind,
        retval: -13,
        file: FileFields::default(),
        destination: None,
        flags: 0,
        mode: 0,
        uid: -1,
        gid: -1,
        atime_ns: 0,
        mtime_ns: 0,
        arg_path: String::new(),
        arg_path2: String::new(),
        dirfd: 0,
    }
}

pub(crate) fn event(process: &Arc<Process>, data: EventData) -> Event {
    Event::new(context(), START, process.clone(), data)
}

/// One event of each type, with everything.
pub(crate) fn full_events() -> Vec<Event> {
    let process = process();
    let mut data = vec![
        EventData::Exec(ExecEvent {
            syscall_path: "../link/script".to_owned(),
            ..ExecEvent::default()
        }),
        EventData::Exit(ExitEvent::from(Exit { status: 11 | 0x80 })),
        EventData::Heartbeat(HeartbeatEvent { sequence: 9 }),
    ];
    data.extend(FILE_KINDS.map(|kind| EventData::from_file_call(file_call(kind)).unwrap()));
    data.into_iter().map(|data| event(&process, data)).collect()
}

/// One event of each type, with nothing.
pub(crate) fn empty_events() -> Vec<Event> {
    let process = Arc::new(Process::default());
    let mut data = vec![
        EventData::Exec(ExecEvent::default()),
        EventData::Exit(ExitEvent::default()),
        EventData::Heartbeat(HeartbeatEvent::default()),
    ];
    data.extend(FILE_KINDS.map(|kind| EventData::from_file_call(empty_call(kind)).unwrap()));
    data.into_iter()
        .map(|data| Event::new(Arc::new(Context::default()), 0, process.clone(), data))
        .collect()
}

/// A file of the reference folder, or `None` with a line that says so.
pub(crate) fn reference(name: &str) -> Option<serde_json::Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/reference")
        .join(name);
    match std::fs::read(&path) {
        Ok(text) => Some(serde_json::from_slice(&text).unwrap()),
        Err(error) => {
            println!("SKIPPED: {} is not there ({error})", path.display());
            None
        }
    }
}
