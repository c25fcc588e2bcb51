//! What a load found: every policy, rule and macro with its state, and every error with its place.

use std::fmt;

use serde::Serialize;

/// The outcome of [`crate::RuleSet::load`].
#[derive(Debug, Clone, Default, Serialize)]
pub struct LoadReport {
    /// The policies in load order.
    pub policies: Vec<PolicyReport>,
    /// What went wrong outside any policy (the directory could not be read).
    pub errors: Vec<LoadError>,
    /// What is no error but likely no intention either.
    pub lints: Vec<Lint>,
}

/// Something in a policy that works but is likely not what was meant, or costs more than it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lint {
    /// What kind of remark it is (`mixed-operators`), for filters and the documentation.
    pub code: &'static str,
    /// The rule that it is about, if it is about one.
    pub rule: Option<String>,
    /// The file or internal policy.
    pub file: String,
    /// The line in that file, from 1.
    pub line: usize,
    /// The column in that line (characters, from 1).
    pub column: usize,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The source line and a line with carets beneath the place.
    pub snippet: Option<String>,
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            file,
            line,
            column,
            message,
            ..
        } = self;
        write!(f, "{file}:{line}:{column}: {message} [{code}]")
    }
}

impl Lint {
    /// The remark with its source line, carets and help, over several lines.
    pub fn render(&self) -> String {
        render(
            self.to_string(),
            self.snippet.as_deref(),
            self.help.as_deref(),
        )
    }
}

/// A message with what stands below it.
fn render(mut out: String, snippet: Option<&str>, help: Option<&str>) -> String {
    if let Some(snippet) = snippet {
        out.push('\n');
        out.push_str(snippet);
    }
    if let Some(help) = help {
        out.push_str("\n  help: ");
        out.push_str(help);
    }
    out
}

/// The state of a policy, rule or macro.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// In force.
    Loaded,
    /// Left out on purpose: by a filter, the agent version, or `disabled`.
    Filtered,
    /// A policy of which some rules or macros were rejected.
    PartiallyLoaded,
    /// Rejected.
    Error,
}

/// Why something was filtered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterType {
    /// Its `filters` are all false on this host.
    Filters,
    /// Its `agent_version` excludes this agent.
    AgentVersion,
    /// It is `disabled`.
    Disabled,
}

/// One policy.
#[derive(Debug, Clone, Serialize)]
pub struct PolicyReport {
    /// The file name, or the internal policy's name.
    pub name: String,
    /// `file`, or what the internal policy says.
    pub source: String,
    /// The full path of the file, if it is one.
    pub path: Option<String>,
    /// The `version` key.
    pub version: String,
    /// Brought by the agent itself.
    pub internal: bool,
    /// Loaded, partially loaded or rejected.
    pub status: Status,
    /// Its macros in file order.
    pub macros: Vec<MacroReport>,
    /// Its rules in file order.
    pub rules: Vec<RuleReport>,
    /// Errors of the file itself, outside any rule or macro.
    pub errors: Vec<LoadError>,
}

/// One rule.
#[derive(Debug, Clone, Serialize)]
pub struct RuleReport {
    /// The rule's id; empty where it has none.
    pub id: String,
    /// The `version` key.
    pub version: String,
    /// The expression as written.
    pub expression: String,
    /// The event type it is for, once known.
    pub event_type: Option<String>,
    /// In force, left out, or rejected.
    pub status: Status,
    /// Why it was left out.
    pub filter_type: Option<FilterType>,
    /// The same in words, with what decided it.
    pub filter_reason: Option<String>,
    /// The policy with the rule of the same id that this definition was merged into; such a definition is no rule of its own.
    pub merged_into: Option<String>,
    /// Names of later policies that define it as well, changed or not.
    pub modified_by: Vec<String>,
    /// `key:value` tags.
    pub tags: Vec<String>,
    /// The line of the rule in its file, from 1.
    pub line: usize,
    /// What is wrong with it. A loaded rule can have errors too: an action that was skipped.
    pub errors: Vec<LoadError>,
    /// What this build cannot do of it, though nothing is wrong: events and fields that are not captured.
    pub unavailable: Vec<String>,
    /// Its actions that this build checks but does not execute, by kind.
    pub not_executed: Vec<&'static str>,
}

