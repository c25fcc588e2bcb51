//! Fields: their names, and which of them the index knows.

use serde_json::Value;

/// A field of events that the index knows.
#[derive(Debug)]
pub struct FieldInfo {
    /// Its path in the event.
    pub name: &'static str,
    /// A shorter name; may be empty.
    pub short: &'static str,
    /// What it is called.
    pub title: &'static str,
    /// Its values are counted: there are few.
    pub facet: bool,
    /// It is among those that are counted unasked.
    pub shown: bool,
}

const fn facet(name: &'static str, short: &'static str, title: &'static str) -> FieldInfo {
    FieldInfo {
        name,
        short,
        title,
        facet: true,
        shown: true,
    }
}

const fn quiet(name: &'static str, short: &'static str, title: &'static str) -> FieldInfo {
    FieldInfo {
        shown: false,
        ..facet(name, short, title)
    }
}

const fn exact(name: &'static str, short: &'static str, title: &'static str) -> FieldInfo {
    FieldInfo {
        facet: false,
        ..quiet(name, short, title)
    }
}

/// The number of the event in its spool, for which the index has a field of its own.
pub(crate) const NUMBER: &str = "event_id";

/// What can be asked for without reading events. Any other path in an event can be asked for as well; that reads them.
pub const FIELDS: &[FieldInfo] = &[
    facet("agent.rule_id", "rule_id", "Rule"),
    facet("evt.name", "type", "Event type"),
    facet("status", "", "Status"),
    facet("process.comm", "comm", "Command"),
    facet("process.executable.path", "exe", "Executable"),
    facet("process.credentials.user", "user", "User"),
    facet("container.id", "container", "Container"),
    facet("evt.outcome", "outcome", "Outcome"),
    facet("evt.category", "category", "Category"),
    facet("host", "", "Host"),
    facet("service", "", "Service"),
    quiet("agent.policy_name", "policy", "Policy"),
    quiet("process.parent.comm", "", "Parent's command"),
    quiet("process.tty", "tty", "Terminal"),
    quiet("process.credentials.uid", "uid", "User id"),
    quiet("file.name", "", "File name"),
    quiet("network.destination.ip", "", "Destination address"),
    quiet("network.destination.port", "", "Destination port"),
    quiet("tag", "", "Tag"),
    exact("file.path", "path", "File"),
    exact("file.destination.path", "", "New path"),
    exact("process.pid", "pid", "Process id"),
    exact("process.ppid", "ppid", "Parent's process id"),
    exact("process.ancestors.comm", "", "Commands of ancestors"),
    exact("process.executable.name", "", "Name of the executable"),
    exact("process.executable.hashes", "", "Hashes of the executable"),
    exact("file.hashes", "", "Hashes of the file"),
    exact("dns.question.name", "", "Name that was asked for"),
    exact(NUMBER, "", "Number of the event"),
];

/// A field as a query names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    /// Its full name.
    pub(crate) name: String,
    /// The index knows it.
    pub(crate) indexed: bool,
    /// Its values are counted.
    pub(crate) facet: bool,
}

impl Field {
    /// By its full or its short name, with or without the `@` of attributes.
    pub(crate) fn new(name: &str) -> Self {
        let name = name.strip_prefix('@').unwrap_or(name);
        let name = name.strip_prefix("message.").unwrap_or(name);
        let known = FIELDS
            .iter()
            .find(|field| field.name == name || !field.short.is_empty() && field.short == name);
        let aliases = || match name {
            "hostname" => "host",
            "ddtags" | "tags" => "tag",
            other => other,
        };
        match known {
            Some(field) => Self {
                name: field.name.to_owned(),
                indexed: true,
                facet: field.facet,
            },
            None if aliases() != name => Self::new(aliases()),
            None => Self {
                name: name.to_owned(),
                indexed: false,
                facet: false,
            },
        }
    }
}

/// The title of a field; its name where it has none.
pub(crate) fn title(name: &str) -> &str {
    FIELDS
        .iter()
        .find(|field| field.name == name)
        .map_or(name, |field| field.title)
}

