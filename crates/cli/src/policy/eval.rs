//! `runtime policy eval`: one rule, or one expression, tried on one event.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use atalaya_api::sanitize_json;
use atalaya_config::Config;
use atalaya_model::ValueEvent;
use atalaya_policy::{InternalPolicy, LoadError, Rule, RuleSet, Scratch, VariableStore};
use atalaya_secl::{EvalContext, Span, line_column, snippet};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::lines;
use super::load::{Files, LoadedFiles};
use super::trial::Trial;
use super::values;
use crate::ask::out;

#[derive(clap::Args, Debug)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["rule_id", "expression"])))]
pub struct Args {
    #[command(flatten)]
    files: Files,
    /// The rule
    #[arg(long, value_name = "ID")]
    rule_id: Option<String>,
    /// An expression instead of a rule. It may use the policies' macros and variables
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    expression: Option<String>,
    /// The type of the event, where the event file has none
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,
    /// The event as JSON, `{"type": …, "values": {…}}` or as the agent wrote it; `-` is standard input
    #[arg(long, value_name = "FILE")]
    event_file: PathBuf,
    /// What each part of the expression was worth
    #[arg(long)]
    debug: bool,
    /// Accepted: the report is JSON
    #[arg(long)]
    json: bool,
}

/// The largest event file, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// The report, in the order and with the names of the reference's.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Report {
    succeeded: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    event: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expression: Option<String>,
    /// Of each rule that the id stands for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parts: Vec<Part>,
}

/// A part of an expression, all of which must hold.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Part {
    expression: String,
    holds: bool,
    /// What it looked at, where it does not hold: fields and variables with the first of their values.
    #[serde(skip_serializing_if = "Map::is_empty")]
    values: Map<String, Value>,
}

