//! One merged rule → the rules that are evaluated: one, or one for each event type where it is about all writes.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use atalaya_secl::model::FieldInfo;
use atalaya_secl::{Error, Expr, Program, Scope, compile_expr, parse};
use rustc_hash::FxHasher;

use super::Loader;
use crate::action::{self, Action, ActionBody, ActionContext, SetValue};
use crate::document::{MAX_ERRORS, Text};
use crate::fim;
use crate::lint::World;
use crate::locate::File;
use crate::merge::MergedRule;
use crate::report::{FilterType, LoadError, Status};
use crate::rule::Rule;

impl Loader<'_> {
    /// Compiles a rule and adds it to the set, or says in its report what is wrong.
    pub(super) fn compile(&mut self, merged: MergedRule) {
        let at = merged.report;
        if merged.def.disabled {
            if let Some(report) = self.rule_report(at) {
                report.status = Status::Filtered;
                report.filter_type = Some(FilterType::Disabled);
                report.filter_reason = Some(match merged.modified_by.last() {
                    Some(policy) => format!("it is disabled, last by {}", policy.name),
                    None => "it is disabled".to_owned(),
                });
            }
            return;
        }
        let Some(policy) = self.policies.get(merged.text_policy) else {
            return;
        };
        let file = policy.file();
        let id = merged.def.common.id.value.clone();
        let Some(text) = merged.def.common.expression.clone() else {
            self.reject(
                at,
                file.error(merged.def.common.id.at, "no rule expression"),
            );
            return;
        };
        let expr = match parse(&text.value) {
            Ok(expr) => expr,
            Err(error) => {
                self.reject(at, located(file, &text, &id, "", &error));
                return;
            }
        };
        let variants = if fim::applies(&expr) {
            fim::expand(&expr)
        } else {
            vec![("", expr.clone())]
        };
        let mut failed = Vec::new();
        let mut loaded = 0;
        for (variant, body) in variants {
            match self.program(&merged, &id, variant, &body, &text, file) {
                Ok(program) => {
                    if loaded == 0 {
                        let world = World {
                            schema: self.schema,
                            macros: &self.macros,
                            variables: &self.variables,
                        };
                        self.notes.rule(&merged, &text, &body, &program, world);
                    }
                    loaded += 1;
                    self.add(&merged, variant, &expr, program);
                }
                Err(error) => failed.push(error),
            }
        }
        if loaded == 0 {
            // The variants of one rule fail for one reason.
            if let Some(error) = failed.into_iter().next() {
                self.reject(at, *error);
            }
            return;
        }
        for error in failed {
            self.note(at, *error);
        }
    }

    fn program(
        &self,
        merged: &MergedRule,
        id: &str,
        variant: &str,
        expr: &Expr,
        text: &Text,
        file: File<'_>,
    ) -> Result<Program, Box<LoadError>> {
        let scope = Scope {
            schema: self.schema,
            macros: &self.macros,
            variables: &self.variables,
            rule_tags: &merged.def.product_tags,
        };
        let program = compile_expr(expr, &text.value, &scope, true)
            .map_err(|error| Box::new(located(file, text, id, variant, &error)))?;
        match (program.event_type(), &self.options.event_types) {
            (Some(event), Some(enabled)) if !enabled.contains(event) => {
                let message = format!("rule `{id}` error: event type not enabled: `{event}`");
                let mut error = file.error(text.at, message);
                error.help = Some("this build cannot capture it".to_owned());
                Err(Box::new(error))
            }
            _ => Ok(program),
        }
    }

    fn add(&mut self, merged: &MergedRule, variant: &str, written: &Expr, program: Program) {
        let def = &merged.def;
        let event_type = program.event_type().unwrap_or_default().to_owned();
        let limiter_fields = self.limiter_fields(merged, &event_type);
        let actions = self.actions(merged, &event_type);
        let action_fields = action_fields(&actions);
        let fields = program.fields().iter();
        let unavailable = self.unavailable(
            &event_type,
            fields.chain(&limiter_fields).chain(&action_fields),
        );
        if let Some(report) = self.rule_report(merged.report) {
            report.event_type.get_or_insert_with(|| event_type.clone());
            for note in unavailable {
                if !report.unavailable.contains(&note) {
                    report.unavailable.push(note);
                }
            }
        }
        let (id, group_id) = ids(&def.common.id.value, def.group_id.clone(), variant);
        self.set.rules.push(Rule {
            index: self.set.rules.len(),
            id,
            written_id: def.common.id.value.clone(),
            version: def.version.clone(),
            description: def.description.clone(),
            expression: def
                .common
                .expression
                .as_ref()
                .map(|text| text.value.clone())
                .unwrap_or_default(),
            event_type,
            tags: def.tags.clone(),
            product_tags: def.product_tags.clone(),
            policy: Arc::clone(&merged.policy),
            modified_by: merged.modified_by.clone(),
            actions,
            silent: def.silent,
            group_id,
            every: def.every,
            limiter_token: def
                .limiter_token
                .iter()
                .map(|token| token.value.clone())
                .collect(),
            priority: def.priority,
            place: def.common.at,
            limiter_fields,
            action_fields,
            macros_hash: self.macros_hash(written),
            program,
        });
    }

    /// The fields whose distinct values have a rate limit each. One that is wrong is left out.
    fn limiter_fields(&mut self, merged: &MergedRule, event_type: &str) -> Vec<FieldInfo> {
        let mut fields: Vec<FieldInfo> = Vec::new();
        let Some(policy) = self.policies.get(merged.token_policy) else {
            return fields;
        };
        for token in merged.def.limiter_token.iter().take(MAX_ERRORS) {
            let (message, help) = match self.schema.field(&token.value) {
                Some(info)
                    if info.iterator.is_none()
                        && info.event.as_ref().is_none_or(|event| *event == event_type) =>
                {
                    if fields.iter().all(|known| known.id != info.id) {
                        fields.push(info);
                    }
                    continue;
                }
                Some(info) if info.iterator.is_some() => (
                    format!("limiter_token: field `{}` has many values", token.value),
                    Some("a field of the event or of its process itself".to_owned()),
                ),
                Some(_) => (
                    format!(
                        "limiter_token: field '{}' is not compatible with '{event_type}' rules",
                        token.value
                    ),
                    None,
                ),
                None => {
                    let names = self.schema.field_names();
                    let near = atalaya_secl::nearest(&token.value, names.iter().map(AsRef::as_ref));
                    (
                        format!("limiter_token: field `{}` not found", token.value),
                        near.map(|name| format!("did you mean `{name}`?")),
                    )
                }
            };
            let mut error = policy.file().error(token.at, message);
            error.help = help;
            self.note(merged.report, error);
        }
        fields
    }

    /// The actions of a rule, for one event type.
    fn actions(&mut self, merged: &MergedRule, event_type: &str) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut errors = Vec::new();
        let cx = ActionContext {
            schema: self.schema,
            macros: &self.macros,
            variables: &self.variables,
            options: self.options,
            rule_tags: &merged.def.product_tags,
            rule_id: &merged.def.common.id.value,
            event_type,
        };
        for raw in &merged.def.actions {
            match (action::compile(raw, &cx), self.policies.get(raw.policy)) {
                (Ok(action), _) => actions.push(action),
                (Err(problem), Some(policy)) if errors.len() < MAX_ERRORS => {
                    errors.push(problem.locate(cx.rule_id, policy.file()));
                }
                (Err(_), _) => {}
            }
        }
        if let Some(report) = self.rule_report(merged.report) {
            for kind in actions.iter().map(|action| action.kind) {
                if !kind.is_executed() && !report.not_executed.contains(&kind.name()) {
                    report.not_executed.push(kind.name());
                }
            }
        }
        for error in errors {
            self.note(merged.report, error);
        }
        actions
    }

    /// Tells rules apart whose macros differ.
    fn macros_hash(&self, expr: &Expr) -> u64 {
        let mut hasher = FxHasher::default();
        expr.clone().for_each_name(&mut |name| {
            if let Some(text) = self.macro_texts.get(name) {
                text.hash(&mut hasher);
            }
        });
        hasher.finish()
    }
}

