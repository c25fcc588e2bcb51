//! Comparisons and membership tests: which operands go with which operators, and what they mean.

use ipnet::IpNet;

use crate::ast::{CompareOp, Expr};
use crate::check::{IntOperand, List, Operand};
use crate::compile::Checker;
use crate::error::{Error, ErrorKind};
use crate::ip::overlap;
use crate::ir::{Num, Pred, Source, Truth, compare};
use crate::model::TextKind;
use crate::pattern::{Literal, Matcher};
use crate::span::Span;

use CompareOp::{AllIn, Eq, Ge, Gt, In, Le, Lt, Match, Ne, NotIn, NotMatch};

impl Checker<'_> {
    pub(crate) fn comparison(
        &mut self,
        op: CompareOp,
        left: &Expr,
        right: &Expr,
    ) -> Result<Pred, Error> {
        let (left_span, right_span) = (left.span, right.span);
        let left = self.operand(left)?;
        let right = self.operand(right)?;
        let (found, against) = (right.describe(), left.describe());
        let positive = match op {
            Ne => Eq,
            NotMatch => Match,
            NotIn => In,
            op => op,
        };
        let pred = match (left, right) {
            (left, Operand::List(list)) => {
                self.in_list(op, positive, left, left_span, list, right_span)?
            }
            // A list on the left comes from a macro: `NAMES in process.argv`.
            (Operand::List(list), right) => {
                self.in_list(op, positive, right, right_span, list, left_span)?
            }
            (_, right) if matches!(positive, In | AllIn) && is_scalar(&right) => {
                let message = format!("`{}` needs a list on the right, found {found}", op.symbol());
                return Err(Error::ty(message, right_span).help("compare single values with =="));
            }
            (Operand::Bool(left), Operand::Bool(right)) if matches!(positive, Eq | In | AllIn) => {
                bool_eq(left, right)
            }
            (Operand::Int(left), Operand::Int(right)) => {
                self.ints(op, positive, (left, left_span), (right, right_span))?
            }
            (Operand::Text(literal), Operand::Str(source)) if positive != Match => {
                text_op(op, positive, right_span)?;
                self.text(op, &source, vec![(literal, left_span)])?
            }
            (Operand::Text(_), Operand::Str(_)) | (Operand::Str(_), Operand::Str(_))
                if positive == Match =>
            {
                let kind = ErrorKind::Literal(
                    "non-static pattern: the right side of =~ must be a literal".to_owned(),
                );
                return Err(
                    Error::new(kind, right_span).help("compare values of the event with ==")
                );
            }
            (Operand::Str(source), Operand::Text(literal)) => {
                text_op(op, positive, right_span)?;
                self.text(
                    op,
                    &source,
                    vec![(as_pattern(positive, literal), right_span)],
                )?
            }
            (Operand::Text(left), Operand::Text(right)) => {
                text_op(op, positive, right_span)?;
                Pred::Const(self.literals(
                    &left,
                    &as_pattern(positive, right),
                    left_span,
                    right_span,
                )?)
            }
            (Operand::Str(left), Operand::Str(right)) => {
                text_op(op, positive, right_span)?;
                for (source, span) in [(&left, left_span), (&right, right_span)] {
                    self.validate_dynamic(source, span)?;
                }
                let fold = [&left, &right]
                    .iter()
                    .any(|side| side.text_kind() == TextKind::DnsName);
                Pred::TextEq(left, right, fold)
            }
            (Operand::Ip(left), Operand::Ip(right)) if matches!(positive, Eq | In | AllIn) => {
                Pred::Const(overlap(&left, &right))
            }
            (Operand::IpSource(source), Operand::Ip(net))
            | (Operand::Ip(net), Operand::IpSource(source))
                if matches!(positive, Eq | In | AllIn) =>
            {
                ip_in(positive, source, vec![net])
            }
            (Operand::IpSource(left), Operand::IpSource(_)) if op == AllIn && left.many() => {
                let message = "`allin` between two lists of the event".to_owned();
                return Err(Error::new(ErrorKind::Operator(message), right_span)
                    .help("write the networks out: field allin [ 10.0.0.0/8 ]"));
            }
            (Operand::IpSource(left), Operand::IpSource(right))
                if matches!(positive, Eq | In | AllIn) =>
            {
                Pred::IpEq(left, right)
            }
            (left, right) => {
                let same = std::mem::discriminant(&left) == std::mem::discriminant(&right)
                    || matches!(
                        (&left, &right),
                        (
                            Operand::Ip(_) | Operand::IpSource(_),
                            Operand::Ip(_) | Operand::IpSource(_)
                        )
                    );
                if same {
                    let message = format!("`{}` between {against} and {found}", op.symbol());
                    return Err(Error::new(ErrorKind::Operator(message), right_span));
                }
                return Err(mismatch(&left, against, found, right_span));
            }
        };
        Ok(if op == positive {
            pred
        } else {
            Pred::not(pred)
        })
    }

    fn ints(
        &self,
        op: CompareOp,
        positive: CompareOp,
        (left, left_span): (IntOperand, Span),
        (right, right_span): (IntOperand, Span),
    ) -> Result<Pred, Error> {
        // `10 in process.list.key`
        let positive = if matches!(positive, In | AllIn) {
            Eq
        } else {
            positive
        };
        if positive == Match {
            let message = format!("`{}` between integers", op.symbol());
            return Err(Error::new(ErrorKind::Operator(message), right_span));
        }
        for (field, value, span) in [(&left, &right, right_span), (&right, &left, left_span)] {
            if positive == Eq
                && let (Num::Source(source), Num::Const(value)) = (&field.num, &value.num)
            {
                self.validate_number(source, *value, span)?;
            }
        }
        // A point in time compared with a literal duration means the time since. The result of + or - is an interval already.
        let (time, limit, since) = if right.duration && !left.duration {
            (left, right, positive)
        } else {
            (right, left, mirror(positive))
        };
        if limit.duration && !time.duration && !time.interval && matches!(limit.num, Num::Const(_))
        {
            if op == Ne {
                let message = "`!=` between a time and a duration".to_owned();
                return Err(Error::new(ErrorKind::Operator(message), right_span));
            }
            return Ok(Pred::Age(since, time.num, limit.num));
        }
        Ok(int_pred(since, time.num, limit.num))
    }

    /// The source matches any of the literals.
    fn text(
        &mut self,
        op: CompareOp,
        source: &Source,
        literals: Vec<(Literal, Span)>,
    ) -> Result<Pred, Error> {
        for (literal, span) in &literals {
            self.charge(literal, *span)?;
            self.validate_text(op, source, literal, *span)?;
        }
        let kind = source.text_kind();
        // The case of a host name does not matter, but to a regexp it does, as in the reference.
        let (regexps, others): (Vec<_>, Vec<_>) = literals.into_iter().partition(|(literal, _)| {
            kind == TextKind::DnsName && matches!(literal, Literal::Regexp(_))
        });
        let mut terms = Vec::new();
        for (literals, kind) in [(others, kind), (regexps, TextKind::Plain)] {
            if !literals.is_empty() {
                terms.push(Pred::Text(source.clone(), matcher(literals, kind)?));
            }
        }
        Ok(Pred::or(terms))
    }

    /// Whether one of two literals matches the other.
    fn literals(
        &mut self,
        left: &Literal,
        right: &Literal,
        left_span: Span,
        right_span: Span,
    ) -> Result<bool, Error> {
        let (text, literal, span) = match (left, right) {
            (Literal::Text(text), other) => (text, other, right_span),
            (other, Literal::Text(text)) => (text, other, left_span),
            _ => {
                let message = "two patterns cannot be compared with each other".to_owned();
                return Err(Error::new(ErrorKind::Operator(message), right_span));
            }
        };
        self.charge(literal, span)?;
        let matcher = Matcher::new(std::slice::from_ref(literal), TextKind::Plain)
            .map_err(|(_, message)| Error::new(ErrorKind::Literal(message), span))?;
        Ok(matcher.matches(text))
    }

    fn in_list(
        &mut self,
        op: CompareOp,
        positive: CompareOp,
        left: Operand,
        left_span: Span,
        list: List,
        span: Span,
    ) -> Result<Pred, Error> {
        let found = Operand::List(list.clone()).describe();
        let against = left.describe();
        // `x == MACRO` where the macro is a list means the same as `x in MACRO`; `=~` makes patterns of its texts.
        if !matches!(positive, In | AllIn | Eq | Match)
            || positive == Match && !matches!(list, List::Texts(..))
        {
            let message = format!("`{}` between {against} and {found}", op.symbol());
            return Err(Error::new(ErrorKind::Operator(message), span));
        }
        Ok(match (left, list) {
            (
                Operand::Int(IntOperand {
                    num,
                    duration: false,
                    ..
                }),
                List::Ints(mut values),
            ) => {
                if let Num::Source(source) = &num {
                    for value in &values {
                        self.validate_number(source, *value, span)?;
                    }
                }
                values.sort_unstable();
                values.dedup();
                match num {
                    Num::Const(value) => Pred::Const(values.binary_search(&value).is_ok()),
                    num => Pred::IntIn(num, values),
                }
            }
            (Operand::Bool(truth), List::Bools(values)) => Pred::or(
                values
                    .into_iter()
                    .map(|value| bool_eq(truth.clone(), Truth::Pred(Box::new(Pred::Const(value)))))
                    .collect(),
            ),
            (Operand::Str(source), List::Texts(texts, dynamic)) => {
                let texts: Vec<_> = texts
                    .into_iter()
                    .map(|(text, at)| (as_pattern(positive, text), at))
                    .collect();
                let mut terms = Vec::new();
                if !texts.is_empty() {
                    // Members of a macro have their places in the macro.
                    terms.push(
                        self.text(op, &source, texts)
                            .map_err(|error| within(error, span))?,
                    );
                }
                let fold = source.text_kind() == TextKind::DnsName;
                terms.extend(
                    dynamic
                        .into_iter()
                        .map(|member| Pred::TextEq(source.clone(), member, fold)),
                );
                Pred::or(terms)
            }
            (Operand::Text(literal), List::Texts(texts, dynamic)) => {
                let mut terms = Vec::new();
                for (text, at) in texts {
                    let same = match (&literal, &text) {
                        (
                            Literal::Pattern(_) | Literal::Regexp(_),
                            Literal::Pattern(_) | Literal::Regexp(_),
                        ) => literal == text,
                        _ => self
                            .literals(&literal, &as_pattern(positive, text), left_span, at)
                            .map_err(|error| within(error, span.to(left_span)))?,
                    };
                    terms.push(Pred::Const(same));
                }
                for member in dynamic {
                    terms.push(self.text(op, &member, vec![(literal.clone(), left_span)])?);
                }
                Pred::or(terms)
            }
            (Operand::Ip(ip), List::Ips(nets)) => {
                Pred::Const(nets.iter().any(|net| overlap(net, &ip)))
            }
            (Operand::IpSource(source), List::Ips(nets)) => ip_in(positive, source, nets),
            (left, _) => return Err(mismatch(&left, against, found, span)),
        })
    }
}

