//! The network doctor at work: regularly while our classifiers are loaded, and on demand. What it found is an event when it changes, and
//! lines of `status`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use atalaya_model::json::{CustomEvent, DoctoredInterface, NetworkDoctor};
use atalaya_network::doctor::Report;
use crossbeam_channel::RecvTimeoutError;

use crate::engine::Shared;
use crate::source::ClassifiersSeen;

/// Who looks at the classifiers of the host: system-probe does it on a thread that keeps the capabilities for it.
pub trait ClassifierDoctor: Send + Sync + std::fmt::Debug {
    /// Looks at every interface. An error is what the person who asked reads.
    fn examine(&self, seen: ClassifiersSeen) -> Result<Report, String>;
}

/// How long after the start the first look is: by then our classifiers are where they will be.
const FIRST: Duration = Duration::from_secs(20);
/// And how often one follows.
const PERIOD: Duration = Duration::from_secs(300);
/// So many interfaces are told of: an event has a size, and so has a page.
const TOLD: usize = 64;

/// What was found last.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    last: Mutex<Option<Found>>,
}

#[derive(Debug)]
struct Found {
    event: NetworkDoctor,
    /// Names of interfaces, by namespace and number.
    names: BTreeMap<(u32, u32), String>,
}

impl Findings {
    /// Lines for `status`: names and values.
    pub(crate) fn details(&self, packets: &BTreeMap<(u32, u32), u64>) -> Vec<(String, String)> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = Vec::new();
        if let Some(found) = last.as_ref() {
            lines.push(("network.doctor".to_owned(), found.event.summary.clone()));
        }
        for ((namespace, index), count) in packets.iter().take(TOLD) {
            let name = last
                .as_ref()
                .and_then(|found| found.names.get(&(*namespace, *index)));
            let name = name.map_or_else(|| index.to_string(), Clone::clone);
            lines.push((
                format!("network.packets.{namespace}.{name}"),
                count.to_string(),
            ));
        }
        lines
    }

    /// What a person should do something about.
    pub(crate) fn warning(&self) -> Option<String> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let event = &last.as_ref()?.event;
        let advice = event.advice.first().map_or("", String::as_str);
        event.trouble.then(|| {
            format!(
                "network doctor: {}; {advice} (security-agent runtime network doctor)",
                event.summary
            )
        })
    }
}

/// Looks at the classifiers of the host, and tells where something has changed.
pub(crate) fn examine(shared: &Shared) -> Result<Report, String> {
    let doctor = shared.options.doctor.as_ref();
    let doctor = doctor.ok_or_else(|| "this system-probe has no network doctor".to_owned())?;
    let seen = shared
        .source()
        .as_ref()
        .map(|source| source.classifiers_seen());
    let report = doctor.examine(seen.unwrap_or_default())?;
    note(shared, &report);
    Ok(report)
}

fn note(shared: &Shared, report: &Report) {
    let event = event(report);
    let names = report
        .namespaces
        .iter()
        .flat_map(|namespace| {
            namespace
                .interfaces
                .iter()
                .map(|one| ((namespace.inum, one.index), one.name.clone()))
        })
        .collect();
    let new = Found {
        event: event.clone(),
        names,
    };
    let mut last = shared
        .doctor
        .last
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let before = last.replace(new);
    drop(last);
    let differs = |found: &Found| {
        (
            &found.event.verdict,
            &found.event.advice,
            &found.event.interfaces,
        ) != (&event.verdict, &event.advice, &event.interfaces)
    };
    let had_trouble = before.as_ref().is_some_and(|found| found.event.trouble);
    if (event.trouble || had_trouble) && before.as_ref().is_none_or(differs) {
        if event.trouble {
            tracing::warn!(summary = event.summary, advice = ?event.advice, "the network doctor found trouble");
        } else {
            tracing::info!(
                summary = event.summary,
                "the network doctor finds no trouble any more"
            );
        }
        shared.custom(&CustomEvent::NetworkDoctor(event));
    }
}

/// The finding as an event.
fn event(report: &Report) -> NetworkDoctor {
    let interfaces = report.namespaces.iter().flat_map(|namespace| {
        namespace
            .interfaces
            .iter()
            .filter(|one| one.verdict.is_trouble())
            .map(|one| DoctoredInterface {
                namespace: namespace.inum,
                name: one.name.clone(),
                verdict: one.verdict.text().to_owned(),
                reasons: one.reasons.clone(),
            })
    });
    NetworkDoctor {
        trouble: report.trouble,
        verdict: report.verdict.text().to_owned(),
        summary: report.summary.clone(),
        classifier_priority: report.classifier_priority,
        right_priority: report.right_priority,
        advice: report.advice.clone(),
        interfaces: interfaces.take(TOLD).collect(),
    }
}

/// Looks regularly while there are classifiers of ours.
pub(crate) fn examine_regularly(shared: &Shared) {
    let mut wait = FIRST;
    while let Err(RecvTimeoutError::Timeout) = shared.stop.recv_timeout(wait) {
        wait = PERIOD;
        let source = shared.source();
        let loaded = source
            .as_ref()
            .is_some_and(|source| !source.classifiers_seen().programs.is_empty());
        drop(source);
        if loaded && let Err(error) = examine(shared) {
            tracing::warn!(error, "the network doctor cannot look at the classifiers");
        }
    }
}
