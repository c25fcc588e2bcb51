//! The report, for people and as JSON. Everything in events may have been chosen by an attacker.

use std::collections::VecDeque;
use std::fmt::Write;

use atalaya_api::Sanitized;
use atalaya_policy::Status;
use serde_json::{Value, json};

use super::tally::{Sample, Tally};
use super::{Report, number};
use crate::line::{BOLD, DIM, RED, Style, YELLOW};

/// So many programs are named.
const PROGRAMS: usize = 5;
/// What a report must not let anybody forget.
const NOTE: &str = "Recorded is only what some rule matched at that time, after rate limits, and an event tells less than the rule saw (masked \
secrets, names of environment variables without values). A match is a match; that there is none proves little. Variables begin unset. \
No action but `set` was carried out.";

impl Report<'_> {
    /// Those that matched, the most frequent first; then those that something was lost of.
    fn shown(&self) -> Vec<&Tally> {
        let tallies = self.replay.tallies.iter();
        let mut shown: Vec<&Tally> = tallies
            .filter(|tally| tally.matches > 0 || tally.recorded > 0)
            .collect();
        shown.sort_by_key(|tally| std::cmp::Reverse((tally.matches, tally.recorded)));
        shown
    }

    /// Whether there were events of its type to judge it by.
    fn is_judged(&self, tally: &Tally) -> bool {
        let seen = &self.replay.totals.by_type;
        tally.types.iter().any(|name| seen.contains_key(name))
    }

    fn left_out(&self) -> Vec<(&str, String)> {
        let policies = &self.loaded.report.policies;
        let rules = policies.iter().flat_map(|policy| &policy.rules);
        let out = rules.filter(|rule| matches!(rule.status, Status::Filtered | Status::Error));
        out.filter(|rule| !self.replay.tallies.iter().any(|tally| tally.id == rule.id))
            .map(|rule| {
                let why = match (&rule.filter_reason, rule.errors.first()) {
                    (_, Some(error)) => error.message.clone(),
                    (Some(reason), None) => reason.clone(),
                    (None, None) => "not in force".to_owned(),
                };
                (rule.id.as_str(), why)
            })
            .collect()
    }

    // Writing to a String cannot fail, so results are dropped.

    /// For people.
    pub(super) fn text(&self, style: Style) -> String {
        let totals = &self.replay.totals;
        let mut text = format!(
            "{}: {} on {}\n",
            Sanitized(&self.loaded.from),
            number(self.replay.tallies.len() as u64, "rule"),
            number(totals.events, "recorded event")
        );
        let span = match (totals.first_ns, totals.last_ns) {
            (Some(first), Some(last)) => format!(", {} – {}", time(first), time(last)),
            _ => String::new(),
        };
        let _ = writeln!(
            text,
            "  {}{span}; read in {:.1} s",
            number(totals.records, "record"),
            self.took.as_secs_f64()
        );
        for (amount, what) in [
            (
                totals.duplicates,
                "are of an event that another rule had recorded too: it counts once",
            ),
            (totals.own, "are of the agent's own: no rule is about them"),
            (totals.outside, "are outside the time that was asked for"),
            (totals.unreadable, "could not be read"),
        ] {
            if amount > 0 {
                let why = totals.why.as_ref().filter(|_| what == "could not be read");
                let why = why.map_or(String::new(), |why| format!(": {}", Sanitized(why)));
                let _ = writeln!(text, "  {amount} {what}{why}");
            }
        }
        if !self.skipped.is_empty() {
            let files = number(self.skipped.len() as u64, "older file");
            let _ = writeln!(text, "  {files} not read: nothing in them of that time");
        }
        let types = totals.by_type.iter();
        let types: Vec<String> = types.map(|(name, n)| format!("{name} {n}")).collect();
        if !types.is_empty() {
            let _ = writeln!(text, "  types: {}", Sanitized(&types.join(", ")));
        }
        self.table(&mut text, style);
        self.rest(&mut text, style);
        let _ = writeln!(text, "\n{}", style.paint(DIM, NOTE));
        text
    }

    fn table(&self, text: &mut String, style: Style) {
        let shown = self.shown();
        if shown.is_empty() {
            text.push_str("\nNo rule matched.\n");
            return;
        }
        let names = shown.iter().map(|tally| Sanitized(&tally.id).to_string());
        let names: Vec<String> = names.collect();
        let widths = names.iter().map(|name| name.chars().count());
        let width = widths.max().unwrap_or(0).clamp(4, 48);
        let head = format!(
            "{:<width$}  {:>8}  {:>8}  {:>8}  {:>8}  {:>8}  {:>8}",
            "RULE", "MATCHES", "SENT", "RECORDED", "LOST", "UNCLEAR", "NEW"
        );
        let _ = writeln!(text, "\n{}", style.paint(BOLD, &head));
        for (tally, name) in shown.iter().zip(&names) {
            let lost = format!("{:>8}", tally.lost);
            let lost = match tally.lost {
                0 => lost,
                _ => style.paint(RED, &lost),
            };
            let _ = writeln!(
                text,
                "{name:<width$}  {:>8}  {:>8}  {:>8}  {lost}  {:>8}  {:>8}",
                tally.matches,
                tally.sent,
                tally.recorded,
                tally.unclear,
                tally.added()
            );
            details(text, tally, style);
        }
        text.push_str(
            "\nSENT: what rate limits let through. RECORDED: by the rule of this id. LOST: of these, no match any more. UNCLEAR: no match \
             though the rule\nis unchanged, so the record tells too little. NEW: matches that the rule of this id had not recorded.\n",
        );
    }

    fn rest(&self, text: &mut String, style: Style) {
        let never = self
            .replay
            .tallies
            .iter()
            .filter(|tally| tally.matches == 0);
        let (judged, unjudged): (Vec<_>, Vec<_>) = never.partition(|tally| self.is_judged(tally));
        if !judged.is_empty() {
            let ids: Vec<&str> = judged.iter().map(|tally| tally.id.as_str()).collect();
            let title = format!("Never matched ({})", ids.len());
            let _ = writeln!(text, "\n{}", style.paint(BOLD, &title));
            let _ = writeln!(text, "  {}", Sanitized(&ids.join(", ")));
        }
        if !unjudged.is_empty() {
            let title = format!("Cannot be judged ({})", unjudged.len());
            let _ = writeln!(text, "\n{}", style.paint(BOLD, &title));
            for tally in unjudged {
                let types = tally.types.join(", ");
                let line = format!("{}: no recorded events of type {types}", tally.id);
                let _ = writeln!(text, "  {}", Sanitized(&line));
            }
        }
        let left_out = self.left_out();
        if !left_out.is_empty() {
            let title = format!("Left out ({})", left_out.len());
            let _ = writeln!(text, "\n{}", style.paint(BOLD, &title));
            for (id, why) in left_out {
                let _ = writeln!(text, "  {}: {}", Sanitized(id), Sanitized(&why));
            }
        }
        if !self.replay.others.is_empty() {
            let _ = writeln!(
                text,
                "\n{}",
                style.paint(BOLD, "Recorded by rules that are not here")
            );
            for (id, recorded) in &self.replay.others {
                let _ = writeln!(text, "  {} {recorded}", Sanitized(id));
            }
        }
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let totals = &self.replay.totals;
        let tallies = self.replay.tallies.iter();
        let paths = |paths: &[std::path::PathBuf]| -> Vec<String> {
            paths
                .iter()
                .map(|path| path.display().to_string())
                .collect()
        };
        let left_out = self.left_out().into_iter();
        json!({
            "policies": self.loaded.from,
            "files": paths(&self.read),
            "files_skipped": paths(&self.skipped),
            "took_ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            "events": {
                "records": totals.records,
                "distinct": totals.events,
                "duplicates": totals.duplicates,
                "own": totals.own,
                "outside": totals.outside,
                "unreadable": totals.unreadable,
                "unreadable_because": totals.why,
                "by_type": totals.by_type,
                "first": totals.first_ns.map(time),
                "last": totals.last_ns.map(time),
            },
            "rules": tallies.map(|tally| self.rule(tally)).collect::<Vec<_>>(),
            "left_out": left_out.map(|(id, why)| json!({"id": id, "reason": why})).collect::<Vec<_>>(),
            "recorded_by_others": self.replay.others,
            "errors": self.errors,
            "note": NOTE,
        })
    }

    fn rule(&self, tally: &Tally) -> Value {
        let programs = programs(tally).into_iter();
        let is_judged = self.is_judged(tally);
        let reason = format!("no recorded events of type {}", tally.types.join(", "));
        json!({
            "id": tally.id,
            "policy": tally.policy,
            "event_types": tally.types,
            "judged": is_judged,
            "reason": (!is_judged).then_some(reason),
            "silent": tally.silent,
            "matches": tally.matches,
            "sent": tally.sent,
            "first": tally.first_ns.map(time),
            "last": tally.last_ns.map(time),
            "processes": programs.map(|(path, count)| json!({"path": path, "count": count})).collect::<Vec<_>>(),
            "samples": samples(&tally.samples),
            "recorded": tally.recorded,
            "kept": tally.kept,
            "lost": tally.lost,
            "unclear": tally.unclear,
            "new": tally.added(),
            "lost_samples": samples(&tally.lost_samples),
        })
    }
}

