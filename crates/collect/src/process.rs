//! A process as `/proc` shows it.

use std::path::PathBuf;

use atalaya_host::paths;
use atalaya_scrub::Scrubber;

use crate::Plan;
use crate::read::{self, End};

/// Adds what `/proc` shows of a process, below `dir`.
pub fn plan(plan: &mut Plan, dir: &'static str, pid: u32) {
    plan.add("process", move |sink| {
        let base = if pid == std::process::id() {
            PathBuf::from("/proc/self")
        } else {
            paths::process(pid, "")
        };
        for name in [
            "status",
            "limits",
            "cgroup",
            "mountinfo",
            "stat",
            "statm",
            "io",
            "sched",
            "maps",
            "oom_score",
            "oom_score_adj",
            "net/unix",
        ] {
            match read::file(&base.join(name), 4 << 20, End::First) {
                Ok(content) => {
                    sink.file(&format!("{dir}/proc/{}", name.replace('/', "-")), content);
                }
                Err(error) => {
                    sink.error(&error);
                }
            }
        }
        let command = std::fs::read(base.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).into_owned();
        let args: Vec<&str> = command.trim_end_matches('\0').split('\0').collect();
        let shown = Scrubber::default().scrub_args(&args);
        sink.file(&format!("{dir}/proc/cmdline"), format!("{shown:?}\n"));
        let mut text = String::new();
        for (what, below) in [("descriptors", "fd"), ("namespaces", "ns")] {
            let entries = std::fs::read_dir(base.join(below))
                .map_err(|e| format!("cannot list {what} of process {pid}: {e}"))?;
            for entry in entries.flatten().take(2000) {
                let target = std::fs::read_link(entry.path());
                let target = target.map_or_else(|e| e.to_string(), |to| to.display().to_string());
                text.push_str(&format!(
                    "{below}/{} -> {target}\n",
                    entry.file_name().to_string_lossy()
                ));
            }
        }
        sink.file(&format!("{dir}/proc/links"), text);
        let mut threads = String::new();
        for entry in std::fs::read_dir(base.join("task"))
            .into_iter()
            .flatten()
            .flatten()
            .take(500)
        {
            let of =
                |name: &str| std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
            let status = of("status");
            let wanted = [
                "CapEff",
                "Seccomp:",
                "State",
                "voluntary_ctxt",
                "NoNewPrivs",
            ];
            let lines: Vec<&str> = status
                .lines()
                .filter(|line| wanted.iter().any(|w| line.starts_with(w)))
                .collect();
            threads.push_str(&format!(
                "{} {} wchan={} {}\n",
                entry.file_name().to_string_lossy(),
                of("comm").trim(),
                of("wchan").trim(),
                lines.join(" ").replace('\t', "")
            ));
        }
        sink.file(&format!("{dir}/proc/threads"), threads);
        Ok(())
    });
}

/// The processes of this name that this program can see, with their arguments.
pub fn find(name: &str) -> Vec<u32> {
    let entries = std::fs::read_dir(paths::proc(""))
        .into_iter()
        .flatten()
        .flatten();
    entries
        .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
        .filter(|pid| {
            let comm = std::fs::read_to_string(paths::process(*pid, "comm")).unwrap_or_default();
            comm.trim_end() == name.get(..15).unwrap_or(name)
        })
        .collect()
}
