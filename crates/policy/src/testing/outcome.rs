//! What became of tests.

use std::fmt;

use serde::Serialize;

/// The outcome of a file of tests.
#[derive(Debug, Clone, Serialize)]
pub struct TestReport {
    /// The file.
    pub file: String,
    /// The tests in file order.
    pub tests: Vec<TestResult>,
    /// The rules of the policies that no test expects: what is not tested.
    pub untested: Vec<String>,
}

/// The outcome of one test.
#[derive(Debug, Clone, Serialize)]
pub struct TestResult {
    /// What is tested.
    pub name: String,
    /// The line in the file, from 1.
    pub line: usize,
    /// Everything was as expected.
    pub passed: bool,
    /// What was not.
    pub failures: Vec<Failure>,
}

/// One expectation that was not met, or an event that could not be made.
#[derive(Debug, Clone, Serialize)]
pub struct Failure {
    /// The line in the file, from 1.
    pub line: usize,
    /// What it is about: an event, or all of the test's.
    pub about: String,
    /// Why the event could not be made or the test not be run, with place and hint.
    pub error: Option<String>,
    /// The rules that were expected.
    pub expected: Vec<String>,
    /// The rules that matched.
    pub got: Vec<String>,
    /// Why expected rules did not match.
    pub missing: Vec<Missing>,
}

/// An expected rule that did not match.
#[derive(Debug, Clone, Serialize)]
pub struct Missing {
    /// Its id.
    pub rule: String,
    /// Why.
    pub reason: String,
}

impl TestReport {
    /// How many tests failed.
    pub fn failed(&self) -> usize {
        self.tests.iter().filter(|test| !test.passed).count()
    }
}

fn list(ids: &[String]) -> String {
    if ids.is_empty() {
        "no rule".to_owned()
    } else {
        ids.join(", ")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = &self.error {
            return f.write_str(error);
        }
        write!(f, "{}", self.about)?;
        write!(f, "\n  expected: {}", list(&self.expected))?;
        write!(f, "\n       got: {}", list(&self.got))?;
        for Missing { rule, reason } in &self.missing {
            let mut lines = reason.lines();
            let first = lines.next().unwrap_or_default();
            write!(f, "\n  {rule} did not match: {first}")?;
            for line in lines {
                write!(f, "\n    {line}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for TestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for test in &self.tests {
            let word = if test.passed { "ok" } else { "FAILED" };
            writeln!(f, "{}:{}: {}: {word}", self.file, test.line, test.name)?;
            for failure in &test.failures {
                // An error names its place itself.
                if failure.error.is_none() {
                    write!(f, "  {}:{}: ", self.file, failure.line)?;
                }
                for (index, line) in failure.to_string().lines().enumerate() {
                    let indent = if index == 0 && failure.error.is_none() {
                        ""
                    } else {
                        "  "
                    };
                    writeln!(f, "{indent}{line}")?;
                }
            }
        }
        let failed = self.failed();
        write!(
            f,
            "{} of {} tests passed",
            self.tests.len() - failed,
            self.tests.len()
        )?;
        if !self.untested.is_empty() {
            write!(f, "; no test expects {}", self.untested.join(", "))?;
        }
        Ok(())
    }
}
