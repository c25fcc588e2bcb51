//! New rules for old, while events flow: none is lost, none is doubled, and what rules have learned stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use atalaya_api::proto;
use atalaya_model::capture::Approvers;
use atalaya_model::json::CustomEvent;
use atalaya_policy::{RuleSetDiff, Status};

use crate::engine::{EngineError, Shared};
use crate::report;
use crate::rules::Loaded;
use crate::source::{ApplyReport, EventSource, Interest};

/// How many ids of one kind a log line names.
const NAMED: usize = 20;

impl Shared {
    /// Reads the policies and puts them in force. The kernel first sends what old and new rules need, then the rules are
    /// exchanged, then the kernel sends only what the new ones need: an event is always matched by one of them. Variables,
    /// rate limits and counters go on where the rules are the same; that is the event loop's part. On an error the old
    /// rules stay, as they do when nothing at all could be loaded.
    pub(crate) fn reload(&self) -> Result<(Arc<Loaded>, RuleSetDiff), EngineError> {
        let result = self.try_reload();
        let error = result.as_ref().err().map(ToString::to_string);
        self.set_reload_error(error);
        result
    }

    fn try_reload(&self) -> Result<(Arc<Loaded>, RuleSetDiff), EngineError> {
        let mut guard = self.source();
        let source = guard.as_mut().ok_or(EngineError::Stopping)?;
        let old = self.rules.load_full();
        if let Some(watch) = &mut *self.watch() {
            watch.forget();
        }
        let mut loaded = Loaded::read(
            &self.options,
            &self.live.load(),
            self.self_test.policy(),
            old.generation + 1,
            old.ruleset.texts().clone(),
            &old.interest.filters,
        );
        if let Some(why) = fails_as_a_whole(&old, &loaded) {
            return Err(EngineError::Policies(why));
        }
        loaded.keep_counters(&old);
        let diff = RuleSetDiff::between(
            (&old.ruleset, &old.report),
            (&loaded.ruleset, &loaded.report),
        );
        loaded.applied = widen(source.as_mut(), &old.interest, &loaded.interest)?;
        let loaded = Arc::new(loaded);
        self.rules.store(Arc::clone(&loaded));
        if let Err(error) = source.apply(&loaded.interest) {
            // Only costs: the kernel goes on sending what the old rules needed.
            tracing::warn!(%error, "the kernel's filters could not be made narrower");
        }
        self.orders.renew(source.as_mut(), &loaded.interest.filters);
        drop(guard);
        log(&diff);
        self.announce_rules(&loaded, Some(&diff));
        Ok((loaded, diff))
    }

    pub(crate) fn announce_rules(&self, loaded: &Loaded, diff: Option<&RuleSetDiff>) {
        let (rules, refused) = loaded.counts();
        tracing::info!(rules, refused, "policies loaded");
        for error in loaded.report.all_errors() {
            tracing::warn!("{error}");
        }
        for (kind, rules) in loaded.turned_off() {
            let why = loaded
                .applied
                .unavailable
                .get(&kind)
                .map_or("", String::as_str);
            tracing::warn!(
                event_type = kind.name(),
                why,
                ?rules,
                "reduced mode: these rules cannot match on this host"
            );
        }
        let mut not_executed: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for rule in loaded
            .report
            .policies
            .iter()
            .flat_map(|policy| &policy.rules)
        {
            for action in &rule.not_executed {
                not_executed.entry(action).or_default().push(&rule.id);
            }
        }
        for (action, rules) in not_executed {
            tracing::warn!(action, ?rules, "this build does not execute this action");
        }
        let mut event = report::ruleset_loaded(loaded);
        event.difference = diff
            .and_then(|diff| serde_json::to_value(diff).ok())
            .unwrap_or_default();
        self.custom(&CustomEvent::RulesetLoaded(Box::new(event)));
    }
}

/// Why the new policies shall not replace the old ones. A directory that is gone or not to be read for a moment, or files of
/// which not one rule can be loaded, are no wish to watch nothing; rules that are all switched off are one.
fn fails_as_a_whole(old: &Loaded, new: &Loaded) -> Option<String> {
    if let Some(error) = new.report.errors.first() {
        return Some(error.to_string());
    }
    let (before, after) = (old.counts().0, new.counts().0);
    if before == 0 || after > 0 {
        return None;
    }
    let own = || new.report.policies.iter().filter(|policy| !policy.internal);
    let is_off = own()
        .flat_map(|policy| &policy.rules)
        .any(|rule| rule.status == Status::Filtered);
    let error = new.report.all_errors().next();
    match error {
        None if is_off => None,
        None => Some("not one rule is left".to_owned()),
        Some(error) => Some(format!("not one rule could be loaded: {error}")),
    }
}

