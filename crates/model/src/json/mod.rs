//! The one serializer: an event becomes one JSON object, as the schema of the reference's back end wants it.
//!
//! - [`serialize_event`]: an event that a rule matched.
//! - [`serialize_custom`]: what the agent says of itself ([`CustomEvent`]).
//! - [`event_tags`]: what goes beside the object on its way.
//!
//! Arguments and kept environment values pass the [`Scrubber`] first. A path that is not certain says so in
//! `path_resolution_error`.

mod custom;
mod event;
mod file;
mod process;
mod scrub;

use std::fmt;

use serde::{Serialize, Serializer};

pub use custom::{
    BrokenLineage, BrokenProcess, CustomEvent, DoctoredInterface, Heartbeat, LostEvents, LostIn,
    MacroState, NetworkDoctor, PolicyInfo, PolicyState, ProtectionActor, RuleState, RulesetLoaded,
    SERVICE, SelfProtection, SelfTest, TestResult, serialize_custom,
};
pub(crate) use event::Details;
pub use event::{EventVariables, MatchedPart, RuleContext, event_tags, serialize_event, to_value};
pub(crate) use file::FileJson;
pub use scrub::{MASK, ScrubError, Scrubber};

/// What is said of the agent in every event.
#[derive(Debug, Clone, Default)]
pub struct AgentContext {
    /// The agent's version.
    pub version: String,
    /// The operating system: `linux`.
    pub os: String,
    /// The architecture, by the reference's names: `amd64`, `arm64`.
    pub arch: String,
    /// How events are captured: `ebpf`.
    pub origin: String,
    /// The kernel's release (`uname -r`).
    pub kernel_version: String,
    /// `<ID> - <VERSION_ID>` of `/etc/os-release`.
    pub distribution: String,
    /// What hides secrets in arguments.
    pub scrubber: Scrubber,
}

/// The `agent` object.
#[derive(Serialize)]
struct AgentJson<'a> {
    rule_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    rule_version: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    rule_actions: &'a [serde_json::Value],
    #[serde(skip_serializing_if = "str::is_empty")]
    policy_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    policy_version: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    os: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    arch: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    origin: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    kernel_version: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    distribution: &'a str,
}

impl<'a> AgentJson<'a> {
    fn new(agent: &'a AgentContext, rule_id: &'a str) -> Self {
        Self {
            rule_id,
            rule_version: "",
            rule_actions: &[],
            policy_name: "",
            policy_version: "",
            version: &agent.version,
            os: &agent.os,
            arch: &agent.arch,
            origin: &agent.origin,
            kernel_version: &agent.kernel_version,
            distribution: &agent.distribution,
        }
    }
}

/// A time as RFC 3339 with nanoseconds, in UTC.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time(u64);

impl Time {
    /// `None` for the unknown time 0.
    pub(crate) fn known(ns: u64) -> Option<Self> {
        (ns != 0).then_some(Self(ns))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or_default();
        write!(f, "{time:.9}")
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

/// Serializes what cannot fail: strings, numbers and maps with string keys.
fn to_vec<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|error| {
        debug_assert!(false, "{error}");
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::Time;

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(Time(0).to_string(), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(
            Time(1_700_000_000_123_456_789).to_string(),
            "2023-11-14T22:13:20.123456789Z"
        );
        assert!(Time(u64::MAX).to_string().starts_with("2554-"));
    }
}
