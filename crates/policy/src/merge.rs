//! Several definitions of one id → one.

use std::sync::Arc;

use crate::document::{MacroDef, RuleDef};
use crate::locate::File;
use crate::report::LoadError;
use crate::rule::PolicyInfo;

/// A rule with what later policies made of it.
#[derive(Debug)]
pub(crate) struct MergedRule {
    pub(crate) def: RuleDef,
    pub(crate) policy: Arc<PolicyInfo>,
    pub(crate) modified_by: Vec<Arc<PolicyInfo>>,
    /// Positions of the policy in the list of policies, and of its report and this rule's report.
    pub(crate) policy_index: usize,
    /// The policies whose files the expression and the rate limit's fields are in.
    pub(crate) text_policy: usize,
    pub(crate) token_policy: usize,
    pub(crate) report: (usize, usize),
}

/// What a later definition did to the earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It changed it.
    Changed,
    /// It says the same, or nothing that counts.
    Same,
    /// It says something else and is ignored.
    Ignored,
    /// It overrides, but does not say what.
    NoFields,
    /// It would disable a rule that it cannot disable.
    NotDisabled,
}

/// Merges a later definition into an earlier one.
pub(crate) fn merge_rule(
    first: &mut MergedRule,
    later: &RuleDef,
    later_index: usize,
    policy: &Arc<PolicyInfo>,
    file: File<'_>,
) -> Result<Outcome, Box<LoadError>> {
    let id = &later.common.id;
    if first.policy.internal != policy.internal {
        let mut error = file.error(id.at, format!("internal rule ID conflict: `{}`", id.value));
        error.help =
            Some("the agent has a rule of this id itself; give yours another one".to_owned());
        return Err(Box::new(error));
    }
    // Nothing is changed by an override that is wrong in part.
    if later.common.combine.is_some() {
        check_fields(first, later, file)?;
    }
    let mut outcome = Outcome::Same;
    if later.disabled != first.def.disabled {
        outcome = Outcome::Changed;
        if first.def.disabled {
            first.def.disabled = later.disabled;
            // A rule that was disabled may be without an expression.
            if first.def.common.expression.is_none() {
                first
                    .def
                    .common
                    .expression
                    .clone_from(&later.common.expression);
                first.text_policy = later_index;
            }
        } else if first.policy.is_default && !policy.is_default {
            first.def.disabled = true;
        } else {
            outcome = Outcome::NotDisabled;
        }
    }
    if later.common.combine.is_some() {
        override_fields(first, later, later_index);
        if outcome == Outcome::Same {
            outcome = match later.override_fields.is_empty() {
                true => Outcome::NoFields,
                false => Outcome::Changed,
            };
        }
    } else if outcome == Outcome::Same && differs(&first.def, later) {
        outcome = Outcome::Ignored;
    }
    first.modified_by.push(Arc::clone(policy));
    Ok(outcome)
}

/// Whether the later definition would do something else.
fn differs(first: &RuleDef, later: &RuleDef) -> bool {
    let text = |def: &RuleDef| {
        def.common
            .expression
            .as_ref()
            .map(|text| text.value.clone())
    };
    later.common.expression.is_some() && text(first) != text(later)
        || first.actions.len() != later.actions.len()
        || !later
            .actions
            .iter()
            .all(|action| first.actions.iter().any(|known| known.same(action)))
        || first.every != later.every
        || first.silent != later.silent
        || first.priority != later.priority
}

fn append_actions(target: &mut RuleDef, later: &RuleDef) {
    for action in &later.actions {
        if !target.actions.iter().any(|known| known.same(action)) {
            target.actions.push(action.clone());
        }
    }
}

/// Whether all that a later definition wants to override can be.
fn check_fields(first: &MergedRule, later: &RuleDef, file: File<'_>) -> Result<(), Box<LoadError>> {
    for field in &later.override_fields {
        let (message, help) = match field.value.as_str() {
            "all" if !first.policy.is_default => (
                "`all` can only override a rule of a default policy".to_owned(),
                "name the fields: actions, every, tags, product_tags",
            ),
            "expression" => (
                "the expression of a rule cannot be overridden".to_owned(),
                "disable the rule and write another one",
            ),
            "all" | "actions" | "every" | "tags" | "product_tags" => continue,
            other => (
                format!("unknown field `{other}` in override_options"),
                "one of all, actions, every, tags, product_tags",
            ),
        };
        let mut error = file.error(field.at, message);
        error.help = Some(help.to_owned());
        return Err(Box::new(error));
    }
    Ok(())
}

fn override_fields(first: &mut MergedRule, later: &RuleDef, later_index: usize) {
    let target = &mut first.def;
    for field in &later.override_fields {
        match field.value.as_str() {
            "all" => {
                append_actions(target, later);
                target.every = later.every;
                target.tags.clone_from(&later.tags);
                target.product_tags.clone_from(&later.product_tags);
                target.silent = later.silent;
                target.limiter_token.clone_from(&later.limiter_token);
                first.token_policy = later_index;
                target.priority = later.priority;
                target.group_id.clone_from(&later.group_id);
                for (old, new) in [
                    (&mut target.description, &later.description),
                    (&mut target.version, &later.version),
                ] {
                    if !new.is_empty() {
                        old.clone_from(new);
                    }
                }
            }
            "actions" => append_actions(target, later),
            "every" => target.every = later.every,
            "tags" => target.tags.extend(
                later
                    .tags
                    .iter()
                    .map(|(key, value)| (key.clone(), value.clone())),
            ),
            _ => target.product_tags.clone_from(&later.product_tags),
        }
    }
}

/// Merges a later macro into an earlier one.
pub(crate) fn merge_macro(
    first: &mut MacroDef,
    later: &MacroDef,
    file: File<'_>,
) -> Result<Outcome, Box<LoadError>> {
    let combine = later.common.combine.as_ref();
    let fail = |message: String, help: &str| {
        let at = combine.map_or(later.common.id.at, |combine| combine.at);
        let mut error = file.error(at, message);
        error.help = Some(help.to_owned());
        Err(Box::new(error))
    };
    match combine.map(|combine| combine.value.as_str()) {
        None => {
            let text = |def: &MacroDef| {
                def.common
                    .expression
                    .as_ref()
                    .map(|text| text.value.clone())
            };
            let same = text(first) == text(later) && first.values == later.values;
            Ok(if same {
                Outcome::Same
            } else {
                Outcome::Ignored
            })
        }
        Some("merge") => match (&mut first.values, &later.values) {
            (Some(values), Some(more)) => {
                let known: rustc_hash::FxHashSet<String> = values.iter().cloned().collect();
                values.extend(more.iter().filter(|value| !known.contains(*value)).cloned());
                Ok(Outcome::Changed)
            }
            _ => fail(
                "cannot merge expression".to_owned(),
                "only macros with `values` can be merged",
            ),
        },
        Some("override") => {
            first.values.clone_from(&later.values);
            first.common.expression.clone_from(&later.common.expression);
            Ok(Outcome::Changed)
        }
        Some(other) => fail(
            format!("`combine` can be `merge` or `override`, not `{other}`"),
            "without it the first definition holds",
        ),
    }
}
