//! What test programs tell: libtest's lines, and those that the end-to-end harness writes past it.
//!
//! With one thread libtest writes a test's name before it runs, so that what a test writes to standard error stands
//! behind the name, and the result on a line of its own; with more, the pieces of one line may have others between them.

use std::collections::{BTreeMap, BTreeSet};

/// What happened in one run, or in several together.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
    pub(crate) failures: Vec<String>,
    pub(crate) skips: Vec<String>,
    /// Tests that failed at first and have been run again.
    pub(crate) second_tries: Vec<String>,
    /// The tests that named themselves, by name.
    pub(crate) tests: BTreeMap<String, Test>,
    /// The event types, and why the probe cannot see them here; none while no test has asked it.
    pub(crate) events: BTreeMap<String, Option<String>>,
    /// What the verifier said of each program (see `VERIFIER` lines).
    pub(crate) verifier: Vec<String>,
    /// Tests that said that they were skipped, and that libtest will count as passed at the end of the run.
    told_as_passed: usize,
    /// The test whose result has not come yet.
    current: Option<String>,
}

/// One test.
#[derive(Debug, Default)]
pub(crate) struct Test {
    pub(crate) result: Option<TestResult>,
    /// The event types that it saw.
    pub(crate) seen: BTreeSet<String>,
    /// The event type that it was about at last.
    pub(crate) about: Option<String>,
    skipped: bool,
}

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TestResult {
    Passed,
    Failed,
    Ignored,
}

impl Test {
    /// Whether it really ran, to a good end.
    pub(crate) fn passed(&self) -> bool {
        self.result == Some(TestResult::Passed) && !self.skipped
    }

    /// Whether it failed.
    pub(crate) fn failed(&self) -> bool {
        self.result == Some(TestResult::Failed)
    }
}

impl Report {
    pub(crate) fn pass(&mut self) {
        self.passed += 1;
    }

    pub(crate) fn fail(&mut self, what: String) {
        self.failed += 1;
        self.failures.push(what);
    }

    pub(crate) fn skip(&mut self, what: String) {
        self.skipped += 1;
        self.skips.push(what);
    }

    /// Adds what another run counted; its tests and events stay its own.
    pub(crate) fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.failures.extend_from_slice(&other.failures);
        self.skips.extend_from_slice(&other.skips);
        self.second_tries.extend_from_slice(&other.second_tries);
    }

    /// Reads one line of a test program's output.
    pub(crate) fn read(&mut self, source: &str, line: &str) {
        let line = line.trim();
        if let Some((name, rest)) = line
            .strip_prefix("test ")
            .and_then(|line| line.split_once(" ..."))
        {
            self.current = Some(name.to_owned());
            if !self.result(source, rest.trim()) {
                self.message(source, rest.trim());
            }
        } else if self.current.is_none() || !self.result(source, line) {
            self.message(source, line);
        }
    }

    /// Takes the result of the current test, and what may be glued to it. Gives whether there was one.
    fn result(&mut self, source: &str, line: &str) -> bool {
        let results = [
            ("ok", TestResult::Passed),
            ("FAILED", TestResult::Failed),
            ("ignored", TestResult::Ignored),
        ];
        let found = results.into_iter().find_map(|(word, result)| {
            let rest = line.strip_prefix(word)?;
            let ends = !rest.starts_with(|c: char| c.is_ascii_lowercase() || c == ' ' || c == '_');
            ends.then_some((result, rest))
        });
        let (Some((result, rest)), Some(name)) = (found, self.current.take_if(|_| found.is_some()))
        else {
            return false;
        };
        match result {
            TestResult::Failed => self.failures.push(format!("{source}: {name}")),
            TestResult::Ignored => self.skip(format!("{source}: {name}: marked to be ignored")),
            TestResult::Passed => {}
        }
        self.tests.entry(name).or_default().result = Some(result);
        if result != TestResult::Ignored {
            self.message(source, rest.trim());
        }
        true
    }

    fn message(&mut self, source: &str, line: &str) {
        let Some((word, rest)) = line.split_once(": ") else {
            return;
        };
        match word {
            "SKIPPED" => {
                // A test that found itself unable to run; libtest counts it as passed.
                let name = rest.split(": ").next().unwrap_or_default();
                let test = self.tests.entry(name.to_owned()).or_default();
                if !std::mem::replace(&mut test.skipped, true) {
                    self.told_as_passed += 1;
                    self.skip(format!("{source}: {rest}"));
                }
            }
            "SEEN" | "UNSEEN" => {
                if let Some((name, kind)) = rest.split_once(": ") {
                    let test = self.tests.entry(name.to_owned()).or_default();
                    test.about = Some(kind.to_owned());
                    if word == "SEEN" {
                        test.seen.insert(kind.to_owned());
                    }
                }
            }
            "EVENT" => {
                if let Some((kind, state)) = rest.split_once(": ") {
                    let why = state.strip_prefix("unavailable: ").map(str::to_owned);
                    self.events.insert(kind.to_owned(), why);
                }
            }
            "SECOND TRY" => {
                let name = format!("{source}: {rest}");
                if let Some(at) = self.failures.iter().position(|failure| *failure == name) {
                    self.failures.remove(at);
                    self.failed = self.failed.saturating_sub(1);
                    self.tests.remove(rest);
                    self.second_tries.push(name);
                }
            }
            "VERIFIER" => self.verifier.push(rest.to_owned()),
            "test result" => {
                let passed = count(rest, "passed");
                self.passed += passed.saturating_sub(std::mem::take(&mut self.told_as_passed));
                self.failed += count(rest, "failed");
                self.current = None;
            }
            _ => {}
        }
    }
}

