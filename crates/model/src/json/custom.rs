//! What the agent says of itself.
//!
//! Each has the agent object, a title, the date, the service, and its own payload beside them; payloads follow the
//! reference where it has the same, and add what is ours.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::{AgentContext, AgentJson, Time, to_vec};

/// The service that these events belong to.
pub const SERVICE: &str = "runtime-security-agent";

/// Something the agent says of itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum CustomEvent {
    /// It lives, from the kernel hook to this output.
    Heartbeat(Heartbeat),
    /// A self-test ended.
    SelfTest(SelfTest),
    /// Records were lost between kernel and agent.
    LostEvents(LostEvents),
    /// Policies were loaded.
    RulesetLoaded(Box<RulesetLoaded>),
    /// The process tree had lost its thread.
    BrokenLineage(BrokenLineage),
    /// The network doctor found something else than before.
    NetworkDoctor(NetworkDoctor),
    /// Somebody has done something to the agent itself.
    SelfProtection(SelfProtection),
}

/// Somebody has done something to the agent itself: to its processes, its files, or to what it has in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct SelfProtection {
    /// `ptrace`, `signal`, `maps_opened`, `sensor_tampered`, `file_changed` or `unclean_end`.
    pub kind: String,
    /// `system-probe` or `security-agent`.
    pub target: String,
    /// In one sentence.
    pub summary: String,
    /// One line each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// Whether all of it was put right; none where there is nothing to put right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repaired: Option<bool>,
    /// Who did it, or who may have: all that did what it takes, the last one last. Empty where it is not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<ProtectionActor>,
}

/// A process that has done something to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ProtectionActor {
    /// Its id.
    pub pid: u32,
    /// Its parent's.
    pub ppid: u32,
    /// Its user.
    pub uid: u32,
    /// Its name.
    pub comm: String,
    /// Its executable; empty where all that is known is the id.
    pub path: String,
    /// Its container, or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container_id: String,
    /// Its ancestors, the parent first: executable and id.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<String>,
}

/// The network doctor found something else than before.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct NetworkDoctor {
    /// Whether a person should do something.
    pub trouble: bool,
    /// The worst verdict of all interfaces.
    pub verdict: String,
    /// In one sentence.
    pub summary: String,
    /// The priority of our classifiers, where they are filters.
    pub classifier_priority: u16,
    /// The highest one that would be right for all interfaces; none where none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub right_priority: Option<u16>,
    /// What to do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub advice: Vec<String>,
    /// The interfaces where traffic is missed or may be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<DoctoredInterface>,
}

/// An interface where the network doctor found trouble.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct DoctoredInterface {
    /// The number of its network namespace.
    pub namespace: u32,
    /// Its name.
    pub name: String,
    /// What it comes to.
    pub verdict: String,
    /// Why.
    pub reasons: Vec<String>,
}

/// It lives, from the kernel hook to this output.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Heartbeat {
    /// The number of the heartbeat that came through.
    pub sequence: u64,
    /// The loaded policies.
    pub policies: Vec<PolicyInfo>,
}

/// A policy, in short.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct PolicyInfo {
    /// Its name.
    pub name: String,
    /// Its version, or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Where it comes from: `file`.
    pub source: String,
}

/// A self-test ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct SelfTest {
    /// The ids of the rules whose event was seen.
    pub success: Vec<String>,
    /// The ids of the others.
    pub fails: Vec<String>,
    /// Each test.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<TestResult>,
}

/// One test of the self-test.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct TestResult {
    /// The id of the test's rule.
    pub rule_id: String,
    /// Whether its event was seen.
    pub passed: bool,
    /// Why not, or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// How long it took (ms).
    pub duration_ms: u64,
}

/// Records were lost between kernel and agent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct LostEvents {
    /// The ring that was full: `vital`, `bulk`.
    pub map: String,
    /// How many, by event type.
    pub per_event: BTreeMap<String, u64>,
    /// How many, by event type and by who caused them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub per_cgroup: Vec<LostIn>,
}

/// Losses of one event type in one cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct LostIn {
    /// The event type.
    pub event: String,
    /// The cgroup's path, where it is known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cgroup: String,
    /// The cgroup's number.
    pub cgroup_id: u64,
    /// The container's id, or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container_id: String,
    /// How many.
    pub count: u64,
}

