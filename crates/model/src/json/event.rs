//! An event that a rule matched.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::file::FileJson;
use super::process::{CgroupJson, ContainerJson, ProcessJson};
use super::{AgentContext, AgentJson, Scrubber, Time, is_false, to_vec};
use crate::constants::{open_flag_names, unlink_flag_names};
use crate::event::{Event, EventData, id_argument};
use crate::fields::Cx;
use crate::file::File;
use crate::process::Target;
use crate::types::{Category, event_type};

const EACCES: i64 = 13;
const EPERM: i64 = 1;
const O_CREAT: u32 = 0o100;

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

    /// The file of the event.
    pub(crate) fn file(&mut self, file: &'a File) {
        self.file = Some(FileJson::new(file, self.cx));
    }

    /// The arguments of the call, in the caller's words: `syscall.<event>`.
    pub(crate) fn syscall(&mut self, arguments: Value) {
        self.syscall = Some(arguments);
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

#[derive(Serialize, Default)]
struct SyscallJson<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gid: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dirfd: Option<i32>,
    #[serde(skip_serializing_if = "str::is_empty")]
    destination_path: &'a str,
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
            file: file(event, cx),
            sections: BTreeMap::new(),
            syscall: None,
            scrubber: &agent.scrubber,
            credentials_after: None,
        };
        event.data.tell(&mut details);
        let arguments = syscall(event)
            .and_then(|args| serde_json::to_value(args).ok())
            .or(details.syscall);
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
            syscall: arguments.map(|args| BTreeMap::from([(event.event_type(), args)])),
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

fn file<'a>(event: &'a Event, cx: Cx<'_>) -> Option<FileJson<'a>> {
    Some(match &event.data {
        EventData::Exec(_) | EventData::Exit(_) => {
            let file = &event.process.image.file;
            if file.path.is_empty() && !file.known {
                return None;
            }
            FileJson::new(file, cx)
        }
        EventData::Open(open) => FileJson {
            flags: open_flag_names(open.flags),
            destination: (open.flags & O_CREAT != 0)
                .then(|| FileJson::with_mode(&open.file, open.mode)),
            ..FileJson::new(&open.file, cx)
        },
        EventData::Chmod(chmod) => FileJson {
            destination: Some(FileJson::with_mode(&chmod.file, chmod.mode)),
            ..FileJson::new(&chmod.file, cx)
        },
        EventData::Chown(chown) => FileJson {
            destination: Some(Box::new(FileJson {
                uid: id_argument(chown.uid),
                gid: id_argument(chown.gid),
                user: chown.user(cx),
                group: chown.group(cx),
                ..FileJson::default()
            })),
            ..FileJson::new(&chown.file, cx)
        },
        EventData::Unlink(unlink) => FileJson {
            flags: unlink_flag_names(unlink.flags),
            ..FileJson::new(&unlink.file, cx)
        },
        EventData::Mkdir(mkdir) => FileJson {
            destination: Some(FileJson::with_mode(&mkdir.file, mkdir.mode)),
            ..FileJson::new(&mkdir.file, cx)
        },
        EventData::Rename(rename) => FileJson {
            destination: Some(Box::new(FileJson::new(&rename.destination, cx))),
            ..FileJson::new(&rename.file, cx)
        },
        EventData::Link(link) => FileJson {
            destination: Some(Box::new(FileJson::new(&link.destination, cx))),
            ..FileJson::new(&link.file, cx)
        },
        EventData::Utimes(utimes) => {
            let mut json = FileJson::new(&utimes.file, cx);
            json.access_time = Time::known(utimes.access_time);
            json.modification_time =
                Time::known(utimes.modification_time).or(json.modification_time);
            json
        }
        _ => return None,
    })
}

fn syscall(event: &Event) -> Option<SyscallJson<'_>> {
    let path = |path| SyscallJson {
        path,
        ..SyscallJson::default()
    };
    Some(match &event.data {
        EventData::Exec(exec) if !exec.syscall_path.is_empty() => path(&exec.syscall_path),
        EventData::Open(open) => SyscallJson {
            flags: Some(open.flags),
            mode: Some(open.mode),
            ..path(&open.syscall_path)
        },
        EventData::Chmod(chmod) => SyscallJson {
            mode: Some(chmod.mode),
            ..path(&chmod.syscall_path)
        },
        EventData::Chown(chown) => SyscallJson {
            uid: Some(id_argument(chown.uid)),
            gid: Some(id_argument(chown.gid)),
            ..path(&chown.syscall_path)
        },
        EventData::Unlink(unlink) => SyscallJson {
            flags: Some(unlink.flags),
            dirfd: Some(unlink.dirfd),
            ..path(&unlink.syscall_path)
        },
        EventData::Mkdir(mkdir) => SyscallJson {
            mode: Some(mkdir.mode),
            ..path(&mkdir.syscall_path)
        },
        EventData::Rename(rename) => SyscallJson {
            destination_path: &rename.syscall_destination,
            ..path(&rename.syscall_path)
        },
        EventData::Link(link) => SyscallJson {
            destination_path: &link.syscall_destination,
            ..path(&link.syscall_path)
        },
        EventData::Utimes(utimes) => path(&utimes.syscall_path),
        _ => return None,
    })
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
