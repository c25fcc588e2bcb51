//! The kernel and the machine.

use std::path::PathBuf;
use std::time::Duration;

use atalaya_host::paths;

use crate::Plan;
use crate::read::{self, End, MAX_FILE};

/// Files that are taken as they are: name in the archive, path.
fn plain() -> Vec<(&'static str, PathBuf)> {
    let proc = |file: &str| paths::proc(file);
    vec![
        ("host/version", proc("version")),
        ("host/cmdline", proc("cmdline")),
        ("host/cpuinfo", proc("cpuinfo")),
        ("host/meminfo", proc("meminfo")),
        ("host/loadavg", proc("loadavg")),
        ("host/uptime", proc("uptime")),
        ("host/modules", proc("modules")),
        ("host/filesystems", proc("filesystems")),
        ("host/cgroups", proc("cgroups")),
        ("host/mountinfo", proc("1/mountinfo")),
        ("host/own-mountinfo", "/proc/self/mountinfo".into()),
        ("host/pressure-cpu", proc("pressure/cpu")),
        ("host/pressure-memory", proc("pressure/memory")),
        ("host/os-release", paths::etc("os-release")),
        ("host/lsm", "/sys/kernel/security/lsm".into()),
        ("host/lockdown", "/sys/kernel/security/lockdown".into()),
        (
            "host/tracing/available_events",
            "/sys/kernel/tracing/available_events".into(),
        ),
        (
            "host/tracing/kprobe_events",
            "/sys/kernel/tracing/kprobe_events".into(),
        ),
        (
            "host/tracing/kprobe_profile",
            "/sys/kernel/tracing/kprobe_profile".into(),
        ),
    ]
}

/// Switches of the kernel that decide what an agent with eBPF can do.
const SWITCHES: &[&str] = &[
    "kernel/unprivileged_bpf_disabled",
    "kernel/kptr_restrict",
    "kernel/dmesg_restrict",
    "kernel/perf_event_paranoid",
    "kernel/bpf_stats_enabled",
    "kernel/kexec_load_disabled",
    "kernel/modules_disabled",
    "kernel/pid_max",
    "kernel/threads-max",
    "kernel/tainted",
    "kernel/yama/ptrace_scope",
    "kernel/ftrace_enabled",
    "kernel/random/boot_id",
    "net/core/bpf_jit_enable",
    "net/core/bpf_jit_harden",
    "net/core/bpf_jit_limit",
    "user/max_user_namespaces",
    "vm/overcommit_memory",
];

/// Adds what there is to know of the host. `large`: also the lists of all symbols and functions of the kernel.
pub fn plan(plan: &mut Plan, large: bool) {
    plan.add("host", |sink| {
        for (name, path) in plain() {
            take(sink, name, &path);
        }
        Ok(())
    });
    plan.add("kernel switches", |sink| {
        let mut text = String::new();
        for name in SWITCHES {
            let value = match std::fs::read_to_string(paths::proc("sys").join(name)) {
                Ok(value) => value.trim().to_owned(),
                Err(e) => format!("? ({e})"),
            };
            text.push_str(&format!("{} = {value}\n", name.replace('/', ".")));
        }
        let present = |path: &str| {
            if std::path::Path::new(path).exists() {
                "yes"
            } else {
                "no"
            }
        };
        for (what, path) in [
            ("btf", "/sys/kernel/btf/vmlinux"),
            ("bpffs", "/sys/fs/bpf"),
            ("tracefs", "/sys/kernel/tracing/events"),
            ("cgroup2", "/sys/fs/cgroup/cgroup.controllers"),
        ] {
            text.push_str(&format!("{what}: {} ({path})\n", present(path)));
        }
        sink.file("host/switches.log", text);
        Ok(())
    });
    plan.add("kernel configuration", |sink| {
        let release = rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned();
        let boot = paths::host()
            .root
            .join("boot")
            .join(format!("config-{release}"));
        match read::file(&boot, MAX_FILE, End::First) {
            Ok(content) => {
                sink.file("host/kernel-config", content);
            }
            // Compressed: it is no text, so it cannot be scrubbed, and it is not needed where the other one is.
            Err(error) => {
                sink.error(&error);
            }
        }
        Ok(())
    });
    if large {
        plan.add_within("kernel symbols", Duration::from_secs(30), |sink| {
            take(sink, "host/kallsyms", &paths::proc("kallsyms"));
            take(
                sink,
                "host/tracing/available_filter_functions",
                &PathBuf::from("/sys/kernel/tracing/available_filter_functions"),
            );
            Ok(())
        });
    }
}

fn take(sink: &crate::Sink, name: &str, path: &std::path::Path) {
    match read::file(path, MAX_FILE, End::First) {
        Ok(content) => {
            sink.file(name, content);
        }
        Err(error) => {
            sink.error(&error);
        }
    }
}
