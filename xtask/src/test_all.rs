//! `./dev test-all`: what `./dev test` leaves out because it takes hours: every kernel in every tier, and machines on which
//! something is missing or forbidden.

use std::time::Instant;

use anyhow::Result;

use crate::report::Report;
use crate::test::{finish, virtual_machines};
use crate::vm::{Fixture, Job, Suite, Tier};

/// Arguments of `test-all`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only list the machines.
    #[arg(long)]
    list: bool,
}

/// Every kernel in every tier, and the fixtures; but for what `./dev test` runs.
fn machines() -> Vec<Job> {
    let mut jobs = Vec::new();
    for (series, suite) in [("5.10", Suite::Whole), ("backport", Suite::Whole)] {
        jobs.push(Job::new(series, Tier::Lsm, suite).with_verifier());
        jobs.push(Job::new(series, Tier::Kprobe, Suite::Events));
        jobs.push(Job::new(series, Tier::Tracepoint, Suite::Events));
    }
    jobs.extend([
        Job::new("6.12", Tier::Lsm, Suite::Whole),
        Job::new("6.1", Tier::Kprobe, Suite::Events),
        Job::new("6.12", Tier::Lsm, Suite::Events).with(Fixture::NoBpfLsm),
        Job::new("6.12", Tier::Lsm, Suite::Some(vec!["selinux".into()])).with(Fixture::Selinux),
        Job::new("6.12", Tier::Kprobe, Suite::Events),
        Job::new("6.12", Tier::Tracepoint, Suite::Events),
        Job::new("6.1", Tier::Tracepoint, Suite::Events),
        Job::new("6.1", Tier::Lsm, Suite::Events).with(Fixture::NoBpfLsm),
        // Debian's own list of security modules has no `bpf` there.
        Job::new("5.10", Tier::Lsm, Suite::Events).with(Fixture::NoBpfLsm),
        Job::new("5.10", Tier::Auto, Suite::Events).with(Fixture::NoRingbuf),
    ]);
    for series in ["5.10", "6.1", "6.12", "backport"] {
        for fixture in [Fixture::NoBtf, Fixture::Lockdown] {
            jobs.push(Job::new(series, Tier::Auto, Suite::Whole).with(fixture));
        }
    }
    jobs
}

/// What `test-all` does.
pub(crate) fn main(args: &Args) -> Result<()> {
    let began = Instant::now();
    if args.list {
        for job in machines() {
            println!("{}: {}", job.name(), job.suite);
        }
        return Ok(());
    }
    let mut report = Report::default();
    let columns = virtual_machines(&mut report, machines());
    finish(&report, &columns, began)
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_machine_is_there_twice() {
        let mut names: Vec<String> = super::machines().iter().map(|job| job.name()).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
