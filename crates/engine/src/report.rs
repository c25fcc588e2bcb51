//! What is said of the rules and of the host: for `status`, `policy check --loaded-policies`, and `ruleset_loaded`.

use std::collections::BTreeMap;

use atalaya_api::proto;
use atalaya_model::capture::{Approvers, CaptureKind};
use atalaya_model::json::{MacroState, PolicyInfo, PolicyState, RuleState, RulesetLoaded};
use atalaya_policy::{FilterType, HostFacts, LoadError, PolicyReport, RuleReport, Status};

use serde_json::Value;

use crate::rules::Loaded;
use crate::source::ApplyReport;
use crate::stats::get;
use crate::{pulse, selftest};

/// Scalar, glob and bit mask, by the wire's numbers.
const SCALAR: i32 = 1;
const GLOB: i32 = 2;
const BITMASK: i32 = 32;
/// The modes of an approver report.
const ACCEPT: u32 = 1;
const DENY: u32 = 2;

fn join(errors: &[LoadError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// With source lines and carets.
fn render(errors: &[LoadError]) -> String {
    let errors: Vec<String> = errors.iter().map(LoadError::render).collect();
    errors.join("\n")
}

fn rule_status(rule: &RuleReport) -> &'static str {
    match (rule.status, rule.filter_type) {
        (Status::Loaded | Status::PartiallyLoaded, _) => "loaded",
        (Status::Filtered, Some(FilterType::Disabled)) => "disabled",
        (Status::Filtered, _) => "filtered",
        (Status::Error, _) => "error",
    }
}

/// Why a rule is left out, in the words of the policy file.
fn filter_type(rule: &RuleReport) -> &'static str {
    match rule.filter_type {
        Some(FilterType::Filters) => "filters",
        Some(FilterType::AgentVersion) => "agent_version",
        Some(FilterType::Disabled) => "disabled",
        None => "",
    }
}

/// What of a rule this build, or this host, cannot see or do.
fn unavailable(rule: &RuleReport, applied: &ApplyReport) -> Vec<String> {
    let kind = rule.event_type.as_deref().and_then(CaptureKind::from_name);
    let unseen = kind.and_then(|kind| {
        let why = applied.unavailable.get(&kind)?;
        Some(format!(
            "{} events cannot be seen on this host: {why}",
            kind.name()
        ))
    });
    let actions = rule
        .not_executed
        .iter()
        .map(|action| format!("action `{action}` not executed by this build"));
    let notes = rule.unavailable.iter().cloned();
    unseen.into_iter().chain(notes).chain(actions).collect()
}

fn rule_message(rule: &RuleReport) -> String {
    if !rule.errors.is_empty() {
        return join(&rule.errors);
    }
    match rule.filter_type {
        Some(FilterType::Filters) => "its filters do not hold on this host".to_owned(),
        Some(FilterType::AgentVersion) => "this agent version doesn't support this rule".to_owned(),
        Some(FilterType::Disabled) | None => String::new(),
    }
}

