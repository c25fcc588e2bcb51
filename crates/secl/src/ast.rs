//! The syntax tree.

use std::fmt;

use ipnet::IpNet;

use crate::span::Span;

/// An expression and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
}

/// The kinds of expressions.
#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// A field, constant or macro.
    Ident(String),
    /// A number.
    Int(i64),
    /// A duration in nanoseconds.
    Duration(i64),
    /// An address.
    Ip(IpNet),
    /// A network.
    Cidr(IpNet),
    /// `"…"`, as it stands between the quotes.
    Str(String),
    /// `~"…"`.
    Pattern(String),
    /// `r"…"`.
    Regexp(String),
    /// `${…}`.
    Variable(String),
    /// `%{…}`.
    FieldRef(String),
    /// `[ …, … ]`.
    List(Vec<Expr>),
    /// `( … )`.
    Paren(Box<Expr>),
    /// `!`, `-`, `^` before an operand.
    Unary(UnaryOp, Box<Expr>),
    /// `+`, `-`, `&`, `|`, `^`.
    Arith(ArithOp, Box<Expr>, Box<Expr>),
    /// A comparison or membership test.
    Compare(CompareOp, Box<Expr>, Box<Expr>),
    /// Two or more terms joined by one operator. `a && b || c` is `&&` of `a` and (`||` of `b` and `c`).
    Logical(LogicalOp, Vec<Expr>),
}

/// Operators before one operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnaryOp {
    /// `!` or `not`.
    Not,
    /// `-`.
    Neg,
    /// `^`: every bit the other way.
    BitNot,
}

/// Operators on two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ArithOp {
    Add,
    Sub,
    And,
    Or,
    Xor,
}

/// Comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum CompareOp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Match,
    NotMatch,
    In,
    NotIn,
    AllIn,
}

/// `&&` and `||`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum LogicalOp {
    And,
    Or,
}

impl CompareOp {
    /// The operator as it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::Match => "=~",
            Self::NotMatch => "!~",
            Self::In => "in",
            Self::NotIn => "not in",
            Self::AllIn => "allin",
        }
    }
}

impl ArithOp {
    /// The operator as it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::And => "&",
            Self::Or => "|",
            Self::Xor => "^",
        }
    }
}

impl Expr {
    /// The expression without the parentheses around it.
    pub fn bare(&self) -> &Self {
        let mut expr = self;
        while let ExprKind::Paren(inner) = &expr.kind {
            expr = inner;
        }
        expr
    }

    /// Calls `f` on every name (`Ident` and `%{…}`) in the expression, to read or replace it.
    pub fn for_each_name(&mut self, f: &mut dyn FnMut(&mut String)) {
        match &mut self.kind {
            ExprKind::Ident(name) | ExprKind::FieldRef(name) => f(name),
            ExprKind::List(items) | ExprKind::Logical(_, items) => {
                for item in items {
                    item.for_each_name(f);
                }
            }
            ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => inner.for_each_name(f),
            ExprKind::Arith(_, left, right) | ExprKind::Compare(_, left, right) => {
                left.for_each_name(f);
                right.for_each_name(f);
            }
            _ => {}
        }
    }
}

impl fmt::Display for Expr {
    /// Text that parses to the same tree (but for the places).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |f: &mut fmt::Formatter<'_>, items: &[Self], between: &str| {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    f.write_str(between)?;
                }
                write!(f, "{item}")?;
            }
            Ok(())
        };
        match &self.kind {
            ExprKind::Ident(name) => f.write_str(name),
            ExprKind::Int(value) => write!(f, "{value}"),
            ExprKind::Duration(nanos) if nanos % 1_000_000_000 == 0 => {
                write!(f, "{}s", nanos / 1_000_000_000)
            }
            ExprKind::Duration(nanos) => write!(f, "{}ms", nanos / 1_000_000),
            ExprKind::Ip(net) => write!(f, "{}", net.addr()),
            ExprKind::Cidr(net) => write!(f, "{net}"),
            ExprKind::Str(text) => write!(f, "\"{text}\""),
            ExprKind::Pattern(text) => write!(f, "~\"{text}\""),
            ExprKind::Regexp(text) => write!(f, "r\"{text}\""),
            ExprKind::Variable(name) => write!(f, "${{{name}}}"),
            ExprKind::FieldRef(name) => write!(f, "%{{{name}}}"),
            ExprKind::List(items) => {
                f.write_str("[")?;
                join(f, items, ", ")?;
                f.write_str("]")
            }
            ExprKind::Paren(inner) => write!(f, "({inner})"),
            // `not`, because `!` before a pattern would read as `!~`.
            ExprKind::Unary(UnaryOp::Not, inner) => write!(f, "not {inner}"),
            // The space keeps the sign from the number.
            ExprKind::Unary(UnaryOp::Neg, inner) => write!(f, "- {inner}"),
            ExprKind::Unary(UnaryOp::BitNot, inner) => write!(f, "^{inner}"),
            ExprKind::Arith(op, left, right) => write!(f, "{left} {} {right}", op.symbol()),
            ExprKind::Compare(op, left, right) => write!(f, "{left} {} {right}", op.symbol()),
            ExprKind::Logical(op, terms) => join(
                f,
                terms,
                if *op == LogicalOp::And {
                    " && "
                } else {
                    " || "
                },
            ),
        }
    }
}
