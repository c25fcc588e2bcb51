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
    pub(crate) report: (usize, usize),
}

/// Merges a later definition into an earlier one.
pub(crate) fn merge_rule(
    first: &mut MergedRule,
    later: &RuleDef,
    policy: &Arc<PolicyInfo>,
    file: File<'_>,
) -> Result<(), Box<LoadError>> {
    let id = &later.common.id;
    let error = |message: String| Box::new(file.error(id.at, message));
    let same_policy = Arc::ptr_eq(&first.policy, policy);
    if first.policy.internal != policy.internal {
        return Err(error(format!("internal rule ID conflict: `{}`", id.value)));
    }
    if later.disabled != first.def.disabled {
        if first.def.disabled {
            first.def.disabled = later.disabled;
        } else if first.policy.is_default && !policy.is_default {
            first.def.disabled = true;
        } else {
            let message = format!(
                "`{}` of {} cannot be disabled by this policy",
                id.value, first.policy.name
            );
            return Err(error(message));
        }
        // A rule that was disabled may be without an expression.
        if first.def.common.expression.is_none() {
            first
                .def
                .common
                .expression
                .clone_from(&later.common.expression);
            first.def.common.at = later.common.at;
        }
    } else if later.common.combine.is_none() {
        let text = |def: &RuleDef| {
            def.common
                .expression
                .as_ref()
                .map(|text| text.value.clone())
        };
        if !same_policy && text(&first.def) == text(later) {
            return Ok(());
        }
        let mut error = error(format!(
            "multiple definition with the same ID: `{}` is in {} already",
            id.value, first.policy.name
        ));
        error.help =
            Some("give it another id, or `combine: override` with `override_options`".to_owned());
        return Err(error);
    }
    if later.common.combine.is_some() {
        override_fields(first, later, file)?;
    }
    first.modified_by.push(Arc::clone(policy));
    Ok(())
}

fn override_fields(
    first: &mut MergedRule,
    later: &RuleDef,
    file: File<'_>,
) -> Result<(), Box<LoadError>> {
    let target = &mut first.def;
    let append = |target: &mut RuleDef| {
        for action in &later.actions {
            if !target.actions.iter().any(|known| known.same(action)) {
                target.actions.push(action.clone());
            }
        }
    };
    for field in &later.override_fields {
        match field.value.as_str() {
            "all" if !first.policy.is_default => {
                return Err(Box::new(file.error(
                    field.at,
                    "`all` can only override a rule of a default policy",
                )));
            }
            "all" => {
                append(target);
                target.every = later.every;
                target.tags.clone_from(&later.tags);
                target.product_tags.clone_from(&later.product_tags);
                target.silent = later.silent;
                target.limiter_token.clone_from(&later.limiter_token);
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
            "actions" => append(target),
            "every" => target.every = later.every,
            "tags" => target.tags.extend(
                later
                    .tags
                    .iter()
                    .map(|(key, value)| (key.clone(), value.clone())),
            ),
            "product_tags" => target.product_tags.clone_from(&later.product_tags),
            "expression" => {
                let mut error =
                    file.error(field.at, "the expression of a rule cannot be overridden");
                error.help = Some("disable the rule and write another one".to_owned());
                return Err(Box::new(error));
            }
            other => {
                let mut error = file.error(
                    field.at,
                    format!("unknown field `{other}` in override_options"),
                );
                error.help = Some("one of all, actions, every, tags, product_tags".to_owned());
                return Err(Box::new(error));
            }
        }
    }
    Ok(())
}

/// Merges a later macro into an earlier one; `true` when the later one took its place or added to it.
pub(crate) fn merge_macro(
    first: &mut MacroDef,
    later: &MacroDef,
    file: File<'_>,
) -> Result<bool, Box<LoadError>> {
    let id = &later.common.id;
    match later
        .common
        .combine
        .as_ref()
        .map(|combine| combine.value.as_str())
    {
        None => {
            let text = |def: &MacroDef| {
                def.common
                    .expression
                    .as_ref()
                    .map(|text| text.value.clone())
            };
            if text(first) == text(later) && first.values == later.values {
                return Ok(false);
            }
            let mut error = file.error(
                id.at,
                format!(
                    "multiple definition with the same ID: `{}`; this one is ignored",
                    id.value
                ),
            );
            error.help =
                Some("give it another id, or `combine: merge` or `combine: override`".to_owned());
            Err(Box::new(error))
        }
        Some("merge") => match (&mut first.values, &later.values) {
            (Some(values), Some(more)) => {
                for value in more {
                    if !values.contains(value) {
                        values.push(value.clone());
                    }
                }
                Ok(true)
            }
            _ => {
                let mut error = file.error(id.at, "cannot merge expression");
                error.help = Some("only macros with `values` can be merged".to_owned());
                Err(Box::new(error))
            }
        },
        Some("override") => {
            first.values.clone_from(&later.values);
            first.common.expression.clone_from(&later.common.expression);
            Ok(true)
        }
        Some(other) => Err(Box::new(file.error(
            id.at,
            format!("`combine` can be `merge` or `override`, not `{other}`"),
        ))),
    }
}
