//! The processes that an event tells of: the one that did it, and its ancestors.

use atalaya_api::Sanitized;
use serde_json::Value;

/// One process of a lineage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) pid: i64,
    pub(crate) comm: String,
    pub(crate) path: String,
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match (self.comm.as_str(), self.path.as_str()) {
            ("", "") => "?",
            ("", path) => path,
            (comm, _) => comm,
        };
        write!(f, "{}({})", Sanitized(name), self.pid)
    }
}

/// From the oldest ancestor down to the process itself. What one process was before an exec is left out.
pub(crate) fn of(event: &Value) -> Vec<Link> {
    let process = &event["process"];
    if !process.is_object() {
        return Vec::new();
    }
    let ancestors = process["ancestors"].as_array().into_iter().flatten();
    let mut links: Vec<Link> = Vec::new();
    for one in std::iter::once(process).chain(ancestors) {
        let text = |pointer: &str| one.pointer(pointer).and_then(Value::as_str);
        let link = Link {
            pid: one["pid"].as_i64().unwrap_or(0),
            comm: text("/comm").unwrap_or_default().to_owned(),
            path: text("/executable/path").unwrap_or_default().to_owned(),
        };
        if links.last().is_none_or(|last| last.pid != link.pid) {
            links.push(link);
        }
    }
    links.reverse();
    links
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn from_the_oldest_to_the_process_each_pid_once() {
        let event = json!({"process": {"pid": 9, "comm": "curl", "ancestors": [
            {"pid": 9, "comm": "bash"}, {"pid": 5, "comm": "bash"}, {"pid": 1, "comm": "ini\u{1b}t"}
        ]}});
        let shown: Vec<String> = of(&event).iter().map(ToString::to_string).collect();
        assert_eq!(shown.join(" "), "ini\\x1bt(1) bash(5) curl(9)");
        assert!(of(&json!({})).is_empty());
    }
}
