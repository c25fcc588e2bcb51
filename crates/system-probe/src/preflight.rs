//! Before anything is touched: is there what eBPF needs, and what is there too much?

use anyhow::{Context, Result, ensure};
use atalaya_config::{Config, HookTier};
use rustix::thread::{CapabilitySet, CapabilitySets};

/// What the probe needs, and for what.
const NEEDED: &[(CapabilitySet, &str)] = &[
    (CapabilitySet::BPF, "CAP_BPF"),
    (CapabilitySet::PERFMON, "CAP_PERFMON"),
    // /proc/PID of every process: executables, environments, namespaces.
    (CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE"),
    (CapabilitySet::DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"),
];

/// What is kept where it is there.
const USEFUL: CapabilitySet = CapabilitySet::CHOWN // the socket's group; the self-test's chown
    .union(CapabilitySet::FOWNER) // the self-test's chmod
    .union(CapabilitySet::DAC_OVERRIDE) // spool and output in directories of others
    .union(CapabilitySet::SYS_NICE) // the priority of the thread that empties the rings
    .union(CapabilitySet::KILL) // the kill action
    .union(CapabilitySet::NET_ADMIN) // network programs
    .union(CapabilitySet::SYS_RESOURCE) // locked memory of maps before 5.11
    .union(CapabilitySet::SYSLOG); // addresses in /proc/kallsyms

/// Fails with one line that says what is missing and how to mend it.
pub(crate) fn check() -> Result<()> {
    let own = rustix::thread::capabilities(None)
        .context("cannot read the own capabilities")?
        .effective;
    // Before 5.8 there are no CAP_BPF and CAP_PERFMON; CAP_SYS_ADMIN stands for them, and later as well.
    let stands_in = own.contains(CapabilitySet::SYS_ADMIN);
    let missing: Vec<_> = NEEDED
        .iter()
        .filter(|(capability, name)| {
            let replaced = stands_in && matches!(*name, "CAP_BPF" | "CAP_PERFMON");
            !own.contains(*capability) && !replaced
        })
        .map(|(_, name)| *name)
        .collect();
    ensure!(
        missing.is_empty(),
        "system-probe may not load eBPF programs: it lacks {}; run it as root (sudo system-probe run), as a systemd \
         service, or in a privileged container",
        missing.join(", ")
    );
    let lockdown = std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    ensure!(
        !lockdown.contains("[confidentiality]"),
        "kernel lockdown is `confidentiality`, which forbids eBPF to read kernel memory; boot with lockdown=integrity \
         or without it"
    );
    Ok(())
}

/// Says what a container was started without.
pub(crate) fn container() {
    let host = atalaya_host::paths::host();
    for problem in &host.problems {
        tracing::warn!("{problem}");
    }
    if atalaya_host::paths::in_own_pid_namespace() {
        tracing::warn!(
            "running in a pid namespace of its own: processes of the host are not found by their numbers, and self-tests fail; start the \
             container with the host's (docker: --pid host, Kubernetes: hostPID: true)"
        );
    }
}

/// Drops what will not be needed, also for children (the self-test's commands). To be called while there is one thread
/// only: capabilities belong to threads, and new threads inherit them. Returns what is kept.
pub(crate) fn drop_capabilities(config: &Config) -> Result<CapabilitySet> {
    let sets = rustix::thread::capabilities(None).context("cannot read the own capabilities")?;
    let mut kept = kept(sets.permitted, last_capability(), perf_takes_admin(config));
    if uses_perf_buffers(config) {
        // Their memory counts as locked: what is more than RLIMIT_MEMLOCK allows is refused without it.
        kept |= sets.permitted & CapabilitySet::IPC_LOCK;
    }
    drop_to(kept)
}

/// What the thread that attaches classifiers needs, and no other thread: entering network namespaces takes CAP_SYS_ADMIN, hearing of their
/// interfaces CAP_NET_BROADCAST.
const NETWORK: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::NET_BROADCAST)
    .union(CapabilitySet::BPF)
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH);

/// The same for the thread that attaches classifiers.
pub(crate) fn drop_for_network() -> Result<CapabilitySet> {
    let sets = rustix::thread::capabilities(None).context("cannot read the own capabilities")?;
    drop_to(sets.permitted & NETWORK)
}

