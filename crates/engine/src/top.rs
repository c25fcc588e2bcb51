//! `runtime top`: who causes events and cost, counted only while somebody watches.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use atalaya_api::{ControlError, proto};
use atalaya_model::capture::{CAPTURE_KINDS, CaptureKind};
use rustc_hash::FxHashMap;

use crate::costs::{self, Measure};
use crate::engine::Shared;
use crate::stats::get;

/// How many processes are told apart.
const PROCESSES: usize = 8192;
/// The shortest interval.
const SHORTEST: Duration = Duration::from_millis(100);
/// Lines of each list: where nothing is asked for, and at most.
const LINES: usize = 20;
const MOST_LINES: usize = 1000;

/// What processes have caused since somebody watches.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    processes: FxHashMap<u32, Caused>,
    /// Events of processes for which there was no place.
    others: u64,
}

/// What one process has caused.
#[derive(Debug, Clone, Default)]
struct Caused {
    /// A process has events of few kinds.
    kinds: Vec<(CaptureKind, u64)>,
    cost_ns: u64,
}

impl Caused {
    fn add(&mut self, kind: CaptureKind, count: u64) {
        match self.kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, sum)) => *sum += count,
            None => self.kinds.push((kind, count)),
        }
    }

    fn events(&self) -> u64 {
        self.kinds.iter().map(|(_, count)| count).sum()
    }

    /// What came after `before`.
    fn since(&self, before: Option<&Self>) -> Self {
        let Some(before) = before else {
            return self.clone();
        };
        let earlier = |kind| {
            let found = before.kinds.iter().find(|(known, _)| *known == kind);
            found.map_or(0, |(_, count)| *count)
        };
        let kinds = self.kinds.iter();
        Self {
            kinds: kinds
                .map(|(kind, count)| (*kind, count.saturating_sub(earlier(*kind))))
                .filter(|(_, count)| *count > 0)
                .collect(),
            cost_ns: self.cost_ns.saturating_sub(before.cost_ns),
        }
    }
}

impl Table {
    /// An event of this process; `cost_ns` where it was a sample.
    pub(crate) fn count(&mut self, pid: u32, kind: CaptureKind, cost_ns: u64) {
        if self.processes.len() >= PROCESSES && !self.processes.contains_key(&pid) {
            self.others += 1;
            return;
        }
        let caused = self.processes.entry(pid).or_default();
        caused.add(kind, 1);
        caused.cost_ns = caused.cost_ns.saturating_add(cost_ns);
    }
}

/// Who watches, and what is counted for them.
#[derive(Debug, Default)]
pub(crate) struct Top {
    viewers: AtomicUsize,
    table: Mutex<Table>,
}

impl Top {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table, while somebody watches.
    pub(crate) fn watched(&self) -> Option<MutexGuard<'_, Table>> {
        (self.viewers.load(Ordering::Relaxed) > 0).then(|| self.table())
    }
}

/// Counts for as long as it is there.
struct Viewer<'a>(&'a Top);

impl<'a> Viewer<'a> {
    fn new(top: &'a Top) -> Self {
        let _table = top.table();
        top.viewers.fetch_add(1, Ordering::Relaxed);
        Self(top)
    }
}

impl Drop for Viewer<'_> {
    fn drop(&mut self) {
        let mut table = self.0.table();
        if self.0.viewers.fetch_sub(1, Ordering::Relaxed) == 1 {
            *table = Table::default();
        }
    }
}

/// Counters of an event type or a rule: events or evaluations, cost, and losses or matches.
type Counters = (u64, u64, u64);