/// Shows each value of a field, as text. Lists are gone through, of an object each value.
pub(crate) fn values(document: &Value, name: &str, see: &mut dyn FnMut(&str, Option<f64>)) {
    match name {
        "host" => leaves(&document["hostname"], see),
        "status" | "service" | "event_id" => leaves(&document[name], see),
        "tag" => {
            let tags = document["ddtags"].as_str().unwrap_or_default();
            for tag in tags.split(',').filter(|tag| !tag.is_empty()) {
                see(tag, None);
            }
        }
        path => {
            walk(&document["message"], path, see);
        }
    }
}

/// Returns whether there was anything at the path.
fn walk(value: &Value, path: &str, see: &mut dyn FnMut(&str, Option<f64>)) -> bool {
    match value {
        Value::Array(elements) => {
            let mut found = false;
            for element in elements {
                found |= walk(element, path, see);
            }
            found
        }
        Value::Object(members) => {
            for (at, _) in path.match_indices('.') {
                if let Some(inner) = members.get(&path[..at])
                    && walk(inner, &path[at + 1..], see)
                {
                    return true;
                }
            }
            // A key may have dots of its own, as labels have.
            let found = members.get(path);
            if let Some(found) = found {
                leaves(found, see);
            }
            found.is_some()
        }
        _ => false,
    }
}

fn leaves(value: &Value, see: &mut dyn FnMut(&str, Option<f64>)) {
    match value {
        Value::Null => {}
        Value::String(text) => see(text, text.parse().ok()),
        Value::Bool(yes) => see(if *yes { "true" } else { "false" }, None),
        Value::Number(number) => see(&number.to_string(), number.as_f64()),
        Value::Array(elements) => elements.iter().for_each(|element| leaves(element, see)),
        Value::Object(members) => members.values().for_each(|member| leaves(member, see)),
    }
}

/// Keys whose values are in no text that is searched: unique, and of no meaning to people.
const NO_TEXT: &[&str] = &[
    "date",
    "inode",
    "mount_id",
    "exec_time",
    "fork_time",
    "exit_time",
    "access_time",
    "modification_time",
    "change_time",
    "created_at",
    "expression",
];

/// Whether the values of a field are among the words of the event.
pub(crate) fn has_text(name: &str) -> bool {
    name != "event_id" && !name.split('.').any(|key| NO_TEXT.contains(&key))
}

/// Shows each text of an event that is searched for words.
pub(crate) fn texts(document: &Value, see: &mut dyn FnMut(&str)) {
    for key in ["hostname", "service", "status"] {
        if let Some(text) = document[key].as_str() {
            see(text);
        }
    }
    let tags = document["ddtags"].as_str().unwrap_or_default();
    tags.split(',')
        .filter(|tag| !tag.is_empty())
        .for_each(&mut *see);
    texts_of(&document["message"], see);
}

fn texts_of(value: &Value, see: &mut dyn FnMut(&str)) {
    match value {
        Value::Null => {}
        Value::Bool(yes) => see(if *yes { "true" } else { "false" }),
        Value::String(text) => see(text),
        Value::Number(number) => see(&number.to_string()),
        Value::Array(elements) => elements.iter().for_each(|element| texts_of(element, see)),
        Value::Object(members) => {
            for (key, member) in members {
                if !NO_TEXT.contains(&key.as_str()) {
                    texts_of(member, see);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(document: &Value, name: &str) -> Vec<String> {
        let mut found = Vec::new();
        values(document, &Field::new(name).name, &mut |text, _| {
            found.push(text.to_owned())
        });
        found
    }

    #[test]
    fn names_lead_to_values() {
        let document = json!({
            "hostname": "box", "ddtags": "a:b,c:d", "status": "info",
            "message": {"evt": {"name": "open"}, "process": {"pid": 7, "ancestors": [{"comm": "a"}, {"comm": "b"}]},
                "labels": {"x.y/z": true}},
        });
        assert_eq!(of(&document, "@evt.name"), ["open"]);
        assert_eq!(of(&document, "type"), ["open"]);
        assert_eq!(of(&document, "process.ancestors.comm"), ["a", "b"]);
        assert_eq!(of(&document, "labels.x.y/z"), ["true"]);
        assert_eq!(of(&document, "tags"), ["a:b", "c:d"]);
        assert_eq!(of(&document, "hostname"), ["box"]);
        assert_eq!(of(&document, "pid"), ["7"]);
        assert!(of(&document, "nothing.there").is_empty());
    }
}