fn details(text: &mut String, tally: &Tally, style: Style) {
    let mut line = |code: &str, content: &str| {
        let _ = writeln!(
            text,
            "    {}",
            style.paint(code, &Sanitized(content).to_string())
        );
    };
    if let (Some(first), Some(last)) = (tally.first_ns, tally.last_ns) {
        line(DIM, &format!("{} – {}", time(first), time(last)));
    }
    if tally.silent {
        line(YELLOW, "silent: it sends nothing");
    }
    let programs = programs(tally);
    let named: Vec<String> = programs
        .iter()
        .map(|(path, count)| format!("{path} {count}"))
        .collect();
    if !named.is_empty() {
        let counted: u64 = programs.iter().map(|(_, count)| count).sum();
        let more = match tally.matches.saturating_sub(counted) {
            0 => String::new(),
            more => format!(", others {more}"),
        };
        line("0", &format!("by {}{more}", named.join(", ")));
    }
    for (what, samples) in [
        ("", &tally.samples),
        ("not any more: ", &tally.lost_samples),
    ] {
        for sample in samples {
            let id = sample.id.map_or(String::new(), |id| format!("#{id} "));
            line(
                DIM,
                &format!("{what}{id}{} {}", time(sample.time_ns), sample.summary),
            );
        }
    }
}

/// The most frequent programs.
fn programs(tally: &Tally) -> Vec<(&str, u64)> {
    let programs = tally.programs.iter();
    let mut programs: Vec<(&str, u64)> = programs.map(|(path, n)| (path.as_str(), *n)).collect();
    programs.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    programs.truncate(PROGRAMS);
    programs
}

fn samples(samples: &VecDeque<Sample>) -> Vec<Value> {
    let one = |sample: &Sample| json!({"event_id": sample.id, "time": time(sample.time_ns), "summary": sample.summary});
    samples.iter().map(one).collect()
}

fn time(ns: u64) -> String {
    let ms = i64::try_from(ns / 1_000_000).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_millisecond(ms);
    time.map_or_else(|_| "?".to_owned(), |time| format!("{time:.3}"))
}
