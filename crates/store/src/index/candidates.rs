//! From a query to documents that may match: all that do, and where it says *exact*, no others.

use std::ops::Bound;

use tantivy::query::{AllQuery, BooleanQuery, EmptyQuery, Occur, Query, TermQuery, TermSetQuery};
use tantivy::schema::{Field as Number, IndexRecordOption};
use tantivy::{Searcher, Term};

use super::schema::{self, Fields, MAX_VALUE};
use crate::fields::{Field, NUMBER, has_text};
use crate::query::ast::{Expr, Test, Value};
use crate::text::words;

/// A query of the index.
pub(crate) struct Candidates {
    pub(crate) query: Box<dyn Query>,
    /// It finds nothing that does not match.
    pub(crate) exact: bool,
}

/// More terms than this are not put into one query.
const MAX_TERMS: usize = 200_000;

fn all(exact: bool) -> Candidates {
    Candidates {
        query: Box::new(AllQuery),
        exact,
    }
}

fn none() -> Candidates {
    Candidates {
        query: Box::new(EmptyQuery),
        exact: true,
    }
}

/// One window's view.
pub(crate) struct Asked<'a> {
    pub(crate) fields: &'a Fields,
    pub(crate) searcher: &'a Searcher,
}

impl Asked<'_> {
    pub(crate) fn of(&self, expr: &Expr) -> tantivy::Result<Candidates> {
        Ok(match expr {
            Expr::All => all(true),
            Expr::And(parts) => self.joined(parts, Occur::Must)?,
            Expr::Or(parts) => self.joined(parts, Occur::Should)?,
            Expr::Not(part) => {
                let part = self.of(part)?;
                if !part.exact {
                    return Ok(all(false));
                }
                let clauses = vec![
                    (Occur::Must, Box::new(AllQuery) as Box<dyn Query>),
                    (Occur::MustNot, part.query),
                ];
                Candidates {
                    query: Box::new(BooleanQuery::new(clauses)),
                    exact: true,
                }
            }
            // The range of time is held against the column.
            Expr::Time(_) | Expr::Filter(_) => all(false),
            Expr::Text(test) => self.text(test)?,
            Expr::Field(field, test) => self.field(field, test)?,
        })
    }

    fn joined(&self, parts: &[Expr], occur: Occur) -> tantivy::Result<Candidates> {
        let mut exact = true;
        let mut clauses = Vec::with_capacity(parts.len());
        for part in parts {
            let part = self.of(part)?;
            exact &= part.exact;
            clauses.push((occur, part.query));
        }
        let query: Box<dyn Query> = Box::new(BooleanQuery::new(clauses));
        Ok(Candidates { query, exact })
    }

    /// All of these words.
    fn words(&self, words: impl Iterator<Item = String>, exact: bool) -> Candidates {
        let mut clauses: Vec<(Occur, Box<dyn Query>)> = Vec::new();
        for word in words {
            // The analyzer of the index drops none, but the index has no longer terms than this.
            if word.len() < MAX_VALUE {
                clauses.push((Occur::Must, self.term(self.fields.text, &word)));
            }
        }
        match clauses.len() {
            0 => all(false),
            1 => Candidates {
                query: clauses.remove(0).1,
                exact,
            },
            _ => Candidates {
                query: Box::new(BooleanQuery::new(clauses)),
                exact: false,
            },
        }
    }

    fn term(&self, field: Number, text: &str) -> Box<dyn Query> {
        let term = Term::from_field_text(field, text);
        Box::new(TermQuery::new(term, IndexRecordOption::Basic))
    }

    /// The number of the event.
    fn number(&self, text: &str) -> Candidates {
        // As it is written in the document, and no other way.
        let number = text
            .parse::<u64>()
            .ok()
            .filter(|number| number.to_string() == text);
        number.map_or_else(none, |number| {
            let term = Term::from_field_u64(self.fields.offset, number);
            Candidates {
                query: Box::new(TermQuery::new(term, IndexRecordOption::Basic)),
                // A document may have another number than it was given with, or none.
                exact: false,
            }
        })
    }

    fn text(&self, test: &Test) -> tantivy::Result<Candidates> {
        Ok(match test {
            // One word that is nothing but a word: there is no text that has the word and does not match.
            Test::Is(value) => {
                let exact =
                    value.text.chars().all(char::is_alphanumeric) && value.text.len() < MAX_VALUE;
                self.words(words(&value.text), exact)
            }
            Test::Like(glob) => {
                let glob = glob.lower();
                if glob.is_any() {
                    all(true)
                } else if glob.is_word() {
                    self.terms(self.fields.text, "", &glob.prefix(), |word| {
                        glob.matches(word)
                    })?
                } else {
                    self.words(glob.words().into_iter(), false)
                }
            }
            Test::Exists | Test::Between(..) => all(false),
        })
    }

    fn field(&self, field: &Field, test: &Test) -> tantivy::Result<Candidates> {
        if !field.indexed {
            return Ok(match test {
                Test::Is(value) if has_text(&field.name) => self.words(words(&value.text), false),
                Test::Like(glob) if has_text(&field.name) => {
                    self.words(glob.lower().words().into_iter(), false)
                }
                _ => all(false),
            }
            .inexact());
        }
        let name = &field.name;
        if name == NUMBER {
            return Ok(match test {
                Test::Is(value) => self.number(&value.text),
                _ => all(false),
            });
        }
        let attribute = self.fields.attribute;
        Ok(match test {
            Test::Exists => Candidates {
                query: self.term(attribute, &schema::presence(name)),
                exact: true,
            },
            Test::Is(value) => {
                let (term, whole) = schema::attribute(name, &value.text);
                Candidates {
                    query: self.term(attribute, &term),
                    exact: whole,
                }
            }
            Test::Like(glob) if glob.is_any() => return self.field(field, &Test::Exists),
            Test::Like(glob) => {
                let prefix = glob.prefix();
                let prefix = schema::beginning(&prefix);
                self.terms(attribute, &format!("{name}\0"), prefix, |value| {
                    glob.matches(value)
                })?
            }
            Test::Between(low, high) => {
                self.terms(attribute, &format!("{name}\0"), "", |text| {
                    Test::between(low, high, text, text.parse().ok())
                })?
            }
        })
    }

    /// The terms that begin with `before` and `prefix`, and what is behind `before` is wanted.
    fn terms(
        &self,
        field: Number,
        before: &str,
        prefix: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> tantivy::Result<Candidates> {
        let start = format!("{before}{prefix}");
        let mut found = Vec::new();
        let mut exact = true;
        for segment in self.searcher.segment_readers() {
            let inverted = segment.inverted_index(field)?;
            let mut stream = inverted.terms().range().ge(&start).into_stream()?;
            while stream.advance() {
                let Ok(term) = std::str::from_utf8(stream.key()) else {
                    continue;
                };
                if !term.starts_with(&start) {
                    break;
                }
                let value = &term[before.len()..];
                // It may go on.
                let cut = value.len() > MAX_VALUE - 4;
                if cut || wanted(value) {
                    exact &= !cut;
                    found.push(Term::from_field_text(field, term));
                }
                if found.len() > MAX_TERMS {
                    return Ok(all(false));
                }
            }
        }
        if found.is_empty() {
            return Ok(none());
        }
        Ok(Candidates {
            query: Box::new(TermSetQuery::new(found)),
            exact,
        })
    }
}

impl Candidates {
    fn inexact(mut self) -> Self {
        self.exact = false;
        self
    }
}

impl Test {
    /// Numbers by their size, other values by their letters.
    pub(crate) fn between(
        low: &Bound<Value>,
        high: &Bound<Value>,
        text: &str,
        number: Option<f64>,
    ) -> bool {
        use std::cmp::Ordering;
        let order = |bound: &Value| match (number, bound.number) {
            (Some(number), Some(bound)) => number.partial_cmp(&bound),
            // A number and a word are not in any order.
            (None, Some(_)) => None,
            _ => Some(text.cmp(bound.text.as_str())),
        };
        let above = match low {
            Bound::Unbounded => true,
            Bound::Included(low) => order(low).is_some_and(Ordering::is_ge),
            Bound::Excluded(low) => order(low).is_some_and(Ordering::is_gt),
        };
        above
            && match high {
                Bound::Unbounded => true,
                Bound::Included(high) => order(high).is_some_and(Ordering::is_le),
                Bound::Excluded(high) => order(high).is_some_and(Ordering::is_lt),
            }
    }
}
