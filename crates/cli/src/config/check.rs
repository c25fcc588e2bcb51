//! `config check`: what is wrong with configuration files, before a program is started with them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use atalaya_api::Sanitized;
use atalaya_config::{Config, Loaded, Origin, Problem, Program, Severity, Sources};
use atalaya_model::json::Scrubber;

use crate::Global;
use crate::ask::out;

/// Arguments of `config check`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  security-agent config check\n  system-probe config check -c /etc/atalaya\n  security-agent config check ./system-probe.yaml ./security-agent.yaml"
)]
pub(super) struct Args {
    /// Files to be checked by themselves, without the usual ones and without variables
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Tell also what is only good to know, as settings of the Datadog Agent without effect
    #[arg(long, short = 'v')]
    verbose: bool,
}

pub(super) fn run(args: &Args, global: &Global, program: Program) -> Result<ExitCode> {
    let sources = if args.files.is_empty() {
        global.sources(program)
    } else {
        Sources {
            files: args.files.iter().map(|f| (f.clone(), true)).collect(),
            ..Sources::default()
        }
    };
    let mut loaded = sources.load()?;
    let found = beyond_the_types(&loaded);
    loaded.problems.extend(found);
    let is_shown = |p: &&Problem| args.verbose || p.severity > Severity::Note;
    for problem in loaded.problems.iter().filter(is_shown) {
        out(&format!("{}\n", Sanitized(&problem.to_string())));
    }
    let of = |severity| {
        loaded
            .problems
            .iter()
            .filter(|p| p.severity == severity)
            .count()
    };
    let (errors, warnings, notes) = (
        of(Severity::Error),
        of(Severity::Warning),
        of(Severity::Note),
    );
    let files = match loaded.files.as_slice() {
        [] => "no file".to_owned(),
        files => {
            let names = files.iter().map(|file| file.display().to_string());
            names.collect::<Vec<_>>().join(", ")
        }
    };
    let hint = match notes {
        0 => String::new(),
        notes if args.verbose => format!(", {notes} notes"),
        notes => format!(", {notes} notes (--verbose shows them)"),
    };
    out(&format!(
        "{}: {} settings, {errors} errors, {warnings} warnings{hint}\n",
        Sanitized(&files),
        loaded.set.len()
    ));
    Ok(match errors + warnings {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// What is of the right type and still cannot work.
fn beyond_the_types(loaded: &Loaded) -> Vec<Problem> {
    let config = &loaded.config;
    let mut problems = Vec::new();
    let mut add = |severity, name: &str, text: String| {
        let key = atalaya_config::key(name);
        let (origin, place) = match key.map(|key| loaded.origin(key)) {
            Some(Origin::File(path, line)) => (path.display().to_string(), Some((*line, 1))),
            Some(other) => (other.to_string(), None),
            None => (name.to_owned(), None),
        };
        problems.push(Problem {
            severity,
            origin,
            place,
            text: format!("`{name}`: {text}"),
        });
    };
    if !config.policies_dir.is_dir() {
        let text = format!("there is no directory {}", config.policies_dir.display());
        add(
            Severity::Warning,
            "runtime_security_config.policies.dir",
            text,
        );
    }
    if let Err(error) = Scrubber::new(
        &config.custom_sensitive_words,
        &config.custom_sensitive_regexps,
    ) {
        let name = "event_monitoring_config.custom_sensitive_regexps";
        add(
            Severity::Error,
            name,
            format!("{error}; only the built-in words hide secrets"),
        );
    }
    if !(1..=65535).contains(&config.network_classifier_priority) {
        let name = "event_monitoring_config.network.classifier_priority";
        add(Severity::Error, name, "wants 1 to 65535".into());
    }
    if let Some(wrong) = config
        .network_namespaces
        .iter()
        .find(|n| n.parse::<u32>().is_err())
    {
        let name = "runtime_security_config.network.namespaces";
        add(
            Severity::Error,
            name,
            format!("{wrong:?} is no number of a namespace"),
        );
    }
    for (name, file) in [("security_agent.ca_file", &config.ca_file)] {
        if !file.is_empty() && !Path::new(file).is_file() {
            add(Severity::Error, name, format!("there is no file {file:?}"));
        }
    }
    exposed(loaded, config, &mut add);
    problems
}

/// A secret in a file that everybody may read.
fn exposed(loaded: &Loaded, config: &Config, add: &mut dyn FnMut(Severity, &str, String)) {
    for (name, is_set) in [
        ("api_key", !config.api_key.is_empty()),
        ("app_key", !config.app_key.is_empty()),
    ] {
        if let Some(key) = atalaya_config::key(name).filter(|_| is_set)
            && let Origin::File(path, _) = loaded.origin(key)
            && std::fs::metadata(path).is_ok_and(|file| file.mode() & 0o004 != 0)
        {
            let text = format!(
                "everybody on this host may read it there; `chmod o-r {}`, or give it as {}",
                path.display(),
                key.env()
            );
            add(Severity::Warning, name, text);
        }
    }
}
