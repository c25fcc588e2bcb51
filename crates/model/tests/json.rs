//! The serializer, held against the schema of the reference's back end.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use atalaya_model::capture::{CaptureKind, FileFields, PathOrigin};
use atalaya_model::json::{
    AgentContext, CustomEvent, EventVariables, Heartbeat, LostEvents, LostIn, MatchedPart,
    PolicyInfo, PolicyState, RuleContext, RuleState, RulesetLoaded, SelfTest, TestResult,
    event_tags, serialize_custom, serialize_event,
};
use atalaya_model::{Event, EventData, Image, Process};
use common::{START, empty_events, event, file_call, full_events, process, reference};
use serde_json::{Value, json};

fn agent() -> AgentContext {
    AgentContext {
        version: "0.1.0".to_owned(),
        os: "linux".to_owned(),
        arch: "amd64".to_owned(),
        origin: "ebpf".to_owned(),
        kernel_version: "6.1.0-18-amd64".to_owned(),
        distribution: "debian - 12".to_owned(),
        ..AgentContext::default()
    }
}

fn json(event: &Event, rule: &RuleContext<'_>) -> Value {
    serde_json::from_slice(&serialize_event(event, rule, &agent())).unwrap()
}

fn rule() -> RuleContext<'static> {
    RuleContext {
        rule_id: "test_rule",
        ..RuleContext::default()
    }
}

/// Panics unless the schema accepts all of them.
fn validate(events: &[Value]) {
    let Some(schema) = reference("backend_linux.schema.json") else {
        return;
    };
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(&schema)
        .unwrap();
    assert!(!validator.is_valid(&json!({"agent": {"rule_id": "x"}, "title": "", "unknown": 1})));
    for event in events {
        let errors: Vec<String> = validator
            .iter_errors(event)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}\n{event:#}");
    }
}

