//! The public default policy of the reference must load. The fields come from the reference's list of names; their types,
//! which that list lacks, are guessed from the names.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use atalaya_policy::{HostFacts, LoadOptions, RuleSet, Scratch, Status};
use atalaya_secl::NoVariables;
use atalaya_secl::model::{
    Constant, EventView, FieldId, FieldInfo, IterId, Schema, TextKind, Type, Validator, Value,
};

const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/reference");

const ITERATORS: [&str; 5] = [
    "process.ancestors",
    "ptrace.tracee.ancestors",
    "signal.target.ancestors",
    "setrlimit.target.ancestors",
    "network_flow_monitor.flows",
];

struct ReferenceSchema {
    fields: BTreeMap<String, FieldInfo>,
    by_id: Vec<FieldInfo>,
    constants: BTreeSet<String>,
}

fn guess(name: &str) -> (Type, bool, TextKind) {
    let last = name.rsplit('.').next().unwrap();
    let list = matches!(
        last,
        "argv"
            | "args_flags"
            | "args_options"
            | "envs"
            | "envp"
            | "hashes"
            | "k8s_groups"
            | "used_immediates"
            | "helpers"
            | "ips"
            | "cnames"
    ) || name.ends_with("container.tags")
        || name.ends_with("addr.hostname")
        || name == "event.rule.tags";
    let text = match last {
        "path" if name.contains("file.") => TextKind::Path,
        "extension" => TextKind::Extension,
        "hostname" | "cnames" => TextKind::DnsName,
        _ if name == "dns.question.name" => TextKind::DnsName,
        _ => TextKind::Plain,
    };
    let bool_names = [
        "async",
        "args_truncated",
        "envs_truncated",
        "is_thread",
        "is_exec",
        "is_kworker",
        "is_public",
        "in_upper_layer",
        "mount_detached",
        "mount_visible",
        "is_executable",
        "is_garble_obfuscated",
        "is_upx_packed",
        "loaded_from_memory",
        "is_imds_v2",
        "detached",
        "visible",
    ];
    let int_names = [
        "pid",
        "tid",
        "ppid",
        "uid",
        "gid",
        "euid",
        "egid",
        "fsuid",
        "fsgid",
        "auid",
        "sid",
        "netns",
        "mntns",
        "inode",
        "mode",
        "rights",
        "mount_id",
        "change_time",
        "modification_time",
        "created_at",
        "timestamp",
        "retval",
        "flags",
        "length",
        "port",
        "size",
        "type",
        "class",
        "count",
        "id_int",
        "cmd",
        "request",
        "protocol",
        "addr.family",
        "family",
        "code",
        "cause",
        "cap_effective",
        "cap_permitted",
        "caps_attempted",
        "caps_used",
        "req_protection",
        "vm_protection",
        "protection",
        "option",
        "level",
        "resource",
        "rlim_cur",
        "rlim_max",
        "pipe_entry_flag",
        "pipe_exit_flag",
        "l3_protocol",
        "l4_protocol",
        "network_direction",
        "abi",
        "architecture",
        "compression",
        "linkage",
        "dirfd",
        "attach_type",
        "prog_type",
        "epoch",
        "session_type",
        "ssh_auth_method",
        "ssh_client_port",
        "used_immediates",
        "action",
        "domain",
        "filter_len",
        "is_filter_truncated",
        "permitted",
        "effective",
        "attempted",
        "used",
        "attach_flags",
        "optname",
        "helpers",
    ];
    let ip =
        matches!(last, "ip" | "ips" | "ssh_client_ip") || last == "ip" || name.ends_with("addr.ip");
    let ty = if ip {
        Type::Ip
    } else if bool_names.contains(&last) {
        Type::Bool
    } else if int_names.contains(&last)
        && !name.ends_with("user_session.id")
        && !matches!(name, "bpf.map.type" | "selinux.bool.state")
    {
        Type::Int
    } else {
        Type::String
    };
    (ty, list, text)
}

impl ReferenceSchema {
    fn read() -> Option<Self> {
        let text = std::fs::read_to_string(Path::new(REFERENCE).join("secl_linux.json")).ok()?;
        let root: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut fields = BTreeMap::new();
        let mut by_id = Vec::new();
        for event in root["event_types"].as_array().unwrap() {
            let event_name = event["name"].as_str().unwrap();
            for property in event["properties"].as_array().unwrap() {
                let name = property["name"].as_str().unwrap();
                let (ty, list, text) = guess(name);
                let iterator = ITERATORS.iter().position(|iter| {
                    name.starts_with(iter)
                        && name[iter.len()..].starts_with('.')
                        && !name.ends_with("ancestors.length")
                        && !name.ends_with("flows.length")
                });
                let info = FieldInfo {
                    id: FieldId(u32::try_from(by_id.len()).unwrap()),
                    name: name.to_owned().into(),
                    ty,
                    list,
                    iterator: iterator.map(|index| IterId(u16::try_from(index).unwrap())),
                    text,
                    weight: 0,
                    event: (event_name != "*" && !name.starts_with("network."))
                        .then(|| event_name.to_owned().into()),
                    validator: Validator::None,
                    unavailable: None,
                };
                by_id.push(info.clone());
                fields.insert(name.to_owned(), info);
            }
        }
        let mut constants = BTreeSet::from(["AUDIT_AUID_UNSET", "COREDUMPED"].map(str::to_owned));
        for group in root["constants"].as_array().unwrap() {
            for constant in group["all"].as_array().unwrap() {
                constants.insert(constant["name"].as_str().unwrap().to_owned());
            }
        }
        Some(Self {
            fields,
            by_id,
            constants,
        })
    }
}

