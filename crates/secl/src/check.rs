//! Types of operands, and expressions but for comparisons.

use ipnet::IpNet;

use crate::ast::{ArithOp, Expr, ExprKind, LogicalOp, UnaryOp};
use crate::compile::Checker;
use crate::error::{Error, ErrorKind};
use crate::ir::{Num, Pred, Source, Truth, arith};
use crate::model::{Constant, Type};
use crate::pattern::Literal;
use crate::span::Span;

/// A typed operand.
#[derive(Debug, Clone)]
pub(crate) enum Operand {
    Bool(Truth),
    Int(IntOperand),
    /// A text known at compile time.
    Text(Literal),
    /// A text from the event or a variable.
    Str(Source),
    Ip(IpNet),
    IpSource(Source),
    List(List),
}

/// A number, and what decides whether a comparison is one of times.
#[derive(Debug, Clone)]
pub(crate) struct IntOperand {
    pub(crate) num: Num,
    /// Has a duration in it.
    pub(crate) duration: bool,
    /// The result of `+` or `-`: an interval already.
    pub(crate) interval: bool,
}

/// A list written out, or a macro that is one.
#[derive(Debug, Clone)]
pub(crate) enum List {
    /// Texts known at compile time with their places, and texts put together for each event.
    Texts(Vec<(Literal, Span)>, Vec<Source>),
    Ints(Vec<i64>),
    Ips(Vec<IpNet>),
    Bools(Vec<bool>),
}

impl Operand {
    /// For error messages.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::Bool(_) => "a boolean",
            Self::Int(IntOperand { duration: true, .. }) => "a duration",
            Self::Int(_) => "an integer",
            Self::Text(Literal::Pattern(_)) => "a pattern",
            Self::Text(Literal::Regexp(_)) => "a regexp",
            Self::Text(Literal::Text(_)) | Self::Str(_) => "a string",
            Self::Ip(_) | Self::IpSource(_) => "an IP address or network",
            Self::List(List::Texts(..)) => "a list of strings",
            Self::List(List::Ints(_)) => "a list of integers",
            Self::List(List::Ips(_)) => "a list of addresses",
            Self::List(List::Bools(_)) => "a list of booleans",
        }
    }
}

