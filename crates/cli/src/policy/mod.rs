//! `runtime policy …`: commands on policy files, done here, and on what system-probe has loaded, asked of it.

mod check;
pub mod download;
mod eval;
mod explain;
mod load;
mod loaded;
mod reload;
mod report;
mod test;
mod trial;
mod typical;
mod values;

use std::borrow::Cow;
use std::process::ExitCode;

use anyhow::Result;
use atalaya_config::Config;
use clap::Subcommand;

pub(crate) use eval::find as find_rules;
pub(crate) use load::{LoadedFiles, load, load_if_any as load_policies};
pub(crate) use loaded::{errors, policy_line};
pub(crate) use trial::Trial;
pub(crate) use values::set as set_variables;

use crate::ask::patiently;

/// `runtime policy …`
#[derive(Subcommand, Debug)]
pub enum Policy {
    /// Check policy files, or what system-probe has loaded; exits with 1 when there are errors
    Check(check::Args),
    /// Try one rule, or one expression, on one event; prints the outcome as JSON
    Eval(eval::Args),
    /// Tell where a rule is decided and what it costs
    Explain(explain::Args),
    /// Run unit tests of rules; exits with 1 when one fails
    Test(test::Args),
    /// Let system-probe read the policy files again
    Reload(reload::Args),
    /// Get policies from the account's server
    Download(download::Args),
}

impl Policy {
    pub(crate) async fn run(&self, config: &Config) -> Result<ExitCode> {
        match self {
            Self::Check(args) if args.loaded_policies => {
                patiently(loaded::run(&config.socket, args.json, args.verbose)).await
            }
            Self::Check(args) => check::run(args, config),
            Self::Eval(args) => eval::run(args, config),
            Self::Explain(args) => explain::run(args, config).await,
            Self::Test(args) => test::run(args, config),
            // `Runtime::run` gives it to the program.
            Self::Download(_) => anyhow::bail!("policies are downloaded by security-agent"),
            Self::Reload(args) => patiently(reload::run(args, &config.socket)).await,
        }
    }
}

/// Sanitised, but still several lines.
pub(crate) fn lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// Sanitised where something would harm. What does not is left as it is, as expressions are: doubled backslashes would change
/// them, and move the carets below them.
fn plain(text: &str) -> Cow<'_, str> {
    match text.contains(atalaya_api::is_dangerous) {
        true => atalaya_api::sanitize(text),
        false => text.into(),
    }
}

/// `1 rule`, `2 rules`.
pub(crate) fn count(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// Prints the errors and makes the exit code of them.
pub(crate) fn verdict(errors: &[String]) -> ExitCode {
    if errors.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("Error: {} occurred:\n", count(errors.len(), "error"));
    for error in errors {
        eprintln!("{error}\n");
    }
    ExitCode::FAILURE
}