/// An error in the expression of a rule.
fn located(file: File<'_>, text: &Text, id: &str, variant: &str, error: &Error) -> LoadError {
    let context = if variant.is_empty() {
        format!("rule `{id}` error: ")
    } else {
        format!("rule `{id}` error: for {}: ", fim::describe(variant))
    };
    file.in_expression(text.at, &text.value, &context, error)
}

/// The id of a rule and of the group that it reports as. A rule about all writes reports as what the file says.
fn ids(id: &str, group: Option<String>, variant: &str) -> (String, Option<String>) {
    if variant.is_empty() {
        return (id.to_owned(), group);
    }
    let expanded = format!(
        "__fim_expanded_{variant}_{}_{id}",
        group.as_deref().unwrap_or_default()
    );
    (expanded, Some(group.unwrap_or_else(|| id.to_owned())))
}

/// The fields that actions read.
fn action_fields(actions: &[Action]) -> Vec<FieldInfo> {
    let mut fields: Vec<FieldInfo> = Vec::new();
    let mut add = |more: &[FieldInfo]| {
        for field in more {
            if fields.iter().all(|known| known.id != field.id) {
                fields.push(field.clone());
            }
        }
    };
    for action in actions {
        if let Some(filter) = &action.filter {
            add(filter.fields());
        }
        match &action.body {
            ActionBody::Set(set) => {
                match &set.value {
                    SetValue::Static(_) => {}
                    SetValue::Field { field, .. } => add(std::slice::from_ref(field)),
                    SetValue::Expression(program) => add(program.fields()),
                }
                add(set.scope_field.as_slice());
            }
            ActionBody::Hash(hash) => add(std::slice::from_ref(&hash.path)),
            _ => {}
        }
    }
    fields
}
