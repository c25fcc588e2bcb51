//! The process tree as JSON or as a graph.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use atalaya_model::Process;
use atalaya_model::json::Scrubber;
use serde_json::{Value, json};

/// Arguments longer than this are cut in the graph, which people look at.
const GRAPH_ARGS: usize = 200;

/// The processes as one JSON object, sorted by pid.
pub(crate) fn json(processes: &[Arc<Process>], scrubber: Option<&Scrubber>) -> Vec<u8> {
    let processes: Vec<Value> = processes
        .iter()
        .map(|process| {
            let mut node = node(process);
            if let Some(scrubber) = scrubber {
                node["args"] = json!(scrubber.args(&process.image.argv));
                node["args_truncated"] = json!(process.image.args_truncated);
            }
            let lineage: Vec<Value> = process
                .ancestors()
                .map(|ancestor| {
                    json!({
                        "pid": ancestor.pid,
                        "comm": &*ancestor.comm,
                        "path": ancestor.image.file.path,
                        "is_thread": ancestor.is_thread,
                    })
                })
                .collect();
            node["lineage"] = Value::Array(lineage);
            node
        })
        .collect();
    let mut text = serde_json::to_vec_pretty(&json!({ "processes": processes }))
        // Strings, numbers and lists cannot fail to serialize.
        .unwrap_or_default();
    text.push(b'\n');
    text
}

/// A process, its ancestors, and its descendants, of those that are given; `None` where nobody has this pid or descends from one that had.
pub(crate) fn family(processes: Vec<Arc<Process>>, pid: u32) -> Option<Vec<Arc<Process>>> {
    let own = processes.iter().find(|process| process.pid == pid);
    let above: BTreeSet<u32> = own
        .into_iter()
        .flat_map(|process| process.ancestors())
        .map(|ancestor| ancestor.pid)
        .collect();
    let is_known = own.is_some();
    let family: Vec<_> = processes
        .into_iter()
        .filter(|process| {
            let descends = || process.ancestors().any(|ancestor| ancestor.pid == pid);
            process.pid == pid || above.contains(&process.pid) || descends()
        })
        .collect();
    let has_descendants = family.iter().any(|process| process.pid != pid);
    (is_known || has_descendants).then_some(family)
}

fn node(process: &Process) -> Value {
    let creds = &process.creds;
    let ns = &process.namespaces;
    json!({
        "pid": process.pid,
        "ppid": process.ppid,
        "sid": process.sid,
        "ns_pid": process.ns_pid,
        "comm": &*process.comm,
        "path": process.image.file.path,
        "interpreter": process.image.interpreter.as_ref().map(|file| &file.path),
        "deleted": process.image.file.deleted,
        "inode": process.image.file.inode,
        "filesystem": process.image.file.filesystem,
        "tty": &*process.tty,
        "uid": creds.uid,
        "gid": creds.gid,
        "euid": creds.euid,
        "egid": creds.egid,
        "auid": creds.auid,
        "cap_effective": format!("{:#x}", creds.cap_effective),
        "mntns": ns.mnt,
        "netns": ns.net,
        "pidns": ns.pid,
        "cgroup": process.cgroup.path,
        "cgroup_manager": process.cgroup.manager,
        "container_id": process.container_id(),
        "fork_time": process.fork_time,
        "exec_time": process.exec_time,
        "is_thread": process.is_thread,
        "is_kworker": process.is_kworker,
        "source": if process.from_snapshot { "snapshot" } else { "event" },
        "lineage_cut": process.parent.is_cut(),
    })
}

/// The processes and their ancestors as a graph in the DOT language.
pub(crate) fn dot(processes: &[Arc<Process>], scrubber: Option<&Scrubber>) -> Vec<u8> {
    let mut out = String::from("digraph ProcessTree {\n  node [shape=box, fontname=monospace];\n");
    let mut drawn = BTreeSet::new();
    let living: BTreeSet<usize> = processes.iter().map(address).collect();
    for process in processes {
        let mut child = process;
        draw(&mut out, child, true, scrubber, &mut drawn);
        let mut ancestors = process.ancestors();
        while let Some(parent) = ancestors.next_shared() {
            draw(
                &mut out,
                parent,
                living.contains(&address(parent)),
                scrubber,
                &mut drawn,
            );
            if drawn.insert((address(parent), address(child))) {
                let kind = if child.pid == parent.pid {
                    "exec"
                } else {
                    "fork"
                };
                // Writing to a string cannot fail.
                let _ = writeln!(
                    out,
                    "  n{:x} -> n{:x} [label={kind}];",
                    address(parent),
                    address(child)
                );
            } else {
                // Everything above is drawn already.
                break;
            }
            child = parent;
        }
    }
    out.push_str("}\n");
    out.into_bytes()
}

