//! `runtime tree PID`: a process, its ancestors, and its descendants.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use atalaya_api::proto::DumpProcessCacheParams;
use atalaya_api::{Sanitized, sanitize_json};
use serde_json::{Value, json};

use crate::ask::{answer, connect, out};
use crate::line::{BOLD, DIM, Style, YELLOW};

/// So many processes are shown.
const SHOWN: usize = 1000;
/// So many characters of a command line.
const MAX_COMMAND: usize = 120;

/// Arguments of `runtime tree`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  runtime tree 1
  runtime tree $(pidof nginx | cut -d' ' -f1) --args")]
pub struct Args {
    /// The process, by its id on the host
    #[arg(value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: u32,
    /// With the arguments of each process
    #[arg(long, short)]
    args: bool,
    /// As JSON
    #[arg(long, short)]
    json: bool,
}

/// Prints the tree.
pub(crate) async fn run(socket: &Path, args: &Args, color: bool) -> Result<ExitCode> {
    let mut client = connect(socket).await?;
    let params = DumpProcessCacheParams {
        with_args: args.args,
        format: "json".to_owned(),
        pid: args.pid,
    };
    let dumped = client.commands.dump_process_cache(params).await;
    let dumped = dumped.map_err(|status| answer("cannot show the tree", &status))?;
    let dump: Value = serde_json::from_slice(&dumped.into_inner().content)
        .context("system-probe did not send a process tree")?;
    let tree = Tree::new(&dump);
    if args.json {
        let text = serde_json::to_string_pretty(&tree.json())?;
        out(&format!("{}\n", sanitize_json(&text)));
    } else {
        out(&tree.text(args.pid, Style { color }));
    }
    Ok(ExitCode::SUCCESS)
}

/// Processes by pid; those that have ended are known from their descendants only.
#[derive(Debug, Default)]
struct Tree {
    nodes: BTreeMap<u64, Node>,
    children: BTreeMap<u64, BTreeSet<u64>>,
    roots: BTreeSet<u64>,
}

#[derive(Debug, Default)]
struct Node {
    comm: String,
    path: String,
    /// What it ran before, oldest first.
    before: Vec<String>,
    args: String,
    uid: Option<u64>,
    container: String,
    alive: bool,
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

impl Tree {
    fn new(dump: &Value) -> Self {
        let mut tree = Self::default();
        for process in dump["processes"].as_array().into_iter().flatten() {
            tree.add(process);
        }
        tree
    }

    fn add(&mut self, process: &Value) {
        let Some(own) = process["pid"].as_u64() else {
            return;
        };
        let words = process["args"].as_array().into_iter().flatten();
        let words: Vec<&str> = words.filter_map(Value::as_str).collect();
        let node = self.nodes.entry(own).or_default();
        node.comm = text(process, "comm");
        node.path = text(process, "path");
        node.args = words.join(" ");
        node.uid = process["euid"].as_u64();
        node.container = text(process, "container_id");
        node.alive = true;
        node.before.clear();
        let mut child = own;
        let mut seen = BTreeSet::from([own]);
        for ancestor in process["lineage"].as_array().into_iter().flatten() {
            let Some(pid) = ancestor["pid"].as_u64() else {
                continue;
            };
            if pid == child {
                // What it was before an exec.
                let path = text(ancestor, "path");
                if let Some(node) = self.nodes.get_mut(&pid)
                    && child == own
                    && node.before.first().is_none_or(|first| *first != path)
                {
                    node.before.insert(0, path);
                }
                continue;
            }
            // A pid that came again further up is another process; a tree must stay one.
            if !seen.insert(pid) {
                break;
            }
            let node = self.nodes.entry(pid).or_default();
            if !node.alive {
                node.comm = text(ancestor, "comm");
                node.path = text(ancestor, "path");
            }
            self.children.entry(pid).or_default().insert(child);
            child = pid;
        }
        self.roots.insert(child);
    }

    /// The roots: what is nobody's child. Pids that are used again could make a ring; then the lowest is the root.
    fn tops(&self) -> Vec<u64> {
        let children: BTreeSet<u64> = self.children.values().flatten().copied().collect();
        let tops: Vec<u64> = self.roots.difference(&children).copied().collect();
        match tops.is_empty() {
            true => self.roots.first().copied().into_iter().collect(),
            false => tops,
        }
    }

