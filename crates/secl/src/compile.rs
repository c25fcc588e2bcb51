//! Syntax tree → compiled form: the entry points, and what an expression is compiled against.

use rustc_hash::FxHashMap;
use std::borrow::Cow;

use crate::ast::{Expr, ExprKind};
use crate::error::{Error, ErrorKind};
use crate::model::{FieldInfo, IterId, Schema};
use crate::parser::{parse, parse_macro};
use crate::pattern::Literal;
use crate::program::Program;
use crate::regexp;
use crate::span::Span;
use crate::variables::VariableScope;

/// How many nodes a compiled expression may have, macros counted at each use.
pub(crate) const MAX_NODES: usize = 200_000;

/// What the names in an expression mean.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// Fields and constants.
    pub schema: &'a dyn Schema,
    /// Macros.
    pub macros: &'a MacroSet,
    /// Variables, beside the predefined ones.
    pub variables: &'a dyn VariableScope,
    /// The product tags of the rule, the value of `event.rule.tags`.
    pub rule_tags: &'a [String],
}

impl<'a> Scope<'a> {
    /// A scope without variables and rule tags.
    pub fn new(schema: &'a dyn Schema, macros: &'a MacroSet) -> Self {
        Self {
            schema,
            macros,
            variables: &crate::NoVariables,
            rule_tags: &[],
        }
    }
}

/// The macros defined so far.
#[derive(Debug, Clone, Default)]
pub struct MacroSet {
    pub(crate) macros: FxHashMap<String, Expr>,
    /// How many nodes were looked at to define them.
    work: usize,
}

/// How many nodes all macros may have together, the macros inside them counted at each use.
const MAX_MACRO_NODES: usize = 2_000_000;

impl MacroSet {
    /// Defines a macro by an expression, which may use the macros defined before. A macro of the same name is replaced.
    pub fn define(
        &mut self,
        name: &str,
        source: &str,
        schema: &dyn Schema,
        variables: &dyn VariableScope,
    ) -> Result<(), Error> {
        let expr = parse_macro(source)?;
        // A list or constant may suit one field and not another, so only what is wrong for any use is an error here.
        let scope = Scope {
            schema,
            macros: self,
            variables,
            rule_tags: &[],
        };
        let mut checker = Checker::new(scope);
        checker
            .operand(&expr)
            .map_err(|error| error.located(source))?;
        let work = self.work + checker.nodes;
        if work > MAX_MACRO_NODES {
            let message = format!("macros of more than {MAX_MACRO_NODES} parts together");
            return Err(Error::new(ErrorKind::Limit(message), expr.span).located(source));
        }
        self.work = work;
        self.macros.insert(name.to_owned(), expr);
        Ok(())
    }

    /// Defines a macro by a list of plain strings.
    pub fn define_values(&mut self, name: &str, values: impl IntoIterator<Item = String>) {
        let item = |value| Expr {
            kind: ExprKind::Str(value),
            span: Span::default(),
        };
        let items = values.into_iter().map(item).collect();
        self.macros.insert(
            name.to_owned(),
            Expr {
                kind: ExprKind::List(items),
                span: Span::default(),
            },
        );
    }

    /// Whether a macro has this name.
    pub fn contains(&self, name: &str) -> bool {
        self.macros.contains_key(name)
    }
}

/// Compiles the expression of a rule, which must be about exactly one event type.
pub fn compile_rule(source: &str, scope: &Scope<'_>) -> Result<Program, Error> {
    compile_expr(&parse(source)?, source, scope, true)
}

/// Compiles a condition, which may be about no event type (a filter on the host, the filter of an action).
pub fn compile_condition(source: &str, scope: &Scope<'_>) -> Result<Program, Error> {
    compile_expr(&parse(source)?, source, scope, false)
}

/// Compiles a syntax tree, whose places are in `source`.
pub fn compile_expr(
    expr: &Expr,
    source: &str,
    scope: &Scope<'_>,
    needs_event: bool,
) -> Result<Program, Error> {
    let run = || {
        let mut checker = Checker::new(*scope);
        let pred = checker.condition(expr)?;
        if needs_event && checker.event.is_none() {
            let kind = ErrorKind::Event("no event in the rule definition".to_owned());
            return Err(Error::new(kind, expr.span).help(
                "a rule must name a field of an event, such as open.file.path or exec.file.name",
            ));
        }
        checker.check_restricted()?;
        let Checker {
            event,
            fields,
            register,
            ..
        } = checker;
        Ok(Program::new(
            pred,
            event,
            fields,
            register.map(|(_, iter)| iter),
        ))
    };
    run().map_err(|error| error.located(source))
}

