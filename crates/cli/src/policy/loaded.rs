//! `runtime policy check --loaded-policies`: what system-probe has loaded.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use atalaya_api::{Sanitized, proto, sanitize_json};

use super::{count, lines, verdict};
use crate::ask::{answer, connect, out};

/// Tells what system-probe has loaded.
pub(crate) async fn run(socket: &Path, json: bool, verbose: bool) -> Result<ExitCode> {
    let mut client = connect(socket).await?;
    let report = client
        .commands
        .get_rule_set_report(proto::GetRuleSetReportParams {})
        .await;
    let report = report
        .map_err(|e| answer("get policies request failed", &e))?
        .into_inner();
    anyhow::ensure!(
        report.error.is_empty(),
        "get policies request failed: {}",
        report.error
    );
    if json {
        let text = serde_json::to_string_pretty(&serde_json::to_value(&report)?)?;
        out(&format!("{}\n", sanitize_json(&text)));
    } else {
        for policy in &report.policies {
            out(&format!("{}\n", policy_line(policy)));
            out(&details(policy, verbose));
        }
        let filters = report
            .rule_set_report_message
            .iter()
            .flat_map(|r| &r.filters);
        for approver in filters.flat_map(|f| &f.approvers) {
            out(&approver_line(approver));
        }
    }
    Ok(verdict(&errors(&report.policies)))
}

/// The rules of a policy that are left out, and those that cannot see everything here.
fn details(policy: &proto::PolicyStatus, verbose: bool) -> String {
    let mut text = String::new();
    let rules = || policy.status.iter();
    let left_out: Vec<_> = rules()
        .filter(|rule| matches!(&*rule.status, "filtered" | "disabled"))
        .collect();
    let partly: Vec<_> = rules()
        .filter(|rule| !rule.unavailable.is_empty())
        .collect();
    for (what, rules) in [
        ("left out", left_out),
        ("not or not wholly available here", partly),
    ] {
        if rules.is_empty() {
            continue;
        }
        text += &format!("    {} {what}\n", count(rules.len(), "rule"));
        for rule in rules.iter().filter(|_| verbose) {
            let why = match rule.unavailable.as_slice() {
                [] => rule.filter_type.clone(),
                all => all.join("; "),
            };
            text += &format!("      {}: {}\n", Sanitized(&rule.id), Sanitized(&why));
        }
    }
    text
}

fn approver_line(approver: &proto::ApproverReport) -> String {
    let rules: Vec<_> = approver
        .accept_mode_rules
        .iter()
        .map(|r| Sanitized(&r.rule_id).to_string())
        .collect();
    let values = approver
        .approvers
        .as_ref()
        .map_or(0, |a| a.approver_details.len());
    let mode = match approver.mode {
        2 => format!("the kernel passes {values} values"),
        _ if rules.is_empty() => "every event reaches the rules".to_owned(),
        _ => format!(
            "every event reaches the rules, because of {}",
            rules.join(", ")
        ),
    };
    format!(
        "  {:<8} {mode}\n",
        Sanitized(&approver.event_type).to_string()
    )
}

/// A policy in one line; also for `status`.
pub(crate) fn policy_line(policy: &proto::PolicyStatus) -> String {
    let in_state = |status: &str| policy.status.iter().filter(|r| r.status == status).count();
    let version = match policy.version.as_str() {
        "" => String::new(),
        version => format!(" {}", Sanitized(version)),
    };
    format!(
        "{}{version} ({}): {} loaded, {} filtered out, {} rejected",
        Sanitized(&policy.name),
        Sanitized(&policy.source),
        count(in_state("loaded") + in_state("partially_loaded"), "rule"),
        in_state("filtered") + in_state("disabled"),
        in_state("error")
    )
}

/// Every error of the policies and their rules, one line or more each.
pub(crate) fn errors(policies: &[proto::PolicyStatus]) -> Vec<String> {
    let mut errors = Vec::new();
    for policy in policies {
        errors.extend(policy.errors.iter().map(|e| lines(e)));
        // Each begins with its place in the file; the rule's id is in it, or there is none.
        let rules = policy.status.iter().filter(|r| !r.error.is_empty());
        errors.extend(rules.map(|r| lines(&r.error)));
    }
    errors
}
