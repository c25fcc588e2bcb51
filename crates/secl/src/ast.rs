//! The syntax tree.

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

    /// Calls `f` on this and every expression below, outer ones first.
    pub fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Self)) {
        f(self);
        match &self.kind {
            ExprKind::Paren(inner) | ExprKind::Unary(_, inner) => inner.visit(f),
            ExprKind::Arith(_, left, right) | ExprKind::Compare(_, left, right) => {
                left.visit(f);
                right.visit(f);
            }
            ExprKind::Logical(_, items) | ExprKind::List(items) => {
                items.iter().for_each(|item| item.visit(f));
            }
            _ => {}
        }
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