/// The state of compiling one expression.
pub(crate) struct Checker<'a> {
    pub(crate) scope: Scope<'a>,
    pub(crate) event: Option<String>,
    pub(crate) fields: Vec<FieldInfo>,
    /// Where each field is in `fields`.
    known: FxHashMap<String, usize>,
    /// The fields that only some event types have, those, and the place.
    pub(crate) restricted: Vec<(Cow<'static, str>, &'static [&'static str], Span)>,
    pub(crate) register: Option<(String, IterId)>,
    /// The macros being expanded.
    pub(crate) macro_depth: usize,
    nodes: usize,
    depth: usize,
    /// How large its regular expressions are together.
    regexps: u64,
}

/// How deep an expression may nest with its macros expanded. It bounds the recursion of compiler and evaluator.
const MAX_TOTAL_DEPTH: usize = 250;

/// How large the regular expressions of one expression may be together, as [`regexp::cost`] counts.
const MAX_REGEXPS: u64 = 100_000;

/// How deep macros may use macros.
const MAX_MACRO_DEPTH: usize = 20;

impl<'a> Checker<'a> {
    pub(crate) fn new(scope: Scope<'a>) -> Self {
        Self {
            scope,
            event: None,
            fields: Vec::new(),
            known: FxHashMap::default(),
            restricted: Vec::new(),
            register: None,
            macro_depth: 0,
            nodes: 0,
            depth: 0,
            regexps: 0,
        }
    }

    /// Whether the event type, known when the whole expression is, has all fields that only some have.
    pub(crate) fn check_restricted(&self) -> Result<(), Error> {
        let Some(event) = &self.event else {
            return Ok(());
        };
        for (name, types, span) in &self.restricted {
            if !types.contains(&event.as_str()) {
                let message = format!(
                    "field `{name}` not available for event type `{event}`, restricted to {}",
                    types.join(", ")
                );
                return Err(Error::new(ErrorKind::Event(message), *span));
            }
        }
        Ok(())
    }

    /// Takes down one more node; [`Self::leave`] ends it.
    pub(crate) fn enter(&mut self, span: Span) -> Result<(), Error> {
        self.nodes += 1;
        self.depth += 1;
        let message = if self.nodes > MAX_NODES {
            format!("expression of more than {MAX_NODES} parts, macros included")
        } else if self.depth > MAX_TOTAL_DEPTH {
            format!("expression nested deeper than {MAX_TOTAL_DEPTH} levels, macros included")
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::Limit(message), span))
    }

    /// Takes down what a literal costs to compile.
    pub(crate) fn charge(&mut self, literal: &Literal, span: Span) -> Result<(), Error> {
        let Literal::Regexp(text) = literal else {
            return Ok(());
        };
        self.regexps = self.regexps.saturating_add(regexp::cost(text));
        if self.regexps > MAX_REGEXPS {
            let message = "the regexps of the expression are too large together".to_owned();
            return Err(Error::new(ErrorKind::Limit(message), span));
        }
        Ok(())
    }

    /// A field that the expression reads.
    pub(crate) fn field_info(&self, name: &str) -> Option<&FieldInfo> {
        self.fields.get(*self.known.get(name)?)
    }

    /// Takes down that the expression reads the field.
    pub(crate) fn add_field(&mut self, info: &FieldInfo) {
        if !self.known.contains_key(info.name.as_ref()) {
            self.known.insert(info.name.to_string(), self.fields.len());
            self.fields.push(info.clone());
        }
    }

    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Compiles something inside a macro; an error there stands at the use.
    pub(crate) fn in_macro<T>(
        &mut self,
        name: &str,
        span: Span,
        body: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.macro_depth == MAX_MACRO_DEPTH {
            let message = format!("macros nested deeper than {MAX_MACRO_DEPTH} levels");
            return Err(Error::new(ErrorKind::Limit(message), span));
        }
        self.macro_depth += 1;
        let result = body(self);
        self.macro_depth -= 1;
        result.map_err(|error| Error {
            kind: ErrorKind::Macro {
                name: name.to_owned(),
                error: Box::new(error.kind),
            },
            span,
            help: error.help,
            ..Error::new(ErrorKind::Iterator(String::new()), span)
        })
    }
}
