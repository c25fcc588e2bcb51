//! Unit tests of rules: files `*.test.yaml` with events and the ids of the rules that are to match them.
//!
//! ```yaml
//! policies: [default.policy]          # relative to this file
//! tests:
//!   - name: reading the shadow file
//!     events:
//!       - {type: open, values: {open.file.path: /etc/shadow}, expect: [sensitive_file]}
//! ```
//!
//! The events of one test happen one after the other: variables that actions set live through them, and each test starts with
//! all variables unset. Rate limits are off: every match counts, those of silent rules too. How an event is made of its values is
//! the caller's matter ([`TestFile::run`]).

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::report::LoadError;

mod outcome;
mod parse;
mod run;

pub use outcome::{Failure, Missing, TestReport, TestResult};

/// The values of an event's fields by name, as the file has them.
pub type Values = Map<String, Value>;

/// One file of tests.
#[derive(Debug, Clone)]
pub struct TestFile {
    /// The file as errors name it.
    pub name: String,
    /// The policies that the tests are for, as they are written.
    pub policies: Vec<PathBuf>,
    /// The tests in file order.
    pub tests: Vec<TestCase>,
    source: String,
}

/// One test: events in order.
#[derive(Debug, Clone)]
pub struct TestCase {
    /// What is tested.
    pub name: String,
    /// The line in the file, from 1.
    pub line: usize,
    /// The events.
    pub events: Vec<TestEvent>,
    /// The rules that match any of the events: exactly these.
    pub expect: Option<Expectation>,
}

/// One event.
#[derive(Debug, Clone)]
pub struct TestEvent {
    /// Its type.
    pub event_type: String,
    /// The fields that have a value.
    pub values: Values,
    /// The line in the file, from 1.
    pub line: usize,
    /// The rules that match it: exactly these.
    pub expect: Option<Expectation>,
    at: parse::Places,
}

/// The ids of rules, in any order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Expectation {
    /// The ids.
    pub rules: Vec<String>,
    /// The line in the file, from 1.
    pub line: usize,
}

impl TestFile {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, Vec<LoadError>> {
        let name = path.display().to_string();
        match crate::source::read_file(path) {
            Ok(source) => Self::parse(&name, &source),
            Err(message) => Err(vec![LoadError::whole(&name, message)]),
        }
    }

    /// Reads the text of a file that errors call `name`.
    pub fn parse(name: &str, source: &str) -> Result<Self, Vec<LoadError>> {
        parse::parse(name, source)
    }

    /// The policies that the tests are for, from the directory of the file on.
    pub fn policy_paths(&self) -> Vec<PathBuf> {
        let dir = Path::new(&self.name).parent().unwrap_or(Path::new(""));
        self.policies.iter().map(|path| dir.join(path)).collect()
    }
}
