//! The internal rules: what of all calls can concern the agent. Whom they concern is a number that changes, so it is looked at afterwards.

use atalaya_policy::{InternalPolicy, Rule};

use crate::pulse;
use crate::rules::internal_policy;

const PTRACE: &str = "atalaya_self_protection_ptrace";
const SIGNAL: &str = "atalaya_self_protection_signal";
const BPF: &str = "atalaya_self_protection_bpf";

/// Signals that end or stop a program. Not SIGHUP, by which it is asked to read its policies again.
const SIGNALS: [(&str, u32); 10] = [
    ("SIGKILL", 9),
    ("SIGTERM", 15),
    ("SIGSTOP", 19),
    ("SIGTSTP", 20),
    ("SIGINT", 2),
    ("SIGQUIT", 3),
    ("SIGABRT", 6),
    ("SIGSEGV", 11),
    ("SIGILL", 4),
    ("SIGBUS", 7),
];

const LINK_UPDATE: u32 = 29;
const LINK_DETACH: u32 = 34;
const PROG_DETACH: u32 = 9;

/// The policy with these rules. The kernel side filters by the request, the signal and the command, so that what processes do all day
/// (signals of runtimes to themselves, updates of maps) sends no record.
pub(crate) fn policy() -> InternalPolicy {
    let signals: Vec<&str> = SIGNALS.iter().map(|(name, _)| *name).collect();
    internal_policy(
        "atalaya-self-protection-policy",
        pulse::SOURCE,
        &[
            (
                PTRACE,
                "ptrace.request in [PTRACE_ATTACH, PTRACE_SEIZE]".to_owned(),
                "Somebody may trace the agent",
                true,
            ),
            (
                SIGNAL,
                format!("signal.type in [{}]", signals.join(", ")),
                "Somebody may end or stop the agent",
                true,
            ),
            (
                BPF,
                "bpf.cmd in [BPF_MAP_GET_FD_BY_ID, BPF_LINK_DETACH, BPF_LINK_UPDATE, BPF_PROG_DETACH]"
                    .to_owned(),
                "Somebody may change what the sensor has in the kernel",
                true,
            ),
        ],
    )
}

/// Whether the rule is one of these.
pub(crate) fn is_own(rule: &Rule) -> bool {
    [PTRACE, SIGNAL, BPF].contains(&rule.id.as_str())
}

pub(super) fn is_detach(command: u32) -> bool {
    [LINK_UPDATE, LINK_DETACH, PROG_DETACH].contains(&command)
}

pub(super) fn signal_name(number: u32) -> String {
    let known = SIGNALS.iter().find(|(_, known)| *known == number);
    known.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}
