//! The chart: what comes out of it for which values.

use std::collections::BTreeSet;

use atalaya_config::KEYS;
use atalaya_deploy::{render, repository};
use serde_json::{Value, json};

fn documents(version: &str, values: Value) -> Option<Vec<Value>> {
    Some(render(version, &values)?.unwrap_or_else(|why| panic!("{version} {values}: {why}")))
}

fn pod(documents: &[Value]) -> &Value {
    let set = documents.iter().find(|d| d["kind"] == "DaemonSet");
    &set.expect("a DaemonSet")["spec"]["template"]["spec"]
}

fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let all = pod["containers"].as_array().into_iter().flatten();
    all.into_iter()
        .find(|c| c["name"] == name)
        .unwrap_or_else(|| panic!("no container {name}"))
}

fn capabilities(container: &Value) -> BTreeSet<String> {
    let added = &container["securityContext"]["capabilities"]["add"];
    let names = added.as_array().into_iter().flatten();
    names
        .filter_map(|c| c.as_str())
        .map(str::to_owned)
        .collect()
}

fn variable(container: &Value, name: &str) -> Option<String> {
    let all = container["env"].as_array().into_iter().flatten();
    all.into_iter()
        .find(|v| v["name"] == name)
        .and_then(|v| Some(v["value"].as_str()?.to_owned()))
}

#[test]
fn it_renders_for_old_and_new_clusters_and_nobody_is_privileged() {
    for version in ["1.25", "1.29", "1.30", "1.37"] {
        let Some(documents) = documents(version, json!({})) else {
            return;
        };
        let pod = pod(&documents);
        assert_eq!(pod["hostPID"], true);
        assert_ne!(pod["hostNetwork"], true);
        assert_eq!(pod["automountServiceAccountToken"], false);
        let (probe, agent) = (
            container(pod, "system-probe"),
            container(pod, "security-agent"),
        );
        for container in [probe, agent] {
            let context = &container["securityContext"];
            assert_ne!(context["privileged"], true);
            assert_eq!(context["readOnlyRootFilesystem"], true);
            assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
        }
        assert_eq!(agent["securityContext"]["runAsNonRoot"], true);
        assert_eq!(agent["securityContext"]["allowPrivilegeEscalation"], false);
        assert!(capabilities(agent).is_empty());
        // Nothing of the node can be written but the spool.
        let volumes = pod["volumes"].as_array().unwrap();
        for mount in probe["volumeMounts"].as_array().unwrap() {
            let volume = volumes.iter().find(|v| v["name"] == mount["name"]);
            let of_node = volume.unwrap_or_else(|| panic!("{mount}"))["hostPath"].is_object();
            assert!(
                !of_node || mount["readOnly"] == true || mount["name"] == "spool",
                "{mount}"
            );
        }
    }
}

#[test]
fn the_names_that_users_know_have_their_effect() {
    let runtime = |values: Value| json!({"datadog": {"securityAgent": {"runtime": values}}});
    let Some(with) = documents("1.31", json!({})) else {
        return;
    };
    let with = capabilities(container(pod(&with), "system-probe"));
    let Some(off) = documents("1.31", runtime(json!({"network": {"enabled": false}}))) else {
        return;
    };
    for name in ["system-probe", "security-agent"] {
        let container = container(pod(&off), name);
        let variable = variable(container, "DD_RUNTIME_SECURITY_CONFIG_NETWORK_ENABLED");
        assert_eq!(variable.as_deref(), Some("false"), "{name}");
    }
    let fewer = capabilities(container(pod(&off), "system-probe"));
    let without: BTreeSet<_> = with.difference(&fewer).map(String::as_str).collect();
    assert_eq!(without, BTreeSet::from(["NET_ADMIN", "NET_BROADCAST"]));

    let values = runtime(json!({
        "enabled": false, "network": {"classifierPriority": 5}, "enforcement": {"enabled": false}, "fimEnabled": true,
        "policies": {"configMap": "mine"}, "useSecruntimeTrack": true, "activityDump": {"enabled": false},
    }));
    let documents = documents("1.31", values).unwrap();
    let pod = pod(&documents);
    let probe = container(pod, "system-probe");
    let value = |name: &str| variable(probe, &format!("DD_RUNTIME_SECURITY_CONFIG_{name}"));
    assert_eq!(value("ENABLED").as_deref(), Some("false"));
    assert_eq!(value("NETWORK_CLASSIFIER_PRIORITY").as_deref(), Some("5"));
    let volumes = pod["volumes"].to_string();
    assert!(
        volumes.contains(r#""configMap":{"name":"mine"}"#),
        "{volumes}"
    );
    assert_eq!(pod["initContainers"][0]["name"], "policies");
}

#[test]
fn every_variable_of_the_chart_is_a_key_of_the_programs() {
    let all = json!({"datadog": {"tags": ["a:b"], "securityAgent": {"runtime": {
        "network": {"classifierPriority": 5}}}}});
    let Some(documents) = documents("1.31", all) else {
        return;
    };
    let known: BTreeSet<String> = KEYS
        .iter()
        .flat_map(|key| [Some(key.name), key.alias])
        .flatten()
        .map(|name| format!("DD_{}", name.to_ascii_uppercase().replace('.', "_")))
        .collect();
    let probe = container(pod(&documents), "system-probe");
    for entry in probe["env"].as_array().unwrap() {
        let name = entry["name"].as_str().unwrap();
        assert!(known.contains(name), "{name} is no key");
    }
}

#[test]
fn misspelt_and_impossible_values_are_refused() {
    for (values, hint) in [
        (
            json!({"datadog": {"securityAgent": {"runtime": {"netwrok": {"enabled": false}}}}}),
            "netwrok",
        ),
        (
            json!({"datadog": {"securityAgent": {"runtime": {"enabled": "yes"}}}}),
            "enabled",
        ),
        (
            json!({"datadog": {"securityAgent": {"runtime": {"network": {"classifierPriority": 0}}}}}),
            "classifierPriority",
        ),
        (
            json!({"agents": {"image": {"pullPolicy": "Sometimes"}}}),
            "pullPolicy",
        ),
        (
            json!({"agents": {"spool": {"hostPath": "relative"}}}),
            "hostPath",
        ),
    ] {
        match render("1.31", &values) {
            None => return,
            Some(Ok(_)) => panic!("{values} was accepted"),
            Some(Err(why)) => assert!(why.contains(hint), "{values}: {why}"),
        }
    }
}

#[test]
fn chart_and_programs_have_one_version() {
    let chart =
        std::fs::read_to_string(repository().join("deploy/helm/atalaya/Chart.yaml")).unwrap();
    let line = format!("appVersion: {}", env!("CARGO_PKG_VERSION"));
    assert!(chart.lines().any(|l| l == line), "{chart}");
}
