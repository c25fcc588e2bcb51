//! What compiles but is hardly meant: traps of the language that a tool should warn of. All of it is about the expression as
//! it is written; the bodies of macros are looked at where they are defined.

use crate::ast::{CompareOp, Expr, ExprKind, LogicalOp};
use crate::check::{Operand, is_many};
use crate::compile::{Checker, Scope};
use crate::ir::Pred;
use crate::span::Span;

/// The kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LintCode {
    /// `&&` and `||` side by side without parentheses.
    MixedLogical,
    /// A condition that is the same for every event.
    Constant,
    /// A term that stands twice in one chain.
    Duplicate,
    /// `!=`, `!~` or `not in` on several values, which asks that none of them matches.
    NegatedAny,
}

impl LintCode {
    /// The name for output and settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MixedLogical => "mixed-logical",
            Self::Constant => "constant-condition",
            Self::Duplicate => "duplicate-term",
            Self::NegatedAny => "negated-any",
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lint {
    /// Its kind.
    pub code: LintCode,
    /// Where in the source text.
    pub span: Span,
    /// What is odd.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

/// Everything there is to say of an expression, in the order of the text. What does not compile in this scope is passed over.
pub fn lint(expr: &Expr, scope: &Scope<'_>) -> Vec<Lint> {
    let mut found = Vec::new();
    found.extend(mixed_logical(expr).into_iter().map(|span| Lint {
        code: LintCode::MixedLogical,
        span,
        message: "`&&` and `||` have the same precedence and group to the right".to_owned(),
        help: "put parentheses around what belongs together".to_owned(),
    }));
    found.extend(constant(expr, scope).into_iter().map(|(span, value)| Lint {
        code: LintCode::Constant,
        span,
        message: format!(
            "this is {} for every event",
            if value { "true" } else { "false" }
        ),
        help: "remove it, or compare with something that can differ".to_owned(),
    }));
    found.extend(duplicates(expr).into_iter().map(|span| Lint {
        code: LintCode::Duplicate,
        span,
        message: "the same condition stands before".to_owned(),
        help: "remove one of them".to_owned(),
    }));
    found.extend(negated_any(expr, scope).into_iter().map(|span| Lint {
        code: LintCode::NegatedAny,
        span,
        message: "this asks that none of the values matches, not that one differs".to_owned(),
        help:
            "to ask for one that differs, name the element, as in process.ancestors[A]".to_owned(),
    }));
    found.sort_by_key(|lint| (lint.span.start, lint.code));
    found
}

/// Where `&&` and `||` stand side by side without parentheses: each place is what the right operator takes as its own, so
/// `b || c` in `a && b || c`.
pub fn mixed_logical(expr: &Expr) -> Vec<Span> {
    let mut found = Vec::new();
    expr.visit(&mut |expr| {
        if let ExprKind::Logical(_, terms) = &expr.kind {
            let inner = terms
                .iter()
                .filter(|term| matches!(term.kind, ExprKind::Logical(..)));
            found.extend(inner.map(|term| term.span));
        }
    });
    found
}

/// Terms of a chain that stand in it before.
pub fn duplicates(expr: &Expr) -> Vec<Span> {
    let mut found = Vec::new();
    expr.visit(&mut |expr| {
        if let ExprKind::Logical(_, terms) = &expr.kind {
            let mut seen = rustc_hash::FxHashSet::default();
            let again = terms
                .iter()
                .filter(|term| !seen.insert(term.bare().to_string()));
            found.extend(again.map(|term| term.span));
        }
    });
    found
}

/// Comparisons that are the same for every event, with what they are, and chains that are so by two of their terms:
/// `a == 1 && a == 2`, `a != 1 || a != 2`.
pub fn constant(expr: &Expr, scope: &Scope<'_>) -> Vec<(Span, bool)> {
    let mut found = Vec::new();
    expr.visit(&mut |expr| match &expr.kind {
        ExprKind::Compare(..) => {
            if let Ok(Pred::Const(value)) = Checker::new(*scope).condition(expr) {
                found.push((expr.span, value));
            }
        }
        ExprKind::Logical(op, terms) => {
            let (wanted, value) = match op {
                LogicalOp::And => (CompareOp::Eq, false),
                LogicalOp::Or => (CompareOp::Ne, true),
            };
            if let Some(span) = two_literals(terms, wanted, scope) {
                found.push((span, value));
            }
        }
        _ => {}
    });
    found
}

/// Two terms that compare the same single value with two different literals.
fn two_literals(terms: &[Expr], wanted: CompareOp, scope: &Scope<'_>) -> Option<Span> {
    let mut known = rustc_hash::FxHashMap::default();
    for term in terms {
        let ExprKind::Compare(op, left, right) = &term.bare().kind else {
            continue;
        };
        let literal = match &right.kind {
            ExprKind::Int(value) => value.to_string(),
            ExprKind::Str(text) if !text.contains(['$', '%']) => text.clone(),
            _ => continue,
        };
        if *op != wanted || !matches!(left.kind, ExprKind::Ident(_) | ExprKind::Variable(_)) {
            continue;
        }
        let single = match Checker::new(*scope).operand(left) {
            Ok(operand @ (Operand::Str(_) | Operand::Int(_))) => !is_many(&operand),
            _ => false,
        };
        let (first, span) = known
            .entry(left.to_string())
            .or_insert((literal.clone(), term.span));
        if single && *first != literal {
            return Some(span.to(term.span));
        }
    }
    None
}

/// Negated comparisons with a side that can have several values.
pub fn negated_any(expr: &Expr, scope: &Scope<'_>) -> Vec<Span> {
    let mut found = Vec::new();
    expr.visit(&mut |expr| {
        let ExprKind::Compare(CompareOp::Ne | CompareOp::NotIn | CompareOp::NotMatch, left, right) =
            &expr.kind
        else {
            return;
        };
        // What is not in a list of the event is just that; the trap is a list on the left.
        let sides = if matches!(expr.kind, ExprKind::Compare(CompareOp::NotIn, ..)) {
            vec![left]
        } else {
            vec![left, right]
        };
        let many = |side: &Expr| {
            let operand = Checker::new(*scope).operand(side);
            operand.is_ok_and(|operand| is_many(&operand))
        };
        if sides.iter().any(|side| many(side)) {
            found.push(expr.span);
        }
    });
    found
}
