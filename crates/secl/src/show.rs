//! Compiled form → text, for people: what is evaluated is not what was written, with macros expanded, constants computed and
//! terms in another order.

use std::fmt;

use ipnet::IpNet;

use crate::ast::CompareOp;
use crate::ir::{Iter, Num, Part, Pred, Source, Truth};
use crate::pattern::{Literal, Matcher};
use crate::print::duration;

/// How many members of a list are shown.
const SHOWN: usize = 12;

/// Members in brackets, the first few.
fn list<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    items: impl ExactSizeIterator<Item = T>,
) -> fmt::Result {
    let more = items.len().saturating_sub(SHOWN);
    f.write_str("[")?;
    for (at, item) in items.take(SHOWN).enumerate() {
        write!(f, "{}{item}", if at == 0 { "" } else { ", " })?;
    }
    if more > 0 {
        write!(f, ", and {more} more")?;
    }
    f.write_str("]")
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "\"{text}\""),
            Self::Pattern(text) => write!(f, "~\"{text}\""),
            Self::Regexp(text) => write!(f, "r\"{text}\""),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field {
                name, iter, index, ..
            } => {
                if *iter == Iter::Register {
                    f.write_str(&name.0.replacen("ancestors.", "ancestors[A].", 1))?;
                } else {
                    f.write_str(&name.0)?;
                }
                index.map_or(Ok(()), |index| write!(f, "[{index}]"))
            }
            Self::Variable { name, .. } => write!(f, "${{{}}}", name.0),
            Self::Uuid => f.write_str("${builtins.uuid4}"),
            Self::IterLength(_) => f.write_str("the iterator's length"),
            Self::Length(inner) => write!(f, "{inner}.length"),
            Self::RootDomain(inner) => write!(f, "{inner}.root_domain"),
            Self::Format(parts) => {
                f.write_str("\"")?;
                for part in parts {
                    match part {
                        Part::Text(text) => f.write_str(text)?,
                        Part::Source(source @ Self::Field { .. }) => write!(f, "%{{{source}}}")?,
                        Part::Source(source) => write!(f, "{source}")?,
                    }
                }
                f.write_str("\"")
            }
            Self::Texts(texts) => list(f, texts.iter().map(|text| format!("\"{text}\""))),
        }
    }
}

impl fmt::Display for Num {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Const(value) => write!(f, "{value}"),
            Self::Source(source) => write!(f, "{source}"),
            Self::Neg(inner) => write!(f, "-{}", Inner(&**inner)),
            Self::BitNot(inner) => write!(f, "^{}", Inner(&**inner)),
            Self::Arith(op, left, right) => {
                write!(f, "{} {} {}", Inner(&**left), op.symbol(), Inner(&**right))
            }
        }
    }
}

/// An operand, in parentheses where it needs them.
struct Inner<'a, T>(&'a T);

impl fmt::Display for Inner<'_, Num> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Num::Arith(..) => write!(f, "({})", self.0),
            _ => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Display for Inner<'_, Pred> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Pred::And(_) | Pred::Or(_) => write!(f, "({})", self.0),
            _ => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Display for Truth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pred(pred) => match **pred {
                Pred::Const(value) => write!(f, "{value}"),
                _ => write!(f, "({pred})"),
            },
            Self::Source(source) => write!(f, "{source}"),
        }
    }
}

impl fmt::Display for Pred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut fmt::Formatter<'_>, terms: &[Self], between: &str| {
            for (at, term) in terms.iter().enumerate() {
                write!(f, "{}{}", if at == 0 { "" } else { between }, Inner(term))?;
            }
            Ok(())
        };
        match self {
            Self::Const(value) => write!(f, "{value}"),
            Self::And(terms) => joined(f, terms, " && "),
            Self::Or(terms) => joined(f, terms, " || "),
            Self::Not(inner) => negated(f, inner),
            Self::True(source) => write!(f, "{source}"),
            Self::BoolEq(left, right) => write!(f, "{left} == {right}"),
            Self::Int(op, left, right) => {
                write!(f, "{} {} {right}", Inner(left), op.symbol())
            }
            Self::IntIn(num, values) => {
                write!(f, "{} in ", Inner(num))?;
                list(f, values.iter())
            }
            Self::Age(op, num, limit) => {
                write!(f, "{} {} ", Inner(num), op.symbol())?;
                match limit {
                    Num::Const(nanos) => duration(f, *nanos),
                    other => write!(f, "{other}"),
                }
            }
            Self::Text(source, matcher) => text(f, source, matcher, false),
            Self::TextEq(left, right, _) => write!(f, "{left} == {right}"),
            Self::IpAny(source, nets) => nets_in(f, source, nets, "in"),
            Self::IpAll(source, nets) => nets_in(f, source, nets, "allin"),
            Self::IpEq(left, right) => write!(f, "{left} == {right}"),
        }
    }
}

fn nets_in(f: &mut fmt::Formatter<'_>, source: &Source, nets: &[IpNet], op: &str) -> fmt::Result {
    write!(f, "{source} {op} ")?;
    list(f, nets.iter())
}

fn text(
    f: &mut fmt::Formatter<'_>,
    source: &Source,
    matcher: &Matcher,
    negated: bool,
) -> fmt::Result {
    match (matcher.literals(), negated) {
        ([Literal::Pattern(pattern)], false) => write!(f, "{source} =~ \"{pattern}\""),
        ([Literal::Pattern(pattern)], true) => write!(f, "{source} !~ \"{pattern}\""),
        ([one], false) => write!(f, "{source} == {one}"),
        ([one], true) => write!(f, "{source} != {one}"),
        (many, _) => {
            write!(f, "{source} {} ", if negated { "not in" } else { "in" })?;
            list(f, many.iter())
        }
    }
}

fn negated(f: &mut fmt::Formatter<'_>, inner: &Pred) -> fmt::Result {
    match inner {
        Pred::Text(source, matcher) => text(f, source, matcher, true),
        Pred::Int(CompareOp::Eq, left, right) => write!(f, "{} != {right}", Inner(left)),
        Pred::IntIn(num, values) => {
            write!(f, "{} not in ", Inner(num))?;
            list(f, values.iter())
        }
        Pred::TextEq(left, right, _) | Pred::IpEq(left, right) => write!(f, "{left} != {right}"),
        Pred::BoolEq(left, right) => write!(f, "{left} != {right}"),
        Pred::IpAny(source, nets) => nets_in(f, source, nets, "not in"),
        Pred::True(source) => write!(f, "!{source}"),
        other => write!(f, "!({other})"),
    }
}