/// A node is told from others by where it lies: one pid has several.
fn address(process: &Arc<Process>) -> usize {
    Arc::as_ptr(process) as usize
}

fn draw(
    out: &mut String,
    process: &Arc<Process>,
    alive: bool,
    scrubber: Option<&Scrubber>,
    drawn: &mut BTreeSet<(usize, usize)>,
) {
    if !drawn.insert((0, address(process))) {
        return;
    }
    let mut label = format!("{} {}", process.pid, process.comm);
    if !process.image.file.path.is_empty() {
        label.push('\n');
        label.push_str(&process.image.file.path);
    }
    if let Some(scrubber) = scrubber {
        let args = scrubber.args(process.image.args()).join(" ");
        label.push('\n');
        label.extend(args.chars().take(GRAPH_ARGS));
    }
    let style = if alive { "solid" } else { "dashed" };
    let _ = writeln!(
        out,
        "  n{:x} [style={style}, label=\"{}\"];",
        address(process),
        escape(&label)
    );
}

/// What a process chose must not end the string, nor play with the terminal of who looks at the file.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use atalaya_model::Image;

    fn tree() -> Vec<Arc<Process>> {
        let init = Arc::new(Process {
            pid: 1,
            comm: "init".into(),
            ..Process::default()
        });
        let mut evil = Process {
            pid: 7,
            ppid: 1,
            comm: "a\"];\u{1b}[2Jx".into(),
            image: Arc::new(Image {
                argv: vec!["x".into(), "--password=hunter2".into()],
                ..Image::default()
            }),
            ..Process::default()
        };
        evil.set_parent(Some(Arc::clone(&init)));
        vec![init, Arc::new(evil)]
    }

    #[test]
    fn a_family_is_ancestors_and_descendants_without_siblings() {
        let mut processes = tree();
        let init = Arc::clone(&processes[0]);
        for (pid, parent) in [(8, 7), (9, 1)] {
            let mut process = Process {
                pid,
                ..Process::default()
            };
            let parent = processes.iter().find(|p| p.pid == parent).unwrap();
            process.set_parent(Some(Arc::clone(parent)));
            processes.push(Arc::new(process));
        }
        let pids = |pid| -> Option<Vec<u32>> {
            let family = family(processes.clone(), pid)?;
            Some(family.iter().map(|process| process.pid).collect())
        };
        assert_eq!(pids(7), Some(vec![1, 7, 8]));
        assert_eq!(pids(8), Some(vec![1, 7, 8]));
        assert_eq!(pids(9), Some(vec![1, 9]));
        assert_eq!(pids(1), Some(vec![1, 7, 8, 9]));
        assert_eq!(pids(77), None);
        // It has ended; its child has not.
        let orphans: Vec<_> = processes.into_iter().filter(|p| p.pid == 8).collect();
        assert_eq!(family(orphans, 7).map(|family| family.len()), Some(1));
        drop(init);
    }

    #[test]
    fn json_has_every_process_and_scrubbed_args() {
        let processes = tree();
        let value: Value = serde_json::from_slice(&json(&processes, None)).unwrap();
        assert_eq!(value["processes"][1]["lineage"][0]["pid"], 1);
        assert!(value["processes"][1].get("args").is_none());
        let text = String::from_utf8(json(&processes, Some(&Scrubber::default()))).unwrap();
        assert!(
            text.contains("\"args\"") && !text.contains("hunter2"),
            "{text}"
        );
    }

    #[test]
    fn dot_is_escaped() {
        let text = String::from_utf8(dot(&tree(), Some(&Scrubber::default()))).unwrap();
        assert_eq!(text.matches("label=fork").count(), 1);
        assert_eq!(text.matches("shape=box").count(), 1);
        assert!(text.contains("a\\\"];\u{fffd}[2Jx") && !text.contains('\u{1b}'));
        assert!(!text.contains("hunter2"));
    }
}