/// Watches for a while.
pub(crate) fn watch(
    shared: &Shared,
    params: &proto::TopParams,
) -> Result<proto::TopMessage, ControlError> {
    let by = By::parse(&params.by)?;
    let lines = match params.limit {
        0 => LINES,
        limit => usize::try_from(limit).unwrap_or(MOST_LINES).min(MOST_LINES),
    };
    let time = Duration::from_millis(params.duration_ms.into()).clamp(SHORTEST, costs::LONGEST);
    let viewer = Viewer::new(&shared.top);
    let before = viewer.0.table().clone();
    let (kinds_before, rules_before) = (kinds(shared), rules(shared));
    let measure = Measure::begin(shared);
    let began = Instant::now();
    if !costs::wait(shared, time) {
        return Err(ControlError::Failed("system-probe is stopping".to_owned()));
    }
    let interval = began.elapsed();
    let after = viewer.0.table().clone();
    let cost = measure.read(shared);
    drop(viewer);
    let caused: Vec<(u32, Caused)> = after
        .processes
        .iter()
        .map(|(pid, caused)| (*pid, caused.since(before.processes.get(pid))))
        .filter(|(_, caused)| !caused.kinds.is_empty())
        .collect();
    let others = after.others.saturating_sub(before.others);
    let events = others
        + caused
            .iter()
            .map(|(_, caused)| caused.events())
            .sum::<u64>();
    let mut processes = rows(shared, caused, by);
    processes.sort_by_key(|row| std::cmp::Reverse((row.events, row.cost_ns)));
    let left = processes.iter().skip(lines).map(|row| row.events);
    let other_events = others + left.sum::<u64>();
    processes.truncate(lines);
    Ok(proto::TopMessage {
        interval_ms: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
        processes,
        event_types: event_types(&kinds_before, &kinds(shared), &cost, lines),
        rules: rule_rows(&rules_before, rules(shared), lines),
        cost: Some(cost),
        other_events,
        events,
    })
}

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Process,
    Program,
    Container,
    User,
}

impl By {
    fn parse(text: &str) -> Result<Self, ControlError> {
        match text {
            "" | "process" => Ok(Self::Process),
            "program" => Ok(Self::Program),
            "container" => Ok(Self::Container),
            "user" => Ok(Self::User),
            other => Err(ControlError::Invalid(format!(
                "cannot group by `{other}`: it is `process`, `program`, `container` or `user`"
            ))),
        }
    }
}

/// A line for each process, or for all of one kind.
fn rows(shared: &Shared, caused: Vec<(u32, Caused)>, by: By) -> Vec<proto::TopProcess> {
    let mut rows: HashMap<String, (proto::TopProcess, Caused)> = HashMap::new();
    let tree = shared.tree();
    for (pid, caused) in caused {
        let process = tree.get(pid);
        let row = proto::TopProcess {
            pid,
            processes: 1,
            comm: process.map_or_else(String::new, |p| p.comm.to_string()),
            path: process.map_or_else(String::new, |p| p.image.file.path.clone()),
            uid: process.map_or(u32::MAX, |p| p.creds.euid),
            container_id: process.map_or_else(String::new, |p| p.container_id().to_owned()),
            cgroup: process.map_or_else(String::new, |p| p.cgroup.path.to_string()),
            ended: process.is_none_or(|p| p.exit_time != 0),
            ..proto::TopProcess::default()
        };
        let key = match by {
            By::Process => pid.to_string(),
            By::Program => row.path.clone(),
            By::Container => row.container_id.clone(),
            By::User => row.uid.to_string(),
        };
        match rows.entry(key) {
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert((row, caused));
            }
            std::collections::hash_map::Entry::Occupied(mut entry) => {
                let (known, sum) = entry.get_mut();
                join(known, row);
                for (kind, count) in caused.kinds {
                    sum.add(kind, count);
                }
                sum.cost_ns += caused.cost_ns;
            }
        }
    }
    drop(tree);
    rows.into_values()
        .map(|(row, mut caused)| {
            caused
                .kinds
                .sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            proto::TopProcess {
                events: caused.events(),
                cost_ns: caused.cost_ns,
                types: caused
                    .kinds
                    .iter()
                    .map(|(kind, count)| proto::EventCount {
                        event_type: kind.name().to_owned(),
                        count: *count,
                    })
                    .collect(),
                ..row
            }
        })
        .collect()
}

/// Leaves what both have in common.
fn join(known: &mut proto::TopProcess, other: proto::TopProcess) {
    known.processes += 1;
    known.pid = 0;
    known.ended &= other.ended;
    if known.uid != other.uid {
        known.uid = u32::MAX;
    }
    for (mine, others) in [
        (&mut known.comm, other.comm),
        (&mut known.path, other.path),
        (&mut known.container_id, other.container_id),
        (&mut known.cgroup, other.cgroup),
    ] {
        if *mine != others {
            mine.clear();
        }
    }
}

