//! What this node says of itself: rules, status, health, doctor, self-test.

use std::collections::HashMap;
use std::time::Duration;

use atalaya_api::proto::{SelfTestRow, Status};
use atalaya_store::{Query, Range, SelfTestRun};
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::events::{now_ms, reading};
use super::{Answer, Shared};
use crate::error::ApiError;

pub(super) async fn rules(State(explorer): State<Shared>) -> Answer<Value> {
    let status = match explorer.probe.status().await {
        Ok(status) => status,
        Err(error) => {
            return Ok(Json(
                json!({"rules": [], "reachable": false, "error": error.text()}),
            ));
        }
    };
    let stored = reading(explorer, |explorer| {
        let names = ["agent.rule_id".to_owned()];
        let counted = explorer.store.facets(
            &Query::all(),
            Range::default(),
            &names,
            100_000,
            Duration::from_secs(1),
        )?;
        let values = counted.facets.into_iter().flat_map(|facet| facet.values);
        Ok(values
            .map(|value| (value.value, value.count))
            .collect::<HashMap<_, _>>())
    })
    .await?;
    let mut rules = Vec::new();
    for policy in &status.policies_status {
        for rule in &policy.status {
            let unavailable = rule.status == "loaded" && !rule.unavailable.is_empty();
            let reason = if unavailable {
                rule.unavailable.join(", ")
            } else if rule.error.is_empty() {
                rule.filter_reason.clone()
            } else {
                rule.error.clone()
            };
            rules.push(json!({
                "id": rule.id, "policy": policy.name, "source": policy.source, "version": rule.version,
                "description": rule.description, "expression": rule.expression, "event_type": rule.event_type, "tags": rule.tags,
                "state": if unavailable { "unavailable" } else { rule.status.as_str() },
                "reason": reason, "hits": rule.matches, "rate_limited": rule.rate_limited, "last_match": null,
                "evaluations": rule.evaluations, "cost_ns": rule.evaluation_ns + rule.action_ns,
                "stored": stored.get(&rule.id).copied().unwrap_or(0),
            }));
        }
    }
    let errors: Vec<&String> = status
        .policies_status
        .iter()
        .flat_map(|policy| &policy.errors)
        .collect();
    Ok(Json(
        json!({"rules": rules, "errors": errors, "reachable": true, "error": null}),
    ))
}

pub(super) async fn status(State(explorer): State<Shared>) -> Answer<Value> {
    let (probe, error) = match explorer.probe.status().await {
        Ok(status) => ((explorer.hooks.probe_status)(&status), Value::Null),
        Err(error) => (Value::Null, error.text().into()),
    };
    let agent = (explorer.hooks.agent_status)();
    let trouble = explorer.trouble();
    let mut store = reading(explorer, |explorer| {
        serde_json::to_value(explorer.store.stats())
            .map_err(|error| ApiError::internal(error.to_string()))
    })
    .await?;
    let consumers = probe["spool"]["consumers"].as_array();
    let own = consumers.and_then(|all| {
        all.iter()
            .find(|consumer| consumer["name"] == crate::CONSUMER)
    });
    store["behind"] = own.map_or(Value::Null, |own| own["lag"].clone());
    store["missed"] = own.map_or(Value::Null, |own| own["missed"].clone());
    store["error"] = trouble.into();
    Ok(Json(
        json!({"probe": probe, "probe_error": error, "agent": agent, "store": store}),
    ))
}

pub(super) async fn health(State(explorer): State<Shared>) -> Answer<Value> {
    let agent = (explorer.hooks.agent_status)();
    let mut reasons: Vec<String> = agent["reasons"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|r| r.as_str().map(str::to_owned))
        .collect();
    if let Some(trouble) = explorer.trouble() {
        reasons.push(format!("the explorer cannot store events: {trouble}"));
    }
    let answer = match explorer.probe.status().await {
        Ok(status) => {
            reasons.extend(
                status
                    .reasons
                    .iter()
                    .map(|reason| format!("system-probe: {reason}")),
            );
            of_probe(&status, &(explorer.hooks.probe_status)(&status))
        }
        Err(error) => {
            reasons.push(error.text().to_owned());
            json!({"probe": {"reachable": false, "error": error.text()}, "loss": null, "hooks": [], "missing": [], "classifiers": null, "self_test": null})
        }
    };
    let mut answer = answer;
    answer["healthy"] = reasons.is_empty().into();
    answer["reasons"] = reasons.into();
    Ok(Json(answer))
}