/// Whether the operand of `in` can be no list: neither a list of the event, nor what is one without the iterator variable.
/// Addresses and networks are sets by themselves.
fn is_scalar(operand: &Operand) -> bool {
    match operand {
        Operand::Str(source) | Operand::Bool(Truth::Source(source)) => {
            !source.many() && !source.uses_register()
        }
        Operand::Int(operand) => !operand.num.many() && !operand.num.uses_register(),
        Operand::Text(_) | Operand::Bool(_) => true,
        Operand::Ip(_) | Operand::IpSource(_) | Operand::List(_) => false,
    }
}

fn mismatch(left: &Operand, against: &str, found: &str, span: Span) -> Error {
    let error = Error::ty(format!("expected {against}, found {found}"), span);
    match left {
        Operand::Int(_) if found == "a string" => error.help("numbers stand without quotes"),
        Operand::Ip(_) | Operand::IpSource(_) if found.contains("string") => {
            error.help("addresses and networks stand without quotes")
        }
        Operand::Bool(_) => error.help("use parentheses: comparisons bind looser than `!`"),
        _ => error,
    }
}

fn bool_eq(left: Truth, right: Truth) -> Pred {
    let known = |side: &Truth| match side {
        Truth::Pred(pred) => match **pred {
            Pred::Const(value) => Some(value),
            _ => None,
        },
        Truth::Source(_) => None,
    };
    match (known(&left), known(&right), left, right) {
        (Some(left), Some(right), ..) => Pred::Const(left == right),
        (Some(value), _, _, Truth::Pred(pred)) | (_, Some(value), Truth::Pred(pred), _) => {
            if value { *pred } else { Pred::not(*pred) }
        }
        (Some(true), _, _, Truth::Source(source)) | (_, Some(true), Truth::Source(source), _) => {
            Pred::True(source)
        }
        // For a list, "any element is false" is another thing than "not any element is true".
        (_, _, left, right) => Pred::BoolEq(left, right),
    }
}

