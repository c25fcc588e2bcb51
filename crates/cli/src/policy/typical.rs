//! What a rule costs on events as they are seen all day.

use std::hint::black_box;
use std::time::Instant;

use atalaya_policy::{Rule, RuleSet, Scratch};
use atalaya_secl::model::Schema;
use atalaya_secl::{EvalContext, NoVariables};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::trial::Trial;

/// Programs and what they touch: the file of the event, the program, its argument, its parent's program.
const SCENES: [[&str; 4]; 6] = [
    [
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
        "/usr/bin/ls",
        "-la",
        "/usr/bin/bash",
    ],
    [
        "/etc/passwd",
        "/usr/sbin/sshd",
        "-D",
        "/usr/lib/systemd/systemd",
    ],
    [
        "/var/log/syslog",
        "/usr/sbin/rsyslogd",
        "-n",
        "/usr/lib/systemd/systemd",
    ],
    [
        "/home/ana/project/src/main.rs",
        "/usr/bin/python3.11",
        "build.py",
        "/usr/bin/make",
    ],
    [
        "/proc/self/status",
        "/usr/bin/containerd-shim-runc-v2",
        "-namespace",
        "/usr/bin/containerd",
    ],
    [
        "/tmp/build-1234/out.o",
        "/usr/bin/gcc-12",
        "-O2",
        "/usr/bin/make",
    ],
];

/// Medians in nanoseconds.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    /// The rule alone, all of its parts that are needed.
    pub(super) rule_ns: f64,
    /// All rules of this event type together, as an event is decided.
    pub(super) event_ns: f64,
    /// How many events it was measured on.
    pub(super) events: usize,
    /// How many of them the rule matched.
    pub(super) matched: usize,
}

/// Measures a rule on typical events; `None` where no such event can be made.
pub(super) fn measure(rules: &RuleSet, rule: &Rule) -> Option<Measured> {
    let events: Vec<_> = SCENES
        .iter()
        .filter_map(|scene| event(&rule.event_type, scene))
        .collect();
    if events.is_empty() {
        return None;
    }
    let program = rule.program();
    let alone = |event: &Trial, now_ns| {
        let context = EvalContext {
            now_ns,
            variables: &NoVariables,
        };
        program.matches(event, &context)
    };
    let matched = events.iter().filter(|(event, now)| alone(event, *now));
    let matched = matched.count();
    let rule_ns = median(|| {
        for (event, now_ns) in &events {
            black_box(alone(event, *now_ns));
        }
    });
    let mut scratch = Scratch::default();
    let event_ns = median(|| {
        for (event, now_ns) in &events {
            let kind = &rule.event_type;
            black_box(rules.evaluate(
                kind,
                event,
                *now_ns,
                &mut NoVariables,
                &mut scratch,
                |_, rule| {
                    black_box(rule);
                },
            ));
        }
    });
    let count = events.len() as f64;
    Some(Measured {
        rule_ns: rule_ns / count,
        event_ns: event_ns / count,
        events: events.len(),
        matched,
    })
}

/// An event of the type in a scene, with the fields that such an event has.
fn event(event_type: &str, [file, program, argument, parent]: &[&str; 4]) -> Option<(Trial, u64)> {
    let mut values = Map::new();
    let mut put = |name: String, value: Value| {
        if atalaya_model::schema().field(&name).is_some() {
            values.insert(name, value);
        }
    };
    put("process.pid".into(), json!(4242));
    put("process.uid".into(), json!(1000));
    put(
        "process.ancestors.file.path".into(),
        json!([parent, "/usr/lib/systemd/systemd"]),
    );
    if event_type == "exec" {
        put("exec.file.path".into(), json!(program));
        put("exec.argv".into(), json!([argument, file]));
    } else {
        put("process.file.path".into(), json!(program));
        put("process.argv".into(), json!([argument, file]));
        put(format!("{event_type}.file.path"), json!(file));
        put(format!("{event_type}.file.mode"), json!(0o100_644));
    }
    Trial::new(event_type, &values).ok()
}

/// The median time of many runs, in nanoseconds.
fn median(mut work: impl FnMut()) -> f64 {
    const SAMPLES: usize = 101;
    const RUNS: u32 = 50;
    work();
    let mut samples: Vec<f64> = (0..SAMPLES)
        .map(|_| {
            let began = Instant::now();
            for _ in 0..RUNS {
                work();
            }
            began.elapsed().as_nanos() as f64 / f64::from(RUNS)
        })
        .collect();
    samples.sort_by(f64::total_cmp);
    samples[SAMPLES / 2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use atalaya_model::EVENT_TYPES;

    #[test]
    fn every_event_type_has_typical_events() {
        for known in EVENT_TYPES {
            for scene in &SCENES {
                assert!(event(known.name, scene).is_some(), "{}", known.name);
            }
        }
    }
}
