//! `runtime policy test`: unit tests of rules.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use atalaya_api::{Sanitized, sanitize_json};
use atalaya_config::Config;
use atalaya_policy::testing::{TestFile, TestReport};
use serde_json::json;

use super::load::load;
use super::trial::Trial;
use super::{count, lines, verdict};
use crate::ask::out;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// Files of tests, and directories of `*.test.yaml` files
    #[arg(required = true, value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
    /// Directory of the policies, for files that name none [default: runtime_security_config.policies.dir]
    #[arg(long, value_name = "DIR")]
    policies_dir: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Name the rules that no test expects to match
    #[arg(long)]
    coverage: bool,
}

/// What came out of all files.
#[derive(Default)]
struct Outcome {
    reports: Vec<TestReport>,
    /// What cannot be read or loaded.
    errors: Vec<String>,
    rules: BTreeSet<String>,
    covered: BTreeSet<String>,
}

/// Runs tests. Fails when one fails, and when a policy that is tested has errors.
pub(crate) fn run(args: &Args, config: &Config) -> Result<ExitCode> {
    let mut outcome = Outcome::default();
    for file in files(&args.files)? {
        outcome.run(&file, args, config)?;
    }
    let tests = outcome.reports.iter().map(|report| report.tests.len());
    let tests: usize = tests.sum();
    let failed: usize = outcome.reports.iter().map(TestReport::failed).sum();
    let untested: Vec<_> = outcome.rules.difference(&outcome.covered).collect();
    if args.json {
        let text = serde_json::to_string_pretty(&json!({
            "files": outcome.reports,
            "errors": outcome.errors,
            "passed": tests - failed,
            "failed": failed,
            "rules": outcome.rules,
            "untested": untested,
        }))?;
        out(&format!("{}\n", sanitize_json(&text)));
    } else {
        for report in &outcome.reports {
            out(&format!("{}\n", lines(&text(report))));
        }
        out(&format!("\n{} passed, {failed} failed\n", tests - failed));
        if args.coverage {
            out(&coverage(&outcome.rules, &untested));
        }
    }
    let code = verdict(&outcome.errors);
    Ok(if failed > 0 { ExitCode::FAILURE } else { code })
}

/// The files, those of directories by name.
fn files(named: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in named {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path)
            .with_context(|| format!("cannot read the directory {}", path.display()))?;
        let is_test = |path: &PathBuf| path.to_string_lossy().ends_with(".test.yaml");
        let mut found: Vec<_> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(is_test)
            .collect();
        ensure!(
            !found.is_empty(),
            "there are no *.test.yaml files in {}",
            path.display()
        );
        found.sort();
        files.append(&mut found);
    }
    Ok(files)
}

impl Outcome {
    fn run(&mut self, path: &Path, args: &Args, config: &Config) -> Result<()> {
        let file = match TestFile::read(path) {
            Ok(file) => file,
            Err(errors) => {
                self.errors
                    .extend(errors.iter().map(|e| lines(&e.render())));
                return Ok(());
            }
        };
        let paths = file.policy_paths();
        let dir = match &args.policies_dir {
            Some(dir) => Some(dir.as_path()),
            None if paths.is_empty() => Some(config.policies_dir.as_path()),
            None => None,
        };
        let loaded =
            load(dir, &paths, config, Vec::new()).with_context(|| path.display().to_string())?;
        let errors = loaded.report.all_errors();
        self.errors.extend(errors.map(|e| lines(&e.render())));
        let report = file.run(&loaded.rules, &loaded.report, Trial::new);
        let ids = loaded.rules.rules().iter();
        let ids: BTreeSet<_> = ids.map(|rule| rule.written_id.clone()).collect();
        let covered = ids.iter().filter(|id| !report.untested.contains(id));
        self.covered.extend(covered.cloned());
        self.rules.extend(ids);
        self.reports.push(report);
        Ok(())
    }
}

/// The tests of a file, failures with all that is known.
fn text(report: &TestReport) -> String {
    let mut text = String::new();
    for test in &report.tests {
        let word = if test.passed { "ok" } else { "FAILED" };
        text += &format!(
            "test {}:{}: {} ... {word}\n",
            report.file, test.line, test.name
        );
        for failure in &test.failures {
            // An error begins with its place.
            let place = match failure.error {
                Some(_) => String::new(),
                None => format!("{}:{}: ", report.file, failure.line),
            };
            for line in format!("{place}{failure}").lines() {
                text += &format!("    {line}\n");
            }
        }
    }
    text
}

fn coverage(rules: &BTreeSet<String>, untested: &[&String]) -> String {
    let mut text = format!(
        "{} of {} expected by some test\n",
        rules.len() - untested.len(),
        count(rules.len(), "rule")
    );
    for id in untested {
        text += &format!("  without a test: {}\n", Sanitized(id));
    }
    text
}