fn of_probe(status: &Status, json: &Value) -> Value {
    let sensor = status.sensor.clone().unwrap_or_default();
    let lost: u64 = status.event_types.iter().map(|kind| kind.lost).sum();
    let spool = status.spool.clone().unwrap_or_default();
    let missed: u64 = spool.consumers.iter().map(|consumer| consumer.missed).sum();
    let test = status.self_tests.clone().unwrap_or_default();
    let tests: Vec<Value> = test.tests.iter().map(row).collect();
    let hooks: Vec<Value> = sensor
        .programs_attached
        .iter()
        .map(|name| json!({"name": name, "state": "attached"}))
        .collect();
    let missing: Vec<Value> = sensor
        .missing
        .iter()
        .map(|hook| json!({"hook": hook.hook, "reason": hook.reason, "turns_off": hook.turns_off}))
        .collect();
    json!({
        "probe": {
            "reachable": true, "version": status.version, "healthy": status.healthy, "reasons": status.reasons, "uptime_seconds": status.uptime_seconds,
            "tier": sensor.tier, "tier_reason": sensor.tier_reason, "rss_bytes": status.rss_bytes, "processes": status.process_tree_size,
        },
        "loss": {"lost": lost, "missed": missed, "dropped": spool.dropped, "corrupt": spool.corrupt, "malformed": sensor.malformed_records},
        "rings": json["sensor"]["rings"], "event_types": json["event_types"], "hooks": hooks, "missing": missing,
        "classifiers": json["network"], "heartbeat": json["heartbeat"],
        "self_test": if test.last_timestamp.is_empty() { Value::Null } else {
            json!({"ok": test.error.is_empty() && test.fails.is_empty(), "at": test.last_timestamp, "error": test.error, "tests": tests})
        },
    })
}

fn row(test: &SelfTestRow) -> Value {
    json!({"rule_id": test.rule_id, "event_type": test.event_type, "seen": test.seen, "latency_ms": test.latency_ms, "error": test.error})
}

pub(super) async fn doctor(State(explorer): State<Shared>) -> Answer<Value> {
    let found = explorer.probe.doctor().await?;
    let report: Value = serde_json::from_slice(&found.report).unwrap_or_default();
    Ok(Json(
        json!({"text": found.text, "trouble": found.trouble, "report": report}),
    ))
}

/// Runs it; its events come like all others.
pub(super) async fn self_test(State(explorer): State<Shared>) -> Answer<Value> {
    let started = now_ms();
    let result = explorer.probe.self_test().await?;
    let seen = result.tests.iter().filter(|test| test.seen).count();
    let run = SelfTestRun {
        at: started,
        ok: result.ok,
        summary: format!("{seen} of {} seen", result.tests.len()),
    };
    let rules: Vec<&str> = result
        .tests
        .iter()
        .map(|test| test.rule_id.as_str())
        .collect();
    let query = if rules.is_empty() {
        "rule_id:self_test".to_owned()
    } else {
        format!("rule_id:({})", rules.join(" OR "))
    };
    let tests: Vec<Value> = result.tests.iter().map(row).collect();
    reading(explorer, move |explorer| {
        Ok(explorer.state.add_self_test(&run)?)
    })
    .await?;
    Ok(Json(
        json!({"ok": result.ok, "error": result.error, "tests": tests, "started": started, "query": query}),
    ))
}

pub(super) async fn self_tests(State(explorer): State<Shared>) -> Answer<Value> {
    let runs = reading(explorer, |explorer| Ok(explorer.state.self_tests()?)).await?;
    Ok(Json(json!({"self_tests": runs})))
}
