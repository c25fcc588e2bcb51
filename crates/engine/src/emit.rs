//! The last station: a matched event becomes JSON, a message, and a record of the spool.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use atalaya_api::proto;
use atalaya_model::Event;
use atalaya_model::json::{
    AgentContext, CustomEvent, RuleContext, SERVICE, event_tags, serialize_custom, serialize_event,
    to_value,
};
use atalaya_policy::{Rule, VariableValues};
use atalaya_resolvers::FileHashes;
use atalaya_spool::Spool;
use prost::Message;
use serde_json::{Value, json};

use crate::hashing::FileRef;
use crate::output::Output;
use crate::variables;

/// The track of events that rules matched, and that of what the agent says of itself.
const TRACK_EVENTS: &str = "secruntime";
const TRACK_INTERNAL: &str = "secinfo";

/// Where finished events go. Shared by all threads.
#[derive(Debug)]
pub(crate) struct Emitter {
    pub(crate) spool: Option<Spool>,
    pub(crate) output: Option<Output>,
    pub(crate) agent: AgentContext,
}

/// What an event carries besides what it is.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// The variables that are set.
    pub(crate) variables: VariableValues,
    /// What `hash` actions brought.
    pub(crate) hashed: Vec<Hashed>,
    /// What other actions did, for `agent.rule_actions`.
    pub(crate) actions: Vec<Value>,
    /// What happened before, as JSON, where that is known.
    pub(crate) before: Option<Arc<[u8]>>,
}

/// The hashes of one of the event's files.
#[derive(Debug)]
pub(crate) struct Hashed {
    pub(crate) file: FileRef,
    pub(crate) hashes: FileHashes,
}

impl Emitter {
    /// Whether there is anywhere to send to.
    pub(crate) fn is_connected(&self) -> bool {
        self.spool.is_some() || self.output.is_some()
    }

    /// Sends an event that a rule matched. Returns whether there was anywhere to send it to.
    pub(crate) fn event(&self, event: &Event, rule: &Rule, extras: &Extras) -> bool {
        if !self.is_connected() {
            return false;
        }
        let variables = variables::for_event(&extras.variables, &self.agent.scrubber);
        let hashed = extras.hashed.iter().map(Hashed::report);
        let actions: Vec<Value> = hashed.chain(extras.actions.iter().cloned()).collect();
        let context = RuleContext {
            rule_id: rule.rule_id(),
            source_rule_id: &rule.written_id,
            rule_version: &rule.version,
            description: &rule.description,
            policy_name: &rule.policy.name,
            policy_version: &rule.policy.version,
            tags: Some(&rule.tags),
            expression: &rule.expression,
            actions: &actions,
            variables: variables.as_ref(),
            ..RuleContext::default()
        };
        let data = if extras.hashed.is_empty() {
            serialize_event(event, &context, &self.agent)
        } else {
            let mut object = to_value(event, &context, &self.agent);
            for hashed in &extras.hashed {
                hashed.put_into(&mut object);
            }
            object.to_string().into_bytes()
        };
        if let Some(output) = &self.output {
            output.line(&data);
        }
        if let Some(spool) = &self.spool {
            let mut tags = event_tags(event.event_type(), &context);
            tags.extend(rule.product_tags.iter().cloned());
            let container = event.process.container_id();
            if !container.is_empty() {
                tags.push(format!("container_id:{container}"));
            }
            let service = match event.service() {
                "" => SERVICE,
                service => service,
            };
            let message = proto::SecurityEventMessage {
                rule_id: rule.rule_id().to_owned(),
                data,
                tags,
                service: service.to_owned(),
                timestamp: Some(timestamp(event.time_ns)),
                original_rule_id: rule.written_id.clone(),
                track: TRACK_EVENTS.to_owned(),
                context: extras.before.as_deref().unwrap_or_default().to_vec(),
                ..proto::SecurityEventMessage::default()
            };
            spool.append(&message.encode_to_vec());
        }
        true
    }

    /// Sends an event of the agent's own.
    pub(crate) fn custom(&self, event: &CustomEvent) {
        let now = epoch_now_ns();
        let data = serialize_custom(event, now, &self.agent);
        if let Some(output) = &self.output {
            output.line(&data);
        }
        if let Some(spool) = &self.spool {
            let message = proto::SecurityEventMessage {
                rule_id: event.rule_id().to_owned(),
                data,
                tags: event.tags(),
                service: SERVICE.to_owned(),
                timestamp: Some(timestamp(now)),
                original_rule_id: event.rule_id().to_owned(),
                track: TRACK_INTERNAL.to_owned(),
                status: match event {
                    CustomEvent::LostEvents(_) => "warn".to_owned(),
                    CustomEvent::SelfProtection(_) => "warn".to_owned(),
                    CustomEvent::NetworkDoctor(found) if found.trouble => "warn".to_owned(),
                    CustomEvent::SelfTest(test) if !test.fails.is_empty() => "error".to_owned(),
                    _ => String::new(),
                },
                ..proto::SecurityEventMessage::default()
            };
            spool.append(&message.encode_to_vec());
        }
    }
}

impl Hashed {
    /// What the action did, for `agent.rule_actions`.
    fn report(&self) -> Value {
        json!({
            "type": "hash",
            "path": self.file.path(),
            "state": self.hashes.state.name(),
        })
    }

    /// Puts the hashes, or why there are none, to where the file is.
    fn put_into(&self, event: &mut Value) {
        for place in self.file.places() {
            let file = place
                .iter()
                .try_fold(&mut *event, |at, name| at.get_mut(name));
            if let Some(Value::Object(file)) = file {
                file.insert("hash_state".to_owned(), self.hashes.state.name().into());
                if !self.hashes.hashes.is_empty() {
                    file.insert("hashes".to_owned(), json!(self.hashes.hashes));
                }
            }
        }
    }
}

/// The wall clock.
pub(crate) fn epoch_now_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        })
}

/// As the wire has it.
pub(crate) fn timestamp(ns: u64) -> proto::Timestamp {
    proto::Timestamp {
        seconds: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(ns % 1_000_000_000).unwrap_or(0),
    }
}
