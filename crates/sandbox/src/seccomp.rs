//! seccomp: which system calls a program may still make.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, Error as SeccompError, SeccompAction, SeccompCmpArgLen, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use crate::Outcome;

mod calls;

/// For whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// security-agent: what is not on a list of what it needs is refused.
    Agent,
    /// system-probe: what changes or takes over a system is refused, and all sockets but those of this host. It loads programs and enters
    /// namespaces, and its self-test runs commands of the host, so that a list of what is allowed would promise little more.
    Probe,
}

/// Why a filter could not be put in force.
#[derive(Debug, thiserror::Error)]
#[error("cannot install the seccomp filter: {0}")]
pub struct Error(#[from] SeccompError);

/// Restricts the calling thread, and all that it starts from now on. Sets `no_new_privs` as well.
///
/// A call that is refused fails: EPERM where it is one of those that nobody here has any business with, ENOSYS otherwise, so that libraries
/// that try something new fall back. Nothing is killed: an agent that is misled shall go on reporting.
///
/// # Errors
/// The kernel refuses the filter.
pub fn restrict(profile: Profile) -> Result<Outcome, Error> {
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else {
        return Ok(Outcome::Absent(format!(
            "there are no filters for {}",
            std::env::consts::ARCH
        )));
    };
    if !std::path::Path::new("/proc/sys/kernel/seccomp").exists() {
        return Ok(Outcome::Absent("this kernel has no seccomp filters".into()));
    }
    let mut text = String::new();
    if profile == Profile::Agent {
        seccompiler::apply_filter(&allowed(arch)?)?;
        text = format!("{} system calls allowed, ", calls::agent().len());
    }
    // The filter that came last says with which error a call is refused.
    seccompiler::apply_filter(&refused(arch, libc::EPERM, no_rules(&forbidden(profile)))?)?;
    seccompiler::apply_filter(&refused(arch, libc::EAFNOSUPPORT, other_sockets(profile)?)?)?;
    text.push_str(match profile {
        Profile::Agent => "sockets: unix, TCP and UDP",
        Profile::Probe => "no call that changes the system, sockets: unix and netlink",
    });
    Ok(Outcome::Enforced(text))
}

fn forbidden(profile: Profile) -> Vec<i64> {
    let mut calls = calls::dangerous();
    if profile == Profile::Agent {
        calls.extend(calls::of_probe());
    }
    calls
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The calls, whatever their arguments.
fn no_rules(calls: &[i64]) -> Rules {
    calls.iter().map(|call| (*call, Vec::new())).collect()
}

fn allowed(arch: TargetArch) -> Result<BpfProgram, SeccompError> {
    let other = SeccompAction::Errno(libc::ENOSYS as u32);
    let mut calls = calls::agent();
    // The next filter refuses them with a better error.
    calls.extend(forbidden(Profile::Agent));
    let filter = SeccompFilter::new(no_rules(&calls), other, SeccompAction::Allow, arch)?;
    Ok(filter.try_into()?)
}

fn refused(arch: TargetArch, errno: i32, calls: Rules) -> Result<BpfProgram, SeccompError> {
    let filter = SeccompFilter::new(
        calls,
        SeccompAction::Allow,
        SeccompAction::Errno(errno.unsigned_abs()),
        arch,
    )?;
    Ok(filter.try_into()?)
}

/// `socket` with a family that the program does not use.
fn other_sockets(profile: Profile) -> Result<Rules, SeccompError> {
    let families: &[i32] = match profile {
        // Netlink: glibc asks it which addresses this host has, when it resolves names.
        Profile::Agent => &[
            libc::AF_UNIX,
            libc::AF_INET,
            libc::AF_INET6,
            libc::AF_NETLINK,
        ],
        Profile::Probe => &[libc::AF_UNIX, libc::AF_NETLINK],
    };
    let conditions = families
        .iter()
        .map(|family| {
            SeccompCondition::new(
                0,
                SeccompCmpArgLen::Dword,
                SeccompCmpOp::Ne,
                u64::from(family.unsigned_abs()),
            )
        })
        .collect::<Result<Vec<_>, _>>()?;
    let rule = SeccompRule::new(conditions)?;
    Ok(BTreeMap::from([(libc::SYS_socket, vec![rule])]))
}
