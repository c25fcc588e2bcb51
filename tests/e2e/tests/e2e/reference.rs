//! Datadog's public policy, unchanged, where it is at hand.

use std::path::PathBuf;

use atalaya_e2e::{Helper, Probe, Setup, at, copy_executable, skip};
use serde_json::Value;

use crate::common::{shell, tiny_program};

/// The policy: `ATALAYA_REFERENCE_POLICY`, or beside the checkout.
fn policy() -> Option<String> {
    let path = std::env::var_os("ATALAYA_REFERENCE_POLICY").map_or_else(
        || {
            PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                .join("../../../shared/reference/default.policy")
        },
        PathBuf::from,
    );
    let text = std::fs::read_to_string(path).ok();
    if text.is_none() {
        skip("Datadog's public policy is not at hand (ATALAYA_REFERENCE_POLICY)");
    }
    text
}

fn start(text: &str) -> Probe {
    let fence = r#"mkdir.file.path == "{work}/fence""#;
    Setup::new()
        .policy("default.policy", text)
        .rule("fence", fence)
        .start()
}

#[test]
fn it_loads_without_an_error() {
    let Some(text) = policy() else { return };
    let probe = start(&text);
    let (good, out, error) = probe.agent(&["runtime", "policy", "check", "--loaded-policies"]);
    assert!(good, "{out}{error}");
    let (good, out, error) = probe.agent(&["status", "--json"]);
    assert!(good, "{out}{error}");
    let status: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(status["rules_failed"], 0, "{status:#}");
    assert!(
        status["rules_loaded"].as_u64().unwrap() > 200,
        "{}",
        status["rules_loaded"]
    );
}

/// The events of a rule about something in the directory that the test acts in.
fn about(probe: &mut Probe, rule: &str) -> Vec<Value> {
    let work = probe.work().to_string_lossy().into_owned();
    let events = probe.events.of_rule(rule);
    let ours = |event: &Value| event.to_string().contains(&work);
    events.into_iter().filter(ours).collect()
}

#[test]
fn its_rules_fire_with_their_actions() {
    let Some(text) = policy() else { return };
    let mut probe = start(&text);
    for name in ["tool", ".hidden", "whoami"] {
        tiny_program(probe.path(name).as_ref());
    }
    // Told once for the same arguments and the same parent in a cgroup: a chain of variables.
    let script =
        "./tool -o stratum+tcp://pool.example; ./.hidden; ./whoami -x; ./whoami -x; ./whoami -y";
    shell(&probe, script);
    let copy = probe.path("copy");
    copy_executable(&Helper::path(), copy.as_ref());
    Helper::run(&["unlinked-exec", &copy, "39"]);
    std::fs::create_dir(probe.path("fence")).unwrap();
    probe.events.expect_rule("fence");

    for rule in ["hidden_file_executed", "cryptominer_args", "unlink_self"] {
        let events = about(&mut probe, rule);
        assert_eq!(events.len(), 1, "{rule}: {events:#?}");
        assert_eq!(at(&events[0], "/agent/policy_name"), "default.policy");
    }
    let miner = &about(&mut probe, "cryptominer_args")[0];
    let hashes = at(miner, "/process/executable/hashes").to_string();
    assert!(hashes.contains("sha256:"), "{miner:#}");
    let whoami: Vec<_> = about(&mut probe, "exec_whoami_v2")
        .iter()
        .map(|event| at(event, "/process/args").to_string())
        .collect();
    if at(miner, "/cgroup/id")
        .as_str()
        .unwrap_or_default()
        .is_empty()
    {
        skip("no cgroup, whose variables would tell what is new");
    } else {
        assert_eq!(whoami, [r#"["-x"]"#, r#"["-y"]"#]);
    }
    // What is silent sends nothing.
    assert!(probe.events.events.iter().all(|event| {
        !at(event, "/agent/rule_id")
            .to_string()
            .contains("execution_context")
    }));
}
