//! Definitions → rules in force: filter, merge, compile, order.

use std::collections::BTreeMap;
use std::sync::Arc;

use atalaya_secl::model::{FieldInfo, Schema};
use atalaya_secl::{Error, MacroSet, Program, Scope, compile_expr, parse};
use rustc_hash::FxHashMap;

use crate::action::{self, Action, ActionContext, ActionKind};
use crate::document::{Common, MacroDef, RuleDef, Text};
use crate::filter::{holds, version_matches};
use crate::fim;
use crate::locate::File;
use crate::merge::{MergedRule, merge_macro, merge_rule};
use crate::options::LoadOptions;
use crate::report::{FilterType, LoadError, LoadReport, MacroReport, RuleReport, Status};
use crate::rule::Rule;
use crate::ruleset::RuleSet;
use crate::source::{Policy, read_all};
use crate::variable::VariableTable;

pub(crate) fn load(schema: &dyn Schema, options: &LoadOptions) -> (RuleSet, LoadReport) {
    let mut report = LoadReport::default();
    let mut policies = read_all(options, &mut report);
    // The agent's own ids are its own, though its policies are read last.
    let internal_first = |policy: &Policy| !policy.info.internal;
    let mut order: Vec<usize> = (0..policies.len()).collect();
    order.sort_by_key(|&index| policies.get(index).is_none_or(internal_first));

    let merged_macros = gather_macros(&mut policies, options, &mut report);
    let mut merged = gather_rules(&mut policies, &order, options, &mut report);

    let mut loader = Loader {
        schema,
        options,
        policies: &policies,
        report,
        variables: VariableTable::default(),
        macros: MacroSet::default(),
        set: RuleSet::default(),
    };
    loader.declare_variables(&mut merged);
    loader.define_macros(merged_macros);
    for rule in merged {
        loader.compile(rule);
    }
    loader.finish()
}

/// What filters say of a definition.
fn filtered(
    common: &Common,
    file: File<'_>,
    options: &LoadOptions,
) -> Result<Option<FilterType>, Box<LoadError>> {
    if let Some(constraint) = &common.agent_version {
        match version_matches(&constraint.value, &options.agent_version) {
            Ok(true) => {}
            Ok(false) => return Ok(Some(FilterType::AgentVersion)),
            Err(message) => return Err(Box::new(file.error(constraint.at, message))),
        }
    }
    if common.filters.is_empty() {
        return Ok(None);
    }
    let mut any = false;
    for filter in &common.filters {
        match holds(&filter.value, &options.host) {
            Ok(value) => any |= value,
            Err(error) => {
                return Err(Box::new(file.in_expression(
                    filter.at,
                    &filter.value,
                    "filter: ",
                    &error,
                )));
            }
        }
    }
    Ok((!any).then_some(FilterType::Filters))
}

/// A macro, with the positions of its policy and reports.
struct MergedMacro {
    def: MacroDef,
    policy_index: usize,
    report: (usize, usize),
}

fn gather_macros(
    policies: &mut [Policy],
    options: &LoadOptions,
    report: &mut LoadReport,
) -> Vec<MergedMacro> {
    let mut merged: Vec<MergedMacro> = Vec::new();
    let mut by_id: FxHashMap<String, usize> = FxHashMap::default();
    for (policy_index, policy) in policies.iter_mut().enumerate() {
        for def in std::mem::take(&mut policy.document.macros) {
            let mut status = MacroReport {
                id: def.common.id.value.clone(),
                status: Status::Loaded,
                filter_type: None,
                line: def.common.at.line,
                errors: def.common.errors.clone(),
            };
            match filtered(&def.common, policy.file(), options) {
                _ if def.common.unusable => status.status = Status::Error,
                Err(error) => {
                    status.status = Status::Error;
                    status.errors.push(*error);
                }
                Ok(Some(filter)) => {
                    status.status = Status::Filtered;
                    status.filter_type = Some(filter);
                }
                Ok(None) => {}
            }
            let Some(policy_report) = report.policies.get_mut(policy.report) else {
                continue;
            };
            let position = (policy.report, policy_report.macros.len());
            if status.status == Status::Loaded {
                let id = def.common.id.value.clone();
                match by_id.get(&id).and_then(|&index| merged.get_mut(index)) {
                    Some(first) => match merge_macro(&mut first.def, &def, policy.file()) {
                        // Its text is now in the later file.
                        Ok(true) if def.common.expression.is_some() => {
                            (first.policy_index, first.report) = (policy_index, position);
                        }
                        Ok(_) => {}
                        Err(error) => {
                            status.status = Status::Error;
                            status.errors.push(*error);
                        }
                    },
                    None => {
                        by_id.insert(id, merged.len());
                        merged.push(MergedMacro {
                            def,
                            policy_index,
                            report: position,
                        });
                    }
                }
            }
            policy_report.macros.push(status);
        }
    }
    merged
}

