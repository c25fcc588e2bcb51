//! Remarks on one rule.

use atalaya_secl::model::Schema;
use atalaya_secl::{CompareOp, Expr, ExprKind, Program, Span};

use super::{Finding, World, breadth, ranges};
use crate::document::Text;
use crate::merge::MergedRule;
use crate::yaml::Place;

/// Where remarks on one rule go.
pub(super) struct Remarks<'a> {
    pub(super) merged: &'a MergedRule,
    pub(super) text: &'a Text,
    pub(super) found: &'a mut Vec<Finding>,
}

impl Remarks<'_> {
    /// A remark on a part of the expression.
    pub(super) fn span(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let within = Some((self.text.value.clone(), span));
        self.push(
            code,
            self.merged.text_policy,
            self.text.at,
            within,
            message,
            help,
        );
    }

    /// A remark on the expression as a whole.
    pub(super) fn node(
        &mut self,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(
            code,
            self.merged.text_policy,
            self.text.at,
            None,
            message,
            help,
        );
    }

    fn push(
        &mut self,
        code: &'static str,
        policy: usize,
        at: Place,
        within: Option<(String, Span)>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.found.push(Finding {
            policy,
            rule: Some(self.merged.def.common.id.value.clone()),
            code,
            at,
            within,
            message: message.into(),
            help: help.into(),
        });
    }
}

/// Everything there is to say of one rule.
pub(super) fn remarks(out: &mut Remarks<'_>, expr: &Expr, program: &Program, world: World<'_>) {
    let scope = world.scope(&out.merged.def.product_tags);
    for lint in atalaya_secl::lint::lint(expr, &scope) {
        // That `not in` on a list means "none" is what rules use it for; the language's documentation tells the trap.
        if lint.code != atalaya_secl::lint::LintCode::NegatedAny {
            out.span(lint.code.as_str(), lint.span, lint.message, lint.help);
        }
    }
    match program.constant() {
        Some(false) => out.node(
            "never-matches",
            "this rule can never match",
            "see the constant part; remove the rule or correct it",
        ),
        Some(true) => out.node(
            "always-matches",
            "this rule matches every event of its type",
            "add a condition",
        ),
        None => {
            ranges::remarks(out, expr, world);
            breadth::remarks(out, expr, program, world.schema);
        }
    }
    visit(expr, &mut |expr| literal(out, expr, world.schema));
    limits(out);
}

/// Literals and names.
fn literal(out: &mut Remarks<'_>, expr: &Expr, schema: &dyn Schema) {
    match &expr.kind {
        ExprKind::Regexp(text) if is_plain(text) => out.span(
            "plain-regexp",
            expr.span,
            format!("the regular expression `{text}` is a plain text"),
            format!(
                "~\"*{text}*\" means the same and is faster; \"{text}\" if it is the whole value"
            ),
        ),
        ExprKind::Pattern(text) if !text.contains('*') => out.span(
            "plain-pattern",
            expr.span,
            format!("the pattern `{text}` has no `*`"),
            format!("write \"{text}\""),
        ),
        ExprKind::Compare(CompareOp::Match | CompareOp::NotMatch, _, right) => {
            if let ExprKind::Str(text) = &right.bare().kind
                && !text.contains('*')
            {
                out.span(
                    "plain-pattern",
                    right.span,
                    format!("the pattern `{text}` has no `*`"),
                    "compare with == or !=",
                );
            }
        }
        ExprKind::Ident(name) | ExprKind::FieldRef(name) => legacy(out, name, expr.span, schema),
        _ => {}
    }
}

/// Whether a regular expression matches just one text, anywhere.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.contains(|ch: char| r"\.+*?()|[]{}^$".contains(ch))
}

fn legacy(out: &mut Remarks<'_>, written: &str, span: Span, schema: &dyn Schema) {
    // Without the names of elements: process.ancestors[A].comm.
    let mut name = String::new();
    let mut depth = 0;
    for ch in written.chars() {
        match ch {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ if depth == 0 => name.push(ch),
            _ => {}
        }
    }
    let base = name.strip_suffix(".length").unwrap_or(&name);
    if let Some(info) = schema.field(base)
        && info.name != base
    {
        let message = format!("`{base}` is an old name");
        out.span("legacy-name", span, message, format!("now `{}`", info.name));
    }
}

/// Rate limits that do nothing.
fn limits(out: &mut Remarks<'_>) {
    let def = &out.merged.def;
    if def.silent && (def.every.is_some() || !def.limiter_token.is_empty()) {
        out.node(
            "useless-limit",
            "a silent rule sends no events: `every` and `limiter_token` do nothing",
            "remove them, or `silent`",
        );
    }
    for token in &def.limiter_token {
        let last = token.value.rsplit('.').next().unwrap_or_default();
        if matches!(last, "timestamp" | "created_at" | "cookie" | "uuid4") {
            let message = format!(
                "`{}` differs from event to event: with it in limiter_token there is no limit",
                token.value
            );
            let (policy, at) = (out.merged.token_policy, token.at);
            out.push(
                "useless-limit",
                policy,
                at,
                None,
                message,
                "use a field that events of one cause share, such as process.file.path",
            );
        }
    }
}

/// Calls `f` on the expression and all below.
pub(super) fn visit(expr: &Expr, f: &mut dyn FnMut(&Expr)) {
    f(expr);
    match &expr.kind {
        ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => visit(inner, f),
        ExprKind::Arith(_, left, right) | ExprKind::Compare(_, left, right) => {
            visit(left, f);
            visit(right, f);
        }
        ExprKind::Logical(_, items) | ExprKind::List(items) => {
            items.iter().for_each(|item| visit(item, f));
        }
        _ => {}
    }
}
