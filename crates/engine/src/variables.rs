//! The values of variables, as events and `status` show them.

use std::collections::{BTreeMap, HashMap};

use atalaya_api::proto;
use atalaya_model::json::{EventVariables, Scrubber};
use atalaya_policy::store::VariableState;
use atalaya_policy::{VariableScopeKind, VariableValues};
use atalaya_secl::model::OwnedValue;
use serde_json::{Map, Value};

/// How much of the variables an event carries, in bytes. A list loses its oldest elements; what finds no room at all is
/// left out.
const MAX_IN_EVENT: usize = 32 << 10;

/// How many values `status` shows.
const MAX_IN_STATUS: usize = 2000;

/// The variables as an event carries them. `None`: there is none.
pub(crate) fn for_event(values: &VariableValues, scrubber: &Scrubber) -> Option<EventVariables> {
    if *values == VariableValues::default() {
        return None;
    }
    let mut room = MAX_IN_EVENT;
    let mut show = |variables: &[(String, OwnedValue)]| -> Map<String, Value> {
        variables
            .iter()
            .filter_map(|(name, value)| {
                let value = to_json(value, scrubber, &mut room)?;
                Some((name.clone(), value))
            })
            .collect()
    };
    Some(EventVariables {
        global: show(&values.global),
        process: show(&values.process),
        container: show(&values.container),
        cgroup: show(&values.cgroup),
    })
}

/// A value with its secrets hidden. `None`: there is no room for it.
fn to_json(value: &OwnedValue, scrubber: &Scrubber, room: &mut usize) -> Option<Value> {
    fn take(room: &mut usize, bytes: usize) -> Option<()> {
        *room = room.checked_sub(bytes)?;
        Some(())
    }
    fn list<T>(items: &[T], room: &mut usize, show: impl Fn(&T) -> (Value, usize)) -> Value {
        // From the newest on, as many as there is room for.
        let mut shown: Vec<Value> = items
            .iter()
            .rev()
            .map_while(|item| {
                let (value, bytes) = show(item);
                take(room, bytes).map(|()| value)
            })
            .collect();
        shown.reverse();
        Value::Array(shown)
    }
    const SMALL: usize = 24;
    let text = |text: &String| {
        let text = scrubber.text(text).into_owned();
        let bytes = text.len() + SMALL;
        (Value::String(text), bytes)
    };
    Some(match value {
        OwnedValue::Bool(value) => {
            take(room, SMALL)?;
            (*value).into()
        }
        OwnedValue::Int(value) => {
            take(room, SMALL)?;
            (*value).into()
        }
        OwnedValue::Str(value) => {
            let (value, bytes) = text(value);
            take(room, bytes)?;
            value
        }
        OwnedValue::Ip(value) => {
            take(room, 2 * SMALL)?;
            value.to_string().into()
        }
        OwnedValue::BoolList(items) => list(items, room, |item| ((*item).into(), SMALL)),
        OwnedValue::IntList(items) => list(items, room, |item| ((*item).into(), SMALL)),
        OwnedValue::StrList(items) => list(items, room, text),
        OwnedValue::IpList(items) => list(items, room, |item| (item.to_string().into(), 2 * SMALL)),
    })
}

/// The variables for `status`: global ones, and by scope and holder the others. `processes` are the pids by the numbers of
/// the process tree's nodes.
pub(crate) fn for_status<'a>(
    states: impl Iterator<Item = VariableState<'a>>,
    processes: &HashMap<u64, u32>,
    scrubber: &Scrubber,
) -> (
    Vec<proto::SeclVariableState>,
    BTreeMap<String, proto::ScopedVariableStore>,
) {
    let mut global = Vec::new();
    let mut scoped: BTreeMap<String, proto::ScopedVariableStore> = BTreeMap::new();
    for state in states.take(MAX_IN_STATUS) {
        let mut room = 1024;
        let value = match to_json(state.value, scrubber, &mut room) {
            Some(Value::String(text)) => text,
            Some(value) => value.to_string(),
            None => "(too long)".to_owned(),
        };
        let shown = proto::SeclVariableState {
            name: state.name.to_owned(),
            value,
        };
        let holder = match state.scope {
            VariableScopeKind::Global => {
                global.push(shown);
                continue;
            }
            VariableScopeKind::Process => match processes.get(&state.holder) {
                Some(pid) => pid.to_string(),
                None => "ended".to_owned(),
            },
            VariableScopeKind::Container | VariableScopeKind::Cgroup => state.label.to_owned(),
        };
        scoped
            .entry(state.scope.prefix().to_owned())
            .or_default()
            .key_values
            .entry(holder)
            .or_default()
            .variables
            .push(shown);
    }
    (global, scoped)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use serde_json::json;

    fn texts(texts: &[&str]) -> OwnedValue {
        OwnedValue::StrList(texts.iter().map(|text| (*text).to_owned()).collect())
    }

    #[test]
    fn secrets_are_hidden() {
        let values = VariableValues {
            global: vec![("n".to_owned(), OwnedValue::Int(5))],
            process: vec![("key".to_owned(), OwnedValue::Str("--password=x".to_owned()))],
            cgroup: vec![("seen".to_owned(), texts(&["a", "token=b"]))],
            ..VariableValues::default()
        };
        let shown = for_event(&values, &Scrubber::default()).unwrap();
        assert_eq!(shown.global["n"], 5);
        assert_eq!(shown.process["key"], "--password=********");
        assert_eq!(shown.cgroup["seen"], json!(["a", "token=********"]));
        assert!(shown.container.is_empty());
        assert_eq!(
            for_event(&VariableValues::default(), &Scrubber::default()),
            None
        );
    }

    #[test]
    fn an_event_stays_small() {
        let long = "x".repeat(10_000);
        let many: Vec<String> = (0..10).map(|n| format!("{n}{long}")).collect();
        let values = VariableValues {
            global: vec![
                ("many".to_owned(), OwnedValue::StrList(many)),
                ("late".to_owned(), OwnedValue::Str(long)),
                ("number".to_owned(), OwnedValue::Int(1)),
            ],
            ..VariableValues::default()
        };
        let shown = for_event(&values, &Scrubber::default()).unwrap().global;
        let newest = shown["many"].as_array().unwrap();
        assert_eq!(newest.len(), 3);
        assert!(newest[2].as_str().unwrap().starts_with('9'));
        assert_eq!(shown.get("late"), None);
        assert_eq!(shown["number"], 1);
    }
}
