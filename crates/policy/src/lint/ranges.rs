//! Conditions on one number that no number satisfies: `open.retval > 3 && open.retval < 2`.

use atalaya_secl::model::{Constant, Schema, Type};
use atalaya_secl::{CompareOp, Expr, ExprKind, LogicalOp, Span, UnaryOp};
use rustc_hash::FxHashMap;

use super::World;
use super::rule::{Remarks, visit};

/// The numbers that a field can still have.
struct Range {
    low: i64,
    high: i64,
    first: Span,
}

pub(super) fn remarks(out: &mut Remarks<'_>, expr: &Expr, world: World<'_>) {
    visit(expr, &mut |expr| {
        if let ExprKind::Logical(LogicalOp::And, terms) = &expr.kind {
            chain(out, terms, world.schema);
        }
    });
}

fn chain(out: &mut Remarks<'_>, terms: &[Expr], schema: &dyn Schema) {
    let mut ranges: FxHashMap<&str, Range> = FxHashMap::default();
    for term in terms {
        let Some((name, op, value)) = comparison(term.bare(), schema) else {
            continue;
        };
        let range = ranges.entry(name).or_insert(Range {
            low: i64::MIN,
            high: i64::MAX,
            first: term.span,
        });
        let (low, high) = match op {
            // Two different equalities are the language's own remark.
            CompareOp::Eq if range.low == range.high => continue,
            CompareOp::Eq => (value, value),
            CompareOp::Lt => (i64::MIN, value.saturating_sub(1)),
            CompareOp::Le => (i64::MIN, value),
            CompareOp::Gt => (value.saturating_add(1), i64::MAX),
            CompareOp::Ge => (value, i64::MAX),
            _ => continue,
        };
        range.low = range.low.max(low);
        range.high = range.high.min(high);
        if range.low > range.high {
            let message = format!("no value of `{name}` satisfies all of these conditions");
            out.span(
                "unsatisfiable",
                range.first.to(term.span),
                message,
                "the rule, or this branch of it, never matches; did you mean `||`?",
            );
            return;
        }
    }
}

/// A single number of the event compared with a constant.
fn comparison<'e>(term: &'e Expr, schema: &dyn Schema) -> Option<(&'e str, CompareOp, i64)> {
    let ExprKind::Compare(op, left, right) = &term.kind else {
        return None;
    };
    let flipped = match op {
        CompareOp::Lt => CompareOp::Gt,
        CompareOp::Le => CompareOp::Ge,
        CompareOp::Gt => CompareOp::Lt,
        CompareOp::Ge => CompareOp::Le,
        other => *other,
    };
    let sides = [(left, right, *op), (right, left, flipped)];
    sides.into_iter().find_map(|(field, number, op)| {
        let ExprKind::Ident(name) = &field.bare().kind else {
            return None;
        };
        let info = schema.field(name)?;
        let single = info.ty == Type::Int && !info.list && info.iterator.is_none();
        single
            .then(|| number_of(number.bare(), schema))?
            .map(|value| (name.as_str(), op, value))
    })
}

fn number_of(expr: &Expr, schema: &dyn Schema) -> Option<i64> {
    match &expr.kind {
        ExprKind::Int(value) => Some(*value),
        ExprKind::Unary(UnaryOp::Neg, inner) => number_of(inner.bare(), schema)?.checked_neg(),
        ExprKind::Ident(name) => match schema.constant(name)? {
            Constant::Int(value) => Some(value),
            _ => None,
        },
        _ => None,
    }
}
