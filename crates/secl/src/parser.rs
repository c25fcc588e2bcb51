//! Tokens → syntax tree.
//!
//! `&&` and `||` have one precedence and group to the right, as in the reference: `a && b || c` is `a && (b || c)`.

use crate::ast::{ArithOp, CompareOp, Expr, ExprKind, LogicalOp, UnaryOp};
use crate::error::{Error, ErrorKind};
use crate::lexer::{Tok, Token, tokenize};
use crate::span::Span;

/// How deep an expression may nest. Recursion in the parser, the compiler and the evaluator is bounded by it.
pub(crate) const MAX_DEPTH: usize = 100;

/// Parses the expression of a rule or condition.
pub fn parse(source: &str) -> Result<Expr, Error> {
    with_parser(source, Parser::expression)
}

/// Parses the expression of a macro: an expression or a list.
pub fn parse_macro(source: &str) -> Result<Expr, Error> {
    with_parser(source, |parser| match parser.peek() {
        Tok::LBracket => parser.list(),
        _ => parser.expression(),
    })
}

fn with_parser<'s>(
    source: &'s str,
    rule: impl FnOnce(&mut Parser<'s>) -> Result<Expr, Error>,
) -> Result<Expr, Error> {
    let run = || {
        let mut parser = Parser {
            source,
            tokens: tokenize(source)?,
            at: 0,
            depth: 0,
        };
        if *parser.peek() == Tok::Eof {
            return Err(Error::syntax("the expression is empty", Span::default()));
        }
        let expr = rule(&mut parser)?;
        match parser.peek() {
            Tok::Eof => Ok(expr),
            _ => Err(parser.unexpected("an operator or the end of the expression")),
        }
    };
    run().map_err(|error| error.located(source))
}

struct Parser<'s> {
    source: &'s str,
    /// Never empty: ends in `Eof`.
    tokens: Vec<Token<'s>>,
    at: usize,
    depth: usize,
}

