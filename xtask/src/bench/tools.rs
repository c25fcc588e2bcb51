//! The compiled loops, and reading what a process used.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde_json::Value;

use super::measure::Sample;
use crate::daemons::Place;
use crate::util::{output, run};

/// Compiled programs.
pub(crate) struct Tools {
    workload: PathBuf,
    /// The program that the spawn loop runs.
    pub(crate) tiny: PathBuf,
}

impl Tools {
    /// Compiles the loops into a directory.
    pub(crate) fn build(dir: &Path) -> Result<Self> {
        let tools = Self {
            workload: dir.join("workload"),
            tiny: dir.join("tiny"),
        };
        compile(dir, include_str!("workload.c"), &tools.workload, &[])?;
        let bare = ["-static", "-nostdlib", "-nostartfiles"];
        compile(dir, include_str!("tiny.c"), &tools.tiny, &bare)?;
        Ok(tools)
    }

    /// Runs a loop so often.
    pub(crate) fn measure(&self, how: &str, count: u64, target: &str) -> Result<Sample> {
        let answer = output(
            Command::new(&self.workload)
                .arg(how)
                .arg(count.to_string())
                .arg(target),
        )?;
        let numbers = numbers(&answer)?;
        let per = |total: f64| total / numbers[0];
        Ok(Sample {
            wall: per(numbers[1]),
            cpu: per(numbers[2]),
        })
    }

    /// Runs a loop in two processes for so long; returns the operations of both.
    pub(crate) fn storm(&self, how: &str, seconds: u64, target: &str) -> Result<u64> {
        let children = (0..2)
            .map(|_| {
                Command::new(&self.workload)
                    .arg(how)
                    .arg(seconds.to_string())
                    .arg(target)
                    .stdout(Stdio::piped())
                    .spawn()
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut total = 0;
        for child in children {
            let answer = child.wait_with_output()?;
            total += numbers(&String::from_utf8_lossy(&answer.stdout))?[0] as u64;
        }
        Ok(total)
    }
}

fn compile(dir: &Path, source: &str, to: &Path, flags: &[&str]) -> Result<()> {
    let file = dir.join("source.c");
    std::fs::write(&file, source)?;
    run(Command::new("cc")
        .args(["-O2", "-Wall", "-o"])
        .arg(to)
        .args(flags)
        .arg(&file))
}

fn numbers(answer: &str) -> Result<[f64; 3]> {
    let numbers: Vec<f64> = answer
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    numbers
        .try_into()
        .ok()
        .with_context(|| format!("the workload printed {answer:?}"))
}

/// CPU time of all threads of a process, in nanoseconds (the scheduler's own count, finer than clock ticks).
pub(crate) fn cpu_time(pid: u32) -> u64 {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0;
    };
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

/// Memory in MB (10⁶ bytes).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    pub(crate) rss: f64,
    pub(crate) pss: f64,
}

/// A process's memory.
pub(crate) fn memory(pid: u32) -> Memory {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let field = |name: &str| {
        text.lines()
            .find_map(|line| {
                line.strip_prefix(name)?
                    .split_whitespace()
                    .next()?
                    .parse::<f64>()
                    .ok()
            })
            .map_or(0.0, |kib| kib * 1024.0 / 1e6)
    };
    Memory {
        rss: field("Rss:"),
        pss: field("Pss:"),
    }
}

/// What system-probe counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    pub(crate) received: u64,
    pub(crate) lost: u64,
}

impl Counters {
    /// Asks `status`.
    pub(crate) fn read(place: &Place) -> Option<Self> {
        let answer = output(&mut place.agent(&["status", "--json"])).ok()?;
        let status: Value = serde_json::from_str(&answer).ok()?;
        let mut counters = Self::default();
        let mut rings = 0;
        visit(&status, "rings", &mut |ring| {
            rings += 1;
            counters.received += number(ring, "received");
            counters.lost += number(ring, "lost");
        });
        (rings > 0).then_some(counters)
    }
}

/// Calls `found` with each element of every list of this name.
fn visit(value: &Value, name: &str, found: &mut impl FnMut(&Value)) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::Array(items) if key.eq_ignore_ascii_case(name) => {
                        items.iter().for_each(&mut *found);
                    }
                    _ => visit(value, name, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| visit(item, name, found)),
        _ => {}
    }
}

fn number(value: &Value, name: &str) -> u64 {
    let Some(fields) = value.as_object() else {
        return 0;
    };
    fields
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .and_then(|(_, value)| value.as_u64().or_else(|| value.as_str()?.parse().ok()))
        .unwrap_or(0)
}
