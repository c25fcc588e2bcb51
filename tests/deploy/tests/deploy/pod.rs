//! The rendered pod, as far as there is one without a cluster: its containers under a real dockerd, with the users, capabilities, mounts and
//! variables that the chart gives them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use atalaya_deploy::{Block, Docker, render};
use atalaya_e2e::{slow, wait_for};
use serde_json::{Value, json};

use crate::docker::{docker_with_image, wait_until_ready};
use crate::pages::{self, Outcome};

/// The pod's volumes: directories of the node as they are, others below the test's directory.
fn volumes(pod: &Value, dir: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for volume in pod["volumes"].as_array().unwrap() {
        let name = volume["name"].as_str().unwrap();
        let path = match volume["hostPath"]["path"].as_str() {
            Some(path) if name != "spool" => path.to_owned(),
            _ => {
                let path = dir.join(format!("volume-{name}"));
                fs::create_dir(&path).unwrap();
                // As a kubelet makes an emptyDir.
                fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
                path.to_string_lossy().into_owned()
            }
        };
        found.insert(name.to_owned(), path);
    }
    found
}

/// `docker run` as the kubelet would have it.
fn arguments(pod: &Value, container: &Value, volumes: &BTreeMap<String, String>) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(text).collect()
    };
    let context = &container["securityContext"];
    let mut all: Vec<String> = ["--network", "none"].map(str::to_owned).into();
    if pod["hostPID"] == true {
        all.extend(["--pid".into(), "host".into()]);
    }
    if context["readOnlyRootFilesystem"] == true {
        all.push("--read-only".into());
    }
    if context["allowPrivilegeEscalation"] == false {
        all.push("--security-opt=no-new-privileges".into());
    }
    assert_ne!(context["privileged"], true);
    all.push(format!(
        "--user={}:{}",
        context["runAsUser"], context["runAsGroup"]
    ));
    let capabilities = &context["capabilities"];
    all.extend(
        list(&capabilities["drop"])
            .iter()
            .map(|c| format!("--cap-drop={c}")),
    );
    all.extend(
        list(&capabilities["add"])
            .iter()
            .map(|c| format!("--cap-add={c}")),
    );
    for mount in container["volumeMounts"].as_array().unwrap() {
        let from = &volumes[mount["name"].as_str().unwrap()];
        let mode = if mount["readOnly"] == true { ":ro" } else { "" };
        all.push(format!("-v={from}:{}{mode}", text(&mount["mountPath"])));
    }
    for variable in container["env"].as_array().into_iter().flatten() {
        let value = match &variable["valueFrom"] {
            Value::Null => text(&variable["value"]),
            _ => "node-1".to_owned(),
        };
        all.push(format!("-e={}={value}", text(&variable["name"])));
    }
    let command = list(&container["command"]);
    all.push(format!("--entrypoint={}", command[0]));
    all.push(text(&container["image"]));
    all.extend(command[1..].iter().cloned());
    all
}

fn run(docker: &Docker, first: &[&str], arguments: &[String]) -> String {
    let mut command = docker.command();
    command.arg("run").args(first).args(arguments);
    atalaya_deploy::run(&mut command).unwrap()
}

const RULE: &str = "rules:\n  - id: from_the_config_map\n    expression: open.file.path == \"/tmp/atalaya-no-such-file\"\n";

#[test]
fn the_pod_runs_and_the_commands_of_the_page_work_in_it() {
    let values = json!({"datadog": {
        "env": [{"name": "DD_RUNTIME_SECURITY_CONFIG_NETWORK_NAMESPACES", "value": "1"},
                {"name": "DD_FLARE_URL", "value": "https://127.0.0.1:1"}],
        "securityAgent": {"runtime": {"policies": {"configMap": "mine"}}}}});
    let Some(rendered) = render("1.31", &values) else {
        return;
    };
    let documents = rendered.unwrap();
    let set = documents.iter().find(|d| d["kind"] == "DaemonSet").unwrap();
    let pod = &set["spec"]["template"]["spec"];
    let dir = tempfile::tempdir().unwrap();
    let Some(docker) = docker_with_image(dir.path()) else {
        return;
    };
    let volumes = volumes(pod, dir.path());
    let custom = Path::new(&volumes["custom-policies"]);
    fs::write(custom.join("mine.policy"), RULE).unwrap();
    for init in pod["initContainers"].as_array().unwrap() {
        let text = run(&docker, &["--rm"], &arguments(pod, init, &volumes));
        assert_eq!(text.trim(), "2 policy files");
    }
    for container in pod["containers"].as_array().unwrap() {
        let name = container["name"].as_str().unwrap();
        run(
            &docker,
            &["-d", "--name", name],
            &arguments(pod, container, &volumes),
        );
    }
    wait_until_ready(&docker, "system-probe");

    // The probe of the kubelet.
    let agent = pod["containers"].as_array().unwrap().iter();
    let agent = agent
        .into_iter()
        .find(|c| c["name"] == "security-agent")
        .unwrap();
    let probe = agent["readinessProbe"]["exec"]["command"]
        .as_array()
        .unwrap();
    let probe: Vec<_> = probe.iter().filter_map(Value::as_str).collect();
    let mut last = String::new();
    let ready = wait_for(slow(Duration::from_secs(20)), || {
        let asked = docker.run(&[&["exec", "security-agent"], probe.as_slice()].concat());
        let good = asked.is_ok();
        last = asked.unwrap_or_else(|why| why);
        good.then_some(())
    });
    assert!(ready.is_some(), "{last}");
    assert!(
        last.contains("mine.policy") && last.contains("default.policy"),
        "{last}"
    );

    let in_pod = |block: &Block| block.place.starts_with("kubernetes");
    for page in [
        "docs/install.md",
        "docs/troubleshooting.md",
        "docs/es/troubleshooting.md",
    ] {
        pages::check(page, in_pod, |_, line| kubectl(&docker, line));
    }
    let log = docker.run(&["logs", "security-agent"]).unwrap();
    assert!(log.contains("uid 10001) without any capability"), "{log}");
    assert!(log.contains("connected to system-probe"), "{log}");
}

/// `kubectl exec -it POD -c CONTAINER -- COMMAND…`, in the container that stands for it.
fn kubectl(docker: &Docker, line: &str) -> Outcome {
    let line = line.replacen("kubectl exec -it atalaya-x1 -c ", "docker exec -i ", 1);
    let line = line.replacen(" -- ", " ", 1);
    match docker.shell(&format!("printf 'me@example.com\\nn\\n' | {line}")) {
        Ok(text) => Outcome {
            success: true,
            text,
        },
        Err(text) => Outcome {
            success: false,
            text,
        },
    }
}