impl<'s> Parser<'s> {
    fn token(&self) -> Token<'s> {
        let end = self.source.len();
        self.tokens.get(self.at).copied().unwrap_or(Token {
            tok: Tok::Eof,
            span: Span::new(end, end),
        })
    }

    fn peek(&self) -> &Tok<'s> {
        self.tokens
            .get(self.at)
            .map_or(&Tok::Eof, |token| &token.tok)
    }

    fn next(&mut self) -> Token<'s> {
        let token = self.token();
        self.at += 1;
        token
    }

    fn text(&self, span: Span) -> &'s str {
        self.source.get(span.start..span.end).unwrap_or_default()
    }

    fn enter(&mut self, levels: usize) -> Result<(), Error> {
        self.depth += levels;
        if self.depth > MAX_DEPTH {
            let kind =
                ErrorKind::Limit(format!("expression nested deeper than {MAX_DEPTH} levels"));
            return Err(Error::new(kind, self.token().span));
        }
        Ok(())
    }

    /// `comparison [ ("&&" | "||") expression ]`, with the chain as one flat node for each run of the same operator.
    fn expression(&mut self) -> Result<Expr, Error> {
        self.enter(1)?;
        let depth = self.depth;
        let mut terms = vec![self.comparison()?];
        let mut ops = Vec::new();
        while let Some(op) = self.logical_op() {
            self.at += 1;
            if ops.last().is_some_and(|last| *last != op) {
                self.enter(1)?;
            }
            ops.push(op);
            terms.push(self.comparison()?);
        }
        self.depth = depth - 1;
        Ok(fold_chain(terms, &ops))
    }

    fn logical_op(&self) -> Option<LogicalOp> {
        match self.peek() {
            Tok::AndAnd | Tok::Ident("and") => Some(LogicalOp::And),
            Tok::OrOr | Tok::Ident("or") => Some(LogicalOp::Or),
            _ => None,
        }
    }

    fn comparison(&mut self) -> Result<Expr, Error> {
        let left = self.arith()?;
        let op = match self.peek() {
            Tok::Eq => CompareOp::Eq,
            Tok::Ne => CompareOp::Ne,
            Tok::Lt => CompareOp::Lt,
            Tok::Le => CompareOp::Le,
            Tok::Gt => CompareOp::Gt,
            Tok::Ge => CompareOp::Ge,
            Tok::Match => CompareOp::Match,
            Tok::NotMatch => CompareOp::NotMatch,
            Tok::Ident("in") => CompareOp::In,
            Tok::Ident("allin") => CompareOp::AllIn,
            Tok::Ident("notin") => CompareOp::NotIn,
            Tok::Ident("not")
                if self
                    .tokens
                    .get(self.at + 1)
                    .is_some_and(|next| next.tok == Tok::Ident("in")) =>
            {
                self.at += 1;
                CompareOp::NotIn
            }
            _ => return Ok(left),
        };
        self.at += 1;
        self.enter(1)?;
        let right = match op {
            CompareOp::In | CompareOp::NotIn | CompareOp::AllIn => self.list()?,
            _ => self.comparison()?,
        };
        self.depth -= 1;
        let span = left.span.to(right.span);
        Ok(Expr {
            kind: ExprKind::Compare(op, Box::new(left), Box::new(right)),
            span,
        })
    }

    /// Additions and subtractions, grouped to the left.
    fn arith(&mut self) -> Result<Expr, Error> {
        let depth = self.depth;
        let mut left = self.bits()?;
        loop {
            let op = match self.peek() {
                Tok::Plus => ArithOp::Add,
                Tok::Minus => ArithOp::Sub,
                _ => break,
            };
            self.at += 1;
            self.enter(1)?;
            let right = self.bits()?;
            let span = left.span.to(right.span);
            left = Expr {
                kind: ExprKind::Arith(op, Box::new(left), Box::new(right)),
                span,
            };
        }
        self.depth = depth;
        Ok(left)
    }

    /// Bit operations, of one precedence, grouped to the right.
    fn bits(&mut self) -> Result<Expr, Error> {
        let left = self.unary()?;
        let op = match self.peek() {
            Tok::Amp => ArithOp::And,
            Tok::Pipe => ArithOp::Or,
            Tok::Caret => ArithOp::Xor,
            _ => return Ok(left),
        };
        self.at += 1;
        self.enter(1)?;
        let right = self.bits()?;
        self.depth -= 1;
        let span = left.span.to(right.span);
        Ok(Expr {
            kind: ExprKind::Arith(op, Box::new(left), Box::new(right)),
            span,
        })
    }

    fn unary(&mut self) -> Result<Expr, Error> {
        let op = match self.peek() {
            Tok::Bang | Tok::Ident("not") => UnaryOp::Not,
            Tok::Minus => UnaryOp::Neg,
            Tok::Caret => UnaryOp::BitNot,
            _ => return self.primary(),
        };
        let start = self.next().span;
        self.enter(1)?;
        let inner = self.unary()?;
        self.depth -= 1;
        let span = start.to(inner.span);
        Ok(Expr {
            kind: ExprKind::Unary(op, Box::new(inner)),
            span,
        })
    }

    fn primary(&mut self) -> Result<Expr, Error> {
        let token = self.token();
        let kind = match token.tok {
            Tok::LParen => {
                self.at += 1;
                let inner = self.expression()?;
                if *self.peek() != Tok::RParen {
                    let error = self.unexpected("`)`");
                    return Err(if *self.peek() == Tok::Eof {
                        Error::syntax("`(` without `)`", token.span)
                    } else {
                        error
                    });
                }
                ExprKind::Paren(Box::new(inner))
            }
            Tok::Ident("in" | "allin" | "and" | "or") => return Err(self.unexpected("an operand")),
            Tok::LBracket => {
                return Err(self
                    .unexpected("an operand")
                    .help("a list stands only after `in`, `not in` or `allin`"));
            }
            tok => match scalar(tok) {
                Some(kind) => kind,
                None => return Err(self.unexpected("an operand")),
            },
        };
        let end = self.next().span;
        Ok(Expr {
            kind,
            span: token.span.to(end),
        })
    }

    /// What may stand after `in`.
    fn list(&mut self) -> Result<Expr, Error> {
        let token = self.next();
        match token.tok {
            Tok::Ident(_) | Tok::Cidr(_) | Tok::Ip(_) | Tok::Variable(_) | Tok::FieldRef(_) => {
                let kind = scalar(token.tok).unwrap_or(ExprKind::List(Vec::new()));
                return Ok(Expr {
                    kind,
                    span: token.span,
                });
            }
            Tok::LBracket => {}
            _ => {
                self.at -= 1;
                let error = self.unexpected("a list");
                return Err(match scalar(token.tok) {
                    Some(_) => error.help(format!("write [ {} ]", self.text(token.span))),
                    None => error,
                });
            }
        }
        let mut items = Vec::new();
        loop {
            let item = self.token();
            let kind = match item.tok {
                Tok::RBracket if items.is_empty() => {
                    return Err(Error::syntax(
                        "a list must not be empty",
                        token.span.to(item.span),
                    ));
                }
                Tok::RBracket => {
                    return Err(self
                        .unexpected("a list member")
                        .help("remove the comma before `]`"));
                }
                Tok::Ident(_)
                | Tok::Int(_)
                | Tok::Ip(_)
                | Tok::Cidr(_)
                | Tok::Str(_)
                | Tok::Pattern(_)
                | Tok::Regexp(_) => scalar(item.tok),
                _ => None,
            };
            let Some(kind) = kind else {
                return Err(self.unexpected("a list member").help(
                    "lists hold strings, patterns, regexps, numbers, constants, or addresses and networks",
                ));
            };
            self.at += 1;
            items.push(Expr {
                kind,
                span: item.span,
            });
            match self.peek() {
                Tok::Comma => self.at += 1,
                Tok::RBracket => break,
                Tok::Eof => return Err(Error::syntax("`[` without `]`", token.span)),
                _ => return Err(self.unexpected("`,` or `]`")),
            }
        }
        let end = self.next().span;
        Ok(Expr {
            kind: ExprKind::List(items),
            span: token.span.to(end),
        })
    }

    /// The error for the token at hand, with advice for the common traps.
    fn unexpected(&self, wanted: &str) -> Error {
        let token = self.token();
        let text = self.text(token.span);
        let what = match token.tok {
            Tok::Eof => format!("expected {wanted}, found the end of the expression"),
            _ => format!("unexpected `{text}`, expected {wanted}"),
        };
        let error = Error::syntax(what, token.span);
        let previous = self
            .at
            .checked_sub(1)
            .and_then(|at| self.tokens.get(at))
            .map(|token| token.tok);
        match token.tok {
            Tok::Assign => error.help("comparison is written `==`"),
            Tok::Int(_)
                if text.starts_with(['+', '-'])
                    && previous.is_some_and(|tok| scalar(tok).is_some()) =>
            {
                let (sign, digits) = text.split_at(1);
                error.help(format!(
                    "the sign belongs to the number; write `{sign} {digits}` with a space"
                ))
            }
            Tok::Ident("AND" | "OR" | "NOT" | "IN") => error.help(format!(
                "operators are lower case: `{}`",
                text.to_ascii_lowercase()
            )),
            Tok::Ident("not") => error.help("`not` stands before an operand, or as `not in`"),
            Tok::Ident("contains" | "like" | "matches" | "startswith" | "endswith") => {
                error.help("use a pattern: field =~ \"*text*\"")
            }
            _ => error,
        }
    }
}