/// Lets the kernel send what either interest needs.
fn widen(
    source: &mut dyn EventSource,
    old: &Interest,
    new: &Interest,
) -> Result<ApplyReport, EngineError> {
    let both = union(old, new);
    match source.apply(&both) {
        Ok(mut applied) => {
            // What only the old rules wanted concerns nobody any more.
            applied.unavailable.retain(|kind, _| {
                new.approvers.contains_key(kind) || !both.approvers.contains_key(kind)
            });
            Ok(applied)
        }
        // Perhaps it is too much for the kernel's tables.
        Err(error) if both != *new => {
            tracing::warn!(%error, "the kernel cannot serve the old and the new rules at once: what happens right now may be missed");
            Ok(source.apply(new)?)
        }
        Err(error) => Err(error.into()),
    }
}

fn union(old: &Interest, new: &Interest) -> Interest {
    let mut both = new.clone();
    both.capture_all_errors |= old.capture_all_errors;
    for (new, old) in [
        (&mut both.filters.rules, &old.filters.rules),
        (&mut both.filters.actions, &old.filters.actions),
    ] {
        new.extend(old.iter().map(|(text, number)| (text.clone(), *number)));
    }
    for (kind, old) in &old.approvers {
        let new = both.approvers.entry(*kind).or_default();
        let Approvers {
            all,
            all_because,
            basenames,
            paths,
            directories,
            flags,
            numbers,
            masks,
        } = old.clone();
        new.all |= all;
        new.flags |= flags;
        new.masks = [0, 1].map(|slot| new.masks[slot] | masks[slot]);
        merge(&mut new.numbers, numbers);
        merge(&mut new.all_because, all_because);
        merge(&mut new.basenames, basenames);
        merge(&mut new.paths, paths);
        merge(&mut new.directories, directories);
    }
    both
}

fn merge<T: Ord>(into: &mut Vec<T>, from: Vec<T>) {
    into.extend(from);
    into.sort();
    into.dedup();
}

/// Tells what has changed.
fn log(diff: &RuleSetDiff) {
    if diff.is_empty() {
        tracing::info!(unchanged = diff.unchanged, "no rule has changed");
        return;
    }
    let changed: Vec<String> = diff
        .changed
        .iter()
        .map(|rule| format!("{} ({})", rule.id, rule.what.join(", ")))
        .collect();
    let failing: Vec<String> = diff
        .newly_failing
        .iter()
        .map(|item| item.id.clone())
        .collect();
    tracing::info!(
        added = names(&diff.added),
        removed = names(&diff.removed),
        changed = names(&changed),
        newly_failing = names(&failing),
        variables_dropped = names(&diff.variables_dropped),
        unchanged = diff.unchanged,
        "rules have changed"
    );
}

fn names(ids: &[String]) -> String {
    let mut text = ids[..ids.len().min(NAMED)].join(", ");
    if ids.len() > NAMED {
        text.push_str(&format!(" and {} more", ids.len() - NAMED));
    }
    text
}

/// As the wire has it.
pub(crate) fn to_proto(diff: RuleSetDiff) -> proto::RuleSetDiff {
    proto::RuleSetDiff {
        added: diff.added,
        removed: diff.removed,
        changed: diff
            .changed
            .into_iter()
            .map(|rule| proto::RuleChange {
                id: rule.id,
                what: rule.what.into_iter().map(str::to_owned).collect(),
            })
            .collect(),
        newly_failing: diff
            .newly_failing
            .into_iter()
            .map(|item| proto::RuleFailure {
                id: item.id,
                errors: item.errors,
            })
            .collect(),
        macros_added: diff.macros_added,
        macros_removed: diff.macros_removed,
        macros_changed: diff.macros_changed,
        variables_kept: diff.variables_kept,
        variables_added: diff.variables_added,
        variables_dropped: diff.variables_dropped,
        unchanged: u32::try_from(diff.unchanged).unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atalaya_model::capture::CaptureKind;

    #[test]
    fn the_union_accepts_what_either_does() {
        let path = |path: &str, flags| Approvers {
            paths: vec![(path.to_owned(), flags)],
            ..Approvers::default()
        };
        let interest = |kinds: Vec<(CaptureKind, Approvers)>| Interest {
            approvers: kinds.into_iter().collect(),
            capture_all_errors: false,
            ..Interest::default()
        };
        let old = interest(vec![
            (CaptureKind::Open, path("/a", 1)),
            (CaptureKind::Chmod, path("/c", 0)),
        ]);
        let new = interest(vec![
            (CaptureKind::Open, path("/b", 0)),
            (
                CaptureKind::Rename,
                Approvers {
                    all: true,
                    ..Approvers::default()
                },
            ),
        ]);
        let both = union(&old, &new);
        assert_eq!(
            both.approvers[&CaptureKind::Open].paths,
            [("/a".to_owned(), 1), ("/b".to_owned(), 0)]
        );
        assert_eq!(both.approvers[&CaptureKind::Chmod], path("/c", 0));
        assert!(both.approvers[&CaptureKind::Rename].all);
    }
}