/// The literal goes to the right side, where what is derived from the compiled form looks for it.
fn int_pred(op: CompareOp, left: Num, right: Num) -> Pred {
    match (left, right) {
        (Num::Const(left), Num::Const(right)) => Pred::Const(compare(op, left, right)),
        (left @ Num::Const(_), right) => Pred::Int(mirror(op), right, left),
        (left, right) => Pred::Int(op, left, right),
    }
}

/// The operator with its operands swapped.
fn mirror(op: CompareOp) -> CompareOp {
    match op {
        Lt => Gt,
        Le => Ge,
        Gt => Lt,
        Ge => Le,
        op => op,
    }
}

fn text_op(op: CompareOp, positive: CompareOp, span: Span) -> Result<(), Error> {
    if matches!(positive, Eq | Match | In | AllIn) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Operator(format!("`{}` between strings", op.symbol())),
        span,
    ))
}

/// `=~ "text"` means a pattern.
fn as_pattern(op: CompareOp, literal: Literal) -> Literal {
    match literal {
        Literal::Text(text) if op == Match => Literal::Pattern(text),
        other => other,
    }
}

/// One matcher for all of the literals.
fn matcher(literals: Vec<(Literal, Span)>, kind: TextKind) -> Result<Matcher, Error> {
    let (literals, spans): (Vec<_>, Vec<_>) = literals.into_iter().unzip();
    Matcher::new(&literals, kind).map_err(|(index, message)| {
        let span = spans.get(index).copied().unwrap_or_default();
        let error = Error::new(ErrorKind::Literal(message), span);
        match literals.get(index) {
            Some(Literal::Pattern(text)) if text.contains("**") => error.help(
                "`*` stands for one path element, and `**` for everything below as the last element",
            ),
            _ => error,
        }
    })
}

/// `allin` asks that every element lie in every network, but for a single address, that it lie in one.
fn ip_in(op: CompareOp, source: Source, nets: Vec<IpNet>) -> Pred {
    if op == AllIn && source.many() {
        Pred::IpAll(source, nets)
    } else {
        Pred::IpAny(source, nets)
    }
}

/// The error with its place moved to `outer`, unless it lies in it.
fn within(error: Error, outer: Span) -> Error {
    let inside = outer.start <= error.span.start && error.span.end <= outer.end;
    if inside {
        error
    } else {
        Error {
            span: outer,
            ..error
        }
    }
}