fn rule_report(def: &RuleDef) -> RuleReport {
    RuleReport {
        id: def.common.id.value.clone(),
        version: def.version.clone(),
        expression: def
            .common
            .expression
            .as_ref()
            .map(|text| text.value.clone())
            .unwrap_or_default(),
        event_type: None,
        status: Status::Loaded,
        filter_type: None,
        modified_by: Vec::new(),
        tags: def
            .tags
            .iter()
            .map(|(key, value)| format!("{key}:{value}"))
            .collect(),
        line: def.common.at.line,
        errors: def.common.errors.clone(),
        unavailable: Vec::new(),
        not_executed: Vec::new(),
    }
}

fn gather_rules(
    policies: &mut [Policy],
    order: &[usize],
    options: &LoadOptions,
    report: &mut LoadReport,
) -> Vec<MergedRule> {
    let mut merged: Vec<MergedRule> = Vec::new();
    let mut by_id: FxHashMap<String, usize> = FxHashMap::default();
    for &policy_index in order {
        let Some(policy) = policies.get_mut(policy_index) else {
            continue;
        };
        for mut def in std::mem::take(&mut policy.document.rules) {
            for action in &mut def.actions {
                action.policy = policy_index;
            }
            let mut status = rule_report(&def);
            match filtered(&def.common, policy.file(), options) {
                _ if def.common.unusable => status.status = Status::Error,
                Err(error) => {
                    status.status = Status::Error;
                    status.errors.push(*error);
                }
                Ok(Some(filter)) => {
                    status.status = Status::Filtered;
                    status.filter_type = Some(filter);
                }
                Ok(None) => {}
            }
            let Some(position) = report
                .policies
                .get(policy.report)
                .map(|found| (policy.report, found.rules.len()))
            else {
                continue;
            };
            if status.status == Status::Loaded {
                let known = by_id
                    .get(&def.common.id.value)
                    .and_then(|&index| merged.get_mut(index));
                match known {
                    Some(first) => {
                        let name = &policy.info.name;
                        match merge_rule(first, &def, &policy.info, policy.file()) {
                            Ok(()) => {
                                let (policy_at, rule_at) = first.report;
                                let first_report = report
                                    .policies
                                    .get_mut(policy_at)
                                    .and_then(|found| found.rules.get_mut(rule_at));
                                if let Some(first_report) = first_report {
                                    first_report.modified_by.push(name.clone());
                                }
                            }
                            Err(error) => {
                                status.status = Status::Error;
                                status.errors.push(*error);
                            }
                        }
                    }
                    None if def.common.expression.is_none() && !def.disabled => {
                        status.status = Status::Error;
                        let message = format!(
                            "no earlier policy has a rule `{}` to override",
                            def.common.id.value
                        );
                        status
                            .errors
                            .push(policy.file().error(def.common.id.at, message));
                    }
                    None => {
                        by_id.insert(def.common.id.value.clone(), merged.len());
                        merged.push(MergedRule {
                            def,
                            policy: Arc::clone(&policy.info),
                            modified_by: Vec::new(),
                            policy_index,
                            report: position,
                        });
                    }
                }
            }
            if let Some(found) = report.policies.get_mut(policy.report) {
                found.rules.push(status);
            }
        }
    }
    // Back to load order.
    merged.sort_by_key(|rule| rule.policy_index);
    merged
}

struct Loader<'a> {
    schema: &'a dyn Schema,
    options: &'a LoadOptions,
    policies: &'a [Policy],
    report: LoadReport,
    variables: VariableTable,
    macros: MacroSet,
    set: RuleSet,
}

