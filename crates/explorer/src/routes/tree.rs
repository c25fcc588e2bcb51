//! The processes around an event: the path to it as the event tells it, and who lives beside it now.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::events::find;
use super::{Answer, Shared};
use crate::error::ApiError;

/// How many processes are shown.
const MAX: usize = 400;

pub(super) async fn of_event(
    State(explorer): State<Shared>,
    Path(id): Path<String>,
) -> Answer<Value> {
    let event = find(explorer.clone(), id).await?;
    let document: Value = serde_json::from_str(event.document.get()).unwrap_or_default();
    let mut tree = Tree::default();
    let path = tree.add_event(&document["message"]["process"]);
    if path.is_empty() {
        return Ok(Json(
            json!({"nodes": [], "path": [], "live": false, "note": "the event tells of no process"}),
        ));
    };
    let (live, note) = match living(&explorer, &path).await {
        Ok(dump) => {
            let cut = tree.add_living(&dump);
            let note = cut.then(|| format!("only {MAX} processes are shown"));
            (true, note)
        }
        Err(error) => (
            false,
            Some(format!("only what the event tells: {}", error.text())),
        ),
    };
    let nodes: Vec<Value> = tree.nodes.into_values().collect();
    Ok(Json(
        json!({"nodes": nodes, "path": path, "live": live, "note": note}),
    ))
}

/// The nearest of these that lives, with its relatives. The process of an event has often ended, and its number may be another's by now;
/// that of an ancestor much less.
async fn living(explorer: &Shared, path: &[u64]) -> Result<Value, ApiError> {
    let mut error = ApiError::not_found("none of its processes lives any more");
    for pid in path.iter().rev().take(5) {
        match explorer
            .probe
            .processes(u32::try_from(*pid).unwrap_or(0))
            .await
        {
            Ok(content) => return Ok(serde_json::from_slice(&content).unwrap_or_default()),
            Err(other) => error = other,
        }
    }
    Err(error)
}

/// By pid.
#[derive(Default)]
struct Tree {
    nodes: BTreeMap<u64, Value>,
}

impl Tree {
    /// The process of an event and its ancestors. Returns the way from the oldest to it.
    fn add_event(&mut self, process: &Value) -> Vec<u64> {
        let ancestors = process["ancestors"].as_array().into_iter().flatten();
        let mut path = Vec::new();
        let mut child = None;
        for one in std::iter::once(process).chain(ancestors) {
            let Some(pid) = one["pid"].as_u64() else {
                continue;
            };
            // What it was before an exec.
            if path.last() == Some(&pid) {
                continue;
            }
            if let Some(child) = child.and_then(|child| self.nodes.get_mut(&child)) {
                child["ppid"] = pid.into();
            }
            let mut node = node(pid, one);
            node["on_path"] = true.into();
            node["is_event_process"] = path.is_empty().into();
            self.nodes.entry(pid).or_insert(node);
            path.push(pid);
            child = Some(pid);
        }
        path.reverse();
        path
    }

    /// Its living relatives. Returns whether there are more than are shown.
    fn add_living(&mut self, dump: &Value) -> bool {
        for one in dump["processes"].as_array().into_iter().flatten() {
            let Some(pid) = one["pid"].as_u64() else {
                continue;
            };
            if let Some(known) = self.nodes.get_mut(&pid) {
                known["alive"] = true.into();
                continue;
            }
            if self.nodes.len() >= MAX {
                return true;
            }
            let lineage = one["lineage"].as_array().into_iter().flatten();
            // The first that is not itself before an exec.
            let parent = lineage
                .filter_map(|ancestor| ancestor["pid"].as_u64())
                .find(|ancestor| *ancestor != pid);
            let mut node = node(pid, one);
            node["ppid"] = parent.unwrap_or(0).into();
            node["alive"] = true.into();
            self.nodes.insert(pid, node);
        }
        false
    }
}

fn node(pid: u64, process: &Value) -> Value {
    let text = |pointers: [&str; 2]| {
        let mut found = pointers
            .iter()
            .filter_map(|pointer| process.pointer(pointer).and_then(Value::as_str));
        found.next().unwrap_or_default()
    };
    let args = process.get("args").or_else(|| process.get("argv"));
    let args = match args {
        Some(Value::Array(args)) => args
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(" "),
        Some(Value::String(args)) => args.clone(),
        _ => String::new(),
    };
    let uid = process
        .pointer("/credentials/uid")
        .or_else(|| process.get("uid"));
    json!({
        "pid": pid, "ppid": process["ppid"].as_u64().unwrap_or(0), "comm": text(["/comm", "/name"]),
        "path": text(["/executable/path", "/path"]), "args": args, "user": text(["/credentials/user", "/user"]),
        "uid": uid, "on_path": false, "is_event_process": false, "alive": null, "exec_time": process["exec_time"],
        "container": text(["/container/id", "/container_id"]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_from_the_oldest_and_relatives_are_beside_it() {
        let mut tree = Tree::default();
        let process = json!({"pid": 9, "ppid": 5, "comm": "curl", "args": ["-s", "x"], "ancestors": [
            {"pid": 9, "comm": "bash"}, {"pid": 5, "comm": "bash"}, {"pid": 1, "comm": "init"}]});
        assert_eq!(tree.add_event(&process), [1, 5, 9]);
        assert_eq!(
            (&tree.nodes[&9]["args"], &tree.nodes[&9]["is_event_process"]),
            (&json!("-s x"), &json!(true))
        );
        assert_eq!(tree.nodes[&5]["ppid"], 1);
        let dump = json!({"processes": [{"pid": 5, "comm": "bash"}, {"pid": 7, "comm": "sleep", "lineage": [{"pid": 7}, {"pid": 5}]}]});
        assert!(!tree.add_living(&dump));
        assert_eq!(
            (&tree.nodes[&7]["alive"], &tree.nodes[&5]["alive"]),
            (&json!(true), &json!(true))
        );
        assert_eq!(tree.nodes[&5]["on_path"], true);
        assert!(Tree::default().add_event(&json!("x")).is_empty());
    }
}
