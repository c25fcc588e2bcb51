//! `runtime why EVENT_ID`: which rule, which parts of its expression held and with which values, and who did it.
//!
//! Everything comes from the event as it was stored: this works when system-probe does not run, and on another host. An event tells less
//! than the rule saw (secrets are masked, of the environment there are names only), so a part may not hold on it; that is said.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use atalaya_api::{Sanitized, sanitize_json};
use atalaya_config::Config;
use atalaya_model::ValueEvent;
use atalaya_policy::{InternalPolicy, LoadError, VariableStore};
use atalaya_secl::{EvalContext, Evaluated};
use serde_json::{Map, Value, json};

use super::lineage;
use crate::ask::out;
use crate::line::{BOLD, DIM, RED, Style};
use crate::policy::{Trial, find_rules, load_policies, set_variables};
use crate::records::{Line, Lines, MAX_LINE, Stored, stored_files};

/// Arguments of `runtime why`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  runtime why 1234
  runtime why --file event.json
  runtime tail --count 1 --json | security-agent runtime why --file -

The number of an event is what `runtime tail` shows behind `#`, and `event_id` in the events file of security-agent.")]
#[command(group(clap::ArgGroup::new("which").required(true).multiple(true).args(["event_id", "file"])))]
pub struct Args {
    /// The number of the event
    #[arg(value_name = "EVENT_ID")]
    event_id: Option<u64>,
    /// A file of events, one JSON object a line; `-` is standard input; without EVENT_ID the last one counts [default:
    /// security_agent.events_file and its older ones]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Directory of the policy files, for macros and variables [default: runtime_security_config.policies.dir]
    #[arg(long, value_name = "DIR")]
    policies_dir: Option<PathBuf>,
    /// As JSON
    #[arg(long, short)]
    json: bool,
}

/// The name and the id under which the event's own expression is loaded.
const NAME: &str = "event";
const ID: &str = "__rule_of_event";

/// Tells it.
pub(crate) fn run(args: &Args, config: &Config, color: bool) -> Result<ExitCode> {
    let stored = read(args, config)?;
    let answer = explain(&stored, args, config)?;
    if args.json {
        let text = serde_json::to_string_pretty(&answer.json())?;
        out(&format!("{}\n", sanitize_json(&text)));
    } else {
        out(&answer.text(Style { color }));
    }
    Ok(ExitCode::SUCCESS)
}

fn read(args: &Args, config: &Config) -> Result<Stored> {
    let files = match &args.file {
        Some(file) => vec![file.clone()],
        None => stored_files(config),
    };
    let mut error = None;
    for file in &files {
        match search(file, args.event_id) {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            Err(e) => error = error.or(Some(e)),
        }
    }
    let names: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
    if let Some(error) = error {
        return Err(error);
    }
    match args.event_id {
        Some(id) => bail!(
            "there is no event {id} in {}; it is rotated away, or not stored yet (`runtime tail` shows the numbers of events)",
            names.join(", ")
        ),
        None => bail!("there is no event in {}", names.join(", ")),
    }
}

/// The event with this number, else the last one: a spool that was made anew begins to count anew, and the newest is meant.
fn search(path: &Path, id: Option<u64>) -> Result<Option<Stored>> {
    let name = || format!("cannot read the events in {}", path.display());
    let mut lines = Lines::open(path).with_context(name)?;
    let key = id.map(|id| format!("\"event_id\":{id},"));
    let (mut found, mut all) = (None, Vec::new());
    while let Some(line) = lines.next().with_context(name)? {
        let Line::Whole(line) = line else {
            bail!(
                "a line of {} is longer than {} MiB",
                path.display(),
                MAX_LINE >> 20
            );
        };
        let text = String::from_utf8_lossy(line);
        // Most lines are of others: parsed is what may be meant.
        if key.as_ref().is_some_and(|key| !text.contains(key)) {
            continue;
        }
        match Stored::parse(line) {
            Some(stored) if id.is_none() || stored.id == id => found = Some(stored),
            Some(_) => {}
            None if found.is_none() && (all.len() as u64) < MAX_LINE => {
                all.extend_from_slice(line);
            }
            None => {}
        }
    }
    // One event over several lines, for people to read.
    let whole = || Stored::parse(&all);
    Ok(found.or_else(|| whole().filter(|stored| id.is_none() || stored.id == id)))
}