impl Loader<'_> {
    fn rule_report(&mut self, (policy, rule): (usize, usize)) -> Option<&mut RuleReport> {
        self.report.policies.get_mut(policy)?.rules.get_mut(rule)
    }

    fn note(&mut self, at: (usize, usize), error: LoadError) {
        if let Some(report) = self.rule_report(at) {
            report.errors.push(error);
        }
    }

    fn reject(&mut self, at: (usize, usize), error: LoadError) {
        if let Some(report) = self.rule_report(at) {
            report.errors.push(error);
            report.status = Status::Error;
        }
    }

    /// Declares the variables of `set` actions. An action that does not say which is skipped.
    fn declare_variables(&mut self, rules: &mut [MergedRule]) {
        for rule in rules.iter_mut().filter(|rule| !rule.def.disabled) {
            let (id, report) = (&rule.def.common.id.value, rule.report);
            rule.def.actions.retain(|raw| {
                if raw.kind != Some(ActionKind::Set) {
                    return true;
                }
                let declared = action::declare(raw, &mut self.variables, self.schema);
                if let (Err(problem), Some(policy)) = (&declared, self.policies.get(raw.policy)) {
                    self.note(report, problem.locate(id, policy.file()));
                }
                declared.is_ok()
            });
        }
    }

    fn define_macros(&mut self, macros: Vec<MergedMacro>) {
        for MergedMacro {
            def,
            policy_index,
            report,
        } in macros
        {
            let Some(policy) = self.policies.get(policy_index) else {
                continue;
            };
            let id = &def.common.id.value;
            let error = match (&def.common.expression, def.values) {
                (_, Some(values)) if !values.is_empty() => {
                    self.macros.define_values(id, values);
                    None
                }
                (Some(text), _) => self.define_macro(id, text, policy.file()).err(),
                _ => Some(Box::new(
                    policy.file().error(def.common.at, "no macro expression"),
                )),
            };
            let (policy_at, macro_at) = report;
            let report = self
                .report
                .policies
                .get_mut(policy_at)
                .and_then(|policy| policy.macros.get_mut(macro_at));
            if let (Some(error), Some(report)) = (error, report) {
                report.status = Status::Error;
                report.errors.push(*error);
            }
        }
    }

    fn define_macro(
        &mut self,
        id: &str,
        text: &Text,
        file: File<'_>,
    ) -> Result<(), Box<LoadError>> {
        if self.schema.constant(id).is_some() || self.schema.field(id).is_some() {
            let message = format!("macro `{id}` has the name of a constant or field");
            return Err(Box::new(file.error(text.at, message)));
        }
        let located = |error: &Error| {
            Box::new(file.in_expression(
                text.at,
                &text.value,
                &format!("macro `{id}` definition error: "),
                error,
            ))
        };
        if let Ok(expr) = atalaya_secl::parse_macro(&text.value)
            && fim::applies(&expr)
        {
            let message = format!(
                "macro expression cannot contain '{}' event types",
                fim::PREFIX
            );
            return Err(Box::new(file.error(text.at, message)));
        }
        self.macros
            .define(id, &text.value, self.schema, &self.variables)
            .map_err(|error| located(&error))
    }

    fn compile(&mut self, merged: MergedRule) {
        let at = merged.report;
        if merged.def.disabled {
            if let Some(report) = self.rule_report(at) {
                report.status = Status::Filtered;
                report.filter_type = Some(FilterType::Disabled);
            }
            return;
        }
        let Some(policy) = self.policies.get(merged.policy_index) else {
            return;
        };
        let file = policy.file();
        let id = merged.def.common.id.value.clone();
        let Some(text) = merged.def.common.expression.clone() else {
            self.reject(at, file.error(merged.def.common.at, "no rule expression"));
            return;
        };
        let context = format!("rule `{id}` error: ");
        let located = |error: &Error| file.in_expression(text.at, &text.value, &context, error);
        let expr = match parse(&text.value) {
            Ok(expr) => expr,
            Err(error) => {
                self.reject(at, located(&error));
                return;
            }
        };
        let variants = if fim::applies(&expr) {
            fim::expand(&expr)
        } else {
            vec![("", expr)]
        };
        let mut failed = Vec::new();
        let mut loaded = 0;
        for (variant, expr) in variants {
            let scope = Scope {
                schema: self.schema,
                macros: &self.macros,
                variables: &self.variables,
                rule_tags: &merged.def.product_tags,
            };
            let checked =
                compile_expr(&expr, &text.value, &scope, true).map_err(|error| located(&error));
            let checked = checked.and_then(|program| {
                match (program.event_type(), &self.options.event_types) {
                    (Some(event), Some(enabled)) if !enabled.contains(event) => {
                        let mut error = file.error(
                            text.at,
                            format!("{context}event type not enabled: `{event}`"),
                        );
                        error.help = Some("this build cannot capture it".to_owned());
                        Err(error)
                    }
                    _ => Ok(program),
                }
            });
            match checked {
                Ok(program) => {
                    loaded += 1;
                    self.add(&merged, variant, program, file);
                }
                Err(error) => failed.push(error),
            }
        }
        if loaded == 0 {
            // The variants of one rule fail for one reason.
            if let Some(error) = failed.into_iter().next() {
                self.reject(at, error);
            }
            return;
        }
        for error in failed {
            self.note(at, error);
        }
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
                (Err(problem), Some(policy)) => {
                    errors.push(problem.locate(cx.rule_id, policy.file()));
                }
                (Err(_), None) => {}
            }
        }
        if let Some(report) = self.rule_report(merged.report) {
            for kind in actions.iter().map(|action| action.kind) {
                if !kind.is_executed() && !report.not_executed.contains(&kind.name()) {
                    report.not_executed.push(kind.name());
                }
            }
            for error in errors {
                // The variants of a rule for all writing events have their errors in common.
                if !report.errors.contains(&error) {
                    report.errors.push(error);
                }
            }
        }
        actions
    }

    fn add(&mut self, merged: &MergedRule, variant: &str, program: Program, file: File<'_>) {
        let def = &merged.def;
        let id = def.common.id.value.clone();
        let event_type = program.event_type().unwrap_or_default().to_owned();
        let mut limiter_fields: Vec<FieldInfo> = Vec::new();
        for token in &def.limiter_token {
            match self.schema.field(&token.value) {
                Some(info)
                    if info.iterator.is_none()
                        && info.event.as_ref().is_none_or(|event| *event == event_type) =>
                {
                    limiter_fields.push(info);
                }
                Some(_) => {
                    let message = format!(
                        "field '{}' is not compatible with '{event_type}' rules",
                        token.value
                    );
                    self.note(merged.report, file.error(token.at, message));
                }
                None => {
                    let message = format!("limiter_token: field `{}` not found", token.value);
                    self.note(merged.report, file.error(token.at, message));
                }
            }
        }
        if let Some(report) = self.rule_report(merged.report)
            && report.event_type.is_none()
        {
            report.event_type = Some(event_type.clone());
        }
        let actions = self.actions(merged, &event_type);
        let group = def.group_id.clone();
        let (id, group_id) = if variant.is_empty() {
            (id, group)
        } else {
            let expanded = format!(
                "__fim_expanded_{variant}_{}_{id}",
                group.as_deref().unwrap_or_default()
            );
            (expanded, Some(group.unwrap_or(id)))
        };
        self.set.rules.push(Rule {
            index: self.set.rules.len(),
            id,
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
            limiter_fields,
            program,
        });
    }

    fn finish(mut self) -> (RuleSet, LoadReport) {
        let mut buckets: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for rule in &self.set.rules {
            buckets
                .entry(rule.event_type.clone())
                .or_default()
                .push(rule.index);
        }
        let rules = &self.set.rules;
        for bucket in buckets.values_mut() {
            bucket.sort_by_key(|&index| {
                rules.get(index).map(|rule| {
                    let context = rule.tags.get("execution_context");
                    let context = context.is_some_and(|value| value.eq_ignore_ascii_case("true"));
                    (
                        !context,
                        !rule.policy.is_default,
                        std::cmp::Reverse(rule.priority),
                        index,
                    )
                })
            });
        }
        self.set.buckets = buckets;
        self.set.make_indexes();
        self.set.variables = self.variables;
        for policy in &mut self.report.policies {
            let bad = policy.rules.iter().any(|rule| rule.status == Status::Error)
                || policy
                    .macros
                    .iter()
                    .any(|item| item.status == Status::Error);
            let good = policy
                .rules
                .iter()
                .any(|rule| rule.status == Status::Loaded)
                || policy
                    .macros
                    .iter()
                    .any(|item| item.status == Status::Loaded);
            if bad && policy.status == Status::Loaded {
                policy.status = if good {
                    Status::PartiallyLoaded
                } else {
                    Status::Error
                };
            }
        }
        (self.set, self.report)
    }
}