#[test]
fn full_events_fit_the_schema() {
    let tags = BTreeMap::from([("tactic".to_owned(), "execution".to_owned())]);
    let matched = [MatchedPart {
        offset: 0,
        length: 4,
        value: "/etc".to_owned(),
        field: "open.file.path".to_owned(),
    }];
    let actions = [json!({"type": "kill", "signal": "SIGKILL"})];
    let one = |name: &str| serde_json::Map::from_iter([(name.to_owned(), json!(true))]);
    let variables = EventVariables {
        global: one("everywhere"),
        process: one("here"),
        container: one("inside"),
        cgroup: one("among"),
    };
    let rule = RuleContext {
        rule_id: "group",
        source_rule_id: "rule",
        rule_version: "3",
        description: "Something happened",
        policy_name: "my.policy",
        policy_version: "1.2.3",
        tags: Some(&tags),
        expression: r#"open.file.path == "/etc""#,
        matched: &matched,
        actions: &actions,
        variables: Some(&variables),
    };
    let events: Vec<Value> = full_events()
        .into_iter()
        .map(|mut event| {
            event.is_async = true;
            json(&event, &rule)
        })
        .collect();
    assert_eq!(events.len(), 12);
    validate(&events);
    for event in &events {
        let at = |object: &str| event[object]["variables"].to_string();
        assert_eq!(at("evt"), r#"{"everywhere":true}"#);
        if event["evt"]["name"] != "heartbeat" {
            assert_eq!(at("process"), r#"{"here":true}"#);
            assert_eq!(at("container"), r#"{"inside":true}"#);
            assert_eq!(at("cgroup"), r#"{"among":true}"#);
        }
    }
    assert_eq!(
        event_tags("open", &rule),
        [
            "rule_id:group",
            "source_rule_id:rule",
            "tactic:execution",
            "type:open"
        ]
    );
}

#[test]
fn empty_events_fit_the_schema() {
    let events: Vec<Value> = empty_events()
        .iter()
        .map(|event| json(event, &rule()))
        .collect();
    validate(&events);
    for event in &events {
        assert_eq!(event["title"], "test_rule");
        assert_eq!(event["evt"].get("variables"), None);
        assert_eq!(event["process"].get("variables"), None);
    }
}

#[test]
fn an_open_in_full() {
    let process = process();
    let open = event(
        &process,
        EventData::from_file_call(file_call(CaptureKind::Open)).unwrap(),
    );
    let json = json(&open, &rule());
    assert_eq!(
        json["evt"],
        json!({"name": "open", "category": "File Activity", "outcome": "Success"})
    );
    assert_eq!(json["date"], "2023-11-14T22:13:20.000000000Z");
    assert_eq!(
        json["file"],
        json!({
            "path": "/etc/app/conf.d/x.conf", "name": "x.conf", "extension": ".conf",
            "inode": 77, "mode": 0o104_755, "mount_id": 29, "filesystem": "ext4",
            "uid": 0, "gid": 12, "user": "container-root", "group": "g12",
            "flags": ["O_WRONLY", "O_CREAT"],
            "modification_time": "2023-11-14T22:13:19.999999995Z",
            "change_time": "2023-11-14T22:13:19.999999996Z",
            "mount_visible": true, "mount_detached": false,
            "destination": {"mode": 0o2644, "uid": 0, "gid": 12},
        })
    );
    assert_eq!(
        json["syscall"],
        json!({"open": {"path": "x.conf", "flags": 65, "mode": 0o2644}})
    );
    assert_eq!(
        json["usr"],
        json!({"id": "container-u1000", "group": "g1000"})
    );
    assert_eq!(json["container"]["id"], "0123");
    assert_eq!(
        json["cgroup"],
        json!({"id": "/docker/0123", "manager": "docker"})
    );
    let process = &json["process"];
    assert_eq!(
        process["args"],
        json!(["-la", "--password", "********", "--width=8", "file"])
    );
    assert_eq!(
        process["envs"],
        json!(["PATH=/bin", "API_KEY", "DD_SERVICE=shop"])
    );
    assert_eq!(process["args_truncated"], true);
    assert_eq!(
        process["credentials"]["cap_permitted"],
        json!(["CAP_CHOWN", "CAP_SYS_ADMIN"])
    );
    assert_eq!(process["credentials"]["auid"], u32::MAX);
    assert_eq!(process["executable"]["path"], "/usr/bin/script.sh");
    assert_eq!(process["interpreter"]["path"], "/usr/bin/dash");
    assert_eq!(process["parent"]["pid"], 40);
    assert_eq!(process["parent"]["args"], json!(["--token=********"]));
    assert_eq!(process["ancestors"][1]["pid"], 1);
    assert_eq!(process["ancestors"][1]["source"], "snapshot");
    assert_eq!(process.get("truncated_ancestors"), None);
}

#[test]
fn failures_have_an_outcome() {
    let events: Vec<Value> = empty_events()
        .iter()
        .map(|event| json(event, &rule()))
        .collect();
    let outcome = |name: &str| {
        let event = events
            .iter()
            .find(|event| event["evt"]["name"] == name)
            .unwrap();
        event["evt"]["outcome"].as_str().unwrap().to_owned()
    };
    assert_eq!(outcome("open"), "Refused");
    assert_eq!(outcome("exec"), "Success");
}

#[test]
fn doubtful_paths_say_so() {
    let said = |change: fn(&mut FileFields)| {
        let mut call = file_call(CaptureKind::Unlink);
        change(&mut call.file);
        let event = event(&process(), EventData::from_file_call(call).unwrap());
        let json = json(&event, &rule());
        validate(std::slice::from_ref(&json));
        json["file"]["path_resolution_error"]
            .as_str()
            .unwrap_or("")
            .to_owned()
    };
    assert_eq!(said(|_| ()), "");
    assert!(said(|file| file.truncated = true).starts_with("truncated"));
    assert!(said(|file| file.origin = PathOrigin::UserMemory).starts_with("from caller's memory"));
    assert!(said(|file| file.origin = PathOrigin::KernelCopy).starts_with("not resolved"));
    assert!(said(|file| file.path.clear()).starts_with("unknown"));
}

#[test]
fn hostile_strings_and_endless_lists_stay_valid() {
    let hostile = "\u{0}\u{1b}[31m\"\\\n\u{fffd}\u{202e}</script>\u{7f}".to_owned();
    let mut call = file_call(CaptureKind::Rename);
    call.file.path = format!("/{hostile}/{}", "x".repeat(4096));
    call.arg_path = hostile.clone();
    let mut parent = Process {
        comm: hostile.clone().into(),
        image: Arc::new(Image {
            argv: vec![hostile.clone(); 10_000],
            envp: vec![format!("{hostile}={hostile}"); 10_000],
            ..Image::default()
        }),
        ..Process::default()
    };
    for pid in 0..100 {
        let mut child = Process {
            pid,
            ..parent.clone()
        };
        child.set_parent(Some(Arc::new(parent)));
        parent = child;
    }
    let event = event(&Arc::new(parent), EventData::from_file_call(call).unwrap());
    let bytes = serialize_event(&event, &rule(), &agent());
    assert!(
        !bytes.iter().any(|byte| *byte < 0x20),
        "control characters are escaped"
    );
    assert!(bytes.len() < 2 << 20, "{} bytes", bytes.len());
    let json: Value = serde_json::from_slice(&bytes).unwrap();
    validate(std::slice::from_ref(&json));
    assert_eq!(json["process"]["comm"], hostile);
    assert_eq!(json["process"]["ancestors"].as_array().unwrap().len(), 32);
    assert_eq!(json["process"]["truncated_ancestors"], true);
    assert_eq!(json["process"]["args_truncated"], true);
}

#[test]
fn custom_events() {
    let policy = PolicyInfo {
        name: "default.policy".to_owned(),
        version: "1.0.0".to_owned(),
        source: "file".to_owned(),
    };
    let events = [
        CustomEvent::Heartbeat(Heartbeat {
            sequence: 7,
            policies: vec![policy],
        }),
        CustomEvent::SelfTest(SelfTest {
            success: vec!["a".to_owned()],
            fails: vec!["b".to_owned()],
            tests: vec![TestResult {
                rule_id: "b".to_owned(),
                reason: "no event in 10 s".to_owned(),
                ..TestResult::default()
            }],
        }),
        CustomEvent::LostEvents(LostEvents {
            map: "bulk".to_owned(),
            per_event: BTreeMap::from([("open".to_owned(), 12)]),
            per_cgroup: vec![LostIn {
                event: "open".to_owned(),
                cgroup_id: 5,
                count: 12,
                ..LostIn::default()
            }],
        }),
        CustomEvent::RulesetLoaded(Box::new(RulesetLoaded {
            policies: vec![PolicyState {
                name: "default.policy".to_owned(),
                rules: vec![RuleState {
                    id: "r".to_owned(),
                    status: "error".to_owned(),
                    message: "line 3".to_owned(),
                    ..RuleState::default()
                }],
                ..PolicyState::default()
            }],
            filters: json!({"open": "basenames"}),
            difference: json!({"added": ["r"]}),
        })),
    ];
    let json: Vec<Value> = events
        .iter()
        .map(|event| serde_json::from_slice(&serialize_custom(event, START, &agent())).unwrap())
        .collect();
    for (event, json) in events.iter().zip(&json) {
        assert_eq!(json["agent"]["rule_id"], event.rule_id());
        assert_eq!(json["agent"]["kernel_version"], "6.1.0-18-amd64");
        assert_eq!(json["title"], event.title());
        assert_eq!(json["service"], "runtime-security-agent");
        assert_eq!(json["date"], "2023-11-14T22:13:20.000000000Z");
        assert_eq!(event.tags()[1], format!("type:{}", event.rule_id()));
    }
    assert_eq!(json[0]["sequence"], 7);
    assert_eq!(json[1]["fails"], json!(["b"]));
    assert_eq!(json[2]["per_event"], json!({"open": 12}));
    assert_eq!(json[3]["policies"][0]["rules"][0]["status"], "error");
}
