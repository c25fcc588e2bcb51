//! Syntax tree → text.
//!
//! What is printed parses to the same tree, but for the places in the text. Parentheses of the source are kept; a tree that
//! was made otherwise gets those that it needs, and no more.

use std::fmt::{self, Write as _};

use crate::ast::{ArithOp, Expr, ExprKind, LogicalOp, UnaryOp};

/// How tightly an expression binds. Each rule of the grammar takes what binds at least as tightly as the next one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Logical,
    Compare,
    Sum,
    Bits,
    Unary,
    Primary,
}

fn level(expr: &Expr) -> Level {
    match &expr.kind {
        ExprKind::Logical(..) => Level::Logical,
        ExprKind::Compare(..) => Level::Compare,
        ExprKind::Arith(ArithOp::Add | ArithOp::Sub, ..) => Level::Sum,
        ExprKind::Arith(..) => Level::Bits,
        ExprKind::Unary(..) => Level::Unary,
        _ => Level::Primary,
    }
}

/// An expression where one of at least this level stands.
struct At<'a>(&'a Expr, Level);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if level(self.0) < self.1 {
            write!(f, "({})", self.0)
        } else {
            write!(f, "{}", self.0)
        }
    }
}

impl fmt::Display for Expr {
    /// Text that parses to the same tree.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Ident(name) => f.write_str(name),
            ExprKind::Int(value) => write!(f, "{value}"),
            ExprKind::Duration(nanos) => duration(f, *nanos),
            ExprKind::Ip(net) => write!(f, "{}", net.addr()),
            ExprKind::Cidr(net) => write!(f, "{net}"),
            ExprKind::Str(text) => write!(f, "\"{text}\""),
            ExprKind::Pattern(text) => write!(f, "~\"{text}\""),
            ExprKind::Regexp(text) => write!(f, "r\"{text}\""),
            ExprKind::Variable(name) => write!(f, "${{{name}}}"),
            ExprKind::FieldRef(name) => write!(f, "%{{{name}}}"),
            ExprKind::List(items) => list(f, items),
            ExprKind::Paren(inner) => write!(f, "({inner})"),
            ExprKind::Unary(op, inner) => {
                f.write_str(match op {
                    // `!` before a pattern would read as `!~`.
                    UnaryOp::Not => "not ",
                    // The space keeps the sign from the number.
                    UnaryOp::Neg => "- ",
                    UnaryOp::BitNot => "^",
                })?;
                write!(f, "{}", At(inner, Level::Unary))
            }
            // Sums group to the left, bit operations to the right.
            ExprKind::Arith(op, left, right) => {
                let (before, after) = match op {
                    ArithOp::Add | ArithOp::Sub => (Level::Sum, Level::Bits),
                    ArithOp::And | ArithOp::Or | ArithOp::Xor => (Level::Unary, Level::Bits),
                };
                write!(
                    f,
                    "{} {} {}",
                    At(left, before),
                    op.symbol(),
                    At(right, after)
                )
            }
            ExprKind::Compare(op, left, right) => {
                let (left, right) = (At(left, Level::Sum), At(right, Level::Compare));
                write!(f, "{left} {} {right}", op.symbol())
            }
            ExprKind::Logical(op, terms) => logical(f, *op, terms),
        }
    }
}

/// Only the last term may be a chain of the other operator without parentheses.
fn logical(f: &mut fmt::Formatter<'_>, op: LogicalOp, terms: &[Expr]) -> fmt::Result {
    let symbol = match op {
        LogicalOp::And => "&&",
        LogicalOp::Or => "||",
    };
    for (index, term) in terms.iter().enumerate() {
        if index > 0 {
            write!(f, " {symbol} ")?;
        }
        let other = matches!(&term.kind, ExprKind::Logical(inner, _) if *inner != op);
        let last = index + 1 == terms.len();
        let least = if last && other {
            Level::Logical
        } else {
            Level::Compare
        };
        write!(f, "{}", At(term, least))?;
    }
    Ok(())
}

fn list(f: &mut fmt::Formatter<'_>, items: &[Expr]) -> fmt::Result {
    f.write_char('[')?;
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{item}")?;
    }
    f.write_char(']')
}

/// In the largest unit that is exact.
pub(crate) fn duration(f: &mut fmt::Formatter<'_>, nanos: i64) -> fmt::Result {
    const UNITS: [(&str, i64); 4] = [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
    ];
    let exact = UNITS
        .into_iter()
        .find(|(_, unit)| nanos % unit == 0 && nanos != 0);
    match exact {
        Some((name, unit)) => write!(f, "{}{name}", nanos / unit),
        None => write!(f, "{}s", nanos / 1_000_000_000),
    }
}
