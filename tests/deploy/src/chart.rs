//! The chart as a cluster would get it.

use std::process::Command;

use serde_json::Value;

use crate::tools::{repository, run, venv};

/// Helm's own engine and Kubernetes' schemas, as wheels.
const WHEELS: [&str; 3] = [
    "helm-python-sdk==0.2.2",
    "kubernetes-validate==1.37.0",
    "PyYAML==6.0.3",
];

/// Lints and renders the chart with these values for this version of Kubernetes, and validates each document strictly. `None`, and a skipped
/// test, where the tools cannot be had; the reason, where the values are refused.
pub fn render(version: &str, values: &Value) -> Option<Result<Vec<Value>, String>> {
    let python = venv("helm", &WHEELS)?;
    let output = run(Command::new(python)
        .arg(repository().join("tests/deploy/src/render.py"))
        .arg(repository().join("deploy/helm/atalaya"))
        .arg(version)
        .arg(values.to_string()));
    Some(output.and_then(|text| serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))))
}

/// The same with values as YAML.
pub fn render_values(version: &str, yaml: &str) -> Option<Result<Vec<Value>, String>> {
    let python = venv("helm", &WHEELS)?;
    let script = "import json, sys, yaml; json.dump(yaml.safe_load(sys.argv[1]), sys.stdout)";
    let values = run(Command::new(python).args(["-c", script, yaml]));
    let values = values.and_then(|text| serde_json::from_str(&text).map_err(|e| e.to_string()));
    match values {
        Ok(values) => render(version, &values),
        Err(why) => Some(Err(why)),
    }
}