impl Schema for ReferenceSchema {
    fn field(&self, name: &str) -> Option<FieldInfo> {
        let renamed = if name.starts_with("container.") || name.starts_with("cgroup.") {
            format!("process.{name}")
        } else {
            name.to_owned()
        };
        self.fields.get(&renamed).cloned()
    }

    fn iterator(&self, name: &str) -> Option<IterId> {
        ITERATORS
            .iter()
            .position(|iter| *iter == name)
            .map(|index| IterId(u16::try_from(index).unwrap()))
    }

    fn constant(&self, name: &str) -> Option<Constant> {
        match name {
            "true" => Some(Constant::Bool(true)),
            "false" => Some(Constant::Bool(false)),
            _ => self.constants.get(name).map(|name| {
                // Any number will do, but one for each name.
                Constant::Int(
                    name.bytes()
                        .fold(7, |sum: i64, byte| (sum * 31 + i64::from(byte)) & 0xff_ffff),
                )
            }),
        }
    }

    fn field_names(&self) -> Vec<Cow<'static, str>> {
        self.fields.keys().cloned().map(Cow::Owned).collect()
    }

    fn constant_names(&self) -> Vec<Cow<'static, str>> {
        self.constants.iter().cloned().map(Cow::Owned).collect()
    }
}

/// Every field has its zero value.
struct Empty<'a>(&'a ReferenceSchema);

impl EventView for Empty<'_> {
    fn get(&self, field: FieldId) -> Value<'_> {
        let info = &self.0.by_id[field.0 as usize];
        match (info.ty, info.list) {
            (Type::Bool, false) => Value::Bool(false),
            (Type::Int, false) => Value::Int(0),
            (Type::String, false) => Value::Str("".into()),
            (Type::Ip, false) => Value::Ip("0.0.0.0/32".parse().unwrap()),
            (Type::Bool, true) => Value::BoolList([].as_slice().into()),
            (Type::Int, true) => Value::IntList([].as_slice().into()),
            (Type::String, true) => Value::StrList([].as_slice().into()),
            (Type::Ip, true) => Value::IpList([].as_slice().into()),
        }
    }

    fn iter_len(&self, _: IterId) -> usize {
        0
    }

    fn get_at(&self, _: FieldId, _: usize) -> Option<Value<'_>> {
        None
    }
}

fn errors(report: &atalaya_policy::LoadReport) -> Vec<String> {
    report.all_errors().map(ToString::to_string).collect()
}

#[test]
fn the_default_policy_loads() {
    let Some(schema) = ReferenceSchema::read() else {
        println!("skipped: {REFERENCE} is not here");
        return;
    };
    let text = std::fs::read(Path::new(REFERENCE).join("default.policy")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("default.policy"), text).unwrap();
    let mut host = HostFacts::default();
    host.set_kernel_release("6.1.0-28-amd64");
    let options = LoadOptions {
        policies_dir: Some(dir.path().to_owned()),
        host,
        ..LoadOptions::default()
    };
    let start = std::time::Instant::now();
    let (rules, report) = RuleSet::load(&schema, &options);
    let took = start.elapsed();
    println!("{report}");
    let macros = &report.policies[0].macros;
    let loaded_macros = macros
        .iter()
        .filter(|item| item.status == Status::Loaded)
        .count();
    println!("in {took:?}; {loaded_macros} of {} macros", macros.len());
    for event in rules.event_types() {
        let approvers = rules.approvers(event);
        println!(
            "{event}: {} rules, accept all because of {:?}",
            rules.rules_for(event).count(),
            approvers.all_because
        );
    }
    let rules_of_file = &report.policies[0].rules;
    let mut filtered: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for rule in rules_of_file {
        if rule.status == Status::Filtered {
            let reason = rule.filter_reason.as_deref().unwrap();
            filtered.entry(reason).or_default().push(&rule.id);
        }
    }
    for (reason, ids) in &filtered {
        println!("filtered, {reason}: {} {ids:?}", ids.len());
    }
    let mut lints: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for lint in &report.lints {
        lints.entry(lint.code).or_default().push(lint.render());
    }
    for (code, found) in &lints {
        println!("lint {code}: {}, such as\n{}", found.len(), found[0]);
    }
    let counts = report.counts();
    assert_eq!(counts.loaded + counts.filtered + counts.rejected, 319);
    assert_eq!(errors(&report), Vec::<String>::new());
    // 37 are for Windows.
    let windows = filtered
        .iter()
        .filter(|(reason, _)| reason.contains("windows"));
    assert_eq!(windows.map(|(_, ids)| ids.len()).sum::<usize>(), 37);
    assert_eq!(loaded_macros, macros.len());
    let actions: usize = rules.rules().iter().map(|rule| rule.actions.len()).sum();
    println!("{actions} actions, {} variables", rules.variables().len());
    assert!(actions > 100);
    // Evaluating must not fail, whatever the values.
    let mut scratch = Scratch::default();
    for event in rules.event_types() {
        rules.evaluate(
            event,
            &Empty(&schema),
            0,
            &mut NoVariables,
            &mut scratch,
            |_, _| {},
        );
    }
}