/// The policies as `status` shows them. Those of the agent's own are not among them, except the self-test's.
pub(crate) fn policies(loaded: &Loaded) -> Vec<proto::PolicyStatus> {
    // By the id of the policy file: what was made of one rule counts together.
    let mut counters: BTreeMap<&str, [u64; 5]> = BTreeMap::new();
    let mut descriptions: BTreeMap<&str, &str> = BTreeMap::new();
    for (rule, counted) in loaded.ruleset.rules().iter().zip(&loaded.counters) {
        descriptions.insert(&rule.written_id, &rule.description);
        let sums = counters.entry(&rule.written_id).or_default();
        let counted = [
            &counted.matched,
            &counted.rate_limited,
            &counted.evaluations,
            &counted.evaluation_ns,
            &counted.action_ns,
        ];
        for (sum, counter) in sums.iter_mut().zip(counted) {
            *sum += get(counter);
        }
    }
    let mut policies: Vec<proto::PolicyStatus> = loaded
        .report
        .policies
        .iter()
        .filter(|policy| policy.source != pulse::SOURCE)
        .map(|policy| proto::PolicyStatus {
            name: policy.name.clone(),
            source: policy.source.clone(),
            version: policy.version.clone(),
            file: policy.path.clone().unwrap_or_default(),
            errors: policy
                .errors
                .iter()
                .chain(policy.macros.iter().flat_map(|item| &item.errors))
                .map(LoadError::render)
                .collect(),
            status: policy
                .rules
                .iter()
                .map(|rule| {
                    // Of several with one id only that in force has counters.
                    let is_loaded = matches!(rule.status, Status::Loaded | Status::PartiallyLoaded);
                    let known = counters.get(rule.id.as_str()).filter(|_| is_loaded);
                    let [matches, rate_limited, evaluations, evaluation_ns, action_ns] =
                        known.copied().unwrap_or_default();
                    proto::RuleStatus {
                        id: rule.id.clone(),
                        status: rule_status(rule).to_owned(),
                        // Why it was left out is no error; `ruleset_loaded` tells it.
                        error: render(&rule.errors),
                        matches,
                        rate_limited,
                        unavailable: unavailable(rule, &loaded.applied),
                        filter_type: filter_type(rule).to_owned(),
                        evaluations,
                        evaluation_ns,
                        action_ns,
                        expression: rule.expression.clone(),
                        event_type: rule.event_type.clone().unwrap_or_default(),
                        description: descriptions
                            .get(rule.id.as_str())
                            .map_or_else(String::new, |text| (*text).to_owned()),
                        tags: rule.tags.clone(),
                        version: rule.version.clone(),
                        filter_reason: rule.filter_reason.clone().unwrap_or_default(),
                    }
                })
                .collect(),
        })
        .collect();
    if !loaded.report.errors.is_empty() {
        // Errors outside any policy: the directory.
        policies.push(proto::PolicyStatus {
            name: loaded.report.errors[0].file.clone(),
            source: "directory".to_owned(),
            errors: loaded.report.errors.iter().map(LoadError::render).collect(),
            ..proto::PolicyStatus::default()
        });
    }
    policies
}

/// What the kernel filters by, an entry an event type.
pub(crate) fn filters(loaded: &Loaded) -> proto::FilterReport {
    proto::FilterReport {
        approvers: loaded
            .interest
            .approvers
            .iter()
            .map(|(kind, approvers)| approver_report(*kind, approvers))
            .collect(),
    }
}

fn approver_report(kind: CaptureKind, approvers: &Approvers) -> proto::ApproverReport {
    let name = kind.name();
    let mut details = Vec::new();
    let mut add = |field: String, value: String, r#type: i32| {
        details.push(proto::ApproverDetails {
            field,
            value,
            r#type,
        });
    };
    let with_flags = |value: &str, flags: u32| {
        if flags == 0 {
            value.to_owned()
        } else {
            format!("{value} with flags {flags:#x}")
        }
    };
    for (basename, flags) in &approvers.basenames {
        add(
            format!("{name}.file.name"),
            with_flags(basename, *flags),
            SCALAR,
        );
    }
    for (path, flags) in &approvers.paths {
        add(
            format!("{name}.file.path"),
            with_flags(path, *flags),
            SCALAR,
        );
    }
    for (directory, recursive, flags) in &approvers.directories {
        let glob = if *recursive { "**" } else { "*" };
        add(
            format!("{name}.file.path"),
            with_flags(
                &format!("{}/{glob}", directory.trim_end_matches('/')),
                *flags,
            ),
            GLOB,
        );
    }
    for (slot, value) in &approvers.numbers {
        add(
            atalaya_secl::kernel_number(name, *slot).to_owned(),
            value.to_string(),
            SCALAR,
        );
    }
    for (slot, mask) in (0..).zip(approvers.masks).filter(|(_, mask)| *mask != 0) {
        add(
            atalaya_secl::kernel_number(name, slot).to_owned(),
            format!("{mask:#x}"),
            BITMASK,
        );
    }
    if approvers.flags != 0 {
        add(
            format!("{name}.flags"),
            format!("{:#x}", approvers.flags),
            BITMASK,
        );
    }
    proto::ApproverReport {
        event_type: name.to_owned(),
        mode: if approvers.all { ACCEPT } else { DENY },
        approvers: Some(proto::Approvers {
            field: details
                .first()
                .map(|detail| detail.field.clone())
                .unwrap_or_default(),
            approver_details: details,
        }),
        accept_mode_rules: approvers
            .all_because
            .iter()
            .map(|rule_id| proto::AcceptModeRule {
                rule_id: rule_id.clone(),
            })
            .collect(),
    }
}