/// What is known.
struct Answer {
    id: Option<u64>,
    event: Value,
    rule: String,
    expression: String,
    /// Why the parts are not known.
    problem: Option<String>,
    parts: Vec<Evaluated>,
    /// The rule of this id says something else by now, or is gone.
    changed: Option<&'static str>,
}

fn explain(stored: &Stored, args: &Args, config: &Config) -> Result<Answer> {
    let event = stored.event.clone();
    let rule = event.pointer("/agent/rule_id").and_then(Value::as_str);
    let rule = rule.unwrap_or_default().to_owned();
    let expression = event
        .pointer("/evt/rule_context/expression")
        .and_then(Value::as_str);
    let Some(expression) = expression.map(str::to_owned) else {
        match event["evt"]["name"].as_str() {
            Some(_) => bail!("the event does not tell the expression of its rule `{rule}`"),
            None => bail!(
                "this is an event of the agent's own (`{rule}`): no rule matched, there is nothing to explain"
            ),
        }
    };
    let mut answer = Answer {
        id: stored.id,
        rule,
        expression,
        problem: None,
        parts: Vec::new(),
        changed: None,
        event,
    };
    if let Err(error) = answer.evaluate(args, config) {
        answer.problem = Some(atalaya_api::chain(error.as_ref()));
    }
    Ok(answer)
}

impl Answer {
    fn evaluate(&mut self, args: &Args, config: &Config) -> Result<()> {
        let (event_type, mut values) =
            ValueEvent::written(&self.event).context("this is no event as the agent writes it")?;
        if let Some(time) = values.get("event.timestamp").cloned() {
            values.insert("now".to_owned(), time);
        }
        let (event, now_ns) = Trial::new(&event_type, &values).map_err(anyhow::Error::msg)?;
        let block: String = self
            .expression
            .lines()
            .map(|line| format!("      {line}\n"))
            .collect();
        let policy = InternalPolicy {
            name: NAME.to_owned(),
            source: NAME.to_owned(),
            content: format!("rules:\n  - id: {ID}\n    expression: |2-\n{block}"),
        };
        let loaded = load_policies(args.policies_dir.as_deref(), config, vec![policy])?;
        let errors = loaded.report.all_errors().filter(|e| e.file == NAME);
        let errors: Vec<String> = errors.map(LoadError::to_string).collect();
        ensure!(
            errors.is_empty(),
            "its expression cannot be used with the policies of now: {}",
            errors.join("; ")
        );
        let mut store = VariableStore::new(loaded.rules.variables());
        let mut bound = store.bind(&event, now_ns);
        for (name, value) in variables(&self.event) {
            let one = json!({ name: value });
            // One that no rule sets any more cannot be read either.
            let _ = set_variables(&mut bound, &event, &loaded.rules, &one);
        }
        let mut rules = find_rules(&loaded.rules, ID);
        let rule = rules
            .find(|rule| rule.event_type == event_type)
            .with_context(|| format!("its expression is about no {event_type} events"))?;
        let context = EvalContext {
            now_ns,
            variables: &bound,
        };
        self.parts = rule.program().evaluated(&event, &context);
        let now: Vec<_> = find_rules(&loaded.rules, &self.rule).collect();
        self.changed = if now.is_empty() {
            Some("the policies of now have no such rule")
        } else if now.iter().any(|rule| rule.expression == self.expression) {
            None
        } else {
            Some("the rule says something else now")
        };
        Ok(())
    }

    fn at(&self, pointer: &str) -> &str {
        let text = self.event.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_default()
    }

