//! The network namespaces as JSON and as a graph, for `runtime network-namespace dump`.

use std::fmt::Write as _;

use atalaya_api::{ControlError, proto};
use atalaya_network::doctor::NamespaceReport;
use serde_json::json;

use crate::doctor;
use crate::engine::Shared;

/// Looks at every namespace; without `interfaces` only the namespaces are told.
pub(crate) fn dump(
    shared: &Shared,
    interfaces: bool,
) -> Result<proto::DumpNetworkNamespaceMessage, ControlError> {
    let report = doctor::examine(shared).map_err(ControlError::Failed)?;
    let mut namespaces = report.namespaces;
    if !interfaces {
        for namespace in &mut namespaces {
            namespace.interfaces.clear();
        }
    }
    // Strings, numbers and lists cannot fail to serialize.
    let mut content =
        serde_json::to_vec_pretty(&json!({ "namespaces": namespaces })).unwrap_or_default();
    content.push(b'\n');
    Ok(proto::DumpNetworkNamespaceMessage {
        content,
        graph: graph(&namespaces).into_bytes(),
    })
}

/// One box a namespace, one node an interface.
fn graph(namespaces: &[NamespaceReport]) -> String {
    let mut text =
        String::from("digraph network_namespaces {\n  rankdir=LR;\n  node [shape=box];\n");
    for namespace in namespaces {
        let inum = namespace.inum;
        let mut label = format!("net:[{inum}]");
        if namespace.own {
            label += " (own)";
        }
        if let Some(path) = &namespace.path {
            label += &format!(" {path}");
        }
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  subgraph cluster_{inum} {{\n    label={};\n    ns_{inum} [label={}, shape=ellipse];",
            quoted(&label),
            quoted(&format!("{} processes", namespace.pids.len()))
        );
        for interface in &namespace.interfaces {
            let ours = match interface.packets {
                Some(packets) => format!(", {packets} packets seen"),
                None => String::new(),
            };
            let label = format!(
                "{} ({}): {} classifiers{ours}",
                interface.name,
                interface.index,
                interface.classifiers.len()
            );
            let _ = writeln!(
                text,
                "    if_{inum}_{0} [label={1}];\n    ns_{inum} -> if_{inum}_{0};",
                interface.index,
                quoted(&label)
            );
        }
        text += "  }\n";
    }
    text += "}\n";
    text
}

/// As dot wants it. Names of interfaces and paths are whatever somebody has chosen.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push('?'),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_path_stays_in_its_quotes() {
        let namespace = NamespaceReport {
            inum: 7,
            own: false,
            path: Some("/run/netns/x\"]; evil\n".into()),
            pids: vec![1],
            error: None,
            interfaces: Vec::new(),
        };
        let text = graph(&[namespace]);
        assert!(
            text.contains("label=\"net:[7] /run/netns/x\\\"]; evil?\";"),
            "{text}"
        );
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }
}