/// The `ruleset_loaded` event.
pub(crate) fn ruleset_loaded(loaded: &Loaded) -> RulesetLoaded {
    let filters = loaded.interest.approvers.iter().map(|(kind, approvers)| {
        let report = approver_report(*kind, approvers);
        let details = report.approvers.map(|approvers| approvers.approver_details);
        let approvers: Vec<_> = details
            .into_iter()
            .flatten()
            .map(|detail| serde_json::json!({ "field": detail.field, "value": detail.value }))
            .collect();
        (
            kind.name().to_owned(),
            serde_json::json!({
                "mode": if report.mode == ACCEPT { "accept" } else { "deny" },
                "approvers": approvers,
                "accept_mode_rules": approvers_because(loaded, *kind),
            }),
        )
    });
    let actions = loaded
        .ruleset
        .rules()
        .iter()
        .filter(|rule| !rule.actions.is_empty())
        .map(|rule| {
            let actions = rule.actions.iter().map(|action| {
                serde_json::json!({ "type": action.kind.name(), "definition": action.source })
            });
            (rule.written_id.as_str(), actions.collect())
        })
        .collect();
    RulesetLoaded {
        difference: Value::Null,
        filters: Value::Object(filters.collect()),
        policies: loaded
            .report
            .policies
            .iter()
            .filter(|policy| policy.source != pulse::SOURCE && policy.source != selftest::SOURCE)
            .map(|policy| policy_state(policy, &actions, &loaded.applied))
            .collect(),
    }
}

fn approvers_because(loaded: &Loaded, kind: CaptureKind) -> &[String] {
    loaded
        .interest
        .approvers
        .get(&kind)
        .map_or(&[], |approvers| &approvers.all_because)
}

fn policy_state(
    policy: &PolicyReport,
    actions: &BTreeMap<&str, Vec<Value>>,
    applied: &ApplyReport,
) -> PolicyState {
    let loaded = |status: Status| matches!(status, Status::Loaded | Status::PartiallyLoaded);
    let status = if policy.rules.iter().any(|rule| loaded(rule.status)) {
        if policy.status == Status::Loaded {
            "loaded"
        } else {
            "partially_loaded"
        }
    } else if policy.rules.iter().any(|rule| rule.status == Status::Error) {
        "fully_rejected"
    } else if !policy.errors.is_empty() {
        "error"
    } else if policy.rules.is_empty() {
        "loaded"
    } else {
        "fully_filtered"
    };
    PolicyState {
        name: policy.name.clone(),
        source: policy.source.clone(),
        version: policy.version.clone(),
        status: status.to_owned(),
        message: join(&policy.errors),
        rules: policy
            .rules
            .iter()
            .map(|rule| RuleState {
                id: rule.id.clone(),
                version: rule.version.clone(),
                expression: rule.expression.clone(),
                status: rule_status(rule).to_owned(),
                message: rule_message(rule),
                tags: rule
                    .tags
                    .iter()
                    .filter_map(|tag| tag.split_once(':'))
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .collect(),
                filter_type: filter_type(rule).to_owned(),
                unavailable: unavailable(rule, applied),
                actions: actions.get(rule.id.as_str()).cloned().unwrap_or_default(),
                modified_by: rule
                    .modified_by
                    .iter()
                    .map(|name| PolicyInfo {
                        name: name.clone(),
                        ..PolicyInfo::default()
                    })
                    .collect(),
            })
            .collect(),
        macros: policy
            .macros
            .iter()
            .map(|item| MacroState {
                id: item.id.clone(),
                status: match item.status {
                    Status::Loaded | Status::PartiallyLoaded => "loaded",
                    Status::Filtered => "filtered",
                    Status::Error => "error",
                }
                .to_owned(),
                message: join(&item.errors),
            })
            .collect(),
    }
}

/// The architecture by the reference's names.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `uname -r`.
pub(crate) fn kernel_release() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

/// `<ID> - <VERSION_ID>`.
pub(crate) fn distribution(host: &HostFacts) -> String {
    match (host.os_id.as_str(), host.os_version_id.as_str()) {
        ("", _) => String::new(),
        (id, version) => format!("{id} - {version}"),
    }
}