fn kinds(shared: &Shared) -> HashMap<CaptureKind, Counters> {
    let all = shared.stats.all();
    all.map(|(kind, stats)| {
        let counters = (get(&stats.received), get(&stats.cost_ns), get(&stats.lost));
        (kind, counters)
    })
    .collect()
}

fn since(now: Counters, before: Option<&Counters>) -> Counters {
    let before = before.copied().unwrap_or_default();
    (
        now.0.saturating_sub(before.0),
        now.1.saturating_sub(before.1),
        now.2.saturating_sub(before.2),
    )
}

fn event_types(
    before: &HashMap<CaptureKind, Counters>,
    after: &HashMap<CaptureKind, Counters>,
    cost: &proto::CostStatus,
    lines: usize,
) -> Vec<proto::TopEventType> {
    let mut rows: Vec<proto::TopEventType> = CAPTURE_KINDS
        .iter()
        .filter_map(|kind| {
            let (events, cost_ns, lost) = since(*after.get(kind)?, before.get(kind));
            let of = |program: &&proto::ProgramCost| program.event_types == [kind.name()];
            let programs = cost.programs.iter().filter(of);
            let program_ns = programs.map(|program| program.run_time_ns).sum();
            (events > 0 || lost > 0 || program_ns > 0).then(|| proto::TopEventType {
                event_type: kind.name().to_owned(),
                events,
                cost_ns,
                program_ns,
                lost,
            })
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse((row.cost_ns + row.program_ns, row.events)));
    rows.truncate(lines);
    rows
}

/// The rules by id: evaluations, cost, matches.
fn rules(shared: &Shared) -> HashMap<String, Counters> {
    let loaded = shared.rules.load();
    let rules = loaded.ruleset.rules().iter().zip(&loaded.counters);
    rules
        .filter(|(rule, _)| !rule.policy.internal)
        .map(|(rule, counters)| {
            let cost = get(&counters.evaluation_ns) + get(&counters.action_ns);
            let counters = (get(&counters.evaluations), cost, get(&counters.matched));
            (rule.id.clone(), counters)
        })
        .collect()
}

fn rule_rows(
    before: &HashMap<String, Counters>,
    after: HashMap<String, Counters>,
    lines: usize,
) -> Vec<proto::TopRule> {
    let mut rows: Vec<proto::TopRule> = after
        .into_iter()
        .map(|(id, now)| {
            let (evaluations, cost_ns, matches) = since(now, before.get(&id));
            proto::TopRule {
                id,
                evaluations,
                matches,
                cost_ns,
            }
        })
        .filter(|row| row.evaluations > 0 || row.matches > 0)
        .collect();
    rows.sort_by(|a, b| {
        let cost = (b.cost_ns, b.matches).cmp(&(a.cost_ns, a.matches));
        cost.then_with(|| a.id.cmp(&b.id))
    });
    rows.truncate(lines);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_viewers_see_is_what_came_since_each_began() {
        let mut table = Table::default();
        table.count(1, CaptureKind::Open, 100);
        let before = table.clone();
        table.count(1, CaptureKind::Open, 0);
        table.count(1, CaptureKind::Exec, 50);
        let new = table.processes[&1].since(before.processes.get(&1));
        assert_eq!((new.events(), new.cost_ns), (2, 50));
        assert_eq!(table.processes[&1].since(None).events(), 3);
    }

    /// A fork bomb does not make the table grow.
    #[test]
    fn processes_without_end_are_counted_together() {
        let mut table = Table::default();
        for pid in 0..20_000 {
            table.count(pid, CaptureKind::Open, 1);
        }
        assert_eq!(table.processes.len(), PROCESSES);
        assert_eq!(table.others, 20_000 - PROCESSES as u64);
    }

    #[test]
    fn nothing_is_counted_when_the_last_viewer_has_gone() {
        let top = Top::default();
        assert!(top.watched().is_none());
        let (one, two) = (Viewer::new(&top), Viewer::new(&top));
        if let Some(mut table) = top.watched() {
            table.count(1, CaptureKind::Open, 1);
        }
        drop(one);
        assert_eq!(top.table().processes.len(), 1);
        drop(two);
        assert!(top.watched().is_none() && top.table().processes.is_empty());
    }
}