fn scalar(tok: Tok<'_>) -> Option<ExprKind> {
    Some(match tok {
        Tok::Ident(name) => ExprKind::Ident(name.to_owned()),
        Tok::Int(value) => ExprKind::Int(value),
        Tok::Duration(nanos) => ExprKind::Duration(nanos),
        Tok::Ip(net) => ExprKind::Ip(net),
        Tok::Cidr(net) => ExprKind::Cidr(net),
        Tok::Str(text) => ExprKind::Str(text.to_owned()),
        Tok::Pattern(text) => ExprKind::Pattern(text.to_owned()),
        Tok::Regexp(text) => ExprKind::Regexp(text.to_owned()),
        Tok::Variable(name) => ExprKind::Variable(name.to_owned()),
        Tok::FieldRef(name) => ExprKind::FieldRef(name.to_owned()),
        _ => return None,
    })
}

/// Groups a chain to the right, with one node for each run of the same operator, so that a chain of a thousand terms is
/// not a thousand levels deep.
fn fold_chain(terms: Vec<Expr>, ops: &[LogicalOp]) -> Expr {
    let mut groups: Vec<(LogicalOp, Vec<Expr>)> = Vec::new();
    let mut terms = terms.into_iter();
    let mut pending = terms.next();
    for (term, &op) in terms.zip(ops) {
        match groups.last_mut() {
            Some((last, group)) if *last == op => group.extend(pending.replace(term)),
            _ => groups.push((op, pending.replace(term).into_iter().collect())),
        }
    }
    // Every group lacks its last term, which is the group after it.
    let mut tail = pending;
    while let Some((op, mut group)) = groups.pop() {
        group.extend(tail);
        let span = match (group.first(), group.last()) {
            (Some(first), Some(last)) => first.span.to(last.span),
            _ => Span::default(),
        };
        tail = Some(Expr {
            kind: ExprKind::Logical(op, group),
            span,
        });
    }
    // There is always one term.
    tail.unwrap_or(Expr {
        kind: ExprKind::Ident(String::new()),
        span: Span::default(),
    })
}
