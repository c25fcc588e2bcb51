//! The report for a terminal. Names come from whoever made interfaces and programs: here they cannot make lines; what else a terminal
//! obeys, the caller makes harmless.

use std::fmt::Write;

use super::report::{Classifier, InterfaceReport, NamespaceReport, Report};

/// The report as text. Interfaces on which nothing is and nothing is wrong are counted only, unless all are wanted.
pub fn text(report: &Report, all: bool) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = write_report(&mut out, report, all);
    out
}

fn write_report(out: &mut String, report: &Report, all: bool) -> std::fmt::Result {
    writeln!(
        out,
        "Network doctor: {}",
        if report.trouble { "TROUBLE" } else { "OK" }
    )?;
    writeln!(out, "  {}", report.summary)?;
    writeln!(
        out,
        "  our classifiers: {} by {}, classifier_priority {}{}",
        match (report.enabled, report.attached) {
            (false, _) => "off",
            (_, true) => "attached",
            (_, false) => "not attached",
        },
        report.hook,
        report.classifier_priority,
        match report.right_priority {
            Some(right) if right < report.classifier_priority =>
                format!(" (right would be {right} or lower)"),
            Some(_) => String::new(),
            None => " (no priority is right)".into(),
        }
    )?;
    for advice in &report.advice {
        writeln!(out, "  do: {advice}")?;
    }
    for note in &report.notes {
        writeln!(out, "  note: {note}")?;
    }
    for namespace in &report.namespaces {
        write_namespace(out, namespace, all)?;
    }
    Ok(())
}

fn write_namespace(out: &mut String, namespace: &NamespaceReport, all: bool) -> std::fmt::Result {
    write!(out, "\nNamespace {}", namespace.inum)?;
    if namespace.own {
        write!(out, " (this one)")?;
    }
    if let Some(path) = &namespace.path {
        write!(out, ", {}", clean(path))?;
    }
    if !namespace.pids.is_empty() {
        let pids: Vec<String> = namespace.pids.iter().map(u32::to_string).collect();
        write!(out, ", pids {}", pids.join(" "))?;
    }
    writeln!(out)?;
    if let Some(error) = &namespace.error {
        writeln!(out, "  cannot be looked at: {error}")?;
    }
    let plain = |one: &&InterfaceReport| {
        !all && one.classifiers.is_empty() && one.reasons.is_empty() && !one.verdict.is_trouble()
    };
    for interface in namespace.interfaces.iter().filter(|one| !plain(one)) {
        write_interface(out, interface)?;
    }
    match namespace.interfaces.iter().filter(plain).count() {
        0 => Ok(()),
        count => writeln!(out, "  {count} interfaces without any classifier"),
    }
}

fn write_interface(out: &mut String, interface: &InterfaceReport) -> std::fmt::Result {
    write!(out, "  {}", clean(&interface.name))?;
    if let Some(kind) = &interface.kind {
        write!(out, " ({kind})")?;
    }
    writeln!(out, ": {}", interface.verdict.text())?;
    if let Some(packets) = interface.packets {
        writeln!(out, "    {packets} packets seen")?;
    }
    if let Some(error) = &interface.error {
        writeln!(out, "    cannot be looked at: {error}")?;
    }
    for classifier in &interface.classifiers {
        write_classifier(out, classifier)?;
    }
    for reason in &interface.reasons {
        writeln!(out, "    {}", clean(reason))?;
    }
    for advice in &interface.advice {
        writeln!(out, "    do: {}", clean(advice))?;
    }
    Ok(())
}

fn write_classifier(out: &mut String, one: &Classifier) -> std::fmt::Result {
    write!(
        out,
        "    {} {}. {}",
        one.direction,
        one.position + 1,
        one.hook
    )?;
    if let (Some(priority), Some(handle)) = (one.priority, one.handle) {
        write!(out, " priority {priority} handle {handle:#x}")?;
    }
    if let Some(protocol) = one.protocol {
        write!(out, " protocol {protocol:#06x}")?;
    }
    if one.chain != 0 {
        write!(out, " chain {}", one.chain)?;
    }
    match one.program {
        Some(id) => write!(out, " '{}' id {id} tag {}", clean(&one.name), one.tag)?,
        None => write!(out, " {} filter", clean(&one.kind))?,
    }
    if one.ours {
        write!(out, " (ours)")?;
    }
    write!(out, ": {}", one.finding.class.text())?;
    let verdicts: Vec<&str> = one.finding.verdicts.iter().copied().collect();
    if !verdicts.is_empty() {
        write!(out, " [{}]", verdicts.join(" "))?;
    }
    writeln!(out)?;
    for reason in &one.finding.reasons {
        writeln!(out, "      {reason}")?;
    }
    if !one.tail_calls.is_empty() {
        let ids: Vec<String> = one.tail_calls.iter().take(16).map(u32::to_string).collect();
        writeln!(out, "      tail-calls at present: {}", ids.join(" "))?;
    }
    for holder in &one.owner.processes {
        writeln!(
            out,
            "      held by pid {} {} {}",
            holder.pid,
            clean(&holder.comm),
            clean(&holder.executable)
        )?;
    }
    for path in &one.owner.pinned {
        writeln!(out, "      pinned at {}", clean(path))?;
    }
    Ok(())
}

/// A name without what would end its line.
fn clean(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}