    // Writing to a string cannot fail, so results are dropped.
    fn text(&self, style: Style) -> String {
        let mut text = String::new();
        let id = self.id.map_or_else(String::new, |id| format!(" #{id}"));
        let outcome = self.at("/evt/outcome");
        let head = format!(
            "Event{id}: {} at {}, {outcome}",
            self.at("/evt/name"),
            self.at("/date")
        );
        let _ = writeln!(text, "{}", style.paint(BOLD, &Sanitized(&head).to_string()));
        let mut row = |name: &str, value: &str| {
            if !value.is_empty() {
                let _ = writeln!(text, "{name}: {}", Sanitized(value));
            }
        };
        let version = self.at("/agent/rule_version");
        row("Rule", format!("{} {version}", self.rule).trim_end());
        row("Title", self.at("/title"));
        let policy = format!(
            "{} {}",
            self.at("/agent/policy_name"),
            self.at("/agent/policy_version")
        );
        row("Policy", policy.trim());
        row("Note", self.changed.unwrap_or_default());
        let _ = writeln!(text, "\n{}", style.paint(BOLD, "Expression"));
        for line in self.expression.lines() {
            let _ = writeln!(text, "  {}", Sanitized(line));
        }
        let _ = writeln!(text, "\n{}", style.paint(BOLD, "Why it matched"));
        if let Some(problem) = &self.problem {
            let _ = writeln!(text, "  not known: {}", Sanitized(problem));
        }
        for part in &self.parts {
            let mark = if part.holds { "✓" } else { "?" };
            let _ = writeln!(text, "  {mark} {}", Sanitized(&part.text));
            for alternative in &part.alternatives {
                let _ = writeln!(text, "      because {}", Sanitized(alternative));
            }
            for (name, values) in &part.values {
                let values = match values.is_empty() {
                    true => "(nothing)".to_owned(),
                    false => values.join(", "),
                };
                let line = format!("      {name} = {values}");
                let _ = writeln!(text, "{}", style.paint(DIM, &Sanitized(&line).to_string()));
            }
        }
        if self.parts.iter().any(|part| !part.holds) {
            let why = "  ? the rule saw more than the event tells (masked secrets, values of environment variables, variables of that moment)";
            let _ = writeln!(text, "{}", style.paint(RED, why));
        }
        let _ = writeln!(text, "\n{}", style.paint(BOLD, "Who did it"));
        for (depth, link) in lineage::of(&self.event).iter().enumerate() {
            let branch = match depth {
                0 => String::new(),
                depth => format!("{}└─ ", "   ".repeat((depth - 1).min(40))),
            };
            let path = Sanitized(&link.path).to_string();
            let _ = writeln!(text, "  {branch}{link}  {}", style.paint(DIM, &path));
        }
        let user = self.at("/process/user");
        let container = self.at("/container/id");
        for (name, value) in [("User", user), ("Container", container)] {
            if !value.is_empty() {
                let _ = writeln!(text, "  {name}: {}", Sanitized(value));
            }
        }
        let actions = self.event.pointer("/agent/rule_actions");
        if let Some(actions) = actions.filter(|actions| !actions.is_null()) {
            let actions = sanitize_json(&actions.to_string()).to_string();
            let _ = writeln!(text, "\n{}\n  {actions}", style.paint(BOLD, "Actions"));
        }
        text
    }

    fn json(&self) -> Value {
        let parts: Vec<Value> = self
            .parts
            .iter()
            .map(|part| {
                let values: Map<String, Value> = part
                    .values
                    .iter()
                    .map(|(name, values)| (name.clone(), values.clone().into()))
                    .collect();
                json!({
                    "expression": part.text,
                    "holds": part.holds,
                    "alternatives": part.alternatives,
                    "values": values,
                })
            })
            .collect();
        let lineage = lineage::of(&self.event);
        let lineage: Vec<Value> = lineage
            .iter()
            .map(|link| json!({"pid": link.pid, "comm": link.comm, "path": link.path}))
            .collect();
        json!({
            "event_id": self.id,
            "rule_id": self.rule,
            "event_type": self.at("/evt/name"),
            "date": self.at("/date"),
            "expression": self.expression,
            "note": self.changed,
            "error": self.problem,
            "parts": parts,
            "lineage": lineage,
        })
    }
}