/// The same for the thread of the network doctor: it reads other vendors' programs and who holds them, and the kernel's symbols.
pub(crate) fn drop_for_doctor() -> Result<CapabilitySet> {
    let sets = rustix::thread::capabilities(None).context("cannot read the own capabilities")?;
    let wanted = NETWORK | CapabilitySet::SYS_PTRACE | CapabilitySet::SYSLOG;
    drop_to(sets.permitted & wanted)
}

/// The same for the thread that has the kernel count what programs cost.
pub(crate) fn drop_for_costs() -> Result<CapabilitySet> {
    let sets = rustix::thread::capabilities(None).context("cannot read the own capabilities")?;
    drop_to(sets.permitted & CapabilitySet::SYS_ADMIN)
}

fn drop_to(kept: CapabilitySet) -> Result<CapabilitySet> {
    let sets = rustix::thread::capabilities(None).context("cannot read the own capabilities")?;
    for capability in
        (0..=last_capability().min(63)).map(|n| CapabilitySet::from_bits_retain(1 << n))
    {
        // Needs CAP_SETPCAP, which is still there when the probe runs as root.
        if !kept.contains(capability) && sets.effective.contains(CapabilitySet::SETPCAP) {
            rustix::thread::remove_capability_from_bounding_set(capability)
                .context("cannot drop a capability from the bounding set")?;
        }
    }
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).context("cannot drop capabilities")?;
    rustix::thread::set_no_new_privs(true).context("cannot set no_new_privs")?;
    Ok(kept)
}

fn kept(permitted: CapabilitySet, last: u32, admin: bool) -> CapabilitySet {
    let needed = NEEDED
        .iter()
        .fold(USEFUL, |all, (capability, _)| all | *capability);
    let mut kept = permitted & needed;
    // CAP_SYS_ADMIN only where it stands for the two that this kernel, or this container, does not have, or where nothing less will do.
    let bpf = CapabilitySet::BPF | CapabilitySet::PERFMON;
    let stands_in = last < CapabilitySet::BPF.bits().trailing_zeros() || !permitted.contains(bpf);
    if admin || stands_in {
        kept |= permitted & CapabilitySet::SYS_ADMIN;
    }
    kept
}

/// Whether CAP_SYS_ADMIN is needed for perf_event_open(2), by which kprobes are attached and perf buffers are opened: the kernels of
/// Debian and Ubuntu have a level of `perf_event_paranoid` above those of the original, 3, their default: there CAP_PERFMON does not
/// do. With the tier `auto` it is dropped all the same: wherever kprobes work there is fentry, which needs less.
fn perf_takes_admin(config: &Config) -> bool {
    let level = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
    level.trim().parse().is_ok_and(|level: i32| level > 2)
        && (config.hook_tier == HookTier::Kprobe || uses_perf_buffers(config))
}

fn uses_perf_buffers(config: &Config) -> bool {
    !config.event_stream_use_ring_buffer || atalaya_sensor::perf_buffers_needed()
}

fn last_capability() -> u32 {
    let text = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap_or_default();
    text.trim().parse().unwrap_or(40)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sys_admin_is_kept_only_where_it_stands_for_others() {
        let all = CapabilitySet::all();
        assert!(!kept(all, 40, false).contains(CapabilitySet::SYS_ADMIN));
        assert!(kept(all, 37, false).contains(CapabilitySet::SYS_ADMIN));
        assert!(kept(all - CapabilitySet::BPF, 40, false).contains(CapabilitySet::SYS_ADMIN));
    }

    #[test]
    fn sys_admin_is_kept_where_perf_wants_it() {
        let all = CapabilitySet::all();
        assert!(kept(all, 40, true).contains(CapabilitySet::SYS_ADMIN));
        let without = all - CapabilitySet::SYS_ADMIN;
        assert!(!kept(without, 40, true).contains(CapabilitySet::SYS_ADMIN));
    }

    #[test]
    fn nothing_dangerous_is_kept() {
        let kept = kept(CapabilitySet::all(), 40, false);
        for gone in [
            CapabilitySet::SYS_MODULE,
            CapabilitySet::SETUID,
            CapabilitySet::SETGID,
            CapabilitySet::SETPCAP,
            CapabilitySet::SYS_RAWIO,
            CapabilitySet::SYS_BOOT,
            CapabilitySet::SYS_CHROOT,
            CapabilitySet::MKNOD,
        ] {
            assert!(!kept.contains(gone), "{gone:?}");
        }
    }
}