impl Checker<'_> {
    /// An expression that must be true or false.
    pub(crate) fn condition(&mut self, expr: &Expr) -> Result<Pred, Error> {
        match self.operand(expr)? {
            Operand::Bool(Truth::Pred(pred)) => Ok(*pred),
            Operand::Bool(Truth::Source(source)) => Ok(Pred::True(source)),
            other => Err(Error::ty(
                format!("expected a condition, found {}", other.describe()),
                expr.span,
            )),
        }
    }

    pub(crate) fn operand(&mut self, expr: &Expr) -> Result<Operand, Error> {
        self.enter(expr.span)?;
        let operand = self.operand_inside(expr)?;
        self.leave();
        Ok(operand)
    }

    fn operand_inside(&mut self, expr: &Expr) -> Result<Operand, Error> {
        Ok(match &expr.kind {
            ExprKind::Paren(inner) => return self.operand(inner),
            ExprKind::Ident(name) => return self.ident(name, expr.span),
            ExprKind::FieldRef(name) => from_source(self.field(name, expr.span)?),
            ExprKind::Variable(name) => from_source(self.variable(name, expr.span)?),
            ExprKind::Int(value) => int(*value),
            ExprKind::Duration(nanos) => Operand::Int(IntOperand {
                num: Num::Const(*nanos),
                duration: true,
                interval: false,
            }),
            ExprKind::Ip(net) | ExprKind::Cidr(net) => Operand::Ip(*net),
            ExprKind::Str(text) => match self.interpolation(text, expr.span)? {
                Some(source) => Operand::Str(source),
                None => Operand::Text(Literal::Text(text.clone())),
            },
            ExprKind::Pattern(text) => Operand::Text(Literal::Pattern(text.clone())),
            ExprKind::Regexp(text) => Operand::Text(Literal::Regexp(text.clone())),
            ExprKind::List(items) => Operand::List(self.list(items)?),
            ExprKind::Logical(op, terms) => {
                let terms = terms
                    .iter()
                    .map(|term| self.condition(term))
                    .collect::<Result<Vec<_>, _>>()?;
                truth(match op {
                    LogicalOp::And => Pred::and(terms),
                    LogicalOp::Or => Pred::or(terms),
                })
            }
            ExprKind::Unary(op, inner) => return self.unary(*op, inner),
            ExprKind::Arith(op, left, right) => return self.arith(*op, left, right),
            ExprKind::Compare(op, left, right) => truth(self.comparison(*op, left, right)?),
        })
    }

    /// Constants come before macros, macros before fields.
    fn ident(&mut self, name: &str, span: Span) -> Result<Operand, Error> {
        if let Some(constant) = self.scope.schema.constant(name) {
            return Ok(match constant {
                Constant::Bool(value) => truth(Pred::Const(value)),
                Constant::Int(value) => int(value),
                Constant::String(text) => Operand::Text(Literal::Text(text)),
            });
        }
        let macros = self.scope.macros;
        if let Some(body) = macros.macros.get(name) {
            return self.in_macro(name, span, |checker| checker.operand(body));
        }
        Ok(from_source(self.field(name, span)?))
    }

    fn unary(&mut self, op: UnaryOp, inner: &Expr) -> Result<Operand, Error> {
        if op == UnaryOp::Not {
            return Ok(truth(Pred::not(self.condition(inner)?)));
        }
        let operand = self.number(inner)?;
        let num = match (op, operand.num) {
            (UnaryOp::Neg, Num::Const(value)) => Num::Const(value.wrapping_neg()),
            (_, Num::Const(value)) => Num::Const(!value),
            (UnaryOp::Neg, num) => Num::Neg(Box::new(num)),
            (_, num) => Num::BitNot(Box::new(num)),
        };
        Ok(Operand::Int(IntOperand { num, ..operand }))
    }

    fn arith(&mut self, op: ArithOp, left: &Expr, right: &Expr) -> Result<Operand, Error> {
        let (left_span, right_span) = (left.span, right.span);
        let left = self.number(left)?;
        let right = self.number(right)?;
        // Each pair of elements would count, and the time for three lists would be the product of their lengths.
        if left.num.many() && right.num.many() {
            let message = format!("`{}` between two lists", op.symbol());
            return Err(Error::new(
                ErrorKind::Operator(message),
                left_span.to(right_span),
            ));
        }
        let num = match (left.num, right.num) {
            (Num::Const(left), Num::Const(right)) => Num::Const(arith(op, left, right)),
            // `open.flags & O_RDONLY`: no bit at all, whatever the value.
            (Num::Const(0), num) | (num, Num::Const(0)) if op == ArithOp::And && !num.many() => {
                Num::Const(0)
            }
            (left, right) => Num::Arith(op, Box::new(left), Box::new(right)),
        };
        Ok(Operand::Int(IntOperand {
            num,
            duration: left.duration || right.duration,
            interval: matches!(op, ArithOp::Add | ArithOp::Sub),
        }))
    }

    fn number(&mut self, expr: &Expr) -> Result<IntOperand, Error> {
        match self.operand(expr)? {
            Operand::Int(operand) => Ok(operand),
            other => Err(Error::ty(
                format!("expected an integer, found {}", other.describe()),
                expr.span,
            )),
        }
    }

    fn list(&mut self, items: &[Expr]) -> Result<List, Error> {
        let mut list: Option<List> = None;
        for item in items {
            let operand = self.operand(item)?;
            let found = operand.describe();
            let known = list.get_or_insert_with(|| match operand {
                Operand::Int(_) => List::Ints(Vec::new()),
                Operand::Ip(_) => List::Ips(Vec::new()),
                Operand::Bool(_) => List::Bools(Vec::new()),
                _ => List::Texts(Vec::new(), Vec::new()),
            });
            match (known, operand) {
                (
                    List::Ints(list),
                    Operand::Int(IntOperand {
                        num: Num::Const(value),
                        ..
                    }),
                ) => list.push(value),
                (List::Ips(list), Operand::Ip(net)) => list.push(net),
                (List::Texts(list, _), Operand::Text(literal)) => list.push((literal, item.span)),
                (List::Texts(_, list), Operand::Str(source @ Source::Format(_))) => {
                    list.push(source)
                }
                (List::Bools(list), Operand::Bool(Truth::Pred(pred)))
                    if matches!(*pred, Pred::Const(_)) =>
                {
                    list.push(matches!(*pred, Pred::Const(true)));
                }
                (known, _) => {
                    let wanted = Operand::List(known.clone()).describe();
                    let message = format!("{found} cannot be a member of {wanted}");
                    return Err(Error::ty(message, item.span)
                        .help("the members of a list are literals of one type"));
                }
            }
        }
        list.ok_or_else(|| {
            Error::new(
                ErrorKind::Literal("a list must not be empty".to_owned()),
                Span::default(),
            )
        })
    }
}

/// Whether the operand can have another number of values than one.
pub(crate) fn is_many(operand: &Operand) -> bool {
    match operand {
        Operand::Str(source) | Operand::IpSource(source) | Operand::Bool(Truth::Source(source)) => {
            source.many()
        }
        Operand::Int(operand) => operand.num.many(),
        _ => false,
    }
}

pub(crate) fn truth(pred: Pred) -> Operand {
    Operand::Bool(Truth::Pred(Box::new(pred)))
}

fn int(value: i64) -> Operand {
    Operand::Int(IntOperand {
        num: Num::Const(value),
        duration: false,
        interval: false,
    })
}

fn from_source(source: Source) -> Operand {
    match source.ty() {
        Type::Bool => Operand::Bool(Truth::Source(source)),
        Type::Int => Operand::Int(IntOperand {
            num: Num::Source(source),
            duration: false,
            interval: false,
        }),
        Type::String => Operand::Str(source),
        Type::Ip => Operand::IpSource(source),
    }
}
