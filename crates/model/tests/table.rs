//! The table of fields: every field reads, types agree, and how much of the documented fields and constants is there.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use atalaya_model::{Context, Event, EventData, ExecEvent, File, Lookup, Process, schema};
use atalaya_secl::model::{EventView, FieldId, Schema, TextKind, Type, Value};
use common::{empty_events, event, full_events, process};

fn get<'a>(event: &'a Event, name: &str) -> Value<'a> {
    let field = schema().field(name).unwrap_or_else(|| panic!("no {name}"));
    event.get(field.id)
}

fn get_at<'a>(event: &'a Event, name: &str, index: usize) -> Option<Value<'a>> {
    let field = schema().field(name).unwrap_or_else(|| panic!("no {name}"));
    event.get_at(field.id, index)
}

fn text(text: &str) -> Value<'_> {
    Value::Str(Cow::Borrowed(text))
}

fn list(words: &[&str]) -> Value<'static> {
    Value::StrList(Cow::Owned(words.iter().map(|w| (*w).to_owned()).collect()))
}

fn find(events: Vec<Event>, name: &str) -> Event {
    events
        .into_iter()
        .find(|event| event.event_type() == name)
        .unwrap()
}

#[test]
fn every_field_reads_with_its_type_from_every_event() {
    for event in full_events().iter().chain(&empty_events()) {
        for (id, entry) in (0..).map(FieldId).zip(schema().entries()) {
            let value = if entry.iterator.is_some() {
                match event.get_at(id, 0) {
                    Some(value) => value,
                    None => continue,
                }
            } else {
                event.get(id)
            };
            let found = match value {
                Value::Bool(_) => (Type::Bool, false),
                Value::Int(_) => (Type::Int, false),
                Value::Str(_) => (Type::String, false),
                Value::Ip(_) => (Type::Ip, false),
                Value::BoolList(_) => (Type::Bool, true),
                Value::IntList(_) => (Type::Int, true),
                Value::StrList(_) => (Type::String, true),
                Value::IpList(_) => (Type::Ip, true),
            };
            assert_eq!(
                found,
                (entry.spec.ty, entry.spec.list),
                "{}",
                entry.spec.name
            );
        }
    }
}

#[test]
fn names_are_found_under_their_canonical_name() {
    let field = schema().field("open.file.path").unwrap();
    assert_eq!(
        (field.text, field.event.as_deref()),
        (TextKind::Path, Some("open"))
    );
    let legacy = schema().field("open.filename").unwrap();
    assert_eq!(
        (legacy.id, legacy.name.as_ref()),
        (field.id, "open.file.path")
    );
    assert_eq!(
        schema().field("container.id").unwrap().name,
        "process.container.id"
    );
    let known_by_name = |name: &str| schema().field(name).unwrap().unavailable.unwrap();
    assert_eq!(
        known_by_name("open.file.package.name"),
        "files are not looked up in packages yet"
    );
    assert_eq!(
        known_by_name("ondemand.name"),
        "`ondemand` is not captured by this version"
    );
    assert_eq!(
        known_by_name("container.tags"),
        "container tags are not collected yet"
    );
    assert_eq!(schema().field("opne.file.path"), None);
    let ancestor = schema().field("process.ancestors.file.name").unwrap();
    assert_eq!(ancestor.iterator, schema().iterator("process.ancestors"));
    assert!(ancestor.iterator.is_some());
    assert_eq!(
        schema().field("process.ancestors.length").unwrap().iterator,
        None
    );
}