/// The variables that an event tells of, by the names that rules call them.
fn variables(event: &Value) -> Vec<(String, Value)> {
    let scopes = [
        ("/evt/variables", ""),
        ("/process/variables", "process."),
        ("/container/variables", "container."),
        ("/cgroup/variables", "cgroup."),
    ];
    let mut all = Vec::new();
    for (place, prefix) in scopes {
        for (name, value) in event
            .pointer(place)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            all.push((format!("{prefix}{name}"), value.clone()));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use std::fs::File;
    use std::io::Write;

    fn stored(id: u64, expression: &str) -> String {
        let event = json!({
            "agent": {"rule_id": "my_rule", "policy_name": "p.policy"},
            "title": "a \u{1b}[2Jtitle",
            "evt": {"name": "open", "outcome": "Success", "rule_context": {"expression": expression}},
            "date": "2026-11-23T09:08:07.123456789Z",
            "file": {"path": "/etc/shadow", "flags": ["O_WRONLY"]},
            "process": {"comm": "cat", "pid": 12, "ancestors": [{"pid": 1, "comm": "init"}]},
        });
        json!({"event_id": id, "message": event}).to_string() + "\n"
    }

    /// Asks for an event of a file with these lines.
    fn ask(lines: &str, id: Option<u64>) -> Result<Answer> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("events.jsonl");
        File::create(&file)
            .unwrap()
            .write_all(lines.as_bytes())
            .unwrap();
        let config = Config {
            events_file: file,
            policies_dir: dir.path().join("none"),
            ..Config::default()
        };
        let args = Args {
            event_id: id,
            file: None,
            policies_dir: None,
            json: false,
        };
        explain(&read(&args, &config)?, &args, &config)
    }

    #[test]
    fn each_part_is_told_with_what_it_looked_at() {
        let expression = "open.file.path in [\"/etc/shadow\", \"/etc/gshadow\"] && \
                          (process.comm == \"dog\" || process.comm == \"cat\") && process.envs in [\"A\"]";
        let answer = ask(
            &(stored(7, "open.flags > 5") + &stored(8, expression)),
            Some(8),
        )
        .unwrap();
        assert_eq!(answer.problem, None);
        let text = answer.text(Style { color: false });
        for part in [
            "Event #8: open at 2026-11-23T09:08:07.123456789Z, Success",
            "✓ open.file.path in ",
            "open.file.path = \"/etc/shadow\"",
            "process.comm = \"cat\"",
            "? process.envs == \"A\"",
            "init(1)",
            "└─ cat(12)",
            "no such rule",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(
            !text.contains(|c| c != '\n' && atalaya_api::is_dangerous(c)),
            "{text}"
        );
        let json = answer.json();
        assert_eq!(json["parts"].as_array().unwrap().len(), 3, "{json:#}");
        assert_eq!(json["lineage"][1]["pid"], 12);
    }

    #[test]
    fn the_last_of_a_number_counts_and_none_is_an_error() {
        let lines = stored(7, "open.flags > 5") + &stored(7, "open.flags > 0") + "rubbish\n";
        assert_eq!(ask(&lines, Some(7)).unwrap().expression, "open.flags > 0");
        let error = ask(&lines, Some(9)).err().unwrap().to_string();
        assert!(error.contains("there is no event 9 in "), "{error}");
        // Not that of another that has it as its beginning.
        assert!(ask(&stored(70, "open.flags > 0"), Some(7)).is_err());
    }

    #[test]
    fn what_cannot_be_explained_is_told() {
        let answer = ask(&stored(7, "open.nothing == 1"), Some(7)).unwrap();
        let problem = answer.problem.unwrap();
        assert!(problem.contains("open.nothing"), "{problem}");
        let own =
            json!({"event_id": 3, "message": {"agent": {"rule_id": "heartbeat"}}}).to_string();
        let error = ask(&(own + "\n"), Some(3)).err().unwrap().to_string();
        assert!(error.contains("the agent's own (`heartbeat`)"), "{error}");
    }
}
