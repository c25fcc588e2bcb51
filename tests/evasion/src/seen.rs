//! What was told of a row, and questions to it.

use std::collections::BTreeMap;
use std::path::Path;

use atalaya_e2e::at;
use serde_json::Value;

use crate::Row;

/// What is right in a few words, or what is wrong.
pub type Check = Result<String, String>;

/// A row's program that ran.
#[derive(Debug)]
pub struct Run {
    /// Its process id.
    pub pid: u32,
    /// What it says of itself: counts, inodes, the ids of other processes.
    pub facts: BTreeMap<String, String>,
}

/// A row's program and the events of the row's rules.
pub struct Seen<'a> {
    row: &'a Row,
    dir: &'a Path,
    run: &'a Run,
    events: Vec<&'a Value>,
}

impl<'a> Seen<'a> {
    /// Picks the row's events.
    #[must_use]
    pub fn new(row: &'a Row, dir: &'a Path, run: &'a Run, events: &'a [Value]) -> Self {
        let prefix = row.rule_id("");
        let events = events.iter().filter(|event| {
            at(event, "/agent/rule_id")
                .as_str()
                .is_some_and(|id| id.starts_with(&prefix))
        });
        Self {
            row,
            dir,
            run,
            events: events.collect(),
        }
    }

    /// The events of a rule.
    #[must_use]
    pub fn of(&self, rule: &str) -> Vec<&'a Value> {
        let id = self.row.rule_id(rule);
        let own = self
            .events
            .iter()
            .filter(|event| at(event, "/agent/rule_id") == &*id);
        own.copied().collect()
    }

    /// A path in the row's directory.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.dir.join(name).to_string_lossy().into_owned()
    }

    /// The id of the row's process.
    #[must_use]
    pub fn pid(&self) -> Value {
        self.run.pid.into()
    }

    /// What the program said of itself.
    pub fn fact(&self, name: &str) -> Result<&'a str, String> {
        let fact = self.run.facts.get(name);
        fact.map(String::as_str)
            .ok_or_else(|| format!("the program did not tell its {name}"))
    }

    /// A number that the program said.
    pub fn number(&self, name: &str) -> Result<u64, String> {
        let text = self.fact(name)?;
        text.parse()
            .map_err(|_| format!("{name} is not a number: {text}"))
    }

    /// An event of the rule with these values at these JSON pointers. What is wrong is told of the event that is nearest.
    pub fn told(&self, rule: &str, wanted: &[(&str, Value)]) -> Result<&'a Value, String> {
        let mut wrong = format!("{rule}: not told");
        let mut fewest = usize::MAX;
        for event in self.of(rule) {
            let off: Vec<_> = wanted
                .iter()
                .filter(|(pointer, value)| at(event, pointer) != value)
                .collect();
            if off.is_empty() {
                return Ok(event);
            }
            if off.len() < fewest {
                fewest = off.len();
                let (pointer, value) = off[0];
                wrong = format!("{rule}: {pointer} is {}, not {value}", at(event, pointer));
            }
        }
        Err(wrong)
    }

    /// As `told`, for a row that needs no more.
    pub fn simply(&self, rule: &str, wanted: &[(&str, Value)]) -> Check {
        self.told(rule, wanted).map(|_| format!("{rule} told"))
    }

    /// The rule told the row's file by its path in the row's directory, and by the inode that the program knows.
    pub fn file(&self, rule: &str, name: &str) -> Check {
        let event = self.told(rule, &[("/file/path", self.path(name).into())])?;
        if let Ok(inode) = self.number("inode")
            && at(event, "/file/inode") != inode
        {
            return Err(format!(
                "{rule}: inode {}, not {inode}",
                at(event, "/file/inode")
            ));
        }
        Ok(format!("{rule} of {name}"))
    }
}
