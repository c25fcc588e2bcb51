//! An event that a rule matched.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::file::FileJson;
use super::process::{CgroupJson, ContainerJson, ProcessJson};
use super::{AgentContext, AgentJson, Scrubber, Time, is_false, to_vec};
use crate::event::{Event, EventData};
use crate::fields::Cx;
use crate::file::File;
use crate::process::Target;
use crate::types::{Category, event_type};

const EACCES: i64 = 13;
const EPERM: i64 = 1;

/// What is said of the rule that matched.
#[derive(Debug, Clone, Default)]
pub struct RuleContext<'a> {
    /// The id under which the rule is reported: of its group, where it was made from one.
    pub rule_id: &'a str,
    /// The id of the rule itself, for the tags; empty where it is the same.
    pub source_rule_id: &'a str,
    /// The rule's version, or empty.
    pub rule_version: &'a str,
    /// What it is about, for the title; the id where it is empty.
    pub description: &'a str,
    /// The policy's name.
    pub policy_name: &'a str,
    /// The policy's version.
    pub policy_version: &'a str,
    /// The rule's tags.
    pub tags: Option<&'a BTreeMap<String, String>>,
    /// The expression, for `evt.rule_context`; empty to leave it out.
    pub expression: &'a str,
    /// Which parts of the expression matched.
    pub matched: &'a [MatchedPart],
    /// What the rule's actions did.
    pub actions: &'a [Value],
    /// The variables that are set.
    pub variables: Option<&'a EventVariables>,
}

/// The values of variables, by the part of the event that they are written in. Values must be scrubbed already.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EventVariables {
    /// Those of the whole rule set: `evt.variables`.
    pub global: serde_json::Map<String, Value>,
    /// Those of the process: `process.variables`.
    pub process: serde_json::Map<String, Value>,
    /// Those of its container: `container.variables`.
    pub container: serde_json::Map<String, Value>,
    /// Those of its cgroup: `cgroup.variables`.
    pub cgroup: serde_json::Map<String, Value>,
}

/// The values of one scope, if there are any.
fn some<'a>(
    variables: Option<&'a EventVariables>,
    scope: impl Fn(&'a EventVariables) -> &'a serde_json::Map<String, Value>,
) -> Option<&'a serde_json::Map<String, Value>> {
    variables.map(scope).filter(|values| !values.is_empty())
}

/// A part of an expression that matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MatchedPart {
    /// Where it begins, in bytes.
    pub offset: usize,
    /// Its length in bytes.
    pub length: usize,
    /// The event's value.
    pub value: String,
    /// The field.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

#[derive(Serialize)]
struct EventJson<'a> {
    agent: AgentJson<'a>,
    title: &'a str,
    evt: EvtJson<'a>,
    date: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<FileJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<ExitJson>,
    process: ProcessJson<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<ContainerJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<CgroupJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usr: Option<UserJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    syscall: Option<BTreeMap<&'static str, Value>>,
    #[serde(flatten)]
    sections: BTreeMap<&'static str, Value>,
}

/// What is an event's own in its JSON: beside process, container and rule.
pub(crate) struct Details<'a> {
    cx: Cx<'a>,
    file: Option<FileJson<'a>>,
    sections: BTreeMap<&'static str, Value>,
    syscall: Option<Value>,
    scrubber: &'a Scrubber,
    credentials_after: Option<Value>,
}

impl<'a> Details<'a> {
    /// Where names are looked up.
    pub(crate) fn cx(&self) -> Cx<'a> {
        self.cx
    }

    /// A process that something is done to, with its ancestors.
    pub(crate) fn process(&self, target: Option<&'a Target>) -> Option<Value> {
        let process = ProcessJson::new(&target?.process, self.cx.context, self.scrubber);
        serde_json::to_value(process).ok()
    }

    /// What the process may do from now on, beside what it might until now.
    pub(crate) fn credentials_after(&mut self, credentials: Value) {
        self.credentials_after = Some(credentials);
    }

    /// An object of the event: `bind`, `signal`, `mount`.
    pub(crate) fn section(&mut self, name: &'static str, value: Value) {
        self.sections.insert(name, value);
    }

    /// The file of the event; more can be said of it.
    pub(crate) fn file(&mut self, file: &'a File) -> &mut FileJson<'a> {
        self.file.insert(FileJson::new(file, self.cx))
    }

    /// A second file of the event: the name that the file gets.
    pub(crate) fn destination(&mut self, file: &'a File) {
        let destination = FileJson::new(file, self.cx);
        if let Some(file) = &mut self.file {
            file.destination = Some(Box::new(destination));
        }
    }

    /// The arguments of the call, in the caller's words: `syscall.<event>`. Texts that the call does not have are left out.
    pub(crate) fn syscall(&mut self, mut arguments: Value) {
        if let Value::Object(arguments) = &mut arguments {
            arguments.retain(|_, value| value != "");
        }
        self.syscall = Some(arguments);
    }

    /// A file, for an object of the event.
    pub(crate) fn file_json(&self, file: &'a File) -> Value {
        serde_json::to_value(FileJson::new(file, self.cx)).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct EvtJson<'a> {
    name: &'static str,
    category: &'static str,
    outcome: &'static str,
    #[serde(rename = "async", skip_serializing_if = "is_false")]
    is_async: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    variables: Option<&'a serde_json::Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule_context: Option<RuleContextJson<'a>>,
}

#[derive(Serialize)]
struct RuleContextJson<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    matching_subexprs: &'a [MatchedPart],
    #[serde(skip_serializing_if = "str::is_empty")]
    expression: &'a str,
}

