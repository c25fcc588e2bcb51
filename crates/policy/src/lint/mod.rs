//! What loads without an error but is likely not what was meant, or costs more than it should.
//!
//! Notes are taken while policies are merged and compiled; [`Notes::finish`] adds what only shows at the end, and turns them into
//! [`Lint`]s with their places. `docs/policies.md` lists the codes.

use atalaya_secl::model::Schema;
use atalaya_secl::{Expr, MacroSet, Program, Scope, Span};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::document::Text;
use crate::merge::{MergedRule, Outcome};
use crate::report::Lint;
use crate::ruleset::RuleSet;
use crate::source::Policy;
use crate::variable::VariableTable;
use crate::yaml::Place;

mod breadth;
mod names;
mod ranges;
mod rule;
mod words;

/// The codes of all lints.
pub const LINT_CODES: [&str; 18] = [
    "mixed-logical",
    "constant-condition",
    "duplicate-term",
    "never-matches",
    "always-matches",
    "unsatisfiable",
    "over-broad",
    "no-kernel-filter",
    "duplicate-rule",
    "ignored-definition",
    "not-disabled",
    "unused-macro",
    "unread-variable",
    "unset-variable",
    "useless-limit",
    "legacy-name",
    "plain-regexp",
    "plain-pattern",
];

/// The notes of one load.
#[derive(Default)]
pub(crate) struct Notes {
    found: Vec<Finding>,
    /// The policies that are not looked at: the agent's own.
    internal: Vec<bool>,
    /// Every word of every expression, of filtered rules too: what is used somewhere.
    words: FxHashSet<String>,
    macros: Vec<(usize, Text)>,
    /// Expression and event type → the first rule with them.
    expressions: FxHashMap<(String, Option<String>), String>,
}

/// One remark, not yet located.
struct Finding {
    policy: usize,
    rule: Option<String>,
    code: &'static str,
    /// The node that it is about.
    at: Place,
    /// The part of that node's text that it is about.
    within: Option<(String, Span)>,
    message: String,
    help: String,
}

/// The names that expressions are compiled with, for remarks that need types.
#[derive(Clone, Copy)]
pub(crate) struct World<'a> {
    pub(crate) schema: &'a dyn Schema,
    pub(crate) macros: &'a MacroSet,
    pub(crate) variables: &'a VariableTable,
}

impl<'a> World<'a> {
    fn scope(&self, rule_tags: &'a [String]) -> Scope<'a> {
        Scope {
            schema: self.schema,
            macros: self.macros,
            variables: self.variables,
            rule_tags,
        }
    }
}

impl Notes {
    /// Starts with the words of all definitions.
    pub(crate) fn new(policies: &[Policy]) -> Self {
        Self {
            internal: policies.iter().map(|policy| policy.info.internal).collect(),
            words: words::collect(policies),
            ..Self::default()
        }
    }

    fn add(&mut self, finding: Finding) {
        if self.internal.get(finding.policy) == Some(&false) {
            self.found.push(finding);
        }
    }

    /// A macro that an earlier one of the same id makes void.
    pub(crate) fn ignored_macro(&mut self, policy: usize, id: &Text) {
        self.add(Finding {
            policy,
            rule: None,
            code: "ignored-definition",
            at: id.at,
            within: None,
            message: format!(
                "macro `{}` is defined before, differently: this definition is ignored",
                id.value
            ),
            help: "give it another id, or `combine: merge` or `combine: override`".to_owned(),
        });
    }

    /// A rule that was merged into an earlier one of the same id.
    pub(crate) fn merged(
        &mut self,
        policy: usize,
        id: &Text,
        outcome: Outcome,
        first: &MergedRule,
    ) {
        let (message, help) = match outcome {
            Outcome::Changed | Outcome::Same => return,
            Outcome::Ignored => (
                format!(
                    "rule `{}` is defined in {} before, differently: this definition is ignored",
                    id.value, first.policy.name
                ),
                "give it another id, or `combine: override` with `override_options`",
            ),
            Outcome::NoFields => (
                format!(
                    "rule `{}` of {} is not changed by this: no fields to override are named",
                    id.value, first.policy.name
                ),
                "such as `override_options: {fields: [every]}`",
            ),
            Outcome::NotDisabled => (
                format!(
                    "rule `{}` of {} is not disabled by this",
                    id.value, first.policy.name
                ),
                "only rules of the default policy can be disabled from another file; edit its own",
            ),
        };
        self.add(Finding {
            policy,
            rule: Some(id.value.clone()),
            code: if outcome == Outcome::NotDisabled {
                "not-disabled"
            } else {
                "ignored-definition"
            },
            at: id.at,
            within: None,
            message,
            help: help.to_owned(),
        });
    }

    /// A macro that can be used.
    pub(crate) fn defined_macro(&mut self, policy: usize, id: &Text) {
        self.macros.push((policy, id.clone()));
    }

    /// A rule that compiled.
    pub(crate) fn rule(
        &mut self,
        merged: &MergedRule,
        text: &Text,
        expr: &Expr,
        program: &Program,
        world: World<'_>,
    ) {
        if self.internal.get(merged.text_policy) != Some(&false) {
            return;
        }
        let mut out = rule::Remarks {
            merged,
            text,
            found: &mut self.found,
        };
        rule::remarks(&mut out, expr, program, world);
        let key = (
            expr.bare().to_string(),
            program.event_type().map(str::to_owned),
        );
        let id = &merged.def.common.id.value;
        match self.expressions.get(&key) {
            Some(first) => {
                let message = format!("rule `{first}` has the same expression");
                out.node("duplicate-rule", message, "keep one of them");
            }
            None => {
                self.expressions.insert(key, id.clone());
            }
        }
    }

    /// All remarks, in the order of policies and lines.
    pub(crate) fn finish(mut self, policies: &[Policy], set: &RuleSet) -> Vec<Lint> {
        for (policy, id) in std::mem::take(&mut self.macros) {
            if !self.words.contains(&id.value) {
                self.add(Finding {
                    policy,
                    rule: None,
                    code: "unused-macro",
                    at: id.at,
                    within: None,
                    message: format!("macro `{}` is used by no rule", id.value),
                    help: "remove it, or check the spelling where it should be used".to_owned(),
                });
            }
        }
        let unused = names::variables(policies, set, &self.words);
        for finding in unused {
            self.add(finding);
        }
        self.found
            .sort_by_key(|finding| (finding.policy, finding.at.line));
        self.found
            .into_iter()
            .filter_map(|finding| locate(finding, policies))
            .collect()
    }
}

fn locate(finding: Finding, policies: &[Policy]) -> Option<Lint> {
    let file = policies.get(finding.policy)?.file();
    let found = match &finding.within {
        Some((text, span)) => file.in_text(finding.at, text, *span, finding.message),
        None => file.error(finding.at, finding.message),
    };
    Some(Lint {
        code: finding.code,
        rule: finding.rule,
        file: found.file,
        line: found.line,
        column: found.column,
        message: found.message,
        help: Some(finding.help),
        snippet: found.snippet,
    })
}