#[test]
fn process_fields() {
    let event = find(full_events(), "exec");
    for (name, value) in [
        ("process.pid", Value::Int(42)),
        ("exec.pid", Value::Int(42)),
        ("process.tid", Value::Int(43)),
        ("exec.comm", text("script.sh")),
        ("exec.tty_name", text("pts0")),
        ("exec.file.name", text("script.sh")),
        ("exec.file.extension", text(".sh")),
        ("exec.file.path.length", Value::Int(18)),
        ("exec.file.rights", Value::Int(0o4755)),
        ("exec.file.mode", Value::Int(0o104_755)),
        ("exec.file.mount_visible", Value::Bool(true)),
        ("exec.interpreter.file.path", text("/usr/bin/dash")),
        ("exec.argv0", text("script")),
        ("exec.args", text("-la --password hunter2 --width=8 file")),
        (
            "exec.argv",
            list(&["-la", "--password", "hunter2", "--width=8", "file"]),
        ),
        ("exec.args_flags", list(&["l", "a", "la", "password"])),
        ("exec.args_options", list(&["password=hunter2", "width=8"])),
        ("exec.args_truncated", Value::Bool(true)),
        (
            "exec.envs",
            list(&["PATH=/bin", "API_KEY", "DD_SERVICE=shop"]),
        ),
        (
            "exec.envp",
            list(&["PATH=/bin", "API_KEY=abc", "DD_SERVICE=shop"]),
        ),
        ("exec.user", text("container-u1000")),
        ("exec.euser", text("container-root")),
        ("exec.egroup", text("")),
        ("exec.auid", Value::Int(0xffff_ffff)),
        ("exec.cap_permitted", Value::Int(1 << 21 | 1)),
        ("exec.mntns", Value::Int(11)),
        ("exec.netns", Value::Int(12)),
        ("exec.cgroup.id", text("/docker/0123")),
        ("exec.cgroup.version", Value::Int(2)),
        ("exec.container.id", text("0123")),
        ("exec.created_at", Value::Int(common::START as i64 - 500)),
        ("exec.syscall.path", text("../link/script")),
        ("process.parent.comm", text("dash")),
        ("process.parent.file.path", text("/sbin/init")),
        ("process.parent.interpreter.file.path", text("")),
        ("process.ancestors.length", Value::Int(2)),
        ("event.service", text("shop")),
        ("event.source", text("runtime")),
        ("event.os", text("linux")),
        ("event.origin", text("ebpf")),
        ("event.hostname", text("host")),
        ("event.async", Value::Bool(false)),
        // Another event type's field reads as nothing.
        ("open.file.path", text("")),
        ("open.flags", Value::Int(0)),
    ] {
        assert_eq!(get(&event, name), value, "{name}");
    }
}

#[test]
fn ancestors_by_index() {
    let event = find(full_events(), "open");
    let iter = schema().iterator("process.ancestors").unwrap();
    assert_eq!(event.iter_len(iter), 2);
    let pid = |index| get_at(&event, "process.ancestors.pid", index);
    assert_eq!(pid(0), Some(Value::Int(40)));
    assert_eq!(pid(1), Some(Value::Int(1)));
    assert_eq!(pid(2), None);
    assert_eq!(
        get_at(&event, "process.ancestors.argv0", 1),
        Some(text("/sbin/init"))
    );
    assert_eq!(get_at(&event, "process.pid", 0), None);
}

#[test]
fn plain_fields_are_borrowed() {
    let event = find(full_events(), "open");
    for name in [
        "open.file.path",
        "open.file.name",
        "process.comm",
        "process.args",
        "process.file.path",
        "event.hostname",
    ] {
        let Value::Str(value) = get(&event, name) else {
            panic!("{name} is text")
        };
        assert!(matches!(value, Cow::Borrowed(_)), "{name}");
    }
    assert!(matches!(
        get(&event, "process.argv"),
        Value::StrList(Cow::Borrowed(_))
    ));
}