    fn text(&self, wanted: u32, style: Style) -> String {
        let mut text = String::new();
        let mut shown = BTreeSet::new();
        for top in self.tops() {
            self.draw(&mut text, top, "", "", u64::from(wanted), style, &mut shown);
        }
        if self.nodes.len() > shown.len() {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "({} more; --json has all)",
                self.nodes.len() - shown.len()
            );
        }
        text
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "a recursion with its two prefixes"
    )]
    fn draw(
        &self,
        text: &mut String,
        pid: u64,
        first: &str,
        rest: &str,
        wanted: u64,
        style: Style,
        shown: &mut BTreeSet<u64>,
    ) {
        // Deeper than this there is only somebody who plays.
        if shown.len() >= SHOWN || rest.len() > 4096 || !shown.insert(pid) {
            return;
        }
        let Some(node) = self.nodes.get(&pid) else {
            return;
        };
        let mut line = format!("{}({pid})", Sanitized(&node.comm));
        if pid == wanted {
            line = style.paint(BOLD, &line);
        }
        let mut about = String::new();
        match node.uid {
            Some(uid) => {
                let _ = write!(about, "  uid {uid}");
            }
            None => about.push_str("  ended"),
        }
        let _ = write!(about, "  {}", Sanitized(&node.path));
        if !node.args.is_empty() {
            let cut: String = node.args.chars().take(MAX_COMMAND).collect();
            let _ = write!(about, "  {}", Sanitized(&cut));
        }
        if !node.before.is_empty() {
            let _ = write!(about, "  (before: {})", Sanitized(&node.before.join(", ")));
        }
        let container: String = node.container.chars().take(12).collect();
        let place = match container.as_str() {
            "" => String::new(),
            id => style.paint(YELLOW, &format!("  in {}", Sanitized(id))),
        };
        let _ = writeln!(text, "{first}{line}{}{place}", style.paint(DIM, &about));
        let children = self.children.get(&pid);
        let children: Vec<u64> = children.into_iter().flatten().copied().collect();
        for (at, child) in children.iter().enumerate() {
            let (branch, below) = if at + 1 == children.len() {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            let (first, below) = (format!("{rest}{branch}"), format!("{rest}{below}"));
            self.draw(text, *child, &first, &below, wanted, style, shown);
        }
    }

    fn json(&self) -> Value {
        let nodes = self.nodes.iter().map(|(pid, node)| {
            let parent = self.children.iter().find(|(_, all)| all.contains(pid));
            json!({
                "pid": pid,
                "parent": parent.map(|(parent, _)| parent),
                "comm": node.comm,
                "path": node.path,
                "before": node.before,
                "args": node.args,
                "uid": node.uid,
                "container_id": node.container,
                "ended": !node.alive,
            })
        });
        json!({ "processes": nodes.collect::<Vec<_>>() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump() -> Value {
        json!({"processes": [
            {"pid": 1, "comm": "init", "path": "/sbin/init", "euid": 0, "lineage": []},
            {"pid": 9, "comm": "cu\u{1b}rl", "path": "/usr/bin/curl", "euid": 1000, "container_id": "0123456789abcdef",
             "args": ["curl", "x"], "lineage": [
                {"pid": 9, "comm": "bash", "path": "/usr/bin/bash"},
                {"pid": 5, "comm": "bash", "path": "/usr/bin/bash"},
                {"pid": 1, "comm": "init", "path": "/sbin/init"}]},
            {"pid": 8, "comm": "a", "path": "/a", "euid": 0, "lineage": [
                {"pid": 5, "comm": "bash", "path": "/usr/bin/bash"},
                {"pid": 1, "comm": "init", "path": "/sbin/init"}]},
        ]})
    }

    #[test]
    fn a_tree_from_the_oldest_down() {
        let text = Tree::new(&dump()).text(9, Style { color: false });
        assert_eq!(
            text,
            "init(1)  uid 0  /sbin/init\n\
             └─ bash(5)  ended  /usr/bin/bash\n   \
             ├─ a(8)  uid 0  /a\n   \
             └─ cu\\x1brl(9)  uid 1000  /usr/bin/curl  curl x  (before: /usr/bin/bash)  in 0123456789ab\n"
        );
    }

    /// A pid that is used again makes a ring of pids; a tree that is drawn must end.
    #[test]
    fn pids_that_are_used_again_make_no_ring() {
        let ring = json!({"processes": [
            {"pid": 2, "comm": "a", "lineage": [{"pid": 3, "comm": "b"}, {"pid": 2, "comm": "old"}]},
            {"pid": 3, "comm": "b", "lineage": [{"pid": 2, "comm": "a"}, {"pid": 3, "comm": "old"}]},
        ]});
        let text = Tree::new(&ring).text(2, Style { color: false });
        assert_eq!(text.lines().count(), 2, "{text}");
    }
}