/// Processes were found whose origin the process tree did not know, or knew wrongly.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct BrokenLineage {
    /// How the first was noticed.
    pub error: String,
    /// How many there were since the agent started.
    pub total: u64,
    /// The first of those since the last such event.
    pub processes: Vec<BrokenProcess>,
}

/// A process whose lineage was broken.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct BrokenProcess {
    /// Its id.
    pub pid: u32,
    /// Its parent's.
    pub ppid: u32,
    /// Its name.
    pub comm: String,
    /// Its program, or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The container's id, or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container_id: String,
    /// How it was noticed.
    pub reason: String,
    /// Whether it is in its place now.
    pub healed: bool,
    /// How many ancestors are known now.
    pub ancestors: u32,
}

/// Policies were loaded.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct RulesetLoaded {
    /// Each policy.
    pub policies: Vec<PolicyState>,
    /// What the kernel filters on, by event type; as the engine reports it.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub filters: Value,
    /// What is different from the rules before; as the engine reports it.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub difference: Value,
}

/// A policy, with all its rules.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct PolicyState {
    /// Its name.
    pub name: String,
    /// Where it comes from: `file`.
    pub source: String,
    /// Its version, or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// `loaded`, `partially_loaded`, `fully_filtered`, `fully_rejected`, `error`.
    pub status: String,
    /// What is wrong with it as a whole, or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Each rule.
    pub rules: Vec<RuleState>,
    /// Each macro.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub macros: Vec<MacroState>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct RuleState {
    /// Its id.
    pub id: String,
    /// Its version, or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// The expression.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub expression: String,
    /// `loaded`, `filtered`, `error`.
    pub status: String,
    /// Why it is not loaded, or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Its tags.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Why it is filtered: `filters`, `agent_version`, `disabled`; else empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filter_type: String,
    /// What of it this build cannot see or do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unavailable: Vec<String>,
    /// Its actions, as in the policy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Value>,
    /// The policies that changed it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modified_by: Vec<PolicyInfo>,
}

/// A macro.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct MacroState {
    /// Its id.
    pub id: String,
    /// `loaded`, `filtered`, `error`.
    pub status: String,
    /// Why it is not loaded, or empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl CustomEvent {
    /// The id it is reported under, which is its type too.
    #[must_use]
    pub fn rule_id(&self) -> &'static str {
        match self {
            Self::Heartbeat(_) => "heartbeat",
            Self::SelfTest(_) => "self_test",
            Self::LostEvents(_) => "lost_events",
            Self::RulesetLoaded(_) => "ruleset_loaded",
            Self::BrokenLineage(_) => "broken_process_lineage",
            Self::NetworkDoctor(_) => "network_doctor",
            Self::SelfProtection(_) => "self_protection",
        }
    }

    /// The title.
    #[must_use]
    pub fn title(&self) -> &'static str {
        match self {
            Self::Heartbeat(_) => "Heartbeat",
            Self::SelfTest(_) => "Self tests result",
            Self::LostEvents(_) => "Lost events",
            Self::RulesetLoaded(_) => "New ruleset loaded",
            Self::BrokenLineage(_) => "Broken process lineage detected",
            Self::NetworkDoctor(_) => "Network doctor",
            Self::SelfProtection(_) => "Self-protection",
        }
    }

    /// What goes beside it.
    #[must_use]
    pub fn tags(&self) -> Vec<String> {
        let id = self.rule_id();
        vec![format!("rule_id:{id}"), format!("type:{id}")]
    }
}

#[derive(Serialize)]
struct CustomJson<'a> {
    agent: AgentJson<'a>,
    title: &'static str,
    date: Time,
    service: &'static str,
    #[serde(flatten)]
    payload: &'a CustomEvent,
}

/// The event as one JSON object, without a newline at its end. `time_ns` is since the Unix epoch.
#[must_use]
pub fn serialize_custom(event: &CustomEvent, time_ns: u64, agent: &AgentContext) -> Vec<u8> {
    to_vec(&CustomJson {
        agent: AgentJson::new(agent, event.rule_id()),
        title: event.title(),
        date: Time(time_ns),
        service: SERVICE,
        payload: event,
    })
}