/// One macro.
#[derive(Debug, Clone, Serialize)]
pub struct MacroReport {
    /// The macro's id.
    pub id: String,
    /// In force, left out, or rejected.
    pub status: Status,
    /// Why it was left out.
    pub filter_type: Option<FilterType>,
    /// The same in words, with what decided it.
    pub filter_reason: Option<String>,
    /// The line of the macro in its file, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub errors: Vec<LoadError>,
}

/// One error and its place in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoadError {
    /// The file or internal policy.
    pub file: String,
    /// The line in that file, from 1; 0 when it concerns the whole file.
    pub line: usize,
    /// The column in that line (characters, from 1); 0 when it concerns the whole file.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The source line and a line with carets beneath the place.
    pub snippet: Option<String>,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.file, self.message)
        } else {
            write!(
                f,
                "{}:{}:{}: {}",
                self.file, self.line, self.column, self.message
            )
        }
    }
}

impl LoadError {
    /// An error about a whole file or directory.
    pub(crate) fn whole(file: &str, message: String) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: 0,
            message,
            help: None,
            snippet: None,
        }
    }

    /// The error with its source line, carets and help, over several lines.
    pub fn render(&self) -> String {
        render(
            self.to_string(),
            self.snippet.as_deref(),
            self.help.as_deref(),
        )
    }
}

impl LoadReport {
    /// Every error, in load order.
    pub fn all_errors(&self) -> impl Iterator<Item = &LoadError> {
        self.errors
            .iter()
            .chain(self.policies.iter().flat_map(|policy| {
                policy
                    .errors
                    .iter()
                    .chain(policy.macros.iter().flat_map(|item| &item.errors))
                    .chain(policy.rules.iter().flat_map(|rule| &rule.errors))
            }))
    }

    /// Whether anything at all went wrong.
    pub fn has_errors(&self) -> bool {
        self.all_errors().next().is_some()
    }

    /// How many rules (what changes a rule of an earlier policy not counted) are in force, were left out, and were rejected.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for rule in self.policies.iter().flat_map(|policy| &policy.rules) {
            match rule.status {
                Status::Loaded if rule.merged_into.is_some() => {}
                Status::Loaded | Status::PartiallyLoaded => counts.loaded += 1,
                Status::Filtered => counts.filtered += 1,
                Status::Error => counts.rejected += 1,
            }
        }
        counts
    }
}

/// Numbers of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// In force.
    pub loaded: usize,
    /// Left out on purpose.
    pub filtered: usize,
    /// Rejected.
    pub rejected: usize,
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.errors {
            writeln!(f, "{}", error.render())?;
        }
        for policy in &self.policies {
            let loaded = policy
                .rules
                .iter()
                .filter(|rule| rule.status == Status::Loaded)
                .count();
            write!(f, "policy {}", policy.name)?;
            if !policy.version.is_empty() {
                write!(f, " {}", policy.version)?;
            }
            writeln!(
                f,
                " ({}): {loaded} of {} rules loaded",
                policy.source,
                policy.rules.len()
            )?;
            let errors = policy
                .errors
                .iter()
                .chain(policy.macros.iter().flat_map(|item| &item.errors))
                .chain(policy.rules.iter().flat_map(|rule| &rule.errors));
            for error in errors {
                for line in error.render().lines() {
                    writeln!(f, "  {line}")?;
                }
            }
        }
        let counts = self.counts();
        write!(
            f,
            "{} rules loaded, {} filtered, {} rejected, {} errors",
            counts.loaded,
            counts.filtered,
            counts.rejected,
            self.all_errors().count()
        )
    }
}
