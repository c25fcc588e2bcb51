//! `runtime policy check` and `runtime policy reload`.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use atalaya_api::{Sanitized, proto, sanitize, sanitize_json};
use atalaya_config::Config;
use atalaya_policy::{HostFacts, LoadOptions, LoadReport, RuleSet};

use crate::cli::{answer, connect, out};

/// Checks the policy files of a directory, as system-probe would load them on this host.
pub(crate) fn check(dir: &Path, config: &Config, json: bool) -> Result<ExitCode> {
    anyhow::ensure!(
        dir.is_dir(),
        "there is no policy directory {} (give one with --policies-dir, or set runtime_security_config.policies.dir)",
        dir.display()
    );
    let options = LoadOptions {
        policies_dir: Some(dir.to_owned()),
        host: host_facts(config),
        ..LoadOptions::default()
    };
    let (rules, report) = RuleSet::load(atalaya_model::schema(), &options);
    if json {
        let text = serde_json::to_string_pretty(&report)?;
        out(&format!("{}\n", sanitize_json(&text)));
    } else {
        out(&summary(dir, &rules, &report));
    }
    let errors: Vec<_> = report.all_errors().map(|e| lines(&e.render())).collect();
    if report.policies.is_empty() && errors.is_empty() {
        eprintln!(
            "Warning: there are no *.policy files in {}: no rule, no event",
            Sanitized(&dir.display().to_string())
        );
    }
    Ok(verdict(&errors))
}

/// What `filters` of policies are checked against.
fn host_facts(config: &Config) -> HostFacts {
    let mut facts = HostFacts {
        envs: std::env::vars().map(|(k, v)| format!("{k}={v}")).collect(),
        ..HostFacts::default()
    };
    let uname = rustix::system::uname();
    facts.set_kernel_release(&uname.release().to_string_lossy());
    facts.hostname = match config.hostname.as_str() {
        "" => uname.nodename().to_string_lossy().into_owned(),
        name => name.to_owned(),
    };
    if let Ok(text) = std::fs::read_to_string("/etc/os-release") {
        facts.set_os_release(&text);
    }
    facts
}

fn summary(dir: &Path, rules: &RuleSet, report: &LoadReport) -> String {
    let counts = report.counts();
    let mut text = format!(
        "{}: {} policies, {} rules loaded, {} filtered out, {} rejected\n",
        dir.display(),
        report.policies.len(),
        counts.loaded,
        counts.filtered,
        counts.rejected
    );
    for event_type in rules.event_types() {
        let approvers = rules.approvers(event_type);
        let mode = if approvers.all {
            let some: Vec<_> = approvers
                .all_because
                .iter()
                .take(3)
                .map(|id| Sanitized(id).to_string())
                .collect();
            let more = approvers.all_because.len().saturating_sub(some.len());
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            format!(
                "every event reaches the rules, because of {}{more}",
                some.join(", ")
            )
        } else {
            let values =
                approvers.basenames.len() + approvers.paths.len() + approvers.directories.len();
            format!(
                "the kernel passes {values} names and paths, flags {:#x}",
                approvers.flags
            )
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  {:<8} {:>4} rules; {mode}",
            event_type,
            rules.rules_for(event_type).count()
        );
    }
    text
}

/// Prints the errors and makes the exit code of them.
fn verdict(errors: &[String]) -> ExitCode {
    if errors.is_empty() {
        return ExitCode::SUCCESS;
    }
    let plural = if errors.len() == 1 { "" } else { "s" };
    eprintln!("Error: {} error{plural} occurred:\n", errors.len());
    for error in errors {
        eprintln!("{error}\n");
    }
    ExitCode::FAILURE
}

/// Sanitised, but still several lines.
fn lines(text: &str) -> String {
    // The escaped backslashes of `sanitize` would move the carets.
    let line = |l: &str| match l.contains(atalaya_api::is_dangerous) {
        true => sanitize(l).into_owned(),
        false => l.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Tells what system-probe has loaded.
pub(crate) async fn loaded(socket: &Path, json: bool) -> Result<ExitCode> {
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
        }
        for approver in report
            .rule_set_report_message
            .iter()
            .flat_map(|r| &r.filters)
            .flat_map(|f| &f.approvers)
        {
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
            out(&format!(
                "  {:<8} {mode}\n",
                Sanitized(&approver.event_type).to_string()
            ));
        }
    }
    Ok(verdict(&errors(&report.policies)))
}

/// A policy in one line; also for `status`.
pub(crate) fn policy_line(policy: &proto::PolicyStatus) -> String {
    let count = |status: &str| policy.status.iter().filter(|r| r.status == status).count();
    let version = match policy.version.as_str() {
        "" => String::new(),
        version => format!(" {}", Sanitized(version)),
    };
    format!(
        "{}{version} ({}): {} rules loaded, {} filtered out, {} rejected",
        Sanitized(&policy.name),
        Sanitized(&policy.source),
        count("loaded") + count("partially_loaded"),
        count("filtered"),
        count("error")
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

/// Lets system-probe read the policy files again. Silent on success.
pub(crate) async fn reload(socket: &Path) -> Result<ExitCode> {
    let mut client = connect(socket).await?;
    let reloaded = client
        .commands
        .reload_policies(proto::ReloadPoliciesParams {})
        .await;
    let result = reloaded
        .map_err(|e| answer("unable to reload policies", &e))?
        .into_inner();
    // What is good is in force; that some is not is worth a word, but no failure of the reload. A file that is no YAML
    // takes all its rules along, and none of them counts as rejected.
    let errors = errors(&result.policies);
    let first = |error: &String| error.lines().next().unwrap_or_default().to_owned();
    for error in errors.iter().map(first).take(10) {
        eprintln!("Warning: {error}");
    }
    if !errors.is_empty() {
        eprintln!(
            "Warning: {} errors, {} rules loaded, {} rejected; `security-agent runtime policy check --loaded-policies` \
             tells all",
            errors.len(),
            result.rules_loaded,
            result.rules_failed
        );
    }
    Ok(ExitCode::SUCCESS)
}