#[derive(Serialize)]
struct ExitJson {
    cause: &'static str,
    code: u32,
}

#[derive(Serialize)]
struct UserJson {
    #[serde(skip_serializing_if = "str::is_empty")]
    id: Arc<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    group: Arc<str>,
}

/// The event as one JSON object, without a newline at its end.
#[must_use]
pub fn serialize_event(event: &Event, rule: &RuleContext<'_>, agent: &AgentContext) -> Vec<u8> {
    to_vec(&EventJson::new(event, rule, agent))
}

/// The event as a value, for those who look into it.
#[must_use]
pub fn to_value(event: &Event, rule: &RuleContext<'_>, agent: &AgentContext) -> Value {
    serde_json::to_value(EventJson::new(event, rule, agent)).unwrap_or_default()
}

/// What goes beside the event: the rule's ids and tags, and the event type.
#[must_use]
pub fn event_tags(event_type: &str, rule: &RuleContext<'_>) -> Vec<String> {
    let source = match rule.source_rule_id {
        "" => rule.rule_id,
        id => id,
    };
    let mut tags = vec![
        format!("rule_id:{}", rule.rule_id),
        format!("source_rule_id:{source}"),
    ];
    let own = rule.tags.into_iter().flatten();
    tags.extend(own.map(|(key, value)| format!("{key}:{value}")));
    tags.push(format!("type:{event_type}"));
    tags
}

impl<'a> EventJson<'a> {
    fn new(event: &'a Event, rule: &'a RuleContext<'a>, agent: &'a AgentContext) -> Self {
        let cx = Cx::new(&event.context, &event.process);
        let variables = rule.variables;
        let mut details = Details {
            cx,
            file: executable(event, cx),
            sections: BTreeMap::new(),
            syscall: None,
            scrubber: &agent.scrubber,
            credentials_after: None,
        };
        event.data.tell(&mut details);
        let mut process = ProcessJson::new(&event.process, &event.context, &agent.scrubber);
        process.variables = some(variables, |all| &all.process);
        process.credentials.destination = details.credentials_after;
        let usr = (!process.user.is_empty() || !process.group.is_empty()).then(|| UserJson {
            id: process.user.clone(),
            group: process.group.clone(),
        });
        Self {
            agent: AgentJson {
                rule_version: rule.rule_version,
                rule_actions: rule.actions,
                policy_name: rule.policy_name,
                policy_version: rule.policy_version,
                ..AgentJson::new(agent, rule.rule_id)
            },
            title: match rule.description {
                "" => rule.rule_id,
                description => description,
            },
            evt: EvtJson::new(event, rule),
            date: Time(event.time_ns),
            file: details.file,
            exit: match &event.data {
                EventData::Exit(exit) => Some(ExitJson {
                    cause: exit.cause.name(),
                    code: exit.code,
                }),
                _ => None,
            },
            usr,
            container: event.process.container.as_deref().map(|container| {
                let mut json = ContainerJson::new(container);
                json.variables = some(variables, |all| &all.container);
                json
            }),
            cgroup: CgroupJson::new(&event.process.cgroup).map(|mut json| {
                json.variables = some(variables, |all| &all.cgroup);
                json
            }),
            syscall: details
                .syscall
                .map(|args| BTreeMap::from([(event.event_type(), args)])),
            sections: details.sections,
            process,
        }
    }
}

impl<'a> EvtJson<'a> {
    fn new(event: &Event, rule: &'a RuleContext<'a>) -> Self {
        let has_context = !rule.expression.is_empty() || !rule.matched.is_empty();
        Self {
            name: event.event_type(),
            category: category(event),
            outcome: outcome(event.data.retval().unwrap_or(0)),
            is_async: event.is_async,
            variables: some(rule.variables, |all| &all.global),
            rule_context: has_context.then_some(RuleContextJson {
                matching_subexprs: rule.matched,
                expression: rule.expression,
            }),
        }
    }
}

fn category(event: &Event) -> &'static str {
    let category = event_type(event.event_type()).map_or(Category::Kernel, |known| known.category);
    category.activity()
}

/// The reference's three words.
fn outcome(retval: i64) -> &'static str {
    match -retval {
        EACCES | EPERM => "Refused",
        error if error > 0 => "Error",
        _ => "Success",
    }
}

/// The executable of a process that began or ended; other events tell their file by themselves.
fn executable<'a>(event: &'a Event, cx: Cx<'_>) -> Option<FileJson<'a>> {
    if !matches!(event.data, EventData::Exec(_) | EventData::Exit(_)) {
        return None;
    }
    let file = &event.process.image.file;
    (!file.path.is_empty() || file.known).then(|| FileJson::new(file, cx))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes() {
        assert_eq!(outcome(0), "Success");
        assert_eq!(outcome(7), "Success");
        assert_eq!(outcome(-13), "Refused");
        assert_eq!(outcome(-1), "Refused");
        assert_eq!(outcome(-2), "Error");
    }
}