/// The number before a word: `3 passed; 1 failed;`.
fn count(counts: &str, word: &str) -> usize {
    counts
        .split([';', '.'])
        .filter_map(|part| part.trim().strip_suffix(word))
        .find_map(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::Report;

    fn read(lines: &[&str]) -> Report {
        let mut report = Report::default();
        for line in lines {
            report.read("unit", line);
        }
        report
    }

    #[test]
    fn reads_what_libtest_prints() {
        let report = read(&[
            "running 4 tests",
            "test a::good ... ok",
            "SKIPPED: a::cannot: no cgroup",
            "test a::cannot ... ok",
            "test a::bad ... FAILED",
            "test a::later ... ignored, needs a network",
            "test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s",
        ]);
        assert_eq!((report.passed, report.failed, report.skipped), (1, 1, 2));
        assert_eq!(report.failures, ["unit: a::bad"]);
        assert!(report.tests["a::good"].passed());
        assert!(!report.tests["a::cannot"].passed());
    }

    #[test]
    fn a_skip_before_the_count_is_subtracted_from_it() {
        let report = read(&[
            "SKIPPED: only: no root",
            "test result: ok. 1 passed; 0 failed; 0 ignored;",
        ]);
        assert_eq!((report.passed, report.skipped), (0, 1));
    }

    #[test]
    fn lines_of_a_single_thread_stand_behind_the_name_of_their_test() {
        let report = read(&[
            "test a::skips ... SKIPPED: a::skips: no such kernel",
            "ok",
            "test a::sees ... SEEN: a::sees: open",
            "SEEN: a::sees: mmap",
            "ok",
            "test a::fails ... SEEN: a::fails: open",
            "UNSEEN: a::fails: bpf",
            "FAILED",
            "test all ... EVENT: open: available",
            "EVENT: bpf: unavailable: this kernel: has none",
            "ok",
            "test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s",
        ]);
        assert_eq!((report.passed, report.failed, report.skipped), (2, 1, 1));
        assert_eq!(report.skips, ["unit: a::skips: no such kernel"]);
        assert_eq!(report.failures, ["unit: a::fails"]);
        assert!(report.tests["a::sees"].seen.contains("open"));
        assert!(report.tests["a::sees"].seen.contains("mmap"));
        assert_eq!(report.tests["a::fails"].about.as_deref(), Some("bpf"));
        assert!(!report.tests["a::fails"].seen.contains("bpf"));
        assert_eq!(report.events["open"], None);
        assert_eq!(
            report.events["bpf"].as_deref(),
            Some("this kernel: has none")
        );
    }

    #[test]
    fn pieces_of_lines_of_tests_side_by_side_are_told_apart() {
        let report = read(&[
            "test a ... okSEEN: b: open",
            "",
            "test b ... SEEN: c: exec",
            "FAILED",
            "test c ... ok",
        ]);
        assert!(report.tests["a"].passed());
        assert!(report.tests["b"].failed());
        assert!(report.tests["b"].seen.contains("open"));
        assert!(report.tests["c"].passed() && report.tests["c"].seen.contains("exec"));
    }

    #[test]
    fn what_fails_twice_has_failed_once_and_what_passes_then_has_passed() {
        let report = read(&[
            "test a ... FAILED",
            "test b ... FAILED",
            "test c ... ok",
            "test result: FAILED. 1 passed; 2 failed;",
            "SECOND TRY: a",
            "SECOND TRY: b",
            "test a ... ok",
            "test b ... FAILED",
            "test result: FAILED. 1 passed; 1 failed;",
        ]);
        assert_eq!((report.passed, report.failed), (2, 1));
        assert_eq!(report.failures, ["unit: b"]);
        assert_eq!(report.second_tries, ["unit: a", "unit: b"]);
        assert!(report.tests["a"].passed() && report.tests["b"].failed());
    }

    #[test]
    fn a_test_that_is_skipped_twice_counts_once() {
        let report = read(&[
            "test a ... SKIPPED: a: one",
            "SKIPPED: a: two",
            "ok",
            "test result: ok. 1 passed; 0 failed;",
        ]);
        assert_eq!((report.passed, report.skipped), (0, 1));
    }
}
