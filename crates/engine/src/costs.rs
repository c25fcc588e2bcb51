//! What system-probe and its eBPF programs cost, over an interval.
//!
//! The kernel counts the time of programs only on request, because counting costs every program of the host some nanoseconds a run.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use atalaya_api::proto;
use crossbeam_channel::RecvTimeoutError;

use crate::engine::Shared;
use crate::meter::{ns, process_time};
use crate::source::ProgramTime;

/// The longest interval.
pub(crate) const LONGEST: Duration = Duration::from_secs(10);

/// An interval that has begun.
#[derive(Debug)]
pub(crate) struct Measure {
    began: Instant,
    own: Duration,
    before: HashMap<String, ProgramTime>,
    /// While this is there, the kernel counts. Else why it does not.
    counting: Result<OwnedFd, String>,
}

impl Measure {
    /// Begins one.
    pub(crate) fn begin(shared: &Shared) -> Self {
        let stopped = || Err("the engine is stopped".to_owned());
        let counting = match shared.source().as_ref() {
            Some(source) => source.count_program_times().map_err(|e| e.to_string()),
            None => stopped(),
        };
        Self {
            before: times(shared)
                .into_iter()
                .map(|time| (time.name.clone(), time))
                .collect(),
            counting,
            own: process_time(),
            began: Instant::now(),
        }
    }

    /// What it cost until now.
    pub(crate) fn read(&self, shared: &Shared) -> proto::CostStatus {
        let interval = self.began.elapsed();
        let own = process_time().saturating_sub(self.own);
        let mut programs: Vec<proto::ProgramCost> = times(shared)
            .into_iter()
            .filter_map(|time| {
                // One that was loaded meanwhile began with nothing.
                let before = self.before.get(&time.name);
                let since = |now: u64, of: fn(&ProgramTime) -> u64| {
                    let then = before.map_or(0, of);
                    if now < then { now } else { now - then }
                };
                let runs = since(time.runs, |time| time.runs);
                (runs > 0).then(|| proto::ProgramCost {
                    runs,
                    run_time_ns: since(time.run_time_ns, |time| time.run_time_ns),
                    event_types: time.kinds.iter().map(|kind| kind.name().into()).collect(),
                    name: time.name,
                })
            })
            .collect();
        programs.sort_by_key(|program| std::cmp::Reverse(program.run_time_ns));
        let error = match &self.counting {
            // The host may count all the time (kernel.bpf_stats_enabled).
            Err(error) if programs.is_empty() => error.clone(),
            _ => String::new(),
        };
        proto::CostStatus {
            interval_ms: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
            own_ns: ns(own),
            programs,
            error,
        }
    }
}

fn times(shared: &Shared) -> Vec<ProgramTime> {
    let source = shared.source();
    source
        .as_ref()
        .map(|source| source.program_times())
        .unwrap_or_default()
}

/// Waits, at most [`LONGEST`]. Returns whether the engine goes on.
pub(crate) fn wait(shared: &Shared, time: Duration) -> bool {
    let waited = shared.stop.recv_timeout(time.min(LONGEST));
    matches!(waited, Err(RecvTimeoutError::Timeout))
}