/// Tries the rule. That it does not match is no failure.
pub(crate) fn run(args: &Args, config: &Config) -> Result<ExitCode> {
    let document = read_event(&args.event_file)?;
    let mut report = evaluate(args, config, &document).unwrap_or_else(|error| Report {
        error: Some(atalaya_api::chain(error.as_ref())),
        ..Report::default()
    });
    report.event = document;
    let text = serde_json::to_string_pretty(&report)?;
    out(&format!("{}\n", sanitize_json(&text)));
    if let Some(error) = report.error {
        eprintln!("Error: {}", lines(&error));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn read_event(path: &Path) -> Result<Value> {
    let mut bytes = Vec::new();
    let name = path.display();
    if path == Path::new("-") {
        let read = std::io::stdin().lock().take(MAX_FILE + 1);
        { read }
            .read_to_end(&mut bytes)
            .context("cannot read the event from standard input")?;
    } else {
        let file = std::fs::File::open(path)
            .with_context(|| format!("cannot read the event file {name}"))?;
        ensure!(
            !file.metadata().is_ok_and(|m| m.is_dir()),
            "the event file {name} is a directory"
        );
        file.take(MAX_FILE + 1)
            .read_to_end(&mut bytes)
            .with_context(|| format!("cannot read the event file {name}"))?;
    }
    ensure!(
        bytes.len() as u64 <= MAX_FILE,
        "the event file {name} is larger than {} MiB",
        MAX_FILE >> 20
    );
    let document: Value = serde_json::from_slice(&bytes).with_context(|| {
        format!(
            "the event file {name} is not JSON such as {}",
            r#"{"type": "open", "values": {"open.file.path": "/etc/passwd"}}"#
        )
    })?;
    // An event that the agent wrote to its output, with what can be told of it.
    Ok(match ValueEvent::written(&document) {
        Some((event_type, values)) => json!({"type": event_type, "values": values}),
        None => document,
    })
}

/// The name under which an expression is loaded, for its errors.
const EXPRESSION: &str = "expression";
/// The id of its rule, which should be none of the policies'.
const EXPRESSION_ID: &str = "__expression_of_eval";

fn evaluate(args: &Args, config: &Config, document: &Value) -> Result<Report> {
    let event_type = event_type(args, document)?;
    let none = Map::new();
    let given = match &document["values"] {
        Value::Object(values) => values,
        Value::Null => &none,
        _ => bail!("`values` of the event file is not a map of fields"),
    };
    let (event, now_ns) = Trial::new(event_type, given).map_err(anyhow::Error::msg)?;
    let (loaded, id) = load(args, config)?;
    let mut store = VariableStore::new(loaded.rules.variables());
    let mut bound = store.bind(&event, now_ns);
    values::set(&mut bound, &event, &loaded.rules, &document["variables"])?;
    let rules = rules_of(&loaded, id, event_type)?;

    let mut matched = false;
    let mut scratch = Scratch::default();
    loaded.rules.evaluate(
        event_type,
        &event,
        now_ns,
        &mut bound,
        &mut scratch,
        |_, rule| matched |= rule.written_id == id,
    );
    let context = EvalContext {
        now_ns,
        variables: &bound,
    };
    let parts = match args.debug {
        true => rules
            .iter()
            .flat_map(|rule| parts(rule, &event, &context))
            .collect(),
        false => Vec::new(),
    };
    Ok(Report {
        parts,
        succeeded: matched,
        rule: args.rule_id.clone(),
        expression: rules.first().map(|rule| rule.expression.clone()),
        ..Report::default()
    })
}

/// What each part of a rule was worth.
fn parts(rule: &Rule, event: &Trial, context: &EvalContext<'_>) -> Vec<Part> {
    let failed = rule.why_not(event, context);
    rule.program()
        .terms()
        .into_iter()
        .map(|term| {
            let failure = failed.iter().find(|failed| failed.text == term.text);
            let values = failure.map_or(&[][..], |failure| &failure.values);
            Part {
                expression: term.text,
                holds: failure.is_none(),
                values: values
                    .iter()
                    .map(|(name, values)| (name.clone(), values.clone().into()))
                    .collect(),
            }
        })
        .collect()
}

fn event_type<'a>(args: &'a Args, document: &'a Value) -> Result<&'a str> {
    let in_file = match &document["type"] {
        Value::String(name) => Some(name.as_str()),
        Value::Null => None,
        _ => bail!("`type` of the event file is not the name of an event type"),
    };
    match (&args.event_type, in_file) {
        (Some(wanted), Some(name)) if wanted != name => {
            bail!("the event of the file is of type {name}, not {wanted}")
        }
        (Some(name), _) => Ok(name),
        (None, Some(name)) => Ok(name),
        (None, None) => bail!("the event file has no `type`, and there is no --event-type"),
    }
}

/// The policies, and the id of the rule in question.
fn load<'a>(args: &'a Args, config: &Config) -> Result<(LoadedFiles, &'a str)> {
    let Some(expression) = &args.expression else {
        let id = args.rule_id.as_deref().unwrap_or_default();
        return Ok((args.files.load(config, Vec::new())?, id));
    };
    // A block of YAML whose indentation is told holds any text as it is, but for control characters.
    let plain = expression.replace("\r\n", "\n");
    if let Some(at) = plain.find(|ch: char| ch.is_control() && !matches!(ch, '\n' | '\t')) {
        let (line, column) = line_column(&plain, at);
        let ch = plain[at..].chars().next().unwrap_or_default();
        let shown = snippet(&plain, Span::new(at, at + ch.len_utf8()), line);
        bail!(
            "{EXPRESSION}:{line}:{column}: syntax error: unexpected character `{}`\n{shown}",
            ch.escape_default()
        );
    }
    let block: String = expression
        .lines()
        .map(|line| format!("      {line}\n"))
        .collect();
    let policy = InternalPolicy {
        name: EXPRESSION.to_owned(),
        source: EXPRESSION.to_owned(),
        content: format!("rules:\n  - id: {EXPRESSION_ID}\n    expression: |2-\n{block}"),
    };
    let loaded = args.files.load_if_any(config, vec![policy])?;
    let errors: Vec<_> = loaded
        .report
        .all_errors()
        .filter(|error| error.file == EXPRESSION)
        .map(|error| in_expression(error, expression).render())
        .collect();
    ensure!(errors.is_empty(), "{}", errors.join("\n"));
    Ok((loaded, EXPRESSION_ID))
}

/// An error with its place in the expression, instead of that in the policy that was made of it.
fn in_expression(error: &LoadError, expression: &str) -> LoadError {
    let (line, column) = match error.line.checked_sub(4) {
        Some(line) => (line, error.column.saturating_sub(7)),
        None => (0, 0),
    };
    let text = expression.lines().nth(line).unwrap_or_default();
    let offset = |column| {
        text.char_indices()
            .nth(column)
            .map_or(text.len(), |(at, _)| at)
    };
    let carets = error
        .snippet
        .iter()
        .flat_map(|text| text.rsplit('\n').next());
    let width: usize = carets.map(|text| text.matches('^').count()).sum();
    let span = Span::new(offset(column), offset(column + width));
    let wrapper = format!("rule `{EXPRESSION_ID}` error: ");
    LoadError {
        line: line + 1,
        column: column + 1,
        message: error.message.replacen(&wrapper, "", 1),
        snippet: Some(snippet(text, span, line + 1)),
        ..error.clone()
    }
}

/// The rules of this id for this type of event: one, or several of one group that `fim.write` stands for.
fn rules_of<'a>(loaded: &'a LoadedFiles, id: &str, event_type: &str) -> Result<Vec<&'a Rule>> {
    let all: Vec<_> = find(&loaded.rules, id).collect();
    if all.is_empty() {
        bail!("{}", loaded.missing(id));
    }
    let fitting: Vec<_> = all
        .iter()
        .copied()
        .filter(|rule| rule.event_type == event_type)
        .collect();
    if fitting.is_empty() {
        let types: Vec<_> = all.iter().map(|rule| rule.event_type.as_str()).collect();
        bail!(
            "the rule `{id}` is for events of type {}, and this one is of type {event_type}",
            types.join(", ")
        );
    }
    Ok(fitting)
}

/// The rules that the id stands for.
pub(crate) fn find<'a>(rules: &'a RuleSet, id: &str) -> impl Iterator<Item = &'a Rule> {
    rules
        .rules()
        .iter()
        .filter(move |rule| rule.written_id == id)
}
