//! Variables that are written and not read, or read and not written.

use rustc_hash::FxHashSet;

use super::Finding;
use crate::action::ActionBody;
use crate::ruleset::RuleSet;
use crate::source::Policy;
use crate::yaml::Place;

pub(super) fn variables(
    policies: &[Policy],
    set: &RuleSet,
    words: &FxHashSet<String>,
) -> Vec<Finding> {
    let mut setters: Vec<Option<&crate::Rule>> = vec![None; set.variables().len()];
    for rule in set.rules() {
        for action in &rule.actions {
            if let ActionBody::Set(found) = &action.body
                && let Ok(index) = usize::try_from(found.variable.0)
                && let Some(slot @ None) = setters.get_mut(index)
            {
                *slot = Some(rule);
            }
        }
    }
    let mut found = Vec::new();
    for (def, setter) in set.variables().iter().zip(setters) {
        let read = words.contains(&def.name);
        let (code, message, help) = match (setter, read) {
            // Events show what is not private: someone may read it there.
            (Some(_), false) if def.private => (
                "unread-variable",
                format!(
                    "variable `{}` is set, and neither rules nor events show it",
                    def.name
                ),
                "remove the action, or `private`",
            ),
            (None, true) => (
                "unset-variable",
                format!(
                    "variable `{}` is read, but the rules that set it are not loaded",
                    def.name
                ),
                "it has the zero value of its type; see why those rules failed",
            ),
            _ => continue,
        };
        let Some((policy, rule, at)) = place(policies, set, setter, def.name.as_str()) else {
            continue;
        };
        found.push(Finding {
            policy,
            rule,
            code,
            at,
            within: None,
            message,
            help: help.to_owned(),
        });
    }
    found
}

/// Where to show it: the rule that sets it, else the first that reads it.
fn place(
    policies: &[Policy],
    set: &RuleSet,
    setter: Option<&crate::Rule>,
    name: &str,
) -> Option<(usize, Option<String>, Place)> {
    let reads = |rule: &&crate::Rule| rule.expression.contains(&format!("${{{name}"));
    let rule = setter.or_else(|| set.rules().iter().find(reads))?;
    let policy = policies
        .iter()
        .position(|policy| policy.info == rule.policy)?;
    Some((policy, Some(rule.rule_id().to_owned()), rule.place))
}
