//! The last station: a matched event becomes JSON, a message, and a record of the spool.

use std::time::{SystemTime, UNIX_EPOCH};

use atalaya_api::proto;
use atalaya_model::Event;
use atalaya_model::json::{
    AgentContext, CustomEvent, RuleContext, SERVICE, event_tags, serialize_custom, serialize_event,
};
use atalaya_policy::Rule;
use atalaya_spool::Spool;
use prost::Message;

use crate::output::Output;

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

impl Emitter {
    /// Sends an event that a rule matched. Returns whether there was anywhere to send it to.
    pub(crate) fn event(&self, event: &Event, rule: &Rule) -> bool {
        if self.spool.is_none() && self.output.is_none() {
            return false;
        }
        let context = RuleContext {
            rule_id: rule.rule_id(),
            source_rule_id: if rule.group_id.is_some() {
                &rule.id
            } else {
                ""
            },
            rule_version: &rule.version,
            description: &rule.description,
            policy_name: &rule.policy.name,
            policy_version: &rule.policy.version,
            tags: Some(&rule.tags),
            expression: &rule.expression,
            ..RuleContext::default()
        };
        let data = serialize_event(event, &context, &self.agent);
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
                original_rule_id: rule.id.clone(),
                track: TRACK_EVENTS.to_owned(),
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
                    CustomEvent::SelfTest(test) if !test.fails.is_empty() => "error".to_owned(),
                    _ => String::new(),
                },
                ..proto::SecurityEventMessage::default()
            };
            spool.append(&message.encode_to_vec());
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
