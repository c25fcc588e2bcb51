//! A query as it is understood.

use std::ops::Bound;

use atalaya_model::Filter;

use crate::fields::Field;
use crate::glob::Glob;
use crate::types::Range;

/// An expression over one event.
#[derive(Debug)]
pub(crate) enum Expr {
    All,
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    /// Any text of the event.
    Text(Test),
    Field(Field, Test),
    Time(Range),
    /// In the rule language.
    Filter(Box<Filter>),
}

/// What a value must be.
#[derive(Debug)]
pub(crate) enum Test {
    /// Of a field: equal. Of texts: its words in a row, in any case.
    Is(Value),
    Like(Glob),
    Exists,
    Between(Bound<Value>, Bound<Value>),
}

/// A value that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Value {
    pub(crate) text: String,
    pub(crate) number: Option<f64>,
}

impl Value {
    pub(crate) fn new(text: String) -> Self {
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        Self { text, number }
    }
}