#[test]
fn file_fields() {
    let value = |event: &str, field: &str| {
        let event = find(full_events(), event);
        format!("{:?}", get(&event, field))
    };
    assert_eq!(value("open", "open.flags"), "Int(65)");
    assert_eq!(value("open", "open.file.destination.mode"), "Int(1444)");
    assert_eq!(value("chmod", "chmod.file.destination.rights"), "Int(1444)");
    assert_eq!(value("chown", "chown.file.destination.uid"), "Int(33)");
    assert_eq!(value("chown", "chown.file.destination.gid"), "Int(-1)");
    assert_eq!(value("chown", "chown.file.destination.group"), r#"Str("")"#);
    assert_eq!(value("unlink", "unlink.flags"), "Int(512)");
    assert_eq!(value("unlink", "unlink.syscall.dirfd"), "Int(-100)");
    assert_eq!(
        value("rename", "rename.file.destination.path"),
        r#"Str("/tmp/new name")"#
    );
    // Only the new name was captured; the inode is the old name's.
    assert_eq!(value("rename", "rename.file.destination.inode"), "Int(77)");
    assert_eq!(
        value("link", "link.syscall.destination.path"),
        r#"Str("new name")"#
    );
    assert_eq!(value("exit", "exit.code"), "Int(11)");
    assert_eq!(value("exit", "exit.cause"), "Int(1)");
    assert_eq!(value("heartbeat", "heartbeat.sequence"), "Int(9)");
}

#[test]
fn the_path_a_program_was_started_by_matches_too() {
    let event = event(&process(), EventData::Exec(ExecEvent::default()));
    let alias = |name: &str| event.alias(schema().field(name).unwrap().id);
    assert_eq!(alias("exec.file.path"), Some(text("/usr/link/script")));
    assert_eq!(alias("process.file.name"), Some(text("script")));
    assert_eq!(alias("process.comm"), None);
    assert_eq!(alias("process.parent.file.path"), None);
}

#[test]
fn an_event_without_a_lineage() {
    let event = event(
        &Arc::new(Process::default()),
        EventData::Exec(ExecEvent::default()),
    );
    assert_eq!(get(&event, "process.parent.pid"), Value::Int(0));
    assert_eq!(get(&event, "process.parent.file.path"), text(""));
    assert_eq!(get(&event, "process.container.id"), text(""));
    assert_eq!(get_at(&event, "process.ancestors.pid", 0), None);
    assert_eq!(get(&event, "event.service"), text("default-service"));
}

/// Tells hashes from the second time on.
#[derive(Default)]
struct SlowHashes(AtomicUsize);

impl Lookup for SlowHashes {
    fn user(&self, _: u32, _: &Process) -> Option<Arc<str>> {
        None
    }

    fn group(&self, _: u32, _: &Process) -> Option<Arc<str>> {
        None
    }

    fn hashes(&self, file: &File, _: &Process) -> Option<Vec<String>> {
        let asked = self.0.fetch_add(1, Ordering::Relaxed);
        (asked > 0).then(|| vec![format!("sha256:{asked}{}", file.name())])
    }
}

#[test]
fn hashes_are_asked_for_until_they_are_known() {
    let mut open = find(full_events(), "open");
    assert_eq!(get(&open, "open.file.hashes"), list(&[]));
    open.context = Arc::new(Context {
        lookup: Box::new(SlowHashes::default()),
        ..Context::default()
    });
    assert_eq!(get(&open, "open.file.hashes"), list(&[]));
    let EventData::Open(data) = &open.data else {
        panic!("an open event")
    };
    let known = format!("sha256:1{}", data.file.name());
    assert_eq!(get(&open, "open.file.hashes"), list(&[&known]));
    // Not asked again.
    assert_eq!(get(&open, "open.file.hashes"), list(&[&known]));
    assert_eq!(data.file.known_hashes(), [known]);
}

#[test]
fn former_names() {
    let mut names = vec![
        ("async", "event.async"),
        ("container.id", "process.container.id"),
        ("container.created_at", "process.container.created_at"),
        ("container.tags", "process.container.tags"),
        ("cgroup.id", "process.cgroup.id"),
        ("cgroup.version", "process.cgroup.version"),
        ("cgroup.file.inode", "process.cgroup.file.inode"),
        ("chmod.mode", "chmod.file.destination.mode"),
        ("chown.uid", "chown.file.destination.uid"),
        ("chown.user", "chown.file.destination.user"),
        ("chown.gid", "chown.file.destination.gid"),
        ("chown.group", "chown.file.destination.group"),
        ("open.mode", "open.file.destination.mode"),
        ("mkdir.mode", "mkdir.file.destination.mode"),
        ("setxattr.name", "setxattr.file.destination.name"),
        ("setxattr.namespace", "setxattr.file.destination.namespace"),
        ("removexattr.name", "removexattr.file.destination.name"),
        (
            "removexattr.namespace",
            "removexattr.file.destination.namespace",
        ),
        ("rename.old.filename", "rename.file.path"),
        ("rename.old.basename", "rename.file.name"),
        ("rename.new.filename", "rename.file.destination.path"),
        ("rename.new.basename", "rename.file.destination.name"),
        ("link.source.filename", "link.file.path"),
        ("link.source.basename", "link.file.name"),
        ("link.target.filename", "link.file.destination.path"),
        ("link.target.basename", "link.file.destination.name"),
    ];
    let files: Vec<(String, String)> = [
        "chmod",
        "chown",
        "exec",
        "mkdir",
        "open",
        "process",
        "process.ancestors",
        "process.parent",
        "removexattr",
        "rmdir",
        "setxattr",
        "unlink",
        "utimes",
    ]
    .iter()
    .flat_map(|event| {
        [("filename", "path"), ("basename", "name")].map(|(former, present)| {
            (
                format!("{event}.{former}"),
                format!("{event}.file.{present}"),
            )
        })
    })
    .chain(
        ["exec", "process", "process.ancestors", "process.parent"]
            .map(|process| (format!("{process}.name"), format!("{process}.comm"))),
    )
    .collect();
    names.extend(
        files
            .iter()
            .map(|(former, present)| (former.as_str(), present.as_str())),
    );
    for (former, present) in names {
        let field = schema()
            .field(former)
            .unwrap_or_else(|| panic!("no {former}"));
        assert_eq!(field.name, present, "{former}");
    }
    // What never was a name.
    for name in [
        "open.file.filename",
        "container",
        "cgroup.nonsense",
        "filename",
        "rename.filename.x",
    ] {
        assert_eq!(schema().field(name), None, "{name}");
    }
}
