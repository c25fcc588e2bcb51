//! One rule in force.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use atalaya_secl::Program;
use atalaya_secl::model::FieldInfo;

use crate::action::Action;
use crate::yaml::Place;

/// The policy that a rule came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyInfo {
    /// The file name, or the internal policy's name.
    pub name: String,
    /// `file`, or what the internal policy says.
    pub source: String,
    /// The `version` key.
    pub version: String,
    /// `type: policy`, or named `default.policy`.
    pub is_default: bool,
    /// Brought by the agent itself.
    pub internal: bool,
}

/// One rule in force.
#[derive(Debug)]
pub struct Rule {
    pub(crate) index: usize,
    /// The rule's own id. Where the file has one rule about all writes, each of the rules made of it has an id of its own.
    pub id: String,
    /// The id in the policy file.
    pub written_id: String,
    /// The `version` key.
    pub version: String,
    /// The `description` key: the title of its events.
    pub description: String,
    /// The expression as written.
    pub expression: String,
    /// The event type it is for.
    pub event_type: String,
    /// The `tags` key.
    pub tags: BTreeMap<String, String>,
    /// The `product_tags` key.
    pub product_tags: Vec<String>,
    /// The policy that defined it.
    pub policy: Arc<PolicyInfo>,
    /// Later policies that changed it.
    pub modified_by: Vec<Arc<PolicyInfo>>,
    /// The `actions` key, in file order, those that this build does not execute included.
    pub actions: Vec<Action>,
    /// Evaluate and act, send no event.
    pub silent: bool,
    /// The id under which it reports, where several rules report as one.
    pub group_id: Option<String>,
    /// Where set, one event per period.
    pub every: Option<Duration>,
    /// The fields whose distinct values have a rate limit each.
    pub limiter_token: Vec<String>,
    /// Higher goes first.
    pub priority: i64,
    /// Where it stands in the file of its policy.
    pub(crate) place: Place,
    pub(crate) limiter_fields: Vec<FieldInfo>,
    /// What its actions read.
    pub(crate) action_fields: Vec<FieldInfo>,
    /// Differs where the macros that it uses differ.
    pub(crate) macros_hash: u64,
    pub(crate) program: Program,
}

impl Rule {
    /// The id that events carry: the group's, or the one in the policy file.
    pub fn rule_id(&self) -> &str {
        self.group_id.as_deref().unwrap_or(&self.written_id)
    }

    /// The position of the rule in its [`crate::RuleSet`], stable until the next load.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Whether the rule matches and is limited as the other one: then it goes on with that one's state.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.id == other.id
            && self.expression == other.expression
            && self.macros_hash == other.macros_hash
            && self.every == other.every
            && self.limiter_token == other.limiter_token
    }

    /// The compiled expression.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The tags as events carry them: `key:value` of `tags`, then `product_tags`.
    pub fn event_tags(&self) -> Vec<String> {
        let pairs = self
            .tags
            .iter()
            .map(|(key, value)| format!("{key}:{value}"));
        pairs.chain(self.product_tags.iter().cloned()).collect()
    }
}
